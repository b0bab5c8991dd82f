//! Bytes: of the state, of its history, of one revision.

use super::properties::{Event, events};
use super::*;

fn with(change: impl FnOnce(&mut MachineOptions)) -> Driver {
    let mut options = options();
    change(&mut options);
    Driver::with(options, Defects::NONE)
}

impl Driver {
    /// What an operation comes to, whether it is carried out or not.
    fn outcome(&mut self, operation: Operation) -> Outcome {
        self.sequence += 1;
        self.run(0, self.sequence, false, operation)
    }

    /// The bytes as they are counted one by one.
    fn counted_anew(&self) -> (u64, u64) {
        let mut bytes = Vec::new();
        self.machine.snapshot().write_to(&mut bytes).unwrap();
        let applied = self.machine.applied();
        let restored =
            Machine::restore(&mut &bytes[..], applied, self.machine.setting.options, Defects::NONE).unwrap();
        (restored.state_bytes(), restored.history_bytes())
    }
}

#[test]
fn a_history_of_large_values_is_compacted_by_its_bytes() {
    let max_history_bytes = 100_000;
    let mut driver = with(|options| options.max_history_bytes = max_history_bytes);
    let value = "v".repeat(10_000);
    for round in 1..=50_u64 {
        driver.done(put("x", &value));
        assert!(driver.machine.history_bytes() <= max_history_bytes, "round {round}");
    }
    let compacted = driver.machine.read(&Query::Revision).compacted.0;
    assert!((40..45).contains(&compacted), "nine or so of the old values fit, not {}", 50 - compacted);
    assert_eq!(driver.at(compacted, "x").unwrap().unwrap().len(), value.len());
    assert_eq!(driver.at(compacted - 1, "x"), Err(RevisionProblem::Compacted { first: Revision(compacted) }));
}

#[test]
fn a_history_of_deletions_and_of_new_keys_is_bounded_as_well() {
    let mut driver = with(|options| options.max_history_bytes = 20_000);
    for number in 0..500 {
        driver.done(put(&format!("{number}"), ""));
        driver.done(Operation::delete(format!("{}", number / 2)));
        assert!(driver.machine.history_bytes() <= 20_000);
    }
    assert!(driver.machine.read(&Query::Revision).compacted > Revision(0));
}

#[test]
fn a_transaction_of_small_appends_to_large_values_is_stopped_where_a_revision_is_full() {
    let mut driver = with(|options| options.max_revision_bytes = 10_000);
    for key in ["a", "b", "c"] {
        driver.done(put(key, &"v".repeat(4_000)));
    }
    assert_eq!(
        driver.append_to(&["a", "b", "c"]),
        Done::Aborted { held: true, step: 2, problem: StepProblem::WritesTooLarge }
    );
    assert_eq!(driver.value("a").unwrap().len(), 4_000, "nothing of it was done");
    assert_eq!(
        driver.append_to(&["a", "a", "a"]),
        Done::Aborted { held: true, step: 2, problem: StepProblem::WritesTooLarge },
        "what takes the place of an own write was copied, too"
    );
    assert!(matches!(driver.append_to(&["a", "b"]), Done::Transaction { held: true, .. }));
}

#[test]
fn what_makes_a_full_state_larger_is_refused_and_what_does_not_is_done() {
    let mut driver = with(|options| options.max_state_bytes = 10_000);
    driver.done(put("a", &"v".repeat(4_000)));
    driver.done(put("b", &"v".repeat(4_000)));
    let before = driver.machine.revision();
    let large = "v".repeat(3_000);
    assert_eq!(driver.outcome(put("c", &large)), Outcome::NoSpace);
    let writes = vec![(bytes("c"), Some(bytes(&large)))];
    let commit = Commit { snapshot: before, isolation: Isolation::Snapshot, reads: Vec::new(), writes };
    assert_eq!(driver.outcome(Operation::Commit(commit)), Outcome::NoSpace);
    let put_c = Step::Put { key: bytes("c"), value: bytes(&large), lease: None };
    let transaction = |then| Operation::Transaction(Transaction { then, ..Transaction::default() });
    assert_eq!(driver.outcome(transaction(vec![put_c.clone()])), Outcome::NoSpace);
    let lease = driver.lease(1_000);
    let acquire = |name: &str| Operation::AcquireLock { name: bytes(name), lease };
    assert_eq!(driver.outcome(acquire(&"n".repeat(2_000))), Outcome::NoSpace);
    assert_eq!(driver.machine.revision(), before, "nothing of all this has happened");
    let sequence = driver.sequence;
    assert_eq!(driver.run(0, sequence, false, acquire(&"n".repeat(2_000))), Outcome::NoSpace, "a retry");

    assert_eq!(driver.done(put("a", &"w".repeat(4_000))), step(StepResult::Put), "no larger than before");
    driver.done(Operation::Compact { revision: driver.machine.revision() });
    let deletes_as_much = transaction(vec![put_c, Step::Delete { key: bytes("a") }]);
    assert!(matches!(driver.done(deletes_as_much), Done::Transaction { held: true, .. }));
    assert_eq!(driver.done(Operation::delete("b")), step(StepResult::Deleted { existed: true }));
    assert!(matches!(driver.done(acquire(&"n".repeat(2_000))), Done::LockAcquired { .. }));
    assert_eq!(driver.done(put("b", &large)), step(StepResult::Put));
}

#[test]
fn the_end_of_a_lease_is_cut_into_revisions_that_are_not_too_large() {
    let mut driver = with(|options| options.max_revision_bytes = 10_000);
    let lease = driver.lease(1_000);
    for number in 0..20 {
        let key = bytes(&format!("{number:02}{}", "k".repeat(1_998)));
        driver.done(Operation::Step(Step::Put { key, value: bytes(""), lease: Some(lease) }));
    }
    let before = driver.machine.revision();
    driver.pass(1_000);
    let all = RangeQuery { start: Bytes::new(), end: None, limit: 0 };
    let batch = driver.machine.changes(before.next(), &all, usize::MAX, usize::MAX).unwrap();
    let sizes: Vec<usize> = batch.revisions.iter().map(|revision| revision.changes.len()).collect();
    assert_eq!(sizes, [4, 4, 4, 4, 4], "each key counts 2064 bytes");
    assert_eq!(driver.machine.key_count(), 0);
}

proptest! {
    /// However the state came about, and however little of its history is kept: its bytes are those of what is in it.
    #[test]
    fn the_bytes_are_those_of_what_is_there(events in events(), max_history_bytes in 0..3_000u64) {
        let mut driver = with(|options| options.max_history_bytes = max_history_bytes);
        for event in events {
            if !matches!(event, Event::Retry) {
                driver.event(event);
            }
            prop_assert_eq!(
                (driver.machine.state_bytes(), driver.machine.history_bytes()),
                driver.counted_anew()
            );
            prop_assert!(driver.machine.history_bytes() <= max_history_bytes);
        }
        let keys: Vec<Operation> = ["", "a", "ab", "b", "c"].map(Operation::delete).into();
        for delete in keys {
            driver.done(delete);
        }
        driver.pass(1_000_000);
        prop_assert_eq!(driver.machine.state_bytes(), 0);
    }
}
