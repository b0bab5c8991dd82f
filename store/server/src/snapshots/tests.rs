//! Tests of snapshot files on a disk that loses, tears and fails.

use labrys_raft::{Membership, NodeId, Payload};

use super::*;
use crate::disk::{DiskError, FailureKind, SimulatedDisk};
use crate::server::replica::{SnapshotEvent, SnapshotJob};
use crate::server::snapshot_thread::SnapshotThread;

fn machine(entries: u64) -> Machine {
    let mut machine = Machine::new(MachineOptions::default(), Defects::NONE);
    (1..=entries).for_each(|index| drop(machine.apply(&entry(index, 3))));
    machine
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { term: Term(term), index: LogIndex(index), payload: Payload::Noop }
}

fn point(index: u64) -> SnapshotPoint {
    let membership = Membership::of_voters([NodeId(1), NodeId(2)]);
    SnapshotPoint { index: LogIndex(index), term: Term(3), membership }
}

fn open(disk: &SimulatedDisk) -> SnapshotStore {
    open_with(disk, Defects::NONE)
}

fn open_with(disk: &SimulatedDisk, defects: Defects) -> SnapshotStore {
    SnapshotStore::open(Box::new(disk.clone()), MachineOptions::default(), defects).unwrap()
}

fn take(store: &mut SnapshotStore, index: u64) -> Result<Snapshot, SnapshotError> {
    let taken = store.take(point(index), &machine(index).snapshot(), &|| true)?;
    Ok(taken.expect("nobody gave it up"))
}

/// The index of the newest one that is found beside these entries, and how many were passed over.
fn newest(disk: &SimulatedDisk, entries: &[Entry]) -> Result<(u64, usize), SnapshotError> {
    let found = open(disk).find_newest(entries)?;
    let index = found.newest.map_or(0, |(snapshot, machine)| {
        assert_eq!(machine.applied(), snapshot.index());
        snapshot.index().0
    });
    Ok((index, found.passed_over.len()))
}

#[test]
fn what_was_taken_is_found_again_and_the_newest_counts() {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk);
    take(&mut store, 4).unwrap();
    let snapshot = take(&mut store, 9).unwrap();
    disk.lose_power(&mut |_| 0);
    let (found, machine_found) = open(&disk).find_newest(&[]).unwrap().newest.unwrap();
    assert_eq!(found, snapshot);
    assert_eq!(machine_found.digest(LogIndex(9)), machine(9).digest(LogIndex(9)));
    store.drop_below(LogIndex(9)).unwrap();
    assert_eq!(disk.list().unwrap(), [snapshot_name(LogIndex(9), Term(3))]);
}

#[test]
fn a_snapshot_is_there_as_a_whole_or_not_at_all_wherever_its_writer_dies() {
    let mut deaths = 0;
    for operations in 0..20 {
        for kept in [0, 1, 1000] {
            let disk = SimulatedDisk::new();
            let mut store = open(&disk);
            take(&mut store, 4).unwrap();
            disk.kill_process_after(operations);
            let outcome = take(&mut store, 9);
            let died = disk.start_process();
            deaths += usize::from(died);
            disk.lose_power(&mut |limit| limit.min(kept));
            let (index, passed_over) = newest(&disk, &[]).unwrap();
            assert_eq!(passed_over, 0, "{operations} {kept}");
            assert!(index == 9 || (index == 4 && outcome.is_err()), "{operations} {kept}: {index}");
        }
    }
    // Removing what is not there is no operation; creating, head, body, foot, sync, rename and directory are.
    assert_eq!(deaths, 3 * 7, "every operation was a place to die");
}

#[test]
fn with_snapshot_not_atomic_file_a_half_written_one_stands_in_the_place_of_a_whole_one() {
    let disk = SimulatedDisk::new();
    let mut store = open_with(&disk, Defects::NONE.with(Defect::SnapshotNotAtomicFile));
    take(&mut store, 4).unwrap();
    disk.kill_process_after(3);
    assert!(take(&mut store, 9).is_err());
    disk.start_process();
    assert!(matches!(newest(&disk, &[]), Err(SnapshotError::Irreplaceable { .. })));
}

#[test]
fn with_no_dir_fsync_a_snapshot_vanishes_in_a_loss_of_power() {
    let disk = SimulatedDisk::new();
    let mut store = open_with(&disk, Defects::NONE.with(Defect::NoDirFsync));
    take(&mut store, 4).unwrap();
    disk.lose_power(&mut |_| 0);
    assert_eq!(newest(&disk, &[]).unwrap(), (0, 0));
}

#[test]
fn any_flipped_bit_is_noticed_and_refused_unless_the_log_has_everything() {
    let disk = SimulatedDisk::new();
    let snapshot = take(&mut open(&disk), 4).unwrap();
    let name = snapshot_name(snapshot.index(), snapshot.term());
    let whole: Vec<Entry> = (1..=5).map(|index| entry(index, 3)).collect();
    for offset in 0..disk.read(&name).unwrap().len() {
        assert!(disk.flip_bit(&name, offset, 5));
        let error = newest(&disk, &whole[1..]).unwrap_err();
        let is_version = (4..8).contains(&offset);
        match error {
            SnapshotError::Unusable { .. } if is_version => {}
            SnapshotError::Irreplaceable { .. } => {
                assert!(error.to_string().contains(&name) && error.to_string().contains("backup"), "{error}");
                assert_eq!(newest(&disk, &whole).unwrap(), (0, 1), "the log has all that it had");
                assert!(newest(&disk, &whole[..3]).is_err(), "it ends too early");
            }
            other => panic!("byte {offset}: {other}"),
        }
        assert!(disk.flip_bit(&name, offset, 5));
    }
    assert_eq!(newest(&disk, &[]).unwrap(), (4, 0));
}

#[test]
fn an_older_one_and_the_log_take_the_place_of_a_damaged_one() {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk);
    take(&mut store, 4).unwrap();
    take(&mut store, 9).unwrap();
    assert!(disk.flip_bit(&snapshot_name(LogIndex(9), Term(3)), 20, 0));
    let from = |first: u64| (first..=10).map(|index| entry(index, 3)).collect::<Vec<_>>();
    assert_eq!(newest(&disk, &from(5)).unwrap(), (4, 1));
    assert!(matches!(newest(&disk, &from(6)), Err(SnapshotError::Irreplaceable { .. })));
}

/// The bytes of a snapshot, as they are sent.
fn bytes_of(store: &SnapshotStore, snapshot: &Snapshot) -> Bytes {
    store.read(snapshot.index(), 0, snapshot.length_bytes).unwrap().unwrap()
}

#[test]
fn what_is_received_in_parts_is_durable_and_usable_when_the_last_part_is_there() {
    let leader = SimulatedDisk::new();
    let mut store = open(&leader);
    let snapshot = take(&mut store, 9).unwrap();
    let bytes = bytes_of(&store, &snapshot);
    assert!(store.read(LogIndex(8), 0, 1).unwrap().is_none(), "there is none");

    let disk = SimulatedDisk::new();
    let mut follower = open(&disk);
    let half = bytes.len() / 2;
    let part = follower.receive(&snapshot, 0, &bytes[..half]).unwrap();
    assert!(matches!(part, Received::Part { end } if end == half as u64));
    assert!(matches!(follower.receive(&snapshot, 1, &bytes[1..]).unwrap(), Received::Damaged));
    let Received::Whole(restored) = follower.receive(&snapshot, half as u64, &bytes[half..]).unwrap() else {
        panic!("that was all of it");
    };
    assert_eq!(restored.digest(LogIndex(9)), machine(9).digest(LogIndex(9)));
    disk.lose_power(&mut |_| 0);
    assert_eq!(newest(&disk, &[]).unwrap(), (9, 0));
    assert_eq!(bytes_of(&open(&disk), &snapshot), bytes, "it can be sent on");
}

#[test]
fn what_is_received_damaged_or_not_to_its_end_leaves_nothing() {
    let mut store = open(&SimulatedDisk::new());
    let snapshot = take(&mut store, 9).unwrap();
    let mut bytes = bytes_of(&store, &snapshot).to_vec();
    let disk = SimulatedDisk::new();
    let mut follower = open(&disk);
    bytes[3] ^= 1;
    assert!(matches!(follower.receive(&snapshot, 0, &bytes).unwrap(), Received::Damaged));
    bytes[3] ^= 1;
    follower.receive(&snapshot, 0, &bytes[..5]).unwrap();
    drop(open(&disk));
    assert!(disk.list().unwrap().is_empty());
}

#[test]
fn a_full_disk_and_a_failed_sync_are_told_apart() {
    for (kind, sync) in [(FailureKind::NoSpace, false), (FailureKind::InputOutput, true)] {
        let disk = SimulatedDisk::new();
        let mut store = open(&disk);
        if sync {
            disk.fail_syncs(kind)
        } else {
            disk.fail_appends(kind)
        }
        match take(&mut store, 3).unwrap_err() {
            SnapshotError::Disk(DiskError::Full { .. }) => assert_eq!(kind, FailureKind::NoSpace),
            SnapshotError::Disk(DiskError::Failed { .. } | DiskError::Sync { .. }) => {
                assert_eq!(kind, FailureKind::InputOutput)
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn one_that_is_given_up_leaves_nothing_that_counts() {
    let disk = SimulatedDisk::new();
    let given_up = open(&disk).take(point(4), &machine(4).snapshot(), &|| false).unwrap();
    assert_eq!((given_up, newest(&disk, &[]).unwrap()), (None, (0, 0)));
}

#[test]
fn a_snapshot_that_was_damaged_since_it_was_written_is_not_sent() {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk);
    let snapshot = take(&mut store, 9).unwrap();
    let length = snapshot.length_bytes;
    assert_eq!(store.read(LogIndex(9), 0, length).unwrap().map(|bytes| bytes.len() as u64), Some(length));
    assert!(store.read(LogIndex(8), 0, length).unwrap().is_none(), "there is none");
    assert!(disk.flip_bit(&snapshot_name(LogIndex(9), Term(3)), 20, 3), "in the body");
    let error = store.read(LogIndex(9), 0, 1).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    let job = SnapshotJob::Read { to: NodeId(2), index: LogIndex(9), offset: 0, length };
    let event = SnapshotThread::work(&mut store, NodeId(1), job, &|| true).unwrap();
    assert!(matches!(event, Some(SnapshotEvent::OwnDamaged { .. })), "{event:?}");
}
