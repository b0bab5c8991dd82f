//! [`Budget`]: how long a check may take and how much memory it may hold, with a clock that is handed in.
//!
//! Linearizability is NP-complete (Gibbons and Korach, "Testing shared memories", SIAM J. Comput. 1997), so every search
//! needs limits that hold. The searches ask the [`Meter`] in their inner loops: for the time every thousand or so
//! configurations, for memory before they take it. What runs out ends as *unknown*, never as valid.
//!
//! What this is not: an allocator. Bytes are those that the searches count of themselves (memo tables, stacks, interned
//! states), and the limit is on the sum over all partitions that are searched at the same time.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Time since the check began, as the caller's clock has it. Any `Fn() -> Duration + Sync` is one.
pub trait Clock: Sync {
    /// Time since the check began; never decreases.
    fn elapsed(&self) -> Duration;
}

impl<F: Fn() -> Duration + Sync> Clock for F {
    fn elapsed(&self) -> Duration {
        self()
    }
}

/// What a check may use.
#[derive(Clone, Copy, Default)]
pub struct Budget<'a> {
    /// The clock, and the time on it at which to give up.
    pub time: Option<(&'a dyn Clock, Duration)>,
    /// Bytes that all searches together may hold at one time.
    pub memory_limit_bytes: Option<usize>,
    /// Set by the caller when it is no longer interested: the check ends as *unknown* soon after.
    pub cancelled: Option<&'a AtomicBool>,
}

impl fmt::Debug for Budget<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Budget")
            .field("time_limit", &self.time.map(|(_, limit)| limit))
            .field("memory_limit_bytes", &self.memory_limit_bytes)
            .finish_non_exhaustive()
    }
}

impl<'a> Budget<'a> {
    /// No limits.
    #[must_use]
    pub fn unlimited() -> Budget<'a> {
        Budget::default()
    }

    /// The same with a limit on the time that `clock` shows.
    #[must_use]
    pub fn with_time_limit(self, clock: &'a dyn Clock, limit: Duration) -> Budget<'a> {
        Budget { time: Some((clock, limit)), ..self }
    }

    /// The same with a limit on the bytes held.
    #[must_use]
    pub fn with_memory_limit_bytes(self, limit: usize) -> Budget<'a> {
        Budget { memory_limit_bytes: Some(limit), ..self }
    }
}

/// Why a search was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The time limit was reached.
    Time(Duration),
    /// The memory limit, in bytes, was reached.
    Memory(usize),
    /// The caller cancelled.
    Cancelled,
    /// Another partition has decided the check already.
    Decided,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exhausted::Time(limit) => write!(formatter, "the time limit of {limit:?} ran out"),
            Exhausted::Memory(limit) => {
                write!(formatter, "the memory limit of {} MiB was reached", limit.div_ceil(1 << 20))
            }
            Exhausted::Cancelled => formatter.write_str("the check was cancelled"),
            Exhausted::Decided => formatter.write_str("another partition decided the check"),
        }
    }
}

/// Measures one check against its budget; shared by the searches of all partitions.
#[derive(Debug)]
pub struct Meter<'a> {
    budget: Budget<'a>,
    held_bytes: AtomicUsize,
}

impl<'a> Meter<'a> {
    /// A meter at zero.
    #[must_use]
    pub fn new(budget: Budget<'a>) -> Meter<'a> {
        Meter { budget, held_bytes: AtomicUsize::new(0) }
    }

    /// Whether time is left and nobody cancelled.
    ///
    /// # Errors
    /// What ran out.
    pub fn check_time(&self) -> Result<(), Exhausted> {
        self.check_time_at(self.elapsed())
    }

    fn check_time_at(&self, now: Option<Duration>) -> Result<(), Exhausted> {
        if self.budget.cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
            return Err(Exhausted::Cancelled);
        }
        match (self.budget.time, now) {
            (Some((_, limit)), Some(now)) if now >= limit => Err(Exhausted::Time(limit)),
            _ => Ok(()),
        }
    }

    /// What the clock says, if there is one.
    fn elapsed(&self) -> Option<Duration> {
        self.budget.time.map(|(clock, _)| clock.elapsed())
    }

    /// Bytes that are held now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Whether `more` bytes could be taken for a moment, without taking them.
    ///
    /// # Errors
    /// [`Exhausted::Memory`].
    pub fn check_memory(&self, more_bytes: usize) -> Result<(), Exhausted> {
        match self.budget.memory_limit_bytes {
            Some(limit) if self.held_bytes.load(Ordering::Relaxed).saturating_add(more_bytes) > limit => {
                Err(Exhausted::Memory(limit))
            }
            _ => Ok(()),
        }
    }
}

/// Looks at the clock each time that so much work was done, so that looking costs nothing and no piece of work is long.
#[derive(Debug)]
pub struct Pace<'m> {
    meter: &'m Meter<'m>,
    units_until_look: usize,
}

impl<'m> Pace<'m> {
    /// Work between two looks. A unit is what takes some tens of nanoseconds: a step of a small model, a look at one operation.
    const UNITS_PER_LOOK: usize = 1 << 12;

    /// A pace that begins with a look.
    #[must_use]
    pub fn new(meter: &'m Meter<'m>) -> Pace<'m> {
        Pace { meter, units_until_look: 0 }
    }

    /// So much is done now.
    ///
    /// # Errors
    /// What ran out.
    #[inline]
    pub fn work(&mut self, units: usize) -> Result<(), Exhausted> {
        match self.units_until_look.checked_sub(units) {
            Some(left) if left > 0 => {
                self.units_until_look = left;
                Ok(())
            }
            _ => {
                self.units_until_look = Self::UNITS_PER_LOOK;
                self.meter.check_time()
            }
        }
    }

    /// What it costs to make, compare or forget something of so many bytes, in units.
    #[must_use]
    pub fn units_of_bytes(bytes: usize) -> usize {
        1 + bytes / 128
    }
}

/// How far a search goes between two looks at the clock: less where its steps turn out to be slow. Of what a model's states cost
/// to compare, to hash and to forget nobody can say anything in advance.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    steps: u64,
    last_look: Option<Duration>,
}

impl Pulse {
    /// At the beginning, and at most.
    pub const MOST_STEPS: u64 = 1 << 10;
    const SLOW: Duration = Duration::from_millis(16);
    const FAST: Duration = Duration::from_millis(4);

    /// The usual pulse.
    #[must_use]
    pub fn new() -> Pulse {
        Pulse { steps: Self::MOST_STEPS, last_look: None }
    }

    /// Looks at the clock; so many steps may be taken until the next look.
    ///
    /// # Errors
    /// What ran out.
    pub fn look(&mut self, meter: &Meter<'_>) -> Result<u64, Exhausted> {
        let now = meter.elapsed();
        meter.check_time_at(now)?;
        if let (Some(now), Some(last)) = (now, self.last_look) {
            let passed = now.saturating_sub(last);
            if passed > Self::SLOW {
                self.steps = (self.steps / 4).max(1);
            } else if passed < Self::FAST {
                self.steps = (2 * self.steps).min(Self::MOST_STEPS);
            }
        }
        self.last_look = now;
        Ok(self.steps)
    }

    /// That time passes which is not the search's: another has its turn.
    pub fn pause(&mut self) {
        self.last_look = None;
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse::new()
    }
}

/// The bytes that one search holds of the meter's; given back when it is dropped.
#[derive(Debug)]
pub struct Account<'m> {
    meter: &'m Meter<'m>,
    held_bytes: usize,
    peak_bytes: usize,
}

impl<'m> Account<'m> {
    /// An account that holds nothing.
    #[must_use]
    pub fn open(meter: &'m Meter<'m>) -> Account<'m> {
        Account { meter, held_bytes: 0, peak_bytes: 0 }
    }

    /// Now `bytes` are held in all.
    ///
    /// # Errors
    /// [`Exhausted::Memory`] if that makes more than the limit.
    pub fn set(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes >= self.held_bytes {
            self.meter.held_bytes.fetch_add(bytes - self.held_bytes, Ordering::Relaxed);
        } else {
            self.meter.held_bytes.fetch_sub(self.held_bytes - bytes, Ordering::Relaxed);
        }
        self.held_bytes = bytes;
        self.peak_bytes = self.peak_bytes.max(bytes);
        self.meter.check_memory(0)
    }

    /// The most that was ever held.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.meter.held_bytes.fetch_sub(self.held_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_accounts_count_together_and_are_given_back() {
        let meter = Meter::new(Budget::unlimited().with_memory_limit_bytes(100));
        let mut first = Account::open(&meter);
        assert_eq!(first.set(60), Ok(()));
        {
            let mut second = Account::open(&meter);
            assert_eq!(second.set(41), Err(Exhausted::Memory(100)));
            assert_eq!(second.set(40), Ok(()));
            assert_eq!(meter.check_memory(1), Err(Exhausted::Memory(100)));
        }
        assert_eq!(meter.check_memory(40), Ok(()));
        assert_eq!(first.set(10), Ok(()));
        assert_eq!(first.peak_bytes(), 60);
    }

    #[test]
    fn time_is_what_the_clock_says() {
        let clock = || Duration::from_secs(5);
        let limit = Duration::from_secs(5);
        assert_eq!(
            Meter::new(Budget::unlimited().with_time_limit(&clock, limit)).check_time(),
            Err(Exhausted::Time(limit))
        );
        let later = Duration::from_secs(6);
        assert_eq!(Meter::new(Budget::unlimited().with_time_limit(&clock, later)).check_time(), Ok(()));
    }

    #[test]
    fn a_search_whose_steps_are_slow_looks_more_often_and_less_often_again() {
        let now_ms = AtomicUsize::new(0);
        let clock = || Duration::from_millis(now_ms.load(Ordering::Relaxed) as u64);
        let meter = Meter::new(Budget::unlimited().with_time_limit(&clock, Duration::from_secs(1)));
        let mut pulse = Pulse::new();
        let mut after = |milliseconds: usize| {
            now_ms.fetch_add(milliseconds, Ordering::Relaxed);
            pulse.look(&meter)
        };
        assert_eq!([after(0), after(10), after(17), after(100)], [Ok(1024), Ok(1024), Ok(256), Ok(64)]);
        assert_eq!([after(3), after(10), after(1), after(1)], [Ok(128), Ok(128), Ok(256), Ok(512)]);
        assert_eq!(after(1_000), Err(Exhausted::Time(Duration::from_secs(1))));
        pulse.pause();
        now_ms.store(900, Ordering::Relaxed);
        assert_eq!(pulse.look(&meter), Ok(512), "what others took does not count");
    }

    #[test]
    fn a_caller_can_cancel() {
        let cancelled = AtomicBool::new(false);
        let meter = Meter::new(Budget { cancelled: Some(&cancelled), ..Budget::unlimited() });
        assert_eq!(meter.check_time(), Ok(()));
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(meter.check_time(), Err(Exhausted::Cancelled));
    }
}
