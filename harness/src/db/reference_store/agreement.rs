//! Whether the nodes' answers make a cluster: pure questions about one round of statuses.

use std::collections::BTreeSet;

use labrys_store::client::NodeStatus;
use labrys_store::raft::Role;

use crate::db::Readiness;

/// Clients can be let in: every node answers (or one that never started would go unnoticed), one of them leads and has
/// committed something in its log, and a majority knows it as the leader of its term.
pub(super) fn is_ready(answers: &[Result<NodeStatus, String>]) -> Readiness {
    let statuses = match all(answers) {
        Ok(statuses) => statuses,
        Err(not_yet) => return not_yet,
    };
    let Some(leader) = newest_leader(&statuses) else { return not_yet("nobody leads") };
    let knowing = statuses.iter().filter(|status| knows(status, leader)).count();
    if knowing <= statuses.len() / 2 {
        let (leading, term) = (named(&statuses, leader.node), leader.term);
        return not_yet(format!("{leading} leads term {term}, but only {knowing} know it"));
    }
    if leader.commit_index == 0 {
        let (leading, term) = (named(&statuses, leader.node), leader.term);
        return not_yet(format!("{leading} leads term {term} and has committed nothing yet"));
    }
    Readiness::Ready
}

/// The cluster is whole: every node answers, all know the same leader of the same term, and all have applied everything that
/// the leader has committed.
///
/// Digests are not compared: replicas that have diverged have recovered all the same, and the checker says the rest.
pub(super) fn is_whole(answers: &[Result<NodeStatus, String>]) -> Readiness {
    let statuses = match all(answers) {
        Ok(statuses) => statuses,
        Err(not_yet) => return not_yet,
    };
    let Some(leader) = newest_leader(&statuses) else { return not_yet("nobody leads") };
    let leading = named(&statuses, leader.node);
    for status in &statuses {
        let node = named(&statuses, status.node);
        if !knows(status, leader) {
            let known = status.leader.map_or_else(|| "nobody".to_owned(), |id| named(&statuses, id));
            return not_yet(format!(
                "{node} is in term {} with {known} as leader, {leading} leads term {}",
                status.term, leader.term
            ));
        }
        if status.applied_index < leader.commit_index {
            return not_yet(format!(
                "{node} has applied {} of the {} entries that {leading} has committed",
                status.applied_index, leader.commit_index
            ));
        }
    }
    Readiness::Ready
}

/// The statuses, if every node answered and each is another.
fn all(answers: &[Result<NodeStatus, String>]) -> Result<Vec<&NodeStatus>, Readiness> {
    let mut statuses = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer {
            Ok(status) => statuses.push(status),
            Err(error) => return Err(not_yet(error)),
        }
    }
    let ids: BTreeSet<u64> = statuses.iter().map(|status| status.node).collect();
    if ids.len() < statuses.len() {
        Err(not_yet("two nodes say that they are the same"))
    } else {
        Ok(statuses)
    }
}

/// An older one may not have heard yet that it leads no more.
fn newest_leader<'a>(statuses: &[&'a NodeStatus]) -> Option<&'a NodeStatus> {
    statuses.iter().copied().filter(|status| status.role == Role::Leader).max_by_key(|status| status.term)
}

fn knows(status: &NodeStatus, leader: &NodeStatus) -> bool {
    status.leader == Some(leader.node) && status.term == leader.term
}

/// The name of the node whose process is this member: a node that was removed comes back as another one.
fn named(statuses: &[&NodeStatus], member: u64) -> String {
    let position = statuses.iter().position(|status| status.node == member);
    position.map_or_else(|| format!("member {member}"), |position| format!("n{}", position + 1))
}

fn not_yet(what: impl Into<String>) -> Readiness {
    Readiness::NotYet(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u64, term: u64, leader: Option<u64>, commit_index: u64) -> Result<NodeStatus, String> {
        Ok(NodeStatus {
            node,
            role: if leader == Some(node) { Role::Leader } else { Role::Follower },
            term,
            leader,
            leader_address: None,
            last_index: commit_index,
            commit_index,
            applied_index: commit_index,
            digest: 0,
            digest_at_index: None,
            first_digest_index: 0,
            uptime_ms: 0,
            defects: Vec::new(),
            leader_changes: Vec::new(),
            key_count: 0,
            session_count: 0,
            version: String::new(),
            storage: labrys_store::client::StorageStatus::default(),
        })
    }

    fn reason(readiness: Readiness) -> String {
        match readiness {
            Readiness::Ready => panic!("it is ready"),
            Readiness::NotYet(reason) => reason,
        }
    }

    #[test]
    fn a_cluster_is_ready_when_a_majority_knows_a_leader_that_has_committed() {
        let knowing = [status(1, 2, Some(1), 1), status(2, 2, Some(1), 0), status(3, 1, None, 0)];
        assert_eq!(is_ready(&knowing), Readiness::Ready);

        let alone = [status(1, 2, Some(1), 1), status(2, 1, None, 0), status(3, 1, None, 0)];
        assert!(reason(is_ready(&alone)).contains("only 1 know it"));
        let nothing = [status(1, 2, Some(1), 0), status(2, 2, Some(1), 0), status(3, 2, Some(1), 0)];
        assert!(reason(is_ready(&nothing)).contains("committed nothing"));
        let nobody = [status(1, 2, None, 1), status(2, 2, None, 1), status(3, 2, None, 1)];
        assert_eq!(reason(is_ready(&nobody)), "nobody leads");
        let silent = [status(1, 2, Some(1), 1), status(2, 2, Some(1), 1), Err("refused".to_owned())];
        assert_eq!(reason(is_ready(&silent)), "refused");
        let twice = [status(1, 2, Some(1), 1), status(1, 2, Some(1), 1), status(2, 2, Some(1), 1)];
        assert!(reason(is_ready(&twice)).contains("the same"));
    }

    #[test]
    fn a_cluster_is_whole_when_all_know_the_leader_and_have_applied_what_it_committed() {
        let whole = [status(1, 2, Some(1), 9), status(2, 2, Some(1), 9), status(3, 2, Some(1), 9)];
        assert_eq!(is_whole(&whole), Readiness::Ready);

        let lagging = [status(1, 2, Some(1), 9), status(2, 2, Some(1), 9), status(3, 2, Some(1), 8)];
        assert!(reason(is_whole(&lagging)).contains("n3 has applied 8 of the 9"));
        let old_leader = [status(1, 2, Some(1), 9), status(2, 3, Some(2), 9), status(3, 3, Some(2), 9)];
        assert!(reason(is_whole(&old_leader)).contains("n1 is in term 2 with n1 as leader, n2 leads term 3"));
    }
}
