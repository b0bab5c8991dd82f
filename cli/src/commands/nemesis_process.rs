//! `labrys nemesis-process`: the process that applies faults and undoes them when its parent's pipe closes. Not for people.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use labrys_harness::faults::NemesisSetup;
use labrys_harness::testbed::hosts_from;
use labrys_nemesis::{Patience, ServeConfig, outlive_the_terminal, serve};

use crate::exit::{Failure, Outcome};

#[derive(clap::Args)]
pub struct Arguments {
    /// The set-up file that the harness wrote
    #[arg(long, value_name = "FILE")]
    setup: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    work(arguments).map_err(Failure::environment)
}

fn work(arguments: &Arguments) -> anyhow::Result<u8> {
    outlive_the_terminal().context("leaving the terminal")?;
    let text = std::fs::read(&arguments.setup).with_context(|| arguments.setup.display().to_string())?;
    let setup: NemesisSetup =
        serde_json::from_slice(&text).with_context(|| arguments.setup.display().to_string())?;
    let config = ServeConfig {
        run_tag: setup.run_tag,
        journal: setup.journal,
        testbed: serde_json::to_value(&setup.testbed)?,
        daemons: BTreeMap::new(),
        packet_program: again_as(super::packet_process::NAME),
        processor_program: again_as(super::processor_process::NAME),
        patience: Patience::default(),
    };
    serve(config, hosts_from(&setup.testbed)?, std::io::stdin(), std::io::stdout())?;
    Ok(0)
}

/// How this very program is started to be something else, by a name that stays its own whatever becomes of its file.
fn again_as(name: &str) -> Vec<String> {
    vec![format!("/proc/{}/exe", std::process::id()), name.to_owned()]
}
