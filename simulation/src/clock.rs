//! [`NodeClock`]: a node's monotonic clock, which may run at a rate of its own.

/// A node's monotonic clock. It never runs backwards, whatever becomes of it; that is all that "monotonic" promises.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    /// What it read when the world's time was `since_ns`.
    base_ns: u64,
    since_ns: u64,
    /// What it read when the world's time began.
    first_ns: u64,
    /// How many nanoseconds it gains in a thousand of the world's.
    rate_permille: u64,
}

impl NodeClock {
    /// A clock that is right, but for an offset.
    #[must_use]
    pub fn starting_at(offset_ns: u64) -> NodeClock {
        NodeClock { base_ns: offset_ns, since_ns: 0, first_ns: offset_ns, rate_permille: 1000 }
    }

    /// What it reads.
    #[must_use]
    pub fn now_ns(&self, world_ns: u64) -> u64 {
        let passed =
            u128::from(world_ns.saturating_sub(self.since_ns)) * u128::from(self.rate_permille) / 1000;
        self.base_ns.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// How far it is ahead of a clock that was always right, in microseconds.
    #[must_use]
    pub fn offset_us(&self, world_ns: u64) -> i64 {
        let offset_ns = i128::from(self.now_ns(world_ns)) - i128::from(self.first_ns) - i128::from(world_ns);
        i64::try_from(offset_ns / 1_000).unwrap_or(i64::MAX)
    }

    /// What it reads, in milliseconds.
    #[must_use]
    pub fn now_ms(&self, world_ns: u64) -> u64 {
        self.now_ns(world_ns) / 1_000_000
    }

    /// From now on it gains `percent` more than the world's time has; -100: it stands still.
    pub fn drift(&mut self, world_ns: u64, percent: i32) {
        self.base_ns = self.now_ns(world_ns);
        self.since_ns = world_ns;
        self.rate_permille = u64::try_from(1000 + i64::from(percent) * 10).unwrap_or(0);
    }

    /// It leaps ahead.
    pub fn jump(&mut self, world_ns: u64, by_ns: u64) {
        self.base_ns = self.now_ns(world_ns).saturating_add(by_ns);
        self.since_ns = world_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_keeps_what_it_has_gained_and_never_runs_backwards() {
        let mut clock = NodeClock::starting_at(7_000_000);
        assert_eq!(clock.now_ms(5_000_000), 12);
        clock.drift(10_000_000, 50);
        assert_eq!(clock.now_ms(20_000_000), 7 + 10 + 15);
        clock.drift(20_000_000, -100);
        assert_eq!(clock.now_ms(90_000_000), 32);
        clock.drift(90_000_000, 0);
        clock.jump(90_000_000, 1_000_000_000);
        assert_eq!(clock.now_ms(91_000_000), 1033);
        assert_eq!(clock.offset_us(91_000_000), 1_033_000 - 7_000 - 91_000);
        clock.drift(91_000_000, -200);
        assert_eq!(clock.now_ms(99_000_000), 1033, "slower than standing still is standing still");
    }
}
