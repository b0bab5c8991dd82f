//! [`Clock`]: where the times of events come from.
//!
//! The only module of this crate that reads the real clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A source of time that starts at zero with the run and never runs backwards.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the start of the run.
    fn now_ns(&self) -> u64;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }
}

/// The machine's monotonic clock. Wall-clock jumps, which faults may cause, do not touch it.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    /// A clock whose zero is now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place where real time enters")]
    pub fn start() -> MonotonicClock {
        MonotonicClock { start: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        // Saturates after 584 years.
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now_ns`.
    #[must_use]
    pub fn at(now_ns: u64) -> ManualClock {
        ManualClock { now_ns: AtomicU64::new(now_ns) }
    }

    /// Sets the time, also to an earlier one; a [`Recorder`](crate::Recorder) never lets that show in a history.
    pub fn set(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Ordering::SeqCst);
    }

    /// Moves on by `by_ns`.
    pub fn advance(&self, by_ns: u64) {
        self.now_ns.fetch_add(by_ns, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }
}
