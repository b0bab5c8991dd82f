//! Jobs in processes of their own, seen from the parent: started, waited for, ended.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::row_process::{Job, Reply};

/// How long a history may take to be made and written.
const PREPARATION_LIMIT: Duration = Duration::from_secs(300);
/// How often the parent looks whether the user has had enough.
const LOOK: Duration = Duration::from_millis(50);

/// The exit code of a process that a second signal ends at once.
const INTERRUPTED: i32 = 255;

/// How a job ended that did not end by itself with a reply.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was ended after this time.
    TooLong(Duration),
    /// It ended without a word.
    Silent(ExitStatus),
}

impl Ended {
    pub fn in_words(&self) -> String {
        match self {
            Ended::TooLong(limit) => format!("did not end by itself within {limit:?}"),
            Ended::Silent(status) if status.signal() == Some(Signal::SIGABRT as i32) => {
                "ran out of memory".to_owned()
            }
            Ended::Silent(status) => format!("ended with {status}"),
        }
    }
}

/// Set by a signal. The second one ends this process at once (and the kernel closes the pipes that its children live on).
pub(crate) fn interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Carries out `job`; from when it is ready it has `limit`.
///
/// # Errors
/// It cannot be started, or the user has had enough.
pub(crate) fn carry_out(
    job: &Job,
    limit: Duration,
    interrupted: &AtomicBool,
) -> anyhow::Result<Result<Reply, Ended>> {
    let mut process = Process::start(job)?;
    let (mut begun, mut limit_now) = (Instant::now(), PREPARATION_LIMIT);
    loop {
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let left = limit_now.saturating_sub(begun.elapsed());
        match process.replies.recv_timeout(left.min(LOOK)) {
            Ok(Reply::Ready) => (begun, limit_now) = (Instant::now(), limit),
            Ok(reply) => return Ok(Ok(reply)),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Ended::Silent(process.status()?))),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(Err(Ended::TooLong(limit_now))),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A process with a job. Ends with its whole group when this is dropped.
struct Process {
    child: Child,
    /// It lives as long as this is open.
    _stdin: ChildStdin,
    replies: Receiver<Reply>,
    /// Its number may be another's by now.
    is_reaped: bool,
}

impl Process {
    fn start(job: &Job) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .arg(crate::ROW_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting a process for a row")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (sender, replies) = mpsc::channel();
        let mut stdin = stdin.context("a pipe to it")?;
        let stdout = stdout.context("a pipe from it")?;
        // Ends when the process and everything that has its output has ended.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(reply) = serde_json::from_str(&line) else { return };
                if sender.send(reply).is_err() {
                    return;
                }
            }
        });
        let written = serde_json::to_string(job).map_err(std::io::Error::other).and_then(|line| {
            stdin.write_all(line.as_bytes())?;
            stdin.write_all(b"\n")?;
            stdin.flush()
        });
        let process = Process { child, _stdin: stdin, replies, is_reaped: false };
        written.context("giving a process its job")?;
        Ok(process)
    }

    /// How it ended, when its output has.
    fn status(&mut self) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if let Some(status) = self.child.try_wait()? {
                self.is_reaped = true;
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("a process for a row closed its output but goes on")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Until it is reaped the number is that of its group, even if it has ended and only children of it are left.
        if !self.is_reaped {
            let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}
