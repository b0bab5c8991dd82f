//! A host of this machine, in a network namespace of its own or in that of the test.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labrys_nemesis::{
    ClockMeans, CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal,
};
use nix::sys::signal as system;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct LocalHost {
    pub name: String,
    pub address: IpAddr,
    /// A process in the network namespace; `None` for the caller's own.
    pub namespace_of: Option<u32>,
    /// Where the identity of the daemon is kept, so that other processes know it.
    pub folder: PathBuf,
}

impl LocalHost {
    fn identity_file(&self) -> PathBuf {
        self.folder.join("daemon.json")
    }

    fn command_error(&self, command: &str, detail: String) -> HostError {
        HostError::Command { host: self.name.clone(), command: command.to_owned(), detail }
    }
}

/// The state letter and the start time of a process, from `/proc/PID/stat`.
pub fn stat_of(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

impl Host for LocalHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        let mut command = match self.namespace_of {
            Some(pid) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/proc/{pid}/ns/net")).arg(program);
                command
            }
            None => Command::new(program),
        };
        let output = command.args(args).stdin(Stdio::null()).output();
        let output = output.map_err(|error| self.command_error(program, error.to_string()))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(self.command_error(&format!("{program} {}", args.join(" ")), stderr));
        }
        Ok(CommandOutput { stdout: String::from_utf8_lossy(&output.stdout).into_owned(), stderr })
    }

    fn start_daemon(&self, spec: &DaemonSpec) -> Result<ProcessIdentity, HostError> {
        std::fs::create_dir_all(&spec.directory).unwrap();
        if let Some(ClockMeans::Libfaketime(means)) = &spec.clock {
            means.prepare(&spec.program).map_err(|error| self.command_error("start", error.to_string()))?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&spec.log_file).unwrap();
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .envs(spec.environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn().map_err(|error| self.command_error("start", error.to_string()))?;
        let pid = i32::try_from(child.id()).unwrap();
        let (_, start_ticks) = stat_of(pid).expect("a child that nobody has waited for is in /proc");
        let identity = ProcessIdentity { pid, start_ticks };
        self.write_file(&self.identity_file(), &serde_json::to_vec(&identity).unwrap())?;
        Ok(identity)
    }

    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError> {
        let content = std::fs::read(self.identity_file()).ok();
        Ok(content.map(|content| serde_json::from_slice(&content).unwrap()))
    }

    fn process_state(&self, process: ProcessIdentity) -> Result<ProcessState, HostError> {
        Ok(match stat_of(process.pid) {
            Some((letter, start_ticks)) if start_ticks == process.start_ticks => match letter {
                'Z' | 'X' => ProcessState::Gone,
                'T' => ProcessState::Stopped,
                _ => ProcessState::Running,
            },
            _ => ProcessState::Gone,
        })
    }

    fn signal(&self, process: ProcessIdentity, signal: Signal) -> Result<(), HostError> {
        let failed =
            |detail: String| HostError::Process { host: self.name.clone(), pid: process.pid, detail };
        if self.process_state(process)? == ProcessState::Gone {
            return Err(failed("it is gone".to_owned()));
        }
        let signal = match signal {
            Signal::Stop => system::Signal::SIGSTOP,
            Signal::Continue => system::Signal::SIGCONT,
            Signal::Kill => system::Signal::SIGKILL,
            Signal::Terminate => system::Signal::SIGTERM,
        };
        system::kill(Pid::from_raw(process.pid), signal).map_err(|error| failed(error.to_string()))
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        std::fs::read(path).map_err(|source| HostError::File {
            host: self.name.clone(),
            path: path.to_owned(),
            source,
        })
    }

    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), HostError> {
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            std::fs::File::create(path)?.write_all(content)
        };
        write().map_err(|source| HostError::File { host: self.name.clone(), path: path.to_owned(), source })
    }
}

/// A daemon that does nothing, for as long as any test could take.
pub fn idle_daemon(folder: &Path) -> DaemonSpec {
    DaemonSpec {
        program: PathBuf::from("sleep"),
        args: vec!["3600".to_owned()],
        env: Vec::new(),
        directory: folder.to_owned(),
        log_file: folder.join("log"),
        clock: None,
        commands: None,
        data_directory: None,
        disk_file: None,
    }
}
