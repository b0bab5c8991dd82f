//! [`Memo`]: the configurations that a search has been in, so that it enters none twice.
//!
//! A configuration is the level, the state, the bits of the operations in flight that are linearized, and the crashed
//! operations used. Entries have a fixed number of words and live in chunks, so that they are compared before anything is
//! copied, nothing moves when the memo grows, and the bytes held are known.
//!
//! **Dominance of fewer crashed operations.** If a configuration was entered, another one that differs only in having used
//! *more* crashed operations need not be: whatever order completes the second also completes the first, which has the same
//! state and at least the same operations left. So an entry keeps the minimal sets of crashed operations it was entered
//! with.

use std::hash::Hasher;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::crashed::{CrashSetId, CrashSets};
use crate::budget::{Exhausted, Meter};

/// Entries in a chunk.
const CHUNK: usize = 1 << 10;
/// The end of a list of crash sets.
const END: u32 = u32::MAX;

/// What a search has seen.
#[derive(Debug)]
pub(crate) struct Memo {
    /// Words of a key.
    key_words: usize,
    /// Words of an entry: those of the key and, if there are crashed operations, one for the head of its list of sets.
    entry_words: usize,
    chunks: Vec<Box<[u64]>>,
    entries: usize,
    table: HashTable<u32>,
    /// The lists: a set and the position of the next.
    lists: Vec<(CrashSetId, u32)>,
}

impl Memo {
    /// An empty memo for keys of `key_words` words.
    pub fn new(key_words: usize, has_crashed: bool) -> Memo {
        Memo {
            key_words,
            entry_words: key_words + usize::from(has_crashed),
            chunks: Vec::new(),
            entries: 0,
            table: HashTable::new(),
            lists: Vec::new(),
        }
    }

    /// Remembers `key` with the crashed operations `used`; `false` if it need not be searched (again).
    ///
    /// # Errors
    /// [`Exhausted::Memory`] if there is no room to remember it.
    pub fn insert(
        &mut self,
        key: &[u64],
        used: CrashSetId,
        sets: &CrashSets,
        meter: &Meter<'_>,
    ) -> Result<bool, Exhausted> {
        debug_assert_eq!(key.len(), self.key_words);
        let hash = hash_of(key);
        let found = self.table.find(hash, |&entry| self.entry(entry)[..self.key_words] == *key).copied();
        match found {
            Some(_) if self.entry_words == self.key_words => Ok(false),
            Some(entry) => Ok(self.insert_used(entry, used, sets)),
            None => {
                self.append(key, used, hash, meter)?;
                Ok(true)
            }
        }
    }

    fn append(
        &mut self,
        key: &[u64],
        used: CrashSetId,
        hash: u64,
        meter: &Meter<'_>,
    ) -> Result<(), Exhausted> {
        if self.table.len() == self.table.capacity() {
            // The table will double, and hold the old one while it moves.
            meter.check_memory(2 * self.table.allocation_size())?;
        }
        if self.entries == self.chunks.len() * CHUNK {
            meter.check_memory(CHUNK * self.entry_words * size_of::<u64>())?;
            self.chunks.push(vec![0; CHUNK * self.entry_words].into_boxed_slice());
        }
        let entry = u32::try_from(self.entries).map_err(|_| Exhausted::Memory(self.bytes()))?;
        let (key_words, entry_words) = (self.key_words, self.entry_words);
        let words = self.entry_mut(entry);
        words[..key_words].copy_from_slice(key);
        if entry_words > key_words {
            words[key_words] = u64::from(END);
            self.push_used(entry, used);
        }
        self.entries += 1;
        let (chunks, table) = (&self.chunks, &mut self.table);
        table
            .insert_unique(hash, entry, |&other| hash_of(&words_of(chunks, entry_words, other)[..key_words]));
        Ok(())
    }

    /// Adds a set to the list of an entry, unless a smaller one is there; takes out those that are larger.
    fn insert_used(&mut self, entry: u32, used: CrashSetId, sets: &CrashSets) -> bool {
        let mut position = self.entry(entry)[self.key_words] as u32;
        let mut previous = END;
        while position != END {
            let (other, next) = self.lists[position as usize];
            if sets.is_subset(other, used) {
                return false;
            }
            if sets.is_subset(used, other) {
                self.link(entry, previous, next);
            } else {
                previous = position;
            }
            position = next;
        }
        self.push_used(entry, used);
        true
    }

    fn link(&mut self, entry: u32, previous: u32, next: u32) {
        if previous == END {
            let head = self.key_words;
            self.entry_mut(entry)[head] = u64::from(next);
        } else {
            self.lists[previous as usize].1 = next;
        }
    }

    fn push_used(&mut self, entry: u32, used: CrashSetId) {
        let next = self.entry(entry)[self.key_words] as u32;
        let position = u32::try_from(self.lists.len()).expect("fewer than 2^32 sets fit in memory");
        self.lists.push((used, next));
        self.link(entry, END, position);
    }

    #[inline]
    fn entry(&self, entry: u32) -> &[u64] {
        words_of(&self.chunks, self.entry_words, entry)
    }

    fn entry_mut(&mut self, entry: u32) -> &mut [u64] {
        let start = (entry as usize % CHUNK) * self.entry_words;
        &mut self.chunks[entry as usize / CHUNK][start..start + self.entry_words]
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * self.entry_words * size_of::<u64>()
            + self.table.allocation_size()
            + self.lists.capacity() * size_of::<(CrashSetId, u32)>()
    }
}

#[inline]
fn words_of(chunks: &[Box<[u64]>], entry_words: usize, entry: u32) -> &[u64] {
    let start = (entry as usize % CHUNK) * entry_words;
    &chunks[entry as usize / CHUNK][start..start + entry_words]
}

#[inline]
fn hash_of(key: &[u64]) -> u64 {
    let mut hasher = FxHasher::default();
    for &word in key {
        hasher.write_u64(word);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    #[test]
    fn a_key_is_new_once() {
        let (mut memo, sets, meter) =
            (Memo::new(2, false), CrashSets::new(), Meter::new(Budget::unlimited()));
        for round in 0..2 {
            for key in 0..5_000_u64 {
                let new = memo.insert(&[key % 71, key], CrashSets::EMPTY, &sets, &meter);
                assert_eq!(new, Ok(round == 0), "{key} in round {round}");
            }
        }
    }

    #[test]
    fn a_key_is_new_again_only_with_crashed_operations_that_are_no_superset() {
        let mut sets = CrashSets::new();
        let a = sets.with_one_more(CrashSets::EMPTY, 0);
        let b = sets.with_one_more(CrashSets::EMPTY, 1);
        let ab = sets.with_one_more(a, 1);
        let aa = sets.with_one_more(a, 0);
        let (mut memo, meter) = (Memo::new(1, true), Meter::new(Budget::unlimited()));
        let mut insert = |used| memo.insert(&[7], used, &sets, &meter).unwrap();
        assert!(insert(ab));
        assert!(insert(aa));
        assert!(!insert(ab));
        assert!(insert(a), "fewer than both");
        assert!(!insert(aa) && !insert(ab) && !insert(a));
        assert!(insert(b), "other ones");
        assert!(insert(CrashSets::EMPTY));
        assert!(!insert(b) && !insert(a) && !insert(CrashSets::EMPTY));
    }

    #[test]
    fn a_memo_does_not_grow_over_the_limit() {
        let limit = 1 << 20;
        let meter = Meter::new(Budget::unlimited().with_memory_limit_bytes(limit));
        let mut account = crate::budget::Account::open(&meter);
        let (mut memo, sets) = (Memo::new(2, false), CrashSets::new());
        let refused = (0..1_000_000_u64).find_map(|key| {
            let outcome = memo.insert(&[key, key], CrashSets::EMPTY, &sets, &meter).map(|_| ());
            outcome.and_then(|()| account.set(memo.bytes())).err()
        });
        assert_eq!(refused, Some(Exhausted::Memory(limit)));
        assert!(memo.bytes() <= limit && memo.bytes() > limit / 4, "{}", memo.bytes());
    }
}
