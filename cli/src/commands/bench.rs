//! `labrys bench`: what `labrys-bench` measures, printed; and the process that it measures in.

use std::path::PathBuf;

use labrys_bench::{BenchError, CheckOptions};

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
    let Bench::Check(CheckArguments { options, markdown }) = &arguments.bench;
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
