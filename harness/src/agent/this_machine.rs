//! [`ThisMachine`]: the clock of the machine that this process is on, and the services that keep it right.

use std::io;
use std::process::{Command, Stdio};

use labrys_nemesis::machine_clock::{Machine, Reading};
use nix::libc;
use nix::time::{ClockId, clock_gettime};

/// The services that keep clocks right, by the names of their units. Debian calls them otherwise than others do.
pub(crate) const KEEPERS: &[&str] =
    &["chronyd", "chrony", "ntpd", "ntp", "ntpsec", "openntpd", "systemd-timesyncd"];

/// How often the two clocks are read to find the moment at which they were read together.
const READINGS: usize = 10;

/// The clock of this very machine. Whoever moves it needs `CAP_SYS_TIME`.
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn boot_id(&self) -> io::Result<String> {
        Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
    }

    fn read(&self) -> io::Result<Reading> {
        let mut best: Option<(i64, Reading)> = None;
        for _ in 0..READINGS {
            let before_ns = now_ns(ClockId::CLOCK_MONOTONIC_RAW)?;
            let real_ns = now_ns(ClockId::CLOCK_REALTIME)?;
            let after_ns = now_ns(ClockId::CLOCK_MONOTONIC_RAW)?;
            let apart_ns = after_ns - before_ns;
            if best.is_none_or(|(least, _)| apart_ns < least) {
                best = Some((apart_ns, Reading { real_ns, raw_ns: before_ns + apart_ns / 2 }));
            }
        }
        best.map(|(_, reading)| reading).ok_or_else(|| io::Error::other("the clock was not read"))
    }

    fn shift(&mut self, by_ns: i64) -> io::Result<()> {
        let mut change = adjustment();
        change.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
        // With ADJ_NANO the fraction is in nanoseconds, and never negative.
        change.time.tv_sec = by_ns.div_euclid(1_000_000_000);
        change.time.tv_usec = by_ns.rem_euclid(1_000_000_000);
        adjust(change).map(drop)
    }

    fn tick_us(&self) -> io::Result<i64> {
        adjust(adjustment()).map(|now| now.tick)
    }

    fn set_tick_us(&mut self, tick_us: i64) -> io::Result<()> {
        let mut change = adjustment();
        change.modes = libc::ADJ_TICK;
        change.tick = tick_us;
        adjust(change).map(drop)
    }

    fn keepers(&self) -> io::Result<Vec<String>> {
        let mut running = Vec::new();
        for service in KEEPERS {
            match systemctl(&["is-active", "--quiet", service]) {
                Ok(true) => running.push((*service).to_owned()),
                Ok(false) => {}
                // Without systemd nothing is known to run; what runs nevertheless will show, as the clock does not stay wrong.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(running)
    }

    fn keep(&mut self, service: &str, runs: bool) -> io::Result<()> {
        let action = if runs { "start" } else { "stop" };
        match systemctl(&[action, service])? {
            true => Ok(()),
            false => Err(io::Error::other(format!("`systemctl {action} {service}` failed"))),
        }
    }
}

fn now_ns(clock: ClockId) -> io::Result<i64> {
    let now = clock_gettime(clock)?;
    Ok(now.tv_sec().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec()))
}

/// One that changes nothing.
#[allow(unsafe_code, reason = "libc has no other way to make one")]
fn adjustment() -> libc::timex {
    // SAFETY: a plain structure of integers, of which all zeroes are a value: `modes` 0 changes nothing.
    unsafe { std::mem::zeroed() }
}

/// Changes what its modes say, and says how things are then.
#[allow(unsafe_code, reason = "neither nix nor rustix has adjtimex")]
fn adjust(mut change: libc::timex) -> io::Result<libc::timex> {
    // SAFETY: the pointer is to a structure of ours, which the kernel reads and writes before the call returns.
    match unsafe { libc::adjtimex(&raw mut change) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(change),
    }
}

/// Whether it has succeeded.
fn systemctl(arguments: &[&str]) -> io::Result<bool> {
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readings_of_this_machine_are_in_order_and_its_tick_is_one_that_the_kernel_takes() {
        let (first, second) = (ThisMachine.read().expect("it says"), ThisMachine.read().expect("it says"));
        assert!(second.raw_ns > first.raw_ns);
        // Only read: `modes` 0.
        assert!((9_000..=11_000).contains(&ThisMachine.tick_us().expect("it says")));
        assert_eq!(ThisMachine.boot_id().expect("it says"), ThisMachine.boot_id().expect("it says"));
    }
}
