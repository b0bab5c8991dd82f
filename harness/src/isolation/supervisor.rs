//! The supervisor: makes the namespaces with init in them, forwards signals, relays how the harness ended.
//!
//! The one place of the isolation that forks. `clone(2)` and not `unshare(2)`, so that the supervisor itself stays outside
//! and init is PID 1 at once.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigmaskHow, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid, getpid};
use serde::{Deserialize, Serialize};

use super::init::{self, InitPlan};
use super::{Entered, Facts, IsolationError, IsolationOptions, Marker, Namespaces, Stage, namespaces};

/// What goes wrong here is the environment's fault, never the database's.
const ENVIRONMENT_FAILED: u8 = 255;

/// Init needs little: it mounts, spawns and waits.
const INIT_STACK_BYTES: usize = 1 << 20;

/// What init says before it ends, in one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum InitReport {
    /// It could not furnish the namespaces.
    SetUpFailed {
        /// Where it stopped.
        stage: Stage,
        /// Why.
        detail: String,
    },
    /// The harness ended by itself, with this code.
    Exited(u8),
    /// The harness was killed by this signal.
    Signalled(i32),
}

pub(super) fn run(options: &IsolationOptions) -> Result<Entered, IsolationError> {
    let arguments = options.arguments.clone().unwrap_or_else(|| std::env::args_os().skip(1).collect());
    let privileged = super::is_privileged()?;
    let marker = Marker {
        supervisor_pid: getpid().as_raw(),
        user_namespace: !privileged,
        outside: Namespaces::of_this_process()?,
    };
    let ignored = namespaces::status_mask(Path::new("/proc/self/status"), "SigIgn")?;
    notice_children();
    // Blocked before init exists, and inherited by it: no signal can fall between.
    let signal_mask = init::waited_for()
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .map_err(|errno| IsolationError::System { call: "sigprocmask", errno })?;
    let plan = InitPlan {
        arguments,
        marker: serde_json::to_string(&marker).unwrap_or_default(),
        user: (!privileged).then(|| (geteuid().as_raw(), getegid().as_raw())),
        signal_mask,
    };
    let result = start_init(&plan).and_then(|(init, reports)| stay(init, reports, ignored));
    // Whoever called may go on, with the mask as it was.
    let _ = signal_mask.thread_set_mask();
    result
}

/// Whoever started us may have ignored SIGCHLD; then children would vanish without a status.
#[allow(unsafe_code, reason = "signal(2) has no safe wrapper")]
fn notice_children() {
    // SAFETY: SIG_DFL runs no code of ours. It fails for no signal that exists.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGCHLD, nix::sys::signal::SigHandler::SigDfl) };
}

fn start_init(plan: &InitPlan) -> Result<(Pid, UnixStream), IsolationError> {
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if plan.user.is_some() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let (ours, theirs) = UnixStream::pair().map_err(|error| system("socketpair", &error))?;
    let init = clone_init(plan, &ours, &theirs, flags)?;
    Ok((init, ours))
}

#[allow(
    unsafe_code,
    reason = "clone(2) has no safe wrapper: the child goes on in a copy of this process's memory"
)]
fn clone_init(
    plan: &InitPlan,
    ours: &UnixStream,
    theirs: &UnixStream,
    flags: CloneFlags,
) -> Result<Pid, IsolationError> {
    let count = std::fs::read_dir("/proc/self/task")
        .map_err(|source| IsolationError::Proc { path: "/proc/self/task".into(), source })?
        .count();
    if count != 1 {
        return Err(IsolationError::Threads { count });
    }
    let mut stack = vec![0_u8; INIT_STACK_BYTES];
    let body = Box::new(|| init::main(plan, ours, theirs));
    // SAFETY: without CLONE_VM the child runs on a copy of our memory, `stack` included, so nothing it does is seen here.
    // We have one thread, as was just counted, so no lock (the allocator's among them) can be held in the child by a
    // thread that does not exist there. The value of `init::main` is the child's exit status: it never returns into our
    // frames, and never drops what is ours.
    let cloned = unsafe { nix::sched::clone(body, &mut stack, flags, Some(Signal::SIGCHLD as i32)) };
    cloned.map_err(|errno| {
        let (why, mend) = Facts::of_this_machine().diagnose(errno, plan.user.is_none());
        IsolationError::Namespaces { errno, why, mend }
    })
}

/// Waits until init has ended, passing on the signals that are not ignored.
///
/// When `waitpid` returns init, nothing else is left in its PID namespace: the kernel waits for that itself.
fn stay(init: Pid, mut reports: UnixStream, ignored: u64) -> Result<Entered, IsolationError> {
    let signals = init::waited_for();
    let mut was_asked_to_end = false;
    let status = loop {
        let signal = signals.wait().map_err(|errno| IsolationError::System { call: "sigwait", errno })?;
        if signal != Signal::SIGCHLD {
            let is_ignored = ignored & (1 << (signal as u32 - 1)) != 0;
            if !is_ignored {
                was_asked_to_end = true;
                // Not yet waited for, so the number is still init's; that it has just ended is no error.
                let _ = kill(init, signal);
            }
            continue;
        }
        match waitpid(init, Some(WaitPidFlag::WNOHANG)) {
            Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => break status,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(IsolationError::System { call: "waitpid", errno }),
        }
    };
    // Init's end of the pair was closed with init, so this cannot block.
    let mut report = Vec::new();
    reports.read_to_end(&mut report).map_err(|error| system("read", &error))?;
    finish(status, serde_json::from_slice(&report).ok(), was_asked_to_end)
}

fn finish(
    status: WaitStatus,
    report: Option<InitReport>,
    was_asked_to_end: bool,
) -> Result<Entered, IsolationError> {
    let failed = |message: String| {
        let message = Some(message);
        Ok(Entered::Finished { exit_code: ENVIRONMENT_FAILED, message, was_asked_to_end })
    };
    match (report, status) {
        (Some(InitReport::SetUpFailed { stage, detail }), _) => Err(IsolationError::SetUp { stage, detail }),
        (Some(InitReport::Exited(exit_code)), _) => {
            Ok(Entered::Finished { exit_code, message: None, was_asked_to_end })
        }
        (Some(InitReport::Signalled(signal)), _) => {
            failed(format!("the harness was killed by {}; {ALL_GONE}", signal_name(signal)))
        }
        (None, WaitStatus::Signaled(_, signal, _)) => {
            failed(format!("the isolation's init process was killed by {signal}; {ALL_GONE}"))
        }
        (None, _) => failed(format!("the isolation's init process ended without saying why; {ALL_GONE}")),
    }
}

const ALL_GONE: &str = "the kernel has ended everything that the test had started";

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

fn system(call: &'static str, error: &std::io::Error) -> IsolationError {
    IsolationError::System { call, errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(status: WaitStatus, report: Option<InitReport>) -> (u8, Option<String>) {
        match finish(status, report, false) {
            Ok(Entered::Finished { exit_code, message, was_asked_to_end: false }) => (exit_code, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_exit_code_is_relayed_as_it_is() {
        let pid = Pid::from_raw(7);
        assert_eq!(finished(WaitStatus::Exited(pid, 0), Some(InitReport::Exited(1))), (1, None));
    }

    #[test]
    fn a_death_by_signal_is_the_environments_failure_and_says_which_signal() {
        let pid = Pid::from_raw(7);
        let (code, message) = finished(WaitStatus::Exited(pid, 0), Some(InitReport::Signalled(9)));
        assert_eq!(code, 255);
        assert!(message.is_some_and(|message| message.contains("SIGKILL")));
        let (code, message) = finished(WaitStatus::Signaled(pid, Signal::SIGKILL, false), None);
        assert_eq!(code, 255);
        assert!(message.is_some_and(|message| message.contains("init process was killed by SIGKILL")));
    }

    #[test]
    fn a_second_thread_is_refused_before_anything_is_made() {
        // The test harness runs this in a thread of its own.
        let error = run(&IsolationOptions::default()).expect_err("two threads");
        assert!(matches!(error, IsolationError::Threads { count: 2.. }), "{error}");
    }
}
