//! `labrys bench sim`: how fast the simulator is, and how much memory a run holds.
//!
//! Each row is measured in a process of its own, on one core: runs of several seeds for the time, then one long run for the memory.
//! A run is everything from the first start of the nodes to the verdict, so the oracles and the checkers are in it.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail};
use labrys_checker::Budget;
use labrys_checker::verdict::Validity;
use labrys_harness::config::{Concurrency, SIMULATOR, TestOptions};
use labrys_seed::Seed;
use labrys_simulation::{SimulationConfig, run as simulate};
use serde::{Deserialize, Serialize};

use crate::jobs;
use crate::row_process::{Job, Reply, processor_time, status_bytes};
use crate::table;

const AFTER_HELP: &str = "\
Each row: the register workload with 10 clients and 100 operations a second on 3 or 5 nodes; without faults, or with every kind of
fault every two seconds (the campaign of `labrys sim`). Seconds are those of one core, spent on
whole runs, from the first start of the nodes to the verdict. Memory is the most that a run of ten minutes held, history and checkers included, scaled to an hour.

Examples:
  labrys bench sim
  labrys bench sim --seeds 50 --json
  labrys bench sim --markdown docs/performance.md

Exit codes: 0, however slow; 1 if a run was not valid; 255 if a process cannot be started, or at Ctrl-C.";

/// What is below the options in `--help`.
#[must_use]
pub fn after_help() -> &'static str {
    AFTER_HELP
}

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulationOptions {
    /// How many runs of each row, from seed 1 on
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// How long clients are at work in each of them, in simulated time
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = crate::store::parse_positive)]
    pub length: Duration,
    /// How long they are in the run whose memory is measured
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = crate::store::parse_positive)]
    pub memory_length: Duration,
    /// Print the results as JSON on standard output, and the table on standard error
    #[arg(long)]
    pub json: bool,
}

/// What is run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Runs {
    nodes: usize,
    clients: usize,
    has_faults: bool,
    seeds: u64,
    length: Duration,
    memory_length: Duration,
}

/// What it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Took {
    /// How much time passed in the worlds.
    simulated_s: f64,
    /// Seconds of one core that it took.
    core_s: f64,
    /// How many events were handled.
    events: u64,
    /// The largest run: resident memory beyond what was there before it, and the time in its world.
    held_bytes: u64,
    held_after_s: f64,
    /// Runs that were not valid.
    not_valid: u64,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct SimulationRow {
    nodes: usize,
    clients: usize,
    has_faults: bool,
    /// Seconds of the world per second of one core.
    simulated_s_per_s: f64,
    events_per_s: f64,
    events_per_simulated_s: f64,
    bytes_per_simulated_hour: f64,
    runs: u64,
    not_valid: u64,
}

/// The rows, and where they were measured.
#[derive(Clone, Debug, Serialize)]
pub struct SimulationReport {
    /// The machine.
    pub machine: String,
    /// The rows.
    pub rows: Vec<SimulationRow>,
}

impl SimulationReport {
    /// Whether a run was not valid: the store under test has no defect switched on.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.rows.iter().any(|row| row.not_valid > 0)
    }

    /// As a table of Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Machine: {}. Seconds are those of one core.\n\n\
             | nodes | clients | faults | simulated seconds per second | events per second | events per simulated second | memory per simulated hour | runs |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n",
            self.machine
        );
        for row in &self.rows {
            text.push_str(&format!(
                "| {} | {} | {} | {:.0} × | {:.2} million | {:.0} | {:.0} MB | {} |\n",
                row.nodes,
                row.clients,
                if row.has_faults { "all kinds" } else { "none" },
                row.simulated_s_per_s,
                row.events_per_s / 1e6,
                row.events_per_simulated_s,
                row.bytes_per_simulated_hour / 1e6,
                row.runs,
            ));
        }
        text
    }
}

/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Measures all rows.
///
/// # Errors
/// A process cannot be started, or the user has had enough.
pub fn run(options: &SimulationOptions) -> anyhow::Result<SimulationReport> {
    let interrupted = jobs::interrupted()?;
    let mut report = SimulationReport { machine: table::machine(), rows: Vec::new() };
    for (nodes, has_faults) in [(3, false), (5, false), (3, true), (5, true)] {
        let runs = Runs {
            nodes,
            clients: 10,
            has_faults,
            seeds: options.seeds,
            length: options.length,
            memory_length: options.memory_length,
        };
        eprintln!("{nodes} nodes, {}", if has_faults { "all kinds of faults" } else { "no faults" });
        report.rows.push(row(&runs, measured(&runs, &interrupted)?));
    }
    Ok(report)
}

fn measured(runs: &Runs, interrupted: &AtomicBool) -> anyhow::Result<Took> {
    match jobs::carry_out(&Job::Simulate(*runs), PATIENCE, interrupted)? {
        Ok(Reply::Simulated(took)) => Ok(took),
        Ok(other) => bail!("not measured: {other:?}"),
        Err(ended) => bail!("not measured: the process {}", ended.in_words()),
    }
}

fn row(runs: &Runs, took: Took) -> SimulationRow {
    SimulationRow {
        nodes: runs.nodes,
        clients: runs.clients,
        has_faults: runs.has_faults,
        simulated_s_per_s: took.simulated_s / took.core_s,
        events_per_s: took.events as f64 / took.core_s,
        events_per_simulated_s: took.events as f64 / took.simulated_s,
        bytes_per_simulated_hour: took.held_bytes as f64 / took.held_after_s * 3_600.0,
        runs: runs.seeds,
        not_valid: took.not_valid,
    }
}

fn config(runs: &Runs, seed: u64, length: Duration) -> anyhow::Result<SimulationConfig> {
    let options = TestOptions {
        testbed: Some(SIMULATOR.to_owned()),
        nodes: Some(runs.nodes),
        concurrency: Some(Concurrency::Threads(runs.clients)),
        nemesis: Some(vec![if runs.has_faults { "all" } else { "none" }.to_owned()]),
        nemesis_interval: Some(Duration::from_secs(2)),
        rate: Some(100.0),
        time_limit: Some(length),
        ..TestOptions::default()
    };
    Ok(SimulationConfig::new(options.resolve(Seed(seed))?))
}

/// In the process of the row.
pub(crate) fn carry_out(runs: &Runs) -> anyhow::Result<Took> {
    let mut took =
        Took { simulated_s: 0.0, core_s: 0.0, events: 0, held_bytes: 0, held_after_s: 0.0, not_valid: 0 };
    // The long run comes first: memory that another has given back to the allocator would hide what this one needs.
    let before_bytes = status_bytes("VmRSS")?;
    let long = simulate(&config(runs, 1, runs.memory_length)?, Budget::unlimited())?;
    took.held_bytes = status_bytes("VmHWM")?.saturating_sub(before_bytes);
    took.held_after_s = long.simulated.as_secs_f64();
    drop(long);
    for seed in 1..=runs.seeds {
        let config = config(runs, seed, runs.length)?;
        let before = processor_time()?;
        let simulated = simulate(&config, Budget::unlimited()).with_context(|| format!("seed {seed}"))?;
        took.core_s += processor_time()?.saturating_sub(before).as_secs_f64();
        took.simulated_s += simulated.simulated.as_secs_f64();
        took.events += simulated.events;
        took.not_valid += u64::from(simulated.verdict.validity != Validity::Valid);
    }
    Ok(took)
}
