//! `labrys disk-process`: a disk that can lose power, fill up, fail and rot, until its orders are gone. Not for people.

use std::path::PathBuf;

use labrys_nemesis::{DiskFailure, run_disk};

use crate::exit::{Failure, Outcome};

/// What it is called on the command line.
pub const NAME: &str = labrys_harness::runner::DISK_PROCESS;

#[derive(clap::Args)]
pub struct Arguments {
    /// The orders that the harness wrote
    #[arg(value_name = "FILE")]
    orders: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let failure = |failure: DiskFailure| match failure.is_usage() {
        true => Failure::usage(failure),
        false => Failure::environment(failure),
    };
    run_disk(&arguments.orders).map(|()| 0).map_err(failure)
}
