//! Keeping a process from running for more than its share of a processor, by signals, as the program `cpulimit` does: it takes no
//! privilege but that of signalling it.
//!
//! In every [`PERIOD`] the process is given its share, as time on a processor, all its threads together. It is stopped (SIGSTOP) when it
//! has used that up, and continued (SIGCONT) when it is given more than it owes: what it used beyond its share, because nobody looks
//! without a pause, it has less of in the next periods. What it does not use is not kept for later. One that uses less than its share is never
//! stopped.
//!
//! It lives as long as the file with its orders, or until it is asked to end by a signal, and leaves the process running when it ends, unless it was told that somebody else
//! holds it. It tells what it does in another file: which order it has taken, and how often it has stopped the process.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::host::ProcessIdentity;

/// What a process that keeps another from running is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StarveOrder {
    /// Higher than that of the order before.
    pub serial: u64,
    /// Whom.
    pub process: ProcessIdentity,
    /// How many hundredths of a processor it is left.
    pub percent: u32,
    /// Somebody else has stopped it: it is to be left alone.
    pub is_held: bool,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StarveAnswer {
    /// The order that it has taken.
    pub serial: u64,
    /// What that says.
    pub percent: u32,
    /// How often it has stopped the process by now.
    pub stops: u64,
    /// Who it is itself.
    pub starver: ProcessIdentity,
}

/// A process could not be kept from running.
#[derive(Debug, Error)]
pub enum StarveError {
    /// The orders could not be read, or the answer not be written.
    #[error("{path}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// It could not be signalled or measured.
    #[error("process {pid}: {errno}")]
    Process {
        /// Its number.
        pid: i32,
        /// Why.
        errno: Errno,
    },
}

/// In each such time the process has its share.
const PERIOD: Duration = Duration::from_millis(100);

/// How often it is looked at.
const NAP: Duration = Duration::from_millis(2);

/// The orders are looked at so often, in naps.
const NAPS_BETWEEN_ORDERS: u64 = 5;

/// Where it says what it does, by the file with its orders.
pub(crate) fn answer_file(orders: &Path) -> PathBuf {
    orders.with_extension("answer")
}

/// The share of a process: what it may still use, in nanoseconds; below 0 it owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowance {
    left_ns: i128,
}

impl Allowance {
    fn share_ns(percent: u32) -> i128 {
        (PERIOD.as_nanos() * u128::from(percent) / 100).cast_signed()
    }

    /// What it uses it has less of.
    fn spend(&mut self, used_ns: i128) {
        self.left_ns -= used_ns;
    }

    /// A period begins.
    fn renew(&mut self, percent: u32) {
        let share_ns = Allowance::share_ns(percent);
        self.left_ns = (self.left_ns + share_ns).min(share_ns);
    }

    fn is_spent(self) -> bool {
        self.left_ns <= 0
    }
}

/// Who is being kept from running.
struct Victim {
    process: ProcessIdentity,
    clock: ClockId,
    used_ns: i128,
    allowance: Allowance,
    /// By this process; `false` if somebody else holds it.
    is_stopped: bool,
}

/// Keeps a process from running for more than its share until the file with its orders is gone.
///
/// # Errors
/// The orders make no sense, or the process cannot be signalled. It is left running then as well.
pub fn starve(orders: &Path) -> Result<(), StarveError> {
    let is_told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        let registered = signal_hook::flag::register(signal, Arc::clone(&is_told_to_end));
        registered
            .map_err(|error| StarveError::File { path: orders.to_owned(), detail: error.to_string() })?;
    }
    let mut victim = None;
    let starved = starve_until_the_end(orders, &mut victim, &is_told_to_end);
    let released = victim.map_or(Ok(()), |mut victim| victim.go_on());
    starved.and(released)
}

fn starve_until_the_end(
    orders: &Path,
    victim: &mut Option<Victim>,
    is_told_to_end: &AtomicBool,
) -> Result<(), StarveError> {
    let mut taken = StarveAnswer {
        serial: 0,
        percent: 0,
        stops: 0,
        starver: ProcessIdentity { pid: std::process::id().cast_signed(), start_ticks: own_start_ticks() },
    };
    let mut last: Option<StarveOrder> = None;
    let mut period_ends = now() + PERIOD;
    for naps in 0_u64.. {
        if is_told_to_end.load(Ordering::Relaxed) {
            break;
        }
        if naps.is_multiple_of(NAPS_BETWEEN_ORDERS) {
            let Some(order) = read_order(orders)? else { return Ok(()) };
            if last.is_none_or(|last| last.serial != order.serial) {
                take(order, victim)?;
                taken = StarveAnswer { serial: order.serial, percent: order.percent, ..taken };
                last = Some(order);
                tell(orders, &taken)?;
            }
        }
        let Some(order) = last else { continue };
        if now() >= period_ends {
            period_ends += PERIOD;
            if let Some(victim) = victim {
                victim.allowance.renew(order.percent);
            }
        }
        if let Some(own) = victim.as_mut().filter(|_| !order.is_held) {
            match own.look() {
                Ok(true) => {
                    taken.stops += 1;
                    tell(orders, &taken)?;
                }
                Ok(false) => {}
                Err(StarveError::Process { errno: Errno::ESRCH | Errno::EINVAL, .. }) => *victim = None,
                Err(error) => return Err(error),
            }
        }
        nap();
    }
    Ok(())
}

/// Whom an order is about. Whoever is held is left as he is.
fn take(order: StarveOrder, victim: &mut Option<Victim>) -> Result<(), StarveError> {
    if order.is_held {
        if let Some(victim) = victim {
            victim.is_stopped = false;
        }
        return Ok(());
    }
    if victim.as_ref().is_none_or(|victim| victim.process != order.process) {
        *victim = Victim::new(order.process, order.percent);
    } else if let Some(victim) = victim {
        // What it used meanwhile was nobody's business.
        victim.used_ns = victim.now_used_ns()?;
        victim.allowance = Allowance { left_ns: Allowance::share_ns(order.percent) };
    }
    Ok(())
}

impl Victim {
    /// `None` if it is gone.
    fn new(process: ProcessIdentity, percent: u32) -> Option<Victim> {
        if start_ticks(process.pid)? != process.start_ticks {
            return None;
        }
        let clock = clock_getcpuclockid(Pid::from_raw(process.pid)).ok()?;
        let allowance = Allowance { left_ns: Allowance::share_ns(percent) };
        let mut victim = Victim { process, clock, used_ns: 0, allowance, is_stopped: false };
        victim.used_ns = victim.now_used_ns().ok()?;
        Some(victim)
    }

    fn now_used_ns(&self) -> Result<i128, StarveError> {
        let used = self.clock.now().map_err(|errno| self.failed(errno))?;
        Ok(i128::from(used.tv_sec()) * 1_000_000_000 + i128::from(used.tv_nsec()))
    }

    /// Stops it if it has used up its share, and continues it if it has one again; whether it was stopped.
    fn look(&mut self) -> Result<bool, StarveError> {
        let now_used_ns = self.now_used_ns()?;
        self.allowance.spend(now_used_ns - self.used_ns);
        self.used_ns = now_used_ns;
        if self.is_stopped == self.allowance.is_spent() {
            return Ok(false);
        }
        if self.is_stopped {
            self.go_on()?;
            return Ok(false);
        }
        self.signal(Signal::SIGSTOP)?;
        self.is_stopped = true;
        Ok(true)
    }

    fn go_on(&mut self) -> Result<(), StarveError> {
        if !self.is_stopped {
            return Ok(());
        }
        self.is_stopped = false;
        match self.signal(Signal::SIGCONT) {
            Err(StarveError::Process { errno: Errno::ESRCH, .. }) => Ok(()),
            done => done,
        }
    }

    /// Another process may have its number by now.
    fn signal(&self, signal: Signal) -> Result<(), StarveError> {
        if start_ticks(self.process.pid) != Some(self.process.start_ticks) {
            return Err(self.failed(Errno::ESRCH));
        }
        kill(Pid::from_raw(self.process.pid), signal).map_err(|errno| self.failed(errno))
    }

    fn failed(&self, errno: Errno) -> StarveError {
        StarveError::Process { pid: self.process.pid, errno }
    }
}

/// `None` if there are none any more.
fn read_order(orders: &Path) -> Result<Option<StarveOrder>, StarveError> {
    let failed = |detail: String| StarveError::File { path: orders.to_owned(), detail };
    match std::fs::read(orders) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// As a whole, by a rename.
fn tell(orders: &Path, answer: &StarveAnswer) -> Result<(), StarveError> {
    let (path, draft) = (answer_file(orders), orders.with_extension("draft"));
    let written = serde_json::to_vec(answer)
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(&draft, text))
        .and_then(|()| std::fs::rename(&draft, &path));
    written.map_err(|error| StarveError::File { path, detail: error.to_string() })
}

fn own_start_ticks() -> u64 {
    start_ticks(std::process::id().cast_signed()).unwrap_or(0)
}

/// Field 22 of `/proc/PID/stat`.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[allow(clippy::disallowed_methods, reason = "keeping others from running is a matter of real time")]
fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "keeping others from running is a matter of real time")]
fn nap() {
    std::thread::sleep(NAP);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_uses_what_it_can_gets_its_share_and_no_more_in_the_long_run() {
        const NAP_NS: i128 = NAP.as_nanos().cast_signed();
        let mut allowance = Allowance { left_ns: Allowance::share_ns(5) };
        let (mut used_ns, periods) = (0, 1_000);
        for _ in 0..periods {
            for _ in 0..PERIOD.as_nanos() / NAP.as_nanos() {
                if !allowance.is_spent() {
                    used_ns += NAP_NS;
                    allowance.spend(NAP_NS);
                }
            }
            allowance.renew(5);
        }
        let share_ns = periods * Allowance::share_ns(5);
        assert!((share_ns..=share_ns + 2 * NAP_NS).contains(&used_ns), "{used_ns} of {share_ns}");
    }

    #[test]
    fn what_is_not_used_is_not_kept_and_what_was_used_too_much_is_owed() {
        let mut allowance = Allowance { left_ns: Allowance::share_ns(10) };
        allowance.renew(10);
        assert_eq!(allowance.left_ns, 10_000_000);
        allowance.spend(25_000_000);
        allowance.renew(10);
        assert!(allowance.is_spent());
        allowance.renew(10);
        assert_eq!(allowance.left_ns, 5_000_000);
    }
}
