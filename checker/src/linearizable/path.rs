//! [`Paths`]: how the configurations of a breadth-first search came about, and the order that one of them stands for.
//!
//! Only steps that change the state are kept, each with the level at which it was taken, in a tree that the configurations
//! share. What no configuration needs any more is thrown away now and then, so that the memory follows the length of the
//! history and the differences of the few that survive.

use super::breadth::Facts;
use super::compiled::{REFUSED, StateId, Steps};
use super::frontier::append;
use super::problem::{NONE, Shape};
use super::search::Taken;
use crate::budget::{Exhausted, Pace};

/// A step, by number; [`Paths::ROOT`] is none.
pub(crate) type PathId = u32;

#[derive(Clone, Copy, Debug)]
struct Step {
    before: PathId,
    taken: Taken,
    /// The level of the search at the time.
    level: u32,
    /// An operation that may stand directly before this one, which forgets it; or [`NONE`].
    forgotten: u32,
}

/// The steps of all configurations.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    steps: Vec<Step>,
    /// The number of steps at which to throw away.
    collect_at: usize,
}

impl Paths {
    /// No step.
    pub const ROOT: PathId = u32::MAX;
    const COLLECT_FROM: usize = 1 << 16;

    /// Adds a step.
    pub fn push(&mut self, before: PathId, taken: Taken, level: u32, forgotten: u32) -> PathId {
        append(&mut self.steps, Step { before, taken, level, forgotten });
        u32::try_from(self.steps.len() - 1).expect("fewer than 2^32 steps fit in memory")
    }

    /// Whether it is time for [`Paths::collect`].
    pub fn is_full(&self) -> bool {
        self.steps.len() >= self.collect_at.max(Self::COLLECT_FROM)
    }

    /// Throws away the steps that lead to none of `ends`, and renumbers those.
    pub fn collect<'e>(&mut self, ends: impl Iterator<Item = &'e mut PathId>) {
        let ends: Vec<&mut PathId> = ends.collect();
        let mut number = vec![NONE; self.steps.len()];
        for end in &ends {
            let mut at = **end;
            while at != Self::ROOT && number[at as usize] == NONE {
                number[at as usize] = 0;
                at = self.steps[at as usize].before;
            }
        }
        let mut kept = 0;
        for position in 0..self.steps.len() {
            if number[position] != NONE {
                let mut step = self.steps[position];
                if step.before != Self::ROOT {
                    step.before = number[step.before as usize];
                }
                self.steps[kept] = step;
                number[position] = kept as u32;
                kept += 1;
            }
        }
        self.steps.truncate(kept);
        self.collect_at = 2 * kept;
        for end in ends {
            if *end != Self::ROOT {
                *end = number[*end as usize];
            }
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<Step>()
    }

    fn to(&self, end: PathId) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = end;
        while at != Self::ROOT {
            steps.push(self.steps[at as usize]);
            at = self.steps[at as usize].before;
        }
        steps.reverse();
        steps
    }

    /// An order from `start` that reaches `level` by the steps to `end`: these, the pure operations where they are legal, and
    /// the forgotten ones where they do not matter.
    ///
    /// # Errors
    /// What ran out.
    pub fn order(
        &self,
        start: &Start,
        (end, level): (PathId, u32),
        problem: &Shape,
        facts: &Facts,
        compiled: &mut dyn Steps,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Taken>, Exhausted> {
        let steps = self.to(end);
        let mut placed = vec![false; problem.entries.len()];
        start.done.iter().for_each(|&entry| placed[entry as usize] = true);
        for step in &steps {
            if let Taken::Entry(entry) = step.taken {
                placed[entry as usize] = true;
            }
        }
        let mut before: Vec<Before> = vec![Before::default(); steps.len() + 1];
        for (at, step) in steps.iter().enumerate().rev() {
            if step.forgotten != NONE && !std::mem::replace(&mut placed[step.forgotten as usize], true) {
                before[at].forgotten.push(step.forgotten);
            }
        }
        let arrived =
            problem.arrivals.get(level as usize + 1).map_or(problem.entries.len(), |&end| end as usize);
        let states = states(start.state, &steps, problem, compiled, pace)?;
        let mut from = 0;
        for (number, entry) in problem.entries.iter().enumerate().take(arrived) {
            while from < steps.len() && steps[from].level < facts.arrival[number] {
                from += 1;
            }
            pace.work(1)?;
            if placed[number] {
                continue;
            }
            // It may stand before these steps: it is invoked by then, and those before them were taken by its completion.
            let mut looks = 0;
            let mut places = (from..=steps.len())
                .take_while(|&at| at == from || steps[at - 1].level <= entry.level)
                .inspect(|_| looks += 1);
            if compiled.is_pure(entry.call) {
                let place = places.find(|&at| compiled.step(states[at], entry.call) != REFUSED);
                before[place.unwrap_or(0)].pure.extend(place.map(|_| number as u32));
            } else if facts.overwriting[entry.call as usize] {
                let place = places.find(|&at| {
                    let step = steps.get(at).filter(|step| step.level <= entry.level);
                    step.is_some_and(|step| facts.forgets(step.taken, problem))
                });
                before[place.unwrap_or(0)].forgotten.extend(place.map(|_| number as u32));
            }
            pace.work(looks)?;
        }
        let mut order = Vec::new();
        for (at, Before { pure, forgotten }) in before.into_iter().enumerate() {
            order.extend(pure.into_iter().chain(forgotten).map(Taken::Entry));
            order.extend(steps.get(at).map(|step| step.taken));
        }
        while matches!(order.last(), Some(Taken::Crashed(_))) {
            order.pop();
        }
        Ok(order)
    }
}

/// Where paths begin: a state, and operations that are done there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    /// The state.
    pub state: StateId,
    /// Entries.
    pub done: Vec<u32>,
}

/// What stands directly before a step, besides the steps before it.
#[derive(Clone, Debug, Default)]
struct Before {
    /// First, what changes nothing.
    pure: Vec<u32>,
    /// Then, what the step forgets; the one that does not forget the state itself is the first of these.
    forgotten: Vec<u32>,
}

/// The states before the first step and after each.
fn states(
    start: StateId,
    steps: &[Step],
    problem: &Shape,
    compiled: &mut dyn Steps,
    pace: &mut Pace<'_>,
) -> Result<Vec<StateId>, Exhausted> {
    let mut states = vec![start];
    for step in steps {
        pace.work(1)?;
        let call = match step.taken {
            Taken::Entry(entry) => problem.entries[entry as usize].call,
            Taken::Crashed(group) => problem.groups[group as usize].call,
        };
        let next = compiled.step(*states.last().expect("the first"), call);
        assert_ne!(next, REFUSED, "a path of the search is legal");
        states.push(next);
    }
    Ok(states)
}
