//! A write is committed when its client hears that it is done, and nothing takes that back.

use labrys_store::raft::LogIndex;
use labrys_store::server::Replica;

use super::commits::Commits;

/// The last write that a client was told of.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    last: u64,
}

impl Acknowledgements {
    pub(super) fn acknowledged(&mut self, node: usize, index: LogIndex, commits: &Commits) -> Option<String> {
        if index.0 == 0 {
            // Only with a defect: what was applied has a place in the log.
            return Some(format!(
                "n{} acknowledges a write before it has a place among the applied ones",
                node + 1
            ));
        }
        self.last = self.last.max(index.0);
        (index.0 > commits.count()).then(|| {
            format!("n{} acknowledges a write at {index}, and {} are committed", node + 1, commits.count())
        })
    }

    pub(super) fn ended(&mut self, node: usize, replica: &Replica, commits: &Commits) -> Option<String> {
        let last = LogIndex(self.last);
        let applied = replica.raft_status().applied;
        if applied < last {
            return Some(format!(
                "a write at {last} was acknowledged, and n{} has applied {applied} in the end",
                node + 1
            ));
        }
        // What is compacted cannot be looked at; it was applied, and digests are compared.
        let found = replica.term_at(last)?;
        let committed = commits.term_of(last).filter(|term| *term > 0)?;
        (found.0 != committed).then(|| {
            format!(
                "a write at {last} was acknowledged in term {committed}, and n{} has one of term {found}",
                node + 1
            )
        })
    }
}
