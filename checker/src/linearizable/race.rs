//! [`race`]: the depth-first and the breadth-first search in competition.
//!
//! They take turns, each for as many steps as the other, and longer every time. So the one that would end first costs little
//! more than twice its own steps; and since turns are counted in steps and not in time, the same one wins on every machine, and
//! the verdict with all its evidence is the same. (Two threads would gain a factor of two for one partition alone, at the price of a
//! verdict that depends on the machine; the threads have other partitions to search.)
//!
//! The depth-first search soon finds an order where there are many; the breadth-first search is not deceived by
//! a bad choice far back, and its memory follows the concurrency.

use super::breadth::Breadth;
use super::domain::furthest_level;
use super::problem::Problem;
use super::search::{Found, Search};
use crate::budget::{Account, Exhausted, Meter};
use crate::model::Model;

/// Which search decides. The verdict is the same; time and memory are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// What suits: a polynomial algorithm where there is one, and both searches in competition otherwise.
    #[default]
    Auto,
    /// Both searches in competition, whatever else there is.
    General,
    /// The depth-first search alone.
    DepthFirst,
    /// The breadth-first search alone.
    BreadthFirst,
}

/// Configurations in the first turn of the depth-first search, for each operation and in any case.
const FIRST_TURN: (u64, u64) = (4, 10_000);

/// The names of the searches in verdicts.
pub(crate) const DEPTH_FIRST: &str = "wgl";
pub(crate) const BREADTH_FIRST: &str = "breadth-first";

/// How a race ended.
pub(crate) struct Outcome {
    pub found: Found,
    pub algorithm: &'static str,
    /// Configurations entered, or steps tried, by both.
    pub configurations: u64,
    /// The furthest level that either reached.
    pub furthest: u32,
    /// The most bytes held.
    pub peak_bytes: usize,
}

/// A search that can be interrupted.
trait Runner {
    /// `None` if there is no answer yet.
    fn run(
        &mut self,
        steps: u64,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Option<Found>;
    fn steps(&self) -> u64;
    fn furthest(&self) -> u32;
}

impl<M: Model> Runner for Search<'_, M> {
    fn run(
        &mut self,
        steps: u64,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Option<Found> {
        Search::run(self, steps, meter, account, is_wanted)
    }

    fn steps(&self) -> u64 {
        self.configurations()
    }

    fn furthest(&self) -> u32 {
        Search::furthest(self)
    }
}

impl<const W: usize> Runner for Breadth<'_, W> {
    fn run(
        &mut self,
        steps: u64,
        meter: &Meter<'_>,
        account: &mut Account<'_>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Option<Found> {
        Breadth::run(self, steps, meter, account, is_wanted)
    }

    fn steps(&self) -> u64 {
        Breadth::steps(self)
    }

    fn furthest(&self) -> u32 {
        Breadth::furthest(self)
    }
}

/// A search with what it holds of the budget.
struct Lane<'r> {
    name: &'static str,
    runner: Box<dyn Runner + 'r>,
    account: Account<'r>,
}

/// Searches `problem` with the crashed operations that are `counted`, stopping at `bound` if nothing reaches further.
pub(crate) fn race<M: Model>(
    model: &M,
    problem: &Problem<M::Call>,
    counted: &[bool],
    bound: Option<u32>,
    algorithm: Algorithm,
    meter: &Meter<'_>,
    is_wanted: &dyn Fn() -> bool,
) -> Outcome {
    let mut turn = FIRST_TURN.0 * problem.entries.len() as u64 + FIRST_TURN.1;
    let (mut steps, mut furthest, mut peak_bytes) = (0, 0, 0);
    // Whose turn it is stands last. The breadth-first search is not even prepared before the first turn of the other is over.
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    if algorithm == Algorithm::BreadthFirst {
        lanes.extend(breadth_first(model, problem, counted, bound, meter));
    }
    let mut is_breadth_first_to_come = matches!(algorithm, Algorithm::Auto | Algorithm::General);
    if lanes.is_empty() {
        let search = Search::new(model, problem, counted);
        let runner = Box::new(match bound {
            Some(level) => search.stopping_at(level),
            None => search,
        });
        lanes.push(Lane { name: DEPTH_FIRST, runner, account: Account::open(meter) });
    }
    let mut is_bounded = bound.is_some();
    loop {
        let mut lane = lanes.pop().expect("a lane is left until there is an answer");
        let found = lane.runner.run(turn, meter, &mut lane.account, is_wanted);
        furthest = furthest.max(lane.runner.furthest());
        peak_bytes = peak_bytes.max(meter.held_bytes());
        let is_to_be_bounded = found.is_none() && !std::mem::replace(&mut is_bounded, true);
        let level = if is_to_be_bounded { furthest_level(model, problem, meter) } else { Ok(None) };
        if let Ok(Some(level)) = level {
            let spent = lane.runner.steps();
            drop((lane, lanes));
            let mut outcome = race(model, problem, counted, Some(level), algorithm, meter, is_wanted);
            outcome.configurations += spent;
            return outcome;
        }
        match level.map_or_else(|exhausted| Some(Found::GivenUp(exhausted)), |_| found) {
            None => {
                lanes.insert(0, lane);
                if std::mem::take(&mut is_breadth_first_to_come) {
                    lanes.extend(breadth_first(model, problem, counted, bound, meter));
                }
                turn += turn / 2;
            }
            // What it held is free now for the other.
            Some(Found::GivenUp(Exhausted::Memory(_))) if !lanes.is_empty() => steps += lane.runner.steps(),
            Some(found) => {
                steps += lane.runner.steps() + lanes.iter().map(|lane| lane.runner.steps()).sum::<u64>();
                return Outcome { found, algorithm: lane.name, configurations: steps, furthest, peak_bytes };
            }
        }
    }
}

/// The breadth-first search with as many words as the problem needs, unless they are too many.
fn breadth_first<'r, M: Model>(
    model: &'r M,
    problem: &'r Problem<M::Call>,
    counted: &'r [bool],
    goal: Option<u32>,
    meter: &'r Meter<'r>,
) -> Option<Lane<'r>> {
    let runner: Box<dyn Runner + 'r> = match problem.slots.div_ceil(64) {
        0 | 1 => Box::new(Breadth::<1>::new(model, problem, counted, goal)),
        2 => Box::new(Breadth::<2>::new(model, problem, counted, goal)),
        3 | 4 => Box::new(Breadth::<4>::new(model, problem, counted, goal)),
        5..=8 => Box::new(Breadth::<8>::new(model, problem, counted, goal)),
        _ => return None,
    };
    Some(Lane { name: BREADTH_FIRST, runner, account: Account::open(meter) })
}
