//! [`Configuration`] and [`Antichain`]: what a breadth-first search knows after a level, without what is no better than
//! something else in it.
//!
//! A configuration has two bits for each operation in flight: whether it is *done*, so that its completion asks for nothing
//! more, and whether it is *available*, so that it can still be used for its effect. Not linearized: only available. Used:
//! only done. An operation that may stand in the past where its effect is forgotten at once is both (see
//! [`super::breadth`]).
//!
//! **Dominance.** Of two configurations with the same state, one that has all bits of the other and has used no more crashed
//! operations can do whatever the other can: each step of the other is a step of it too, since the operation is available,
//! and leads to the same state, and again to at least the same bits; and whatever completion the other survives without a
//! step, it survives.

use std::hash::Hasher;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::compiled::StateId;
use super::crashed::{CrashSetId, CrashSets};
use super::path::PathId;

/// So many configurations of the same state are looked at for one that dominates; beyond that only equal ones are found.
const LOOKS: usize = 512;

/// Appends, and makes room for an eighth more when there is none: what a search holds must not double at once when that is the
/// most of the memory it may use.
#[inline]
pub(crate) fn append<T>(items: &mut Vec<T>, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(64.max(items.len() / 8));
    }
    items.push(item);
}

/// One bit for each slot.
pub(crate) type Bits<const W: usize> = [u64; W];

/// Where a search may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Configuration<const W: usize> {
    /// Operations in flight whose completion asks for nothing more.
    pub done: Bits<W>,
    /// Operations in flight that change the state and can still be used.
    pub available: Bits<W>,
    pub state: StateId,
    /// The crashed operations used.
    pub used: CrashSetId,
    /// How it came about; says nothing about what is possible.
    pub path: PathId,
}

impl<const W: usize> Configuration<W> {
    /// How many bits it has. Whatever dominates it has more, or is as good.
    pub fn score(&self) -> u32 {
        self.done.iter().chain(&self.available).map(|word| word.count_ones()).sum()
    }

    /// For an order that is the same everywhere.
    pub fn key(&self) -> (StateId, Bits<W>, Bits<W>, CrashSetId) {
        (self.state, self.done, self.available, self.used)
    }

    fn hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write_u64(u64::from(self.state) << 32 | u64::from(self.used));
        for &word in self.done.iter().chain(&self.available) {
            hasher.write_u64(word);
        }
        hasher.finish()
    }

    #[inline]
    fn dominates(&self, other: &Self, sets: &CrashSets) -> bool {
        let missing = (0..W).fold(0, |missing, word| {
            missing | (other.done[word] & !self.done[word]) | (other.available[word] & !self.available[word])
        });
        missing == 0 && sets.is_subset(self.used, other.used)
    }
}

/// Configurations of which none dominates a later one.
#[derive(Debug)]
pub(crate) struct Antichain<const W: usize> {
    pub members: Vec<Configuration<W>>,
    by_state: Vec<Vec<u32>>,
    /// The states that have members.
    states: Vec<StateId>,
    /// Members behind the first [`LOOKS`] of their state.
    others: HashTable<u32>,
}

impl<const W: usize> Antichain<W> {
    /// None.
    pub fn new() -> Self {
        Antichain { members: Vec::new(), by_state: Vec::new(), states: Vec::new(), others: HashTable::new() }
    }

    /// Forgets all members.
    pub fn clear(&mut self) {
        self.members.clear();
        for state in self.states.drain(..) {
            self.by_state[state as usize].clear();
        }
        self.others.clear();
    }

    /// Adds a configuration unless a member dominates it; says whether it was added.
    pub fn insert(&mut self, configuration: Configuration<W>, sets: &CrashSets) -> bool {
        let state = configuration.state as usize;
        if self.by_state.len() <= state {
            self.by_state.resize_with(state + 1, Vec::new);
        }
        let members = &self.members;
        let of_state = &mut self.by_state[state];
        if of_state.iter().any(|&member| members[member as usize].dominates(&configuration, sets)) {
            return false;
        }
        let number = u32::try_from(members.len()).expect("fewer than 2^32 configurations fit in memory");
        if of_state.len() < LOOKS {
            if of_state.is_empty() {
                self.states.push(configuration.state);
            }
            of_state.push(number);
        } else {
            let hash = configuration.hash();
            let is_known = |&member: &u32| members[member as usize].key() == configuration.key();
            if self.others.find(hash, is_known).is_some() {
                return false;
            }
            self.others.insert_unique(hash, number, |&member| members[member as usize].hash());
        }
        append(&mut self.members, configuration);
        true
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Configuration<W>>()
            // While it doubles, the old one is there as well.
            + 3 * self.others.allocation_size()
            + self.by_state.capacity() * (size_of::<Vec<u32>>() + 16)
            + self.members.capacity().min(self.by_state.len() * LOOKS) * 2 * size_of::<u32>()
    }
}

#[inline]
pub(crate) fn set<const W: usize>(bits: &mut Bits<W>, bit: u32) {
    bits[bit as usize / 64] |= 1 << (bit % 64);
}

#[inline]
pub(crate) fn clear<const W: usize>(bits: &mut Bits<W>, bit: u32) {
    bits[bit as usize / 64] &= !(1 << (bit % 64));
}

#[inline]
pub(crate) fn has<const W: usize>(bits: &Bits<W>, bit: u32) -> bool {
    bits[bit as usize / 64] >> (bit % 64) & 1 == 1
}

#[inline]
pub(crate) fn meet<const W: usize>(one: &Bits<W>, other: &Bits<W>) -> bool {
    one.iter().zip(other).any(|(one, other)| one & other != 0)
}

#[inline]
pub(crate) fn union<const W: usize>(one: &Bits<W>, other: &Bits<W>) -> Bits<W> {
    std::array::from_fn(|word| one[word] | other[word])
}

#[inline]
pub(crate) fn both<const W: usize>(one: &Bits<W>, other: &Bits<W>) -> Bits<W> {
    std::array::from_fn(|word| one[word] & other[word])
}

#[inline]
pub(crate) fn without<const W: usize>(one: &Bits<W>, other: &Bits<W>) -> Bits<W> {
    std::array::from_fn(|word| one[word] & !other[word])
}
