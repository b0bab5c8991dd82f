//! Log time: the time with which a leader stamps its commands.
//!
//! Leases and sessions expire by log time, the largest stamp in the log so far. What a stamp is worth is decided here: it is the
//! log time of some entry that this node has applied, plus what its own monotonic clock has counted since then. A follower
//! takes a new such anchor with every command that it applies; a leader goes on from the one it had, and takes a new one only
//! when the log is ahead of it.
//!
//! **Log time never runs faster than real time**, clock drift aside: between any two entries it grows by at most the time that
//! really passed between the application of the first somewhere and the proposal of the second. For a stamp is its anchor's
//! log time and a time counted after the anchor was applied, and the rest follows by induction from anchor to anchor. So no
//! lease ends early. It may end late: what passes between a leader's last entry and its application at the next leader is not
//! counted, nor is the time during which no node of the cluster runs. Clocks of different nodes are never compared, and no
//! wall clock is read.

/// The reading of log time at one node. Times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogClock {
    own_ms: u64,
    log_ms: u64,
}

impl LogClock {
    /// The stamp of a command proposed when the node's own clock reads `now_ms`.
    #[must_use]
    pub fn stamp_ms(&self, now_ms: u64) -> u64 {
        // Readings are rounded down, so less than one millisecond of their difference may not have passed.
        let passed_ms = now_ms.saturating_sub(self.own_ms).saturating_sub(1);
        self.log_ms.saturating_add(passed_ms)
    }

    /// An entry was applied when the node's own clock read `now_ms`; the log time is `log_ms` since then.
    pub fn applied(&mut self, now_ms: u64, log_ms: u64, leads: bool) {
        if !leads || log_ms > self.stamp_ms(now_ms) {
            *self = LogClock { own_ms: now_ms, log_ms };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_goes_on_from_what_it_applied_last_and_a_leader_from_where_it_was() {
        let mut clock = LogClock::default();
        clock.applied(1000, 50, false);
        assert_eq!(clock.stamp_ms(1000), 50);
        assert_eq!(clock.stamp_ms(1400), 449, "from 1000.9 to 1400.0 it is less than 400");
        clock.applied(1400, 60, true);
        assert_eq!(
            clock.stamp_ms(1500),
            549,
            "its own entries, applied late, do not hold a leader's time up"
        );
        clock.applied(1500, 900, true);
        assert_eq!(clock.stamp_ms(1600), 999, "an entry that is ahead of it is believed");
        clock.applied(1700, 910, false);
        assert_eq!(clock.stamp_ms(1702), 911, "a follower counts no time that its leader has not counted");
    }

    #[test]
    fn a_clock_that_runs_back_does_not_take_time_back() {
        let mut clock = LogClock::default();
        clock.applied(1000, 50, false);
        assert_eq!(clock.stamp_ms(900), 50);
    }
}
