//! The nemesis process: a loop over requests that ends, for whatever reason, with everything undone.
//!
//! It is a process of its own so that the harness can die in any way without leaving a fault behind. It ends when its input
//! ends (the harness closed the pipe or died), when a line makes no sense, when its output is gone, or when it panics; and
//! each time it first undoes everything, with verification. What it cannot undo stays in the journal for [`crate::heal`].
//! Started again on the same journal it first undoes what its predecessor left.
//!
//! A program that runs it calls [`outlive_the_terminal`] first: Ctrl-C reaches all processes of a terminal's foreground
//! group, and the nemesis must be the last one to go.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::Engine;
use crate::host::{DaemonSpec, Host};
use crate::journal::{Journal, JournalError, RunTag};
use crate::lines;
use crate::poll::Patience;
use crate::protocol::{Failure, Outcome, Request, RequestBody, Response};

/// A longer request is malformed: 16 MiB, a thousand times what the largest partition of a hundred nodes needs.
const MAXIMUM_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// What a nemesis is started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServeConfig {
    /// The tag of everything that it makes on hosts.
    pub run_tag: RunTag,
    /// Where it writes what may be applied, before it is.
    pub journal: PathBuf,
    /// Whatever the harness will need to reach the hosts again, to heal from the journal.
    pub testbed: serde_json::Value,
    /// How daemons are started, as far as it is known already; see [`RequestBody::SetDaemons`].
    #[serde(default)]
    pub daemons: BTreeMap<String, DaemonSpec>,
    /// How the process is started that holds packets back: a program and its arguments, to which the file for [`crate::hold_packets`]
    /// is added. Empty: messages cannot be made late.
    #[serde(default)]
    pub packet_program: Vec<String>,
    /// How the process is started that keeps others from running: a program and its arguments, to which the file for [`crate::starve`] is
    /// added. Empty: a processor can be kept from others only by a control group.
    #[serde(default)]
    pub processor_program: Vec<String>,
    /// How patient it is.
    #[serde(default)]
    pub patience: Patience,
}

/// Why a nemesis ended otherwise than by the end of its input with everything undone.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The journal could not be opened. Nothing was done.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The input made no sense. Everything was undone.
    #[error("line {line} of the input: {detail}")]
    Malformed {
        /// Counted from 1.
        line: u64,
        /// Why.
        detail: String,
    },
    /// The input or the output failed. Everything was undone.
    #[error("the connection to the harness failed: {0}")]
    Connection(#[from] std::io::Error),
    /// A defect of the nemesis. Everything was undone.
    #[error("the nemesis panicked")]
    Panicked,
    /// Something may still be there; it is in the journal.
    #[error("{failure}{}", because(.cause))]
    LeftBehind {
        /// What.
        failure: Failure,
        /// What had ended the loop, if it was not the end of the input.
        cause: Option<Box<ServeError>>,
    },
}

fn because(cause: &Option<Box<ServeError>>) -> String {
    cause.as_ref().map(|cause| format!(" (after: {cause})")).unwrap_or_default()
}

/// Leaves the terminal's session, and survives SIGINT, SIGTERM and SIGHUP: these are caught and not acted upon, as the end
/// of the input is what ends a nemesis. Caught and not ignored, because the daemons that it starts would inherit that.
///
/// # Errors
/// A handler cannot be installed.
pub fn outlive_the_terminal() -> std::io::Result<()> {
    // Fails only if this process leads a group already, as it does when a shell started it; then there is nothing to leave.
    let _ = nix::unistd::setsid();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Carries out requests until the input ends, then undoes everything.
///
/// # Errors
/// See [`ServeError`]; only with [`ServeError::LeftBehind`] something may still be applied.
pub fn serve(
    config: ServeConfig,
    hosts: Vec<Arc<dyn Host>>,
    input: impl Read,
    output: impl Write,
) -> Result<(), ServeError> {
    let journal = Journal::open(&config.journal, &config.run_tag, &config.testbed)?;
    let mut engine = Engine::new(config.run_tag, hosts, config.patience, journal)
        .with_packet_program(config.packet_program)
        .with_processor_program(config.processor_program);
    let looped = catch_unwind(AssertUnwindSafe(|| {
        if let Err(failure) = engine.undo_all() {
            return Err(ServeError::LeftBehind { failure, cause: None });
        }
        if let Err(failure) = engine.set_daemons(config.daemons) {
            return Err(ServeError::Connection(std::io::Error::other(failure)));
        }
        answer_all(&mut engine, BufReader::new(input), output)
    }));
    let ended = looped.unwrap_or(Err(ServeError::Panicked));
    match engine.undo_all() {
        Ok(_) => ended,
        Err(failure) => Err(ServeError::LeftBehind { failure, cause: ended.err().map(Box::new) }),
    }
}

fn answer_all(
    engine: &mut Engine,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<(), ServeError> {
    for line in 1.. {
        let mut text = Vec::new();
        input.by_ref().take(MAXIMUM_LINE_BYTES).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            break;
        }
        // A line without its newline is the last word of a harness that died while it wrote.
        let request: Request = match serde_json::from_slice(&text) {
            Ok(request) if text.ends_with(b"\n") => request,
            Ok(_) => return Err(ServeError::Malformed { line, detail: "it was cut off".to_owned() }),
            Err(error) => return Err(ServeError::Malformed { line, detail: error.to_string() }),
        };
        let response = Response { id: request.id, outcome: answer(engine, request.body) };
        output.write_all(lines::render(&response)?.as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

fn answer(engine: &mut Engine, request: RequestBody) -> Outcome {
    match engine.answer(request) {
        Ok(reply) => Outcome::Result(reply),
        Err(failure) => {
            tracing::warn!(%failure, "a request failed");
            Outcome::Error(failure)
        }
    }
}

#[cfg(test)]
mod tests;
