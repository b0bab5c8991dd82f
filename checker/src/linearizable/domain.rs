//! [`Domain`]: all states of a partition and all steps between them, where there are few.
//!
//! If the calls of a partition lead to few states from the first one, each of these is tried with each call once; a search never
//! leaves them, so what is true of all of them is true of the search, and no model has to declare it:
//!
//! - [`overwriting`]: which calls *forget the state*: legal in every state, and leading to one and the same from all of them,
//!   like the write of a register. (A register of many values says it by the role of the call, [`crate::class`].)
//! - [`furthest_level`]: a level beyond which nothing can come, found without a search.

use rustc_hash::FxHashMap;

use super::compiled::{CallId, Calls};
use super::problem::Problem;
use crate::budget::{Exhausted, Meter, Pace};
use crate::class::{Class, Role};
use crate::model::Model;

/// The most states that are tried.
const STATES_LIMIT: usize = 64;
/// The most steps that are tried.
const STEPS_LIMIT: usize = 1 << 16;
/// A call that is not legal in a state.
const REFUSED: u8 = u8::MAX;

/// A set of states.
type States = u64;

/// Few states, the first of which is number 0.
pub(crate) struct Domain {
    states: usize,
    /// Where a call leads from a state: `next[call][state]`.
    next: Vec<Vec<u8>>,
}

impl Domain {
    /// All states that the calls lead to from these, the first of which is number 0; `None` if they are many.
    pub fn of<M: Model>(model: &M, calls: &Calls<M::Call>, starts: &[M::State]) -> Option<Domain> {
        if starts.len() > STATES_LIMIT {
            return None;
        }
        let mut states = starts.to_vec();
        let mut numbers: FxHashMap<M::State, u8> = states.iter().cloned().zip(0..).collect();
        let mut next: Vec<Vec<u8>> = vec![Vec::new(); calls.calls.len()];
        let mut done = 0;
        while done < states.len() {
            if (done + 1) * calls.calls.len() > STEPS_LIMIT {
                return None;
            }
            for (call, next) in calls.calls.iter().zip(&mut next) {
                let Ok(state) = model.step(&states[done], call) else {
                    next.push(REFUSED);
                    continue;
                };
                let number = match numbers.get(&state) {
                    Some(&number) => number,
                    None if states.len() == STATES_LIMIT => return None,
                    None => {
                        let number = states.len() as u8;
                        numbers.insert(state.clone(), number);
                        states.push(state);
                        number
                    }
                };
                next.push(number);
            }
            done += 1;
        }
        Some(Domain { states: states.len(), next })
    }

    fn image(&self, states: States, call: CallId) -> States {
        let mut image = 0;
        for state in bits(states) {
            let next = self.next[call as usize][state];
            if next != REFUSED {
                image |= 1 << next;
            }
        }
        image
    }
}

fn bits(mut states: States) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let state = states.trailing_zeros() as usize;
        let is_left = states != 0;
        states &= states.wrapping_sub(1);
        is_left.then_some(state)
    })
}

/// For each call whether it forgets the state; `domain` is that of these calls, if there is one.
pub(crate) fn overwriting<M: Model>(model: &M, calls: &Calls<M::Call>, domain: Option<&Domain>) -> Vec<bool> {
    if matches!(model.class(), Some(Class::Register { .. })) {
        return calls.calls.iter().map(|call| matches!(model.role(call), Some(Role::Write(_)))).collect();
    }
    let Some(domain) = domain else { return vec![false; calls.calls.len()] };
    domain.next.iter().map(|next| next[0] != REFUSED && next.iter().all(|&to| to == next[0])).collect()
}

/// A level beyond which nothing reaches, by a relaxation: every operation in flight may take effect any number of times. `None`
/// if the relaxation comes to the end, or if there are too many states.
///
/// Kept are the set S of states that are possible, and for each operation p in flight the set T(p) of those that are possible
/// if p is linearized. At each level all of them are closed under the operations in flight and the crashed ones, and
/// T(p) gets what p makes of S. When o completes, S becomes T(o), and T(p) only keeps what is in T(o). Every configuration that
/// the search can be in at that level has its state in S and, for each p that it has linearized, in T(p): a step of p leads
/// from S to T(p), a step of another operation does not leave a closed set, and when o completes it is linearized, so
/// its state is in T(o), and in T(p) as well for each other p that it has linearized. So if T(o) is empty, nothing gets past
/// the completion of o. O(operations × concurrency × states).
///
/// # Errors
/// What ran out.
pub(crate) fn furthest_level<M: Model>(
    model: &M,
    problem: &Problem<M::Call>,
    meter: &Meter<'_>,
) -> Result<Option<u32>, Exhausted> {
    let Some(domain) = Domain::of(model, &problem.calls, &[model.init()]) else { return Ok(None) };
    let mut pace = Pace::new(meter);
    let mut possible: States = 1;
    // In flight, with what is possible if it is linearized.
    let mut in_flight: Vec<(u32, States)> = Vec::new();
    for (level, &completing) in problem.completes.iter().enumerate() {
        pace.work((in_flight.len() + 1) * domain.states)?;
        in_flight.extend((problem.arrivals[level]..problem.arrivals[level + 1]).map(|entry| (entry, 0)));
        let there = problem.groups.iter().take_while(|group| group.arrivals[0] as usize <= level);
        let calls = in_flight.iter().map(|&(entry, _)| problem.entries[entry as usize].call);
        let steps = domain.steps(calls.chain(there.map(|group| group.call)));
        possible = closure(possible, &steps);
        for (entry, done) in &mut in_flight {
            *done |= domain.image(possible, problem.entries[*entry as usize].call);
            *done = closure(*done, &steps);
        }
        let at = in_flight
            .iter()
            .position(|&(entry, _)| entry == completing)
            .expect("in flight until it completes");
        possible = in_flight.swap_remove(at).1;
        if possible == 0 {
            return Ok(Some(level as u32));
        }
        for (_, done) in &mut in_flight {
            *done &= possible;
        }
    }
    Ok(None)
}

impl Domain {
    /// Where some of `calls` leads from each state.
    fn steps(&self, calls: impl Iterator<Item = CallId>) -> Vec<States> {
        let mut steps = vec![0; self.states];
        for call in calls {
            for (steps, &next) in steps.iter_mut().zip(&self.next[call as usize]) {
                if next != REFUSED {
                    *steps |= 1 << next;
                }
            }
        }
        steps
    }
}

fn closure(states: States, steps: &[States]) -> States {
    let (mut all, mut new) = (states, states);
    while new != 0 {
        let next = bits(new).fold(0, |next, state| next | steps[state]);
        new = next & !all;
        all |= next;
    }
    all
}
