//! The commit index never falls while a process lives, no two nodes commit different entries at one index, and a leader that counts
//! who has an entry does so for its own term only.

use std::collections::BTreeMap;

use labrys_store::raft::{LogIndex, Status, Term};
use labrys_store::server::Replica;

/// A leader has committed further than any other before: whether it ends with an entry of its own term. An older one that a majority has
/// may still be overwritten (Raft paper, figure 8).
pub(super) fn of_another_term(node: usize, replica: &Replica, status: &Status) -> Option<String> {
    let term = replica.term_at(status.commit).filter(|term| *term != status.term)?;
    Some(format!(
        "n{} leads term {} and commits entry {} of term {term}",
        node + 1,
        status.term,
        status.commit
    ))
}

/// What is committed.
#[derive(Debug, Default)]
pub struct Commits {
    /// The commit index of each node.
    by_node: BTreeMap<usize, u64>,
    /// The term of each committed entry, from index 1; 0 where no log had it any more when it was first seen to be committed.
    terms: Vec<u64>,
}

impl Commits {
    /// Index and term of the last entry known to be committed.
    pub(super) fn last(&self) -> Option<(u64, u64)> {
        self.terms
            .iter()
            .rposition(|term| *term > 0)
            .map(|position| (position as u64 + 1, self.terms[position]))
    }

    /// The term of a committed entry, if it is known.
    pub(super) fn term_of(&self, index: LogIndex) -> Option<u64> {
        let position = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.terms.get(position).copied()
    }

    /// How many are known to be committed.
    pub(super) fn count(&self) -> u64 {
        self.terms.len() as u64
    }

    pub(super) fn restarted(&mut self, node: usize) {
        self.by_node.remove(&node);
    }

    /// What is wrong with the commit index, and with what is committed.
    pub(super) fn stepped(
        &mut self,
        node: usize,
        commit: LogIndex,
        term_at: impl Fn(LogIndex) -> Option<Term>,
    ) -> (Option<String>, Option<String>) {
        let commit = commit.0;
        let before = self.by_node.insert(node, commit).unwrap_or(0);
        if commit < before {
            let what =
                format!("n{} had committed everything up to {before}, and now up to {commit}", node + 1);
            return (Some(what), None);
        }
        let mut differs = None;
        for index in before + 1..=commit {
            let term = term_at(LogIndex(index)).map_or(0, |term| term.0);
            let position = usize::try_from(index - 1).unwrap_or(usize::MAX);
            if self.terms.len() <= position {
                self.terms.resize(position + 1, 0);
            }
            let known = &mut self.terms[position];
            match (*known, term) {
                (0, term) => *known = term,
                (one, other) if other != 0 && one != other => {
                    differs.get_or_insert_with(|| {
                        format!("n{} commits an entry of term {other} at {index}, where one of term {one} is committed", node + 1)
                    });
                }
                _ => {}
            }
        }
        (None, differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No defect of the store lets the index fall, so the oracle is shown by hand that it would see it.
    #[test]
    fn a_commit_index_that_falls_and_an_entry_that_changes_are_seen() {
        let mut commits = Commits::default();
        let all_of_term = |term| move |_| Some(Term(term));
        assert_eq!(commits.stepped(0, LogIndex(5), all_of_term(2)), (None, None));
        assert_eq!(commits.stepped(1, LogIndex(3), all_of_term(2)), (None, None));
        let (falls, _) = commits.stepped(0, LogIndex(4), all_of_term(2));
        assert!(falls.is_some_and(|what| what.contains("up to 5, and now up to 4")));
        let (_, differs) = commits.stepped(1, LogIndex(5), all_of_term(3));
        assert!(differs.is_some_and(|what| what.contains("n2 commits an entry of term 3 at 4")));
        commits.restarted(0);
        assert_eq!(
            commits.stepped(0, LogIndex(0), all_of_term(2)),
            (None, None),
            "a new process begins anew"
        );
    }
}
