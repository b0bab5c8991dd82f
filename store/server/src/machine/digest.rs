//! A rolling digest: the digest at an index is a hash of the one before, the entry and its outcome (XXH3, 64 bits).

use std::collections::VecDeque;

use labrys_raft::{Entry, LogIndex, Payload};
use xxhash_rust::xxh3::Xxh3;

use super::Outcome;

/// The latest digests. The one at index 0 is 0.
#[derive(Debug)]
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

    /// Adds the next entry. O(size of the entry).
    pub fn add(&mut self, entry: &Entry, outcome: Option<&Outcome>) {
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
        // An outcome is always encodable; were it not, all nodes would leave it out alike.
        if let Some(Ok(bytes)) = outcome.map(postcard::to_stdvec) {
            hasher.update(&bytes);
        }
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
