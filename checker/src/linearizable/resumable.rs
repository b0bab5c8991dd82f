//! [`Resumable`]: a breadth-first search of a partition that grows at its end.
//!
//! What was judged is thrown away. What is left is a list of configurations, each with its state and what is done and
//! available of the operations in flight by name, from which a search of the next completions begins; the operations in flight;
//! and the crashed ones. All crashed operations are counted, so that no search has to be repeated.

use std::collections::BTreeSet;

use super::breadth::Breadth;
use super::compiled::Compiled;
use super::crashed::CrashSets;
use super::frontier::{Bits, Configuration, has, set};
use super::path::Paths;
use super::problem::{Interval, Problem};
use crate::budget::{Account, Meter};
use crate::model::Model;

/// A configuration between two searches.
struct Carried<M: Model> {
    state: M::State,
    done: BTreeSet<u64>,
    available: BTreeSet<u64>,
    /// How many of each crashed call are used.
    used: Vec<(M::Call, u32)>,
}

/// A search that can go on.
pub(crate) struct Resumable<M: Model> {
    intervals: Vec<Interval<M::Call>>,
    /// Of those the ones that the configurations know.
    known: BTreeSet<u64>,
    frontier: Vec<Carried<M>>,
}

impl<M: Model> Resumable<M> {
    /// A search of nothing.
    pub fn new(model: &M) -> Self {
        let start = Carried {
            state: model.init(),
            done: BTreeSet::new(),
            available: BTreeSet::new(),
            used: Vec::new(),
        };
        Resumable { intervals: Vec::new(), known: BTreeSet::new(), frontier: vec![start] }
    }

    /// Adds an operation, which was invoked no earlier than the last horizon.
    pub fn push(&mut self, interval: Interval<M::Call>) {
        self.intervals.push(interval);
    }

    /// The operations that are held.
    pub fn operations(&self) -> impl Iterator<Item = u64> {
        self.intervals.iter().map(|interval| interval.operation)
    }

    /// Whether no completion is left to be judged.
    pub fn is_judged(&self) -> bool {
        self.intervals.iter().all(|interval| interval.completed.is_none())
    }

    /// Judges the completions before `horizon_ns`: the operation and the event of the first that leaves nothing.
    ///
    /// # Errors
    /// Why it cannot be judged: a budget that ran out, or too many operations in flight.
    pub fn judge(
        &mut self,
        model: &M,
        horizon_ns: u64,
        meter: &Meter<'_>,
    ) -> Result<Option<(u64, u64)>, String> {
        let ends = self.intervals.iter().filter_map(|interval| interval.completed);
        let goal = ends.filter(|completed| completed.time_ns < horizon_ns).count() as u32;
        if goal == 0 {
            return Ok(None);
        }
        let problem = Problem::new(model, &self.intervals, meter).map_err(|why| why.to_string())?;
        match problem.slots {
            0..=64 => self.judge_in::<1>(model, &problem, goal, meter),
            65..=512 => self.judge_in::<8>(model, &problem, goal, meter),
            slots => Err(format!("{slots} operations are in flight at a time, and there is room for 512")),
        }
    }

    fn judge_in<const W: usize>(
        &mut self,
        model: &M,
        problem: &Problem<M::Call>,
        goal: u32,
        meter: &Meter<'_>,
    ) -> Result<Option<(u64, u64)>, String> {
        let mut compiled = Compiled::new(model, &problem.calls);
        let counted = vec![true; problem.groups.len()];
        let mut known: Bits<W> = [0; W];
        for (entry, &(operation, _)) in problem.entries.iter().zip(&problem.events) {
            if self.known.contains(&operation) {
                set(&mut known, entry.slot);
            }
        }
        let mut sets = CrashSets::new();
        let frontier = self
            .frontier
            .iter()
            .map(|one| one.configuration::<W>(problem, &mut compiled, &mut sets))
            .collect();
        let mut search = Breadth::<W>::resumed(model, problem, &counted, goal, &mut compiled);
        search.begin(frontier, known, sets);
        let is_alive =
            search.advance_to_goal(meter, &mut Account::open(meter)).map_err(|why| why.to_string())?;
        if !is_alive {
            return Ok(Some(problem.events[problem.completes[search.level as usize] as usize]));
        }
        let (frontier, sets) = search.into_frontier();
        self.frontier =
            frontier.iter().map(|one| Carried::of(one, problem, goal, &compiled, &sets)).collect();
        let passed: BTreeSet<u64> = problem.completes[..goal as usize]
            .iter()
            .map(|&entry| problem.events[entry as usize].0)
            .collect();
        self.intervals.retain(|interval| !passed.contains(&interval.operation));
        let arrived = problem.arrivals[goal as usize] as usize;
        self.known = problem.events[..arrived].iter().map(|&(operation, _)| operation).collect();
        self.known.retain(|operation| !passed.contains(operation));
        Ok(None)
    }
}

impl<M: Model> Carried<M> {
    fn configuration<const W: usize>(
        &self,
        problem: &Problem<M::Call>,
        compiled: &mut Compiled<'_, M>,
        sets: &mut CrashSets,
    ) -> Configuration<W> {
        let (mut done, mut available) = ([0; W], [0; W]);
        for (entry, (operation, _)) in problem.entries.iter().zip(&problem.events) {
            if self.done.contains(operation) {
                set(&mut done, entry.slot);
            }
            if self.available.contains(operation) {
                set(&mut available, entry.slot);
            }
        }
        let mut used = CrashSets::EMPTY;
        for (call, count) in &self.used {
            let is_of = |group: &super::problem::Group| problem.calls.calls[group.call as usize] == *call;
            let group = problem.groups.iter().position(is_of).expect("crashed operations stay");
            for _ in 0..*count {
                used = sets.with_one_more(used, group as u32);
            }
        }
        let state = compiled.intern(self.state.clone());
        Configuration { done, available, state, used, path: Paths::ROOT }
    }

    fn of<const W: usize>(
        one: &Configuration<W>,
        problem: &Problem<M::Call>,
        level: u32,
        compiled: &Compiled<'_, M>,
        sets: &CrashSets,
    ) -> Self {
        let arrived = problem.arrivals[level as usize] as usize;
        let in_flight = || {
            let entries = problem.entries[..arrived].iter().zip(&problem.events);
            entries.filter(|(entry, _)| entry.level >= level)
        };
        let named = |bits: &Bits<W>| {
            in_flight()
                .filter(|(entry, _)| has(bits, entry.slot))
                .map(|(_, &(operation, _))| operation)
                .collect()
        };
        let used = problem.groups.iter().enumerate().filter_map(|(group, of)| {
            let count = sets.used(one.used, group as u32);
            (count > 0).then(|| (problem.calls.calls[of.call as usize].clone(), count))
        });
        Carried {
            state: compiled.state(one.state).clone(),
            done: named(&one.done),
            available: named(&one.available),
            used: used.collect(),
        }
    }
}
