//! `labrys report`: the report of a run directory, made again, for instance by a newer version, or for the first time, if the
//! run was cut short.

use std::path::PathBuf;

use anyhow::Context;
use labrys_checker::verdict::Verdict;
use labrys_harness::config::TestConfig;
use labrys_harness::run_directory::RunDirectory;
use labrys_harness::runner::judge;
use labrys_history::{ReadOptions, read_history};
use labrys_reports::{Inputs, report, summary};

use crate::commands::describe_run;
use crate::exit::{self, Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  labrys report labrys-runs/latest
  labrys report labrys-runs/labrys/20261121T033356Z-7

The exit code is that of the verdict, which is made now if the run was cut short before it had one.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The run directory
    #[arg(value_name = "RUN_DIR")]
    run_directory: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let directory = RunDirectory::open(&arguments.run_directory).map_err(Failure::usage)?;
    let config = directory.read_config().map_err(Failure::usage)?;
    let verdict = if directory.verdict().exists() {
        directory.read_verdict().map_err(Failure::usage)?
    } else {
        judge_now(&config, &directory)?
    };
    let history = read_history(directory.history(), ReadOptions::default()).map_err(Failure::usage)?;
    for warning in &history.warnings {
        eprintln!("labrys: warning: {warning}");
    }
    let run = describe_run(&config, &directory);
    let inputs = Inputs { history: &history.history, verdict: &verdict, run: &run };
    let paths = report::write(&directory.report(), &inputs)
        .context("writing the report")
        .map_err(Failure::environment)?;
    eprint!("{}", summary::text(&inputs, Some(&paths), exit::colour()));
    Ok(exit::of(verdict.validity))
}

/// Judges what a run recorded that came to no verdict of its own.
fn judge_now(config: &TestConfig, directory: &RunDirectory) -> Result<Verdict, Failure> {
    eprintln!("labrys: the run was cut short before its verdict; judging what it recorded");
    let verdict = judge(config, directory).map_err(Failure::usage)?;
    directory.write_verdict(&verdict).map_err(Failure::environment)?;
    Ok(verdict)
}
