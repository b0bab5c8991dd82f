//! [`Problem`]: one partition of a history as a search wants it: levels, slots and groups of crashed calls.
//!
//! **Order.** Intervals are closed. The events of a partition are put in order of time; at one instant invocations come
//! before completions, so that operations which touch in one instant are concurrent (whoever recorded them: at a tie the
//! clock cannot tell, and assuming an order could make a correct system look wrong). Events of one kind at one instant
//! stand in the order of their indices; nothing but the choice among equals depends on that.
//!
//! **Levels.** The completions are numbered 0, 1, … in this order. A search is *at level k* when the operations of all
//! completions before number k are linearized and that of number k is not. At level k exactly the operations invoked
//! before completion k may be linearized, for anything invoked later must come after it.
//!
//! **Slots.** Of those, the ones that complete before k are linearized, so what a configuration has to remember is one bit
//! for each operation *in flight*: invoked before completion k, and not completed before it. There are never more of them
//! than clients that are busy at the same time. Each gets a slot when it is invoked, the lowest that is free, and gives it
//! back when it completes. Hence a configuration has a few words, however long the history is or some operation in it.
//!
//! **Crashed calls** would be in flight for ever. They keep no slots: equal ones are interchangeable apart from when they
//! were invoked, so a configuration has only to count how many of each group it used.

use std::collections::BTreeMap;
use std::ops::Deref;

use rustc_hash::FxHashMap;

use super::compiled::{CallId, Calls};
use super::search::Taken;
use crate::budget::{Exhausted, Meter, Pace};
use crate::model::Model;

/// A call with its closed interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval<C> {
    /// What was called, with what result.
    pub call: C,
    /// Index of the invocation: the name of the operation.
    pub operation: u64,
    /// When it was invoked.
    pub invoked_ns: u64,
    /// When it completed; `None` if it crashed: it may then take effect at any time after its invocation, or never.
    pub completed: Option<Completed>,
}

/// The end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// When.
    pub time_ns: u64,
    /// Index of the completing event.
    pub index: u64,
}

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

/// An operation that completed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// What it calls.
    pub call: CallId,
    /// Its bit in a configuration.
    pub slot: u32,
    /// The number of its completion: the level that it holds up.
    pub level: u32,
    /// Who had the slot before, or [`NONE`].
    pub displaced: u32,
}

/// Crashed operations with one and the same call.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// What they call.
    pub call: CallId,
    /// The level from which each is there, ascending.
    pub arrivals: Vec<u32>,
    /// Their names, in the same order.
    pub operations: Vec<u64>,
}

/// A partition, prepared.
#[derive(Debug)]
pub(crate) struct Problem<C> {
    /// The distinct calls.
    pub calls: Calls<C>,
    /// All else, which does not depend on what calls are.
    pub shape: Shape,
}

impl<C> Deref for Problem<C> {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        &self.shape
    }
}

/// When the operations of a partition are in flight, with calls as numbers.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The operations that completed, in order of invocation.
    pub entries: Vec<Entry>,
    /// The names of the entries, and the completing events.
    pub events: Vec<(u64, u64)>,
    /// The entry that completes at each level.
    pub completes: Vec<u32>,
    /// The entries that arrive at level k are `arrivals[k]..arrivals[k + 1]`.
    pub arrivals: Vec<u32>,
    /// Number of slots: the most operations in flight at one time, crashed ones aside.
    pub slots: usize,
    /// Crashed operations by call, in order of the first arrival.
    pub groups: Vec<Group>,
}

impl Shape {
    /// Number of operations that crashed.
    pub fn crashed(&self) -> usize {
        self.groups.iter().map(|group| group.arrivals.len()).sum()
    }

    /// The operation that a step is about; `used` counts for each group the crashed operations of the steps before, and is
    /// brought up to date.
    pub fn name(&self, taken: Taken, used: &mut [usize]) -> u64 {
        match taken {
            Taken::Entry(entry) => self.events[entry as usize].0,
            Taken::Crashed(group) => {
                used[group as usize] += 1;
                self.groups[group as usize].operations[used[group as usize] - 1]
            }
        }
    }

    /// The operations of a path.
    pub fn names(&self, path: &[Taken]) -> Vec<u64> {
        let mut used = vec![0; self.groups.len()];
        path.iter().map(|&taken| self.name(taken, &mut used)).collect()
    }
}

impl<C> Problem<C> {
    /// Bytes held, without what calls own on the heap.
    pub fn bytes(&self) -> usize {
        self.entries.len() * (size_of::<Entry>() + 16 + 8) + self.calls.calls.len() * (size_of::<C>() + 1)
    }
}

impl<C: Clone + Eq + std::hash::Hash> Problem<C> {
    /// Prepares `intervals`, in any order. Crashed calls that the model says are pure change nothing and were answered to
    /// nobody: they are left out. O(n log n).
    ///
    /// # Errors
    /// If there is no room for it, or no time.
    pub fn new<M: Model<Call = C>>(
        model: &M,
        intervals: &[Interval<C>],
        meter: &Meter<'_>,
    ) -> Result<Problem<C>, Exhausted> {
        assert!(intervals.len() < NONE as usize, "operations are numbered with 32 bits");
        meter.check_memory(intervals.len() * BYTES_PER_OPERATION)?;
        let mut pace = Pace::new(meter);
        let mut ids: FxHashMap<&C, CallId> = FxHashMap::default();
        let mut calls = Calls { calls: Vec::new(), pure: Vec::new() };
        let mut call_of: Vec<CallId> = Vec::with_capacity(intervals.len());
        for interval in intervals {
            pace.work(1)?;
            let id = *ids.entry(&interval.call).or_insert_with(|| {
                calls.calls.push(interval.call.clone());
                calls.pure.push(model.is_pure(&interval.call));
                u32::try_from(calls.calls.len() - 1).expect("no more calls than intervals")
            });
            call_of.push(id);
        }
        let sweep = Sweep::over(intervals, &call_of, &calls.pure, &mut pace)?;
        Ok(Problem {
            calls,
            shape: Shape {
                entries: sweep.entries,
                events: sweep.events,
                completes: sweep.completes,
                arrivals: sweep.arrivals,
                slots: sweep.slots,
                groups: sweep.groups,
            },
        })
    }
}

/// About what preparing takes for each operation besides what is kept: its two ends, its call's number and its entry's.
const BYTES_PER_OPERATION: usize = 2 * size_of::<End>() + 2 * size_of::<u32>() + size_of::<Entry>() + 24;

/// One end of an interval, in the order of the sweep.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    time_ns: u64,
    is_completion: bool,
    index: u64,
    interval: u32,
}

/// What passing over the ends once collects.
#[derive(Default)]
struct Sweep {
    entries: Vec<Entry>,
    events: Vec<(u64, u64)>,
    completes: Vec<u32>,
    arrivals: Vec<u32>,
    slots: usize,
    groups: Vec<Group>,
}

impl Sweep {
    fn over<C>(
        intervals: &[Interval<C>],
        call_of: &[CallId],
        pure: &[bool],
        pace: &mut Pace<'_>,
    ) -> Result<Sweep, Exhausted> {
        let mut sweep = Sweep { arrivals: vec![0], ..Sweep::default() };
        let mut entry_of: Vec<u32> = vec![NONE; intervals.len()];
        let mut free: std::collections::BinaryHeap<std::cmp::Reverse<u32>> = Default::default();
        let mut last_in_slot: Vec<u32> = Vec::new();
        let mut group_of: BTreeMap<CallId, usize> = BTreeMap::new();
        for end in ends(intervals) {
            pace.work(1)?;
            let (position, interval) = (end.interval as usize, &intervals[end.interval as usize]);
            let call = call_of[position];
            match (end.is_completion, interval.completed) {
                (false, None) if pure[call as usize] => {}
                (false, None) => {
                    let group = *group_of.entry(call).or_insert_with(|| {
                        sweep.groups.push(Group { call, arrivals: Vec::new(), operations: Vec::new() });
                        sweep.groups.len() - 1
                    });
                    sweep.groups[group].arrivals.push(sweep.completes.len() as u32);
                    sweep.groups[group].operations.push(interval.operation);
                }
                (false, Some(completed)) => {
                    let slot = free.pop().map_or(last_in_slot.len() as u32, |std::cmp::Reverse(slot)| slot);
                    if slot as usize == last_in_slot.len() {
                        last_in_slot.push(NONE);
                    }
                    let entry = sweep.entries.len() as u32;
                    let displaced = std::mem::replace(&mut last_in_slot[slot as usize], entry);
                    sweep.entries.push(Entry { call, slot, level: NONE, displaced });
                    sweep.events.push((interval.operation, completed.index));
                    entry_of[position] = entry;
                }
                (true, _) => {
                    let entry = entry_of[position];
                    let finished = &mut sweep.entries[entry as usize];
                    finished.level = sweep.completes.len() as u32;
                    free.push(std::cmp::Reverse(finished.slot));
                    sweep.completes.push(entry);
                    sweep.arrivals.push(sweep.entries.len() as u32);
                }
            }
        }
        sweep.slots = last_in_slot.len();
        Ok(sweep)
    }
}

fn ends<C>(intervals: &[Interval<C>]) -> Vec<End> {
    let mut ends = Vec::with_capacity(2 * intervals.len());
    for (position, interval) in intervals.iter().enumerate() {
        let position = position as u32;
        ends.push(End {
            time_ns: interval.invoked_ns,
            is_completion: false,
            index: interval.operation,
            interval: position,
        });
        if let Some(completed) = interval.completed {
            assert!(completed.time_ns >= interval.invoked_ns, "an operation completes after its invocation");
            ends.push(End {
                time_ns: completed.time_ns,
                is_completion: true,
                index: completed.index,
                interval: position,
            });
        }
    }
    ends.sort_unstable();
    ends
}
