//! `labrys test`: the main job, from the configuration to the exit code.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use labrys_checker::verdict::{Evidence, Validity, Verdict};
use labrys_harness::config::{ConfigError, SSH, TestConfig, TestOptions};
use labrys_harness::interpreter::Stop;
use labrys_harness::isolation::{self, Enclosure, Entered, IsolationOptions};
use labrys_harness::progress::Progress;
use labrys_harness::run_directory::RunDirectory;
use labrys_harness::runner::{RunOutcome, run as run_test};
use labrys_history::{History, ReadOptions, read_history};
use labrys_reports::{Inputs, report, summary};
use labrys_seed::Seed;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::commands::describe_run;
use crate::exit::{self, Failure, Outcome};
use crate::output::print_json;
use crate::progress;

const EXAMPLES: &str = "\
Examples:
  labrys test                                       all defaults
  labrys test --nodes 3 --concurrency 2n --time-limit 60s
  labrys test --nemesis partition-leader,kill --nemesis-interval 2s
  labrys test campaign.toml --seed 7                options from a file; flags win
  labrys test labrys-runs/latest/test.toml          repeat a run
  labrys test --read-mode local                     reads that may be stale: must be found invalid
  labrys test --defect local-leader-read            switch a bug of the store on
  labrys test --time-limit 1h --fail-fast           stop at the first violation
  labrys test --testbed ssh --hosts hosts.toml      nodes on other machines: docs/ssh.md
  labrys test --test-count 24 --seed 1              24 runs, seeds 1 to 24; stop at the first that is not valid
  labrys test --testbed sim --nemesis all           the same in the simulator: see labrys sim
  labrys test --store-option snapshot-entries=50    a flag of the reference store
  labrys test --nemesis partition=10s,kill=3s --quiet 10s --quiet-every 60s   an interval for each kind, quiet periods
  labrys test --nemesis kill,clock --require-bite all   unknown unless each kind had an effect
  labrys test --faults plan.toml                    a scripted plan, with events to wait for: see docs/faults.md
  labrys test --faults labrys-runs/latest/schedule.jsonl   the faults of another run again, real or simulated

Kinds of faults:
";

#[derive(clap::Args)]
pub struct Arguments {
    /// A TOML file with any of the options below
    #[arg(value_name = "CAMPAIGN.TOML")]
    campaign: Option<PathBuf>,
    #[command(flatten)]
    options: TestOptions,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// So many runs one after the other, with seeds from --seed on; ends at the first that is not valid
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    test_count: u64,
    /// The whole configuration as TOML; what the process outside hands to the one inside the namespaces
    #[arg(long, hide = true, value_name = "TOML")]
    resolved: Option<String>,
}

/// What is below the options in `--help`.
pub fn after_help() -> String {
    let kinds =
        labrys_nemesis::FaultKind::all().map(|kind| format!("  {:<28}{}\n", kind.name(), kind.summary()));
    EXAMPLES.to_owned() + &kinds.collect::<String>()
}

/// What `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this object.
    pub schema: u32,
    /// The verdict in a word.
    pub validity: Validity,
    /// The verdict in a sentence; empty for most valid ones.
    pub reason: String,
    /// The seed of the run.
    pub seed: u64,
    /// Where everything is.
    pub run_directory: PathBuf,
    /// The report.
    pub report: PathBuf,
    /// Seconds of the run until the first violation was complete.
    pub detected_after_s: Option<f64>,
    /// The checker that says so.
    pub detected_by: Option<String>,
}

pub fn run(arguments: Arguments) -> Outcome {
    let json = arguments.json;
    let config = configuration(&arguments).map_err(Failure::usage)?;
    if config.is_simulated() {
        if arguments.test_count > 1 {
            return Err(Failure::usage(anyhow::anyhow!(
                "--test-count: simulated runs are counted by `labrys sim --seeds {}`",
                arguments.test_count
            )));
        }
        return super::sim::run_one(&config, json);
    }
    if config.testbed == SSH {
        if arguments.test_count > 1 {
            return Err(Failure::usage(anyhow::anyhow!(
                "--test-count: one run at a time with --testbed ssh; run the command again with another --seed"
            )));
        }
        // The machines are not in here, and what ends with the isolation is on them.
        return run_and_tell(&config, None, json);
    }
    if config.seed.0.checked_add(arguments.test_count - 1).is_none_or(|last| last > i64::MAX as u64) {
        return Err(Failure::usage(anyhow::anyhow!(
            "--test-count: {} seeds from {} on go beyond {}, the largest one that a run can record",
            arguments.test_count,
            config.seed.0,
            i64::MAX
        )));
    }
    for number in 0..arguments.test_count {
        if arguments.test_count > 1 {
            eprintln!("run {} of {}", number + 1, arguments.test_count);
        }
        let seed = Seed(config.seed.0.wrapping_add(number));
        match one_run(&TestConfig { seed, ..config.clone() }, json)? {
            Ran { exit_code: 0, was_asked_to_end: false } => {}
            Ran { exit_code, .. } => return Ok(exit_code),
        }
    }
    Ok(0)
}

/// How a run ended.
struct Ran {
    exit_code: u8,
    /// By a signal to this process, which meant whatever was still to come as well.
    was_asked_to_end: bool,
}

/// A run, in namespaces of its own: in there the run itself, outside the wait for its end.
fn one_run(config: &TestConfig, json: bool) -> Result<Ran, Failure> {
    // Not the same arguments again: what they name may be readable but once (a pipe), and no seed would be the same.
    let mut inside: Vec<OsString> = vec!["test".into(), "--resolved".into(), config.to_toml().into()];
    inside.extend(json.then(|| "--json".into()));
    match isolation::enter(&IsolationOptions { arguments: Some(inside) }).map_err(Failure::environment)? {
        Entered::Finished { exit_code, message, was_asked_to_end } => {
            if let Some(message) = message {
                eprintln!("labrys: {message}");
            }
            Ok(Ran { exit_code, was_asked_to_end })
        }
        Entered::Inside(enclosure) => {
            let exit_code = run_and_tell(config, Some(&enclosure), json)?;
            Ok(Ran { exit_code, was_asked_to_end: false })
        }
    }
}

/// The options, or what another process has made of them.
fn configuration(arguments: &Arguments) -> Result<TestConfig, ConfigError> {
    if let Some(resolved) = &arguments.resolved {
        return TestOptions::parse(resolved, Path::new("--resolved"))?.resolve(Seed(0));
    }
    let from_file = arguments.campaign.as_deref().map(TestOptions::read).transpose()?;
    arguments.options.clone().or(from_file.unwrap_or_default()).resolve(fresh_seed())
}

/// Small enough to be typed again.
pub fn fresh_seed() -> Seed {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Seed(Seed(now.as_nanos() as u64).fork("fresh").0 >> 32)
}

fn run_and_tell(config: &TestConfig, enclosure: Option<&Enclosure>, json: bool) -> Outcome {
    let directory = RunDirectory::create(&config.out, &config.name, SystemTime::now(), config.seed)
        .and_then(|directory| directory.write_config(config).map(|()| directory))
        .map_err(Failure::environment)?;
    start_log(&directory)?;
    eprintln!("seed {}  {}", config.seed, directory.path().display());
    if !config.defect.is_empty() {
        eprintln!("DEFECTS SWITCHED ON: {}", config.defect.join(", "));
    }
    // On a worker of the runtime: from the main thread every hand-over to a worker would be a system call (the interpreter
    // is five times slower there, see PERFORMANCE.md beside it).
    let (run_config, run_enclosure, run_directory) = (config.clone(), enclosure.cloned(), directory.clone());
    let run = async move { watched(&run_config, run_enclosure.as_ref(), &run_directory).await };
    let runtime = crate::runtime()?;
    let outcome = runtime.block_on(async { tokio::spawn(run).await });
    // What still blocks (a nemesis that hangs, an abandoned client) ends with the process, and is not waited for.
    runtime.shutdown_background();
    let outcome = outcome.map_err(Failure::environment)?;
    let outcome = outcome.map_err(|error| {
        tracing::error!("{error}");
        let code = if error.is_usage() { exit::USAGE } else { exit::ENVIRONMENT };
        Failure { code, error: anyhow::Error::new(error) }
    })?;
    if let Some(why) = &outcome.stopped_early {
        eprintln!("labrys: {why}");
    }
    for warning in &outcome.warnings {
        eprintln!("labrys: warning: {warning}");
    }
    tell(config, &directory, &outcome.verdict, json)
}

fn start_log(directory: &RunDirectory) -> Result<(), Failure> {
    let path = directory.log();
    let file = std::fs::File::create(&path)
        .with_context(|| path.display().to_string())
        .map_err(Failure::environment)?;
    let level = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(level).with_ansi(false).with_writer(file);
    subscriber.try_init().map_err(|error| Failure::environment(anyhow::anyhow!("{error}")))
}

/// The run, with progress shown, and ended early by a signal.
async fn watched(
    config: &TestConfig,
    enclosure: Option<&Enclosure>,
    directory: &RunDirectory,
) -> Result<RunOutcome, labrys_harness::runner::RunError> {
    let (sender, receiver) = watch::channel(Progress::default());
    let shown = tokio::spawn(progress::show(receiver));
    let stop = Stop::new();
    let signals = tokio::spawn(stop_at_a_signal(stop.clone()));
    let outcome = run_test(config, enclosure, directory, sender, &stop).await;
    signals.abort();
    // The sender is gone: the display ends by itself, and leaves the line clean.
    let _ = shown.await;
    outcome
}

/// The first signal ends the run in an orderly way; the second ends everything, and the kernel clears up.
async fn stop_at_a_signal(stop: Stop) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    for number in 0.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if number > 0 {
            std::process::exit(i32::from(exit::ENVIRONMENT));
        }
        stop.give();
    }
}

/// Report, summary, JSON, exit code.
pub fn tell(config: &TestConfig, directory: &RunDirectory, verdict: &Verdict, json: bool) -> Outcome {
    let history =
        read_history(directory.history(), ReadOptions::default()).map_err(Failure::environment)?.history;
    let run = describe_run(config, directory);
    let inputs = Inputs { history: &history, verdict, run: &run };
    let paths = report::write(&directory.report(), &inputs)
        .context("writing the report")
        .map_err(Failure::environment)?;
    eprint!("{}", summary::text(&inputs, Some(&paths), exit::colour()));
    if json {
        let detected = first_violation(&history, verdict);
        let reasons = verdict.checks.iter().filter(|check| check.validity == verdict.validity);
        let printed = Report {
            schema: 1,
            validity: verdict.validity,
            reason: reasons
                .map(|check| check.reason.clone())
                .find(|reason| !reason.is_empty())
                .unwrap_or_default(),
            seed: config.seed.0,
            run_directory: directory.path().to_owned(),
            report: paths.index_html,
            detected_after_s: detected.as_ref().map(|(time_ns, _)| *time_ns as f64 / 1e9),
            detected_by: detected.map(|(_, checker)| checker),
        };
        print_json(&printed)?;
    }
    Ok(exit::of(verdict.validity))
}

/// The time of the event at which the earliest violation is complete, and the checker that found it.
pub(crate) fn first_violation(history: &History, verdict: &Verdict) -> Option<(u64, String)> {
    let time_of = |index: u64| {
        let events = history.events();
        let position = events.binary_search_by_key(&index, |event| event.index).ok()?;
        Some(events[position].time_ns)
    };
    let mut earliest: Option<(u64, String)> = None;
    for check in &verdict.checks {
        let in_partitions = check.partitions.iter().flat_map(|partition| &partition.evidence);
        for evidence in check.evidence.iter().chain(in_partitions) {
            let complete_at = match evidence {
                Evidence::NonLinearizable(found) => Some(found.prefix_end),
                Evidence::Broken { events, .. } => events.iter().copied().max(),
            };
            if let Some(time_ns) = complete_at.and_then(time_of)
                && earliest.as_ref().is_none_or(|(best_ns, _)| time_ns < *best_ns)
            {
                earliest = Some((time_ns, check.checker.clone()));
            }
        }
    }
    earliest
}
