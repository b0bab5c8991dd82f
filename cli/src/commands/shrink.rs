//! `labrys shrink`: the smallest simulated run that fails like a given one, as a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use labrys_harness::config::{SIMULATOR, TestOptions};
use labrys_nemesis::FaultList;
use labrys_simulation::failure::Failure as Accusation;
use labrys_simulation::schedule_file::ScheduleFile;
use labrys_simulation::shrink::{Limits, Reproduction, Shrunk, Size, reproduce, shrink};
use labrys_simulation::{SimulationConfig, SimulationError};
use serde::Serialize;

use super::quiet::quieten_the_store;
use super::sim::usual;
use crate::diagram;
use crate::exit::{Failure, Outcome};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  labrys shrink labrys-runs/latest                         the run of a directory; writes shrunk.toml into it
  labrys shrink --seed 7 --defect quorum-off-by-one        a run by its flags, as for labrys sim
  labrys shrink shrunk.toml --file smaller.toml --runs 900 go on with what was found
  labrys shrink --seed 1 --defect election-no-log-check --of leader-completeness

A file that a person can read and commit is written: seed, options that differ from their defaults, and each fault with its time; and
beside it a picture of the messages. Nobody can replay a run of real machines exactly: of those the faults are tried, as they struck, with
several seeds, and how many fail is told.

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
    /// Seeds with which the faults of a real run, and the smallest schedule, are tried
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    reproduce: u64,
    /// Where the file is written; a picture of the messages stands beside it [default: shrunk.toml in the run directory, or here]
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
    picture: PathBuf,
    violates: String,
    what: String,
    before: SizeReport,
    after: SizeReport,
    runs: u64,
    is_minimal: bool,
    /// Of the smallest run's schedule with `reproductions` seeds, so many runs fail.
    reproduced: usize,
    reproductions: u64,
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
    let given = given(arguments)?;
    quieten_the_store();
    let of = arguments.of.as_deref().or(given.violates.as_deref());
    of.map_or(Ok(()), check_name).map_err(Failure::usage)?;
    let started = Instant::now();
    let mut config = given.config;
    if given.was_real {
        let reproduced = reproduce(&config, of, arguments.reproduce).map_err(failure)?;
        eprintln!(
            "the faults of the real run, simulated: {} of {} seeds fail",
            reproduced.failed.len(),
            reproduced.runs
        );
        config = reproduced.failed.into_iter().next().map_or(config, |(failed, _)| failed);
    }
    let limits = Limits { runs: arguments.runs, seeds: arguments.tries };
    let mut tell = |size: &Size, runs: u64| eprintln!("run {runs}: {}", size.in_words());
    let Some(shrunk) = shrink(&config, of, limits, &mut tell).map_err(failure)? else {
        let of = of.map_or_else(String::new, |of| format!(" by {of}"));
        eprintln!("labrys: the run does not fail{of} in the simulator: there is nothing to shrink");
        return Ok(DOES_NOT_FAIL);
    };
    let wall_s = started.elapsed().as_secs_f64();
    let again = reproduce(&shrunk.config, Some(&shrunk.failure.of), arguments.reproduce).map_err(failure)?;
    written(arguments, &shrunk, &again, wall_s)
}

/// Whether anything of that name may accuse a run: if not, every run would seem to be right.
fn check_name(of: &str) -> anyhow::Result<()> {
    let names = Accusation::names();
    if names.iter().any(|name| name == of) {
        return Ok(());
    }
    bail!("--of {of}: no property and no checker has this name; there are: {}", names.join(", "))
}

pub(super) fn failure(error: SimulationError) -> Failure {
    match error {
        SimulationError::Check(_) | SimulationError::History { .. } | SimulationError::Stuck => {
            Failure::environment(error)
        }
        _ => Failure::usage(error),
    }
}

/// What is to be shrunk.
struct Given {
    config: SimulationConfig,
    violates: Option<String>,
    /// It was run on real machines, where nobody can replay it exactly.
    was_real: bool,
}

fn given(arguments: &Arguments) -> Result<Given, Failure> {
    let Some(from) = &arguments.from else {
        let config = campaign(arguments, TestOptions::default())?;
        return Ok(Given { config, violates: None, was_real: false });
    };
    if from.is_dir() {
        return of_run_directory(arguments, from);
    }
    let text =
        std::fs::read_to_string(from).with_context(|| from.display().to_string()).map_err(Failure::usage)?;
    let of_schedule =
        |table: toml::Table| ["violates", "core", "test"].iter().any(|name| table.contains_key(*name));
    let is_schedule = text.parse::<toml::Table>().is_ok_and(of_schedule);
    if is_schedule {
        if let Some(option) = arguments.options.given().first() {
            return Err(Failure::usage(anyhow!(
                "--{option}: a schedule file says everything about its run; edit a copy of {} instead ([test] {option} = …)",
                from.display()
            )));
        }
        let file = ScheduleFile::parse(&text, from).map_err(Failure::usage)?;
        return Ok(Given { config: file.config, violates: file.violates, was_real: false });
    }
    let options = TestOptions::parse(&text, from).map_err(Failure::usage)?;
    Ok(Given { config: campaign(arguments, options)?, violates: None, was_real: false })
}

/// The run by its seed if it was simulated; if it was one of real machines, the faults that struck it, with several seeds.
fn of_run_directory(arguments: &Arguments, directory: &Path) -> Result<Given, Failure> {
    let mut options = TestOptions::read(&directory.join("test.toml")).map_err(Failure::usage)?;
    let was_real = options.testbed.as_deref() != Some(SIMULATOR);
    let mut faults = FaultList::default();
    if was_real {
        faults = FaultList::read(&directory.join("schedule.jsonl")).map_err(Failure::usage)?;
        // Checked with the rest: nodes that do not exist, times beyond the end.
        options.faults = Some(faults.clone());
    }
    let mut config = campaign(arguments, options)?;
    if was_real {
        // Also if none struck: then none is to be planned.
        config.schedule = Some(faults.into());
    }
    Ok(Given { config, violates: None, was_real })
}

fn campaign(arguments: &Arguments, from_file: TestOptions) -> Result<SimulationConfig, Failure> {
    let options = TestOptions {
        testbed: Some(SIMULATOR.to_owned()),
        ..arguments.options.clone().or(from_file).or(usual())
    };
    let Some(seed) = options.seed else {
        return Err(Failure::usage(anyhow!(
            "which run is to be shrunk? Give its seed (--seed U64), its run directory or its file"
        )));
    };
    options.resolve(seed).map(SimulationConfig::new).map_err(Failure::usage)
}

fn written(arguments: &Arguments, shrunk: &Shrunk, again: &Reproduction, wall_s: f64) -> Outcome {
    let folder = arguments.from.as_deref().filter(|from| from.is_dir()).unwrap_or(Path::new("."));
    let file = arguments.file.clone().unwrap_or_else(|| folder.join("shrunk.toml"));
    std::fs::write(&file, shrunk.to_toml())
        .with_context(|| file.display().to_string())
        .map_err(Failure::environment)?;
    let picture = file.with_extension("svg");
    diagram::draw_failure(&shrunk.config, &picture).map_err(Failure::environment)?;
    eprintln!("{}", shrunk.failure);
    eprintln!("before: {}\nafter:  {}", shrunk.before.in_words(), shrunk.after.in_words());
    let end = if shrunk.is_minimal { "nothing left to try" } else { "stopped at --runs" };
    eprintln!(
        "{} runs in {wall_s:.1} s, {end}; written to {} and {}",
        shrunk.runs,
        file.display(),
        picture.display()
    );
    let failed = again.failed.len();
    eprintln!("the same faults with other seeds: {failed} of {} runs fail in the same way", again.runs);
    if arguments.json {
        print_json(&Report {
            schema: 1,
            file,
            picture,
            violates: shrunk.failure.of.clone(),
            what: shrunk.failure.what.clone(),
            before: shrunk.before.into(),
            after: shrunk.after.into(),
            runs: shrunk.runs,
            is_minimal: shrunk.is_minimal,
            reproduced: again.failed.len(),
            reproductions: again.runs,
            wall_s,
        })?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_accuses_nobody_is_refused_with_the_names_that_there_are() {
        check_name("leader-completeness").expect("a property");
        check_name("replicas-agree").expect("a checker");
        let error = check_name("replica-agree").expect_err("neither").to_string();
        assert!(error.starts_with("--of replica-agree: no property and no checker"), "{error}");
        assert!(error.contains("leader-completeness") && error.contains("replicas-agree"), "{error}");
    }
}
