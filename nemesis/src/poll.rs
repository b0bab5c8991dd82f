//! Waiting for a condition, with a deadline: the one place of this crate that reads a clock and sleeps.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How patient the nemesis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// For how long an effect (a process in state `T`, a process gone) is waited for.
    pub settle_ms: u64,
    /// How often it is looked at.
    pub poll_ms: u64,
    /// How many times everything that is left is undone before it is given up.
    pub undo_attempts: u32,
    /// How long is waited between two of these times.
    pub retry_ms: u64,
    /// After this everything that is left is not undone once more, however few times it was.
    #[serde(default = "undo_ms")]
    pub undo_ms: u64,
}

fn undo_ms() -> u64 {
    Patience::default().undo_ms
}

/// Now, in microseconds, by a clock that all processes of this machine share and that nobody moves (CLOCK_MONOTONIC).
pub(crate) fn machine_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Waits until that clock says so, but for no longer than `at_most`.
#[allow(clippy::disallowed_methods, reason = "waiting is what this module is for")]
pub(crate) fn wait_until_us(at_us: u64, at_most: Duration) {
    std::thread::sleep(Duration::from_micros(at_us.saturating_sub(machine_us())).min(at_most));
}

/// A moment after which something is not tried any more.
pub(crate) struct Deadline(Instant);

impl Deadline {
    #[allow(clippy::disallowed_methods, reason = "waiting is what this module is for")]
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience { settle_ms: 5_000, poll_ms: 2, undo_attempts: 20, retry_ms: 250, undo_ms: 15_000 }
    }
}

impl Patience {
    /// A quarter of it, for what is only tried.
    pub(crate) fn hurried(self) -> Patience {
        Patience { settle_ms: self.settle_ms / 4, ..self }
    }

    /// Calls `look` until it gives something; `None` if it has not when the time to settle is over. Looks at least once.
    ///
    /// # Errors
    /// The first error of `look`.
    #[allow(clippy::disallowed_methods, reason = "waiting is what this module is for")]
    pub(crate) fn wait_for<T, E>(
        &self,
        mut look: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let deadline = Instant::now() + Duration::from_millis(self.settle_ms);
        loop {
            if let Some(seen) = look()? {
                return Ok(Some(seen));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(self.poll_ms));
        }
    }

    /// When the last attempt at undoing everything must have begun.
    #[allow(clippy::disallowed_methods, reason = "waiting is what this module is for")]
    pub(crate) fn undo_deadline(&self) -> Deadline {
        Deadline(Instant::now() + Duration::from_millis(self.undo_ms))
    }

    /// Lets time pass before another attempt at what failed.
    #[allow(clippy::disallowed_methods, reason = "waiting is what this module is for")]
    pub(crate) fn rest(&self) {
        std::thread::sleep(Duration::from_millis(self.retry_ms));
    }
}
