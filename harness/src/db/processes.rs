//! [`Processes`]: one daemon per node on hosts. What most systems under test are made of.
//!
//! Blocking, as hosts are; a [`super::Db`] calls it from a thread that may block.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labrys_nemesis::{
    DaemonSpec, DiskError, Host, HostError, PressedProcess, ProcessIdentity, ProcessState, Signal,
    errors_file, may_end_of_memory, pressed_file,
};

use super::{DbError, logs};
use crate::testbed::lifecycle::{self, DaemonExit};

/// How long a signal may take to show. The kernel needs microseconds; a loaded machine more.
const SIGNAL_SHOWS_WITHIN: Duration = Duration::from_secs(10);

/// How long a daemon may take to end in an orderly way before it is killed.
const ORDERLY_END_WITHIN: Duration = Duration::from_secs(5);

const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// A node: where it runs, and how.
#[derive(Clone)]
pub struct NodePlace {
    /// The machine.
    pub host: Arc<dyn Host>,
    /// The folder on it that belongs to the node, where the host keeps its notes.
    pub directory: PathBuf,
    /// The folder with what the daemon must not lose.
    pub data_directory: PathBuf,
    /// How the daemon is started.
    pub spec: DaemonSpec,
}

/// Why the environment, and not the system under test, is to blame for an exit status; `None` if it is not.
pub type EnvironmentsFault = fn(exit_code: i32) -> Option<&'static str>;

/// The daemons of a cluster, by position.
#[derive(Clone)]
pub struct Processes {
    nodes: Vec<NodePlace>,
    environments_fault: EnvironmentsFault,
    ends_by_its_disk: fn(exit_code: i32) -> bool,
    ends_by_order: fn(exit_code: i32) -> bool,
}

/// Why the environment is to blame for a death by this signal: a program does not send it to itself when it fails. Out of
/// memory, the kernel sends SIGKILL; beyond a limit on the size of files or the time of the processor, SIGXFSZ and SIGXCPU.
fn environments_signal(number: i32) -> Option<&'static str> {
    use nix::sys::signal::Signal;
    Some(match Signal::try_from(number).ok()? {
        Signal::SIGKILL => "somebody else killed it, or the machine ran out of memory",
        Signal::SIGXFSZ => "a file grew beyond a limit of this machine",
        Signal::SIGXCPU => "it used more processor time than a limit of this machine allows",
        Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT => "somebody else ended it",
        _ => return None,
    })
}

/// Whether an end may be that of a process that was refused memory: the kernel sends SIGKILL, and a program that cannot do without aborts.
fn may_be_for_want_of_memory(exit: &DaemonExit) -> bool {
    use nix::sys::signal::Signal::{SIGABRT, SIGKILL};
    !exit.expected && [SIGABRT, SIGKILL].iter().any(|signal| exit.killed_by == Some(*signal as i32))
}

/// The lines of a file that can be understood, if it is there.
fn json_lines<T: for<'de> serde::Deserialize<'de>>(
    host: &dyn Host,
    file: &std::path::Path,
) -> Result<Vec<T>, DbError> {
    let text = match host.read_file(file) {
        Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

impl Processes {
    /// Those of `nodes`, all of one system, whose exit statuses `environments_fault` knows.
    #[must_use]
    pub fn new(nodes: Vec<NodePlace>, environments_fault: EnvironmentsFault) -> Processes {
        Processes { nodes, environments_fault, ends_by_its_disk: |_| false, ends_by_order: |_| false }
    }

    /// The same; an end with an exit status that `ends_by_its_disk` knows was intended, if that very process had met trouble that the
    /// nemesis made on its disk.
    #[must_use]
    pub fn ending_by_disks(self, ends_by_its_disk: fn(exit_code: i32) -> bool) -> Processes {
        Processes { ends_by_its_disk, ..self }
    }

    /// The same; an end with an exit status that `ends_by_order` knows was ordered: no process has it otherwise.
    #[must_use]
    pub fn ending_by_order(self, ends_by_order: fn(exit_code: i32) -> bool) -> Processes {
        Processes { ends_by_order, ..self }
    }

    /// The nodes, by position.
    #[must_use]
    pub fn nodes(&self) -> &[NodePlace] {
        &self.nodes
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// If the host cannot, or the last one is still alive.
    pub fn start(&self, node: usize) -> Result<(), DbError> {
        let NodePlace { host, spec, .. } = &self.nodes[node];
        host.start_daemon(spec).map(drop).map_err(DbError::from)
    }

    /// The daemon, unless it is gone or there never was one.
    ///
    /// # Errors
    /// If the host cannot tell.
    pub fn living(&self, node: usize) -> Result<Option<(ProcessIdentity, ProcessState)>, DbError> {
        let host = &self.nodes[node].host;
        let Some(daemon) = host.daemon()? else { return Ok(None) };
        let state = host.process_state(daemon)?;
        Ok((state != ProcessState::Gone).then_some((daemon, state)))
    }

    /// Kills the daemon and sees that it is gone.
    ///
    /// # Errors
    /// If the host cannot, or it does not go.
    pub fn kill(&self, node: usize) -> Result<(), DbError> {
        self.send_and_see(node, Signal::Kill, &[ProcessState::Gone], SIGNAL_SHOWS_WITHIN)
    }

    /// Stops the daemon and sees that it stands still.
    ///
    /// # Errors
    /// If there is none, the host cannot, or it does not stop.
    pub fn pause(&self, node: usize) -> Result<(), DbError> {
        if self.living(node)?.is_none() {
            return Err(self.not_running(node));
        }
        self.send_and_see(node, Signal::Stop, &[ProcessState::Stopped], SIGNAL_SHOWS_WITHIN)
    }

    /// Continues the daemon, if there is one.
    ///
    /// # Errors
    /// If the host cannot, or it does not go on.
    pub fn resume(&self, node: usize) -> Result<(), DbError> {
        let goes_on = [ProcessState::Running, ProcessState::Gone];
        self.send_and_see(node, Signal::Continue, &goes_on, SIGNAL_SHOWS_WITHIN)
    }

    /// Removes the data. The daemon must be gone.
    ///
    /// # Errors
    /// If it is not, or the host cannot.
    pub fn wipe(&self, node: usize) -> Result<(), DbError> {
        let NodePlace { host, data_directory, .. } = &self.nodes[node];
        if let Some((daemon, _)) = self.living(node)? {
            let detail = "its data cannot be removed while it lives".to_owned();
            return Err(HostError::Process { host: host.name().to_owned(), pid: daemon.pid, detail }.into());
        }
        host.run("rm", &["-rf", "--", &data_directory.to_string_lossy()])?;
        Ok(())
    }

    /// Ends the daemon in an orderly way, or by force if it takes too long; afterwards [`Processes::exits`] has its end.
    ///
    /// # Errors
    /// If the host cannot, it does not go even then, or nobody notes how it ended.
    pub fn tear_down(&self, node: usize) -> Result<(), DbError> {
        // What stands still does not hear SIGTERM.
        self.resume(node)?;
        let Some((daemon, _)) = self.living(node)? else { return Ok(()) };
        if self.send_and_see(node, Signal::Terminate, &[ProcessState::Gone], ORDERLY_END_WITHIN).is_err() {
            self.kill(node)?;
        }
        self.wait_for_note_of_end(node, daemon)
    }

    /// Whoever started the daemon notes its end when he has reaped it: a moment after it is gone.
    fn wait_for_note_of_end(&self, node: usize, daemon: ProcessIdentity) -> Result<(), DbError> {
        let deadline = Instant::now() + SIGNAL_SHOWS_WITHIN;
        while self.exits(node)?.iter().all(|exit| exit.process != daemon) {
            if Instant::now() >= deadline {
                let host = self.nodes[node].host.name().to_owned();
                let detail = "it has ended, and nobody has noted how".to_owned();
                return Err(HostError::Process { host, pid: daemon.pid, detail }.into());
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }

    /// Why the environment is to blame for an end, in words; `None` if it was intended, or if the system is to blame.
    #[must_use]
    pub fn environments_fault(&self, exit: &DaemonExit) -> Option<&'static str> {
        match (exit.expected, exit.exit_code, exit.killed_by) {
            (true, ..) => None,
            (false, Some(code), _) => (self.environments_fault)(code),
            (false, None, Some(signal)) => environments_signal(signal),
            (false, None, None) => Some("nobody saw how it ended: the agent that had started it was dead"),
        }
    }

    /// The ends of the daemons that `node` has had.
    ///
    /// # Errors
    /// If the host's notes cannot be read.
    pub fn exits(&self, node: usize) -> Result<Vec<DaemonExit>, DbError> {
        let NodePlace { host, directory, .. } = &self.nodes[node];
        let mut exits = lifecycle::exits(host.as_ref(), directory)?;
        for exit in &mut exits {
            exit.expected |= exit.exit_code.is_some_and(self.ends_by_order);
        }
        if exits.iter().any(|exit| self.may_be_its_disks(exit)) {
            let met = self.those_that_met_trouble(node)?;
            for exit in &mut exits {
                exit.expected |= self.may_be_its_disks(exit) && met.contains(&exit.process.pid);
            }
        }
        if exits.iter().any(may_be_for_want_of_memory) {
            let pressed = self.those_short_of_memory(node)?;
            for exit in &mut exits {
                exit.expected |= may_be_for_want_of_memory(exit)
                    && may_end_of_memory(&pressed, host.as_ref(), exit.process, exit.unix_ms);
            }
        }
        Ok(exits)
    }

    fn may_be_its_disks(&self, exit: &DaemonExit) -> bool {
        !exit.expected && exit.exit_code.is_some_and(self.ends_by_its_disk)
    }

    /// The processes to which the disk of `node` has given errors or bytes that had gone wrong, because the nemesis told it to.
    fn those_that_met_trouble(&self, node: usize) -> Result<BTreeSet<i32>, DbError> {
        let NodePlace { host, spec, .. } = &self.nodes[node];
        let Some(order_file) = &spec.disk_file else { return Ok(BTreeSet::new()) };
        let errors = json_lines(host.as_ref(), &errors_file(order_file))?;
        Ok(errors.into_iter().map(|error: DiskError| error.pid).collect())
    }

    /// The processes whose memory the nemesis has limited, and until when.
    fn those_short_of_memory(&self, node: usize) -> Result<Vec<PressedProcess>, DbError> {
        let NodePlace { host, spec, .. } = &self.nodes[node];
        json_lines(host.as_ref(), &pressed_file(&spec.directory))
    }

    /// Starts those that have ended because of their disks, for want of memory, or by order, after that was mended: a daemon may take a while
    /// to end of what it met.
    ///
    /// # Errors
    /// If a host cannot tell how its daemon ended, or cannot start it.
    pub fn start_those_ended_by_faults(&self) -> Result<(), DbError> {
        for node in 0..self.nodes.len() {
            let Some(daemon) = self.nodes[node].host.daemon()? else { continue };
            let (exits, short) = (self.exits(node)?, self.those_short_of_memory(node)?);
            let own = |exit: &&DaemonExit| {
                let is_by_code = exit
                    .exit_code
                    .is_some_and(|code| (self.ends_by_its_disk)(code) || (self.ends_by_order)(code));
                exit.process == daemon && (is_by_code || short.iter().any(|line| line.process == daemon))
            };
            if exits.iter().find(own).is_some_and(|exit| exit.expected) {
                self.start(node)?;
            }
        }
        Ok(())
    }

    /// The whole log; empty if there is none yet.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn log(&self, node: usize) -> Result<Vec<u8>, DbError> {
        let NodePlace { host, spec, .. } = &self.nodes[node];
        match host.read_file(&spec.log_file) {
            Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            read => Ok(read?),
        }
    }

    /// An error if the daemon was started and has ended by itself: whoever waits for it waits in vain. One that the nemesis
    /// killed is not such: it will be started again.
    ///
    /// # Errors
    /// That, and if the host cannot tell.
    pub fn refuse_dead(&self, node: usize) -> Result<(), DbError> {
        let NodePlace { host, spec, .. } = &self.nodes[node];
        let Some(daemon) = host.daemon()? else { return Ok(()) };
        let exits = self.exits(node)?;
        let Some(exit) = exits.iter().find(|exit| exit.process == daemon && !exit.expected) else {
            return Ok(());
        };
        Err(DbError::Ended {
            node: host.name().to_owned(),
            status: exit.status(),
            environment: self.environments_fault(exit),
            log_file: spec.log_file.clone(),
            log: logs::last_lines(&self.log(node)?, logs::SHOWN_LINES),
        })
    }

    /// Signals the daemon, if it lives, and waits until that has one of the wanted effects.
    fn send_and_see(
        &self,
        node: usize,
        signal: Signal,
        wanted: &[ProcessState],
        within: Duration,
    ) -> Result<(), DbError> {
        let host = &self.nodes[node].host;
        let Some((daemon, _)) = self.living(node)? else { return Ok(()) };
        let is_as_wanted = || Ok::<bool, HostError>(wanted.contains(&host.process_state(daemon)?));
        match host.signal(daemon, signal) {
            Ok(()) => {}
            // It ended in between.
            Err(_)
                if wanted.contains(&ProcessState::Gone)
                    && host.process_state(daemon)? == ProcessState::Gone =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let deadline = Instant::now() + within;
        while !is_as_wanted()? {
            if Instant::now() >= deadline {
                let detail = format!("{signal:?} has had no effect for {} s", within.as_secs());
                return Err(
                    HostError::Process { host: host.name().to_owned(), pid: daemon.pid, detail }.into()
                );
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }

    fn not_running(&self, node: usize) -> DbError {
        let host = self.nodes[node].host.name().to_owned();
        DbError::Host(HostError::Process { host, pid: 0, detail: "no daemon is running".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::LocalHost;

    #[test]
    fn a_death_by_a_signal_that_only_others_send_is_the_environments_and_a_crash_is_not() {
        let processes = Processes::new(Vec::new(), |code| (code == 6).then_some("the disk is full"));
        let fault = |expected, exit_code, killed_by| {
            let process = ProcessIdentity { pid: 1, start_ticks: 1 };
            processes
                .environments_fault(&DaemonExit { process, exit_code, killed_by, expected, unix_ms: None })
                .is_some()
        };
        for from_outside in [1, 2, 3, 9, 15, 24, 25] {
            assert!(fault(false, None, Some(from_outside)), "{from_outside}");
        }
        for crash in [4, 5, 6, 7, 8, 11, 31] {
            assert!(!fault(false, None, Some(crash)), "{crash}");
        }
        assert!(fault(false, Some(6), None) && !fault(false, Some(101), None));
        assert!(!fault(true, None, Some(9)), "what was intended is nobody's fault");
    }

    #[test]
    fn a_death_is_forgiven_for_as_long_as_the_process_was_short_of_memory_and_not_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().to_owned();
        let host = LocalHost::of_this_machine("n1", [127, 0, 0, 1].into(), &directory).expect("a host");
        let spec = DaemonSpec {
            program: "sleep".into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: directory.clone(),
            log_file: directory.join("log"),
            clock: None,
            commands: None,
            data_directory: None,
            disk_file: None,
        };
        let place = NodePlace {
            host: Arc::new(host),
            directory: directory.clone(),
            data_directory: directory.clone(),
            spec,
        };
        let processes = Processes::new(vec![place], |_| None);
        let killed =
            r#"{"event":"exit","pid":7,"start_ticks":9,"exit_code":null,"killed_by":9,"unix_ms":50000}"#;
        std::fs::write(lifecycle::lifecycle_file(&directory), format!("{killed}\n")).expect("written");
        let is_expected = |lines: &[&str]| {
            std::fs::write(pressed_file(&directory), lines.join("\n")).expect("written");
            processes.exits(0).expect("noted")[0].expected
        };
        let begun = r#"{"pid":7,"start_ticks":9}"#;
        let until = |ms: u64| format!(r#"{{"pid":7,"start_ticks":9,"until_unix_ms":{ms}}}"#);
        assert!(is_expected(&[begun]), "it is short of memory");
        assert!(is_expected(&[begun, &until(50_001)]) && is_expected(&[begun, &until(49_000)]));
        assert!(!is_expected(&[begun, &until(40_000)]), "long after it had its memory again");
        assert!(is_expected(&[begun, &until(40_000), begun]), "it was short of it once more");
        assert!(!is_expected(&[begun, &until(0)]), "it was never refused anything");
        assert!(!is_expected(&[r#"{"pid":7,"start_ticks":8}"#]), "that was another process");
    }
}
