//! `labrys processor-process`: the process that keeps another from its processor until its orders are gone. Not for people.

use std::path::PathBuf;

use labrys_nemesis::starve;

use crate::exit::{Failure, Outcome};

/// What it is called on the command line.
pub const NAME: &str = "processor-process";

#[derive(clap::Args)]
pub struct Arguments {
    /// The orders that the nemesis wrote
    #[arg(value_name = "FILE")]
    orders: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    starve(&arguments.orders).map(|()| 0).map_err(Failure::environment)
}
