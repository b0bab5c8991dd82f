//! Workloads by name: what is done, by which clients, and by which model the history is judged.
//!
//! A [`Workload`] is built from [`WorkloadOptions`], which is what a command line or a campaign file says. Adding one takes
//! one file and one line of [`WORKLOADS`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use labrys_history::Value;
use labrys_seed::Seed;
use labrys_store::raft::ReadMode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clients;
use crate::generator::{BoxGenerator, Gaps, GeneratorExt, clients as on_clients};
use crate::{ClientFactory, Generator, lease, register};

/// Everything that a run needs to know of what its clients do.
pub struct Workload {
    /// Its name in [`WORKLOADS`].
    pub name: &'static str,
    /// What the client threads do, with rate and time limit. Runs on client threads only: join the nemesis's operations to
    /// it with [`any`](crate::generator::any).
    pub generator: BoxGenerator,
    /// What the client threads do at the end, when everything has been healed. It knows what `generator` did, so it must not be
    /// asked before that one is done.
    pub final_generator: Option<BoxGenerator>,
    /// Opens the clients.
    pub clients: Arc<dyn ClientFactory>,
    /// How the history is judged.
    pub checks: Checks,
}

impl fmt::Debug for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Workload").field("name", &self.name).field("checks", &self.checks).finish()
    }
}

/// How the history of a workload is judged. The names are those of `labrys-checker`, which this crate does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The sequential model: `cas-register`, `lease`.
    pub model: &'static str,
    /// What a key holds at the beginning.
    pub initial: Value,
    /// Whether the history consists of independent keys.
    pub independent_keys: bool,
}

/// Which values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenValues {
    /// Random integers from 0 below this bound: compare-and-set succeeds often enough to matter.
    Below(u32),
    /// Never the same twice on a key: every read tells exactly which write it saw.
    Unique,
}

/// What a user can choose about a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorkloadOptions {
    /// Whose clients: a name in [`clients::SYSTEMS`].
    pub system: String,
    /// `host:port` of the nodes' client interfaces, in the order of the nodes.
    pub node_addresses: Vec<String>,
    /// Number of client threads.
    pub concurrency: usize,
    /// Operations per second of all threads together, at the times of a Poisson process; as many as the system can take if
    /// absent.
    pub rate_per_second: Option<f64>,
    /// How many keys are worked on at a time, by as many groups of threads.
    pub key_count: usize,
    /// After so many operations a key is done, and its group goes on to a new one.
    pub ops_per_key: u64,
    /// A key is done, too, when so many processes may have worked on it: every operation that ended `info` makes a new
    /// process, and all of them stay concurrent with the rest of the key's history. If absent, twice as many as there are
    /// threads that work on it, and at least 20.
    pub processes_per_key: Option<usize>,
    /// Which values are written.
    pub values: WrittenValues,
    /// How the reference store is to answer reads.
    pub read_mode: ReadMode,
    /// No operation is invoked later than so long after the first.
    pub time_limit_ms: u64,
    /// The seed of the run.
    pub seed: Seed,
}

impl Default for WorkloadOptions {
    fn default() -> WorkloadOptions {
        WorkloadOptions {
            system: clients::labrys_store::NAME.to_owned(),
            node_addresses: Vec::new(),
            concurrency: 10,
            rate_per_second: None,
            key_count: 2,
            ops_per_key: 200,
            processes_per_key: None,
            values: WrittenValues::Below(5),
            read_mode: ReadMode::ReadIndex,
            time_limit_ms: 30_000,
            seed: Seed(0),
        }
    }
}

impl WorkloadOptions {
    /// How many threads work on a key; the last key gets what remains of the division as well.
    #[must_use]
    pub fn threads_per_key(&self) -> usize {
        (self.concurrency / self.key_count.max(1)).max(1)
    }

    /// `generator` on the client threads, with the rate and the time limit.
    pub(crate) fn paced(&self, generator: impl Generator + 'static) -> BoxGenerator {
        let time_limit = Duration::from_millis(self.time_limit_ms);
        match self.rate_per_second {
            None => on_clients(generator.time_limit(time_limit)).boxed(),
            Some(rate) => {
                let mean = Duration::from_secs_f64(1.0 / rate);
                let staggered = generator.stagger(mean, Gaps::Exponential, self.seed.fork("rate"));
                on_clients(staggered.time_limit(time_limit)).boxed()
            }
        }
    }

    fn validate(&self) -> Result<(), WorkloadError> {
        let at_least_one = [
            ("concurrency", self.concurrency as u64),
            ("key-count", self.key_count as u64),
            ("ops-per-key", self.ops_per_key),
        ];
        for (option, value) in at_least_one {
            if value == 0 {
                return Err(WorkloadError::option(option, "0", "must be at least 1"));
            }
        }
        if self.concurrency > MAXIMUM_CONCURRENCY {
            let reason = format!("must be at most {MAXIMUM_CONCURRENCY}");
            return Err(WorkloadError::option("concurrency", self.concurrency, reason));
        }
        if self.key_count > self.concurrency {
            let reason = format!("more keys at a time than there are threads ({})", self.concurrency);
            return Err(WorkloadError::option("key-count", self.key_count, reason));
        }
        if self.process_limit() < self.largest_group() {
            let reason = format!("{} threads work on a key", self.largest_group());
            return Err(WorkloadError::option("processes-per-key", self.process_limit(), reason));
        }
        if self.values == WrittenValues::Below(0) {
            return Err(WorkloadError::option("values", "below 0", "no integer from 0 is below 0"));
        }
        match self.rate_per_second {
            // The lower bound keeps 1/rate within what a Duration can say.
            Some(rate) if !(rate.is_finite() && rate >= 1e-6) => {
                Err(WorkloadError::option("rate", rate, "must be a number of at least 0.000001"))
            }
            _ => Ok(()),
        }
    }

    /// How many processes may work on a key.
    #[must_use]
    pub fn process_limit(&self) -> usize {
        self.processes_per_key.unwrap_or_else(|| (2 * self.largest_group()).max(20))
    }

    fn largest_group(&self) -> usize {
        let per_key = self.threads_per_key();
        per_key + self.concurrency.saturating_sub(per_key * self.key_count)
    }
}

/// More threads than any machine of ours serves: a limit on everything.
const MAXIMUM_CONCURRENCY: usize = 100_000;

/// A workload cannot be built as asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WorkloadError {
    /// There is no such workload.
    #[error("there is no workload `{name}`; there are: {}", known.join(", "))]
    UnknownWorkload {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// We have no client of that system for this workload.
    #[error("there are no clients of `{name}`; there are clients of: {}", known.join(", "))]
    UnknownSystem {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// An option has a value that makes no sense.
    #[error("{option} = {value}: {reason}")]
    Option {
        /// Its name on the command line.
        option: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: String,
    },
}

impl WorkloadError {
    pub(crate) fn option(
        option: &'static str,
        value: impl fmt::Display,
        reason: impl Into<String>,
    ) -> WorkloadError {
        WorkloadError::Option { option, value: value.to_string(), reason: reason.into() }
    }
}

/// A line of the table of workloads.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadEntry {
    /// Its name.
    pub name: &'static str,
    /// One line for a person.
    pub summary: &'static str,
    /// Builds it. The options have been validated.
    pub build: fn(&WorkloadOptions) -> Result<Workload, WorkloadError>,
    /// How its histories are judged.
    pub checks: fn() -> Checks,
}

/// The workloads.
pub const WORKLOADS: &[WorkloadEntry] = &[
    WorkloadEntry {
        name: register::NAME,
        summary: "reads, writes and compare-and-set on independent keys; must be linearizable",
        build: register::build,
        checks: register::checks,
    },
    WorkloadEntry {
        name: lease::NAME,
        summary: "keys under leases, kept alive for a while; none may be gone before its time, or come back",
        build: lease::build,
        checks: lease::checks,
    },
];

/// The names in [`WORKLOADS`], for messages and completions of a command line.
pub const NAMES: &[&str] = &[register::NAME, lease::NAME];

/// The workload called `name`.
pub fn build(name: &str, options: &WorkloadOptions) -> Result<Workload, WorkloadError> {
    let entry = entry(name)?;
    options.validate()?;
    (entry.build)(options)
}

/// How the histories of the workload called `name` are judged.
///
/// # Errors
/// If there is no such workload.
pub fn checks(name: &str) -> Result<Checks, WorkloadError> {
    Ok((entry(name)?.checks)())
}

fn entry(name: &str) -> Result<&'static WorkloadEntry, WorkloadError> {
    WORKLOADS
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| WorkloadError::UnknownWorkload { name: name.to_owned(), known: NAMES.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory() -> WorkloadOptions {
        WorkloadOptions { system: "in-memory".to_owned(), ..WorkloadOptions::default() }
    }

    #[test]
    fn the_names_are_those_of_the_table() {
        assert_eq!(NAMES, WORKLOADS.iter().map(|entry| entry.name).collect::<Vec<_>>());
    }

    #[test]
    fn every_workload_of_the_table_can_be_built_with_the_defaults() {
        for entry in WORKLOADS {
            let workload = build(entry.name, &in_memory()).expect(entry.name);
            assert_eq!(workload.name, entry.name);
        }
    }

    #[test]
    fn an_unknown_workload_is_an_error_that_names_those_there_are() {
        let error = build("registry", &in_memory()).unwrap_err();
        assert_eq!(error.to_string(), "there is no workload `registry`; there are: register, lease");
    }

    #[test]
    fn an_unknown_system_is_an_error_that_names_those_there_are() {
        let options = WorkloadOptions { system: "oracle".to_owned(), ..in_memory() };
        let error = build("register", &options).unwrap_err();
        let names: Vec<&str> = clients::SYSTEMS.iter().map(|system| system.name).collect();
        let expected =
            format!("there are no clients of `oracle`; there are clients of: {}", names.join(", "));
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn any_number_of_threads_is_right_with_the_defaults() {
        for concurrency in [2, 3, 7, 50, 1000] {
            build("register", &WorkloadOptions { concurrency, ..in_memory() })
                .expect("nothing else was asked for");
        }
    }

    #[test]
    fn options_that_make_no_sense_are_errors_that_name_the_option() {
        let refused = [
            (WorkloadOptions { concurrency: 0, ..in_memory() }, "concurrency"),
            (WorkloadOptions { concurrency: 1 << 40, ..in_memory() }, "concurrency"),
            (WorkloadOptions { key_count: 0, ..in_memory() }, "key-count"),
            (WorkloadOptions { key_count: 11, ..in_memory() }, "key-count"),
            (WorkloadOptions { ops_per_key: 0, ..in_memory() }, "ops-per-key"),
            (WorkloadOptions { processes_per_key: Some(4), ..in_memory() }, "processes-per-key"),
            (WorkloadOptions { values: WrittenValues::Below(0), ..in_memory() }, "values"),
            (WorkloadOptions { rate_per_second: Some(0.0), ..in_memory() }, "rate"),
            (WorkloadOptions { rate_per_second: Some(-1.0), ..in_memory() }, "rate"),
            (WorkloadOptions { rate_per_second: Some(f64::NAN), ..in_memory() }, "rate"),
        ];
        for (options, expected) in refused {
            match build("register", &options) {
                Err(WorkloadError::Option { option, .. }) => assert_eq!(option, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
