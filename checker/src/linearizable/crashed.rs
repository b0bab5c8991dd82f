//! [`CrashSets`]: which crashed operations a configuration has used, as an integer.
//!
//! A set of used operations is a count for each group of equal calls; in a group those invoked first are used first (the
//! others are there whenever these are, so an order that uses another one can be rewritten to use this one). Sets are
//! interned, and adding to one is remembered, so that a configuration carries a number.

use rustc_hash::FxHashMap;

/// A set, by number; [`CrashSets::EMPTY`] is 0.
pub(crate) type CrashSetId = u32;

/// All sets that a search has met.
#[derive(Debug)]
pub(crate) struct CrashSets {
    /// Group and count, ascending by group, counts above 0.
    sets: Vec<Box<[(u32, u32)]>>,
    ids: FxHashMap<Box<[(u32, u32)]>, CrashSetId>,
    with_one_more: FxHashMap<(CrashSetId, u32), CrashSetId>,
    heap_bytes: usize,
}

impl CrashSets {
    /// Nothing used.
    pub const EMPTY: CrashSetId = 0;

    /// The empty set only.
    pub fn new() -> CrashSets {
        let mut sets = CrashSets {
            sets: Vec::new(),
            ids: FxHashMap::default(),
            with_one_more: FxHashMap::default(),
            heap_bytes: 0,
        };
        sets.intern(Box::default());
        sets
    }

    /// How many of `group` the set has used.
    pub fn used(&self, set: CrashSetId, group: u32) -> u32 {
        let counts = &self.sets[set as usize];
        counts.binary_search_by_key(&group, |&(group, _)| group).map_or(0, |position| counts[position].1)
    }

    /// The set that has used one more of `group`.
    pub fn with_one_more(&mut self, set: CrashSetId, group: u32) -> CrashSetId {
        if let Some(&id) = self.with_one_more.get(&(set, group)) {
            return id;
        }
        let mut counts = self.sets[set as usize].to_vec();
        match counts.binary_search_by_key(&group, |&(group, _)| group) {
            Ok(position) => counts[position].1 += 1,
            Err(position) => counts.insert(position, (group, 1)),
        }
        let id = self.intern(counts.into_boxed_slice());
        self.with_one_more.insert((set, group), id);
        id
    }

    fn intern(&mut self, counts: Box<[(u32, u32)]>) -> CrashSetId {
        if let Some(&id) = self.ids.get(&counts) {
            return id;
        }
        let id = CrashSetId::try_from(self.sets.len()).expect("fewer than 2^32 sets fit in memory");
        self.heap_bytes += 2 * size_of_val(&*counts);
        self.sets.push(counts.clone());
        self.ids.insert(counts, id);
        id
    }

    /// Whether `small` has used no more of any group than `large`.
    pub fn is_subset(&self, small: CrashSetId, large: CrashSetId) -> bool {
        if small == large || small == Self::EMPTY {
            return true;
        }
        let large = &self.sets[large as usize];
        let mut rest = large.iter();
        self.sets[small as usize].iter().all(|&(group, count)| {
            rest.by_ref()
                .find(|&&(other, _)| other >= group)
                .is_some_and(|&(other, most)| other == group && count <= most)
        })
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let per_set = 2 * size_of::<Box<[(u32, u32)]>>() + 16;
        self.sets.capacity() * per_set + self.with_one_more.capacity() * 16 + self.heap_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_equal_however_they_came_about() {
        let mut sets = CrashSets::new();
        let a = sets.with_one_more(CrashSets::EMPTY, 3);
        let ab = sets.with_one_more(a, 1);
        let b = sets.with_one_more(CrashSets::EMPTY, 1);
        assert_eq!(sets.with_one_more(b, 3), ab);
        assert_ne!(sets.with_one_more(ab, 3), ab);
        assert_eq!((sets.used(ab, 1), sets.used(ab, 2), sets.used(ab, 3)), (1, 0, 1));
    }

    #[test]
    fn a_set_is_part_of_another_if_it_has_no_more_of_any_group() {
        let mut sets = CrashSets::new();
        let a = sets.with_one_more(CrashSets::EMPTY, 3);
        let aa = sets.with_one_more(a, 3);
        let ab = sets.with_one_more(a, 1);
        let aab = sets.with_one_more(aa, 1);
        for (small, large, expected) in [
            (CrashSets::EMPTY, a, true),
            (a, CrashSets::EMPTY, false),
            (a, aa, true),
            (aa, a, false),
            (aa, ab, false),
            (ab, aa, false),
            (aa, aab, true),
            (ab, aab, true),
            (aab, ab, false),
            (aab, aab, true),
        ] {
            assert_eq!(sets.is_subset(small, large), expected, "{small} in {large}");
        }
    }
}
