//! What a host notes of its daemon, so that an end that nobody intended is told from the nemesis's kill.
//!
//! Two files in the node's folder. `daemon.json` holds the identity of the daemon started last. `lifecycle.jsonl` gets a
//! line for each start, for each deadly signal *before* it is sent, and for each end, from whichever process did it: the
//! harness and the nemesis share the host. Neither is ever rewritten by a reader.

use std::path::{Path, PathBuf};

use labrys_nemesis::{Host, HostError, ProcessIdentity, Signal};
use serde::{Deserialize, Serialize};

use crate::isolation::{ORPHANS_FILE, OrphanExit};

/// One line of `lifecycle.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum LifecycleEvent {
    /// The daemon was started.
    Start {
        /// Who it is.
        #[serde(flatten)]
        process: ProcessIdentity,
        /// When, in milliseconds since 1970.
        unix_ms: u64,
    },
    /// A signal that ends it is about to be sent.
    Signal {
        /// To whom.
        #[serde(flatten)]
        process: ProcessIdentity,
        /// Which.
        signal: Signal,
        /// When, in milliseconds since 1970.
        unix_ms: u64,
    },
    /// It ended.
    Exit {
        /// Who it was.
        #[serde(flatten)]
        process: ProcessIdentity,
        /// Its exit status, if it ended by itself.
        exit_code: Option<i32>,
        /// The signal that killed it.
        killed_by: Option<i32>,
        /// When that was noticed, in milliseconds since 1970.
        unix_ms: u64,
    },
}

/// How a daemon ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonExit {
    /// Who it was.
    #[serde(flatten)]
    pub process: ProcessIdentity,
    /// Its exit status, if it ended by itself.
    pub exit_code: Option<i32>,
    /// The signal that killed it.
    pub killed_by: Option<i32>,
    /// Whether somebody sent it a signal to that purpose through the [`Host`] before, and it ended accordingly: by that
    /// signal, or with 0. A panic on the way down is not expected.
    pub expected: bool,
    /// When that was noticed, in milliseconds since 1970, if it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_ms: Option<u64>,
}

impl DaemonExit {
    /// `exit code 101`, `signal 6`.
    #[must_use]
    pub fn status(&self) -> String {
        match (self.exit_code, self.killed_by) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown".to_owned(),
        }
    }
}

/// `daemon.json`.
#[must_use]
pub fn daemon_file(directory: &Path) -> PathBuf {
    directory.join("daemon.json")
}

/// `lifecycle.jsonl`.
#[must_use]
pub fn lifecycle_file(directory: &Path) -> PathBuf {
    directory.join("lifecycle.jsonl")
}

/// The ends of all daemons that `host` has had, in the order in which they were noticed, those of orphans last.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn exits(host: &dyn Host, directory: &Path) -> Result<Vec<DaemonExit>, HostError> {
    let lifecycle = read_if_present(host, &lifecycle_file(directory))?;
    let orphans = read_if_present(host, Path::new(ORPHANS_FILE))?;
    Ok(exits_in(&lines::<LifecycleEvent>(&lifecycle), &lines::<OrphanExit>(&orphans)))
}

fn exits_in(events: &[LifecycleEvent], orphans: &[OrphanExit]) -> Vec<DaemonExit> {
    let is_expected = |who: ProcessIdentity, exit_code: Option<i32>, killed_by: Option<i32>| {
        events.iter().any(|event| match event {
            LifecycleEvent::Signal { process, signal, .. } if *process == who => {
                // Nobody saw how it ended if whoever had started it died before it: then it has done as it was told.
                let unseen = exit_code.is_none() && killed_by.is_none();
                exit_code == Some(0) || killed_by == Some(number_of(*signal)) || unseen
            }
            _ => false,
        })
    };
    let was_started = |who: ProcessIdentity| {
        events.iter().any(|event| matches!(event, LifecycleEvent::Start { process, .. } if *process == who))
    };
    let mut exits = Vec::new();
    for event in events {
        if let LifecycleEvent::Exit { process, exit_code, killed_by, unix_ms } = *event {
            exits.push(DaemonExit {
                process,
                exit_code,
                killed_by,
                expected: is_expected(process, exit_code, killed_by),
                unix_ms: Some(unix_ms),
            });
        }
    }
    for orphan in orphans {
        let process = ProcessIdentity { pid: orphan.pid, start_ticks: orphan.start_ticks };
        if was_started(process) && exits.iter().all(|exit: &DaemonExit| exit.process != process) {
            let (exit_code, killed_by) = (orphan.exit_code, orphan.signal);
            exits.push(DaemonExit {
                process,
                exit_code,
                killed_by,
                expected: is_expected(process, exit_code, killed_by),
                unix_ms: None,
            });
        }
    }
    exits
}

fn number_of(signal: Signal) -> i32 {
    match signal {
        Signal::Stop => nix::sys::signal::Signal::SIGSTOP as i32,
        Signal::Continue => nix::sys::signal::Signal::SIGCONT as i32,
        Signal::Kill => nix::sys::signal::Signal::SIGKILL as i32,
        Signal::Terminate => nix::sys::signal::Signal::SIGTERM as i32,
    }
}

fn read_if_present(host: &dyn Host, path: &Path) -> Result<Vec<u8>, HostError> {
    match host.read_file(path) {
        Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// The lines that can be understood: the last one may be on its way, and a later version may write others.
fn lines<T: for<'de> Deserialize<'de>>(content: &[u8]) -> Vec<T> {
    content.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ProcessIdentity = ProcessIdentity { pid: 10, start_ticks: 100 };
    const SECOND: ProcessIdentity = ProcessIdentity { pid: 10, start_ticks: 200 };

    fn start(process: ProcessIdentity) -> LifecycleEvent {
        LifecycleEvent::Start { process, unix_ms: 0 }
    }

    fn exit(process: ProcessIdentity, exit_code: Option<i32>, killed_by: Option<i32>) -> LifecycleEvent {
        LifecycleEvent::Exit { process, exit_code, killed_by, unix_ms: 0 }
    }

    #[test]
    fn an_end_is_expected_only_if_that_very_process_was_signalled() {
        let killed = LifecycleEvent::Signal { process: FIRST, signal: Signal::Kill, unix_ms: 0 };
        let events =
            [start(FIRST), killed, exit(FIRST, None, Some(9)), start(SECOND), exit(SECOND, Some(101), None)];
        let exits = exits_in(&events, &[]);
        assert_eq!(exits.iter().map(|exit| exit.expected).collect::<Vec<_>>(), [true, false]);
        assert_eq!(exits[1].status(), "exit code 101");
    }

    #[test]
    fn a_daemon_that_is_told_to_end_and_panics_has_not_ended_as_expected() {
        let told = || LifecycleEvent::Signal { process: FIRST, signal: Signal::Terminate, unix_ms: 0 };
        let expected = |exit_code, killed_by| {
            exits_in(&[start(FIRST), told(), exit(FIRST, exit_code, killed_by)], &[])[0].expected
        };
        assert!(expected(Some(0), None) && expected(None, Some(15)));
        assert!(!expected(Some(101), None) && !expected(None, Some(6)));
    }

    #[test]
    fn an_end_that_nobody_saw_is_expected_if_the_process_was_told_to_end() {
        let told = LifecycleEvent::Signal { process: FIRST, signal: Signal::Kill, unix_ms: 0 };
        let exits = exits_in(&[start(FIRST), told, exit(FIRST, None, None)], &[]);
        assert!(exits[0].expected);
        assert!(!exits_in(&[start(FIRST), exit(FIRST, None, None)], &[])[0].expected);
    }

    #[test]
    fn an_orphans_end_counts_if_it_was_our_daemon_and_nobody_else_saw_it() {
        let orphan = |start_ticks| OrphanExit { pid: 10, start_ticks, exit_code: None, signal: Some(6) };
        let exits = exits_in(
            &[start(FIRST), exit(FIRST, Some(0), None), start(SECOND)],
            &[orphan(100), orphan(200), orphan(300)],
        );
        assert_eq!(exits.len(), 2);
        assert_eq!((exits[1].process, exits[1].status()), (SECOND, "signal 6".to_owned()));
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        let mut text = serde_json::to_vec(&exit(FIRST, Some(3), None)).expect("serialises");
        text.extend_from_slice(b"\n{\"event\":\"ex");
        assert_eq!(lines::<LifecycleEvent>(&text).len(), 1);
    }
}
