//! Snapshots: written, read, and refused.

use super::properties::events;
use super::*;

fn written(machine: &Machine) -> Vec<u8> {
    let mut bytes = Vec::new();
    machine.snapshot().write_to(&mut bytes).unwrap();
    bytes
}

fn restored(bytes: &[u8], applied: LogIndex) -> Result<Machine, RestoreError> {
    Machine::restore(&mut &bytes[..], applied, options(), Defects::NONE)
}

#[test]
fn a_restored_machine_answers_retries_and_goes_on_with_the_same_digests() {
    let mut original = Driver::new(8, Defects::NONE);
    original.run(1, 1, false, put("x", "0"));
    original.entry(Payload::Noop);
    let first = original.run(2, 1, false, cas("x", Some("0"), "1"));
    let frozen = original.machine.snapshot();
    let applied = original.machine.applied();
    original.run(3, 1, false, put("x", "later"));
    let mut bytes = Vec::new();
    frozen.write_to(&mut bytes).unwrap();

    let mut copy = Driver { machine: restored(&bytes, frozen.applied()).unwrap(), time_ms: 0, sequence: 0 };
    assert_eq!((copy.machine.applied(), copy.value("x")), (applied, Some(&b"1"[..])));
    assert_eq!(copy.run(3, 1, false, put("x", "later")), done_at(applied.0 + 1, 3, step(StepResult::Put)));
    for driver in [&mut original, &mut copy] {
        assert_eq!(driver.run(2, 1, false, cas("x", Some("0"), "1")), first, "a retry is recognised");
    }
    let last = original.machine.applied();
    assert_eq!(copy.machine.digest(last), original.machine.digest(last));
    assert!(copy.machine.digest(last).is_some());
    assert_eq!(written(&copy.machine), written(&original.machine), "equal states have equal snapshots");
}

#[test]
fn with_dedup_lost_in_snapshot_a_retry_is_applied_again() {
    let mut original = Driver::new(8, Defects::NONE);
    original.run(1, 1, false, Operation::Step(Step::Increment { key: bytes("n"), by: 1 }));
    let bytes = written(&original.machine);
    for (defects, expected) in
        [(Defects::NONE, &b"1"[..]), (Defects::NONE.with(Defect::DedupLostInSnapshot), b"2")]
    {
        let machine = Machine::restore(&mut &bytes[..], LogIndex(1), options(), defects).unwrap();
        let mut copy = Driver { machine, time_ms: 0, sequence: 0 };
        copy.run(1, 1, false, Operation::Step(Step::Increment { key: super::bytes("n"), by: 1 }));
        assert_eq!(copy.value("n"), Some(expected));
    }
}

#[test]
fn a_snapshot_that_is_cut_short_or_changed_in_its_frame_is_refused() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.run(1, 1, false, put("x", "0"));
    let bytes = written(&driver.machine);
    for length in 0..bytes.len() {
        assert!(restored(&bytes[..length], LogIndex(1)).is_err(), "{length} of {} bytes", bytes.len());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(restored(&longer, LogIndex(1)).unwrap_err().to_string().contains("more than an end"));
    let huge = [0xff; 8];
    assert!(restored(&huge, LogIndex(1)).unwrap_err().to_string().contains("claims to have"));
    assert!(restored(&bytes, LogIndex(1)).is_ok());
}

proptest! {
    /// Whatever was applied before the snapshot and after it, the restored machine cannot be told from the original: the same
    /// state, the same outcomes, the same digests, the same bytes.
    #[test]
    fn a_restored_machine_cannot_be_told_from_the_original(before in events(), after in events()) {
        let mut original = Driver::new(8, Defects::NONE);
        for event in before {
            original.event(event);
        }
        let frozen = original.machine.snapshot();
        let bytes = written(&original.machine);
        let mut copy = Driver {
            machine: restored(&bytes, original.machine.applied()).unwrap(),
            time_ms: original.time_ms,
            sequence: original.sequence,
        };
        prop_assert_eq!(&copy.machine.state, &original.machine.state);
        for event in after {
            prop_assert_eq!(copy.event(event.clone()), original.event(event));
        }
        prop_assert_eq!(&copy.machine.state, &original.machine.state);
        let last = original.machine.applied();
        prop_assert_eq!(copy.machine.digest(last), original.machine.digest(last));
        prop_assert_eq!(written(&copy.machine), written(&original.machine));
        let mut again = Vec::new();
        frozen.write_to(&mut again).unwrap();
        prop_assert_eq!(again, bytes, "what was frozen stays as it was");
    }
}

/// More than a page of them, so that every page counts.
#[test]
fn the_hash_of_the_keys_is_equal_on_a_copy_and_changes_with_any_of_them() {
    let mut driver = Driver::new(8, Defects::NONE);
    let value = "v".repeat(400_000);
    for key in ["a", "b", "c", "d", "e"] {
        driver.done(put(key, &value));
    }
    let found = driver.machine.snapshot().keys_hash(Revision(5)).unwrap();
    assert_eq!(found.key_count, 5);
    let mut copy = restored(&written(&driver.machine), driver.machine.applied()).unwrap();
    assert_eq!(copy.snapshot().keys_hash(Revision(5)), Ok(found));
    copy.apply(&Entry { term: Term(1), index: copy.applied().next(), payload: Payload::Noop });
    assert_eq!(copy.snapshot().keys_hash(Revision(5)), Ok(found), "the keys have not changed");
    for key in ["a", "c", "e"] {
        driver.done(put(key, "other"));
        let changed = driver.machine.snapshot().keys_hash(driver.machine.revision()).unwrap();
        assert!(changed.hash != found.hash && changed.key_count == 5, "{key}");
    }
    assert_eq!(driver.machine.snapshot().keys_hash(Revision(5)), Ok(found), "as it was");
    let future = driver.machine.snapshot().keys_hash(Revision(99));
    assert_eq!(future, Err(RevisionProblem::Future { current: Revision(8) }));
}
