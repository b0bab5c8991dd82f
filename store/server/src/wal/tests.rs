//! Tests of the log on a disk that loses, tears and fails.

use bytes::Bytes;
use labrys_raft::{Entry, HardState, LogIndex, NodeId, Payload, PersistBatch, Recovered, Sequence, Term};
use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, FailureKind, SimulatedDisk};

const NODE: NodeId = NodeId(1);
const SMALL: WalOptions = WalOptions { segment_bytes: 300 };

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
    disk.append(&segment_name(1), b"LbrW\x40\0\0\0 half a record").unwrap();
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
    disk.create(&segment_name(2)).unwrap();
    let mut opened = open(&disk);
    assert_eq!(opened.repairs[0].file, segment_name(2));
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
    let protected = reference.read(&segment_name(1)).unwrap().len();
    wal.write(&[batch(2, vec![entry(2, 1, 20)])]).unwrap();
    for offset in 0..protected {
        let disk = SimulatedDisk::new();
        let mut wal = open(&disk).wal;
        wal.write(&[batch(1, vec![entry(1, 1, 20)])]).unwrap();
        wal.write(&[batch(2, vec![entry(2, 1, 20)])]).unwrap();
        assert!(disk.flip_bit(&segment_name(1), offset, 3));
        let error = open_error(&disk);
        let text = error.to_string();
        assert!(matches!(error, WalError::Corrupt { .. }), "byte {offset}: {text}");
        assert!(text.contains("wal-0000000001.log at byte") && text.contains("backup"), "{text}");
    }
}

#[test]
fn damage_in_an_earlier_segment_is_refused_even_at_its_end() {
    let disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=20 {
        wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
    }
    let end = disk.read(&segment_name(1)).unwrap().len();
    assert!(disk.flip_bit(&segment_name(1), end - 1, 0));
    assert!(matches!(open_error(&disk), WalError::Corrupt { .. }));
}

#[test]
fn a_missing_segment_is_named() {
    let mut disk = SimulatedDisk::new();
    let mut wal = open(&disk).wal;
    for index in 1..=20 {
        wal.write(&[batch(index, vec![entry(index, 1, 40)])]).unwrap();
    }
    disk.remove(&segment_name(2)).unwrap();
    let error = open_error(&disk);
    assert!(matches!(&error, WalError::MissingSegment { file } if *file == segment_name(2)), "{error}");
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
            FailureKind::NoSpace => assert!(matches!(error, WalError::DiskFull { .. }), "{error}"),
            FailureKind::InputOutput => assert!(matches!(error, WalError::Sync { .. }), "{error}"),
        }
        let second = wal.write(&[batch(1, vec![entry(1, 1, 8)])]).unwrap_err();
        assert!(matches!(second, WalError::FailedBefore), "a second try proves nothing: {second}");
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
