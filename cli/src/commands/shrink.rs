//! `labrys shrink`: the smallest simulated run that fails like a given one, as a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow};
use labrys_harness::config::{SIMULATOR, TestOptions};
use labrys_nemesis::FaultList;
use labrys_simulation::schedule_file::ScheduleFile;
use labrys_simulation::shrink::{Limits, Shrunk, Size, shrink};
use labrys_simulation::{SimulationConfig, SimulationError};
use serde::Serialize;

use super::quiet::quieten_the_store;
use crate::exit::{Failure, Outcome};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  labrys shrink labrys-runs/latest                         the run of a directory; writes shrunk.toml into it
  labrys shrink --seed 7 --defect quorum-off-by-one        a run by its flags, as for labrys test
  labrys shrink shrunk.toml --file smaller.toml --runs 900 go on with what was found
  labrys shrink --seed 7 --defect vote-not-persisted --of election-safety

A file that a person can read and commit is written: seed, options that differ from their defaults, and each fault with its time.

Exit codes: 0 shrunk, and it still fails, 2 the run does not fail, 254 wrong usage, 255 the machine failed.";

/// Nothing to shrink.
const DOES_NOT_FAIL: u8 = 2;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A run directory, a campaign file, or a file that this command wrote
    #[arg(value_name = "RUN_DIR|FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    options: TestOptions,
    /// The property or checker whose accusation is to be kept; the first one if not given
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// Simulated runs, at most
    #[arg(long, value_name = "N", default_value_t = Limits::default().runs,
        value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Seeds that each smaller run is tried with
    #[arg(long, value_name = "N", default_value_t = Limits::default().seeds,
        value_parser = clap::value_parser!(u64).range(1..))]
    tries: u64,
    /// Where the file is written [default: shrunk.toml in the run directory, or here]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    schema: u32,
    file: PathBuf,
    violates: String,
    what: String,
    before: SizeReport,
    after: SizeReport,
    runs: u64,
    is_minimal: bool,
    wall_s: f64,
}

#[derive(Serialize)]
struct SizeReport {
    faults: usize,
    nodes: usize,
    clients: usize,
    operations: usize,
    simulated_s: f64,
}

impl From<Size> for SizeReport {
    fn from(size: Size) -> SizeReport {
        SizeReport {
            faults: size.faults,
            nodes: size.nodes,
            clients: size.clients,
            operations: size.operations,
            simulated_s: size.simulated.as_secs_f64(),
        }
    }
}

pub fn run(arguments: &Arguments) -> Outcome {
    let candidates = candidates(arguments)?;
    quieten_the_store();
    let (of, of_file) = (arguments.of.as_deref(), candidates.violates.as_deref());
    let limits = Limits { runs: arguments.runs, seeds: arguments.tries };
    let started = Instant::now();
    let mut tell = |size: &Size, runs: u64| eprintln!("run {runs}: {}", size.in_words());
    for config in &candidates.configs {
        if let Some(shrunk) = shrink(config, of.or(of_file), limits, &mut tell).map_err(failure)? {
            return written(arguments, &shrunk, started.elapsed().as_secs_f64());
        }
    }
    let of = of.or(of_file).map_or_else(String::new, |of| format!(" by {of}"));
    eprintln!("labrys: the run does not fail{of} in the simulator: there is nothing to shrink");
    Ok(DOES_NOT_FAIL)
}

pub(super) fn failure(error: SimulationError) -> Failure {
    match error {
        SimulationError::Check(_) | SimulationError::History { .. } | SimulationError::Stuck => {
            Failure::environment(error)
        }
        _ => Failure::usage(error),
    }
}

/// What is to be shrunk: the first of these that fails.
struct Candidates {
    configs: Vec<SimulationConfig>,
    violates: Option<String>,
}

fn candidates(arguments: &Arguments) -> Result<Candidates, Failure> {
    let Some(from) = &arguments.from else {
        return Ok(Candidates {
            configs: vec![campaign(arguments, TestOptions::default())?],
            violates: None,
        });
    };
    if from.is_dir() {
        return of_run_directory(arguments, from);
    }
    let text =
        std::fs::read_to_string(from).with_context(|| from.display().to_string()).map_err(Failure::usage)?;
    let is_schedule = text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("faults"));
    if is_schedule {
        let file = ScheduleFile::parse(&text, from).map_err(Failure::usage)?;
        return Ok(Candidates { configs: vec![file.config], violates: file.violates });
    }
    let options = TestOptions::parse(&text, from).map_err(Failure::usage)?;
    Ok(Candidates { configs: vec![campaign(arguments, options)?], violates: None })
}

/// The run by its seed; if that does not fail (it was one of real machines), the faults that struck it.
fn of_run_directory(arguments: &Arguments, directory: &Path) -> Result<Candidates, Failure> {
    let options = TestOptions::read(&directory.join("test.toml")).map_err(Failure::usage)?;
    let planned = campaign(arguments, options)?;
    let mut configs = vec![planned.clone()];
    let path = directory.join("schedule.jsonl");
    if path.exists() {
        let faults = FaultList::read(&path).map_err(Failure::usage)?;
        configs.push(SimulationConfig { schedule: Some(faults.into()), ..planned });
    }
    Ok(Candidates { configs, violates: None })
}

fn campaign(arguments: &Arguments, from_file: TestOptions) -> Result<SimulationConfig, Failure> {
    let options =
        TestOptions { testbed: Some(SIMULATOR.to_owned()), ..arguments.options.clone().or(from_file) };
    let Some(seed) = options.seed else {
        return Err(Failure::usage(anyhow!(
            "which run is to be shrunk? Give its seed (--seed U64), its run directory or its file"
        )));
    };
    options.resolve(seed).map(SimulationConfig::new).map_err(Failure::usage)
}

fn written(arguments: &Arguments, shrunk: &Shrunk, wall_s: f64) -> Outcome {
    let folder = arguments.from.as_deref().filter(|from| from.is_dir()).unwrap_or(Path::new("."));
    let file = arguments.file.clone().unwrap_or_else(|| folder.join("shrunk.toml"));
    std::fs::write(&file, shrunk.to_toml())
        .with_context(|| file.display().to_string())
        .map_err(Failure::environment)?;
    eprintln!("{}", shrunk.failure);
    eprintln!("before: {}\nafter:  {}", shrunk.before.in_words(), shrunk.after.in_words());
    let end = if shrunk.is_minimal { "nothing left to try" } else { "stopped at --runs" };
    eprintln!("{} runs in {wall_s:.1} s, {end}; written to {}", shrunk.runs, file.display());
    if arguments.json {
        print_json(&Report {
            schema: 1,
            file,
            violates: shrunk.failure.of.clone(),
            what: shrunk.failure.what.clone(),
            before: shrunk.before.into(),
            after: shrunk.after.into(),
            runs: shrunk.runs,
            is_minimal: shrunk.is_minimal,
            wall_s,
        })?;
    }
    Ok(0)
}
