//! [`Environment`]: how long things take, and what the store's rare paths are tuned to.

use labrys_seed::Seed;
use labrys_store::server::ServerOptions;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// How long things take when nothing is wrong. Everything is drawn anew each time, uniformly between two bounds; one time in a
/// hundred it takes up to ten times the upper bound. What has equal bounds takes exactly so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Environment {
    /// A message from machine to machine, in microseconds.
    pub message_us: (u64, u64),
    /// A write to the log with its sync.
    pub log_write_us: (u64, u64),
    /// A piece of work with snapshot files.
    pub snapshot_us: (u64, u64),
    /// From the arrival of something at a node until the node looks at it, together with what has arrived meanwhile.
    pub wake_up_us: (u64, u64),
    /// From the start of a process until it serves.
    pub start_ms: (u64, u64),
}

impl Default for Environment {
    fn default() -> Environment {
        Environment {
            message_us: (100, 1_000),
            log_write_us: (300, 3_000),
            snapshot_us: (1_000, 20_000),
            wake_up_us: (5, 60),
            start_ms: (20, 200),
        }
    }
}

/// A time between two bounds, in nanoseconds of `unit_ns`; rarely longer.
pub(crate) fn duration_ns(bounds: (u64, u64), unit_ns: u64, rng: &mut labrys_seed::Rng) -> u64 {
    let (shortest, longest) =
        (bounds.0.saturating_mul(unit_ns), bounds.1.max(bounds.0).saturating_mul(unit_ns));
    if shortest == longest {
        return shortest;
    }
    if rng.random_range(0..100_u32) == 0 {
        return rng.random_range(longest..=longest.saturating_mul(10));
    }
    rng.random_range(shortest..=longest)
}

/// What a run's seed makes of the sizes and intervals behind which the store's rare paths lie, in the manner of FoundationDB's
/// randomised knobs (Zhou et al., SIGMOD 2021, section 4): tiny segments of the log, early snapshots, a short tail, small
/// batches and chunks. Every value is one that an operator could choose; half of the runs keep the usual value of each.
///
/// Compiled into the simulator only: the store has nothing of it.
pub(crate) fn disturb(options: &mut ServerOptions, seed: Seed) {
    let mut rng = seed.fork("tuning").rng();
    let mut rarely = |usual: u64, unusual: (u64, u64)| {
        let value = rng.random_range(unusual.0..=unusual.1);
        if rng.random() { value } else { usual }
    };
    options.wal.segment_bytes = rarely(options.wal.segment_bytes, (256, 16_384));
    options.snapshots.entries = rarely(options.snapshots.entries, (5, 300));
    options.kept_entries = rarely(options.kept_entries, (0, 50));
    let batching = &mut options.batching;
    batching.snapshot_chunk_bytes = rarely(batching.snapshot_chunk_bytes, (64, 2_048));
    let mut rarely = |usual: usize, unusual| usize::try_from(rarely(usual as u64, unusual)).unwrap_or(usual);
    batching.max_batch_entries = rarely(batching.max_batch_entries, (1, 8));
    batching.max_inflight_batches = rarely(batching.max_inflight_batches, (1, 3));
    batching.max_pending = rarely(batching.max_pending, (3, 20));
}
