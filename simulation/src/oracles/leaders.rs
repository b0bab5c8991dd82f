//! Leader completeness: an entry that was committed is in the log of every later leader (Raft paper, section 5.4). It is enough to
//! look at the last such entry when a node comes to lead: the ones before it follow from log matching.

use std::collections::BTreeMap;

use labrys_store::raft::{LogIndex, Role, Status};
use labrys_store::server::Replica;

/// Which term each node led when it was last looked at.
#[derive(Debug, Default)]
pub struct Leaders {
    led: BTreeMap<usize, u64>,
}

impl Leaders {
    pub(super) fn restarted(&mut self, node: usize) {
        self.led.remove(&node);
    }

    /// `committed`: index and term of the last entry known to be committed.
    pub(super) fn stepped(
        &mut self,
        node: usize,
        replica: &Replica,
        status: &Status,
        committed: Option<(u64, u64)>,
    ) -> Option<String> {
        if status.role != Role::Leader || self.led.insert(node, status.term.0) == Some(status.term.0) {
            return None;
        }
        // What was committed in a later term may be missing: this leader is a deposed one that does not know it yet.
        let (index, term) = committed.filter(|(_, term)| *term < status.term.0)?;
        if index <= status.snapshot.0 {
            return None;
        }
        let found = replica.term_at(LogIndex(index));
        (found.map(|found| found.0) != Some(term)).then(|| {
            let has = found.map_or_else(|| "nothing".to_owned(), |found| format!("one of term {found}"));
            format!(
                "n{} leads term {}, but of the committed entry {index} of term {term} it has {has}",
                node + 1,
                status.term
            )
        })
    }
}
