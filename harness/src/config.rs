//! What a test is: the options a person gives, in flags or in a TOML file, and the resolved configuration that a run
//! records as `test.toml`.
//!
//! [`TestOptions`] has every option once, for both the command line and the file. Flags win over the file, the file wins
//! over the defaults. [`TestConfig`] is complete: written to the run directory, and itself a valid campaign file, so that
//! `labrys test RUN_DIR/test.toml` runs the same test again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use labrys_checker::invariants::Available;
use labrys_nemesis::{
    CommandLine, DiskTrouble, Family, Fault, FaultKind, FaultList, Order, OrderName, machine_clock_objection,
};
use labrys_seed::Seed;
use labrys_store::raft::{Defect, Defects, ReadMode};
use labrys_workloads::workload::WORKLOADS;
use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// A number of client threads, absolute or for each node: `10`, `2n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub enum Concurrency {
    /// So many.
    Threads(usize),
    /// So many times the number of nodes.
    PerNode(usize),
}

impl Concurrency {
    /// The number of threads on a cluster of `nodes`.
    #[must_use]
    pub fn threads(self, nodes: usize) -> usize {
        match self {
            Concurrency::Threads(threads) => threads,
            Concurrency::PerNode(times) => times.saturating_mul(nodes),
        }
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Concurrency::Threads(threads) => write!(formatter, "{threads}"),
            Concurrency::PerNode(times) => write!(formatter, "{times}n"),
        }
    }
}

impl From<Concurrency> for String {
    fn from(concurrency: Concurrency) -> String {
        concurrency.to_string()
    }
}

impl FromStr for Concurrency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, per_node) = text.strip_suffix('n').map_or((text, false), |digits| (digits, true));
        let number: usize = digits
            .parse()
            .map_err(|_| format!("`{text}` is neither a number of threads (10) nor one per node (2n)"))?;
        Ok(if per_node { Concurrency::PerNode(number) } else { Concurrency::Threads(number) })
    }
}

/// In TOML, `concurrency = 10` and `concurrency = "2n"` are both natural.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(usize),
    Text(String),
}

impl TryFrom<NumberOrText> for Concurrency {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, Self::Error> {
        match value {
            NumberOrText::Number(threads) => Ok(Concurrency::Threads(threads)),
            NumberOrText::Text(text) => text.parse(),
        }
    }
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

/// Commands of the user's own, by name: what an application fault runs on a node. In them, `{node}` and `{address}` are the
/// node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserCommands(pub BTreeMap<String, Order>);

impl UserCommands {
    /// The names of those that are not the system's own orders in other words.
    #[must_use]
    pub fn own_names(&self) -> Vec<String> {
        let is_own = |name: &&String| OrderName::OF_SYSTEMS.iter().all(|order| order.key() != name.as_str());
        self.0.keys().filter(is_own).cloned().collect()
    }

    /// As they are on a node.
    #[must_use]
    pub fn of_node(&self, name: &str, address: &str) -> BTreeMap<String, Order> {
        let filled = |order: &Order| order.filled(&[("node", name), ("address", address)]);
        self.0.iter().map(|(name, order)| (name.clone(), filled(order))).collect()
    }
}

fn read_command(text: &str) -> Result<UserCommands, String> {
    let Some((name, command)) =
        text.split_once('=').filter(|(name, command)| !name.is_empty() && !command.is_empty())
    else {
        return Err(format!("`{text}` is not NAME=COMMAND"));
    };
    let run = CommandLine(["sh", "-c", command].map(String::from).to_vec());
    Ok(UserCommands(BTreeMap::from([(name.to_owned(), Order { run, undo: None, look: None })])))
}

/// A list without faults would mean that they are planned, which is the opposite of what was asked for.
fn read_faults(path: &str) -> Result<FaultList, String> {
    let faults = FaultList::read(Path::new(path)).map_err(|error| error.to_string())?;
    if faults.0.is_empty() {
        return Err(format!("{path}: no fault in it; for a run without faults give --nemesis none instead"));
    }
    Ok(faults)
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

/// What can be done to the clocks of machines.
const MACHINE_CLOCKS: &str =
    "clock, clock-jump and clock-leap can, and drifts of up to ten percent in a file of faults";

/// Why not all kinds of faults are on the testbed of machines.
const NOT_BY_AGENTS: &str =
    "the agent of a machine acts on that machine alone, and the network of this one is not ours";

/// Most nodes that a testbed is built for: their addresses share one /24.
const MOST_NODES: usize = 99;

/// The slowest sync that can be asked for: a process that waits for one cannot be killed meanwhile.
const LONGEST_SYNC_MS: u64 = 3_000;

/// TOML's integers, in which a run records its seed, have 63 bits and a sign.
const LARGEST_SEED: u64 = i64::MAX as u64;

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

    /// Whether faults are asked for.
    pub fn has_faults(&self) -> Result<bool, ConfigError> {
        Ok(!self.faults.0.is_empty() || !self.fault_kinds()?.is_empty())
    }

    /// The kinds of faults to be planned, `all` replaced by what the testbed has, `none` and duplicates dropped.
    pub fn fault_kinds(&self) -> Result<Vec<FaultKind>, ConfigError> {
        let families = [
            "partition",
            "pause",
            "kill",
            "power-cut",
            "network",
            "clock",
            "disk",
            "application",
            "membership",
            "resource",
        ];
        let mut kinds: Vec<FaultKind> = Vec::new();
        let names =
            self.nemesis.iter().map(|entry| entry.split_once('=').map_or(entry.as_str(), |(name, _)| name));
        for name in names.filter(|name| *name != "none") {
            let names: &[&str] = if name == "all" { &families } else { &[name] };
            for one in names {
                let kind: FaultKind =
                    one.parse().map_err(|error| invalid("--nemesis", format!("{error}")))?;
                if kind.needs_real_nodes() && self.is_simulated() {
                    if name == "all" {
                        continue;
                    }
                    let problem = format!("`{kind}` is a fault that the simulator does not have");
                    return Err(invalid("--nemesis", problem));
                }
                if self.testbed == SSH && !kind.is_for_agents() {
                    if name == "all" {
                        continue;
                    }
                    return Err(invalid(
                        "--nemesis",
                        format!("`{kind}` cannot be on the testbed ssh: {NOT_BY_AGENTS}"),
                    ));
                }
                check(!self.hosts.real_clock || kind.is_for_machine_clocks(), "--nemesis", || {
                    format!(
                        "`{kind}` cannot be done to the clocks of machines (`real-clock` in hosts.toml): {MACHINE_CLOCKS}"
                    )
                })?;
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
        }
        Ok(kinds)
    }

    /// The kinds that have an interval of their own, of all that are asked for.
    pub fn own_intervals(&self) -> Result<Vec<(FaultKind, Duration)>, ConfigError> {
        let mut intervals = Vec::new();
        for (name, text) in self.nemesis.iter().filter_map(|entry| entry.split_once('=')) {
            let interval = humantime::parse_duration(text).map_err(|error| {
                invalid("--nemesis", format!("`{name}={text}`: {error}; expected as in kill=3s"))
            })?;
            check(interval >= Duration::from_millis(1), "--nemesis", || {
                format!("`{name}={text}`: must be at least 1ms")
            })?;
            let of_name = TestConfig { nemesis: vec![name.to_owned()], ..self.clone() };
            intervals.extend(of_name.fault_kinds()?.into_iter().map(|kind| (kind, interval)));
        }
        Ok(intervals)
    }

    /// The families of faults of which one must have an effect, in order, each once.
    pub fn required_families(&self) -> Result<Vec<Family>, ConfigError> {
        let planned = self.fault_kinds()?.into_iter().filter_map(FaultKind::family);
        let asked_for: BTreeSet<Family> = match self.faults.0.is_empty() {
            true => planned.collect(),
            false => self.faults.families().into_iter().collect(),
        };
        let mut required = BTreeSet::new();
        for name in &self.require_bite {
            if name == "all" {
                required.extend(&asked_for);
                continue;
            }
            let kind: FaultKind =
                name.parse().map_err(|error| invalid("--require-bite", format!("{error}")))?;
            let family = kind.family().filter(|family| asked_for.contains(family));
            required.insert(family.ok_or_else(|| {
                invalid("--require-bite", format!("`{name}` is not among the faults of this run"))
            })?);
        }
        Ok(required.into_iter().collect())
    }

    /// The bugs to switch on.
    pub fn defects(&self) -> Result<Defects, ConfigError> {
        let parse =
            |name: &String| name.parse::<Defect>().map_err(|error| invalid("--defect", error.to_string()));
        self.defect.iter().map(parse).collect()
    }

    /// Whatever can be wrong with a configuration is said here, before anything is started.
    fn validate(&self) -> Result<(), ConfigError> {
        check(!self.name.is_empty() && !self.name.contains(['/', '\0']), "--name", || {
            format!("`{}` cannot be the name of a folder", self.name)
        })?;
        check(self.out.to_str().is_some(), "--out", || {
            format!("`{}` is not UTF-8, which a test.toml must be", self.out.display())
        })?;
        check((1..=MOST_NODES).contains(&self.nodes), "--nodes", || {
            format!("{} is not between 1 and {MOST_NODES}", self.nodes)
        })?;
        check(self.threads() > 0, "--concurrency", || "at least one client thread is needed".to_owned())?;
        check(self.rate.is_finite() && self.rate >= 0.0, "--rate", || {
            format!("{} is not a rate; 0 means as fast as the clients can", self.rate)
        })?;
        check(self.seed.0 <= LARGEST_SEED, "--seed", || {
            format!(
                "{} is more than {LARGEST_SEED}, the largest number that a test.toml can record",
                self.seed
            )
        })?;
        check(self.key_count > 0, "--key-count", || "at least one key is needed".to_owned())?;
        check(self.key_count <= self.threads(), "--key-count", || {
            format!(
                "{} keys at a time are more than the {} threads that --concurrency gives",
                self.key_count,
                self.threads()
            )
        })?;
        check(self.ops_per_key > 0, "--ops-per-key", || "a key needs at least one operation".to_owned())?;
        for (option, duration) in [
            ("--time-limit", self.time_limit),
            ("--nemesis-interval", self.nemesis_interval),
            ("--operation-timeout", self.operation_timeout),
            ("--recovery-timeout", self.recovery_timeout),
            ("--election-timeout", self.election_timeout),
            ("--check-time-limit", self.check_time_limit),
        ] {
            check(duration >= Duration::from_millis(1), option, || "must be at least 1ms".to_owned())?;
        }
        one_of("--db", &self.db, DATABASES)?;
        one_of("--testbed", &self.testbed, TESTBEDS)?;
        self.check_hosts()?;
        let workloads: Vec<&str> = WORKLOADS.iter().map(|entry| entry.name).collect();
        one_of("--workload", &self.workload, &workloads)?;
        self.store_option.iter().try_for_each(|option| check_store_option(option))?;
        self.defects()?;
        self.check_faults()?;
        self.own_intervals()?;
        self.required_families()?;
        check(self.quiet.is_zero() || self.quiet_every >= Duration::from_millis(1), "--quiet-every", || {
            "must be at least 1ms".to_owned()
        })?;
        self.check_commands()
    }

    /// Commands are such as can be run, and those that are to be run are there.
    fn check_commands(&self) -> Result<(), ConfigError> {
        let kinds = self.fault_kinds()?;
        for (name, order) in &self.commands.0 {
            check(*name != OrderName::AnyCommand.key(), "--commands", || {
                format!("`{name}` means any of the commands, and cannot be the name of one")
            })?;
            let looked = order.look.as_ref().map(|look| &look.command);
            let lines = [Some(&order.run), order.undo.as_ref(), looked];
            check(lines.into_iter().flatten().all(|line| !line.0.is_empty()), "--commands", || {
                format!("`{name}` has a command line without a program")
            })?;
        }
        let own = self.commands.own_names();
        let wants_any =
            |fault: &Fault| matches!(fault, Fault::Application { order: OrderName::AnyCommand, .. });
        let is_any_wanted = kinds.iter().any(|kind| kind.name() == "application-command")
            || self.faults.0.iter().any(|timed| wants_any(&timed.fault));
        check(!is_any_wanted || !own.is_empty(), "--commands", || {
            "there is no command that application-command could run: give one, or [commands] in a campaign file".to_owned()
        })?;
        let named = self.faults.0.iter().filter_map(|timed| match &timed.fault {
            Fault::Application { order: OrderName::Command(name), .. } => Some(name),
            _ => None,
        });
        let unknown = named.into_iter().find(|name| !self.commands.0.contains_key(*name));
        check(unknown.is_none(), "--faults", || {
            format!("there is no command `{}` in [commands]", unknown.map_or("", String::as_str))
        })
    }

    /// Machines are for the testbed that has them, and that one needs them.
    fn check_hosts(&self) -> Result<(), ConfigError> {
        let count = self.hosts.machines.len();
        check(count == 0 || self.testbed == SSH, "--hosts", || {
            format!("machines are for --testbed ssh, not for `{}`", self.testbed)
        })?;
        check(count > 0 || self.testbed != SSH, "--testbed", || {
            "ssh needs to know the machines: add --hosts hosts.toml".to_owned()
        })?;
        self.hosts.check().map_err(|problem| invalid("--hosts", problem))?;
        check(count == 0 || count >= self.nodes, "--nodes", || {
            format!("{} nodes need as many machines, and --hosts has {count}", self.nodes)
        })
    }

    /// The names of the nodes, in order.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        let machines = self.hosts.machines.iter().map(|machine| machine.name.clone());
        let numbered = (1..=self.nodes).map(|number| format!("n{number}"));
        if self.testbed == SSH { machines.take(self.nodes).collect() } else { numbered.collect() }
    }

    /// Explicit faults must be such as the testbed has, on nodes that there are.
    fn check_faults(&self) -> Result<(), ConfigError> {
        for family in self.faults.families() {
            check(!self.is_simulated() || !family.needs_real_nodes(), "--faults", || {
                format!("`{family}` is a fault that the simulator does not have")
            })?;
        }
        for timed in &self.faults.0 {
            let Fault::Disk { trouble, .. } = &timed.fault else { continue };
            check(!self.is_simulated() || !trouble.needs_real_nodes(), "--faults", || {
                format!("the simulator has no `disk` fault \"{trouble}\": leave --testbed sim out")
            })?;
            check(
                !matches!(trouble, DiskTrouble::SlowSyncMs(ms) if *ms > LONGEST_SYNC_MS),
                "--faults",
                || format!("`slow-sync-ms` is at most {LONGEST_SYNC_MS}: a slower disk is a dead one"),
            )?;
        }
        let not_for_agents = self.faults.0.iter().any(|timed| match &timed.fault {
            Fault::Partition { shape } => shape.is_of_clients(),
            Fault::Membership { .. } => true,
            _ => false,
        });
        check(self.testbed != SSH || !not_for_agents, "--faults", || {
            format!("links of clients and members cannot be changed on the testbed ssh: {NOT_BY_AGENTS}")
        })?;
        let objection = self.faults.0.iter().find_map(|timed| machine_clock_objection(&timed.fault));
        check(!self.hosts.real_clock || objection.is_none(), "--faults", || {
            format!("{} (`real-clock` in hosts.toml)", objection.unwrap_or_default())
        })?;
        // The run lasts until its last fault is undone.
        let latest = self.time_limit.saturating_add(self.recovery_timeout);
        let ends = self.faults.0.iter().map(|timed| timed.at_ms.saturating_add(timed.lasts_ms)).max();
        check(u128::from(ends.unwrap_or(0)) <= latest.as_millis(), "--faults", || {
            format!(
                "the last fault ends {} ms after the beginning, long after --time-limit ({})",
                ends.unwrap_or(0),
                humantime::format_duration(self.time_limit)
            )
        })?;
        let known = self.node_names();
        let unknown =
            self.faults.named_nodes().into_iter().find(|name| !known.iter().any(|node| node == name));
        check(unknown.is_none(), "--faults", || {
            let name = unknown.unwrap_or_default();
            format!(
                "there is no node `{name}` in a cluster of {}: {}, or a word such as leader (docs/faults.md has them)",
                self.nodes,
                known.join(", ")
            )
        })?;
        check(self.faults.largest_number() <= self.nodes, "--faults", || {
            format!("there is no node #{} in a cluster of {}", self.faults.largest_number(), self.nodes)
        })?;
        self.faults.first_out_of_range().map_or(Ok(()), |problem| Err(invalid("--faults", problem)))
    }
}

/// Flags of the reference store that the harness gives itself.
const OWN_STORE_OPTIONS: &[&str] = &[
    "config",
    "id",
    "listen",
    "peers",
    "join",
    "data-dir",
    "election-timeout-ms",
    "heartbeat-interval-ms",
    "pre-vote",
    "check-quorum",
    "seed",
    "defect",
    "clock-file",
    "log-format",
];

/// Whether a flag is one of the reference store's, with a value that it takes, and not the harness's own affair.
fn check_store_option(option: &str) -> Result<(), ConfigError> {
    let Some((name, _)) = option.split_once('=') else {
        return Err(invalid("--store-option", format!("`{option}` is not NAME=VALUE")));
    };
    check(!OWN_STORE_OPTIONS.contains(&name), "--store-option", || {
        format!("`{name}` is set by labrys test itself")
    })?;
    let parsed = labrys_store::options::Arguments::try_parse_from(["labrys-store", &format!("--{option}")]);
    parsed.map(drop).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        invalid("--store-option", format!("{first} (labrys-store --help lists its flags)"))
    })
}

/// The systems that `--db` can name.
pub const DATABASES: &[&str] = &["labrys-store"];

fn invalid(option: &'static str, problem: String) -> ConfigError {
    ConfigError::Invalid { option, problem }
}

fn check(holds: bool, option: &'static str, problem: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(invalid(option, problem())) }
}

fn one_of(option: &'static str, name: &str, known: &[&str]) -> Result<(), ConfigError> {
    check(known.contains(&name), option, || format!("there is no `{name}`; known: {}", known.join(", ")))
}

#[cfg(test)]
mod tests;
