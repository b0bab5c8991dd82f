//! How a configuration is extended by sequences of operations in flight: the steps of [`Breadth`] between two completions.

use super::super::compiled::{CallId, REFUSED, StateId, Steps};
use super::super::crashed::CrashSetId;
use super::super::frontier::{Bits, Configuration, append, both, clear, has, meet, set, union, without};
use super::super::problem::NONE;
use super::super::search::{Taken, UNCOUNTED};
use super::{Breadth, Item, Move, Options, call_of};
use crate::budget::{Account, Exhausted, Meter};

impl<const W: usize> Breadth<'_, W> {
    /// A configuration that is closed under pure operations, reached from one in which the operation that completes was done
    /// or not: a survivor if it just became so; and something to extend, if it is new and the operation can still be used.
    pub(super) fn reach(
        &mut self,
        configuration: Configuration<W>,
        slot: u32,
        was_done: bool,
        before: Option<StateId>,
    ) {
        let is_done = has(&configuration.done, slot);
        let is_available = has(&configuration.available, slot);
        if is_done && !(was_done && is_available) {
            self.survivors.insert(configuration, &self.crash_sets);
        }
        if (is_available || !is_done) && self.seen.insert(configuration, &self.crash_sets) {
            append(&mut self.items, Item { number: (self.seen.members.len() - 1) as u32, before });
        }
    }

    /// Tries all steps from a configuration.
    ///
    /// # Errors
    /// What ran out.
    pub(super) fn extend(
        &mut self,
        item: Item,
        slot: u32,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(), Exhausted> {
        let from = self.seen.members[item.number as usize];
        if !self.is_hopeful(from.state) {
            return Ok(());
        }
        let options = self.options(from.state);
        for number in options.start..options.end {
            self.look_if_due(meter, account, is_wanted)?;
            let step = self.moves[number];
            self.steps += 1;
            if item.before.is_some_and(|before| {
                self.compiled.step(before, call_of(step.taken, self.problem)) == step.next
            }) {
                continue;
            }
            match step.taken {
                Taken::Entry(entry) => {
                    if is_to_be_tried(&from, &step) {
                        self.take(&from, entry, &step, options, slot);
                    }
                }
                Taken::Crashed(group) => self.take_crashed(&from, group, &step, slot),
            }
        }
        Ok(())
    }

    /// Whether the operation that completes is legal in some state that leads on from `state`. Every operation in flight and
    /// every crashed one may take effect any number of times here, so this is never false where there is hope. Only asked
    /// where states are few.
    fn is_hopeful(&mut self, state: StateId) -> bool {
        if !self.facts.has_few_states {
            return true;
        }
        if let Some(is_hopeful) = self.options(state).is_hopeful {
            return is_hopeful;
        }
        let completing = self.problem.completes[self.level as usize];
        let call = self.problem.entries[completing as usize].call;
        let mut reached = vec![state];
        let mut next = 0;
        let is_hopeful = loop {
            let Some(&state) = reached.get(next) else { break false };
            let options = self.options(state);
            let is_known = options.is_hopeful == Some(true);
            if is_known || self.compiled.step(state, call) != REFUSED {
                break true;
            }
            for step in &self.moves[options.start..options.end] {
                if !reached.contains(&step.next) {
                    reached.push(step.next);
                }
            }
            next += 1;
        };
        self.options.get_mut(&state).expect("asked for above").is_hopeful = Some(is_hopeful);
        is_hopeful
    }

    fn take(&mut self, from: &Configuration<W>, entry: u32, step: &Move<W>, options: Options<W>, slot: u32) {
        let mut to = *from;
        set(&mut to.done, step.slot);
        clear(&mut to.available, step.slot);
        to.state = step.next;
        if step.next != from.state {
            to.done = union(&to.done, &self.options(step.next).pure);
        }
        if !step.forgets {
            to.path = self.paths.push(from.path, Taken::Entry(entry), self.level, NONE);
            return self.reach(to, slot, has(&from.done, slot), None);
        }
        to.done = union(&to.done, &both(&self.forgetting, &to.available));
        let mut is_alone = true;
        for number in options.start..options.end {
            let other = self.moves[number];
            let Taken::Entry(forgotten) = other.taken else { continue };
            if !has(&to.done, other.slot) && is_to_be_tried(from, &other) {
                is_alone = false;
                let mut to = to;
                set(&mut to.done, other.slot);
                to.path = self.paths.push(from.path, Taken::Entry(entry), self.level, forgotten);
                self.reach(to, slot, has(&from.done, slot), None);
            }
        }
        if is_alone {
            to.path = self.paths.push(from.path, Taken::Entry(entry), self.level, NONE);
            self.reach(to, slot, has(&from.done, slot), None);
        }
    }

    fn take_crashed(&mut self, from: &Configuration<W>, group: u32, step: &Move<W>, slot: u32) {
        if meet(&step.equal, &from.available) {
            return;
        }
        let Some(used) = self.with_one_more(from.used, group) else { return };
        let pure = self.options(step.next).pure;
        let is_useful = step.enables_crashed
            || meet(&step.enables, &from.available)
            || without(&pure, &from.done) != [0; W];
        if !is_useful {
            return;
        }
        let mut to = *from;
        (to.used, to.state) = (used, step.next);
        to.done = union(&to.done, &pure);
        let before = (to.done == from.done).then_some(from.state);
        to.path = self.paths.push(from.path, Taken::Crashed(group), self.level, NONE);
        self.reach(to, slot, has(&from.done, slot), before);
    }

    /// The set with one more of the group, if there is one more.
    fn with_one_more(&mut self, used: CrashSetId, group: u32) -> Option<CrashSetId> {
        let (number, arrivals) = if self.counted[group as usize] {
            (group, &self.problem.groups[group as usize].arrivals)
        } else if self.counts_the_rest {
            (UNCOUNTED, &self.uncounted_arrivals)
        } else {
            return Some(used);
        };
        let next = arrivals.get(self.crash_sets.used(used, number) as usize);
        next.is_some_and(|&arrival| arrival <= self.level)
            .then(|| self.crash_sets.with_one_more(used, number))
    }

    /// What can be done in a state at the present level.
    pub(super) fn options(&mut self, state: StateId) -> Options<W> {
        if let Some(&options) = self.options.get(&state) {
            return options;
        }
        let start = self.moves.len();
        let mut pure = [0; W];
        for &entry in &self.pure {
            let entry = self.problem.entries[entry as usize];
            if self.compiled.step(state, entry.call) != REFUSED {
                set(&mut pure, entry.slot);
            }
        }
        for position in 0..self.in_flight.len() {
            let number = self.in_flight[position];
            let entry = self.problem.entries[number as usize];
            let next = self.compiled.step(state, entry.call);
            if next != REFUSED {
                let equal = self.equal(&self.in_flight[..position], entry.call);
                self.moves.push(Move {
                    taken: Taken::Entry(number),
                    next,
                    slot: entry.slot,
                    forgets: self.facts.overwriting[entry.call as usize],
                    equal,
                    enables: [0; W],
                    enables_crashed: false,
                });
            }
        }
        for group in 0..self.problem.groups.len() {
            if self.problem.groups[group].arrivals[0] > self.level {
                break;
            }
            self.add_crashed(state, group as u32);
        }
        let options = Options { pure, start, end: self.moves.len(), is_hopeful: None };
        self.options.insert(state, options);
        options
    }

    fn equal(&self, entries: &[u32], call: CallId) -> Bits<W> {
        entries.iter().fold([0; W], |mut bits, &entry| {
            let entry = &self.problem.entries[entry as usize];
            if entry.call == call {
                set(&mut bits, entry.slot);
            }
            bits
        })
    }

    fn add_crashed(&mut self, state: StateId, group: u32) {
        let call = self.problem.groups[group as usize].call;
        let next = self.compiled.step(state, call);
        if next == REFUSED || next == state {
            return;
        }
        // Stops at the first that is enough: each look may be at a state that was never seen.
        let compiled = &mut *self.compiled;
        let mut there = self.problem.groups.iter().take_while(|group| group.arrivals[0] <= self.level);
        let enables_crashed = there.any(|other| is_enabled(compiled, state, next, other.call));
        let mut enables = [0; W];
        if !enables_crashed {
            for &entry in &self.in_flight {
                let entry = self.problem.entries[entry as usize];
                if is_enabled(compiled, state, next, entry.call) {
                    set(&mut enables, entry.slot);
                }
            }
        }
        let equal = self.equal(&self.in_flight, call);
        let taken = Taken::Crashed(group);
        self.moves.push(Move { taken, next, slot: 0, forgets: false, equal, enables, enables_crashed });
    }
}

/// Whether a call that is legal behind a crashed operation would not have done the same before it.
fn is_enabled(compiled: &mut dyn Steps, state: StateId, next: StateId, call: CallId) -> bool {
    let after = compiled.step(next, call);
    after != REFUSED && compiled.step(state, call) != after
}

/// Whether an operation in flight is available, and no equal one is to be tried in its place.
fn is_to_be_tried<const W: usize>(from: &Configuration<W>, step: &Move<W>) -> bool {
    let earlier = both(&step.equal, &from.available);
    let is_done = has(&from.done, step.slot);
    has(&from.available, step.slot)
        && if is_done || step.forgets { earlier == [0; W] } else { without(&earlier, &from.done) == [0; W] }
}
