//! `labrys sim`: simulated runs, one with everything written down, or thousands with a line each for those that fail.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use labrys_checker::Budget;
use labrys_checker::verdict::{Validity, Verdict};
use labrys_harness::config::{ConfigError, SIMULATOR, TestConfig, TestOptions};
use labrys_harness::memory::half_of_the_memory_bytes;
use labrys_harness::run_directory::RunDirectory;
use labrys_history::write_json_lines;
use labrys_nemesis::ScheduleWriter;
use labrys_seed::Seed;
use labrys_simulation::schedule_file::ScheduleFile;
use labrys_simulation::{Ended, Simulated, SimulationConfig, SimulationError, run as simulate};
use serde::Serialize;

use super::quiet::quieten_the_store;
use super::test::{fresh_seed, tell};
use crate::diagram;
use crate::exit::{self, Failure, Outcome};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  labrys sim --seed 42                              one run, with its run directory and report; its history is the same to the byte
  labrys sim --seeds 1000                           seeds 1 to 1000; ends at the first that fails
  labrys sim --seeds 1000 --seed 5000 --keep-going  seeds 5000 to 5999, all of them
  labrys sim --seeds 20 --defect quorum-off-by-one  a bug switched on
  labrys sim --schedule shrunk.toml                 what labrys shrink has left of a run
  labrys sim --seeds 200 --nemesis power-cut,disk --nemesis-interval 500ms

Unless told otherwise, all kinds of faults, 100 operations a second, and a fault of each kind every two seconds.

Exit codes: 0 all valid, 1 a run was invalid or the store unavailable, 2 a verdict is unknown, 254 wrong usage, 255 the machine failed.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A TOML file with any of the options below
    #[arg(value_name = "CAMPAIGN.TOML")]
    campaign: Option<PathBuf>,
    #[command(flatten)]
    options: TestOptions,
    /// Replay this file, which labrys shrink has written
    #[arg(long, value_name = "FILE", conflicts_with_all = ["campaign", "seeds", "seed", "defect"])]
    schedule: Option<PathBuf>,
    /// How many seeds, one after the other, from --seed on (from 1 if that is not given); without it, one run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Go on after a run that failed
    #[arg(long, requires = "seeds")]
    keep_going: bool,
    /// How many runs at the same time; as many as there are cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Outcome {
    if let Some(file) = &arguments.schedule {
        return run_schedule(file, &arguments);
    }
    let config = configuration(&arguments).map_err(Failure::usage)?;
    quieten_the_store();
    match arguments.seeds {
        None => run_one(&config, arguments.json),
        Some(count) => run_many(&config, count, &arguments),
    }
}

/// What is simulated unless something else is asked for.
pub(super) fn usual() -> TestOptions {
    TestOptions {
        testbed: Some(SIMULATOR.to_owned()),
        nemesis: Some(vec!["all".to_owned()]),
        nemesis_interval: Some(Duration::from_secs(2)),
        rate: Some(100.0),
        ..TestOptions::default()
    }
}

fn configuration(arguments: &Arguments) -> Result<TestConfig, ConfigError> {
    let from_file = arguments.campaign.as_deref().map(TestOptions::read).transpose()?;
    let given = arguments.options.clone().or(from_file.unwrap_or_default());
    let first = if arguments.seeds.is_some() { Seed(1) } else { fresh_seed() };
    let config = given.or(usual()).resolve(first)?;
    // `labrys sim` of a file that was written for real nodes simulates it.
    Ok(TestConfig { testbed: SIMULATOR.to_owned(), ..config })
}

fn failure(error: SimulationError) -> Failure {
    match error {
        SimulationError::Workload(_)
        | SimulationError::Config(_)
        | SimulationError::StoreFlags(_)
        | SimulationError::StoreOptions(_) => Failure::usage(error),
        SimulationError::Check(_) | SimulationError::History { .. } | SimulationError::Stuck => {
            Failure::environment(error)
        }
    }
}

/// Simulates; only the checkers have the time and memory that the configuration gives them.
fn simulate_within(config: &SimulationConfig, memory_bytes: usize) -> Result<Simulated, SimulationError> {
    let started = Instant::now();
    let clock = || started.elapsed();
    let budget = Budget::unlimited()
        .with_time_limit(&clock, config.test.check_time_limit)
        .with_memory_limit_bytes(memory_bytes);
    simulate(config, budget)
}

/// The run of a schedule file; of the other options only those may be given that say where it is written.
fn run_schedule(file: &Path, arguments: &Arguments) -> Outcome {
    let others = arguments.options.given();
    if let Some(other) = others.iter().find(|name| !["out", "name"].contains(&name.as_str())) {
        return Err(Failure::usage(anyhow::anyhow!(
            "--{other}: a schedule file says everything about its run; edit a copy of {} instead ([test] {other} = …)",
            file.display()
        )));
    }
    let text =
        std::fs::read_to_string(file).with_context(|| file.display().to_string()).map_err(Failure::usage)?;
    let mut simulation = ScheduleFile::parse(&text, file).map_err(Failure::usage)?.config;
    simulation.test.out = arguments.options.out.clone().unwrap_or(simulation.test.out);
    simulation.test.name = arguments.options.name.clone().unwrap_or(simulation.test.name);
    run_whole(&simulation, Some(&text), arguments.json)
}

/// One run, with everything that a real one writes.
pub fn run_one(config: &TestConfig, json: bool) -> Outcome {
    run_whole(&SimulationConfig::new(config.clone()), None, json)
}

/// `replayed`: the text of the schedule file, if it is the run of one.
fn run_whole(simulation: &SimulationConfig, replayed: Option<&str>, json: bool) -> Outcome {
    quieten_the_store();
    let config = &simulation.test;
    let directory = RunDirectory::create(&config.out, &config.name, SystemTime::now(), config.seed)
        .and_then(|directory| directory.write_config(config).map(|()| directory))
        .map_err(Failure::environment)?;
    if let Some(text) = replayed {
        let path = directory.replayed();
        std::fs::write(&path, text)
            .with_context(|| path.display().to_string())
            .map_err(Failure::environment)?;
    }
    eprintln!("seed {}  {}", config.seed, directory.path().display());
    if !config.defect.is_empty() {
        eprintln!("DEFECTS SWITCHED ON: {}", config.defect.join(", "));
    }
    let started = Instant::now();
    let simulated = simulate_within(simulation, half_of_the_memory_bytes()).map_err(failure)?;
    write_run(&directory, simulation, &simulated).map_err(Failure::environment)?;
    eprintln!(
        "simulated {:.1} s in {:.2} s: {} events{}",
        simulated.simulated.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        simulated.events,
        if simulated.ended == Ended::Whole { "" } else { "; ended early" },
    );
    tell(config, &directory, &simulated.verdict, json)
}

/// The files of a run directory.
fn write_run(
    directory: &RunDirectory,
    config: &SimulationConfig,
    simulated: &Simulated,
) -> anyhow::Result<()> {
    let path = directory.history();
    let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    let mut file = std::io::BufWriter::new(file);
    write_json_lines(&mut file, simulated.history.events())?;
    std::io::Write::flush(&mut file).with_context(|| path.display().to_string())?;
    let mut schedule = ScheduleWriter::open(&directory.schedule())?;
    for fault in &simulated.schedule {
        schedule.append(fault)?;
    }
    directory.write_verdict(&simulated.verdict)?;
    if simulated.verdict.validity == Validity::Invalid {
        diagram::draw_failure(config, &directory.messages())?;
    }
    Ok(())
}

/// What is kept of each of many runs.
struct Brief {
    seed: u64,
    validity: Validity,
    reason: String,
    simulated: Duration,
    events: u64,
    /// Of the bytes that its history would be on disk; 0 if nobody asked.
    history_crc32c: u32,
}

/// What `--json` prints of many runs.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    validity: Validity,
    first_seed: u64,
    runs: u64,
    simulated_s: f64,
    wall_s: f64,
    events: u64,
    /// Over the checksums of all histories, in the order of the seeds: the same on every machine and for any number of jobs.
    histories_crc32c: u32,
    failures: Vec<FailedSeed<'a>>,
    /// Of the first seed that failed.
    run_directory: Option<&'a Path>,
}

#[derive(Serialize)]
struct FailedSeed<'a> {
    seed: u64,
    validity: Validity,
    reason: &'a str,
}

fn run_many(config: &TestConfig, count: u64, arguments: &Arguments) -> Outcome {
    let started = Instant::now();
    let first = config.seed.0;
    if !config.defect.is_empty() {
        eprintln!("DEFECTS SWITCHED ON: {}", config.defect.join(", "));
    }
    let briefs = all_seeds(config, count, arguments)?;
    let simulated_s: f64 = briefs.iter().map(|brief| brief.simulated.as_secs_f64()).sum();
    let wall_s = started.elapsed().as_secs_f64();
    let failed: Vec<&Brief> = briefs.iter().filter(|brief| brief.validity != Validity::Valid).collect();
    eprintln!(
        "{} runs, seeds {first} to {}: {simulated_s:.0} simulated s in {wall_s:.1} s ({:.0} x), {} failed",
        briefs.len(),
        briefs.iter().map(|brief| brief.seed).max().unwrap_or(first),
        simulated_s / wall_s.max(1e-9),
        failed.len(),
    );
    let directory = match failed.first() {
        None => None,
        Some(brief) => {
            eprintln!(
                "the first of them again, with everything written down (labrys sim --seed {} …):",
                brief.seed
            );
            Some(again(&TestConfig { seed: Seed(brief.seed), ..config.clone() })?)
        }
    };
    let validity = overall(&failed);
    if arguments.json {
        let failures = failed.iter().map(|brief| FailedSeed {
            seed: brief.seed,
            validity: brief.validity,
            reason: &brief.reason,
        });
        print_json(&Report {
            schema: 1,
            validity,
            first_seed: first,
            runs: briefs.len() as u64,
            simulated_s,
            wall_s,
            events: briefs.iter().map(|brief| brief.events).sum(),
            histories_crc32c: briefs
                .iter()
                .fold(0, |all, brief| crc32c::crc32c_append(all, &brief.history_crc32c.to_le_bytes())),
            failures: failures.collect(),
            run_directory: directory.as_ref().map(RunDirectory::path),
        })?;
    }
    Ok(exit::of(validity))
}

fn overall(failed: &[&Brief]) -> Validity {
    let has = |validity| failed.iter().any(|brief| brief.validity == validity);
    match (has(Validity::Invalid), has(Validity::Unknown)) {
        (true, _) => Validity::Invalid,
        (false, true) => Validity::Unknown,
        (false, false) => Validity::Valid,
    }
}

/// A run that failed, with its run directory and report.
fn again(config: &TestConfig) -> Result<RunDirectory, Failure> {
    let directory = RunDirectory::create(&config.out, &config.name, SystemTime::now(), config.seed)
        .and_then(|directory| directory.write_config(config).map(|()| directory))
        .map_err(Failure::environment)?;
    let simulation = SimulationConfig::new(config.clone());
    let simulated = simulate_within(&simulation, half_of_the_memory_bytes()).map_err(failure)?;
    write_run(&directory, &simulation, &simulated).map_err(Failure::environment)?;
    tell(config, &directory, &simulated.verdict, false)?;
    Ok(directory)
}

/// At the same time, at most.
const MOST_JOBS: u64 = 1024;

/// Simulates the seeds, several at a time, in the order of the seeds; ends with the first that fails, unless it is to go on. What is
/// returned does not depend on how many there are at a time.
fn all_seeds(config: &TestConfig, count: u64, arguments: &Arguments) -> Result<Vec<Brief>, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let jobs = arguments.jobs.unwrap_or(cores).min(count).min(MOST_JOBS);
    let memory_bytes = half_of_the_memory_bytes() / usize::try_from(jobs).unwrap_or(1).max(1);
    let (next, stop_at) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let (sender, receiver) = mpsc::channel();
    let bar = progress_bar(count);
    let mut briefs: Vec<Brief> = std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (next, stop_at, sender) = (&next, &stop_at, sender.clone());
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // Those before the first that failed are finished.
                    if number >= count || number > stop_at.load(Ordering::Relaxed) {
                        return;
                    }
                    let brief =
                        one_seed(config, config.seed.0.wrapping_add(number), memory_bytes, arguments.json);
                    let is_failed = brief.as_ref().map_or(true, |brief| brief.validity != Validity::Valid);
                    if is_failed && !arguments.keep_going {
                        stop_at.fetch_min(number, Ordering::Relaxed);
                    }
                    let _ = sender.send(brief);
                }
            });
        }
        drop(sender);
        collect(receiver, &bar)
    })?;
    bar.finish_and_clear();
    briefs.sort_by_key(|brief| brief.seed);
    if !arguments.keep_going
        && let Some(position) = briefs.iter().position(|brief| brief.validity != Validity::Valid)
    {
        briefs.truncate(position + 1);
    }
    Ok(briefs)
}

fn progress_bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} runs  {per_sec}  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn collect(
    receiver: mpsc::Receiver<Result<Brief, SimulationError>>,
    bar: &ProgressBar,
) -> Result<Vec<Brief>, Failure> {
    let mut briefs = Vec::new();
    let mut failed = 0;
    for brief in receiver {
        let brief = brief.map_err(failure)?;
        if brief.validity != Validity::Valid {
            failed += 1;
            bar.suspend(|| eprintln!("seed {}: {}: {}", brief.seed, in_a_word(brief.validity), brief.reason));
            bar.set_message(format!("{failed} failed"));
        }
        bar.inc(1);
        briefs.push(brief);
    }
    Ok(briefs)
}

fn in_a_word(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "valid",
        Validity::Invalid => "invalid",
        Validity::Unknown => "unknown",
    }
}

fn one_seed(
    config: &TestConfig,
    seed: u64,
    memory_bytes: usize,
    is_summed: bool,
) -> Result<Brief, SimulationError> {
    let test = TestConfig { seed: Seed(seed), ..config.clone() };
    let simulated = simulate_within(&SimulationConfig::new(test), memory_bytes)?;
    Ok(Brief {
        seed,
        validity: simulated.verdict.validity,
        reason: reason_of(&simulated.verdict),
        simulated: simulated.simulated,
        events: simulated.events,
        history_crc32c: if is_summed { checksum(&simulated) } else { 0 },
    })
}

fn checksum(simulated: &Simulated) -> u32 {
    let mut bytes = Vec::new();
    match write_json_lines(&mut bytes, simulated.history.events()) {
        Ok(()) => crc32c::crc32c(&bytes),
        Err(error) => unreachable!("writing to memory: {error}"),
    }
}

/// The first checker that says so, and what it says.
fn reason_of(verdict: &Verdict) -> String {
    let check = verdict.checks.iter().find(|check| check.validity == verdict.validity);
    check.map_or_else(String::new, |check| format!("{}: {}", check.checker, check.reason))
}
