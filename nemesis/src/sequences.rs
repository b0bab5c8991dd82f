//! The kinds whose fault is a sequence of faults: one table, as in [`crate::kinds`] of those whose fault is one.
//!
//! A kind has *windows*, in which the planner lets it work; between them it rests. In a window one of these kinds has several
//! faults, each at an offset from its beginning and with a duration of its own. Whom they hit is often decided here, by the
//! nodes' numbers ([`Target::Numbers`]), so that all faults of a window hit the same ones; a symbolic target is decided for each
//! fault anew, when it is applied.
//!
//! Pure: random stream and window in, faults out. Adding such a kind is adding a row and its generator.
//!
//! Invariants (property-tested): the faults are in order of their offsets, each lasts, and all end within the window; there are at
//! most [`MOST_IN_A_WINDOW`].

use labrys_seed::Rng;
use rand::Rng as _;
use rand::seq::SliceRandom;

use crate::fault::{ClockChange, Fault, PartitionShape, Target};

/// No sequence has more faults than this.
pub const MOST_IN_A_WINDOW: u64 = 100;

/// What a sequence is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many nodes the cluster has; at least 1.
    pub node_count: usize,
    /// How long the kind is at work, in milliseconds; at least 1.
    pub duration_ms: u64,
}

/// A fault at its place in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// When it begins, in milliseconds since the beginning of the window.
    pub offset_ms: u64,
    /// How long it lasts, in milliseconds.
    pub duration_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// A row of the table.
pub(crate) struct Row {
    pub name: &'static str,
    pub summary: &'static str,
    /// Empty: there is no such sequence in a cluster of this size.
    pub generate: fn(&mut Rng, Window) -> Vec<Part>,
}

/// The table. A name begins with that of the family of all its faults.
pub(crate) const TABLE: &[Row] = &[
    Row {
        name: "partition-swizzle",
        summary: "a random set of nodes cut off one by one, and let back in another order",
        generate: swizzle,
    },
    Row {
        name: "partition-flapping",
        summary: "some nodes cut off and let back again and again, for 50 to 400 ms each",
        generate: flapping,
    },
    Row {
        name: "kill-rolling",
        summary: "every node killed and started again, one after the other",
        generate: rolling_restart,
    },
    Row {
        name: "kill-loop",
        summary: "one node or a minority killed as soon as they have begun to work, again and again",
        generate: crash_loop,
    },
    Row {
        name: "clock-strobe",
        summary: "clocks run far too fast and far too slow by turns, which no lease bears",
        generate: strobe,
    },
];

/// A random set of nodes is isolated one by one in the first half of the window, and let back one by one in the second half, in
/// another order ("swizzle-clogging": Zhou et al., *FoundationDB*, SIGMOD 2021, section 4).
fn swizzle(rng: &mut Rng, window: Window) -> Vec<Part> {
    if window.node_count < 2 {
        return Vec::new();
    }
    let nodes = some_numbers(rng, 2..=window.node_count, window.node_count);
    let mut returns: Vec<usize> = (0..nodes.len()).collect();
    returns.shuffle(rng);
    if returns.is_sorted() {
        returns.rotate_left(1);
    }
    let half_ms = window.duration_ms / 2;
    let step = |position: usize| half_ms * position as u64 / nodes.len() as u64;
    let parts = nodes.iter().zip(&returns).enumerate().map(|(position, (node, return_position))| {
        let offset_ms = step(position);
        let ends_ms = window.duration_ms - half_ms + step(return_position + 1);
        let shape = PartitionShape::Apart(Target::Numbers(vec![*node]));
        Part { offset_ms, duration_ms: ends_ms - offset_ms, fault: Fault::Partition { shape } }
    });
    parts.collect()
}

/// The same nodes, at most half of them, are apart from the others half of the time.
fn flapping(rng: &mut Rng, window: Window) -> Vec<Part> {
    if window.node_count < 2 {
        return Vec::new();
    }
    let nodes = some_numbers(rng, 1..=window.node_count / 2, window.node_count);
    let half_ms = rng.random_range(50..=400);
    let fault = Fault::Partition { shape: PartitionShape::Apart(Target::Numbers(nodes)) };
    beats(window, 2 * half_ms)
        .map(|(offset_ms, beat_ms)| part(offset_ms, beat_ms.div_ceil(2), fault.clone()))
        .collect()
}

/// Every node goes and comes back, one after the other, in random order; each is down for half of its turn, so that it has as long to
/// catch up before the next one goes.
fn rolling_restart(rng: &mut Rng, window: Window) -> Vec<Part> {
    let count = window.node_count as u64;
    let nodes = some_numbers(rng, window.node_count..=window.node_count, window.node_count);
    let turns = nodes.into_iter().zip(0..).map(|(node, turn): (usize, u64)| {
        let (from_ms, until_ms) =
            (window.duration_ms * turn / count, window.duration_ms * (turn + 1) / count);
        let target = Target::Numbers(vec![node]);
        part(from_ms, ((until_ms - from_ms) / 2).max(1), Fault::Kill { target })
    });
    turns.filter(|part| part.offset_ms + part.duration_ms <= window.duration_ms).collect()
}

/// The same nodes, at most a minority, die again and again. They are up for a random time each time, between the time that a process takes to
/// start and one in which it takes part in an election.
fn crash_loop(rng: &mut Rng, window: Window) -> Vec<Part> {
    let most = (window.node_count.saturating_sub(1) / 2).max(1);
    let nodes = some_numbers(rng, 1..=most, window.node_count);
    let beat_ms = rng.random_range(150..=900);
    let fault = Fault::Kill { target: Target::Numbers(nodes) };
    // Down as briefly as a supervisor that starts at once what has died.
    beats(window, beat_ms)
        .map(|(offset_ms, beat_ms)| part(offset_ms, (beat_ms / 10).max(1), fault.clone()))
        .collect()
}

/// The same clocks gain and lose the same by turns. A clock never runs back, so this is as far as it can be shaken.
fn strobe(rng: &mut Rng, window: Window) -> Vec<Part> {
    let nodes = some_numbers(rng, 1..=window.node_count, window.node_count);
    let percent = rng.random_range(50..=95);
    let half_ms = rng.random_range(50..=400);
    let change = |percent| Fault::Clock {
        target: Target::Numbers(nodes.clone()),
        change: ClockChange::DriftPercent(percent),
    };
    let turns = beats(window, 2 * half_ms).flat_map(|(offset_ms, beat_ms)| {
        let gains_ms = beat_ms / 2;
        [
            part(offset_ms, gains_ms, change(percent)),
            part(offset_ms + gains_ms, beat_ms - gains_ms, change(-percent)),
        ]
    });
    turns.filter(|part| part.duration_ms > 0).collect()
}

/// The whole beats of a window, each with its offset and length: of `beat_ms`, or longer where there would be too many; one
/// beat is as long as the window if that is shorter.
fn beats(window: Window, beat_ms: u64) -> impl Iterator<Item = (u64, u64)> {
    // Two faults a beat.
    let shortest_ms = window.duration_ms.div_ceil(MOST_IN_A_WINDOW / 2);
    let beat_ms = beat_ms.max(shortest_ms).clamp(1, window.duration_ms.max(1));
    (0..window.duration_ms / beat_ms).map(move |number| (number * beat_ms, beat_ms))
}

fn part(offset_ms: u64, duration_ms: u64, fault: Fault) -> Part {
    Part { offset_ms, duration_ms, fault }
}

/// The numbers of some random nodes, from 1, in random order.
fn some_numbers(rng: &mut Rng, how_many: std::ops::RangeInclusive<usize>, node_count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (1..=node_count).collect();
    numbers.shuffle(rng);
    numbers.truncate(rng.random_range(how_many));
    numbers
}

#[cfg(test)]
mod tests {
    use labrys_seed::Seed;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_part_lasts_and_lies_in_its_window_in_order(
            seed in any::<u64>(), node_count in 1..10_usize, duration_ms in 1..200_000_u64
        ) {
            for row in TABLE {
                let window = Window { node_count, duration_ms };
                let parts = (row.generate)(&mut Seed(seed).rng(), window);
                prop_assert!(parts.len() as u64 <= MOST_IN_A_WINDOW, "{}: {}", row.name, parts.len());
                prop_assert!(parts.is_sorted_by_key(|part| part.offset_ms), "{}", row.name);
                for part in parts {
                    prop_assert!(part.duration_ms > 0, "{}: {part:?}", row.name);
                    prop_assert!(part.offset_ms + part.duration_ms <= duration_ms, "{}: {part:?}", row.name);
                }
            }
        }

        #[test]
        fn a_swizzle_cuts_each_node_once_and_heals_in_another_order(
            seed in any::<u64>(), node_count in 2..10_usize
        ) {
            let parts = swizzle(&mut Seed(seed).rng(), Window { node_count, duration_ms: 10_000 });
            let node = |part: &Part| match &part.fault {
                Fault::Partition { shape: PartitionShape::Apart(Target::Numbers(numbers)) } => numbers.clone(),
                other => panic!("{other:?}"),
            };
            let cut: Vec<_> = parts.iter().map(node).collect();
            let mut healed: Vec<_> = parts.iter().map(|part| (part.offset_ms + part.duration_ms, node(part))).collect();
            healed.sort();
            let healed: Vec<_> = healed.into_iter().map(|(_, node)| node).collect();
            prop_assert!(cut != healed, "{cut:?}");
            let mut sorted = cut;
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), parts.len());
            // All are cut off at the same time, in between.
            prop_assert!(parts.iter().all(|part| part.offset_ms < 5_000 && part.offset_ms + part.duration_ms > 5_000));
        }

        #[test]
        fn a_flapping_partition_comes_and_goes_with_the_same_nodes(seed in any::<u64>(), node_count in 2..10_usize) {
            let parts = flapping(&mut Seed(seed).rng(), Window { node_count, duration_ms: 5_000 });
            prop_assert!(parts.len() >= 6, "{parts:?}");
            for pair in parts.windows(2) {
                prop_assert_eq!(&pair[0].fault, &pair[1].fault);
                let healthy_ms = pair[1].offset_ms - pair[0].offset_ms - pair[0].duration_ms;
                prop_assert!((50..=400).contains(&healthy_ms), "{pair:?}");
            }
        }

        #[test]
        fn a_strobe_gives_back_what_it_took(seed in any::<u64>(), node_count in 1..10_usize) {
            let parts = strobe(&mut Seed(seed).rng(), Window { node_count, duration_ms: 5_000 });
            prop_assert!(parts.len() >= 6, "{parts:?}");
            let gained: i64 = parts.iter().map(|part| match part.fault {
                Fault::Clock { change: ClockChange::DriftPercent(percent), .. } =>
                    i64::from(percent) * part.duration_ms as i64,
                _ => panic!("{part:?}"),
            }).sum();
            prop_assert_eq!(gained, 0);
            prop_assert!(parts.windows(2).all(|pair| pair[0].fault != pair[1].fault));
        }
    }

    #[test]
    fn a_single_node_is_never_cut_off_and_a_window_of_a_millisecond_is_survived() {
        for row in TABLE {
            let of = |node_count, duration_ms| {
                (row.generate)(&mut Seed(1).rng(), Window { node_count, duration_ms })
            };
            assert_eq!(of(1, 1_000).is_empty(), row.name.starts_with("partition"), "{}", row.name);
            assert!(of(5, 1).iter().all(|part| part.duration_ms == 1), "{}", row.name);
        }
    }
}
