//! A hash of all keys in one revision, to compare nodes by.
//!
//! Of a frozen state, so that a node serves on while it is made. Complexity: O(n log n) for n keys, a page of them at a time.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::keys::MAX_RANGE_ITEMS;
use super::outcome::RevisionProblem;
use super::{MachineSnapshot, RangeQuery, Revision};

/// How many bytes of keys and values are looked at together.
const PAGE_BYTES: usize = 1024 * 1024;

/// What there is in a revision, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysHash {
    /// Of every key with its value, revisions, version, lease and log time.
    pub hash: u64,
    /// How many keys there are.
    pub key_count: u64,
}

impl MachineSnapshot {
    /// The hash of all keys as they were in `revision`.
    ///
    /// # Errors
    ///
    /// If that revision is forgotten, or was not there yet.
    pub fn keys_hash(&self, revision: Revision) -> Result<KeysHash, RevisionProblem> {
        let keys = self.keys();
        let revision = keys.readable(Some(revision))?;
        let mut hash = Xxh3::new();
        let mut key_count = 0;
        let mut query = RangeQuery { start: Bytes::new(), end: None, limit: 0 };
        loop {
            let page = match keys.range(&query, revision, MAX_RANGE_ITEMS, PAGE_BYTES, usize::MAX) {
                Ok(page) => page,
                Err(from) => {
                    query.start = from;
                    continue;
                }
            };
            for (key, record) in &page.items {
                for part in [key, &record.value] {
                    hash.update(&(part.len() as u64).to_le_bytes());
                    hash.update(part);
                }
                let lease = record.lease.map_or(0, |lease| lease.0);
                for number in [record.created.0, record.modified.0, record.version, lease, record.modified_ms]
                {
                    hash.update(&number.to_le_bytes());
                }
            }
            key_count += page.items.len() as u64;
            let Some((last, _)) = page.items.last().filter(|_| page.more) else {
                return Ok(KeysHash { hash: hash.digest(), key_count });
            };
            // The next key after it, in the order of bytes.
            query.start = [last, &[0][..]].concat().into();
        }
    }
}
