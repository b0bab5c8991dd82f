//! [`shrink()`]: the smallest run that fails in the same way as a given one.
//!
//! The faults are made explicit (who was hit, not who was meant), then the run is reduced step by step: an earlier end and beginning, fewer faults by
//! delta debugging ([`delta`]: Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, TSE 2002), fewer nodes hit,
//! shorter faults, no tuning, fewer nodes, clients, keys and operations, until nothing of it helps any more or the number of runs is
//! spent. Every step is checked by a run, and counts only if that fails by the same property or checker.
//!
//! If a defect is switched on that is to blame (the correct store bears the same run), it stays to blame: a smaller run that the correct
//! store does not bear either, because an option was left out that its faults rest on, is none.
//!
//! Whatever is left out shifts every later random choice, as in any simulation, so that a smaller run may survive by mere luck. For
//! that a candidate gets several seeds; the one that fails stands in the file.

pub mod delta;
mod reductions;

use std::time::Duration;

use labrys_checker::Budget;
use labrys_history::{EventKind, Process};
use labrys_nemesis::{Schedule, Scheduled};
use labrys_seed::Seed;

use crate::failure::Failure;
use crate::run::{Simulated, SimulationConfig, SimulationError, run};
use crate::schedule_file::{ScheduleFile, in_order};

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Simulated runs, all together.
    pub runs: u64,
    /// Seeds for each candidate.
    pub seeds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { runs: 400, seeds: 3 }
    }
}

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Nodes.
    pub nodes: usize,
    /// Client threads.
    pub clients: usize,
    /// Operations that clients began.
    pub operations: usize,
    /// How much time has passed in the world.
    pub simulated: Duration,
}

impl Size {
    /// For people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let count = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            _ => format!("{number} {what}s"),
        };
        format!(
            "{}, {}, {}, {} and {:.2} s",
            count(self.faults, "fault"),
            count(self.nodes, "node"),
            count(self.clients, "client"),
            count(self.operations, "operation"),
            self.simulated.as_secs_f64()
        )
    }
}

/// What shrinking came to.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest run that was found.
    pub config: SimulationConfig,
    /// What it is accused of.
    pub failure: Failure,
    /// The run that was given.
    pub before: Size,
    /// The smallest one.
    pub after: Size,
    /// How many runs it took.
    pub runs: u64,
    /// Whether nothing was left to try; otherwise the runs were spent.
    pub is_minimal: bool,
}

impl Shrunk {
    /// As a file: its text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let comment =
            format!("{}\nShrunk from {} to {}.", self.failure, self.before.in_words(), self.after.in_words());
        let file = ScheduleFile { config: self.config.clone(), violates: Some(self.failure.of.clone()) };
        file.to_toml(&comment)
    }
}

/// The checkers' part of a run is limited by memory only: time would make the result another one on another machine.
const CHECKER_BYTES: usize = 256 << 20;

/// Runs `config` as shrinking and the gate do.
///
/// # Errors
/// [`SimulationError`].
pub fn simulate(config: &SimulationConfig) -> Result<Simulated, SimulationError> {
    run(config, Budget::unlimited().with_memory_limit_bytes(CHECKER_BYTES))
}

/// The smallest run that fails like `config`; `None` if that does not fail. `of` says by which property or checker; without it, by the
/// first that accuses it. `tell` hears of each improvement. At most `limits.runs` runs.
///
/// # Errors
/// [`SimulationError`] of the given run. A candidate that cannot be run is none.
pub fn shrink(
    config: &SimulationConfig,
    of: Option<&str>,
    limits: Limits,
    tell: &mut dyn FnMut(&Size, u64),
) -> Result<Option<Shrunk>, SimulationError> {
    let simulated = simulate(config)?;
    let failure = match of {
        Some(of) => Failure::named(&simulated, of),
        None => Failure::first(&simulated),
    };
    let Some(failure) = failure else { return Ok(None) };
    let before = size_of(config, &simulated);
    let is_defective = !config.test.defect.is_empty();
    let mut search = Search {
        best: config.clone(),
        blames_defect: is_defective && !fails_without_defect(config, &failure.of),
        failure,
        size: before,
        last_ms: last_ms(&simulated),
        runs: 1,
        limits,
        tell,
    };
    let explicit = explicit(config, &simulated);
    let is_minimal = match search.accept(explicit) {
        Tried::Spent => false,
        Tried::Failed | Tried::Passed => search.reduce(),
    };
    let Search { best, failure, size, runs, .. } = search;
    Ok(Some(Shrunk { config: best, failure, before, after: size, runs, is_minimal }))
}

/// Whether the same run of the correct store fails in the same way.
fn fails_without_defect(config: &SimulationConfig, of: &str) -> bool {
    let mut correct = config.clone();
    correct.test.defect.clear();
    simulate(&correct).is_ok_and(|simulated| Failure::named(&simulated, of).is_some())
}

/// The same run with the faults as they struck.
fn explicit(config: &SimulationConfig, simulated: &Simulated) -> SimulationConfig {
    let faults = simulated.schedule.iter().filter_map(|fault| {
        let planned = fault.planned.as_ref()?;
        Some(Scheduled { fault: fault.resolved.clone().into(), ..planned.clone() })
    });
    let mut faults: Vec<Scheduled> = faults.collect();
    faults.sort_by_key(|fault| fault.id);
    let mut explicit = SimulationConfig { schedule: Some(in_order(faults)), ..config.clone() };
    explicit.test.faults = Default::default();
    explicit
}

fn size_of(config: &SimulationConfig, simulated: &Simulated) -> Size {
    let events = simulated.history.events();
    Size {
        faults: config.schedule.as_ref().map_or(simulated.schedule.len(), |schedule| schedule.faults.len()),
        nodes: config.test.nodes,
        clients: config.test.threads(),
        operations: events.iter().filter(|event| event.kind == EventKind::Invoke).count(),
        simulated: simulated.simulated,
    }
}

/// When the last thing was recorded.
fn last_ms(simulated: &Simulated) -> u64 {
    let of_clients = |event: &&labrys_history::Event| {
        event.process != Process::observer() && event.process != Process::nemesis()
    };
    let last = simulated.history.events().iter().rev().find(of_clients);
    last.map_or(0, |event| event.time_ns.div_ceil(1_000_000))
}

/// How surely a schedule fails: of what else happens at the same time, much hangs on the seed.
#[derive(Debug)]
pub struct Reproduction {
    /// The runs that failed, and by what.
    pub failed: Vec<(SimulationConfig, Failure)>,
    /// Of how many, each with a seed of its own.
    pub runs: u64,
}

/// Runs a schedule with `runs` seeds, the first of them its own. `of` says what counts as a failure; without it, any does.
///
/// # Errors
/// [`SimulationError`].
pub fn reproduce(
    config: &SimulationConfig,
    of: Option<&str>,
    runs: u64,
) -> Result<Reproduction, SimulationError> {
    let mut failed = Vec::new();
    for attempt in 0..runs {
        let mut config = config.clone();
        if attempt > 0 {
            config.test.seed = small(config.test.seed.fork("reproduction").fork_index(attempt));
        }
        let simulated = simulate(&config)?;
        let failure = match of {
            Some(of) => Failure::named(&simulated, of),
            None => Failure::first(&simulated),
        };
        failed.extend(failure.map(|failure| (config, failure)));
    }
    Ok(Reproduction { failed, runs })
}

/// What came of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// It fails in the same way, and is the best now.
    Failed,
    /// It does not.
    Passed,
    /// No more runs.
    Spent,
}

/// The search for a smaller run.
struct Search<'a> {
    best: SimulationConfig,
    /// The correct store bears the same run, and has to bear the smaller ones.
    blames_defect: bool,
    failure: Failure,
    size: Size,
    /// When the last thing happened in the best run.
    last_ms: u64,
    runs: u64,
    limits: Limits,
    tell: &'a mut dyn FnMut(&Size, u64),
}

impl Search<'_> {
    /// Takes a candidate for the best if it fails in the same way with one of the seeds.
    fn accept(&mut self, candidate: SimulationConfig) -> Tried {
        for attempt in 0..self.limits.seeds.max(1) {
            if self.runs >= self.limits.runs {
                return Tried::Spent;
            }
            let mut candidate = candidate.clone();
            if attempt > 0 {
                candidate.test.seed = small(candidate.test.seed.fork("shrink").fork_index(attempt));
            }
            self.runs += 1;
            // What cannot be run, or not with these options, is no smaller failure.
            let Ok(simulated) = simulate(&candidate) else { return Tried::Passed };
            if let Some(failure) = Failure::named(&simulated, &self.failure.of)
                && !(self.blames_defect && fails_without_defect(&candidate, &self.failure.of))
            {
                self.size = size_of(&candidate, &simulated);
                self.last_ms = last_ms(&simulated);
                self.best = candidate;
                self.failure = failure;
                (self.tell)(&self.size, self.runs);
                return Tried::Failed;
            }
        }
        Tried::Passed
    }

    fn schedule(&self) -> Schedule {
        self.best.schedule.clone().unwrap_or_default()
    }

    /// The best run with other faults.
    fn with_faults(&self, faults: Vec<Scheduled>) -> SimulationConfig {
        SimulationConfig { schedule: Some(in_order(faults)), ..self.best.clone() }
    }
}

/// A seed that can be typed again.
fn small(seed: Seed) -> Seed {
    Seed(seed.0 >> 48)
}
