//! Init: PID 1 inside. Furnishes the namespaces, starts the harness, reaps orphans, forwards signals, ends with the harness.
//!
//! It is a copy of the supervisor's process that has not been executed anew, and stays as small: no threads, no runtime.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, close, setpgid};
use serde::{Deserialize, Serialize};

use super::supervisor::InitReport;
use super::{MARKER_VARIABLE, Stage};
use crate::process;

/// Where init notes the ends of processes whose parent had died before them, one [`OrphanExit`] a line.
pub const ORPHANS_FILE: &str = "/run/labrys-orphans.jsonl";

/// How a process ended that init had to reap. Of a daemon started by a nemesis that has died, nobody else knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanExit {
    /// Its number.
    pub pid: i32,
    /// Field 22 of its `/proc/PID/stat`.
    pub start_ticks: u64,
    /// Its exit status, if it ended by itself.
    pub exit_code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

/// What init is told. Made by the supervisor, whose memory init has a copy of.
pub(super) struct InitPlan {
    /// The harness's arguments.
    pub arguments: Vec<std::ffi::OsString>,
    /// The content of [`MARKER_VARIABLE`].
    pub marker: String,
    /// User and group outside, if there is a user namespace.
    pub user: Option<(u32, u32)>,
    /// The signal mask of the supervisor before it changed it, for the harness.
    pub signal_mask: SigSet,
}

/// Why a step failed.
type SetUpResult = Result<(), (Stage, String)>;

/// The signals that supervisor and init wait for: those that a user sends to end a program, and a child's end.
pub(super) fn waited_for() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD].into_iter().collect()
}

/// The whole life of init; its value is its exit status, which nobody looks at: the report is what counts.
pub(super) fn main(plan: &InitPlan, supervisors_end: &UnixStream, report_to: &UnixStream) -> isize {
    // Our copy of the supervisor's end. Were it left open, we could not see the supervisor go.
    let _ = close(supervisors_end.as_raw_fd());
    if !tie_to_supervisor(report_to) {
        return 1;
    }
    let report = match furnish(plan).and_then(|()| start_harness(plan)) {
        Ok(harness) => reap_until_end_of(harness),
        Err((stage, detail)) => InitReport::SetUpFailed { stage, detail },
    };
    let line = serde_json::to_vec(&report).unwrap_or_default();
    let mut report_to = report_to;
    // If the supervisor is gone there is nobody to tell.
    let _ = report_to.write_all(&line);
    0
}

/// Dies when the supervisor does. False if it has already died: the signal is sent at its death, not for it.
fn tie_to_supervisor(report_to: &UnixStream) -> bool {
    if set_pdeathsig(Signal::SIGKILL).is_err() || report_to.set_nonblocking(true).is_err() {
        return false;
    }
    // `getppid` is 0 for a parent outside the PID namespace; the other end of the pair tells whether it lives.
    let mut stream = report_to;
    let lives = matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    lives && report_to.set_nonblocking(false).is_ok()
}

fn furnish(plan: &InitPlan) -> SetUpResult {
    if let Some((user, group)) = plan.user {
        map_user(user, group).map_err(|error| (Stage::MapUser, error.to_string()))?;
    }
    leave_the_terminals_foreground();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| (Stage::PrivateMounts, errno.to_string()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), flags | MsFlags::MS_NOEXEC, none).map_err(|errno| {
        let hint = "; in a container, parts of /proc must not be masked (docker: --security-opt systempaths=unconfined)";
        (Stage::MountProc, format!("{errno}{}", if errno == Errno::EPERM { hint } else { "" }))
    })?;
    mount_run(flags).map_err(|error| (Stage::MountRun, error.to_string()))?;
    mount_shared_memory(flags).map_err(|errno| (Stage::MountSharedMemory, errno.to_string()))?;
    crate::testbed::ip::set_loopback_up().map_err(|error| (Stage::Loopback, error.to_string()))
}

/// Root inside is the user outside. Needs no helper: anybody may map himself, once he gives up `setgroups`.
fn map_user(user: u32, group: u32) -> std::io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// An empty `/run`, for `ip netns` and for the lock of `iptables`; what users have below `/run/user` stays.
fn mount_run(flags: MsFlags) -> std::io::Result<()> {
    const USERS: &str = "/run/user";
    const O_PATH: i32 = nix::fcntl::OFlag::O_PATH.bits();
    let none: Option<&str> = None;
    let users = OpenOptions::new().read(true).custom_flags(O_PATH).open(USERS);
    mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, Some("mode=0755"))?;
    if let Ok(users) = users {
        std::fs::create_dir(USERS)?;
        let source = format!("/proc/self/fd/{}", users.as_raw_fd());
        mount(Some(source.as_str()), USERS, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    }
    Ok(())
}

/// An empty `/dev/shm`: what systems and libraries leave there when they are killed must not outlive the run, nor be what another run finds under
/// the numbers of its own processes.
fn mount_shared_memory(flags: MsFlags) -> nix::Result<()> {
    match mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), flags, Some("mode=1777")) {
        // A machine that has none needs none.
        Err(Errno::ENOENT) => Ok(()),
        mounted => mounted,
    }
}

/// A process group of our own, so that Ctrl-C goes to the supervisor alone; and writing to the terminal from there is fine.
#[allow(unsafe_code, reason = "signal(2) has no safe wrapper")]
fn leave_the_terminals_foreground() {
    // Neither can fail for a process that has just been made, and without them only Ctrl-C would count twice.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    for background in [Signal::SIGTTOU, Signal::SIGTTIN] {
        // SAFETY: SIG_IGN runs no code of ours.
        let _ = unsafe { signal(background, SigHandler::SigIgn) };
    }
}

#[allow(unsafe_code, reason = "pre_exec has no safe form")]
fn start_harness(plan: &InitPlan) -> Result<Pid, (Stage, String)> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(&plan.arguments)
        .env(MARKER_VARIABLE, &plan.marker)
        .env("PATH", process::path_with_system_folders());
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    let mask = plan.signal_mask;
    // SAFETY: the closure makes one system call, which may be made between fork and exec, and does not allocate.
    unsafe { command.pre_exec(move || mask.thread_set_mask().map_err(std::io::Error::from)) };
    let child = command.spawn().map_err(|error| (Stage::StartHarness, error.to_string()))?;
    // Reaped by the loop, not through the handle.
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// Waits for signals and children until the harness has ended. Everything else inside ends with us.
fn reap_until_end_of(harness: Pid) -> InitReport {
    let signals = waited_for();
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(report) = reap_all(harness) {
                    return report;
                }
            }
            Ok(signal) => {
                // Not yet reaped, so the number is still the harness's.
                let _ = kill(harness, signal);
            }
            Err(errno) => {
                return InitReport::SetUpFailed {
                    stage: Stage::StartHarness,
                    detail: format!("sigwait: {errno}"),
                };
            }
        }
    }
}

/// Reaps whoever has ended. One SIGCHLD may stand for many children.
fn reap_all(harness: Pid) -> Option<InitReport> {
    loop {
        // First looked at and then reaped, so that an orphan's start time can still be read.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let pid = match waitid(Id::All, flags) {
            Ok(status) => status.pid()?,
            Err(_) => return None,
        };
        let start_ticks = process::start_ticks(pid.as_raw());
        let status = waitpid(pid, Some(WaitPidFlag::WNOHANG)).ok()?;
        if pid == harness {
            return Some(match status {
                // An exit status has eight bits.
                WaitStatus::Exited(_, code) => InitReport::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
                WaitStatus::Signaled(_, signal, _) => InitReport::Signalled(signal as i32),
                _ => continue,
            });
        }
        if let Some(start_ticks) = start_ticks {
            note_orphan(pid, start_ticks, status);
        }
    }
}

/// A note that cannot be written is lost; a full `/run` must not end the test.
fn note_orphan(pid: Pid, start_ticks: u64, status: WaitStatus) {
    let (exit_code, signal) = match status {
        WaitStatus::Exited(_, code) => (Some(code), None),
        WaitStatus::Signaled(_, signal, _) => (None, Some(signal as i32)),
        _ => return,
    };
    let exit = OrphanExit { pid: pid.as_raw(), start_ticks, exit_code, signal };
    let _ = process::append_json_line(Path::new(ORPHANS_FILE), &exit);
}
