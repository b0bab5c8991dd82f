//! `labrys heal`: undoes whatever a run recorded as still applied. Idempotent.

use std::path::PathBuf;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use labrys_harness::run_directory::RunDirectory;
use labrys_harness::testbed::{Liveness, NetnsTestbedConfig};
use labrys_nemesis::read_journal;

use crate::exit::{Failure, Outcome};

/// How long the kernel may take to clear up after a killed init.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

const EXAMPLES: &str = "\
Examples:
  labrys heal labrys-runs/latest
  labrys heal --end labrys-runs/latest     also if it is still under way

Faults on the default testbed live in namespaces that die with the run: there is usually nothing left to undo, and this
command says so after looking. Exit codes: 0 nothing is left, 254 this is no run directory,
255 the run still exists (--end ends it), or could not be ended.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The run directory
    #[arg(value_name = "RUN_DIR")]
    run_directory: PathBuf,
    /// End the run if it still exists
    #[arg(long)]
    end: bool,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let directory = RunDirectory::open(&arguments.run_directory).map_err(Failure::usage)?;
    let journal = directory.nemesis_journal();
    if !journal.exists() {
        eprintln!("{}: no fault was ever applied", directory.path().display());
        return Ok(0);
    }
    let state = read_journal(&journal).map_err(Failure::environment)?;
    let Some(run) = state.run else {
        eprintln!("{}: no fault was ever applied", journal.display());
        return Ok(0);
    };
    let testbed: NetnsTestbedConfig = serde_json::from_value(run.testbed)
        .with_context(|| format!("{}: the description of the testbed", journal.display()))
        .map_err(Failure::environment)?;
    let liveness = testbed.identity.liveness().map_err(Failure::environment)?;
    let Liveness::Alive { init, .. } = liveness else {
        eprintln!(
            "nothing is left: the namespaces of the run are gone, and with them {} that its journal names",
            faults(state.outstanding.len())
        );
        return Ok(0);
    };
    if !arguments.end {
        return Err(Failure::environment(anyhow!(
            "the run still exists: process {} ({}) is its init. Let it come to its end, or end it with `labrys heal --end \
             {}`: the kernel then undoes everything",
            init.pid,
            init.name,
            arguments.run_directory.display()
        )));
    }
    end(&testbed).map_err(Failure::environment)
}

/// Ends the testbed, and looks until it is gone.
fn end(testbed: &NetnsTestbedConfig) -> anyhow::Result<u8> {
    let deadline = Instant::now() + GONE_WITHIN;
    testbed.identity.end()?;
    while testbed.identity.liveness()? != Liveness::Gone {
        if Instant::now() > deadline {
            bail!(
                "the run's init was killed, but its namespaces still exist after {} s",
                GONE_WITHIN.as_secs()
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
    eprintln!("the run was ended, and with it everything that it had applied");
    Ok(0)
}

fn faults(count: usize) -> String {
    match count {
        1 => "1 fault".to_owned(),
        _ => format!("{count} faults"),
    }
}
