//! A rolling digest: the digest at an index is a hash of the one before, the entry, its outcome, and what it changed (XXH3, 64
//! bits).

use std::collections::VecDeque;

use labrys_raft::{Entry, LogIndex, Payload};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::state::State;
use super::{Outcome, Revision};

/// The latest digests. The one at index 0 is 0.
#[derive(Clone, Debug)]
pub struct Digests {
    first: LogIndex,
    kept: VecDeque<u64>,
    limit: usize,
}

impl Digests {
    /// Keeps at most `limit` of them, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Digests {
        Digests { first: LogIndex(0), kept: VecDeque::from([0]), limit: limit.max(1) }
    }

    /// As [`Digests::new`], but everything up to `applied` has been applied, with `digest`.
    #[must_use]
    pub fn restored(applied: LogIndex, digest: u64, limit: usize) -> Digests {
        Digests { first: applied, kept: VecDeque::from([digest]), limit: limit.max(1) }
    }

    /// Adds the next entry, which led from `before` to `state`. O(size of the entry and of its changes).
    pub(super) fn add(&mut self, entry: &Entry, outcome: Option<&Outcome>, state: &State, before: Revision) {
        let mut hasher = Xxh3::new();
        hasher.update(&self.last().to_le_bytes());
        hasher.update(&entry.index.0.to_le_bytes());
        hasher.update(&entry.term.0.to_le_bytes());
        match &entry.payload {
            Payload::Noop => {}
            Payload::Command(command) => {
                hasher.update(&(command.len() as u64).to_le_bytes());
                hasher.update(command);
            }
            Payload::Membership(membership) => {
                let text = membership.to_string();
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        add_encoded(&mut hasher, &outcome);
        for changes in state.keys.changes_from(before.next()) {
            hasher.update(&changes.revision.0.to_le_bytes());
            for change in changes.changes {
                add_encoded(&mut hasher, &(change.key, change.record));
            }
        }
        let counts = [state.sessions.len(), state.leases.len(), state.locks.len()];
        add_encoded(&mut hasher, &(state.time_ms, state.keys.compacted(), counts));
        if self.kept.len() == self.limit {
            self.kept.pop_front();
            self.first = self.first.next();
        }
        self.kept.push_back(hasher.digest());
    }

    /// The latest one.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.kept.back().copied().unwrap_or_default()
    }

    /// The digest at `index`, if it is kept.
    #[must_use]
    pub fn at(&self, index: LogIndex) -> Option<u64> {
        let offset = usize::try_from(index.0.checked_sub(self.first.0)?).ok()?;
        self.kept.get(offset).copied()
    }

    /// The lowest index kept.
    #[must_use]
    pub fn first(&self) -> LogIndex {
        self.first
    }
}

/// What is hashed here is always encodable; were it not, all nodes would leave it out alike.
fn add_encoded(hasher: &mut Xxh3, value: &impl Serialize) {
    if let Ok(bytes) = postcard::to_stdvec(value) {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
}
