//! `labrys heal`: undoes whatever a run recorded as still applied. Idempotent.

use std::path::PathBuf;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use labrys_harness::run_directory::RunDirectory;
use labrys_harness::testbed::{Liveness, NetnsTestbedConfig, SshTestbedConfig, heal_machines};
use labrys_nemesis::{JournalState, read_journal, remove_control_groups};

use crate::exit::{Failure, Outcome};

/// How long the kernel may take to clear up after a killed init.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

const EXAMPLES: &str = "\
Examples:
  labrys heal labrys-runs/latest
  labrys heal --end labrys-runs/latest     also if it is still under way

On other machines (--testbed ssh) it undoes what the agents have left, each from its own journal, ends what they had started, and
says what is there after all. Faults on the default testbed live in namespaces that die with the run: there is usually nothing left to undo, and this
command says so after looking. Exit codes: 0 nothing is left, 254 this is no run directory,
255 the run still exists (--end ends it), could not be ended, or a machine is not clean or not reached.";

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
    let Some(run) = &state.run else {
        eprintln!("{}: no fault was ever applied", journal.display());
        return Ok(0);
    };
    if let Some(machines) = run.testbed.get("ssh") {
        let machines: SshTestbedConfig = serde_json::from_value(machines.clone())
            .with_context(|| format!("{}: the description of the machines", journal.display()))
            .map_err(Failure::environment)?;
        return heal_all(&machines, arguments.end);
    }
    let testbed: NetnsTestbedConfig = serde_json::from_value(run.testbed.clone())
        .with_context(|| format!("{}: the description of the testbed", journal.display()))
        .map_err(Failure::environment)?;
    let liveness = testbed.identity.liveness().map_err(Failure::environment)?;
    let Liveness::Alive { init, .. } = liveness else {
        take_away_groups(&state)?;
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
    let code = end(&testbed).map_err(Failure::environment)?;
    take_away_groups(&state)?;
    Ok(code)
}

/// Control groups are no part of any namespace, and outlive a run that root has made and that was killed.
fn take_away_groups(state: &JournalState) -> Result<(), Failure> {
    for group in remove_control_groups(state, GONE_WITHIN).map_err(Failure::environment)? {
        eprintln!("removed: {}", group.display());
    }
    Ok(())
}

/// Heals the machines of a run; a line for each.
fn heal_all(machines: &SshTestbedConfig, force: bool) -> Outcome {
    let mut unclean = Vec::new();
    for (node, healed) in heal_machines(machines, force).map_err(Failure::environment)? {
        match healed {
            Ok(ending) if ending.left.is_empty() => {
                let list = |what: &str, all: &[String]| match all {
                    [] => String::new(),
                    _ => format!("; {what}: {}", all.join(", ")),
                };
                eprintln!("{node}: clean{}{}", list("undone", &ending.undone), list("ended", &ending.ended));
            }
            Ok(ending) => {
                eprintln!("{node}: not clean: {}", ending.left.join("; "));
                unclean.push(node);
            }
            Err(problem) => {
                eprintln!("{problem}");
                unclean.push(node);
            }
        }
    }
    if unclean.is_empty() {
        return Ok(0);
    }
    Err(Failure::environment(anyhow!("not clean, or not known to be: {}", unclean.join(", "))))
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
