//! 10,000 random schedules must keep every property of `oracle`; each defect must break one in some schedule.

use std::collections::BTreeSet;

use labrys_raft::{Defect, Defects, ReadMode};

use crate::disk::Loss;
use crate::oracle::Property;
use crate::simulation::{self, Exercised, Setting};

/// How many schedules to run in all.
const SCHEDULES: u64 = 10_000;
/// They are run by so many tests, so that they need not wait for each other.
const PARTS: u64 = 4;

/// How many schedules to run in all: `LABRYS_RAFT_SCHEDULES`, or as many as there should be at least.
#[allow(clippy::disallowed_methods, reason = "a test may be told how long to search")]
fn schedules() -> u64 {
    std::env::var("LABRYS_RAFT_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(SCHEDULES)
}

/// Runs the schedules of one part: of each four consecutive seeds one.
fn keep_every_property(part: u64) {
    let mut total = Exercised::default();
    for seed in (part..schedules()).step_by(PARTS as usize) {
        let setting = Setting { compacts: seed / PARTS % 4 == 3, ..Setting::default() };
        match simulation::run(seed, setting) {
            Ok(exercised) => total.add(exercised),
            Err(_) => panic!("{}", simulation::explain(seed, setting)),
        }
    }
    println!("{total:?}");
    is_worth_something(&total);
}

/// Schedules in which nothing happens keep every property.
fn is_worth_something(total: &Exercised) {
    let schedules = total.schedules;
    assert!(schedules as u64 >= self::schedules() / PARTS, "too few schedules: {total:?}");
    assert!(total.acknowledged > 10 * schedules, "too little is committed: {total:?}");
    assert!(total.snapshots > schedules && total.restored > schedules / 8, "too few snapshots: {total:?}");
    assert!(total.terms > 2 * schedules, "too few elections: {total:?}");
    assert!(total.crashes > schedules && total.dropped > schedules, "too little trouble: {total:?}");
    let succeeded = &total.succeeded;
    assert!(succeeded.changes > schedules / 4, "too few changes of the membership: {total:?}");
    assert!(succeeded.joint_configurations > schedules / 16, "too few joint ones: {total:?}");
    assert!(succeeded.transfers > schedules / 16, "too few transfers: {total:?}");
    for mode in ReadMode::ALL {
        let count = succeeded.reads.get(mode).copied().unwrap_or_default();
        assert!(count > schedules / 4, "too few reads of mode {mode}: {total:?}");
    }
    assert!(succeeded.reads_under_lease > schedules / 8, "too few reads under a lease: {total:?}");
}

#[test]
fn each_of_10_000_random_schedules_keeps_every_property_and_heals_first_quarter() {
    keep_every_property(0);
}

#[test]
fn each_of_10_000_random_schedules_keeps_every_property_and_heals_second_quarter() {
    keep_every_property(1);
}

#[test]
fn each_of_10_000_random_schedules_keeps_every_property_and_heals_third_quarter() {
    keep_every_property(2);
}

#[test]
fn each_of_10_000_random_schedules_keeps_every_property_and_heals_last_quarter() {
    keep_every_property(3);
}

/// How many schedules a defect may take to be noticed.
const DEFECT_BUDGET: u64 = 20_000;

/// The first schedule in which `defect` breaks one of `expected`, and which.
fn first_violation(
    defect: Defect,
    ignores_disk: bool,
    compacts: bool,
    expected: &[Property],
) -> Option<(u64, Property)> {
    let setting =
        Setting { defects: Defects::NONE.with(defect), ignores_disk, compacts, ..Setting::default() };
    let violation_of =
        |seed| simulation::run(seed, setting).err().map(|violation| (seed, violation.property));
    (0..DEFECT_BUDGET).filter_map(violation_of).find(|(_, property)| expected.contains(property))
}

/// Asserts that `defect` violates one of `expected`, noticed by what the cluster does and not by a node's own assertions.
pub fn is_noticed(defect: Defect, ignores_disk: bool, expected: &[Property]) {
    is_noticed_with(defect, ignores_disk, false, expected);
}

fn is_noticed_with(defect: Defect, ignores_disk: bool, compacts: bool, expected: &[Property]) {
    let found = first_violation(defect, ignores_disk, compacts, expected);
    println!("{defect}: {found:?}");
    assert!(found.is_some(), "{defect}: none of {expected:?} within {DEFECT_BUDGET} schedules");
}

#[test]
fn a_term_and_a_vote_that_a_restart_forgets_are_noticed_as_two_leaders_or_two_logs() {
    is_noticed(Defect::VoteNotPersisted, true, &[Property::ElectionSafety, Property::LogMatching]);
}

#[test]
fn an_election_without_a_log_check_is_noticed_as_an_incomplete_leader() {
    is_noticed(Defect::ElectionNoLogCheck, false, &[Property::LeaderCompleteness]);
}

#[test]
fn a_commit_index_beyond_what_the_leader_vouched_for_is_noticed_as_diverging_state_machines() {
    is_noticed(Defect::CommitIndexNotMin, false, &[Property::StateMachineSafety]);
}

#[test]
fn a_leader_that_reads_without_confirmation_is_noticed_as_a_stale_read() {
    is_noticed(Defect::LocalLeaderRead, false, &[Property::ReadsAreCurrent]);
}

#[test]
fn a_follower_that_reads_its_own_state_is_noticed_as_a_stale_read() {
    is_noticed(Defect::FollowerRead, false, &[Property::ReadsAreCurrent]);
}

/// Three ways in which it shows that what a leader counted on is gone.
const LOST: [Property; 4] = [
    Property::LeaderCompleteness,
    Property::StateMachineSafety,
    Property::NothingAcknowledgedIsLost,
    Property::LogMatching,
];

#[test]
fn a_follower_that_acknowledges_before_its_disk_has_it_is_noticed_as_a_loss() {
    is_noticed(Defect::FollowerAcksBeforeFsync, false, &[Property::DurableBeforePromised]);
    is_noticed(Defect::FollowerAcksBeforeFsync, true, &LOST);
}

#[test]
fn a_leader_that_counts_itself_before_its_disk_has_it_is_noticed_as_a_loss() {
    is_noticed(Defect::LeaderAcksBeforeFsync, false, &[Property::CommittedByQuorum]);
    is_noticed(Defect::LeaderAcksBeforeFsync, true, &LOST);
}

#[test]
fn a_compaction_of_what_no_snapshot_has_is_noticed_as_it_happens_or_when_a_node_starts_or_never_catches_up() {
    is_noticed(Defect::CompactionDropsLiveEntries, false, &[Property::SnapshotsAreKept]);
    let consequences = [Property::StartsFromItsDisk, Property::Liveness];
    is_noticed(Defect::CompactionDropsLiveEntries, true, &consequences);
}

#[test]
fn a_log_that_conflicts_with_an_installed_snapshot_is_noticed() {
    is_noticed_with(
        Defect::SnapshotInstallKeepsLog,
        false,
        true,
        &[Property::StateMachineSafety, Property::LogMatching, Property::Liveness],
    );
}

#[test]
fn a_snapshot_that_counts_before_it_is_durable_is_noticed_as_a_broken_promise() {
    is_noticed(Defect::SnapshotInstallBoundaryBeforeData, false, &[Property::DurableBeforePromised]);
    is_noticed_with(
        Defect::SnapshotInstallBoundaryBeforeData,
        true,
        true,
        &[LOST[0], LOST[1], LOST[2], Property::StartsFromItsDisk],
    );
}

#[test]
fn a_snapshot_with_a_wrong_label_is_noticed_as_an_entry_applied_twice() {
    is_noticed(Defect::SnapshotIndexOffByOne, false, &[Property::AppliedOnceInOrder]);
}

/// The first words of the broken promises that schedules begin with in which the disk of node 1 lies in this way. What a
/// leader counts of its own disk is a promise to itself and no message; it may show first as an incomplete leader instead.
fn noticed_with_a_disk_that_loses(loss: Loss) -> BTreeSet<String> {
    let setting = Setting { first_disk_loses: Some(loss), ..Setting::default() };
    let noticed = (0..100).filter_map(|seed| {
        let violation = simulation::run(seed, setting).err()?;
        if violation.property != Property::DurableBeforePromised {
            return None;
        }
        let words = violation.detail.split_whitespace().skip(2).take(3);
        let words =
            words.filter(|word| word.trim_end_matches(',').parse::<u64>().is_err()).collect::<Vec<&str>>();
        Some(words.join(" "))
    });
    noticed.collect()
}

/// The node keeps its promises as far as it knows; the oracle compares them with what is really on disk.
#[test]
fn a_promise_that_is_not_on_disk_is_noticed_whether_it_is_a_term_a_vote_or_an_entry() {
    let expected = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(noticed_with_a_disk_that_loses(Loss::HardState), expected(&["speaks in term"]));
    assert_eq!(noticed_with_a_disk_that_loses(Loss::Vote), expected(&["campaigns in term", "votes for"]));
    assert_eq!(noticed_with_a_disk_that_loses(Loss::Entries), expected(&["acknowledges entry"]));
}

#[test]
fn a_schedule_is_a_function_of_its_seed_down_to_every_effect() {
    let setting = Setting { traces: true, ..Setting::default() };
    let mut lines = 0;
    for seed in 0..50 {
        let trace = || {
            let mut simulation = simulation::Simulation::new(seed, setting);
            let outcome = simulation.run().map_err(|violation| violation.to_string());
            (outcome, simulation.cluster.trace)
        };
        let (first, second) = (trace(), trace());
        lines += first.1.as_ref().map_or(0, Vec::len);
        assert_eq!(first, second, "seed {seed}");
    }
    assert!(lines > 10_000, "the schedules do too little to mean anything: {lines} lines");
}
