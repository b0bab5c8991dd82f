//! Tests of the state machine.

mod defects;
pub(crate) mod properties;
mod reference;
mod sessions;
mod sizes;
mod snapshots;
mod steps;

use labrys_raft::{Defect, Term};
use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Operation {
    Operation::put(bytes(key), bytes(value))
}

fn cas(key: &str, expected: Option<&str>, value: &str) -> Operation {
    Operation::compare_and_set(bytes(key), expected.map(bytes), bytes(value))
}

fn step(result: StepResult) -> Done {
    Done::Step(result)
}

fn options() -> MachineOptions {
    let sessions = SessionLimits { count: 8, bytes: 1 << 20, ttl_ms: 1_000_000, first_write_ms: 1_000_000 };
    MachineOptions { sessions, kept_digests: 4, ..MachineOptions::default() }
}

/// A machine, and the number of the session that [`Driver::done`] writes in.
struct Driver {
    machine: Machine,
    time_ms: u64,
    sequence: u64,
}

impl Driver {
    fn new(max_sessions: usize, defects: Defects) -> Driver {
        let mut options = options();
        options.sessions.count = max_sessions;
        Driver::with(options, defects)
    }

    fn with(options: MachineOptions, defects: Defects) -> Driver {
        Driver { machine: Machine::new(options, defects), time_ms: 0, sequence: 0 }
    }

    fn run(&mut self, session: u128, sequence: u64, established: bool, operation: Operation) -> Outcome {
        let placement = Placement { session: SessionId(session), sequence, established };
        self.body(Body::Client(Command { placement, operation })).unwrap()
    }

    /// What a new operation of session 0 comes to.
    fn done(&mut self, operation: Operation) -> Done {
        self.sequence += 1;
        match self.run(0, self.sequence, false, operation) {
            Outcome::Done { done, .. } => done,
            other => panic!("{other:?}"),
        }
    }

    fn transact(&mut self, conditions: Vec<Condition>, then: Vec<Step>, otherwise: Vec<Step>) -> Done {
        self.done(Operation::Transaction(Transaction { conditions, then, otherwise }))
    }

    /// Time passes, and the leader says so.
    fn pass(&mut self, duration_ms: u64) {
        self.time_ms += duration_ms;
        self.body(Body::Tick { revoked: Vec::new() });
    }

    fn body(&mut self, body: Body) -> Option<Outcome> {
        self.entry(Payload::Command(Stamped { time_ms: self.time_ms, body }.encode().unwrap()))
    }

    fn entry(&mut self, payload: Payload) -> Option<Outcome> {
        let index = self.machine.applied().next();
        self.machine.apply(&Entry { term: Term(1), index, payload })
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        self.machine.get(key.as_bytes()).map(|value| &value[..])
    }

    fn at(&self, revision: u64, key: &str) -> Result<Option<Bytes>, RevisionProblem> {
        let query = Query::Get { key: bytes(key), revision: Some(Revision(revision)) };
        match self.machine.read(&query).found {
            Found::Value(record) => Ok(record.map(|record| record.value.clone())),
            Found::Problem(problem) => Err(problem),
            other => panic!("{other:?}"),
        }
    }

    /// Appends one byte to each of these keys, in one transaction.
    fn append_to(&mut self, keys: &[&str]) -> Done {
        let steps = keys.iter().map(|key| Step::Append { key: bytes(key), suffix: bytes("1") }).collect();
        self.transact(Vec::new(), steps, Vec::new())
    }

    fn lease(&mut self, ttl_ms: u64) -> LeaseId {
        match self.done(Operation::GrantLease { ttl_ms }) {
            Done::LeaseGranted { lease } => lease,
            other => panic!("{other:?}"),
        }
    }
}

fn done_at(index: u64, revision: u64, done: Done) -> Outcome {
    Outcome::Done { index: LogIndex(index), revision: Revision(revision), done }
}

#[test]
fn put_compare_and_set_and_delete_do_what_they_say() {
    let mut driver = Driver::new(8, Defects::NONE);
    assert_eq!(driver.run(1, 1, false, put("x", "0")), done_at(1, 1, step(StepResult::Put)));
    assert_eq!(driver.run(1, 2, true, cas("x", Some("0"), "1")), done_at(2, 2, step(StepResult::Swapped)));
    let actual = Some(Bytes::from_static(b"1"));
    assert_eq!(
        driver.run(1, 3, true, cas("x", Some("0"), "2")),
        done_at(3, 2, step(StepResult::NotSwapped { actual }))
    );
    assert_eq!(driver.value("x"), Some(&b"1"[..]));
    assert_eq!(driver.run(1, 4, true, cas("y", None, "new")), done_at(4, 3, step(StepResult::Swapped)));
    let deleted = |existed| step(StepResult::Deleted { existed });
    assert_eq!(driver.run(1, 5, true, Operation::delete("x")), done_at(5, 4, deleted(true)));
    assert_eq!(driver.run(1, 6, true, Operation::delete("x")), done_at(6, 4, deleted(false)));
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
            let key = Bytes::from(vec![key]);
            let operation = match value {
                0 => Operation::delete(key),
                1 => Operation::put(key, "1"),
                _ => Operation::compare_and_set(key, Some(Bytes::from_static(b"1")), "2"),
            };
            once.run(session, *sequence, false, operation.clone());
            for _ in 0..times {
                often.run(session, *sequence, false, operation.clone());
            }
        }
        prop_assert_eq!(once.machine.state.keys, often.machine.state.keys);
    }
}
