//! The agent: what acts for Labrys on a machine that is reached over a connection that may break, and undoes everything when
//! nobody is heard any more.
//!
//! ```text
//!   harness ══ ssh ══► attach (copies bytes) ── agent.sock ──► agent ──► nemesis engine, journal
//!                                                                └────► the machine: daemon, files, commands
//! ```
//!
//! - [`protocol`]: the lines that are exchanged.
//! - [`serve`]: the agent itself. It outlives a connection, takes the next one, and is a dead man's switch: without a heartbeat for
//!   ten seconds it undoes all faults, ends the daemon, and goes. Its parts: `link` (what is said to the latest connection), `memory` (each
//!   request once), `gate` (nothing begins after its end), `machine` (what is done on the machine).
//! - [`attach`]: what a connection runs: it finds the agent of a folder, or starts it, and copies bytes.
//! - [`AgentConnection`]: the harness's end, over any [`Transport`], cut by its [`Lifeline`] when nothing is heard; [`RemoteHost`]: the machine at the other end as a host; [`Fleet`]: all
//!   agents of a run as one nemesis.
//! - [`heal`]: what is done where an agent has died before it could: from its journal alone.
//!
//! What it is not: it opens no connection (`crate::testbed`'s affair) and decides nothing about a test.
//!
//! Everything of a node is in its folder: `journal.jsonl`, `agent.sock`, `agent.log`, and what [`crate::testbed::LocalHost`] keeps. Everything
//! that the agent starts has [`MARK`] in its environment, by which leftovers are found whoever has lost sight of them.

pub mod protocol;

mod attach;
mod connection;
mod ending;
mod fleet;
mod gate;
mod lifeline;
mod link;
mod machine;
mod memory;
mod remote_host;
mod serve;
mod this_machine;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use labrys_nemesis::{CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use attach::{attach, take_listener};
pub(crate) use connection::OPENS_WITHIN;
pub use connection::{AgentConnection, Channel, NoAnswer, NoChannel, Transport};
pub use ending::heal;
pub use fleet::Fleet;
pub use lifeline::{Lifeline, Listening};
pub use remote_host::RemoteHost;
pub use serve::{Programs, serve};
pub(crate) use this_machine::KEEPERS;
pub use this_machine::ThisMachine;

/// The environment variable of everything that an agent starts: the folder of its node.
pub const MARK: &str = "LABRYS_AGENT_DIRECTORY";

/// After so long without a heartbeat an agent heals and ends.
pub const SILENCE_MS: u64 = 10_000;

/// An agent could not do its work.
#[derive(Debug, Error)]
pub enum AgentError {
    /// A file or socket of it could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The agent that the folder has does not answer, and cannot be made to.
    #[error("{path}: {detail}")]
    Stuck {
        /// The folder.
        path: PathBuf,
        /// In which way.
        detail: String,
    },
    /// The journal is there, and of no use.
    #[error(transparent)]
    Journal(#[from] labrys_nemesis::JournalError),
    /// The machine does not do as it is told.
    #[error(transparent)]
    Host(#[from] HostError),
}

pub(crate) fn journal_file(directory: &Path) -> PathBuf {
    directory.join("journal.jsonl")
}

fn socket_file(directory: &Path) -> PathBuf {
    directory.join("agent.sock")
}

pub(crate) fn log_file(directory: &Path) -> PathBuf {
    directory.join("agent.log")
}

/// Who the agent is, for whoever finds it stuck.
fn identity_file(directory: &Path) -> PathBuf {
    directory.join("agent.json")
}

/// Why the agent of a folder has ended. No other one is started where this is.
fn ended_file(directory: &Path) -> PathBuf {
    directory.join("ended.json")
}

/// What [`ended_file`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    why: String,
}

/// Another node, as an agent knows it: by name and address, and on a machine that is not its own.
struct Elsewhere {
    name: String,
    address: IpAddr,
}

impl Elsewhere {
    fn refuse<T>(&self) -> Result<T, HostError> {
        Err(HostError::Command {
            host: self.name.clone(),
            command: "(anything)".to_owned(),
            detail: "it is another machine, which has an agent of its own".to_owned(),
        })
    }
}

impl Host for Elsewhere {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn run(&self, _: &str, _: &[&str]) -> Result<CommandOutput, HostError> {
        self.refuse()
    }

    fn start_daemon(&self, _: &DaemonSpec) -> Result<ProcessIdentity, HostError> {
        self.refuse()
    }

    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError> {
        self.refuse()
    }

    fn process_state(&self, _: ProcessIdentity) -> Result<ProcessState, HostError> {
        self.refuse()
    }

    fn signal(&self, _: ProcessIdentity, _: Signal) -> Result<(), HostError> {
        self.refuse()
    }

    fn read_file(&self, _: &Path) -> Result<Vec<u8>, HostError> {
        self.refuse()
    }

    fn write_file(&self, _: &Path, _: &[u8]) -> Result<(), HostError> {
        self.refuse()
    }
}
