//! Tests of the log on a disk that loses, tears and fails.

use bytes::Bytes;
use labrys_raft::{Entry, HardState, LogIndex, NodeId, Payload, PersistBatch, Recovered, Sequence, Term};
use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, FailureKind, SimulatedDisk};

const NODE: NodeId = NodeId(1);
const SMALL: WalOptions = WalOptions { segment_bytes: 300, defects: Defects::NONE };

fn entry(index: u64, term: u64, size_bytes: usize) -> Entry {
    let payload = match size_bytes {
        0 => Payload::Noop,
        size => Payload::Command(Bytes::from(vec![u8::try_from(index % 251).unwrap(); size])),
    };
    Entry { term: Term(term), index: LogIndex(index), payload }
}

fn batch(sequence: u64, entries: Vec<Entry>) -> PersistBatch {
    let hard_state = Some(HardState { term: Term(sequence), voted_for: Some(NodeId(sequence % 3 + 1)) });
    let sequence = Sequence(sequence);
    PersistBatch { sequence, reset_after: None, truncate_from: None, entries, hard_state }
}

fn open(disk: &SimulatedDisk) -> Opened {
    Wal::open(Box::new(disk.clone()), NODE, SMALL).unwrap()
}

fn open_error(disk: &SimulatedDisk) -> WalError {
    Wal::open(Box::new(disk.clone()), NODE, SMALL).err().unwrap()
}

fn first_segment() -> String {
    segment_name(1, LogIndex(1))
}

fn open_with(disk: &SimulatedDisk, defect: Defect) -> Result<Opened, WalError> {
    let options = WalOptions { defects: Defects::NONE.with(defect), ..SMALL };
    Wal::open(Box::new(disk.clone()), NODE, options)
}

fn apply(state: &mut Recovered, batch: &PersistBatch) {
    if let Some(from) = batch.truncate_from {
        state.entries.retain(|entry| entry.index < from);
    }
    state.entries.extend(batch.entries.iter().cloned());
    state.hard_state = batch.hard_state.unwrap_or(state.hard_state);
}

#[test]
fn what_was_written_is_found_again_over_many_segments() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=20 {
        wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
    }
    assert!(disk.list().unwrap().len() > 3, "several segments");
    let opened = open(&disk);
    assert_eq!(opened.recovered.entries.len(), 20);
    assert_eq!(opened.recovered.entries[19], entry(20, 1, 40));
    assert_eq!(opened.recovered.hard_state.term, Term(20));
    assert!(opened.repairs.is_empty());
}

#[test]
fn a_group_of_batches_costs_one_sync() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    let before = disk.sync_count();
    let group: Vec<PersistBatch> = (1..=5).map(|index| batch(index, vec![entry(index, 1, 8)])).collect();
    wal.write(&group).unwrap();
    assert_eq!(disk.sync_count() - before, 1);
    assert_eq!(open(&disk).recovered.entries.len(), 5);
}

#[test]
fn a_truncation_is_found_again() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    wal.write(&[batch(1, (1..=5).map(|index| entry(index, 1, 8)).collect())]).unwrap();
    let overwrite = PersistBatch { truncate_from: Some(LogIndex(3)), ..batch(2, vec![entry(3, 2, 8)]) };
    wal.write(&[overwrite]).unwrap();
    let entries = open(&disk).recovered.entries;
    assert_eq!(entries, [entry(1, 1, 8), entry(2, 1, 8), entry(3, 2, 8)]);
}

#[test]
fn a_torn_tail_is_cut_off_with_a_warning_and_the_log_goes_on() {
    let mut disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    wal.write(&[batch(1, vec![entry(1, 1, 8)])]).unwrap();
    disk.append(&first_segment(), b"LbrW\x40\0\0\0 half a record").unwrap();
    let mut opened = open(&disk);
    assert_eq!(opened.repairs.len(), 1);
    assert_eq!(opened.repairs[0].dropped_bytes, 22);
    opened.wal.write(&[batch(2, vec![entry(2, 1, 8)])]).unwrap();
    assert_eq!(open(&disk).recovered.entries.len(), 2);
}

#[test]
fn a_segment_whose_first_frame_never_arrived_is_begun_again() {
    let mut disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    wal.write(&[batch(1, vec![entry(1, 1, 8)])]).unwrap();
    let second = segment_name(2, LogIndex(2));
    disk.create(&second).unwrap();
    let mut opened = open(&disk);
    assert_eq!(opened.repairs[0].file, second);
    for index in 2..=20 {
        opened.wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
    }
    assert_eq!(open(&disk).recovered.entries.len(), 20);
}

#[test]
fn any_flipped_bit_before_the_last_frame_is_refused_with_file_and_offset() {
    let reference = SimulatedDisk::new();
    let mut wal = open(&reference).wal;
    wal.write(&[batch(1, vec![entry(1, 1, 20)])]).unwrap();
    let protected = reference.read(&first_segment()).unwrap().len();
    wal.write(&[batch(2, vec![entry(2, 1, 20)])]).unwrap();
    for offset in 0..protected {
        let disk = SimulatedDisk::new();
        let mut wal = open(&disk).wal;
        wal.write(&[batch(1, vec![entry(1, 1, 20)])]).unwrap();
        wal.write(&[batch(2, vec![entry(2, 1, 20)])]).unwrap();
        assert!(disk.flip_bit(&first_segment(), offset, 3));
        let error = open_error(&disk);
        let text = error.to_string();
        assert!(matches!(error, WalError::Corrupt { .. }), "byte {offset}: {text}");
        assert!(
            text.contains("wal-0000000001-00000000000000000001.log at byte") && text.contains("backup"),
            "{text}"
        );
    }
}

#[test]
fn damage_in_an_earlier_segment_is_refused_even_at_its_end() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=20 {
        wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
    }
    let end = disk.read(&first_segment()).unwrap().len();
    assert!(disk.flip_bit(&first_segment(), end - 1, 0));
    assert!(matches!(open_error(&disk), WalError::Corrupt { .. }));
}

#[test]
fn a_missing_segment_is_named() {
    let mut disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=20 {
        wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
    }
    let second = disk.list().unwrap().swap_remove(1);
    disk.remove(&second).unwrap();
    let error = open_error(&disk).to_string();
    assert!(error.contains(&format!("segment 2 is missing, which follows {}", first_segment())), "{error}");
}

#[test]
fn a_log_of_the_first_version_is_refused_and_not_overlooked() {
    let mut disk = SimulatedDisk::new();
    disk.create("wal-0000000001.log").unwrap();
    let error = open_error(&disk);
    assert!(matches!(error, WalError::UnsupportedVersion { found: 1, supported: 2, .. }), "{error}");
}

#[test]
fn the_log_of_another_node_is_refused() {
    let disk = SimulatedDisk::new();
    drop(open(&disk));
    let error = Wal::open(Box::new(disk.clone()), NodeId(2), SMALL).err().unwrap();
    assert!(matches!(error, WalError::OtherNode { found: NodeId(1), expected: NodeId(2), .. }));
}

#[test]
fn a_full_disk_and_a_failed_sync_are_told_apart_and_end_the_log() {
    for (kind, sync) in [(FailureKind::NoSpace, false), (FailureKind::InputOutput, true)] {
        let disk = SimulatedDisk::new();
        let mut wal = open(&disk).wal;
        if sync {
            disk.fail_syncs(kind);
        } else {
            disk.fail_appends(kind);
        }
        let error = wal.write(&[batch(1, vec![entry(1, 1, 8)])]).unwrap_err();
        match kind {
            FailureKind::NoSpace => {
                assert!(matches!(error, WalError::Disk(DiskError::Full { .. })), "{error}")
            }
            FailureKind::InputOutput => {
                assert!(matches!(error, WalError::Disk(DiskError::Sync { .. })), "{error}")
            }
        }
        let second = wal.write(&[batch(1, vec![entry(1, 1, 8)])]).unwrap_err();
        assert!(matches!(second, WalError::FailedBefore), "a second try proves nothing: {second}");
    }
}

#[test]
fn compaction_drops_whole_segments_and_what_is_left_is_found_again_with_the_hard_state() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=20 {
        wal.write(&[PersistBatch { hard_state: None, ..batch(index, vec![entry(index, 1, 40)]) }]).unwrap();
        if index == 1 {
            wal.write(&[batch(7, vec![])]).unwrap();
        }
    }
    let before = disk.list().unwrap().len();
    wal.compact(LogIndex(12)).unwrap();
    let names = disk.list().unwrap();
    assert!(names.len() < before && names.len() > 1, "{names:?}");
    let mut opened = open(&disk);
    let first = opened.recovered.entries[0].index;
    assert!(first.0 > 1 && first.0 <= 13, "only what is at or below 12 was dropped: {first}");
    assert!(names[0].ends_with(&format!("-{:020}.log", first.0)), "{names:?} begins with {first}");
    assert_eq!(opened.recovered.entries.last(), Some(&entry(20, 1, 40)));
    assert_eq!(opened.recovered.hard_state, batch(7, vec![]).hard_state.unwrap());
    opened.wal.compact(LogIndex(20)).unwrap();
    opened.wal.write(&[batch(8, vec![entry(21, 1, 40)])]).unwrap();
    assert_eq!(open(&disk).recovered.entries.last(), Some(&entry(21, 1, 40)));
}

#[test]
fn a_process_that_dies_while_it_compacts_leaves_a_log_without_a_hole() {
    for operations in 0..12 {
        for kept in [0, 1, 100] {
            let disk = SimulatedDisk::new();
            let mut wal = open(&disk).wal;
            for index in 1..=20 {
                wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
            }
            disk.kill_process_after(operations);
            let died = wal.compact(LogIndex(18)).is_err();
            disk.start_process();
            disk.lose_power(&mut |limit| limit.min(kept));
            let entries = open(&disk).recovered.entries;
            assert!(entries[0].index <= LogIndex(19), "{operations}: {}", entries[0].index);
            assert_eq!(entries.last(), Some(&entry(20, 1, 40)));
            assert!(died || entries[0].index > LogIndex(10), "the last of them is done");
        }
    }
}

#[test]
fn a_log_that_begins_anew_behind_a_snapshot_is_found_so() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    wal.write(&[batch(1, vec![entry(1, 1, 8), entry(2, 1, 8)])]).unwrap();
    let anew = PersistBatch { reset_after: Some(LogIndex(9)), ..batch(2, vec![entry(10, 2, 8)]) };
    wal.write(&[anew]).unwrap();
    assert_eq!(open(&disk).recovered.entries, [entry(10, 2, 8)]);
    wal.write(&[PersistBatch { reset_after: Some(LogIndex(30)), ..batch(3, vec![]) }]).unwrap();
    assert!(open(&disk).recovered.entries.is_empty());
    wal.write(&[batch(4, vec![entry(31, 3, 8)])]).unwrap();
    assert_eq!(open(&disk).recovered.entries, [entry(31, 3, 8)]);
}

/// Writes three groups with `defect`, the last of which fills the first segment, and loses power.
fn three_groups(defect: Defect, kept: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut wal = open_with(&disk, defect).unwrap().wal;
    for index in 1..=3 {
        wal.write(&[batch(index, vec![entry(index, 1, 300)])]).unwrap();
    }
    disk.lose_power(&mut |limit| limit.min(kept));
    disk
}

#[test]
fn with_no_dir_fsync_a_segment_vanishes_in_a_loss_of_power() {
    let disk = three_groups(Defect::NoDirFsync, 0);
    assert!(open(&disk).recovered.entries.len() < 3, "entries that were durable are gone");
    let disk = three_groups(Defect::SnapshotNotAtomicFile, 0);
    assert_eq!(open(&disk).recovered.entries.len(), 3, "a defect that is none of the log's changes nothing");
}

#[test]
fn with_hard_state_and_entries_not_atomic_the_entries_outlive_their_term() {
    let disk = three_groups(Defect::HardStateAndEntriesNotAtomic, 0);
    let recovered = open(&disk).recovered;
    assert_eq!((recovered.entries.len(), recovered.hard_state.term), (3, Term(2)), "the third vote is gone");
}

#[test]
fn with_mid_log_corruption_truncates_what_was_acknowledged_is_cut_off() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=20 {
        wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
    }
    assert!(disk.flip_bit(&first_segment(), 100, 3));
    assert!(matches!(open_error(&disk), WalError::Corrupt { .. }));
    let recovered = open_with(&disk, Defect::MidLogCorruptionTruncates).unwrap().recovered;
    assert!(recovered.entries.len() < 3, "{} entries", recovered.entries.len());
}

#[test]
fn with_torn_tail_ignored_a_torn_write_becomes_an_entry_that_nobody_wrote() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    wal.write(&[batch(1, vec![entry(1, 1, 200)])]).unwrap();
    disk.fail_syncs(FailureKind::InputOutput);
    wal.write(&[batch(2, vec![entry(2, 1, 200)])]).unwrap_err();
    disk.start_process();
    // Of the write that the crash interrupted, a part was never written.
    let end = disk.read(&first_segment()).unwrap().len();
    assert!((end - 60..end - 50).all(|offset| disk.flip_bit(&first_segment(), offset, 1)));
    let with_defect = open_with(&disk, Defect::TornTailIgnored).unwrap().recovered.entries;
    assert!(with_defect.len() == 2 && with_defect[1] != entry(2, 1, 200));
    assert_eq!(open(&disk).recovered.entries, [entry(1, 1, 200)]);
}

#[test]
fn with_disk_full_swallowed_a_write_that_failed_is_acknowledged_and_gone() {
    let disk = SimulatedDisk::new();
    let mut wal = open_with(&disk, Defect::DiskFullSwallowed).unwrap().wal;
    wal.write(&[batch(1, vec![entry(1, 1, 8)])]).unwrap();
    disk.fail_appends(FailureKind::NoSpace);
    wal.write(&[batch(2, vec![entry(2, 1, 8)])]).expect("it says that all is well");
    disk.start_process();
    assert_eq!(open(&disk).recovered.entries, [entry(1, 1, 8)]);
}

#[test]
fn with_fsync_failure_retry_a_second_sync_vouches_for_what_the_first_has_dropped() {
    for (defect, acknowledged) in [(Some(Defect::FsyncFailureRetry), true), (None, false)] {
        let disk = SimulatedDisk::new();
        let options = WalOptions { defects: defect.into_iter().collect(), ..SMALL };
        let mut wal = Wal::open(Box::new(disk.clone()), NODE, options).unwrap().wal;
        wal.write(&[batch(1, vec![entry(1, 1, 8)])]).unwrap();
        disk.fail_next_sync(FailureKind::InputOutput);
        assert_eq!(wal.write(&[batch(2, vec![entry(2, 1, 8)])]).is_ok(), acknowledged);
        disk.lose_power(&mut |_| 0);
        assert_eq!(open(&disk).recovered.entries.len(), 1);
    }
}

/// A step of the property test: how many batches form the group, entries per batch, bytes per entry, how far back the
/// first batch truncates.
type Step = (usize, usize, usize, u64);

fn group(step: Step, state: &Recovered, sequence: &mut u64) -> Vec<PersistBatch> {
    let (batches, entries, size_bytes, back) = step;
    let mut last = state.entries.len() as u64;
    let truncate_from = (back > 0 && last > 0).then(|| LogIndex(last.saturating_sub(back) + 1));
    if let Some(from) = truncate_from {
        last = from.0 - 1;
    }
    let mut group = Vec::new();
    for position in 0..batches {
        *sequence += 1;
        let new = (1..=entries as u64).map(|offset| entry(last + offset, *sequence, size_bytes)).collect();
        last += entries as u64;
        let truncate_from = truncate_from.filter(|_| position == 0);
        group.push(PersistBatch { truncate_from, ..batch(*sequence, new) });
    }
    group
}

/// Writes groups until the process dies of [`SimulatedDisk::kill_process_after`].
fn live(disk: &SimulatedDisk, groups: u64) {
    let Ok(Opened { mut wal, recovered, .. }) = Wal::open(Box::new(disk.clone()), NODE, SMALL) else {
        return;
    };
    let last = recovered.entries.len() as u64;
    for index in last + 1..=last + groups {
        if wal.write(&[batch(index, vec![entry(index, 1, 60)])]).is_err() {
            return;
        }
    }
}

/// A node that has opened its log acknowledges what it found there: entries to its leader, the vote to a candidate.
#[test]
fn what_is_found_after_a_process_died_survives_a_loss_of_power_wherever_it_died() {
    const GROUPS: u64 = 6;
    let mut deaths = 0;
    for first in 0..40 {
        for second in [0, 1, 2, 3, 100] {
            let disk = SimulatedDisk::new();
            disk.kill_process_after(first);
            live(&disk, GROUPS);
            deaths += usize::from(disk.start_process());
            // The second process dies soon, perhaps within its start; the third lives.
            disk.kill_process_after(second);
            live(&disk, 0);
            disk.start_process();
            let found = open(&disk).recovered;
            disk.lose_power(&mut |_| 0);
            let left = open(&disk).recovered;
            assert_eq!(
                (found.entries, found.hard_state),
                (left.entries, left.hard_state),
                "the processes died after {first} and {second} operations"
            );
        }
    }
    // The start syncs the directory; each of the two segments costs four operations, each of the six groups two.
    assert_eq!(deaths, 5 * (1 + 2 * 4 + 6 * 2), "every operation was a place to die");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The states after each group are numbered. The process dies in the middle of group k, and then perhaps the power goes,
    /// with any subset and tear of its bytes kept: recovery gives exactly the state after group k-1 or after group k, and
    /// the log goes on from there.
    #[test]
    fn after_a_crash_everything_synced_is_found_and_nothing_half(
        steps in prop::collection::vec((1..4usize, 0..4usize, 0..120usize, 0..3u64), 1..12),
        crashes in prop::collection::vec(
            (0..12usize, any::<bool>(), prop::collection::vec(any::<u64>(), 1..40)),
            1..6,
        ),
    ) {
        let disk = SimulatedDisk::new();
        let mut state = Recovered::default();
        let mut sequence = 0;
        let mut opened = open(&disk);
        for (crash_after, loses_power, choices) in crashes {
            for step in steps.iter().take(crash_after) {
                let group = group(*step, &state, &mut sequence);
                opened.wal.write(&group).unwrap();
                group.iter().for_each(|batch| apply(&mut state, batch));
            }
            // One more group, whose sync does not return.
            let unfinished = group(steps[crash_after % steps.len()], &state, &mut sequence);
            disk.fail_syncs(FailureKind::InputOutput);
            prop_assert!(opened.wal.write(&unfinished).is_err());
            let mut with_unfinished = state.clone();
            unfinished.iter().for_each(|batch| apply(&mut with_unfinished, batch));

            let mut choice = choices.iter().cycle();
            disk.start_process();
            if loses_power {
                disk.lose_power(&mut |limit| choice.next().map_or(0, |number| number % (limit + 1)));
            }
            opened = open(&disk);
            let found = (&opened.recovered.entries, opened.recovered.hard_state);
            let before = (&state.entries, state.hard_state);
            let after = (&with_unfinished.entries, with_unfinished.hard_state);
            prop_assert!(found == before || found == after, "found {found:?}\nbefore {before:?}\nafter {after:?}");
            state = opened.recovered.clone();
        }
    }
}

#[test]
fn a_log_that_is_rotated_can_be_dropped_to_its_last_segment_one_by_one_and_opens_again() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=6 {
        wal.write(&[batch(index, vec![entry(index, 1, 120)])]).unwrap();
    }
    let before = wal.bytes();
    assert!(wal.closed.len() >= 2 && wal.bytes() > 6 * 120);
    wal.rotate().unwrap();
    let mut dropped = 0;
    while wal.compact_one(LogIndex(6)).unwrap() {
        dropped += 1;
        assert_eq!(disk.list().unwrap().len(), wal.closed.len() + 1, "one at a time");
    }
    assert!(dropped >= 3 && wal.closed.is_empty() && wal.bytes() < before, "{dropped}");
    let hard_state = wal.hard_state;
    wal.write(&[batch(7, vec![entry(7, 1, 10)])]).unwrap();
    assert_ne!(wal.hard_state, hard_state);
    let bytes = wal.bytes();
    drop(wal);
    let opened = open(&disk);
    assert_eq!((opened.wal.bytes(), opened.recovered.entries), (bytes, vec![entry(7, 1, 10)]));
}
