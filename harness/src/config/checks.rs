//! Whatever can be wrong with a configuration, said before anything is started.

use std::time::Duration;

use clap::Parser;
use labrys_workloads::workload::WORKLOADS;

use super::{ConfigError, DATABASES, NETNS, SSH, TESTBEDS, TestConfig, check, invalid};

/// Most nodes that a testbed is built for: their addresses share one /24.
const MOST_NODES: usize = 99;

/// TOML's integers, in which a run records its seed, have 63 bits and a sign.
pub(super) const LARGEST_SEED: u64 = i64::MAX as u64;

impl TestConfig {
    /// Whatever can be wrong with a configuration is said here, before anything is started.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
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
        self.check_clock_by()?;
        let is_hidden = std::path::absolute(&self.out).is_ok_and(|out| out.starts_with("/dev/shm"));
        check(self.testbed != NETNS || !is_hidden, "--out", || {
            "a run has an empty /dev/shm of its own, which ends with it: give a folder elsewhere".to_owned()
        })?;
        let workloads: Vec<&str> = WORKLOADS.iter().map(|entry| entry.name).collect();
        one_of("--workload", &self.workload, &workloads)?;
        self.store_option.iter().try_for_each(|option| check_store_option(option))?;
        self.defects()?;
        self.check_faults()?;
        self.check_disk()?;
        self.own_intervals()?;
        self.required_families()?;
        check(self.quiet.is_zero() || self.quiet_every >= Duration::from_millis(1), "--quiet-every", || {
            "must be at least 1ms".to_owned()
        })?;
        self.check_commands()
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
    "wall-clock",
    "failpoints",
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

fn one_of(option: &'static str, name: &str, known: &[&str]) -> Result<(), ConfigError> {
    check(known.contains(&name), option, || format!("there is no `{name}`; known: {}", known.join(", ")))
}
