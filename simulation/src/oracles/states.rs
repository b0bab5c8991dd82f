//! State-machine safety: nodes that have applied the same number of entries are in the same state (Raft paper, section 5.4.3). The
//! digest at an index covers every entry up to it, its outcome and every change.

use std::collections::BTreeMap;

use labrys_store::raft::{LogIndex, Status};
use labrys_store::server::Replica;

/// The digests that were seen.
#[derive(Debug, Default)]
pub struct States {
    /// How far each node has applied.
    applied: BTreeMap<usize, u64>,
    /// By index, from 1: the digest, and who had it first.
    digests: BTreeMap<u64, (u64, usize)>,
}

impl States {
    pub(super) fn restarted(&mut self, node: usize, replica: &Replica) {
        // What is applied anew is compared anew.
        self.applied.insert(node, replica.raft_status().snapshot.0.saturating_sub(1));
    }

    pub(super) fn stepped(&mut self, node: usize, replica: &Replica, status: &Status) -> Option<String> {
        let before = self.applied.insert(node, status.applied.0).unwrap_or(0);
        let mut what = None;
        for index in before + 1..=status.applied.0 {
            // Of what came with a snapshot only the end is known.
            let Some(digest) = replica.digest(LogIndex(index)) else { continue };
            let (first, whose) = *self.digests.entry(index).or_insert((digest, node));
            if first != digest && what.is_none() {
                what = Some(format!(
                    "after entry {index} the state of n{} is {digest:016x}, that of n{} was {first:016x}",
                    node + 1,
                    whose + 1
                ));
            }
        }
        what
    }
}
