//! [`ClockOffset`]: how far a node's clock is ahead of the machine's, from the times that it says it has been up.
//!
//! A node tells its uptime by its own clock, in milliseconds. Its first answer is taken to be right; what a later one says beyond the
//! time that has passed since is the offset. An answer takes a moment on its way, so the offset is as exact as answers are fast; a
//! process that has just begun counts anew.

use std::time::Instant;

/// What is smaller than this may be the time of an answer on its way.
const NOTABLE_US: i64 = 5_000;

/// After so many looks an offset is told even if it is what it was.
const TOLD_EVERY: u32 = 10;

/// The clock of one node, as it is seen again and again.
#[derive(Debug, Default)]
pub(super) struct ClockOffset {
    first: Option<(Instant, u64)>,
    last_uptime_ms: u64,
    told_us: i64,
    looks: u32,
}

impl ClockOffset {
    /// Takes an answer into account: the offset in microseconds, ahead of the machine's, if it is worth telling.
    pub(super) fn see(&mut self, at: Instant, uptime_ms: u64) -> Option<i64> {
        if uptime_ms < self.last_uptime_ms {
            *self = ClockOffset::default();
        }
        self.last_uptime_ms = uptime_ms;
        let (first_at, first_ms) = *self.first.get_or_insert((at, uptime_ms));
        let passed_us =
            i128::try_from(at.saturating_duration_since(first_at).as_micros()).unwrap_or(i128::MAX);
        let offset_us = i128::from(uptime_ms - first_ms.min(uptime_ms)) * 1_000 - passed_us;
        let offset_us = i64::try_from(offset_us).unwrap_or(i64::MAX);
        let is_told = self.looks == 0 || (offset_us - self.told_us).abs() >= NOTABLE_US;
        self.looks = (self.looks + 1) % TOLD_EVERY;
        is_told.then(|| {
            self.told_us = offset_us;
            offset_us
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_clock_gains_beyond_the_time_that_passed_is_told_at_once_and_what_stays_from_time_to_time() {
        let mut clock = ClockOffset::default();
        let begin = Instant::now();
        let mut see =
            |after_ms: u64, uptime_ms| clock.see(begin + Duration::from_millis(after_ms), uptime_ms);
        assert_eq!(see(0, 70), Some(0));
        assert_eq!(see(100, 169), None);
        assert_eq!(see(200, 3_270), Some(3_000_000));
        assert_eq!(see(300, 3_370), None);
        assert_eq!(see(400, 3_370), Some(2_900_000), "it stood still");
        assert_eq!(see(500, 9), Some(0), "another process");
        let told = (1..=20).filter(|look| see(500 + look * 100, 9 + look * 100).is_some()).count();
        assert_eq!(told, 2);
    }
}
