//! [`Compiled`]: a model with its calls and states as small integers, for the inner loop of a search.
//!
//! Calls are interned once when a partition is prepared, states when a search first reaches them. While the product of
//! both is small, transitions are remembered in a table, so that a model is asked once for each; beyond that every step
//! asks the model, whose answer is then no slower than a lookup in a table that does not fit the cache.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::frontier::append;
use crate::budget::Pace;
use crate::model::Model;

/// A call, by number in its partition.
pub(crate) type CallId = u32;
/// A state, by number in its search.
pub(crate) type StateId = u32;

/// The answer of [`Compiled::step`] when the model refuses.
pub(crate) const REFUSED: StateId = u32::MAX;
/// A transition that was not asked for yet.
const NOT_ASKED: StateId = u32::MAX - 1;
/// Work of the model that counts as a step between two looks of a search at its budget: at the usual pulse that makes two mebibytes of
/// states.
pub(crate) const WORK_PER_STEP: u64 = 1 << 4;
/// The most transitions that are remembered, 4 bytes each.
const TABLE_LIMIT: usize = 1 << 20;

/// The distinct calls of a partition.
#[derive(Debug)]
pub(crate) struct Calls<C> {
    /// By number.
    pub calls: Vec<C>,
    /// Whether the model says that the call never changes a state, by number.
    pub pure: Vec<bool>,
}

/// A model over integers.
pub(crate) struct Compiled<'m, M: Model> {
    /// The model.
    pub model: &'m M,
    calls: &'m Calls<M::Call>,
    states: Vec<M::State>,
    /// The numbers of the states, with their hashes, so that no state is hashed twice.
    ids: HashTable<(u64, StateId)>,
    /// `table[state * calls + call]`, for the states that have a row.
    table: Vec<StateId>,
    /// What the states say that they hold on the heap.
    heap_bytes: usize,
    /// Work that the model did, in units of [`Pace`].
    work: u64,
}

impl<'m, M: Model> Compiled<'m, M> {
    /// A model that has seen its initial state (number 0) only.
    pub fn new(model: &'m M, calls: &'m Calls<M::Call>) -> Self {
        let mut compiled = Compiled {
            model,
            calls,
            states: Vec::new(),
            ids: HashTable::new(),
            table: Vec::new(),
            heap_bytes: 0,
            work: 0,
        };
        compiled.intern(model.init());
        compiled
    }

    /// The state after `call` in `state`, or [`REFUSED`].
    #[inline]
    pub fn step(&mut self, state: StateId, call: CallId) -> StateId {
        let position = state as usize * self.calls.calls.len() + call as usize;
        match self.table.get(position) {
            Some(&NOT_ASKED) => {
                let next = self.ask(state, call);
                self.table[position] = next;
                next
            }
            Some(&next) => next,
            None => self.ask(state, call),
        }
    }

    fn ask(&mut self, state: StateId, call: CallId) -> StateId {
        let next = self.model.step(&self.states[state as usize], &self.calls.calls[call as usize]);
        let bytes = self.model.heap_bytes(next.as_ref().unwrap_or(&self.states[state as usize]));
        self.work += Pace::units_of_bytes(bytes) as u64;
        match next {
            Ok(next) if next == self.states[state as usize] => state,
            Ok(next) => self.intern(next),
            Err(_) => REFUSED,
        }
    }

    /// The number of a state.
    pub fn intern(&mut self, state: M::State) -> StateId {
        let hash = FxBuildHasher.hash_one(&state);
        let states = &self.states;
        let is_it = |&(other, id): &(u64, StateId)| other == hash && states[id as usize] == state;
        if let Some(&(_, id)) = self.ids.find(hash, is_it) {
            return id;
        }
        let id = StateId::try_from(self.states.len()).expect("fewer than 2^32 states fit in memory");
        assert!(id < NOT_ASKED, "more states than numbers for them");
        self.heap_bytes += self.model.heap_bytes(&state);
        append(&mut self.states, state);
        self.ids.insert_unique(hash, (hash, id), |&(hash, _)| hash);
        let rows = self.table.len() + self.calls.calls.len();
        if rows <= TABLE_LIMIT && rows == self.states.len() * self.calls.calls.len() {
            self.table.resize(rows, NOT_ASKED);
        }
        id
    }

    /// Whether `call` never changes a state.
    #[inline]
    pub fn is_pure(&self, call: CallId) -> bool {
        self.calls.pure[call as usize]
    }

    /// The state with that number.
    pub fn state(&self, state: StateId) -> &M::State {
        &self.states[state as usize]
    }

    /// Work that the model did so far, in units of [`Pace`]: a search looks at its budget more often where it is much.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// All states that were met, by number.
    pub fn states(&self) -> &[M::State] {
        &self.states
    }

    /// Bytes held, about: of what states own on the heap, what their model says ([`Model::heap_bytes`]).
    pub fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<M::State>()
            // While it doubles, the old one is there as well.
            + 3 * self.ids.allocation_size() / 2
            + self.table.capacity() * size_of::<StateId>()
            + self.heap_bytes
    }
}

/// States that hold more than this are given back by a thread of their own: it takes seconds for millions of small allocations, and a
/// check whose time has run out is to end. Below a memory limit of less, nothing is held any longer than it was counted.
const GIVEN_BACK_APART_BYTES: usize = 128 << 20;

impl<M: Model> Drop for Compiled<'_, M> {
    fn drop(&mut self) {
        if self.bytes() > GIVEN_BACK_APART_BYTES {
            let states = std::mem::take(&mut self.states);
            // Where no thread can be had, the states are dropped here, with the closure.
            let _ = std::thread::Builder::new().spawn(move || drop(states));
        }
    }
}

/// A [`Compiled`] model with its type erased: for what asks rarely, and need not be compiled anew for each model.
pub(crate) trait Steps {
    /// [`Compiled::step`].
    fn step(&mut self, state: StateId, call: CallId) -> StateId;
    /// [`Compiled::is_pure`].
    fn is_pure(&self, call: CallId) -> bool;
    /// [`Compiled::bytes`].
    fn bytes(&self) -> usize;
    /// [`Compiled::work`].
    fn work(&self) -> u64;
}

impl<M: Model> Steps for Compiled<'_, M> {
    fn step(&mut self, state: StateId, call: CallId) -> StateId {
        Compiled::step(self, state, call)
    }

    fn is_pure(&self, call: CallId) -> bool {
        Compiled::is_pure(self, call)
    }

    fn bytes(&self) -> usize {
        Compiled::bytes(self)
    }

    fn work(&self) -> u64 {
        Compiled::work(self)
    }
}

impl<S: Steps> Steps for &mut S {
    fn step(&mut self, state: StateId, call: CallId) -> StateId {
        (**self).step(state, call)
    }

    fn is_pure(&self, call: CallId) -> bool {
        (**self).is_pure(call)
    }

    fn bytes(&self) -> usize {
        (**self).bytes()
    }

    fn work(&self) -> u64 {
        (**self).work()
    }
}
