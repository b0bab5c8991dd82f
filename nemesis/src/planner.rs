//! Plans: which faults happen when, from a seed alone.
//!
//! In the manner of Jepsen's combined nemesis packages: each kind of fault is on its own, alternately at work for a *window* and
//! at rest, at random times around a common interval; kinds overlap freely. In a window most kinds have one fault, which lasts
//! as long, some a sequence of faults. Each kind draws from its own sub-stream of the seed, so that naming one more kind leaves
//! the faults of the others as they were.
//!
//! Every kind that a cluster of this size can have gets at least one fault, however short the run, as long as there are
//! [`MINIMUM_INTERVAL_MS`] between the quiet periods ([`kinds_without_faults`] says which got none, and why): a kind that was
//! asked for and never comes tests nothing.
//!
//! Nothing happens in the quiet periods: at the start, at the end, and in a *lull* after every *storm*. In a lull the system
//! must recover by itself, which is where a cluster that got stuck shows.
//!
//! Pure: no clock, no randomness but the seed. O(f log f) for f faults.
//!
//! Invariants (property-tested): faults are in order of `at_ms`, their ids count from 0 in that order; two windows of one
//! kind never overlap; none touches a quiet period; a kind without faults is one that [`kinds_without_faults`] names.

use std::collections::BTreeMap;
use std::fmt;

use labrys_seed::{Rng, Seed};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::fault::{Schedule, Scheduled};
use crate::kinds::FaultKind;
use crate::sequences::{Part, Window};

/// A shorter interval than this is raised to it: no injector is faster.
pub const MINIMUM_INTERVAL_MS: u64 = 20;

/// No kind begins more faults, or passes over more storms too short for one, than this in one plan.
const MAXIMUM_STEPS_PER_KIND: usize = 100_000;

/// What a plan is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanConfig {
    /// The kinds of faults. A kind that is named twice counts once.
    pub kinds: Vec<FaultKind>,
    /// About how long a fault lasts, and about how long its kind rests before the next: each time uniformly from half of
    /// it to one and a half.
    pub interval_ms: u64,
    /// The intervals of kinds that have one of their own, by their names.
    #[serde(default)]
    pub intervals_ms: BTreeMap<String, u64>,
    /// When the run ends.
    pub time_limit_ms: u64,
    /// No fault begins before this.
    pub quiet_start_ms: u64,
    /// Every fault has ended this long before the time limit.
    pub quiet_end_ms: u64,
    /// How long faults go on before a lull; 0 for no lulls.
    pub storm_ms: u64,
    /// How long a lull lasts.
    pub lull_ms: u64,
    /// How many nodes the cluster has.
    pub node_count: usize,
}

impl PlanConfig {
    /// A plan with customary quiet periods: at the start half of an interval, at most a tenth of the run; at the end one
    /// interval, at most a fifth of the run; and after each storm of six intervals a lull of one.
    #[must_use]
    pub fn new(kinds: Vec<FaultKind>, interval_ms: u64, time_limit_ms: u64, node_count: usize) -> PlanConfig {
        PlanConfig {
            kinds,
            interval_ms,
            intervals_ms: BTreeMap::new(),
            time_limit_ms,
            quiet_start_ms: (interval_ms / 2).min(time_limit_ms / 10),
            quiet_end_ms: interval_ms.min(time_limit_ms / 5),
            storm_ms: interval_ms.saturating_mul(6),
            lull_ms: interval_ms,
            node_count,
        }
    }

    fn interval_ms(&self, kind: FaultKind) -> u64 {
        let own = self.intervals_ms.get(kind.name()).copied();
        own.unwrap_or(self.interval_ms).max(MINIMUM_INTERVAL_MS)
    }

    /// The storm that goes on at `time_ms`, or else the next one: from when until when (exclusive). `None` at the end.
    fn storm_at(&self, time_ms: u64) -> Option<(u64, u64)> {
        let end_ms = self.time_limit_ms.saturating_sub(self.quiet_end_ms);
        let mut from_ms = self.quiet_start_ms;
        let mut until_ms = end_ms;
        if self.storm_ms > 0 {
            let period_ms = self.storm_ms.saturating_add(self.lull_ms);
            let passed = time_ms.saturating_sub(from_ms) / period_ms;
            from_ms = from_ms.saturating_add(passed.saturating_mul(period_ms));
            if time_ms >= from_ms.saturating_add(self.storm_ms) {
                from_ms = from_ms.saturating_add(period_ms);
            }
            until_ms = from_ms.saturating_add(self.storm_ms).min(end_ms);
        }
        (from_ms < until_ms).then_some((from_ms, until_ms))
    }
}

/// The plan of `seed`. Empty if there are no kinds, no nodes, or no time between the quiet periods.
#[must_use]
pub fn plan(seed: Seed, config: &PlanConfig) -> Schedule {
    let seed = seed.fork("plan");
    let mut faults: Vec<(usize, Scheduled)> = Vec::new();
    for (position, kind) in config.kinds.iter().enumerate() {
        if !config.kinds[..position].contains(kind) {
            let of_kind = plan_kind(*kind, &mut seed.fork(kind.name()).rng(), config);
            faults.extend(of_kind.into_iter().map(|fault| (position, fault)));
        }
    }
    faults.sort_by_key(|(position, fault)| (fault.at_ms, *position));
    let numbered = faults.into_iter().zip(0..).map(|((_, fault), id)| Scheduled { id, ..fault });
    Schedule { faults: numbered.collect() }
}

/// Why a kind that was asked for is not in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFaults {
    /// A cluster of this size has no such fault: a single node cannot be partitioned.
    ClusterTooSmall,
    /// There is no time for one between the quiet periods.
    RunTooShort,
}

impl fmt::Display for NoFaults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            NoFaults::ClusterTooSmall => "the cluster is too small for one",
            NoFaults::RunTooShort => "the time limit is too short for one",
        })
    }
}

/// The kinds that were asked for and of which the plan of `seed` has no fault, each with the reason.
#[must_use]
pub fn kinds_without_faults(seed: Seed, config: &PlanConfig) -> Vec<(FaultKind, NoFaults)> {
    let has_none = |kind: &FaultKind| {
        let alone = PlanConfig { kinds: vec![*kind], ..config.clone() };
        plan(seed, &alone).faults.is_empty()
    };
    let window = |kind| Window { node_count: config.node_count, duration_ms: config.interval_ms(kind) };
    let reason = |kind: FaultKind| match kind.generate(&mut seed.rng(), window(kind)).is_empty() {
        true => NoFaults::ClusterTooSmall,
        false => NoFaults::RunTooShort,
    };
    let asked_for = config.kinds.iter().copied().filter(|kind| kind.name() != "none");
    asked_for.filter(has_none).map(|kind| (kind, reason(kind))).collect()
}

/// The faults of one kind, in order, not yet numbered.
fn plan_kind(kind: FaultKind, rng: &mut Rng, config: &PlanConfig) -> Vec<Scheduled> {
    let interval_ms = config.interval_ms(kind);
    let shortest_ms = interval_ms / 4;
    let mut faults = Vec::new();
    // The first rest is anything from nothing to an interval, or all kinds would begin together.
    let mut free_from_ms = config.quiet_start_ms.saturating_add(rng.random_range(0..interval_ms));
    for _ in 0..MAXIMUM_STEPS_PER_KIND {
        let Some((storm_from_ms, storm_until_ms)) = config.storm_at(free_from_ms) else { break };
        // After a lull kinds start at different times again.
        let at_ms = match storm_from_ms > free_from_ms {
            true => storm_from_ms.saturating_add(rng.random_range(0..interval_ms)),
            false => free_from_ms,
        };
        let duration_ms = around(interval_ms, rng).min(storm_until_ms.saturating_sub(at_ms));
        if duration_ms < shortest_ms {
            free_from_ms = storm_until_ms.max(at_ms).saturating_add(1);
            continue;
        }
        let work = in_window(kind, rng, config, at_ms, duration_ms);
        if work.is_empty() {
            break;
        }
        faults.extend(work);
        free_from_ms = at_ms.saturating_add(duration_ms).saturating_add(around(interval_ms, rng));
    }
    if faults.is_empty() {
        faults.extend(only_window(kind, rng, config).unwrap_or_default());
    }
    faults
}

/// A window for a run in which the dice left no room for one: somewhere in the first storm, which is the longest.
fn only_window(kind: FaultKind, rng: &mut Rng, config: &PlanConfig) -> Option<Vec<Scheduled>> {
    let (from_ms, until_ms) = config.storm_at(0)?;
    let room_ms = (until_ms - from_ms).checked_sub(MINIMUM_INTERVAL_MS)?;
    // What it does is drawn before its times, as it always was, or seeds would have other faults; but a sequence has to know them.
    let mut before = rng.clone();
    let _ = kind.generate(rng, Window { node_count: config.node_count, duration_ms: room_ms.max(1) });
    let at_ms = from_ms + rng.random_range(0..=room_ms / 2);
    let duration_ms = around(config.interval_ms(kind), rng).min(until_ms - at_ms);
    Some(in_window(kind, &mut before, config, at_ms, duration_ms))
}

/// What a kind does in a window, at its times in the run; not yet numbered.
fn in_window(
    kind: FaultKind,
    rng: &mut Rng,
    config: &PlanConfig,
    at_ms: u64,
    duration_ms: u64,
) -> Vec<Scheduled> {
    let parts = kind.generate(rng, Window { node_count: config.node_count, duration_ms });
    let scheduled = parts.into_iter().map(|Part { offset_ms, duration_ms, fault }| Scheduled {
        id: 0,
        at_ms: at_ms.saturating_add(offset_ms),
        duration_ms,
        fault,
        trigger: None,
    });
    scheduled.collect()
}

/// Uniformly from half of `interval_ms` to one and a half.
fn around(interval_ms: u64, rng: &mut Rng) -> u64 {
    let half_ms = interval_ms / 2;
    rng.random_range(half_ms..=interval_ms.saturating_add(half_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kinds::parse_fault_kinds;

    fn config(kinds: &str, interval_ms: u64, time_limit_ms: u64) -> PlanConfig {
        PlanConfig::new(parse_fault_kinds(kinds).unwrap(), interval_ms, time_limit_ms, 5)
    }

    #[test]
    fn a_run_of_thirty_seconds_has_several_faults_of_each_kind_on_every_seed() {
        // 5 s are the default of `labrys test`; the harness has a test that its defaults have every kind.
        for (seed, interval_ms) in (0..200).flat_map(|seed| [(seed, 3_000), (seed, 5_000)]) {
            let schedule = plan(Seed(seed), &config("partition,pause,kill", interval_ms, 30_000));
            for family in ["partition", "pause", "kill"] {
                let count = schedule.faults.iter().filter(|f| f.fault.family().to_string() == family).count();
                assert!(count >= 2, "seed {seed}: {count} of {family}: {schedule:?}");
            }
        }
    }

    #[test]
    fn the_plan_of_a_seed_never_changes_between_versions() {
        // Recorded once: a change here gives every committed seed other faults.
        let schedule = plan(Seed(42), &config("partition,kill", 4_000, 20_000));
        let describe = |f: &Scheduled| format!("{} {}+{} {:?}", f.id, f.at_ms, f.duration_ms, f.fault);
        let text: Vec<String> = schedule.faults.iter().map(describe).collect();
        assert_eq!(text, RECORDED);
    }

    const RECORDED: [&str; 4] = [
        "0 3292+5016 Kill { target: Leader }",
        "1 5020+2336 Partition { shape: Leader }",
        "2 12257+3743 Kill { target: Minority }",
        "3 12866+3134 Partition { shape: OneWay }",
    ];

    #[test]
    fn a_sequence_comes_again_and_again_and_each_time_as_a_whole() {
        let config = config("partition-swizzle", 4_000, 60_000);
        let faults = plan(Seed(3), &config).faults;
        // All nodes of a swizzle are cut off in its middle; between two of them nobody is.
        let is_alone = |at_ms: u64| {
            faults
                .iter()
                .filter(|fault| (fault.at_ms..fault.at_ms + fault.duration_ms).contains(&at_ms))
                .count()
        };
        let counts: Vec<usize> = (0..60_000).step_by(10).map(is_alone).collect();
        let swizzles = counts.windows(2).filter(|pair| pair[0] == 0 && pair[1] > 0).count();
        assert!(swizzles >= 4, "{swizzles}: {faults:?}");
        assert!(counts.iter().max() >= Some(&2), "{faults:?}");
    }

    #[test]
    fn without_kinds_nodes_or_time_the_plan_is_empty() {
        assert_eq!(plan(Seed(1), &config("none", 1_000, 60_000)), Schedule::default());
        let no_nodes = PlanConfig { node_count: 0, ..config("partition,kill", 1_000, 60_000) };
        assert_eq!(plan(Seed(1), &no_nodes), Schedule::default());
        let one_node = PlanConfig { node_count: 1, ..config("partition", 1_000, 60_000) };
        assert_eq!(plan(Seed(1), &one_node), Schedule::default());
        assert_eq!(plan(Seed(1), &config("partition,kill", 1_000, 0)), Schedule::default());
        let all_quiet = PlanConfig { quiet_end_ms: 60_000, ..config("partition,kill", 1_000, 60_000) };
        assert_eq!(plan(Seed(1), &all_quiet), Schedule::default());
    }

    #[test]
    fn every_kind_that_there_can_be_has_a_fault_in_however_short_a_run() {
        for (seed, time_limit_ms) in (0..200).flat_map(|seed| [(seed, 40), (seed, 1_000), (seed, 5_000)]) {
            let config = config("partition,pause,kill", 5_000, time_limit_ms);
            let faults = plan(Seed(seed), &config).faults;
            for family in ["partition", "pause", "kill"] {
                let found = faults.iter().find(|fault| fault.fault.family().to_string() == family);
                let fault = found.unwrap_or_else(|| panic!("seed {seed}: no {family} in {faults:?}"));
                assert!(fault.at_ms + fault.duration_ms <= time_limit_ms, "seed {seed}: {fault:?}");
            }
            assert_eq!(kinds_without_faults(Seed(seed), &config), []);
        }
    }

    #[test]
    fn a_kind_without_faults_is_named_with_the_reason() {
        let named = |config: &PlanConfig| -> Vec<(&str, NoFaults)> {
            let found = kinds_without_faults(Seed(1), config);
            found.into_iter().map(|(kind, why)| (kind.name(), why)).collect()
        };
        let one_node = PlanConfig { node_count: 1, ..config("partition,kill", 1_000, 60_000) };
        assert_eq!(named(&one_node), [("partition", NoFaults::ClusterTooSmall)]);
        let short = config("none,kill", 1_000, 10);
        assert_eq!(named(&short), [("kill", NoFaults::RunTooShort)]);
    }

    #[test]
    fn another_kind_leaves_the_faults_of_the_others_as_they_were() {
        let alone = plan(Seed(9), &config("kill", 2_000, 60_000));
        let together = plan(Seed(9), &config("partition,kill,pause-leader", 2_000, 60_000));
        let kills = together.faults.into_iter().filter(|fault| fault.fault.family().to_string() == "kill");
        assert!(alone.faults.len() > 5);
        let strip = |fault: Scheduled| Scheduled { id: 0, ..fault };
        assert_eq!(
            alone.faults.into_iter().map(strip).collect::<Vec<_>>(),
            kills.map(strip).collect::<Vec<_>>()
        );
    }

    #[test]
    fn lulls_of_no_length_and_absurd_numbers_are_survived() {
        let no_lulls = PlanConfig { lull_ms: 0, ..config("kill", 1_000, 60_000) };
        assert!(plan(Seed(1), &no_lulls).faults.len() > 10);
        let huge = PlanConfig { interval_ms: u64::MAX, ..config("kill", 1, u64::MAX) };
        assert!(plan(Seed(1), &huge).faults.len() <= 1);
        let dense = plan(Seed(1), &config("kill", 0, u64::MAX));
        assert!(
            dense.faults.len() > MAXIMUM_STEPS_PER_KIND / 2 && dense.faults.len() <= MAXIMUM_STEPS_PER_KIND
        );
    }

    prop_compose! {
        fn any_config()(
            kinds in proptest::sample::subsequence(FaultKind::all().collect::<Vec<_>>(), 0..6),
            interval_ms in 0..20_000_u64,
            time_limit_ms in 0..120_000_u64,
            quiet_start_ms in 0..10_000_u64,
            quiet_end_ms in 0..10_000_u64,
            storm_ms in 0..40_000_u64,
            lull_ms in 0..10_000_u64,
            node_count in 0..8_usize,
        ) -> PlanConfig {
            let intervals_ms = BTreeMap::from([("kill".to_owned(), interval_ms / 3)]);
            PlanConfig {
                kinds, interval_ms, intervals_ms, time_limit_ms, quiet_start_ms, quiet_end_ms, storm_ms, lull_ms, node_count
            }
        }
    }

    /// Whether the millisecond `time_ms` is in a storm, by definition rather than by the planner's arithmetic.
    fn is_stormy(config: &PlanConfig, time_ms: u64) -> bool {
        let in_run = time_ms >= config.quiet_start_ms && time_ms + config.quiet_end_ms < config.time_limit_ms;
        let in_storm = config.storm_ms == 0
            || time_ms.wrapping_sub(config.quiet_start_ms) % (config.storm_ms + config.lull_ms)
                < config.storm_ms;
        in_run && in_storm
    }

    proptest! {
        #[test]
        fn faults_are_in_order_apart_within_a_kind_and_never_in_a_quiet_period(
            seed in any::<u64>(), config in any_config()
        ) {
            let schedule = plan(Seed(seed), &config);
            prop_assert_eq!(&schedule, &plan(Seed(seed), &config));
            for (position, fault) in schedule.faults.iter().enumerate() {
                prop_assert_eq!(fault.id, position as u64);
                prop_assert!(position == 0 || schedule.faults[position - 1].at_ms <= fault.at_ms);
                prop_assert!(fault.duration_ms > 0);
                prop_assert!(is_stormy(&config, fault.at_ms), "{fault:?}");
                prop_assert!(is_stormy(&config, fault.at_ms + fault.duration_ms - 1), "{fault:?}");
                prop_assert!(fault.duration_ms <= config.storm_ms || config.storm_ms == 0);
            }
            let missing = kinds_without_faults(Seed(seed), &config);
            for kind in &config.kinds {
                let alone = plan(Seed(seed), &PlanConfig { kinds: vec![*kind], ..config.clone() });
                let is_named = missing.iter().any(|(named, _)| named == kind);
                prop_assert_eq!(alone.faults.is_empty(), is_named || kind.name() == "none");
                // A kind of one fault at a time, not a sequence.
                let window = Window { node_count: 5, duration_ms: 1_000 };
                if kind.generate(&mut Seed(seed).rng(), window).len() == 1 {
                    for pair in alone.faults.windows(2) {
                        prop_assert!(pair[0].at_ms + pair[0].duration_ms < pair[1].at_ms);
                    }
                }
            }
        }
    }
}
