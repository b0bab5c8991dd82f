//! Tests of the state machine.

use labrys_raft::Term;
use proptest::prelude::*;

use super::*;

fn put(key: &str, value: &str) -> Operation {
    Operation::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

fn cas(key: &str, expected: Option<&str>, value: &str) -> Operation {
    Operation::CompareAndSet {
        key: Bytes::copy_from_slice(key.as_bytes()),
        expected: expected.map(|expected| Bytes::copy_from_slice(expected.as_bytes())),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

struct Driver {
    machine: Machine,
}

impl Driver {
    fn new(max_sessions: usize, defects: Defects) -> Driver {
        Driver { machine: Machine::new(MachineOptions { max_sessions, kept_digests: 4 }, defects) }
    }

    fn run(&mut self, session: u128, sequence: u64, established: bool, operation: Operation) -> Outcome {
        let placement = Placement { session: SessionId(session), sequence, established };
        let command = Command { placement, operation }.encode().unwrap();
        self.entry(Payload::Command(command)).unwrap()
    }

    fn entry(&mut self, payload: Payload) -> Option<Outcome> {
        let index = self.machine.applied().next();
        self.machine.apply(&Entry { term: Term(1), index, payload })
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        self.machine.get(key.as_bytes()).map(|value| &value[..])
    }
}

#[test]
fn put_compare_and_set_and_delete_do_what_they_say() {
    let mut driver = Driver::new(8, Defects::NONE);
    assert_eq!(driver.run(1, 1, false, put("x", "0")), Outcome::Put { index: LogIndex(1) });
    assert_eq!(driver.run(1, 2, true, cas("x", Some("0"), "1")), Outcome::Swapped { index: LogIndex(2) });
    let actual = Some(Bytes::from_static(b"1"));
    assert_eq!(
        driver.run(1, 3, true, cas("x", Some("0"), "2")),
        Outcome::NotSwapped { actual, index: LogIndex(3) }
    );
    assert_eq!(driver.value("x"), Some(&b"1"[..]));
    assert_eq!(driver.run(1, 4, true, cas("y", None, "new")), Outcome::Swapped { index: LogIndex(4) });
    let delete = Operation::Delete { key: Bytes::from_static(b"x") };
    assert_eq!(
        driver.run(1, 5, true, delete.clone()),
        Outcome::Deleted { existed: true, index: LogIndex(5) }
    );
    assert_eq!(driver.run(1, 6, true, delete), Outcome::Deleted { existed: false, index: LogIndex(6) });
    assert_eq!((driver.value("x"), driver.value("y")), (None, Some(&b"new"[..])));
}

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.run(9, 1, false, put("x", "0"));
    let first = driver.run(1, 1, false, cas("x", Some("0"), "1"));
    driver.run(2, 1, false, cas("x", Some("1"), "0"));
    assert_eq!(driver.run(1, 1, false, cas("x", Some("0"), "1")), first);
    assert_eq!(driver.value("x"), Some(&b"0"[..]));
}

#[test]
fn without_deduplication_a_retry_is_carried_out_again() {
    let mut driver = Driver::new(8, Defects::NONE.with(Defect::NoRequestDeduplication));
    driver.run(9, 1, false, put("x", "0"));
    driver.run(1, 1, false, cas("x", Some("0"), "1"));
    driver.run(2, 1, false, cas("x", Some("1"), "0"));
    driver.run(1, 1, false, cas("x", Some("0"), "1"));
    assert_eq!(driver.value("x"), Some(&b"1"[..]));
}

#[test]
fn a_late_duplicate_of_an_earlier_operation_is_refused() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.run(1, 1, false, put("x", "1"));
    driver.run(1, 2, true, put("x", "2"));
    assert_eq!(driver.run(1, 1, false, put("x", "1")), Outcome::SequencePassed);
    assert_eq!(driver.value("x"), Some(&b"2"[..]));
}

#[test]
fn the_session_used_least_recently_is_forgotten_and_its_writes_are_refused() {
    let mut driver = Driver::new(2, Defects::NONE);
    driver.run(1, 1, false, put("x", "1"));
    driver.run(2, 1, false, put("x", "2"));
    driver.run(1, 1, false, put("x", "1")); // A retry counts as a use.
    driver.run(3, 1, false, put("x", "3")); // Session 2 goes.
    assert_eq!(driver.machine.session_count(), 2);
    assert_eq!(driver.run(2, 2, true, put("x", "again")), Outcome::SessionExpired);
    assert_eq!(driver.run(1, 2, true, put("x", "4")), Outcome::Put { index: LogIndex(6) });
}

#[test]
fn bytes_that_are_no_command_change_nothing() {
    let mut driver = Driver::new(2, Defects::NONE);
    assert_eq!(driver.entry(Payload::Command(Bytes::from_static(b"\xff\xff"))), Some(Outcome::Malformed));
    assert_eq!(driver.entry(Payload::Noop), None);
    assert_eq!(driver.machine.applied(), LogIndex(2));
}

#[test]
fn digests_are_kept_for_the_latest_indexes_and_differ_after_any_difference() {
    let mut left = Driver::new(8, Defects::NONE);
    let mut right = Driver::new(8, Defects::NONE);
    for sequence in 1..=6 {
        left.run(1, sequence, false, put("x", "same"));
        right.run(1, sequence, false, put("x", if sequence == 5 { "other" } else { "same" }));
    }
    assert_eq!(left.machine.first_digest(), LogIndex(3));
    assert_eq!(left.machine.digest(LogIndex(2)), None);
    assert_eq!(left.machine.digest(LogIndex(7)), None);
    assert_eq!(left.machine.digest(LogIndex(4)), right.machine.digest(LogIndex(4)));
    assert_ne!(left.machine.digest(LogIndex(5)), right.machine.digest(LogIndex(5)));
    assert_ne!(left.machine.digest(LogIndex(6)), right.machine.digest(LogIndex(6)), "and for ever after");
}

#[test]
fn the_digest_covers_outcomes_as_well_as_entries() {
    let mut right = Driver::new(8, Defects::NONE);
    let mut wrong = Driver::new(8, Defects::NONE.with(Defect::NoRequestDeduplication));
    for driver in [&mut right, &mut wrong] {
        driver.run(1, 1, false, cas("x", None, "1"));
        driver.run(1, 1, false, cas("x", None, "1"));
    }
    assert_ne!(right.machine.digest(LogIndex(2)), wrong.machine.digest(LogIndex(2)));
}

#[test]
#[should_panic(expected = "in order")]
fn an_entry_out_of_order_is_never_applied() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.machine.apply(&Entry { term: Term(1), index: LogIndex(2), payload: Payload::Noop });
}

proptest! {
    /// Repeating any command of the moment any number of times leaves the same values as carrying each out once.
    #[test]
    fn retries_never_change_the_values(
        steps in prop::collection::vec((0..3u128, 0..3u8, 0..3u8, 1..4usize), 0..60),
    ) {
        let mut once = Driver::new(8, Defects::NONE);
        let mut often = Driver::new(8, Defects::NONE);
        let mut sequences = [0u64; 3];
        for (session, key, value, times) in steps {
            let sequence = &mut sequences[usize::try_from(session).unwrap()];
            *sequence += 1;
            let operation = match value {
                0 => Operation::Delete { key: Bytes::from(vec![key]) },
                1 => put(std::str::from_utf8(&[key]).unwrap(), "1"),
                _ => Operation::CompareAndSet {
                    key: Bytes::from(vec![key]),
                    expected: Some(Bytes::from_static(b"1")),
                    value: Bytes::from_static(b"2"),
                },
            };
            once.run(session, *sequence, false, operation.clone());
            for _ in 0..times {
                often.run(session, *sequence, false, operation.clone());
            }
        }
        prop_assert_eq!(once.machine.values, often.machine.values);
    }
}

fn written(machine: &Machine) -> Vec<u8> {
    let mut bytes = Vec::new();
    machine.snapshot().write_to(&mut bytes).unwrap();
    bytes
}

fn restored(bytes: &[u8], applied: LogIndex) -> Result<Machine, RestoreError> {
    let options = MachineOptions { max_sessions: 8, kept_digests: 4 };
    Machine::restore(&mut &bytes[..], applied, options, Defects::NONE)
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

    let mut copy = Driver { machine: restored(&bytes, frozen.applied()).unwrap() };
    assert_eq!((copy.machine.applied(), copy.value("x")), (applied, Some(&b"1"[..])));
    assert_eq!(copy.run(3, 1, false, put("x", "later")), Outcome::Put { index: applied.next() });
    for driver in [&mut original, &mut copy] {
        assert_eq!(driver.run(2, 1, false, cas("x", Some("0"), "1")), first, "a retry is recognised");
    }
    let last = original.machine.applied();
    assert_eq!(copy.machine.digest(last), original.machine.digest(last));
    assert!(copy.machine.digest(last).is_some());
    assert_eq!(written(&copy.machine), written(&original.machine), "equal states have equal snapshots");
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
