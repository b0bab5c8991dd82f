//! [`RemoteHost`]: the [`Host`] of a machine that has an agent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use labrys_nemesis::{CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal};

use super::connection::AgentConnection;
use super::protocol::{Answer, Bytes, HostAnswer, HostWork, Work};

/// So much of a file is asked for at once. On a slow connection every chunk of it is heard.
const PART_BYTES: usize = 1 << 20;

/// So much of a file is sent at once: heartbeats wait behind it, and nobody says anything before the agent has it.
const SENT_PART_BYTES: usize = 64 << 10;

/// A machine that has an agent.
#[derive(Clone, Debug)]
pub struct RemoteHost {
    connection: AgentConnection,
    name: String,
    address: IpAddr,
}

impl RemoteHost {
    /// The one that the connection goes to, which others reach at `address`.
    #[must_use]
    pub fn new(connection: AgentConnection, address: IpAddr) -> RemoteHost {
        let name = connection.setup().node.clone();
        RemoteHost { connection, name, address }
    }

    /// The files below a folder of the machine, relative to it, with their sizes in bytes.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list_files(&self, folder: &Path) -> Result<BTreeMap<PathBuf, u64>, HostError> {
        match self.ask("list files", HostWork::ListFiles { path: folder.to_owned() })? {
            HostAnswer::Files(files) => Ok(files),
            other => Err(self.confused("list files", &other)),
        }
    }

    /// Copies a file of the machine to this one, as far as it was when it was begun: it may grow. Returns its length in bytes.
    ///
    /// # Errors
    /// If it cannot be read there or written here.
    pub fn download(&self, path: &Path, to: &Path) -> Result<u64, HostError> {
        let failed =
            |source| HostError::File { host: "this machine".to_owned(), path: to.to_owned(), source };
        let made = to.parent().map_or(Ok(()), std::fs::create_dir_all);
        let mut file = made.and_then(|()| std::fs::File::create(to)).map_err(failed)?;
        self.read_parts(path, |part| std::io::Write::write_all(&mut file, part).map_err(failed))
    }

    /// Hands the file on part by part; its length in bytes.
    fn read_parts(
        &self,
        path: &Path,
        mut take: impl FnMut(&[u8]) -> Result<(), HostError>,
    ) -> Result<u64, HostError> {
        let mut offset = 0_u64;
        loop {
            let work = HostWork::ReadFile { path: path.to_owned(), offset, limit: PART_BYTES as u64 };
            match self.ask("read a file", work)? {
                HostAnswer::Content(Bytes(part)) => {
                    take(&part)?;
                    offset += part.len() as u64;
                    if part.len() < PART_BYTES {
                        return Ok(offset);
                    }
                }
                other => return Err(self.confused("read a file", &other)),
            }
        }
    }

    fn ask(&self, what: &str, work: HostWork) -> Result<HostAnswer, HostError> {
        match self.connection.call(Work::Host(work)) {
            Ok(Answer::Host(answer)) => Ok(answer),
            Ok(Answer::HostError(failure)) => Err(failure.on(&self.name)),
            Ok(other) => Err(self.confused(what, &other)),
            Err(no_answer) => Err(self.failed(what, no_answer.to_string())),
        }
    }

    fn failed(&self, what: &str, detail: String) -> HostError {
        HostError::Command { host: self.name.clone(), command: format!("({what})"), detail }
    }

    fn confused(&self, what: &str, answer: &impl std::fmt::Debug) -> HostError {
        self.failed(what, format!("the agent gave another kind of answer: {answer:?}"))
    }
}

impl Host for RemoteHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        match self.ask("run a command", HostWork::Run { program: program.to_owned(), args })? {
            HostAnswer::Output { stdout, stderr } => Ok(CommandOutput { stdout, stderr }),
            other => Err(self.confused("run a command", &other)),
        }
    }

    fn start_daemon(&self, spec: &DaemonSpec) -> Result<ProcessIdentity, HostError> {
        match self.ask("start the daemon", HostWork::StartDaemon(spec.clone()))? {
            HostAnswer::Started(process) => Ok(process),
            other => Err(self.confused("start the daemon", &other)),
        }
    }

    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError> {
        match self.ask("look for the daemon", HostWork::Daemon)? {
            HostAnswer::Daemon(daemon) => Ok(daemon),
            other => Err(self.confused("look for the daemon", &other)),
        }
    }

    fn process_state(&self, process: ProcessIdentity) -> Result<ProcessState, HostError> {
        match self.ask("look at a process", HostWork::ProcessState(process))? {
            HostAnswer::ProcessState(state) => Ok(state),
            other => Err(self.confused("look at a process", &other)),
        }
    }

    fn signal(&self, process: ProcessIdentity, signal: Signal) -> Result<(), HostError> {
        self.ask("send a signal", HostWork::Signal { process, signal }).map(drop)
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let mut content = Vec::new();
        self.read_parts(path, |part| {
            content.extend_from_slice(part);
            Ok(())
        })?;
        Ok(content)
    }

    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), HostError> {
        // The first part, which may be empty, makes the file.
        let (first, rest) = content.split_at(content.len().min(SENT_PART_BYTES));
        let parts =
            std::iter::once((false, first)).chain(rest.chunks(SENT_PART_BYTES).map(|part| (true, part)));
        for (append, part) in parts {
            let content = Bytes(part.to_vec());
            self.ask("write a file", HostWork::WriteFile { path: path.to_owned(), append, content })?;
        }
        Ok(())
    }
}
