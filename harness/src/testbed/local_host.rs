//! [`LocalHost`]: a node in a network namespace of this machine, or, for an agent, this machine itself.
//!
//! Commands and daemons enter the namespace between fork and exec (`setns`), which costs one system call, where
//! `ip netns exec` costs a second program and a mount namespace. What the host knows of its daemon is in files, because
//! the harness and the nemesis, two processes, use the same host.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labrys_nemesis::{
    ClockMeans, CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal,
};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::SigSet;
use nix::unistd::setsid;
use rustix::process::{Pid, PidfdFlags, kill_process_group, pidfd_open, pidfd_send_signal};

use super::lifecycle::{LifecycleEvent, daemon_file, lifecycle_file};
use crate::isolation::MARKER_VARIABLE;
use crate::process;

/// How long a command may take. `iptables-restore` waits for its lock for 5 s; nothing else takes a tenth of that.
const COMMANDS_END_WITHIN: Duration = Duration::from_secs(10);

/// How long a killed command may take to go.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// How long another process may hold the lock under which a daemon is started.
const LOCKED_WITHIN: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// Their parent, who would be told, is dead.
const BETWEEN_LOOKS_AT_ORPHANS: Duration = Duration::from_millis(20);

/// A node in a network namespace of this machine, or this machine itself.
#[derive(Clone, Debug)]
pub struct LocalHost {
    name: String,
    address: IpAddr,
    /// `None`: the network that this process is in.
    namespace: Option<Arc<File>>,
    directory: PathBuf,
    /// What all that it starts gets in its environment.
    environment: Vec<(String, String)>,
    commands_end_within: Duration,
}

impl LocalHost {
    /// The host called `name` at `address`, in the network namespace at `namespace` (`/run/netns/n1`), which keeps its notes
    /// in `directory`.
    ///
    /// # Errors
    /// If the namespace is not there or the directory cannot be made.
    pub fn new(
        name: &str,
        address: IpAddr,
        namespace: &Path,
        directory: &Path,
    ) -> Result<LocalHost, HostError> {
        let opened = File::open(namespace).map_err(|source| HostError::File {
            host: name.to_owned(),
            path: namespace.to_owned(),
            source,
        })?;
        let host = LocalHost::of_this_machine(name, address, directory)?;
        Ok(LocalHost { namespace: Some(Arc::new(opened)), ..host })
    }

    /// This machine as the host called `name`, which others reach at `address`, and which keeps its notes in `directory`.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn of_this_machine(name: &str, address: IpAddr, directory: &Path) -> Result<LocalHost, HostError> {
        let host = LocalHost {
            name: name.to_owned(),
            address,
            namespace: None,
            directory: directory.to_owned(),
            environment: Vec::new(),
            commands_end_within: COMMANDS_END_WITHIN,
        };
        std::fs::create_dir_all(directory).map_err(|source| host.file_error(directory, source))?;
        Ok(host)
    }

    /// The same; all that it starts has this variable, by which it can be told from what others started.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> LocalHost {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same; a command that takes longer than `within` is killed, and an error.
    #[must_use]
    pub fn with_commands_ending_within(self, within: Duration) -> LocalHost {
        LocalHost { commands_end_within: within, ..self }
    }

    /// Where it keeps its notes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs `body` in a thread inside the node's network: sockets that it opens are the node's.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or `body` panics.
    pub fn in_network<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T, HostError> {
        let enter = || enter_network(self.namespace.as_deref()).map(|()| body());
        let joined = std::thread::scope(|scope| scope.spawn(enter).join());
        let failed = |detail: String| HostError::Command {
            host: self.name.clone(),
            command: "(in the node's network)".to_owned(),
            detail,
        };
        match joined {
            Ok(entered) => entered.map_err(|errno| failed(errno.to_string())),
            Err(_) => Err(failed("panicked".to_owned())),
        }
    }

    /// Makes `command` start in the node's network, and apart from the caller's session if `detached`.
    #[allow(unsafe_code, reason = "pre_exec has no safe form")]
    fn enter_before_exec(&self, command: &mut Command, detached: bool) {
        let namespace = self.namespace.clone();
        command.envs(self.environment.iter().cloned());
        // SAFETY: the closure makes three system calls, which may be made between fork and exec, and does not allocate: an
        // errno becomes an `io::Error` without.
        unsafe {
            command.pre_exec(move || {
                enter_network(namespace.as_deref())?;
                if detached {
                    setsid()?;
                    SigSet::empty().thread_set_mask()?;
                }
                Ok(())
            });
        }
    }

    fn file_error(&self, path: &Path, source: std::io::Error) -> HostError {
        HostError::File { host: self.name.clone(), path: path.to_owned(), source }
    }

    fn process_error(&self, process: ProcessIdentity, detail: impl Into<String>) -> HostError {
        HostError::Process { host: self.name.clone(), pid: process.pid, detail: detail.into() }
    }

    fn note(&self, event: &LifecycleEvent) -> Result<(), HostError> {
        let path = lifecycle_file(&self.directory);
        process::append_json_line(&path, event).map_err(|source| self.file_error(&path, source))
    }

    /// Held while a daemon is started, so that two processes do not both find none.
    fn lock(&self) -> Result<File, HostError> {
        let path = self.directory.join("daemon.lock");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(|source| self.file_error(&path, source))?;
        let deadline = Instant::now() + LOCKED_WITHIN;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(self.file_error(&path, source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(self.file_error(&path, ErrorKind::TimedOut.into()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
            }
        }
    }

    fn spawn(&self, spec: &DaemonSpec) -> Result<Child, HostError> {
        let create =
            |path: &Path| std::fs::create_dir_all(path).map_err(|source| self.file_error(path, source));
        create(&spec.directory)?;
        spec.log_file.parent().map_or(Ok(()), create)?;
        let opened = OpenOptions::new().create(true).append(true).open(&spec.log_file);
        let log = opened.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|source| self.file_error(&spec.log_file, source))?;

        if let Some(ClockMeans::Libfaketime(means)) = &spec.clock {
            means.prepare(&spec.program).map_err(|error| HostError::Command {
                host: self.name.clone(),
                command: command_line(&spec.program.display().to_string(), &spec.args),
                detail: error.to_string(),
            })?;
        }
        let mut command = Command::new(&spec.program);
        command.args(&spec.args).env_remove(MARKER_VARIABLE).envs(spec.environment());
        command.current_dir(&spec.directory).stdin(Stdio::null()).stdout(out).stderr(err);
        self.enter_before_exec(&mut command, true);
        command.spawn().map_err(|error| HostError::Command {
            host: self.name.clone(),
            command: command_line(&spec.program.display().to_string(), &spec.args),
            detail: error.to_string(),
        })
    }

    /// Writes down who the new daemon is. Before the waiter may reap it: until then its number is its own.
    fn introduce(&self, child: &Child) -> Result<ProcessIdentity, HostError> {
        let pid = child.id().cast_signed();
        let unread = ProcessIdentity { pid, start_ticks: 0 };
        let start_ticks =
            process::start_ticks(pid).ok_or_else(|| self.process_error(unread, "has no /proc entry"))?;
        let identity = ProcessIdentity { pid, start_ticks };
        self.note(&LifecycleEvent::Start { process: identity, unix_ms: unix_ms() })?;
        let path = daemon_file(&self.directory);
        let content = serde_json::to_vec(&identity).map_err(|error| self.file_error(&path, error.into()))?;
        process::write_atomically(&path, &content).map_err(|source| self.file_error(&path, source))?;
        Ok(identity)
    }

    /// Watches a daemon that a process which has died had started, and notes when it ends; how, nobody will know.
    pub(crate) fn adopt(&self, process: ProcessIdentity) {
        let host = self.clone();
        let watcher = move || {
            while host.process_state(process).is_ok_and(|state| state != ProcessState::Gone) {
                std::thread::sleep(BETWEEN_LOOKS_AT_ORPHANS);
            }
            let exit = LifecycleEvent::Exit { process, exit_code: None, killed_by: None, unix_ms: unix_ms() };
            if let Err(error) = host.note(&exit) {
                tracing::warn!(%error, "the end of a daemon could not be noted");
            }
        };
        if let Err(error) = std::thread::Builder::new().name(format!("watch-{}", self.name)).spawn(watcher) {
            tracing::warn!(%error, "no thread to watch a daemon");
        }
    }

    /// Waits for the daemon's end in a thread of its own and notes how it was.
    fn note_end_of(&self, mut child: Child, process: ProcessIdentity) {
        let host = self.clone();
        let waiter = move || {
            let Ok(status) = child.wait() else { return };
            let (exit_code, killed_by) = (status.code(), status.signal());
            let exit = LifecycleEvent::Exit { process, exit_code, killed_by, unix_ms: unix_ms() };
            if let Err(error) = host.note(&exit) {
                tracing::warn!(%error, "the end of a daemon could not be noted");
            }
        };
        let name = format!("wait-{}", self.name);
        if let Err(error) = std::thread::Builder::new().name(name).spawn(waiter) {
            // Then it stays a zombie, which counts as gone, until this process ends.
            tracing::warn!(%error, "no thread to wait for a daemon");
        }
    }
}

fn enter_network(namespace: Option<&File>) -> nix::Result<()> {
    namespace.map_or(Ok(()), |namespace| setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET))
}

impl Host for LocalHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        self.run_within(self.commands_end_within, program, args)
    }

    fn run_within(&self, within: Duration, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        let failed = |detail: String| HostError::Command {
            host: self.name.clone(),
            command: command_line(program, args),
            detail,
        };
        let mut command = Command::new(program);
        // A process group of its own, so that what it started can be ended with it.
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        self.enter_before_exec(&mut command, false);
        let child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let output = output_within(child, within).map_err(|error| failed(error.to_string()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(CommandOutput { stdout, stderr })
        } else {
            Err(failed(format!("{}: {}", output.status, stderr.trim())))
        }
    }

    fn start_daemon(&self, spec: &DaemonSpec) -> Result<ProcessIdentity, HostError> {
        let _lock = self.lock()?;
        if let Some(last) = self.daemon()?
            && self.process_state(last)? != ProcessState::Gone
        {
            return Err(self.process_error(last, "the daemon started last is still alive"));
        }
        let mut child = self.spawn(spec)?;
        match self.introduce(&child) {
            Ok(identity) => {
                self.note_end_of(child, identity);
                Ok(identity)
            }
            Err(error) => {
                // A daemon that nobody could find again must not run.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError> {
        let path = daemon_file(&self.directory);
        match std::fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content)
                .map(Some)
                .map_err(|error| self.file_error(&path, std::io::Error::new(ErrorKind::InvalidData, error))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.file_error(&path, error)),
        }
    }

    fn process_state(&self, process: ProcessIdentity) -> Result<ProcessState, HostError> {
        Ok(match process::state_and_start(process.pid) {
            Some((_, start)) if start != process.start_ticks => ProcessState::Gone,
            // Not before its ports are free.
            Some(('Z', _)) if process::has_other_threads(process.pid) => ProcessState::Running,
            None | Some(('Z' | 'X' | 'x', _)) => ProcessState::Gone,
            Some(('T' | 't', _)) => ProcessState::Stopped,
            Some(_) => ProcessState::Running,
        })
    }

    fn signal(&self, process: ProcessIdentity, signal: Signal) -> Result<(), HostError> {
        let gone = || self.process_error(process, "is gone");
        let pid = Pid::from_raw(process.pid).ok_or_else(gone)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        // Looked at with the handle in hand: from here on the number cannot come to mean another process.
        if self.process_state(process)? == ProcessState::Gone {
            return Err(gone());
        }
        let number = match signal {
            Signal::Stop => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Terminate => rustix::process::Signal::TERM,
        };
        if matches!(signal, Signal::Kill | Signal::Terminate) {
            self.announce_signal(process, signal)?;
        }
        pidfd_send_signal(&handle, number).map_err(|errno| match errno {
            rustix::io::Errno::SRCH => gone(),
            other => self.process_error(process, other.to_string()),
        })
    }

    fn announce_signal(&self, process: ProcessIdentity, signal: Signal) -> Result<(), HostError> {
        self.note(&LifecycleEvent::Signal { process, signal, unix_ms: unix_ms() })
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        std::fs::read(path).map_err(|source| self.file_error(path, source))
    }

    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), HostError> {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(path, content)).map_err(|source| self.file_error(path, source))
    }
}

/// What a command printed, if it ends in time; otherwise it is killed, with all that it has started.
fn output_within(child: Child, within: Duration) -> std::io::Result<Output> {
    let group = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("command".to_owned()).spawn(move || {
        // Nobody listens any more if the command outlives even its SIGKILL, in the kernel.
        let _ = sender.send(child.wait_with_output());
    })?;
    if let Ok(output) = receiver.recv_timeout(within) {
        return output;
    }
    // Nothing has reported the end of the group's leader, so the number is still the group's.
    let killed = kill_process_group(group, rustix::process::Signal::KILL);
    let gone = receiver.recv_timeout(KILLED_WITHIN).is_ok() && killed.is_ok();
    let detail = if gone { "it was killed" } else { "it cannot be killed" };
    Err(std::io::Error::new(
        ErrorKind::TimedOut,
        format!("it did not end within {:.1} s; {detail}", within.as_secs_f64()),
    ))
}

fn command_line(program: &str, args: &[impl AsRef<str>]) -> String {
    let mut line = program.to_owned();
    for arg in args {
        line.push(' ');
        line.push_str(arg.as_ref());
    }
    line
}

/// For people who compare the notes with a log; nothing is decided by it.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
