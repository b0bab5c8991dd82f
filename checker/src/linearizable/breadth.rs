//! [`Breadth`]: the breadth-first search, level by level.
//!
//! After Lowe's just-in-time linearization ("Testing for linearizability", Concurrency Computat.: Pract. Exper. 29, 2017,
//! section 3) and Knossos's `linear`. Only a completion forces work: the configurations in which its operation is done
//! survive, the others are extended by sequences of operations in flight that end in it. An order of the history, cut
//! behind the operations of the completions 0, 1, … one after the other, is such sequences, for what stands before an
//! operation was invoked before that completed. The first completion that leaves nothing ends the shortest prefix that
//! cannot be linearized.
//!
//! # What is not searched, and why nothing is lost
//!
//! Fix an order of the history as far as some level that uses the fewest crashed operations. The claim: after each level
//! there is a configuration that *follows* it, that is, has the state of the order cut at that level, at least the bits of
//! it (cut operations done, others available), and has used no more crashed operations. By induction over the steps of the
//! order each rule keeps such a configuration.
//!
//! - **Dominance.** ([`super::frontier`]) What dominates one that follows, follows.
//! - **Pure operations** in flight that are legal are done at once, whenever the state changes and when they are invoked: a
//!   bit more.
//! - **Equal calls in flight.** Of available operations with equal calls, that which completes first is taken, unless it is
//!   done already and the other is not: exchanging them in the order keeps it one, as in the depth-first search.
//! - **Crashed operations**: after equal ones in flight, never without effect, and only if something follows that would not
//!   be the same without. An order with the fewest has no other.
//! - **What is forgotten.** Let w be an operation that forgets the state ([`super::domain`]), taken now. Any other such
//!   operation in flight may stand directly before w, with no difference to any state. So they all become done, and stay
//!   available: if one is used later for its effect, it just does not stand there. Neither does it matter to the others whether it
//!   does. And one operation y of any kind that is legal in the state before w may stand before all these: it becomes done as
//!   well and stays available. (Only one: a second one might be legal only behind the first.) So of the sets of forgotten
//!   writes only the empty one is searched. This adds bits, and hence nothing is lost; that each bit is true is what has just been
//!   said, and [`super::path`] makes the order of it.
//!
//! # Width
//!
//! A search of a width keeps that many configurations after each level, those with the most bits. A linearizable history mostly
//! needs few. If such a search comes to the end of the history, it has found an order; if it dies out without having thrown
//! anything away, there is none; otherwise it goes back to where it threw something away first, and is four times as wide.

mod extend;

use rustc_hash::FxHashMap;

use super::compiled::{CallId, Compiled, StateId, Steps, WORK_PER_STEP};
use super::crashed::CrashSets;
use super::domain::{Domain, overwriting};
use super::frontier::{Antichain, Bits, Configuration, both, clear, has, set, union, without};
use super::path::{PathId, Paths, Start};
use super::problem::{Problem, Shape};
use super::search::{Found, Taken};
use crate::budget::{Account, Exhausted, Meter, Pace, Pulse};
use crate::model::Model;

/// Survivors that are looked through between two looks at the clock.
const SURVIVORS_PER_LOOK: usize = 1 << 12;
/// The first width.
const WIDTH: usize = 4;
/// So many times the width may survive a level before the best are kept.
const SURVIVORS_PER_WIDTH: usize = 4;
/// So many times the width may be looked at in one level.
const LOOKS_PER_WIDTH: usize = 16;

/// What is known of a problem's operations beyond [`Problem`].
pub(crate) struct Facts {
    /// The level from which an entry is in flight.
    pub arrival: Vec<u32>,
    /// For each call whether it forgets the state.
    pub overwriting: Vec<bool>,
    /// Whether there are few states ([`super::domain`]).
    pub has_few_states: bool,
}

impl Facts {
    /// The facts of a search from these states.
    pub fn of<M: Model>(model: &M, problem: &Problem<M::Call>, starts: &[M::State]) -> Facts {
        let mut arrival = vec![0; problem.entries.len()];
        for level in 0..problem.completes.len() {
            let (start, end) = (problem.arrivals[level] as usize, problem.arrivals[level + 1] as usize);
            arrival[start..end].fill(level as u32);
        }
        let domain = Domain::of(model, &problem.calls, starts);
        let overwriting = overwriting(model, &problem.calls, domain.as_ref());
        Facts { arrival, overwriting, has_few_states: domain.is_some() }
    }

    /// Whether a step forgets the state.
    pub fn forgets(&self, taken: Taken, problem: &Shape) -> bool {
        self.overwriting[call_of(taken, problem) as usize]
    }
}

fn call_of(taken: Taken, problem: &Shape) -> CallId {
    match taken {
        Taken::Entry(entry) => problem.entries[entry as usize].call,
        Taken::Crashed(group) => problem.groups[group as usize].call,
    }
}

/// A step that is legal in a state.
#[derive(Clone, Copy, Debug)]
struct Move<const W: usize> {
    taken: Taken,
    next: StateId,
    /// Of an operation in flight.
    slot: u32,
    /// Whether it forgets the state; never of a crashed one.
    forgets: bool,
    /// Operations in flight with the same call that complete earlier; for a crashed one, all of them.
    equal: Bits<W>,
    /// Of a crashed one: operations in flight that go on otherwise than without it, and whether crashed ones do.
    enables: Bits<W>,
    enables_crashed: bool,
}

/// What can be done in a state, at the present level.
#[derive(Clone, Copy, Debug)]
struct Options<const W: usize> {
    /// Pure operations in flight that are legal.
    pure: Bits<W>,
    start: usize,
    end: usize,
    /// Whether the operation that completes can be legal after some steps from here, if all in flight could be repeated.
    is_hopeful: Option<bool>,
}

/// A configuration to extend.
#[derive(Clone, Copy, Debug)]
struct Item {
    number: u32,
    /// The state before the crashed operation that led to it and did nothing else.
    before: Option<StateId>,
}

/// A breadth-first search in progress; `W` words of 64 slots.
pub(crate) struct Breadth<'p, const W: usize> {
    problem: &'p Shape,
    facts: Facts,
    compiled: Box<dyn Steps + 'p>,
    pub crash_sets: CrashSets,
    counted: &'p [bool],
    counts_the_rest: bool,
    uncounted_arrivals: Vec<u32>,
    goal: u32,
    pub level: u32,
    furthest: u32,
    pub frontier: Vec<Configuration<W>>,
    /// Slots whose operations the first frontier knows already.
    known: Bits<W>,
    start: Start,
    width: usize,
    /// Where something was thrown away first.
    checkpoint: Option<(u32, Vec<Configuration<W>>)>,
    paths: Paths,
    /// Operations in flight that change the state, in order of completion; their slots; those that forget the state; the pure ones.
    in_flight: Vec<u32>,
    forgetting: Bits<W>,
    pure: Vec<u32>,
    options: FxHashMap<StateId, Options<W>>,
    moves: Vec<Move<W>>,
    seen: Antichain<W>,
    survivors: Antichain<W>,
    items: Vec<Item>,
    steps: u64,
    pulse: Pulse,
    next_look: u64,
    next_look_at_work: u64,
}

impl<'p, const W: usize> Breadth<'p, W> {
    /// A search that has not begun, and counts the uses of the groups for which `counted` says so, as
    /// [`super::search::Search`] does. It stops at the level `goal`, or at the end.
    pub fn new<M: Model>(
        model: &'p M,
        problem: &'p Problem<M::Call>,
        counted: &'p [bool],
        goal: Option<u32>,
    ) -> Self {
        let facts = Facts::of(model, problem, &[model.init()]);
        Self::by(model, problem, counted, goal, Box::new(Compiled::new(model, &problem.calls)), facts)
    }

    /// A search of unlimited width that asks `compiled`, up to the level `goal`; for one that goes on where another stopped, in states
    /// that `compiled` knows.
    pub fn resumed<M: Model>(
        model: &'p M,
        problem: &'p Problem<M::Call>,
        counted: &'p [bool],
        goal: u32,
        compiled: &'p mut Compiled<'_, M>,
    ) -> Self {
        let facts = Facts::of(model, problem, compiled.states());
        Breadth {
            width: usize::MAX,
            ..Self::by(model, problem, counted, Some(goal), Box::new(compiled), facts)
        }
    }

    /// The same, of that width at first.
    pub fn with_width(self, width: usize) -> Self {
        Breadth { width, ..self }
    }

    /// Begins with these configurations, which know the operations in the slots `known`, and crash sets of `sets`.
    pub fn begin(&mut self, frontier: Vec<Configuration<W>>, known: Bits<W>, sets: CrashSets) {
        let entries = (0..self.problem.arrivals[1]).zip(&self.problem.entries);
        let done = entries.filter(|(_, entry)| has(&known, entry.slot)).map(|(number, _)| number).collect();
        self.start = Start { state: frontier.first().map_or(0, |first| first.state), done };
        (self.frontier, self.known, self.crash_sets) = (frontier, known, sets);
    }

    /// The orders that lead to the configurations at the present level, if the search began with one.
    ///
    /// # Errors
    /// What ran out.
    pub fn orders(&mut self, meter: &Meter<'_>) -> Result<Vec<Vec<Taken>>, Exhausted> {
        let ends: Vec<PathId> = self.frontier.iter().map(|one| one.path).collect();
        ends.into_iter().map(|end| self.order_to(end, meter)).collect()
    }

    /// Whether nothing was thrown away on the way here.
    pub fn is_complete(&self) -> bool {
        self.checkpoint.is_none()
    }

    /// What is left of a search.
    pub fn into_frontier(self) -> (Vec<Configuration<W>>, CrashSets) {
        (self.frontier, self.crash_sets)
    }

    /// Whether anything survives up to the goal; if not, the level is that of the completion that leaves nothing.
    ///
    /// # Errors
    /// What ran out.
    pub fn advance_to_goal(
        &mut self,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
    ) -> Result<bool, Exhausted> {
        while self.level < self.goal {
            if !self.advance(meter, account, &|| true)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn by<M: Model>(
        model: &M,
        problem: &'p Problem<M::Call>,
        counted: &'p [bool],
        goal: Option<u32>,
        compiled: Box<dyn Steps + 'p>,
        facts: Facts,
    ) -> Self {
        assert!(problem.slots <= 64 * W);
        let end = problem.completes.len() as u32;
        let uncounted = problem.groups.iter().zip(counted).filter(|&(_, &is_counted)| !is_counted);
        let mut uncounted_arrivals: Vec<u32> =
            uncounted.flat_map(|(group, _)| group.arrivals.iter().copied()).collect();
        uncounted_arrivals.sort_unstable();
        let start = Configuration {
            done: [0; W],
            available: [0; W],
            state: 0,
            used: CrashSets::EMPTY,
            path: Paths::ROOT,
        };
        Breadth {
            problem: &problem.shape,
            facts,
            compiled,
            crash_sets: CrashSets::new(),
            counted,
            counts_the_rest: !model.is_finite(),
            uncounted_arrivals,
            goal: goal.map_or(end, |goal| goal.min(end)),
            level: 0,
            furthest: 0,
            frontier: vec![start],
            known: [0; W],
            start: Start::default(),
            width: WIDTH,
            checkpoint: None,
            paths: Paths::default(),
            in_flight: Vec::new(),
            forgetting: [0; W],
            pure: Vec::new(),
            options: FxHashMap::default(),
            moves: Vec::new(),
            seen: Antichain::new(),
            survivors: Antichain::new(),
            items: Vec::new(),
            steps: 0,
            pulse: Pulse::new(),
            next_look: 0,
            next_look_at_work: 0,
        }
    }

    /// Steps tried so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The furthest level reached.
    pub fn furthest(&self) -> u32 {
        self.furthest
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let checkpoint = self.checkpoint.as_ref().map_or(0, |(_, frontier)| frontier.capacity());
        self.compiled.bytes()
            + self.crash_sets.bytes()
            + self.facts.arrival.capacity() * size_of::<u32>()
            + (self.frontier.capacity() + checkpoint) * size_of::<Configuration<W>>()
            + self.paths.bytes()
            + self.seen.bytes()
            + self.survivors.bytes()
            + self.items.capacity() * size_of::<Item>()
            + self.moves.capacity() * size_of::<Move<W>>()
            + self.options.capacity() * (size_of::<Options<W>>() + 8)
    }

    /// Searches until there is an answer, `account` is overdrawn, or about `steps` more steps were tried: then `None`.
    pub fn run(
        &mut self,
        steps: u64,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Option<Found> {
        let until = self.steps.saturating_add(steps);
        self.pulse.pause();
        while self.level < self.goal {
            if self.steps >= until {
                return None;
            }
            match self.advance(meter, account, is_wanted) {
                Err(exhausted) => return Some(Found::GivenUp(exhausted)),
                Ok(true) => {}
                Ok(false) => match self.checkpoint.take() {
                    None => return Some(self.nothing(meter)),
                    Some((level, frontier)) => self.widen(level, frontier),
                },
            }
        }
        if self.level as usize == self.problem.completes.len() {
            return Some(self.order(meter).map_or_else(Found::GivenUp, Found::Linearization));
        }
        if let Err(exhausted) = self.arrive(meter, account, is_wanted) {
            return Some(Found::GivenUp(exhausted));
        }
        Some(self.nothing(meter))
    }

    fn nothing(&mut self, meter: &Meter<'_>) -> Found {
        let level = self.level;
        self.order(meter).map_or_else(Found::GivenUp, |longest| Found::Nothing { level, longest })
    }

    /// The order of the best configuration.
    fn order(&mut self, meter: &Meter<'_>) -> Result<Vec<Taken>, Exhausted> {
        let best = self.frontier.iter().max_by_key(|one| (one.score(), std::cmp::Reverse(one.key())));
        self.order_to(best.expect("a search stops with something").path, meter)
    }

    fn order_to(&mut self, end: PathId, meter: &Meter<'_>) -> Result<Vec<Taken>, Exhausted> {
        let (end, pace) = ((end, self.level), &mut Pace::new(meter));
        self.paths.order(&self.start, end, self.problem, &self.facts, &mut *self.compiled, pace)
    }

    fn widen(&mut self, level: u32, frontier: Vec<Configuration<W>>) {
        self.width = self.width.saturating_mul(4);
        (self.level, self.frontier) = (level, frontier);
        (self.in_flight, self.pure, self.forgetting) = (Vec::new(), Vec::new(), [0; W]);
        for entry in 0..self.problem.arrivals[level as usize] {
            if self.problem.entries[entry as usize].level >= level {
                self.put_in_flight(entry);
            }
        }
        self.sort_in_flight();
    }

    /// Goes past the completion of the present level; `false` if nothing survives it: then the frontier is as it was, with what is in
    /// flight at that completion.
    fn advance(
        &mut self,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<bool, Exhausted> {
        self.look_if_due(meter, account, is_wanted)?;
        self.collect_paths();
        let before = (self.checkpoint.is_none() && self.width < usize::MAX).then(|| self.frontier.clone());
        self.arrive(meter, account, is_wanted)?;
        let entry = self.problem.completes[self.level as usize];
        let slot = self.problem.entries[entry as usize].slot;
        self.items.clear();
        self.seen.clear();
        self.survivors.clear();
        for position in 0..self.frontier.len() {
            self.steps += 1;
            self.look_if_due(meter, account, is_wanted)?;
            self.reach(self.frontier[position], slot, false, None);
        }
        let mut next = 0;
        let mut is_cut = false;
        while next < self.items.len() {
            let is_enough = self.survivors.members.len() > SURVIVORS_PER_WIDTH.saturating_mul(self.width);
            if is_enough || next > LOOKS_PER_WIDTH.saturating_mul(self.width) {
                is_cut = true;
                break;
            }
            self.extend(self.items[next], slot, meter, account, is_wanted)?;
            next += 1;
        }
        if self.survivors.members.is_empty() && !is_cut {
            return Ok(false);
        }
        is_cut |= self.keep(slot, meter, account, is_wanted)?;
        if is_cut && let Some(before) = before {
            self.checkpoint = Some((self.level, before));
        }
        if self.frontier.is_empty() {
            return Ok(false);
        }
        self.complete(entry);
        Ok(true)
    }

    /// Looks at the budget if some steps were tried since the last time, or the model worked much.
    fn look_if_due(
        &mut self,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(), Exhausted> {
        if self.steps >= self.next_look || self.compiled.work() >= self.next_look_at_work {
            self.look(meter, account, is_wanted)?;
        }
        Ok(())
    }

    fn look(
        &mut self,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(), Exhausted> {
        let steps = self.pulse.look(meter)?;
        self.next_look = self.steps + steps;
        self.next_look_at_work = self.compiled.work() + steps * WORK_PER_STEP;
        account.set(self.bytes())?;
        if !is_wanted() {
            return Err(Exhausted::Decided);
        }
        Ok(())
    }

    /// Throws away the steps that nothing needs any more. Only between two levels: within one, configurations are elsewhere as well.
    fn collect_paths(&mut self) {
        if self.paths.is_full() {
            let checkpoint = self.checkpoint.iter_mut().flat_map(|(_, frontier)| frontier);
            let all = self.frontier.iter_mut().chain(checkpoint);
            self.paths.collect(all.map(|configuration| &mut configuration.path));
        }
    }

    /// The survivors become the frontier: those with the most bits, as many as the width allows, without what is dominated.
    /// Says whether any were thrown away.
    fn keep(
        &mut self,
        slot: u32,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<bool, Exhausted> {
        let mut survivors = std::mem::take(&mut self.survivors.members);
        for survivor in &mut survivors {
            clear(&mut survivor.done, slot);
            clear(&mut survivor.available, slot);
        }
        if survivors.len() > 1 {
            survivors.sort_unstable_by_key(|one| (std::cmp::Reverse(one.score()), one.key(), one.path));
        }
        self.seen.clear();
        self.frontier.clear();
        let mut is_cut = false;
        for (number, &survivor) in survivors.iter().enumerate() {
            if number % SURVIVORS_PER_LOOK == SURVIVORS_PER_LOOK - 1 {
                // They are held here, and not where they are counted.
                meter.check_time()?;
                account.set(self.bytes() + size_of_val(&*survivors))?;
                if !is_wanted() {
                    return Err(Exhausted::Decided);
                }
            }
            if self.seen.insert(survivor, &self.crash_sets) {
                if self.frontier.len() == self.width {
                    is_cut = true;
                    break;
                }
                self.frontier.push(survivor);
            }
        }
        self.survivors.members = survivors;
        self.survivors.clear();
        Ok(is_cut)
    }

    fn complete(&mut self, entry: u32) {
        self.in_flight.retain(|&other| other != entry);
        self.pure.retain(|&other| other != entry);
        clear(&mut self.forgetting, self.problem.entries[entry as usize].slot);
        self.level += 1;
        self.furthest = self.furthest.max(self.level);
    }

    fn put_in_flight(&mut self, entry: u32) {
        let (call, slot) =
            (self.problem.entries[entry as usize].call, self.problem.entries[entry as usize].slot);
        if self.compiled.is_pure(call) {
            self.pure.push(entry);
        } else {
            self.in_flight.push(entry);
            if self.facts.overwriting[call as usize] {
                set(&mut self.forgetting, slot);
            }
        }
    }

    fn sort_in_flight(&mut self) {
        let entries = &self.problem.entries;
        self.in_flight.sort_unstable_by_key(|&entry| entries[entry as usize].level);
    }

    /// Takes in the operations that are in flight from this level on.
    fn arrive(
        &mut self,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(), Exhausted> {
        let level = self.level as usize;
        self.options.clear();
        self.moves.clear();
        let mut arrived = [0; W];
        for entry in self.problem.arrivals[level]..self.problem.arrivals[level + 1] {
            self.put_in_flight(entry);
            set(&mut arrived, self.problem.entries[entry as usize].slot);
        }
        self.sort_in_flight();
        if level == 0 {
            arrived = without(&arrived, &self.known);
        }
        let effectful = self.in_flight.iter().fold([0; W], |mut bits, &entry| {
            set(&mut bits, self.problem.entries[entry as usize].slot);
            bits
        });
        let effectful = both(&arrived, &effectful);
        let has_pure = arrived != effectful;
        for position in 0..self.frontier.len() {
            self.look_if_due(meter, account, is_wanted)?;
            let state = self.frontier[position].state;
            let pure = if has_pure { both(&self.options(state).pure, &arrived) } else { [0; W] };
            let configuration = &mut self.frontier[position];
            configuration.available = union(&configuration.available, &effectful);
            configuration.done = union(&configuration.done, &pure);
        }
        Ok(())
    }
}
