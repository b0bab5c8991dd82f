//! Log matching: if two logs contain an entry with the same index and term, they are identical up to it (Raft paper, section 5.3).
//! By induction it is enough that such entries have the same content and the same term before them.

use std::collections::BTreeMap;

use labrys_store::raft::{Entry, LogIndex, Payload, PersistBatch};
use labrys_store::server::Replica;

/// Every entry that was ever in a log, by index and term: a hash of its content, and the term before it.
#[derive(Debug, Default)]
pub struct Logs {
    seen: BTreeMap<(u64, u64), Seen>,
}

#[derive(Debug)]
struct Seen {
    content: u64,
    previous_term: Option<u64>,
    node: usize,
}

impl Logs {
    pub(super) fn persisting(
        &mut self,
        node: usize,
        replica: &Replica,
        batch: &PersistBatch,
    ) -> Option<String> {
        let first = batch.entries.first()?;
        // What stood before it, as far as the log still has it; later batches of the same step may have changed nothing of that.
        let mut previous = replica.term_at(LogIndex(first.index.0 - 1)).map(|term| term.0);
        let mut what = None;
        for entry in &batch.entries {
            what = what.or(self.appended(node, entry, previous));
            previous = Some(entry.term.0);
        }
        what
    }

    fn appended(&mut self, node: usize, entry: &Entry, previous_term: Option<u64>) -> Option<String> {
        let content = content_of(entry);
        let key = (entry.index.0, entry.term.0);
        let seen = self.seen.entry(key).or_insert(Seen { content, previous_term, node });
        let place =
            format!("entry {} of term {} in the logs of n{} and n{}", key.0, key.1, seen.node + 1, node + 1);
        if seen.content != content {
            return Some(format!("{place} is not the same"));
        }
        match (seen.previous_term, previous_term) {
            (Some(one), Some(other)) if one != other => {
                Some(format!("{place} follows an entry of term {one} in one, of term {other} in the other"))
            }
            (None, Some(_)) => {
                seen.previous_term = previous_term;
                None
            }
            _ => None,
        }
    }
}

/// FNV-1a over the entry's payload: the same on every machine.
fn content_of(entry: &Entry) -> u64 {
    let fnv = |kind: u8, bytes: &[u8]| {
        std::iter::once(&kind).chain(bytes).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    match &entry.payload {
        Payload::Noop => fnv(0, &[]),
        Payload::Command(bytes) => fnv(1, bytes),
        Payload::Membership(membership) => fnv(2, format!("{membership:?}").as_bytes()),
    }
}
