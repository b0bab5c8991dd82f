//! Turns "there is no order" into evidence that a person can follow, whichever algorithm said so.
//!
//! That a part cannot be linearized is certain before anything here begins ([`Failure`]), and stays so. Each part of the explanation by
//! itself may run out of its budget, or fail: then the evidence says so ([`CutShort`]), and has the others.
//!
//! - [`Telling::tell`]: the order before the failure, stepped through the model, and what could come next.
//! - [`super::surviving`]: the configurations that are left.
//! - [`crate::minimal`]: a small part of the history that is enough.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustc_hash::FxHashSet;

use super::problem::{Completed, Interval};
use super::surviving::{self, Cut};
use crate::budget::{Exhausted, Meter, Pace};
use crate::check::bug_report;
use crate::minimal;
use crate::model::Model;
use crate::verdict::{Candidate, CutShort, ExplanationPart, NonLinearizable, Step, Surviving};

/// The most steps of the longest linearization that stand in the evidence; of a longer one, the last.
pub const STEPS_LIMIT: usize = 1_000;
/// The most candidates that stand in the evidence.
pub const CANDIDATES_LIMIT: usize = 200;

/// That a part cannot be linearized.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The position of the operation whose completion ends the shortest prefix that cannot be linearized.
    pub blocked: u32,
    /// A legal order, by position, of that prefix which has all that completed before its end, if it is known.
    pub order: Option<Order>,
    /// What is not known, and why.
    pub cut_short: Vec<CutShort>,
}

/// An order before a failure.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The operations, by position.
    pub positions: Vec<u32>,
    /// Whether it is known to be a longest one. If not, it is lengthened as far as that is easy.
    pub is_longest: bool,
}

/// The evidence for a failure, and a sentence of it. Never fails: what does not succeed is left out, and said to be.
pub(crate) fn explain<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    failure: Failure,
    meter: &Meter<'_>,
) -> (NonLinearizable, String) {
    let Failure { blocked, order, cut_short } = failure;
    let ending = Ending::of(intervals, blocked);
    let mut evidence = NonLinearizable {
        prefix_end: ending.completed.index,
        operation: ending.operation,
        longest_linearization: Vec::new(),
        omitted_steps: 0,
        state: String::new(),
        candidates: Vec::new(),
        surviving: Surviving::default(),
        minimal: None,
        cut_short,
    };
    let call = &intervals[blocked as usize].call;
    let wanted = catch_unwind(AssertUnwindSafe(|| model.describe_call(call)));
    let wanted = wanted.unwrap_or_else(|_| "its result".to_owned());
    let events = format!("events {} to {}", ending.operation, ending.completed.index);
    let mut reason = format!("no order explains {wanted} ({events})");
    if let Some(order) = order {
        let telling = Telling { model, intervals, ending, wanted: &wanted };
        let part = ExplanationPart::LongestLinearization;
        let told = guarded(part, &mut evidence.cut_short, || {
            telling.tell(&order, meter).map_err(|why| why.to_string())
        });
        if let Some(Told { steps, omitted, state, candidates, own, states }) = told {
            let which = match order.is_longest {
                true => "of those that reach this far, a longest",
                false => "one that reaches this far",
            };
            reason = format!("{reason}: {which} ends with {state}");
            (evidence.longest_linearization, evidence.omitted_steps) = (steps, omitted);
            (evidence.state, evidence.candidates) = (state, candidates);
            evidence.surviving.configurations.push(own.clone());
            let part = ExplanationPart::SurvivingConfigurations;
            let surviving = guarded(part, &mut evidence.cut_short, || {
                surviving::surviving(&telling, &order.positions, own, states, meter)
            });
            evidence.surviving = surviving.unwrap_or(evidence.surviving);
        }
    }
    let found = guarded(ExplanationPart::MinimalHistory, &mut evidence.cut_short, || {
        minimal::minimal(model, intervals, meter, &ending)
    });
    evidence.minimal = found;
    (evidence, reason)
}

/// What `explain` comes to; if that is nothing, why, in `cut_short`. A panic is a reason like any other.
pub(crate) fn guarded<T>(
    part: ExplanationPart,
    cut_short: &mut Vec<CutShort>,
    explain: impl FnOnce() -> Result<T, String>,
) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(explain)).unwrap_or_else(|panic| Err(bug_report(&*panic)));
    outcome.map_err(|reason| cut_short.push(CutShort { part, reason })).ok()
}

/// The end of a prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// The position of the operation that completes there, and its name.
    pub blocked: u32,
    pub operation: u64,
    pub completed: Completed,
}

impl Ending {
    pub fn of<C>(intervals: &[Interval<C>], blocked: u32) -> Ending {
        let interval = &intervals[blocked as usize];
        let completed = interval.completed.expect("a prefix ends with a completion");
        Ending { blocked, operation: interval.operation, completed }
    }

    /// Whether an operation completes before the prefix ends.
    pub fn is_behind<C>(&self, interval: &Interval<C>) -> bool {
        let end = (self.completed.time_ns, self.completed.index);
        interval.completed.is_some_and(|completed| (completed.time_ns, completed.index) < end)
    }

    /// Whether an operation is invoked before the prefix ends.
    pub fn has<C>(&self, interval: &Interval<C>) -> bool {
        interval.invoked_ns <= self.completed.time_ns
    }

    /// What is in the prefix and not in `order`: those that complete first, then crashed ones that may change something, one of each
    /// call, in order of invocation.
    pub fn pending<M: Model>(
        &self,
        model: &M,
        intervals: &[Interval<M::Call>],
        order: impl Iterator<Item = u32>,
    ) -> Vec<u32> {
        let mut is_done = vec![false; intervals.len()];
        order.for_each(|position| is_done[position as usize] = true);
        let is_pending = |&position: &u32| {
            let interval = &intervals[position as usize];
            self.has(interval) && !is_done[position as usize] && !self.is_behind(interval)
        };
        let pending = (0..intervals.len() as u32).filter(is_pending);
        let (mut completing, mut crashed): (Vec<u32>, Vec<u32>) =
            pending.partition(|&position| intervals[position as usize].completed.is_some());
        completing.sort_unstable_by_key(|&position| {
            let completed = intervals[position as usize].completed;
            completed.map(|completed| (completed.time_ns, completed.index))
        });
        crashed.sort_unstable_by_key(|&position| {
            let interval = &intervals[position as usize];
            (interval.invoked_ns, interval.operation)
        });
        let mut met: FxHashSet<&M::Call> = FxHashSet::default();
        crashed.retain(|&position| {
            let call = &intervals[position as usize].call;
            !model.is_pure(call) && met.insert(call)
        });
        completing.append(&mut crashed);
        completing
    }
}

/// What is told of an order.
struct Told<S> {
    steps: Vec<Step>,
    omitted: u64,
    state: String,
    candidates: Vec<Candidate>,
    /// The configuration at its end.
    own: crate::verdict::Configuration,
    /// The cuts that were asked for, each with the state there.
    states: Vec<(Cut, S)>,
}

/// Puts into words what stands before the end of a prefix.
pub(crate) struct Telling<'t, M: Model> {
    pub model: &'t M,
    pub intervals: &'t [Interval<M::Call>],
    pub ending: Ending,
    /// The call that completes at the end of the prefix, in words.
    pub wanted: &'t str,
}

impl<M: Model> Telling<'_, M> {
    fn tell(&self, order: &Order, meter: &Meter<'_>) -> Result<Told<M::State>, Exhausted> {
        let Telling { model, intervals, ending, .. } = *self;
        let cuts = surviving::cuts(intervals, &ending, &order.positions);
        let mut replay = Replay::new(model, intervals, meter);
        let mut states = Vec::with_capacity(cuts.len());
        let first_told = order.positions.len().saturating_sub(STEPS_LIMIT);
        for at in 0..=order.positions.len() {
            states.extend(cuts.iter().filter(|cut| cut.at == at).map(|&cut| (cut, replay.state.clone())));
            if let Some(&position) = order.positions.get(at) {
                replay.step(position, at >= first_told)?;
            }
        }
        let mut pending = ending.pending(model, intervals, order.positions.iter().copied());
        if !order.is_longest {
            pending = replay.lengthen(pending)?;
        }
        assert!(pending.contains(&ending.blocked), "an order with it would linearize the prefix");
        let pending: Vec<_> = pending.iter().map(|&position| &intervals[position as usize]).collect();
        let placed = order.positions.iter().chain(&replay.lengthened);
        let placed = placed.map(|&position| &intervals[position as usize]);
        let candidates = self.candidates(&replay.state, &pending, CANDIDATES_LIMIT, &mut replay.pace)?;
        let own = surviving::configuration(self, &replay.state, placed, &pending, &mut replay.pace)?;
        let Replay { steps, omitted, state, .. } = replay;
        let state = model.describe_state(&state);
        Ok(Told { steps: steps.into(), omitted, state, candidates, own, states })
    }

    /// The model's own reasons why at most `limit` of `pending` cannot come next in `state`, or lead nowhere.
    pub fn candidates(
        &self,
        state: &M::State,
        pending: &[&Interval<M::Call>],
        limit: usize,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Candidate>, Exhausted> {
        let candidate = |interval: &&Interval<M::Call>| {
            pace.work(Pace::units_of_bytes(self.model.heap_bytes(state)))?;
            let reason = match self.model.step(state, &interval.call) {
                Err(refusal) => refusal.to_string(),
                Ok(next) => self.leads_nowhere(&next),
            };
            let description = self.model.describe_call(&interval.call);
            Ok(Candidate { operation: interval.operation, description, reason })
        };
        pending.iter().take(limit).map(candidate).collect()
    }

    fn leads_nowhere(&self, after: &M::State) -> String {
        format!(
            "leads nowhere: possible, and then {}, but no order of the rest explains {} by event {}",
            self.model.describe_state(after),
            self.wanted,
            self.ending.completed.index
        )
    }
}

/// An order, replayed through the model. Only the present state is held.
struct Replay<'r, M: Model> {
    model: &'r M,
    intervals: &'r [Interval<M::Call>],
    pace: Pace<'r>,
    state: M::State,
    /// The last steps, and the number of those before them.
    steps: VecDeque<Step>,
    omitted: u64,
    lengthened: Vec<u32>,
}

impl<'r, M: Model> Replay<'r, M> {
    fn new(model: &'r M, intervals: &'r [Interval<M::Call>], meter: &'r Meter<'r>) -> Self {
        let (steps, lengthened) = (VecDeque::new(), Vec::new());
        Replay {
            model,
            intervals,
            pace: Pace::new(meter),
            state: model.init(),
            steps,
            omitted: 0,
            lengthened,
        }
    }

    fn call(&self, position: u32) -> &'r M::Call {
        &self.intervals[position as usize].call
    }

    /// The state after a step, if it is legal.
    fn next(&mut self, position: u32) -> Result<Option<M::State>, Exhausted> {
        let next = self.model.step(&self.state, self.call(position)).ok();
        let bytes = self.model.heap_bytes(next.as_ref().unwrap_or(&self.state));
        self.pace.work(Pace::units_of_bytes(bytes))?;
        Ok(next)
    }

    fn step(&mut self, position: u32, is_told: bool) -> Result<(), Exhausted> {
        let next = self.next(position)?;
        let next = next.unwrap_or_else(|| panic!("operation {position} of an order is not legal in it"));
        if is_told {
            self.take(position, next);
        } else {
            self.state = next;
            self.omitted += 1;
        }
        Ok(())
    }

    fn take(&mut self, position: u32, next: M::State) {
        self.state = next;
        if self.steps.len() == STEPS_LIMIT {
            self.steps.pop_front();
            self.omitted += 1;
        }
        self.steps.push_back(Step {
            operation: self.intervals[position as usize].operation,
            description: self.model.describe_call(self.call(position)),
            state: self.model.describe_state(&self.state),
        });
    }

    /// Appends what is legal of `pending`, crashed operations aside, first what changes nothing; what is left of it.
    fn lengthen(&mut self, mut pending: Vec<u32>) -> Result<Vec<u32>, Exhausted> {
        'lengthening: loop {
            for pure in [true, false] {
                for at in 0..pending.len() {
                    let position = pending[at];
                    let is_candidate = self.intervals[position as usize].completed.is_some()
                        && self.model.is_pure(self.call(position)) == pure;
                    if is_candidate && let Some(next) = self.next(position)? {
                        pending.remove(at);
                        self.lengthened.push(position);
                        self.take(position, next);
                        continue 'lengthening;
                    }
                }
            }
            return Ok(pending);
        }
    }
}
