//! [`solve`]: an exact answer from searches that count only those crashed operations which matter.
//!
//! Which crashed operations a configuration has used multiplies the configurations: with c of them there may be 2^c as many.
//! Mostly it does not matter: what is wrong with a wrong history is wrong even if every crashed operation could take effect
//! as often as it liked, and what is right with a right one seldom depends on using up some of them. So the first search
//! counts none, or, if the model is not finite, only how many were used in all. Whatever it finds is checked against the history: if some group of crashed operations was used more often than
//! it could be, then that group is counted from then on, and the search begins anew. (Counterexample-guided abstraction
//! refinement: Clarke, Grumberg, Jha, Lu and Veith, CAV 2000.)
//!
//! **Why the answer is exact.** A search that counts fewer groups admits at least the sequences of steps that the history
//! admits. If it finds a linearization in which nothing is used too often, that is one of the history. If it finds none, then
//! the history has none and reaches no further level than the search. Whether the history does reach that level is a question
//! of the first kind again, and answered in the same way, by searches that stop there: mostly soon, since a level that can be
//! reached is found like any linearization. If the level cannot be reached after all, the level that can is lower, and the
//! question is asked again for that one. Each round but those counts a group that was not counted.

use super::problem::Problem;
use super::race::{self, Algorithm, Outcome, race};
use super::search::{CONFIGURATIONS_FOR_LONGER, Found, Search, Taken};
use crate::budget::{Account, Meter};
use crate::model::Model;

/// An answer, and what it took.
pub(crate) struct Solved {
    pub found: Found,
    /// The search that had it.
    pub algorithm: &'static str,
    /// Configurations entered in all rounds.
    pub configurations: u64,
    /// The furthest level that the last search reached.
    pub furthest: u32,
    /// Searches.
    pub rounds: usize,
    /// The most bytes held at a time.
    pub peak_bytes: usize,
}

/// Decides `problem`, as far as the budget goes. `is_wanted` is asked now and then.
pub(crate) fn solve<M: Model>(
    model: &M,
    problem: &Problem<M::Call>,
    algorithm: Algorithm,
    meter: &Meter<'_>,
    is_wanted: &dyn Fn() -> bool,
) -> Solved {
    let mut counted = vec![false; problem.groups.len()];
    let (mut configurations, mut rounds, mut peak_bytes) = (0, 0, 0);
    // Nothing reaches further than this level.
    let mut bound = None;
    loop {
        let outcome = race(model, problem, &counted, bound, algorithm, meter, is_wanted);
        configurations += outcome.configurations;
        peak_bytes = peak_bytes.max(outcome.peak_bytes);
        rounds += 1;
        let too_often = match &outcome.found {
            Found::Linearization(path) | Found::Nothing { longest: path, .. } => {
                used_too_often(problem, path)
            }
            Found::GivenUp(_) => Vec::new(),
        };
        if too_often.is_empty() {
            let Outcome { mut found, algorithm, furthest, .. } = outcome;
            if let Found::Nothing { level, longest } = &mut found
                && algorithm == race::BREADTH_FIRST
                && let Some(longer) = longer(model, problem, &counted, *level, meter, is_wanted)
            {
                *longest = longer;
            }
            return Solved { found, algorithm, configurations, furthest, rounds, peak_bytes };
        }
        match outcome.found {
            // The first time that nothing is found, or the bound turns out too high, the same groups are enough to go on with:
            // other orders that reach the level may use nothing too often.
            Found::Nothing { level, .. } if bound.is_none_or(|bound| level < bound) => bound = Some(level),
            _ => count(&mut counted, &too_often),
        }
    }
}

/// A longest order that reaches `level`, which is known to be the furthest, if the depth-first search has one soon: so what is
/// told of a small history does not depend on which search was first.
fn longer<M: Model>(
    model: &M,
    problem: &Problem<M::Call>,
    counted: &[bool],
    level: u32,
    meter: &Meter<'_>,
    is_wanted: &dyn Fn() -> bool,
) -> Option<Vec<Taken>> {
    let mut search = Search::new(model, problem, counted).stopping_at(level);
    let configurations = CONFIGURATIONS_FOR_LONGER + 4 * u64::from(level);
    match search.run(configurations, meter, &mut Account::open(meter), is_wanted) {
        Some(Found::Nothing { level: reached, longest }) if reached == level => {
            used_too_often(problem, &longest).is_empty().then_some(longest)
        }
        _ => None,
    }
}

fn count(counted: &mut [bool], groups: &[usize]) {
    for &group in groups {
        assert!(!counted[group], "a group that is counted is never used too often");
        counted[group] = true;
    }
}

/// The groups of crashed operations that `path` uses more often than operations of them were invoked by then.
fn used_too_often<C>(problem: &Problem<C>, path: &[Taken]) -> Vec<usize> {
    let mut used = vec![0_usize; problem.groups.len()];
    let mut is_too_often = vec![false; problem.groups.len()];
    let mut levels = Levels::at_the_start(problem);
    for &taken in path {
        match taken {
            Taken::Entry(entry) => levels.linearize(entry),
            Taken::Crashed(group) => {
                let group = group as usize;
                let arrival = problem.groups[group].arrivals.get(used[group]);
                is_too_often[group] |= arrival.is_none_or(|&arrival| arrival > levels.level);
                used[group] += 1;
            }
        }
    }
    (0..is_too_often.len()).filter(|&group| is_too_often[group]).collect()
}

/// The level along a path.
struct Levels<'p> {
    completes: &'p [u32],
    is_linearized: Vec<bool>,
    level: u32,
}

impl<'p> Levels<'p> {
    fn at_the_start<C>(problem: &'p Problem<C>) -> Levels<'p> {
        Levels { completes: &problem.completes, is_linearized: vec![false; problem.entries.len()], level: 0 }
    }

    fn linearize(&mut self, entry: u32) {
        self.is_linearized[entry as usize] = true;
        while let Some(&next) = self.completes.get(self.level as usize)
            && self.is_linearized[next as usize]
        {
            self.level += 1;
        }
    }
}
