//! What a test is: the options a person gives, in flags or in a TOML file, and the resolved configuration that a run
//! records as `test.toml`.
//!
//! [`TestOptions`] has every option once, for both the command line and the file. Flags win over the file, the file wins
//! over the defaults. [`TestConfig`] is complete: written to the run directory, and itself a valid campaign file, so that
//! `labrys test RUN_DIR/test.toml` runs the same test again.
//!
//! What the options are is here. How some of them are written, what they mean for faults and which values are refused is in files
//! of their own: `concurrency`, `commands`, `faults`, `checks`.

mod checks;
mod commands;
mod concurrency;
mod disk;
mod faults;

use std::path::{Path, PathBuf};
use std::time::Duration;

use labrys_checker::invariants::Available;
use labrys_nemesis::{DiskKind, FaultList};
use labrys_seed::Seed;
use labrys_store::raft::ReadMode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::commands::UserCommands;
pub use self::concurrency::Concurrency;
pub use self::faults::ClockBy;

use self::commands::read_command;
use self::faults::read_faults;
use crate::testbed::Inventory;

/// A configuration that cannot be run.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a field that does not exist or has another type. The source names line and column.
    #[error("{path}: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("{option}: {problem}")]
    Invalid {
        /// The option, as on the command line.
        option: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// Declares the options once: the optional form (flags and file), the resolved form, the defaults, and what joins them.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $([$($argument:tt)+])? $field:ident : $type:ty $([serde $with:literal / $with_option:literal])? = $default:expr;
    )+) => {
        /// Options of `labrys test`; what is absent has its default.
        #[derive(Clone, Debug, Default, Deserialize, clap::Args)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct TestOptions {
            $(
                $(#[doc = $doc])+
                #[arg(long $(, $($argument)+)?)]
                $(#[serde(with = $with_option)])?
                pub $field: Option<$type>,
            )+
        }

        /// A complete test configuration.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct TestConfig {
            $(
                $(#[doc = $doc])+
                $(#[serde(with = $with)])?
                pub $field: $type,
            )+
        }

        impl TestOptions {
            /// These options, and `other`'s where these say nothing.
            #[must_use]
            pub fn or(self, other: TestOptions) -> TestOptions {
                TestOptions { $($field: self.$field.or(other.$field),)+ }
            }

            /// The names of the options that are given, as flags are called, in the order of the help.
            #[must_use]
            pub fn given(&self) -> Vec<String> {
                let all = [$((stringify!($field), self.$field.is_some()),)+];
                let given = all.into_iter().filter(|(_, is_given)| *is_given);
                given.map(|(name, _)| name.replace('_', "-")).collect()
            }

            /// The complete configuration, checked. `fresh_seed` is used if none was given.
            pub fn resolve(self, fresh_seed: Seed) -> Result<TestConfig, ConfigError> {
                let key_count_was_given = self.key_count.is_some();
                let nodes_was_given = self.nodes.is_some();
                let (quiet, quiet_every) = (self.quiet, self.quiet_every);
                let mut config = TestConfig { $($field: self.$field.unwrap_or_else(|| $default(fresh_seed)),)+ };
                if !nodes_was_given && !config.hosts.machines.is_empty() {
                    config.nodes = config.hosts.machines.len();
                }
                if !key_count_was_given {
                    // Nobody asked for more keys than there are threads to work on them.
                    config.key_count = config.key_count.min(config.threads());
                }
                config.quiet = quiet.unwrap_or(config.nemesis_interval);
                config.quiet_every = quiet_every.unwrap_or(config.nemesis_interval.saturating_mul(6));
                config.validate()?;
                Ok(config)
            }
        }
    };
}

options! {
    /// Name of the test: the folder of its runs
    [value_name = "NAME"] name: String = |_| "labrys".to_owned();
    /// Number of nodes
    [value_name = "N"] nodes: usize = |_| 5;
    /// How long clients and nemesis are at work (30s, 2m)
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    time_limit: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_secs(30);
    /// Number of client threads: 10, or 2n for two per node
    [value_name = "N|Nn"] concurrency: Concurrency = |_| Concurrency::Threads(10);
    /// Mean number of operations per second, all clients together; 0: as fast as the clients can
    [value_name = "OPS/S"] rate: f64 = |_| 1000.0;
    /// What the clients do: register, or lease (keys that last as long as a lease; docs/workloads.md)
    [value_name = "NAME"] workload: String = |_| "register".to_owned();
    /// Kinds of faults, separated by commas; none: no faults; all: every family that the testbed has, but restart. With an interval of its own: kill=3s
    [value_name = "KIND[=DURATION]", value_delimiter = ',']
    nemesis: Vec<String> = |_| ["partition", "pause", "kill"].map(String::from).to_vec();
    /// Mean time between the beginnings of two faults of a kind
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    nemesis_interval: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_secs(5);
    /// How long a quiet period lasts, in which all is healed and no fault begins; 0s: none. By default a --nemesis-interval
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    quiet: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_secs(5);
    /// After how long with faults a quiet period comes. By default six times --nemesis-interval
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    quiet_every: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_secs(30);
    /// Kinds of faults of which at least one must have an effect, or the run is unknown; all: each that was asked for
    [value_name = "KIND", value_delimiter = ',']
    require_bite: Vec<String> = |_| Vec::new();
    /// Seed of every random choice; printed, so that a run can be repeated
    [value_name = "U64"] seed: Seed = |fresh: Seed| fresh;
    /// Number of keys in use at a time
    [value_name = "N"] key_count: usize = |_| 5;
    /// Number of operations on a key before a new one takes its place
    [value_name = "N"] ops_per_key: u64 = |_| 500;
    /// Where the nodes run: netns (network namespaces on this machine), ssh (other machines: --hosts) or sim (the simulator)
    [value_name = "NAME"] testbed: String = |_| NETNS.to_owned();
    /// What the nodes' data is on where the power is cut or the disk fails: fuse, a file system of Labrys' own, or ext4, a real one, as root and for power-cut-plain
    [value_name = "fuse|ext4"] disk: DiskKind = |_| DiskKind::Fuse;
    /// System under test
    [value_name = "NAME"] db: String = |_| "labrys-store".to_owned();
    /// Folder under which run directories are made
    [value_name = "DIR"] out: PathBuf = |_| PathBuf::from("labrys-runs");
    /// How long a client waits for an answer
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    operation_timeout: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_secs(1);
    /// How long the cluster may take to come up, and to recover after the faults are undone
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    recovery_timeout: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_secs(30);
    /// Election timeout of the reference store
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    election_timeout: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_millis(300);
    /// Whether candidates of the reference store ask in a trial round, which changes no term, before they ask for votes
    [value_name = "BOOL"] pre_vote: bool = |_| true;
    /// Whether a leader of the reference store that has not heard from a majority for an election timeout steps down
    [value_name = "BOOL"] check_quorum: bool = |_| true;
    /// How the reference store answers reads: log, read-index, follower, lease, or local, which is not linearizable
    [value_name = "MODE"] read_mode: ReadMode = |_| ReadMode::ReadIndex;
    /// A flag of the reference store for all nodes, without its dashes (repeatable): snapshot-entries=50
    [value_name = "NAME=VALUE"] store_option: Vec<String> = |_| Vec::new();
    /// What moves the clocks of nodes in clock faults: orders (a clock of the reference store's own) or libfaketime (the wall clock of its process); used when clock faults are asked for
    [value_name = "MEANS", value_enum] clock_by: ClockBy = |_| ClockBy::Orders;
    /// In the simulator: whether the seed draws sizes and intervals of the store, too, so that its rare paths are taken
    [value_name = "BOOL"] tuned: bool = |_| true;
    /// How long the checker may search before it says unknown
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    check_time_limit: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::from_secs(120);
    /// No operation succeeded for longer, and the run is invalid: the system was not available; 0s: however long
    [value_name = "DURATION", value_parser = humantime::parse_duration]
    longest_outage: Duration [serde "humantime_serde" / "humantime_serde::option"] = |_| Duration::ZERO;
    /// Outages of half a second or longer were more of the time, in percent, and the run is invalid; 100: however much
    [value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100)]
    most_outage_percent: u8 = |_| 100;
    /// Stop the clients at the first violation of the workload's model, instead of going on to the time limit
    [value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"]
    fail_fast: bool = |_| false;
    /// A bug of the reference store to switch on (repeatable): tests the harness
    [value_name = "NAME"] defect: Vec<String> = |_| Vec::new();
    /// With --testbed ssh: the machines, as docs/ssh.md says; the first one is the first node
    [value_name = "HOSTS.TOML"] hosts: Inventory = |_| Inventory::default();
    /// Instead of planned faults those of this file: a run's schedule.jsonl, or TOML with `faults = [...]`
    [value_name = "FILE", value_parser = read_faults]
    faults: FaultList = |_| FaultList::default();
    /// A command of your own for the kind application-command, run on the nodes by a shell; several, with what takes them back: the table
    /// `commands` of a campaign file
    [value_name = "NAME=COMMAND", value_parser = read_command]
    commands: UserCommands = |_| UserCommands::default();
}

impl TestOptions {
    /// Reads a campaign file.
    pub fn read(path: &Path) -> Result<TestOptions, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        TestOptions::parse(&text, path)
    }

    /// Reads the text of a campaign file; `path` is what errors call it.
    pub fn parse(text: &str, path: &Path) -> Result<TestOptions, ConfigError> {
        toml::from_str(text)
            .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source: Box::new(source) })
    }
}

/// The testbed of network namespaces on this machine.
pub const NETNS: &str = "netns";

/// The testbed of machines that are reached by ssh.
pub const SSH: &str = "ssh";

/// The testbed that simulates everything.
pub const SIMULATOR: &str = "sim";

/// The testbeds that `--testbed` can name.
pub const TESTBEDS: &[&str] = &[NETNS, SSH, SIMULATOR];

/// The systems that `--db` can name.
pub const DATABASES: &[&str] = &["labrys-store"];

impl TestConfig {
    /// What is run if nothing is said; the seed is meaningless.
    #[must_use]
    pub fn defaults() -> TestConfig {
        let resolved = TestOptions::default().resolve(Seed(0));
        resolved.unwrap_or_else(|error| unreachable!("the defaults make sense: {error}"))
    }

    /// As the text of `test.toml`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Every field is a plain value, which TOML can say.
        toml::to_string(self).unwrap_or_else(|error| unreachable!("a configuration is always TOML: {error}"))
    }

    /// How long the system may be unavailable.
    #[must_use]
    pub fn availability(&self) -> Available {
        Available {
            longest: Some(self.longest_outage).filter(|longest| !longest.is_zero()),
            most_percent: Some(f64::from(self.most_outage_percent)).filter(|percent| *percent < 100.0),
        }
    }

    /// The number of client threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.concurrency.threads(self.nodes)
    }

    /// Whether everything is simulated.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.testbed == SIMULATOR
    }

    /// The names of the nodes, in order.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        let machines = self.hosts.machines.iter().map(|machine| machine.name.clone());
        let numbered = (1..=self.nodes).map(|number| format!("n{number}"));
        if self.testbed == SSH { machines.take(self.nodes).collect() } else { numbered.collect() }
    }
}

fn invalid(option: &'static str, problem: String) -> ConfigError {
    ConfigError::Invalid { option, problem }
}

fn check(holds: bool, option: &'static str, problem: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(invalid(option, problem())) }
}

#[cfg(test)]
mod tests;
