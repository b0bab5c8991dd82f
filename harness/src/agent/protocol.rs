//! The lines that the harness and an agent exchange: JSON Lines, over whatever carries bytes.
//!
//! ```text
//! → {"hello":{"version":"0.1.0","run_tag":"2a","node":"n1","addresses":{"n1":"10.0.0.1",…},"directory":"/var/tmp/labrys/runs/2a/n1",…}}
//! ← {"welcome":{"incarnation":{"pid":4711,"start_ticks":93218}}}
//! → {"heartbeat":{"received":0}}
//! → {"request":{"id":1,"work":{"host":"daemon"}}}
//! ← "heartbeat"
//! ← {"response":{"id":1,"answer":{"host":{"daemon":null}}}}
//! ```
//!
//! A request is carried out once however often its line arrives, as long as the agent is the same *incarnation*: after a lost
//! connection the harness says everything again that it has no answer to, and the agent answers from memory what it has done
//! already. `received` in a heartbeat lets it forget; what it has forgotten it refuses, should it ever be said again.
//!
//! No line is longer than [`MAXIMUM_LINE_BYTES`]: neither end keeps more of what the other one says.

use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, Read};
use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use labrys_nemesis::{
    CommandOutput, DaemonSpec, Failure, FaultReport, HostError, ProcessIdentity, ProcessState, Reply,
    RequestBody, RunTag, Signal,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// No line is longer: 16 MiB, as for the nemesis.
pub const MAXIMUM_LINE_BYTES: u64 = 16 << 20;

/// What an agent is told first, and keeps in its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSetup {
    /// Of Labrys. The harness uploads itself, so another one is a mistake.
    pub version: String,
    /// The tag of everything that the run makes.
    pub run_tag: RunTag,
    /// The node that the machine is.
    pub node: String,
    /// Where nodes are reached, this one included.
    pub addresses: BTreeMap<String, IpAddr>,
    /// The folder of the node on the machine.
    pub directory: PathBuf,
    /// After so long without a heartbeat the agent heals and ends.
    pub silence_ms: u64,
    /// Clock faults are those of the machine itself, and not of a system that has a clock of its own.
    #[serde(default)]
    pub real_clock: bool,
}

/// A line to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToAgent {
    /// The first line of a connection to work with.
    Hello(AgentSetup),
    /// The first line of a connection that only wants the agent to end: heal, end what it started, go.
    End {
        /// Also if a harness is connected.
        force: bool,
    },
    /// The harness lives.
    Heartbeat {
        /// All answers to requests up to this one have arrived.
        received: u64,
    },
    /// Something to do.
    Request {
        /// Ascending.
        id: u64,
        /// What.
        work: Work,
    },
}

/// What an agent can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// About faults.
    Nemesis(RequestBody),
    /// About the machine.
    Host(HostWork),
    /// To heal, end everything it has started, and go.
    Finish {
        /// Remove the folder of the node as well.
        remove: bool,
    },
}

/// The operations of [`labrys_nemesis::Host`], and the listing of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostWork {
    /// Run a command to its end.
    Run {
        /// The program.
        program: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// Start the daemon.
    StartDaemon(DaemonSpec),
    /// Who the daemon is.
    Daemon,
    /// What a process does.
    ProcessState(ProcessIdentity),
    /// Send a signal.
    Signal {
        /// To whom.
        process: ProcessIdentity,
        /// Which.
        signal: Signal,
    },
    /// Read a part of a file.
    ReadFile {
        /// Which.
        path: PathBuf,
        /// From here.
        offset: u64,
        /// At most so many bytes.
        limit: u64,
    },
    /// Write a file as a whole, or append to it.
    WriteFile {
        /// Which.
        path: PathBuf,
        /// Behind what is there.
        append: bool,
        /// What.
        content: Bytes,
    },
    /// The files below a folder, with their sizes.
    ListFiles {
        /// The folder.
        path: PathBuf,
    },
}

/// A line from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromAgent {
    /// The answer to a hello.
    Welcome {
        /// Which agent it is: one that was started again has forgotten what it had answered.
        incarnation: ProcessIdentity,
        /// The faults that an agent before it had applied and that it has undone when it began, with all that is known of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        undone: Vec<FaultReport>,
    },
    /// It will not work for whoever says this hello, or cannot.
    Refused {
        /// Why, and what to do about it.
        reason: String,
    },
    /// The answer to a heartbeat.
    Heartbeat,
    /// The answer to a request.
    Response {
        /// That of the request.
        id: u64,
        /// How it went.
        answer: Answer,
    },
    /// The answer to an end.
    Ended(Ending),
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Faults: done.
    Nemesis(Reply),
    /// Faults: not done, or not wholly.
    Failure(Failure),
    /// The machine: done.
    Host(HostAnswer),
    /// The machine: not done.
    HostError(HostFailure),
    /// It ends.
    Finished(Ending),
}

/// What the machine says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAnswer {
    /// What a command printed.
    Output {
        /// Standard output.
        stdout: String,
        /// Standard error.
        stderr: String,
    },
    /// The daemon.
    Started(ProcessIdentity),
    /// The daemon, if there ever was one.
    Daemon(Option<ProcessIdentity>),
    /// What it does.
    ProcessState(ProcessState),
    /// Done.
    Done,
    /// A part of a file; shorter than asked for at its end.
    Content(Bytes),
    /// Files, relative to the folder, with their sizes in bytes.
    Files(BTreeMap<PathBuf, u64>),
}

impl From<CommandOutput> for HostAnswer {
    fn from(output: CommandOutput) -> HostAnswer {
        HostAnswer::Output { stdout: output.stdout, stderr: output.stderr }
    }
}

/// What an agent, or [`super::heal`], left when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Faults that were still there and have been undone, in words.
    pub undone: Vec<String>,
    /// Processes of the run that were still there and have been ended, in words.
    pub ended: Vec<String>,
    /// What is still there, in words: empty for a clean machine.
    pub left: Vec<String>,
}

/// A [`HostError`] on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HostFailure {
    /// [`HostError::Command`].
    Command {
        /// The command line.
        command: String,
        /// Why.
        detail: String,
    },
    /// [`HostError::File`].
    File {
        /// The file.
        path: PathBuf,
        /// Whether it is just not there, which callers ask for.
        not_found: bool,
        /// Why.
        detail: String,
    },
    /// [`HostError::Process`].
    Process {
        /// The process.
        pid: i32,
        /// Why.
        detail: String,
    },
}

impl From<HostError> for HostFailure {
    fn from(error: HostError) -> HostFailure {
        match error {
            HostError::Command { command, detail, .. } => HostFailure::Command { command, detail },
            HostError::Process { pid, detail, .. } => HostFailure::Process { pid, detail },
            HostError::File { path, source, .. } => HostFailure::File {
                path,
                not_found: source.kind() == ErrorKind::NotFound,
                detail: source.to_string(),
            },
        }
    }
}

impl HostFailure {
    /// The error, on the host of that name.
    #[must_use]
    pub fn on(self, host: &str) -> HostError {
        let host = host.to_owned();
        match self {
            HostFailure::Command { command, detail } => HostError::Command { host, command, detail },
            HostFailure::Process { pid, detail } => HostError::Process { host, pid, detail },
            HostFailure::File { path, not_found, detail } => {
                let kind = if not_found { ErrorKind::NotFound } else { ErrorKind::Other };
                HostError::File { host, path, source: std::io::Error::new(kind, detail) }
            }
        }
    }
}

/// Bytes, as base64 in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes).map_err(serde::de::Error::custom)
    }
}

/// `value` as one line, newline included.
///
/// # Errors
/// If a path in it is not UTF-8, which JSON cannot say.
pub fn line(value: &impl Serialize) -> std::io::Result<String> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

/// The next line, without its newline; `None` at the end, where half a line counts for nothing.
///
/// # Errors
/// If it cannot be read; [`ErrorKind::InvalidData`] if it is longer than `most_bytes` or not UTF-8.
pub fn read_line(reader: &mut (impl BufRead + ?Sized), most_bytes: u64) -> std::io::Result<Option<String>> {
    let invalid = |detail: String| std::io::Error::new(ErrorKind::InvalidData, detail);
    let mut text = Vec::new();
    reader.take(most_bytes + 1).read_until(b'\n', &mut text)?;
    match text.pop() {
        Some(b'\n') => String::from_utf8(text).map(Some).map_err(|error| invalid(error.to_string())),
        Some(_) if text.len() as u64 >= most_bytes => {
            Err(invalid(format!("a line of more than {most_bytes} bytes")))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole_or_not_at_all_and_never_beyond_its_limit() {
        let read = |mut text: &[u8]| {
            let line = read_line(&mut text, 4);
            (line.map_err(|error| error.to_string()), text.len())
        };
        assert_eq!(read(b"abcd\ne"), (Ok(Some("abcd".to_owned())), 1));
        assert_eq!(read(b"\n"), (Ok(Some(String::new())), 0));
        assert_eq!(read(b"abc"), (Ok(None), 0), "half a line");
        assert_eq!(read(b""), (Ok(None), 0));
        assert_eq!(read(b"abcdefgh"), (Err("a line of more than 4 bytes".to_owned()), 3));
        assert!(read(b"\xff\n").0.is_err());
    }

    #[test]
    fn lines_are_as_documented_and_are_read_back() {
        let request = ToAgent::Request { id: 1, work: Work::Host(HostWork::Daemon) };
        assert_eq!(line(&request).unwrap(), "{\"request\":{\"id\":1,\"work\":{\"host\":\"daemon\"}}}\n");
        assert_eq!(line(&FromAgent::Heartbeat).unwrap(), "\"heartbeat\"\n");
        let response =
            FromAgent::Response { id: 1, answer: Answer::Host(HostAnswer::Content(Bytes(vec![0, 255, 10]))) };
        let text = line(&response).unwrap();
        assert_eq!(text, "{\"response\":{\"id\":1,\"answer\":{\"host\":{\"content\":\"AP8K\"}}}}\n");
        assert_eq!(serde_json::from_str::<FromAgent>(&text).unwrap(), response);
    }

    #[test]
    fn an_error_keeps_what_callers_ask_of_it_on_its_way() {
        let error = |kind: ErrorKind| HostError::File {
            host: "here".to_owned(),
            path: "/x".into(),
            source: kind.into(),
        };
        for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied] {
            let there = HostFailure::from(error(kind)).on("n1");
            let HostError::File { host, source, .. } = &there else { panic!("{there:?}") };
            assert_eq!(
                (host.as_str(), source.kind() == ErrorKind::NotFound),
                ("n1", kind == ErrorKind::NotFound)
            );
        }
    }
}
