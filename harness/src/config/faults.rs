//! Which faults a run is to have: the kinds that are planned, each with its interval, those that must bite, and the defects of the
//! store; and what is checked about faults that were given in a file.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use labrys_nemesis::{
    ClockChange, DiskTrouble, Family, Fault, FaultKind, FaultList, ResourceTrouble, machine_clock_objection,
};
use labrys_store::raft::{Defect, Defects};
use serde::{Deserialize, Serialize};

use super::{ConfigError, SSH, TestConfig, check, invalid};

/// What can be done to the clocks of machines.
const MACHINE_CLOCKS: &str =
    "clock, clock-jump and clock-leap can, and drifts of up to ten percent in a file of faults";

/// Why not all kinds of faults are on the testbed of machines.
const NOT_BY_AGENTS: &str =
    "the agent of a machine acts on that machine alone, and the network of this one is not ours";

/// The slowest sync that can be asked for: a process that waits for one cannot be killed meanwhile.
const LONGEST_SYNC_MS: u64 = 3_000;

/// What moves the clocks of nodes when a fault says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ClockBy {
    /// Orders that the reference store takes for a clock of its own; or the real clock of machines (`real-clock` in hosts.toml)
    Orders,
    /// The library of that name, under which any dynamically linked program can be started: its wall clock
    Libfaketime,
}

/// A list without faults would mean that they are planned, which is the opposite of what was asked for.
pub(super) fn read_faults(path: &str) -> Result<FaultList, String> {
    let faults = FaultList::read(Path::new(path)).map_err(|error| error.to_string())?;
    if faults.0.is_empty() {
        return Err(format!("{path}: no fault in it; for a run without faults give --nemesis none instead"));
    }
    Ok(faults)
}

/// Kinds that keep a process from opening files, or may.
const KEEP_FROM_OPENING: [&str; 3] = ["resource", "resource-descriptors", "resource-memory"];

/// The library multiplies the time since its beginning by the rate in 64 bits.
const FASTEST_BY_LIBRARY_PERCENT: i32 = 1_000;

impl TestConfig {
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
            let names = match name {
                "all" => families.iter().filter_map(|family| self.of_all(family)).collect(),
                name => vec![name],
            };
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

    /// The library is for programs that are started here.
    pub(super) fn check_clock_by(&self) -> Result<(), ConfigError> {
        let is_here = self.testbed != SSH && !self.is_simulated();
        check(self.clock_by == ClockBy::Orders || is_here, "--clock-by", || {
            format!(
                "`libfaketime` is for programs on this machine (--testbed netns): on other machines the real clock can be moved (`real-clock` in \
                 hosts.toml), and the simulator has clocks of its own; leave it out with --testbed {}",
                self.testbed
            )
        })?;
        let planned = if self.faults.0.is_empty() { self.fault_kinds()? } else { Vec::new() };
        let starves = planned.iter().any(|kind| KEEP_FROM_OPENING.contains(&kind.name()))
            || self.faults.0.iter().any(|timed| match &timed.fault {
                Fault::Resource { trouble, .. } => !matches!(trouble, ResourceTrouble::ProcessorPercent(_)),
                _ => false,
            });
        check(self.clock_by == ClockBy::Orders || !starves, "--clock-by", || {
            format!(
                "under `libfaketime` a program opens a file at each look at its clock, which leaps when it cannot: leave {} out, or --clock-by",
                KEEP_FROM_OPENING.join(", ")
            )
        })?;
        let is_too_fast = self.faults.0.iter().any(|timed| match &timed.fault {
            Fault::Clock { change: ClockChange::DriftPercent(percent), .. } => {
                *percent > FASTEST_BY_LIBRARY_PERCENT
            }
            _ => false,
        });
        check(self.clock_by == ClockBy::Orders || !is_too_fast, "--faults", || {
            format!("`drift-percent` is at most {FASTEST_BY_LIBRARY_PERCENT} with --clock-by libfaketime")
        })
    }

    /// Explicit faults must be such as the testbed has, on nodes that there are.
    pub(super) fn check_faults(&self) -> Result<(), ConfigError> {
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
