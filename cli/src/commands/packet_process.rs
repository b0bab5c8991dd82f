//! `labrys packet-process`: the process that holds packets back until its orders are gone. Not for people.

use std::path::PathBuf;

use labrys_nemesis::hold_packets;

use crate::exit::{Failure, Outcome};

/// What it is called on the command line.
pub const NAME: &str = "packet-process";

#[derive(clap::Args)]
pub struct Arguments {
    /// The orders that the nemesis wrote
    #[arg(value_name = "FILE")]
    orders: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    hold_packets(&arguments.orders).map(|()| 0).map_err(Failure::environment)
}
