//! [`Host`]: what a fault, and the set-up of a database, need of a machine. Testbeds implement it.
//!
//! Blocking on purpose: the nemesis is a small process of its own that must work when an asynchronous runtime would not.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::commands::Commands;
use crate::faketime::ClockMeans;

/// What went wrong on a host.
#[derive(Debug, Error)]
pub enum HostError {
    /// A command could not be started or ended with an error.
    #[error("{host}: `{command}` failed: {detail}")]
    Command {
        /// The host.
        host: String,
        /// The command line.
        command: String,
        /// Exit status and standard error.
        detail: String,
    },
    /// A file could not be read or written.
    #[error("{host}: {path}: {source}")]
    File {
        /// The host.
        host: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A process could not be signalled or examined.
    #[error("{host}: process {pid}: {detail}")]
    Process {
        /// The host.
        host: String,
        /// The process.
        pid: i32,
        /// Why.
        detail: String,
    },
}

/// What a command printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A process, told apart from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number on the host.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: when it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    /// Running or sleeping.
    Running,
    /// Stopped by a signal (`T`).
    Stopped,
    /// Not there, or a zombie of which no thread is left, or another process has its number.
    Gone,
}

/// The signals that faults need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
}

/// How the daemon under test is started on a node. Data, so that the nemesis can restart what it killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonSpec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Additions to its environment.
    pub env: Vec<(String, String)>,
    /// Its working directory, created if missing.
    pub directory: PathBuf,
    /// Where its standard output and error are appended.
    pub log_file: PathBuf,
    /// By what its clock can be made to run wrong, if by anything: what clock faults need. Old journals know files of orders only.
    #[serde(default, alias = "clock_file", skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockMeans>,
    /// Where it keeps what it must not lose, if that is known: what restarts on other data need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<PathBuf>,
    /// How it is given orders, if it takes any: what application and membership faults need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<Commands>,
    /// Where the disk under its folder takes orders from, if one is mounted there ([`crate::start_disk`]): what disk faults and power cuts
    /// need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_file: Option<PathBuf>,
}

impl DaemonSpec {
    /// The additions to its environment, with those for its clock. Call [`Libfaketime::prepare`](crate::Libfaketime::prepare) before the start.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.env.clone();
        let Some(ClockMeans::Libfaketime(means)) = &self.clock else { return environment };
        for (name, value) in means.environment() {
            match environment.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) if name == "LD_PRELOAD" => *known = format!("{value}:{known}"),
                Some((_, known)) => *known = value,
                None => environment.push((name, value)),
            }
        }
        environment
    }
}

/// A machine on which one node of the system under test runs.
pub trait Host: Send + Sync {
    /// The node's name, `n1`.
    fn name(&self) -> &str;

    /// The address under which the other nodes and the clients reach it.
    fn address(&self) -> IpAddr;

    /// Runs a command to its end, in the node's network; an exit status other than 0 is an error.
    fn run(&self, program: &str, args: &[&str]) -> Result<CommandOutput, HostError>;

    /// The same for a command that may take longer than others do: `within`, where there is a limit at all.
    fn run_within(&self, within: Duration, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        let _ = within;
        self.run(program, args)
    }

    /// Starts the daemon, detached from the caller's terminal and signals, and remembers who it is; an error if one that
    /// this host started is still alive.
    fn start_daemon(&self, spec: &DaemonSpec) -> Result<ProcessIdentity, HostError>;

    /// The daemon that was started last, by this process or by another one that shares the host: read from the host, not
    /// from memory. `None` if there never was one.
    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError>;

    /// What a process is doing now.
    fn process_state(&self, process: ProcessIdentity) -> Result<ProcessState, HostError>;

    /// Sends a signal. An error if the process is gone, never a signal to another one that has its number.
    fn signal(&self, process: ProcessIdentity, signal: Signal) -> Result<(), HostError>;

    /// Notes, on a host that keeps notes of what its daemon may end of, that somebody else on it is about to send a signal.
    fn announce_signal(&self, _process: ProcessIdentity, _signal: Signal) -> Result<(), HostError> {
        Ok(())
    }

    /// Reads a file of the host.
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, HostError>;

    /// Writes a file of the host, creating its folder.
    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), HostError>;
}
