//! The clock that a node counts by: monotonic, and it goes on while the machine is suspended.
//!
//! [`std::time::Instant`] stands still then (it is `CLOCK_MONOTONIC`). A leader that was suspended would have its lease still, and
//! answer reads from a state that others have changed since; so what promises hang on is counted by `CLOCK_BOOTTIME`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Counts the time since it was started. A copy goes on with the same zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    id: ClockId,
    zero: Duration,
}

fn read(id: ClockId) -> nix::Result<Duration> {
    clock_gettime(id).map(Duration::from)
}

impl Clock {
    /// Begins to count.
    ///
    /// # Panics
    ///
    /// If the system has no monotonic clock, which POSIX demands.
    #[must_use]
    pub fn start() -> Clock {
        let clock = |id| read(id).map(|zero| Clock { id, zero });
        let counts_suspension = clock(ClockId::CLOCK_BOOTTIME);
        counts_suspension.or_else(|_| clock(ClockId::CLOCK_MONOTONIC)).expect("the system has a clock")
    }

    /// The time since then.
    ///
    /// # Panics
    ///
    /// If the clock that was there at the start is there no more.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        read(self.id).expect("the clock is still there").saturating_sub(self.zero)
    }

    /// The same in milliseconds, rounded down.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_the_time_of_suspensions_and_never_runs_back() {
        let clock = Clock::start();
        assert_eq!(clock.id, ClockId::CLOCK_BOOTTIME);
        let readings: Vec<Duration> = (0..1000).map(|_| clock.elapsed()).collect();
        assert!(readings.is_sorted());
        let copy = clock;
        assert!(copy.elapsed() >= readings[999]);
    }
}
