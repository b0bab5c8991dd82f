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

fn whole_range(revision: u64) -> Query {
    let range = RangeQuery { start: Bytes::new(), end: None, limit: 0 };
    Query::Range { range, revision: Some(Revision(revision)) }
}

#[test]
fn a_range_of_an_earlier_state_looks_at_so_many_later_keys_at_a_time_and_says_where_it_stopped() {
    let mut driver = with(|options| options.max_visited = 10);
    driver.done(put("m", "1"));
    driver.done(put("z", "2"));
    for number in 0..25 {
        driver.done(put(&format!("a{number:02}"), "new"));
        driver.done(put(&format!("n{number:02}"), "new"));
    }
    let mut found = Vec::new();
    let mut next = Bytes::new();
    let mut calls = 0;
    loop {
        calls += 1;
        let range = RangeQuery { start: next.clone(), end: None, limit: 0 };
        let more = match driver.machine.read(&Query::Range { range, revision: Some(Revision(2)) }).found {
            Found::NoneBefore { next: key } => {
                next = key;
                continue;
            }
            Found::Range(result) => {
                next = result.items.last().map_or(next, |(key, _)| Bytes::from([key, &b"\0"[..]].concat()));
                found.extend(result.items.into_iter().map(|(key, _)| key));
                result.more
            }
            other => panic!("{other:?}"),
        };
        if !more {
            break;
        }
    }
    assert_eq!((found, calls), (vec![bytes("m"), bytes("z")], 6), "52 keys, ten at a time");
    let latest = driver.machine.read(&whole_range(driver.machine.revision().0)).found;
    assert!(matches!(latest, Found::Range(result) if result.items.len() == 52 && !result.more));
}

#[test]
fn changes_that_a_watch_does_not_want_are_looked_at_so_many_at_a_time_as_well() {
    let mut driver = with(|options| options.max_visited = 10);
    for _ in 0..10 {
        let steps =
            (0..4).map(|key| Step::Put { key: bytes(&format!("{key}")), value: bytes(""), lease: None });
        driver.transact(Vec::new(), steps.collect(), Vec::new());
    }
    let nothing = RangeQuery { start: bytes("x"), end: None, limit: 0 };
    let through = |driver: &Driver, from| {
        driver.machine.changes(Revision(from), &nothing, usize::MAX, usize::MAX).unwrap().through.0
    };
    assert_eq!(through(&driver, 1), 2, "a third revision would make twelve");
    driver.machine.setting.options.max_visited = 1;
    assert_eq!(through(&driver, 1), 1, "one revision is always looked at");
}

#[test]
fn a_commit_whose_snapshot_is_older_than_what_is_compared_is_refused() {
    let mut driver = with(|options| options.max_compared_changes = 5);
    let commit = |snapshot, written, reads| {
        let writes = vec![(bytes(written), Some(bytes("1")))];
        let isolation = Isolation::Serializable;
        Operation::Commit(Commit { snapshot: Revision(snapshot), isolation, reads, writes })
    };
    let range = || vec![ReadItem::Range(RangeQuery { start: bytes("r"), end: Some(bytes("s")), limit: 0 })];
    driver.done(put("a", "0"));
    for number in 1..=5 {
        driver.done(put("a", &format!("{number}")));
    }
    assert_eq!(driver.done(commit(1, "first", range())), Done::Committed, "five changes, none in the range");
    let refused = driver.done(commit(1, "second", range()));
    let Done::Conflict { revision, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(revision, Revision(7), "`first`, the first change that was not compared");
    let keys = vec![ReadItem::Key(bytes("r"))];
    assert_eq!(
        driver.done(commit(1, "third", keys)),
        Done::Committed,
        "keys are looked up and need no comparison"
    );
}

#[test]
fn ranges_of_a_transaction_stop_where_its_result_is_full() {
    let mut driver = with(|options| options.max_result_bytes = 1_000);
    for number in 0..50 {
        driver.done(put(&format!("{number:02}"), "v"));
    }
    let all = || Step::Range(RangeQuery { start: Bytes::new(), end: None, limit: 0 });
    let done = driver.transact(Vec::new(), vec![Step::Delete { key: bytes("01") }, all()], Vec::new());
    let Done::Transaction { results, .. } = done else { panic!("{done:?}") };
    let StepResult::Range(range) = &results[1] else { panic!("{results:?}") };
    let keys: Vec<&[u8]> = range.items.iter().take(3).map(|(key, _)| &key[..]).collect();
    assert_eq!(keys, [b"00", b"02", b"03"]);
    assert!(range.more && range.items.len() < 20, "{}", range.items.len());
    let twice = driver.transact(Vec::new(), vec![all(), all()], Vec::new());
    assert_eq!(twice, Done::Aborted { held: true, step: 1, problem: StepProblem::ResultTooLarge });
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
