//! [`Search`]: the depth-first search for a linearization.
//!
//! After Wing and Gong, "Testing and verifying concurrent objects" (J. Parallel Distrib. Comput. 17, 1993), with Lowe's memo
//! of configurations ("Testing for linearizability", Concurrency Computat.: Pract. Exper. 29, 2017). A configuration is a
//! level (see [`super::problem`]), the operations in flight that are linearized, the state, and the crashed operations used.
//! A step linearizes one operation in flight, or uses a crashed one; when the operation that holds up the level is
//! linearized, the level rises to the next completion whose operation is not. At the last level all is linearized.
//!
//! The worst case is exponential in the number of operations in flight (the problem is NP-complete), not in the length: for
//! each level there are at most 2^(in flight) × states × crash sets configurations, and each is entered once.
//!
//! # Crashed operations that are not counted
//!
//! A search may be told to count the uses of some groups of crashed operations only. The others can then be used any number
//! of times once the first of the group was invoked; or, if the model is not finite ([`Model::is_finite`]) and a counter could
//! so be increased for ever, all of them together as often as operations of these groups were invoked by then. The search
//! admits more than the history, and remembers less. [`super::refine`] makes an exact answer of such searches.
//!
//! # What is not searched, and why nothing is lost
//!
//! Call a configuration *good to level l* if some sequence of steps leads from it to level l or beyond, and let its
//! *distance* be the least number of steps of such a sequence. Call it *closed* if no pure operation in flight is legal in
//! it, and *searched* if its steps were tried. The claim is that, if the start is good to l, then the search reaches l.
//!
//! From every configuration the search first goes to a closed one (first rule below), which is good to l if the first one
//! is, with no greater distance. Suppose that l is not reached. Of the closed configurations that were searched and are good
//! to l, take those of the least distance d, and of those the one, C, that was searched first. d is not 0. A shortest sequence
//! from C begins with a step to some C', whose distance is d - 1. Each rule by which C' or the closed one behind it was not
//! searched leads to a contradiction: it shows a searched and closed configuration that is good to l and is nearer than d,
//! or as near and was searched before C.
//!
//! - **Pure operations first.** If a pure operation p in flight is legal, it is linearized at once and nothing else is tried.
//!   p is in flight, so everything that must precede it is linearized, and it may come now. In a shortest sequence p can
//!   be moved to the front if it occurs, since it changed no state and all other steps stay legal; if it does not occur, it
//!   can be taken now and the rest stays legal. Either way what is reached by p is good, with no greater distance.
//!   Operations in flight are finite, so this ends in a closed configuration.
//! - **Memo.** The closed configuration behind C' is the same as one that was searched, of distance at most d - 1.
//! - **Equal calls in flight.** Of operations in flight with equal calls only the one that completes first is tried. In a
//!   sequence that takes b, and later (or never, before l) the equal a, which completes before b, exchange their places: both
//!   are in flight now, so both may come now; and wherever a came later, b may come too, as b completes after a. The
//!   sequence is as short, and begins with a step that is tried.
//! - **Crashed after in flight.** A crashed operation is not tried while an equal one in flight is not linearized: the same
//!   exchange, for a crashed operation never completes.
//! - **Fewer crashed operations.** ([`super::memo`]) A configuration D was searched that differs from the closed one behind C'
//!   only in having used fewer crashed operations. The steps from there on are legal from D: its distance is at most d - 1.
//! - **Crashed without effect.** A crashed operation that leaves the state as it is, is not used: C' differs from C at most in
//!   having used more, so the d - 1 steps from C' on are legal from C, whose distance is d.
//! - **Crashed without use.** When a crashed operation x led from B to C, then a step y from C is not tried if y is also legal
//!   in B and leads to the same state from there. The level does not rise when x is used, so y may come in B too: the
//!   shortest sequence from C is legal from B, which is closed and was searched before C. And x is not used at all in B if
//!   all that can follow it is such: then x can be left out of the shortest sequence from B, which was not the shortest.
//!
//! **Furthest level.** Since all this holds for every l, a search that fails has reached the furthest level that can be
//! reached: its completion ends the shortest prefix of the history that cannot be linearized, operations in flight at its
//! end being known by what they returned later.
//!
//! **Longest order.** Of the orders that reach the furthest level, a search that goes to its end keeps one with the most
//! operations other than crashed ones. No rule loses the longest: the exchanges keep the number, pure operations first can only add to it, and
//! crashed operations do not count.

use super::compiled::{CallId, Compiled, REFUSED, StateId, WORK_PER_STEP};
use super::crashed::{CrashSetId, CrashSets};
use super::memo::Memo;
use super::problem::{Entry, NONE, Problem};
use crate::budget::{Account, Exhausted, Meter, Pulse};
use crate::model::Model;

/// When the level that is asked for was reached: so many configurations more, for a longer order that reaches it.
pub(crate) const CONFIGURATIONS_FOR_LONGER: u64 = 20_000;

/// The number under which uses of all groups that are not counted by themselves are counted together.
pub(crate) const UNCOUNTED: u32 = u32::MAX;

/// What a step linearizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// An operation in flight.
    Entry(u32),
    /// The next one of a group of crashed operations.
    Crashed(u32),
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is a linearization: the search's path.
    Linearization(Vec<Taken>),
    /// There is none.
    Nothing {
        /// The furthest level.
        level: u32,
        /// An order that reaches it, a longest unless the search was told where to stop; does not end in a crashed operation.
        longest: Vec<Taken>,
    },
    /// Given up.
    GivenUp(Exhausted),
}

/// A step that could be taken next.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    taken: Taken,
    next_state: StateId,
}

/// A configuration on the path, with what is left to try from it.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// The step that led to it; the root has none.
    taken: Option<Taken>,
    /// What the step changed.
    state_before: StateId,
    used_before: CrashSetId,
    level_before: u32,
    /// Its candidates that were not tried: `next..end` in the common list.
    next: usize,
    start: usize,
}

/// The best path so far.
#[derive(Debug, Default)]
struct Best {
    level: u32,
    linearized: usize,
    path: Vec<Taken>,
    /// So many frames from the root are the same on the path now and when `path` was noted.
    shared: usize,
}

/// A search in progress.
pub(crate) struct Search<'p, M: Model> {
    pub problem: &'p Problem<M::Call>,
    pub compiled: Compiled<'p, M>,
    pub level: u32,
    pub state: StateId,
    pub used: CrashSetId,
    pub crash_sets: CrashSets,
    /// Slots of the operations in flight.
    in_flight: Vec<u64>,
    /// Those of them that are linearized.
    linearized: Vec<u64>,
    /// Who has the slot.
    current: Vec<u32>,
    memo: Memo,
    key: Vec<u64>,
    frames: Vec<Frame>,
    candidates: Vec<Candidate>,
    /// Whether the uses of a group of crashed operations are counted.
    counted: &'p [bool],
    /// Whether the uses of all other groups together are.
    counts_the_rest: bool,
    /// The levels from which the crashed operations of the other groups are there, ascending.
    uncounted_arrivals: Vec<u32>,
    /// For each call, the configuration at which it was last met in flight.
    met: Vec<u64>,
    best: Best,
    furthest: u32,
    configurations: u64,
    /// The level at which to stop, and the number of configurations to stop at once it is reached.
    goal: Option<u32>,
    stop_at: u64,
    pulse: Pulse,
    /// The model's work at which to look at the budget.
    next_look: u64,
    /// What was held at the last look.
    booked_bytes: usize,
}

impl<'p, M: Model> Search<'p, M> {
    /// A search that has not begun, and counts the uses of the groups for which `counted` says so.
    pub fn new(model: &'p M, problem: &'p Problem<M::Call>, counted: &'p [bool]) -> Self {
        assert_eq!(counted.len(), problem.groups.len());
        let counts_the_rest = !model.is_finite();
        let uncounted = problem.groups.iter().zip(counted).filter(|&(_, &is_counted)| !is_counted);
        let mut uncounted_arrivals: Vec<u32> =
            uncounted.flat_map(|(group, _)| group.arrivals.iter().copied()).collect();
        uncounted_arrivals.sort_unstable();
        let words = problem.slots.div_ceil(64);
        let mut search = Search {
            problem,
            compiled: Compiled::new(model, &problem.calls),
            level: 0,
            state: 0,
            used: CrashSets::EMPTY,
            crash_sets: CrashSets::new(),
            in_flight: vec![0; words],
            linearized: vec![0; words],
            current: vec![NONE; problem.slots],
            memo: Memo::new(
                words + 1,
                !problem.groups.is_empty() && (counts_the_rest || counted.contains(&true)),
            ),
            key: vec![0; words + 1],
            frames: Vec::new(),
            candidates: Vec::new(),
            counted,
            counts_the_rest,
            uncounted_arrivals,
            met: vec![0; problem.calls.calls.len()],
            best: Best::default(),
            furthest: 0,
            configurations: 0,
            goal: None,
            stop_at: u64::MAX,
            pulse: Pulse::new(),
            next_look: 0,
            booked_bytes: 0,
        };
        search.arrive();
        search
    }

    /// The same, to stop soon after `level` is reached: for when it is known that nothing reaches further.
    pub fn stopping_at(self, level: u32) -> Self {
        Search { goal: Some(level), ..self }
    }

    /// Configurations entered so far.
    pub fn configurations(&self) -> u64 {
        self.configurations
    }

    /// The furthest level reached so far.
    pub fn furthest(&self) -> u32 {
        self.furthest
    }

    /// Bytes held.
    fn bytes(&self) -> usize {
        self.problem.bytes()
            + self.compiled.bytes()
            + self.crash_sets.bytes()
            + self.memo.bytes()
            + self.frames.capacity() * size_of::<Frame>()
            + self.candidates.capacity() * size_of::<Candidate>()
            + self.best.path.capacity() * size_of::<Taken>()
            + self.met.capacity() * size_of::<u64>()
    }

    /// Searches until there is an answer, `account` is overdrawn, or so many more configurations were entered: then `None`.
    /// `is_wanted` is asked now and then.
    pub fn run(
        &mut self,
        configurations: u64,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Option<Found> {
        let until = self.configurations.saturating_add(configurations);
        self.run_until(until, meter, account, is_wanted)
            .unwrap_or_else(|exhausted| Some(Found::GivenUp(exhausted)))
    }

    fn run_until(
        &mut self,
        until: u64,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Found>, Exhausted> {
        let (mut steps, mut next_look) = (0_u64, 0);
        self.pulse.pause();
        if self.frames.is_empty() {
            self.enter(None, meter)?;
        }
        loop {
            if self.configurations >= until {
                return Ok(None);
            }
            if steps >= next_look || self.compiled.work() >= self.next_look {
                next_look = steps + self.look_at_clock(meter)?;
                self.booked_bytes = self.bytes();
                account.set(self.booked_bytes)?;
                if !is_wanted() {
                    return Err(Exhausted::Decided);
                }
            }
            steps += 1;
            if self.level as usize == self.problem.completes.len() {
                let taken = self.frames.iter().filter_map(|frame| frame.taken).collect();
                return Ok(Some(Found::Linearization(taken)));
            }
            if self.configurations > self.stop_at {
                return Ok(Some(self.nothing()));
            }
            let frame = self.frames.last_mut().expect("the root is left last, and then the search ends");
            if let Some(&candidate) = self.candidates.get(frame.next) {
                frame.next += 1;
                let undo = (self.state, self.used, self.level);
                self.take(candidate.taken);
                self.state = candidate.next_state;
                self.enter(Some((candidate.taken, undo)), meter)?;
            } else if self.leave() {
                return Ok(Some(self.nothing()));
            }
        }
    }

    /// Looks at the clock, and says how many steps may be taken until the next look.
    fn look_at_clock(&mut self, meter: &Meter<'_>) -> Result<u64, Exhausted> {
        let steps = self.pulse.look(meter)?;
        self.next_look = self.compiled.work() + steps * WORK_PER_STEP;
        Ok(steps)
    }

    /// Enters the present configuration: a frame, with all that can be tried from it.
    fn enter(
        &mut self,
        reached_by: Option<(Taken, (StateId, CrashSetId, u32))>,
        meter: &Meter<'_>,
    ) -> Result<(), Exhausted> {
        let start = self.candidates.len();
        let (taken, (state_before, used_before, level_before)) = match reached_by {
            Some((taken, before)) => (Some(taken), before),
            None => (None, (self.state, self.used, self.level)),
        };
        self.frames.push(Frame { taken, state_before, used_before, level_before, next: start, start });
        self.furthest = self.furthest.max(self.level);
        if self.level as usize == self.problem.completes.len() {
            return Ok(());
        }
        self.configurations += 1;
        if let Some(pure) = self.legal_pure() {
            self.candidates.push(pure);
        } else if self.is_new(meter)? {
            let before = matches!(taken, Some(Taken::Crashed(_))).then_some(state_before);
            self.add_in_flight(before, start);
            self.add_crashed(before, meter)?;
        }
        if self.candidates.len() == start {
            self.note_best();
        }
        Ok(())
    }

    /// Leaves the configuration on top; `true` if it was the root.
    fn leave(&mut self) -> bool {
        let frame = self.frames.pop().expect("called with a frame on top");
        self.candidates.truncate(frame.start);
        self.best.shared = self.best.shared.min(self.frames.len());
        let Some(taken) = frame.taken else { return true };
        self.put_back(taken, frame.level_before);
        self.state = frame.state_before;
        self.used = frame.used_before;
        false
    }

    fn nothing(&mut self) -> Found {
        let mut longest = std::mem::take(&mut self.best.path);
        while matches!(longest.last(), Some(Taken::Crashed(_))) {
            longest.pop();
        }
        Found::Nothing { level: self.best.level, longest }
    }

    /// Notes the path if it is better than the best. Only the part that changed is copied, so that all copying together
    /// is no more than all stepping.
    fn note_best(&mut self) {
        let pending: u32 = self.linearized.iter().map(|word| word.count_ones()).sum();
        let linearized = self.level as usize + pending as usize;
        if !self.best.path.is_empty() && (self.level, linearized) <= (self.best.level, self.best.linearized) {
            return;
        }
        // The root frame stands for no step: frame number i is step number i - 1.
        let shared = self.best.shared.max(1);
        self.best.path.truncate(shared - 1);
        self.best
            .path
            .extend(self.frames[shared.min(self.frames.len())..].iter().filter_map(|frame| frame.taken));
        self.best.shared = self.frames.len();
        if self.stop_at == u64::MAX && self.goal.is_some_and(|goal| self.level >= goal) {
            self.stop_at = self.configurations + CONFIGURATIONS_FOR_LONGER;
        }
        self.best.level = self.level;
        self.best.linearized = linearized;
    }

    fn is_new(&mut self, meter: &Meter<'_>) -> Result<bool, Exhausted> {
        self.key[0] = u64::from(self.level) << 32 | u64::from(self.state);
        self.key[1..].copy_from_slice(&self.linearized);
        self.memo.insert(&self.key, self.used, &self.crash_sets, meter)
    }

    /// A pure operation in flight that is legal now.
    fn legal_pure(&mut self) -> Option<Candidate> {
        for word in 0..self.in_flight.len() {
            let mut bits = self.in_flight[word] & !self.linearized[word];
            while bits != 0 {
                let entry = self.current[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                let call = self.problem.entries[entry as usize].call;
                if self.compiled.is_pure(call) && self.compiled.step(self.state, call) != REFUSED {
                    return Some(Candidate { taken: Taken::Entry(entry), next_state: self.state });
                }
            }
        }
        None
    }

    /// Adds the operations in flight that can be next, earliest completion first. Marks the calls that are in flight.
    fn add_in_flight(&mut self, before: Option<StateId>, start: usize) {
        for word in 0..self.in_flight.len() {
            let mut bits = self.in_flight[word] & !self.linearized[word];
            while bits != 0 {
                let entry = self.current[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                self.candidates.push(Candidate { taken: Taken::Entry(entry), next_state: REFUSED });
            }
        }
        let entries = &self.problem.entries;
        self.candidates[start..].sort_unstable_by_key(|candidate| match candidate.taken {
            Taken::Entry(entry) => entries[entry as usize].level,
            Taken::Crashed(_) => unreachable!("crashed operations are added later"),
        });
        let mut kept = start;
        for position in start..self.candidates.len() {
            let Candidate { taken, .. } = self.candidates[position];
            let Taken::Entry(entry) = taken else { continue };
            let call = self.problem.entries[entry as usize].call;
            if std::mem::replace(&mut self.met[call as usize], self.configurations) == self.configurations {
                continue;
            }
            if let Some(next_state) = self.useful_step(before, call) {
                self.candidates[kept] = Candidate { taken, next_state };
                kept += 1;
            }
        }
        self.candidates.truncate(kept);
    }

    /// The state after `call`, if it is legal, and not legal with the same outcome before the crashed operation that led
    /// here from the state `before`.
    fn useful_step(&mut self, before: Option<StateId>, call: CallId) -> Option<StateId> {
        let next_state = self.compiled.step(self.state, call);
        let is_useful = next_state != REFUSED
            && before.is_none_or(|before| self.compiled.step(before, call) != next_state);
        is_useful.then_some(next_state)
    }

    /// Adds the crashed operations that can be next. To be called after `add_in_flight`, which marks calls.
    fn add_crashed(&mut self, before: Option<StateId>, meter: &Meter<'_>) -> Result<(), Exhausted> {
        let uncounted_there =
            self.uncounted_arrivals.partition_point(|&arrival| arrival <= self.level) as u32;
        let uncounted_used = self.crash_sets.used(self.used, UNCOUNTED);
        for number in 0..self.problem.groups.len() {
            let group = &self.problem.groups[number];
            let there = group.arrivals.partition_point(|&arrival| arrival <= self.level) as u32;
            if there == 0 {
                // Groups stand in the order of their first arrival.
                break;
            }
            if self.compiled.work() >= self.next_look {
                self.look_at_clock(meter)?;
                meter.check_memory(self.bytes().saturating_sub(self.booked_bytes))?;
            }
            let (call, number) = (group.call, number as u32);
            let is_used_up = if self.counted[number as usize] {
                self.crash_sets.used(self.used, number) == there
            } else {
                self.counts_the_rest && uncounted_used == uncounted_there
            };
            if is_used_up || self.met[call as usize] == self.configurations {
                continue;
            }
            match self.useful_step(before, call) {
                Some(next_state) if next_state != self.state && self.enables_something(next_state) => {
                    self.candidates.push(Candidate { taken: Taken::Crashed(number), next_state });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether, after a crashed operation has led from the present state to `next_state`, there is any step that would not
    /// have been the same without it.
    fn enables_something(&mut self, next_state: StateId) -> bool {
        for word in 0..self.in_flight.len() {
            let mut bits = self.in_flight[word] & !self.linearized[word];
            while bits != 0 {
                let entry = self.current[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                if self.is_enabled(next_state, self.problem.entries[entry as usize].call) {
                    return true;
                }
            }
        }
        for number in 0..self.problem.groups.len() {
            let group = &self.problem.groups[number];
            if group.arrivals[0] > self.level {
                return false;
            }
            if self.is_enabled(next_state, group.call) {
                return true;
            }
        }
        false
    }

    fn is_enabled(&mut self, next_state: StateId, call: CallId) -> bool {
        let after = self.compiled.step(next_state, call);
        after != REFUSED && self.compiled.step(self.state, call) != after
    }

    /// Linearizes: everything but the state.
    fn take(&mut self, taken: Taken) {
        match taken {
            Taken::Crashed(group) if self.counted[group as usize] => {
                self.used = self.crash_sets.with_one_more(self.used, group);
            }
            Taken::Crashed(_) if self.counts_the_rest => {
                self.used = self.crash_sets.with_one_more(self.used, UNCOUNTED);
            }
            Taken::Crashed(_) => {}
            Taken::Entry(entry) => {
                set(&mut self.linearized, self.problem.entries[entry as usize].slot);
                self.rise();
            }
        }
    }

    /// Raises the level past all completions whose operations are linearized.
    fn rise(&mut self) {
        while let Some(&entry) = self.problem.completes.get(self.level as usize) {
            let slot = self.problem.entries[entry as usize].slot;
            if !is_set(&self.linearized, slot) {
                break;
            }
            clear(&mut self.linearized, slot);
            clear(&mut self.in_flight, slot);
            self.level += 1;
            self.arrive();
        }
    }

    /// Takes in the operations that are in flight from this level on.
    fn arrive(&mut self) {
        for entry in self.arriving() {
            let slot = self.problem.entries[entry as usize].slot;
            self.current[slot as usize] = entry;
            set(&mut self.in_flight, slot);
        }
    }

    fn arriving(&self) -> std::ops::Range<u32> {
        let level = self.level as usize;
        match self.problem.arrivals.get(level..level + 2) {
            Some(&[start, end]) => start..end,
            _ => 0..0,
        }
    }

    /// The opposite of [`Search::take`], apart from the crash set.
    fn put_back(&mut self, taken: Taken, level_before: u32) {
        let Taken::Entry(entry) = taken else { return };
        while self.level > level_before {
            for arrived in self.arriving() {
                let Entry { slot, displaced, .. } = self.problem.entries[arrived as usize];
                clear(&mut self.in_flight, slot);
                self.current[slot as usize] = displaced;
            }
            self.level -= 1;
            let completed = self.problem.completes[self.level as usize];
            let slot = self.problem.entries[completed as usize].slot;
            set(&mut self.in_flight, slot);
            set(&mut self.linearized, slot);
        }
        clear(&mut self.linearized, self.problem.entries[entry as usize].slot);
    }
}

#[inline]
fn set(words: &mut [u64], bit: u32) {
    words[bit as usize / 64] |= 1 << (bit % 64);
}

#[inline]
fn clear(words: &mut [u64], bit: u32) {
    words[bit as usize / 64] &= !(1 << (bit % 64));
}

#[inline]
fn is_set(words: &[u64], bit: u32) -> bool {
    words[bit as usize / 64] >> (bit % 64) & 1 == 1
}
