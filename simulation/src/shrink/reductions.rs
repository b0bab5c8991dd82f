//! The steps by which a run gets smaller.

use std::time::Duration;

use labrys_harness::config::Concurrency;
use labrys_nemesis::{CLIENTS, Fault, PartitionShape, Scheduled, Target};

use super::{Search, Tried, delta};
use crate::run::SimulationConfig;

/// Rounds of all steps: what one makes smaller, another may make smaller still.
const MOST_ROUNDS: usize = 4;
/// Ends and lengths of faults are multiples of this.
const GRAIN_MS: u64 = 10;

impl<'a> Search<'a> {
    /// All steps, as long as they help. Whether that was the end; false: the runs were spent.
    pub(super) fn reduce(&mut self) -> bool {
        let steps: [fn(&mut Search<'a>) -> Tried; 10] = [
            Search::end_earlier,
            Search::leave_faults_out,
            Search::begin_earlier,
            Search::end_earlier,
            Search::leave_settings_out,
            Search::have_fewer_nodes,
            Search::have_fewer_clients,
            Search::hit_fewer,
            Search::shorten_faults,
            Search::end_earlier,
        ];
        for _ in 0..MOST_ROUNDS {
            let mut helped = false;
            for step in steps {
                match step(self) {
                    Tried::Failed => helped = true,
                    Tried::Passed => {}
                    Tried::Spent => return false,
                }
            }
            if !helped {
                break;
            }
        }
        true
    }

    /// The first candidate that fails; what differs from the best in nothing is none.
    fn first_of(&mut self, candidates: impl IntoIterator<Item = SimulationConfig>) -> Tried {
        for candidate in candidates {
            if candidate.test == self.best.test
                && candidate.schedule == self.best.schedule
                && (candidate.tuned, candidate.core) == (self.best.tuned, self.best.core)
            {
                continue;
            }
            match self.accept(candidate) {
                Tried::Passed => {}
                other => return other,
            }
        }
        Tried::Passed
    }

    fn end_earlier(&mut self) -> Tried {
        let limit_ms = u64::try_from(self.best.test.time_limit.as_millis()).unwrap_or(u64::MAX);
        let seen_ms = self.last_ms.next_multiple_of(GRAIN_MS).max(GRAIN_MS);
        let ends = [limit_ms / 8, limit_ms / 4, limit_ms / 2, limit_ms * 3 / 4, seen_ms];
        let ends = ends.map(|end_ms| end_ms.next_multiple_of(GRAIN_MS)).map(|end_ms| end_ms.max(GRAIN_MS));
        let best = self.best.clone();
        let earlier = ends.into_iter().filter(|end_ms| *end_ms < limit_ms);
        self.first_of(earlier.map(|end_ms| ending(&best, end_ms)))
    }

    /// Less happens before the first fault: everything is earlier by so much.
    fn begin_earlier(&mut self) -> Tried {
        let best = self.best.clone();
        let first_ms = self.schedule().faults.iter().map(|fault| fault.at_ms).min().unwrap_or(0);
        let starts = [100, first_ms / 4, first_ms / 2, first_ms * 3 / 4];
        let starts = starts.map(|start_ms| start_ms.next_multiple_of(GRAIN_MS));
        let earlier = starts.into_iter().filter(|start_ms| *start_ms < first_ms);
        self.first_of(earlier.map(|start_ms| earlier_by(&best, first_ms - start_ms)))
    }

    fn leave_faults_out(&mut self) -> Tried {
        let faults = self.schedule().faults;
        let mut spent = false;
        let found = delta::minimise(&faults, &mut |subset| {
            let tried = self.accept(self.with_faults(subset.to_vec()));
            spent |= tried == Tried::Spent;
            (tried != Tried::Spent).then_some(tried == Tried::Failed)
        });
        outcome(spent, found.len() < faults.len())
    }

    /// Of a fault that hits several, one is spared.
    fn hit_fewer(&mut self) -> Tried {
        self.change_faults(|fault| match fault.fault.target() {
            Some(Target::Named(names)) if names.len() > 1 => {
                let spared = |spared: &String| names.iter().filter(|name| *name != spared).cloned().collect();
                names.iter().map(|name| aimed(fault, Target::Named(spared(name)))).collect()
            }
            _ => Vec::new(),
        })
    }

    fn shorten_faults(&mut self) -> Tried {
        self.change_faults(|fault| {
            let lengths = [fault.duration_ms / 8, fault.duration_ms / 2];
            let lengths = lengths.map(|ms| ms.next_multiple_of(GRAIN_MS).max(GRAIN_MS));
            let shorter = lengths.into_iter().filter(|ms| *ms < fault.duration_ms);
            shorter.map(|duration_ms| Scheduled { duration_ms, ..fault.clone() }).collect()
        })
    }

    /// Each fault in turn becomes the first of its smaller ones with which the run still fails.
    fn change_faults(&mut self, smaller: impl Fn(&Scheduled) -> Vec<Scheduled>) -> Tried {
        let mut helped = false;
        for position in 0..self.schedule().faults.len() {
            let faults = self.schedule().faults;
            for changed in smaller(&faults[position]) {
                let mut faults = faults.clone();
                faults[position] = changed;
                match self.accept(self.with_faults(faults)) {
                    Tried::Failed => {
                        helped = true;
                        break;
                    }
                    Tried::Passed => {}
                    Tried::Spent => return Tried::Spent,
                }
            }
        }
        outcome(false, helped)
    }

    /// No tuning, no trial of a core, and none of the store's flags that are not needed.
    fn leave_settings_out(&mut self) -> Tried {
        let mut helped = false;
        let best = self.best.clone();
        let simpler: [SimulationConfig; 2] =
            [SimulationConfig { core: false, ..best.clone() }, SimulationConfig { tuned: false, ..best }];
        for candidate in simpler {
            let candidate = SimulationConfig { core: candidate.core && self.best.core, ..candidate };
            match self.first_of([candidate]) {
                Tried::Failed => helped = true,
                Tried::Passed => {}
                Tried::Spent => return Tried::Spent,
            }
        }
        for option in self.best.test.store_option.clone() {
            let mut candidate = self.best.clone();
            candidate.test.store_option.retain(|other| *other != option);
            match self.accept(candidate) {
                Tried::Failed => helped = true,
                Tried::Passed => {}
                Tried::Spent => return Tried::Spent,
            }
        }
        outcome(false, helped)
    }

    fn have_fewer_nodes(&mut self) -> Tried {
        let best = self.best.clone();
        let fewer = [3, 4].into_iter().filter(|nodes| *nodes < best.test.nodes);
        self.first_of(fewer.map(|nodes| with_nodes(&best, nodes)))
    }

    fn have_fewer_clients(&mut self) -> Tried {
        let mut helped = false;
        let best = self.best.clone();
        let threads = [1, 2, 3, 5].into_iter().filter(|threads| *threads < best.test.threads());
        let fewer_clients: Vec<_> = threads
            .map(|threads| {
                let mut candidate = best.clone();
                candidate.test.concurrency = Concurrency::Threads(threads);
                candidate.test.key_count = candidate.test.key_count.min(threads);
                candidate
            })
            .collect();
        let tried = self.first_of(fewer_clients);
        helped |= tried == Tried::Failed;
        if tried == Tried::Spent {
            return tried;
        }
        let best = self.best.clone();
        let keys = [1, 2].into_iter().filter(|keys| *keys < best.test.key_count);
        let fewer_keys: Vec<_> = keys
            .map(|key_count| {
                let mut candidate = best.clone();
                candidate.test.key_count = key_count;
                candidate
            })
            .collect();
        let tried = self.first_of(fewer_keys);
        helped |= tried == Tried::Failed;
        if tried == Tried::Spent {
            return tried;
        }
        let best = self.best.clone();
        let rates = [0.1, 0.5].map(|part| (best.test.rate * part).round());
        let rates = rates.into_iter().filter(|rate| *rate >= 1.0 && *rate < best.test.rate);
        let slower: Vec<_> = rates
            .map(|rate| {
                let mut candidate = best.clone();
                candidate.test.rate = rate;
                candidate
            })
            .collect();
        match self.first_of(slower) {
            Tried::Passed => outcome(false, helped),
            other => other,
        }
    }
}

fn outcome(spent: bool, helped: bool) -> Tried {
    match (spent, helped) {
        (true, _) => Tried::Spent,
        (false, true) => Tried::Failed,
        (false, false) => Tried::Passed,
    }
}

/// The same run with another end; what would begin later is left out.
fn ending(config: &SimulationConfig, end_ms: u64) -> SimulationConfig {
    let mut config = config.clone();
    config.test.time_limit = Duration::from_millis(end_ms);
    if let Some(schedule) = &mut config.schedule {
        schedule.faults.retain(|fault| fault.at_ms < end_ms);
    }
    config
}

/// The same run with all its faults, and its end, earlier.
fn earlier_by(config: &SimulationConfig, by_ms: u64) -> SimulationConfig {
    let mut config = config.clone();
    config.test.time_limit = config.test.time_limit.saturating_sub(Duration::from_millis(by_ms));
    for fault in config.schedule.iter_mut().flat_map(|schedule| &mut schedule.faults) {
        fault.at_ms = fault.at_ms.saturating_sub(by_ms);
    }
    config
}

/// The same fault with another target, if it has one.
fn aimed(scheduled: &Scheduled, aim: Target) -> Scheduled {
    let mut scheduled = scheduled.clone();
    if let Some(target) = scheduled.fault.target_mut() {
        *target = aim;
    }
    scheduled
}

/// The same run with the first nodes only, and the faults as far as they hit those.
fn with_nodes(config: &SimulationConfig, nodes: usize) -> SimulationConfig {
    let mut config = config.clone();
    config.test.nodes = nodes;
    let is_there = |name: &str| (1..=nodes).any(|number| name == format!("n{number}"));
    let is_end = |name: &str| is_there(name) || name == CLIENTS;
    let left = |scheduled: Scheduled| -> Option<Scheduled> {
        match &scheduled.fault {
            // Without acknowledgements of a kernel both are the same here.
            Fault::Partition {
                shape: PartitionShape::Links(links) | PartitionShape::MuffledLinks(links),
            } => {
                let links = links.iter().filter(|link| is_end(&link.from) && is_end(&link.to));
                let links: Vec<_> = links.cloned().collect();
                let fault = Fault::Partition { shape: PartitionShape::Links(links.clone()) };
                (!links.is_empty()).then_some(Scheduled { fault, ..scheduled })
            }
            fault => match fault.target() {
                Some(Target::Named(names)) => {
                    let names: Vec<String> = names.iter().filter(|name| is_there(name)).cloned().collect();
                    (!names.is_empty()).then(|| aimed(&scheduled, Target::Named(names)))
                }
                _ => Some(scheduled),
            },
        }
    };
    if let Some(schedule) = &mut config.schedule {
        let faults = std::mem::take(&mut schedule.faults);
        schedule.faults = faults.into_iter().filter_map(left).collect();
        *schedule = crate::schedule_file::in_order(std::mem::take(&mut schedule.faults));
    }
    config
}
