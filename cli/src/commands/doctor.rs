//! `labrys doctor`: what this machine can do, and how to mend what is missing.

use std::path::PathBuf;

use labrys_harness::doctor::{Diagnosis, Probe, ProbeStatus, examine};
use labrys_harness::isolation::{self, Entered, IsolationOptions};
use labrys_harness::testbed::{Inventory, examine_machines};

use crate::exit::{Failure, Outcome};
use crate::output::print_json;

const NOTE: &str = "\
Examples:
  labrys doctor                          this machine
  labrys doctor --hosts hosts.toml       other machines, for labrys test --testbed ssh

Every probe tries the thing itself, in namespaces that end with it.
Exit codes: 0 `labrys test` can run there, 255 it cannot.";

#[derive(clap::Args)]
#[command(after_help = NOTE)]
pub struct Arguments {
    /// Folder under which runs would be kept
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Look at these machines instead, on which `labrys test --testbed ssh` would run nodes
    #[arg(long, value_name = "HOSTS.TOML")]
    hosts: Option<Inventory>,
    /// Print the probes as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Outcome {
    if let Some(inventory) = &arguments.hosts {
        return tell(
            &examine_machines(inventory),
            arguments.json,
            "labrys test --testbed ssh",
            "on these machines",
        );
    }
    match isolation::enter(&IsolationOptions::default()) {
        Ok(Entered::Inside(enclosure)) => {
            tell(&examine(Ok(&enclosure), &arguments.out), arguments.json, TEST, HERE)
        }
        Ok(Entered::Finished { exit_code, message: None, .. }) => Ok(exit_code),
        Ok(Entered::Finished { message: Some(message), .. }) => {
            Err(Failure::environment(anyhow::anyhow!(message)))
        }
        Err(error) => tell(&examine(Err(&error), &arguments.out), arguments.json, TEST, HERE),
    }
}

const TEST: &str = "labrys test";
const HERE: &str = "here";

fn tell(diagnosis: &Diagnosis, json: bool, what: &str, place: &str) -> Outcome {
    if json {
        print_json(diagnosis)?;
    } else {
        diagnosis.probes.iter().for_each(show);
        let (can, yet) = if diagnosis.is_fit() { ("can", "") } else { ("cannot", " yet") };
        eprintln!("\n`{what}` {can} run {place}{yet}.");
    }
    Ok(diagnosis.exit_code())
}

fn show(probe: &Probe) {
    eprintln!("{:<9} {}: {}", probe.status, probe.name, probe.detail);
    if probe.status == ProbeStatus::Ok {
        return;
    }
    eprintln!("{:<9} for {}", "", probe.purpose);
    if let Some(mend) = &probe.mend {
        eprintln!("{:<9} mend: {mend}", "");
    }
}
