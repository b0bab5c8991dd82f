//! `labrys bench`: what `labrys-bench` measures, printed; and the process that it measures in.

use std::path::PathBuf;

use labrys_bench::simulation::SimulationOptions;
use labrys_bench::store::StoreOptions;
use labrys_bench::{BenchError, CheckOptions};
use labrys_harness::isolation::{self, Entered, IsolationOptions};

use crate::commands::generated_part;
use crate::exit::{Failure, Outcome};
use crate::output::print_json;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// Measure the checker on histories that it makes itself, and others on the same
    #[command(after_help = labrys_bench::after_help())]
    Check(CheckArguments),
    /// Measure the reference store, and etcd beside it if it is installed, under the same load
    #[command(after_help = labrys_bench::store::after_help())]
    Store(StoreArguments),
    /// Measure the simulator
    #[command(after_help = labrys_bench::simulation::after_help())]
    Sim(SimulationArguments),
}

#[derive(clap::Args)]
struct SimulationArguments {
    #[command(flatten)]
    options: SimulationOptions,
    /// Replace the generated part of this file by the table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(clap::Args)]
struct StoreArguments {
    #[command(flatten)]
    options: StoreOptions,
    /// Replace the generated part of this file by the tables
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(clap::Args)]
struct CheckArguments {
    #[command(flatten)]
    options: CheckOptions,
    /// Replace the generated part of this file by the table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    match &arguments.bench {
        Bench::Check(arguments) => check(arguments),
        Bench::Store(arguments) => store(arguments),
        Bench::Sim(arguments) => simulation(arguments),
    }
}

fn simulation(arguments: &SimulationArguments) -> Outcome {
    let report = labrys_bench::simulation::run(&arguments.options).map_err(Failure::environment)?;
    let table = report.markdown();
    eprintln!("\n{table}");
    if arguments.options.json {
        print_json(&report)?;
    }
    if let Some(file) = &arguments.markdown {
        generated_part::replace(file, "labrys bench sim", &table).map_err(Failure::environment)?;
    }
    Ok(u8::from(report.is_wrong()))
}

fn store(arguments: &StoreArguments) -> Outcome {
    match isolation::enter(&IsolationOptions::default()).map_err(Failure::environment)? {
        Entered::Finished { exit_code, message, .. } => {
            if let Some(message) = message {
                eprintln!("labrys: {message}");
            }
            Ok(exit_code)
        }
        Entered::Inside(enclosure) => {
            let options = arguments.options.clone();
            let runtime = crate::runtime()?;
            let measuring = async move { labrys_bench::store::run(&options, &enclosure).await };
            let measured = runtime.block_on(async { tokio::spawn(measuring).await });
            let report = measured.map_err(Failure::environment)?.map_err(Failure::environment)?;
            let tables = report.markdown();
            eprintln!("\n{tables}");
            if arguments.options.json {
                print_json(&report)?;
            }
            if let Some(file) = &arguments.markdown {
                generated_part::replace(file, "labrys bench store", &tables).map_err(Failure::environment)?;
            }
            Ok(0)
        }
    }
}

fn check(arguments: &CheckArguments) -> Outcome {
    let CheckArguments { options, markdown } = arguments;
    let report = labrys_bench::run(options).map_err(|error| match error {
        BenchError::Usage(_) => Failure::usage(error),
        BenchError::Environment(error) => Failure::environment(error),
    })?;
    let Some(report) = report else { return Ok(0) };
    if options.json {
        print_json(&report.results)?;
    }
    if let Some(file) = markdown {
        let table = format!("```text\n{}```\n", report.table);
        generated_part::replace(file, "labrys bench check", &table).map_err(Failure::environment)?;
    }
    Ok(u8::from(report.is_wrong))
}

/// One measurement, for a `labrys bench` that has started this process.
pub fn run_row() -> Outcome {
    labrys_bench::serve_row().map_err(Failure::usage)?;
    Ok(0)
}
