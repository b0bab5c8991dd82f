//! The clock that a node counts by: monotonic, and it goes on while the machine is suspended.
//!
//! [`std::time::Instant`] stands still then (it is `CLOCK_MONOTONIC`). A leader that was suspended would have its lease still, and
//! answer reads from a state that others have changed since; so what promises hang on is counted by `CLOCK_BOOTTIME`.
//!
//! For testing testers it can be made to run wrong while the node runs: see [`injected`]; or it is the machine's wall clock, which others
//! may set, or make a process believe that they have: [`Clock::start_wall`].

pub mod injected;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use injected::InjectedClock;

/// Counts the time since it was started. A clone goes on with the same zero, and is as wrong.
#[derive(Clone, Debug)]
pub struct Clock {
    id: ClockId,
    zero: Duration,
    wrong: Wrong,
}

/// What may be wrong with it.
#[derive(Clone, Debug)]
enum Wrong {
    Nothing,
    Injected(Arc<Mutex<InjectedClock>>),
    /// Others may set it back. What it has read at most, in nanoseconds since zero, is what it reads until it is there again.
    Set(Arc<AtomicU64>),
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
        let clock = |id| read(id).map(|zero| Clock { id, zero, wrong: Wrong::Nothing });
        let counts_suspension = clock(ClockId::CLOCK_BOOTTIME);
        counts_suspension.or_else(|_| clock(ClockId::CLOCK_MONOTONIC)).expect("the system has a clock")
    }

    /// Begins to count; runs as wrong as the orders in `file` say.
    ///
    /// # Panics
    ///
    /// As [`Clock::start`].
    #[must_use]
    pub fn start_injected(file: &Path) -> Clock {
        let injected = Arc::new(Mutex::new(InjectedClock::new(file)));
        Clock { wrong: Wrong::Injected(injected), ..Clock::start() }
    }

    /// Begins to count by the machine's wall clock. No node in earnest should: it leaps when somebody sets it.
    ///
    /// # Panics
    ///
    /// If the system has no wall clock, which POSIX demands.
    #[must_use]
    pub fn start_wall() -> Clock {
        let id = ClockId::CLOCK_REALTIME;
        let zero = read(id).expect("the system has a wall clock");
        Clock { id, zero, wrong: Wrong::Set(Arc::default()) }
    }

    /// The time since then.
    ///
    /// # Panics
    ///
    /// If the clock that was there at the start is there no more.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let since_zero = || read(self.id).expect("the clock is still there").saturating_sub(self.zero);
        match &self.wrong {
            Wrong::Nothing => since_zero(),
            // Read under the lock: whoever is second there has the later time.
            Wrong::Injected(injected) => {
                let mut injected = injected.lock().unwrap_or_else(PoisonError::into_inner);
                injected.reading_at(since_zero())
            }
            Wrong::Set(furthest) => {
                let now_ns = u64::try_from(since_zero().as_nanos()).unwrap_or(u64::MAX);
                let before_ns = furthest.fetch_max(now_ns, Ordering::Relaxed);
                Duration::from_nanos(now_ns.max(before_ns))
            }
        }
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
        let clone = clock.clone();
        assert!(clone.elapsed() >= readings[999]);
    }

    #[test]
    fn a_wall_clock_that_is_set_back_stands_until_it_is_there_again() {
        let mut clock = Clock::start_wall();
        let reached = clock.elapsed();
        clock.zero += Duration::from_secs(3_600);
        assert_eq!(clock.elapsed(), reached, "as if it had been set back by an hour");
        clock.zero -= Duration::from_secs(7_200);
        assert!(clock.clone().elapsed() >= Duration::from_secs(3_600));
    }

    #[test]
    fn an_injected_clock_and_its_clones_leap_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock.json");
        let clock = Clock::start_injected(&file);
        let clone = clock.clone();
        assert!(clock.elapsed() < Duration::from_secs(3_600));
        std::fs::write(&file, r#"{"serial":1,"rate_permille":1000,"jumps_ms":{"4":7200000}}"#).unwrap();
        while clone.elapsed() < Duration::from_secs(7_200) {
            std::thread::yield_now();
        }
        assert!(clock.elapsed() >= Duration::from_secs(7_200));
    }
}
