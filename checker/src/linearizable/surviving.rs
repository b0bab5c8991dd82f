//! [`surviving`]: the configurations that are left just before the completion that none survives.
//!
//! Whichever algorithm decided, they come from a breadth-first search, and each from an order that is stepped through the model once more. A
//! search of the whole prefix would cost more than the verdict where a polynomial algorithm gave it. So it begins where
//! the order that is known stands a hundred completions before the end, and is narrow; and if that is too much, where it
//! stands twenty or four before. In a history of fewer completions it begins at the beginning, and then all are found, if the
//! search was not too narrow.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::breadth::Breadth;
use super::compiled::Compiled;
use super::crashed::CrashSets;
use super::explain::{Ending, Telling};
use super::frontier::{self, Bits, set};
use super::path::Paths;
use super::problem::{Interval, Problem};
use super::search::{Found, Taken};
use crate::budget::{Account, Exhausted, Meter, Pace};
use crate::model::Model;
use crate::verdict::{Configuration, Surviving};

/// The most configurations that stand in the evidence.
pub const CONFIGURATIONS_LIMIT: usize = 8;
/// The most candidates of each.
const CANDIDATES_LIMIT: usize = 20;
/// The most crashed operations of each.
const CRASHED_LIMIT: usize = 100;
/// Completions before the end of the prefix from which to search: the first that does not take too many steps.
const WINDOWS: [usize; 3] = [100, 20, 4];
/// Steps of a search.
const STEPS: u64 = 20_000;
/// Its width at first.
const WIDTH: usize = 16;

/// A place in the order before a failure from which to search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// So many steps of the order stand before it.
    pub at: usize,
    /// The first completion behind it; `None` if it is the beginning of the history.
    from: Option<(u64, u64)>,
}

/// Where to search from. O(n).
pub(crate) fn cuts<C>(intervals: &[Interval<C>], ending: &Ending, order: &[u32]) -> Vec<Cut> {
    let completion = |position: u32| {
        intervals[position as usize].completed.map(|completed| (completed.time_ns, completed.index))
    };
    let mut behind: Vec<(u64, u64)> = (0..intervals.len() as u32)
        .filter(|&position| ending.is_behind(&intervals[position as usize]))
        .filter_map(completion)
        .collect();
    let mut cuts = Vec::new();
    for window in WINDOWS {
        let Some(first) = behind.len().checked_sub(window) else {
            cuts.extend(cuts.is_empty().then_some(Cut { at: 0, from: None }));
            continue;
        };
        let (_, &mut from, _) = behind.select_nth_unstable(first);
        let last = order.iter().rposition(|&position| completion(position).is_some_and(|at| at < from));
        cuts.push(Cut { at: last.map_or(0, |last| last + 1), from: Some(from) });
    }
    cuts
}

/// The configurations that are left: `own`, that of `order`, first. `cuts` are places in the order, with the states there.
pub(crate) fn surviving<M: Model>(
    telling: &Telling<'_, M>,
    order: &[u32],
    own: Configuration,
    cuts: Vec<(Cut, M::State)>,
    meter: &Meter<'_>,
) -> Result<Surviving, String> {
    for (cut, state) in cuts {
        let window = Window::of(telling, &order[..cut.at], cut, state);
        if let Some(found) = window.search(telling, meter).map_err(|why| why.to_string())? {
            return Ok(few(own, found));
        }
    }
    Err(format!("a search for others was given up after {STEPS} steps"))
}

/// Orders of a window, one to each configuration that survives, and whether these are all.
struct Orders {
    orders: Vec<Vec<Taken>>,
    is_all: bool,
}

/// What a search found.
struct Searched {
    configurations: Vec<Configuration>,
    is_all: bool,
}

fn few(own: Configuration, found: Searched) -> Surviving {
    let mut configurations = found.configurations;
    configurations.retain(|other| *other != own);
    configurations.sort_by(|one, other| {
        let key = |of: &Configuration| Reverse(of.linearized.len());
        let rest = |of: &Configuration| (of.state.clone(), of.linearized.clone(), of.crashed.clone());
        key(one).cmp(&key(other)).then_with(|| rest(one).cmp(&rest(other)))
    });
    configurations.dedup();
    configurations.insert(0, own);
    let omitted = configurations.len().saturating_sub(CONFIGURATIONS_LIMIT) as u64;
    configurations.truncate(CONFIGURATIONS_LIMIT);
    Surviving { configurations, omitted, is_all: found.is_all }
}

/// The configuration that an order of operations (`placed`) leads to.
pub(crate) fn configuration<'i, M: Model>(
    telling: &Telling<'_, M>,
    state: &M::State,
    placed: impl Iterator<Item = &'i Interval<M::Call>>,
    pending: &[&Interval<M::Call>],
    pace: &mut Pace<'_>,
) -> Result<Configuration, Exhausted>
where
    M::Call: 'i,
{
    let (mut linearized, mut crashed) = (Vec::new(), Vec::new());
    for interval in placed {
        match interval.completed {
            None => crashed.push(interval.operation),
            Some(_) if !telling.ending.is_behind(interval) => linearized.push(interval.operation),
            Some(_) => {}
        }
    }
    linearized.sort_unstable();
    crashed.sort_unstable();
    let omitted_crashed = crashed.len().saturating_sub(CRASHED_LIMIT);
    crashed.drain(..omitted_crashed);
    Ok(Configuration {
        state: telling.model.describe_state(state),
        linearized,
        crashed,
        omitted_crashed: omitted_crashed as u64,
        candidates: telling.candidates(state, pending, CANDIDATES_LIMIT, pace)?,
    })
}

/// The end of a prefix, to be searched from one configuration.
struct Window<'i, M: Model> {
    state: M::State,
    is_from_the_beginning: bool,
    /// What came before and is in flight at the end of the prefix, or crashed.
    carried: Vec<&'i Interval<M::Call>>,
    /// Operations that may come, and such as came before and complete in the window.
    intervals: Vec<Interval<M::Call>>,
    /// The latter.
    done: BTreeSet<u64>,
}

impl<'i, M: Model> Window<'i, M> {
    fn of(telling: &Telling<'i, M>, before: &[u32], cut: Cut, state: M::State) -> Self {
        let Telling { model, intervals: whole, ending, .. } = *telling;
        let mut came = vec![false; whole.len()];
        before.iter().for_each(|&position| came[position as usize] = true);
        let completes_here = |interval: &Interval<M::Call>| {
            let end = interval.completed.map(|completed| (completed.time_ns, completed.index));
            end.is_some_and(|end| cut.from.is_none_or(|from| end >= from))
        };
        let (mut intervals, mut done) = (Vec::new(), BTreeSet::new());
        for (interval, came) in whole.iter().zip(came) {
            if came && completes_here(interval) {
                done.insert(interval.operation);
                intervals.push(interval.clone());
            } else if !came
                && ending.has(interval)
                && (interval.completed.is_some() || !model.is_pure(&interval.call))
            {
                intervals.push(interval.clone());
            }
        }
        let before = before.iter().map(|&position| &whole[position as usize]);
        let carried = before.filter(|interval| !ending.is_behind(interval)).collect();
        Window { state, is_from_the_beginning: cut.from.is_none(), carried, intervals, done }
    }

    /// What survives; `None` if that takes too many steps.
    fn search(&self, telling: &Telling<'_, M>, meter: &Meter<'_>) -> Result<Option<Searched>, Exhausted> {
        let problem = Problem::new(telling.model, &self.intervals, meter)?;
        let orders = match problem.slots {
            0..=64 => self.orders::<1>(telling, &problem, meter)?,
            65..=512 => self.orders::<8>(telling, &problem, meter)?,
            _ => None,
        };
        let Some(Orders { orders, is_all }) = orders else { return Ok(None) };
        let mut pace = Pace::new(meter);
        let mut configurations = Vec::with_capacity(orders.len());
        for order in orders {
            configurations.extend(self.configuration(&problem, &order, telling, &mut pace)?);
        }
        Ok(Some(Searched { configurations, is_all: is_all && self.is_from_the_beginning }))
    }

    /// Searches the window; `None` if that takes too many steps.
    fn orders<const W: usize>(
        &self,
        telling: &Telling<'_, M>,
        problem: &Problem<M::Call>,
        meter: &Meter<'_>,
    ) -> Result<Option<Orders>, Exhausted> {
        let model = telling.model;
        let blocked = problem.events.iter().position(|&(operation, _)| operation == telling.ending.operation);
        let goal = blocked.map(|blocked| problem.entries[blocked].level).expect("the window has its end");
        let mut known: Bits<W> = [0; W];
        for (entry, (operation, _)) in problem.entries.iter().zip(&problem.events) {
            if self.done.contains(operation) {
                set(&mut known, entry.slot);
            }
        }
        let mut compiled = Compiled::new(model, &problem.calls);
        let state = compiled.intern(self.state.clone());
        let counted = vec![true; problem.groups.len()];
        let mut search =
            Breadth::<W>::resumed(model, problem, &counted, goal, &mut compiled).with_width(WIDTH);
        let (available, used, path) = ([0; W], CrashSets::EMPTY, Paths::ROOT);
        let start = frontier::Configuration { done: known, available, state, used, path };
        search.begin(vec![start], known, CrashSets::new());
        match search.run(STEPS, meter, &mut Account::open(meter), &|| true) {
            Some(Found::Nothing { level, .. }) if level == goal => {
                let orders = search.orders(meter)?;
                Ok(Some(Orders { orders, is_all: search.is_complete() }))
            }
            Some(Found::GivenUp(exhausted)) => Err(exhausted),
            Some(Found::Nothing { .. } | Found::Linearization(_)) | None => Ok(None),
        }
    }

    /// What an order of the window leads to, stepped through the model. `None` if it is none, which a search never says.
    fn configuration(
        &self,
        problem: &Problem<M::Call>,
        order: &[Taken],
        telling: &Telling<'_, M>,
        pace: &mut Pace<'_>,
    ) -> Result<Option<Configuration>, Exhausted> {
        let mut used = vec![0_usize; problem.groups.len()];
        let mut state = self.state.clone();
        let mut placed: Vec<u32> = Vec::with_capacity(order.len());
        for &taken in order {
            let operation = problem.name(taken, &mut used);
            let found = self.intervals.iter().position(|interval| interval.operation == operation);
            let position = found.expect("an operation of the window");
            let Ok(next) = telling.model.step(&state, &self.intervals[position].call) else {
                return Ok(None);
            };
            pace.work(Pace::units_of_bytes(telling.model.heap_bytes(&next)))?;
            state = next;
            placed.push(position as u32);
        }
        let done = (0..).zip(&self.intervals).filter(|(_, interval)| self.done.contains(&interval.operation));
        let done = done.map(|(position, _)| position);
        let pending =
            telling.ending.pending(telling.model, &self.intervals, placed.iter().copied().chain(done));
        let pending: Vec<_> = pending.iter().map(|&position| &self.intervals[position as usize]).collect();
        let placed = placed.iter().map(|&position| &self.intervals[position as usize]);
        let placed = self.carried.iter().copied().chain(placed);
        configuration(telling, &state, placed, &pending, pace).map(Some)
    }
}
