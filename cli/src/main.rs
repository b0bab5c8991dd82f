//! The `labrys` command: arguments, progress, exit codes. What it does is in the libraries.
//!
//! Machine output goes to standard output and only with `--json`; everything for people goes to standard error, but for the
//! table of `labrys bench`, which is what one asks it for.

// First, for its macros.
#[macro_use]
mod output;

mod commands;
mod diagram;
mod exit;
mod progress;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use labrys_harness::config::TestConfig;

use crate::exit::{Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  labrys test                                        break a five-node Raft cluster for 30 s and judge it
  labrys test --nodes 3 --nemesis partition-leader --time-limit 1m
  labrys test --defect local-leader-read             a bug switched on: ends invalid, and shows why
  labrys sim --seeds 1000                            a thousand simulated runs; any of them again with --seed
  labrys check history.edn --model cas-register --initial 0
  labrys convert history.edn history.jsonl           between the formats of Labrys, Jepsen, elle-cli and Porcupine
  labrys doctor                                      what this machine can do

Exit codes: 0 valid, 1 invalid, 2 unknown, 254 wrong usage or configuration, 255 the harness or the environment failed.";

/// Breaks distributed systems, and judges what they did.
#[derive(Parser)]
#[command(name = "labrys", version, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a test: start a cluster, break it while clients work on it, judge the history, write a report
    Test(Box<commands::test::Arguments>),
    /// Run tests in the simulator: the same store, one thread, one seed; thousands of seeds in minutes
    Sim(Box<commands::sim::Arguments>),
    /// Play a textbook scenario of Raft step by step, and see what a defect makes of it
    Scenario(commands::scenario::Arguments),
    /// Find the smallest simulated run that fails like a given one, and write it down
    Shrink(Box<commands::shrink::Arguments>),
    /// Check recorded histories
    Check(commands::check::Arguments),
    /// Convert a history from one format to another
    Convert(commands::convert::Arguments),
    /// Rebuild the report of a run directory
    Report(commands::report::Arguments),
    /// Say what this machine can do, and how to mend what is missing
    Doctor(commands::doctor::Arguments),
    /// Undo whatever a run recorded as still applied
    Heal(commands::heal::Arguments),
    /// Test the harness: is every known defect of the reference store still found?
    Defects(commands::defects::Arguments),
    /// Measure how fast the checker is
    Bench(commands::bench::Arguments),
    /// One measurement in a process of its own; started by `labrys bench`
    #[command(name = labrys_bench::ROW_COMMAND, hide = true)]
    BenchRow,
    /// What acts on a machine that is reached by ssh; started by `labrys test --testbed ssh`
    #[command(name = commands::agent::NAME, hide = true)]
    Agent(commands::agent::Arguments),
    /// The process that applies and undoes faults; started by `labrys test`
    #[command(name = "nemesis-process", hide = true)]
    NemesisProcess(commands::nemesis_process::Arguments),
    /// The process that is a node's disk; started by `labrys test`
    #[command(name = commands::disk_process::NAME, hide = true)]
    DiskProcess(commands::disk_process::Arguments),
    /// The process that holds packets back; started by the nemesis
    #[command(name = commands::packet_process::NAME, hide = true)]
    PacketProcess(commands::packet_process::Arguments),
    /// The process that keeps another from its processor; started by the nemesis
    #[command(name = commands::processor_process::NAME, hide = true)]
    ProcessorProcess(commands::processor_process::Arguments),
}

fn main() -> ExitCode {
    let parsed = command()
        .try_get_matches_from(std::env::args_os())
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints them to standard output.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    // A panic has told its message; it must not end in a code that says something else.
    match catch_unwind(AssertUnwindSafe(|| run(cli.command))) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(failure)) => failure.report(),
        Err(_) => Failure::environment(anyhow!("this is a bug in Labrys, please report it")).report(),
    }
}

/// The command line, with what only the libraries know: defaults and kinds of faults.
fn command() -> clap::Command {
    let defaults: toml::Table = TestConfig::defaults().to_toml().parse().unwrap_or_default();
    Cli::command().mut_subcommand("test", |test| {
        let test = test.after_help(commands::test::after_help());
        test.mut_args(|argument| match defaults.get(&argument.get_id().as_str().replace('_', "-")) {
            Some(default) if argument.get_id() != "seed" => {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                argument.help(format!("{help} [default: {}]", in_words(default)))
            }
            _ => argument,
        })
    })
}

fn in_words(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(elements) if elements.is_empty() => "none".to_owned(),
        toml::Value::Table(fields) if fields.is_empty() => "none".to_owned(),
        toml::Value::Array(elements) => elements.iter().map(in_words).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Test(arguments) => commands::test::run(*arguments),
        Command::Sim(arguments) => commands::sim::run(*arguments),
        Command::Scenario(arguments) => commands::scenario::run(&arguments),
        Command::Shrink(arguments) => commands::shrink::run(&arguments),
        Command::Check(arguments) => commands::check::run(&arguments),
        Command::Convert(arguments) => commands::convert::run(&arguments),
        Command::Report(arguments) => commands::report::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::Heal(arguments) => commands::heal::run(&arguments),
        Command::Defects(arguments) => commands::defects::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::BenchRow => commands::bench::run_row(),
        Command::Agent(arguments) => commands::agent::run(&arguments),
        Command::NemesisProcess(arguments) => commands::nemesis_process::run(&arguments),
        Command::DiskProcess(arguments) => commands::disk_process::run(&arguments),
        Command::PacketProcess(arguments) => commands::packet_process::run(&arguments),
        Command::ProcessorProcess(arguments) => commands::processor_process::run(&arguments),
    }
}

/// An asynchronous runtime for the commands that need one.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::environment)
}
