//! `labrys agent`: what acts for Labrys on a machine that is reached by ssh. Not for people: `labrys test --testbed ssh` starts it.

use std::path::PathBuf;

use anyhow::Context;
use labrys_harness::agent::{Programs, ThisMachine, attach, heal, serve, take_listener};
use labrys_nemesis::machine_clock;
use labrys_nemesis::outlive_the_terminal;

use crate::exit::{Failure, Outcome};
use crate::output::print_json;

/// What it is called on the command line.
pub const NAME: &str = "agent";

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(clap::Subcommand)]
enum Part {
    /// Connect standard input and output to the agent of a node, which is started if there is none
    Attach(Folder),
    /// Be the agent of a node; standard input is the socket that it listens on
    Serve(Folder),
    /// Move the machine's clock, or put it right from the note in the node's folder: `hold AHEAD_MS DRIFT_PERCENT`, `look`, `restore`
    Clock {
        /// The folder of the node
        directory: PathBuf,
        /// What to do
        #[arg(allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Undo, from its journal alone, what the agent of a node has left, and say what is there after all
    Heal {
        #[command(flatten)]
        folder: Folder,
        /// Also if its run is still under way
        #[arg(long)]
        force: bool,
    },
}

#[derive(clap::Args)]
struct Folder {
    /// The folder of the node
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    match &arguments.part {
        Part::Attach(Folder { directory }) => {
            let folder = directory.to_string_lossy().into_owned();
            let serve = [NAME, "serve", "--directory"].map(str::to_owned).into_iter().chain([folder]);
            attach(directory, &serve.collect::<Vec<_>>()).map(|()| 0).map_err(Failure::environment)
        }
        Part::Serve(_) => be_agent().map_err(Failure::environment),
        Part::Clock { directory, words } => {
            let done = machine_clock::carry_out(directory, &mut ThisMachine, words);
            println!("{}", done.map_err(Failure::environment)?);
            Ok(0)
        }
        Part::Heal { folder, force } => {
            let ending = heal(&folder.directory, *force).map_err(Failure::environment)?;
            print_json(&ending)?;
            Ok(if ending.left.is_empty() { 0 } else { 255 })
        }
    }
}

fn be_agent() -> anyhow::Result<u8> {
    outlive_the_terminal().context("leaving the terminal")?;
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    // This very program, by a name that stays its own whatever becomes of its file.
    let program = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned());
        std::iter::once(format!("/proc/{}/exe", std::process::id())).chain(words).collect()
    };
    let programs = Programs {
        packets: program(&[super::packet_process::NAME]),
        processor: program(&[super::processor_process::NAME]),
        clock: program(&[NAME, "clock"]),
    };
    serve(&take_listener()?, programs)?;
    Ok(0)
}
