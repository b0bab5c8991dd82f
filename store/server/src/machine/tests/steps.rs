//! What each kind of command does, one by one. That they do it together is for the properties.

use super::*;

fn compare(key: &str, relation: Relation, operand: Operand) -> Condition {
    Condition::Key { key: bytes(key), relation, operand }
}

fn get(key: &str) -> Step {
    Step::Get { key: bytes(key) }
}

fn put_step(key: &str, value: &str) -> Step {
    Step::Put { key: bytes(key), value: bytes(value), lease: None }
}

fn increment(key: &str, by: i64) -> Step {
    Step::Increment { key: bytes(key), by }
}

fn append(key: &str, suffix: &str) -> Step {
    Step::Append { key: bytes(key), suffix: bytes(suffix) }
}

fn all(start: &str) -> RangeQuery {
    RangeQuery { start: bytes(start), end: None, limit: 0 }
}

fn values(results: &[StepResult]) -> Vec<Option<Bytes>> {
    let value = |result: &StepResult| match result {
        StepResult::Value(record) => record.as_ref().map(|record| record.value.clone()),
        other => panic!("{other:?}"),
    };
    results.iter().map(value).collect()
}

#[test]
fn numbers_are_added_to_and_what_is_no_number_or_too_large_is_left_alone() {
    let mut driver = Driver::new(8, Defects::NONE);
    let run = |driver: &mut Driver, by| driver.done(Operation::Step(increment("n", by)));
    assert_eq!(run(&mut driver, 5), step(StepResult::Incremented { value: 5 }));
    assert_eq!(run(&mut driver, -7), step(StepResult::Incremented { value: -2 }));
    assert_eq!(run(&mut driver, i64::MIN), step(StepResult::Problem(StepProblem::Overflow)));
    assert_eq!(driver.value("n"), Some(&b"-2"[..]));
    for not_a_number in ["", "1.5", " 1", "9223372036854775808", "x"] {
        driver.done(put("n", not_a_number));
        assert_eq!(run(&mut driver, 1), step(StepResult::Problem(StepProblem::NotANumber)));
        assert_eq!(driver.value("n"), Some(not_a_number.as_bytes()));
    }
}

#[test]
fn a_value_grows_by_appending_as_far_as_a_value_may() {
    let mut driver = Driver::with(MachineOptions { max_value_bytes: 4, ..options() }, Defects::NONE);
    assert_eq!(
        driver.done(Operation::Step(append("l", "ab"))),
        step(StepResult::Appended { length_bytes: 2 })
    );
    assert_eq!(
        driver.done(Operation::Step(append("l", "cd"))),
        step(StepResult::Appended { length_bytes: 4 })
    );
    let problem = step(StepResult::Problem(StepProblem::ValueTooLarge));
    assert_eq!(driver.done(Operation::Step(append("l", "e"))), problem);
    assert_eq!(driver.value("l"), Some(&b"abcd"[..]));
    assert_eq!(driver.done(put("l", "12345")), problem);
}

#[test]
fn every_revision_can_be_read_until_it_is_compacted() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.done(put("a", "1")); // Revision 1.
    driver.done(put("b", "1"));
    driver.done(put("a", "2"));
    driver.done(Operation::delete("b"));
    driver.done(put("b", "3")); // Revision 5.
    let history = |driver: &Driver| (0..=5).map(|at| driver.at(at, "b")).collect::<Vec<_>>();
    let some = |text| Ok(Some(bytes(text)));
    assert_eq!(history(&driver), [Ok(None), Ok(None), some("1"), some("1"), Ok(None), some("3")]);
    assert_eq!(driver.at(2, "a"), some("1"));
    assert_eq!(driver.at(6, "a"), Err(RevisionProblem::Future { current: Revision(5) }));

    let compact = |revision| Operation::Compact { revision: Revision(revision) };
    assert_eq!(driver.done(compact(6)), Done::Revision(RevisionProblem::Future { current: Revision(5) }));
    assert_eq!(driver.done(compact(4)), Done::Compacted { first: Revision(4) });
    assert_eq!(driver.done(compact(2)), Done::Compacted { first: Revision(4) }, "what is gone stays gone");
    let gone = Err(RevisionProblem::Compacted { first: Revision(4) });
    assert_eq!(history(&driver)[2..], [gone.clone(), gone.clone(), Ok(None), some("3")]);
    assert_eq!(driver.at(4, "a"), some("2"));
    let watch = |from| driver.machine.changes(Revision(from), &all(""), 10, 1000).map(|batch| batch.through);
    assert_eq!(watch(4), Err(Revision(5)), "the state at the mark is there, but not what led to it");
    assert_eq!(watch(5), Ok(Revision(5)));
    assert_eq!(driver.machine.state.keys.past_len(), 0, "nothing is kept that cannot be read");
}

#[test]
fn old_revisions_are_compacted_without_being_asked() {
    let mut driver = Driver::with(MachineOptions { retained_revisions: 10, ..options() }, Defects::NONE);
    for number in 0..1000 {
        driver.done(put("x", &number.to_string()));
        assert!(driver.machine.state.keys.past_len() <= 11);
    }
    assert_eq!(driver.at(989, "x"), Err(RevisionProblem::Compacted { first: Revision(990) }));
    assert_eq!(driver.at(990, "x"), Ok(Some(bytes("989"))));
}

#[test]
fn a_transaction_does_one_list_or_the_other_and_its_steps_see_each_other() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.done(put("x", "1"));
    let conditions = vec![compare("x", Relation::Equal, Operand::Value(bytes("1")))];
    let then = vec![get("x"), put_step("x", "2"), append("x", "!"), get("x"), increment("n", 3), get("n")];
    let done = driver.transact(conditions.clone(), then.clone(), vec![get("x")]);
    let Done::Transaction { held: true, results } = done else { panic!("{done:?}") };
    assert_eq!(
        values(&[results[0].clone(), results[3].clone(), results[5].clone()]),
        ["1", "2!", "3"].map(|text| Some(bytes(text)))
    );
    let StepResult::Value(Some(record)) = &results[3] else { panic!("{results:?}") };
    assert_eq!((record.version, record.created, record.modified), (2, Revision(1), Revision(2)));
    assert_eq!(driver.machine.revision(), Revision(2), "a transaction is one revision");

    let done = driver.transact(conditions, then, vec![get("x")]);
    let Done::Transaction { held: false, results } = done else { panic!("{done:?}") };
    assert_eq!(values(&results), [Some(bytes("2!"))]);
    assert_eq!(driver.machine.revision(), Revision(2), "one that only reads is none");
}

#[test]
fn a_transaction_with_a_step_that_cannot_be_done_does_nothing() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.done(put("x", "text"));
    let done =
        driver.transact(vec![], vec![put_step("y", "1"), increment("x", 1), put_step("z", "1")], vec![]);
    assert_eq!(done, Done::Aborted { held: true, step: 1, problem: StepProblem::NotANumber });
    assert_eq!((driver.value("y"), driver.value("x")), (None, Some(&b"text"[..])));
    assert_eq!(driver.machine.revision(), Revision(1));
}

#[test]
fn conditions_compare_values_versions_and_revisions() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.done(put("w", "0"));
    driver.done(put("x", "b"));
    driver.done(put("x", "b"));
    use Operand::{Created, Modified, Value, Version};
    use Relation::{Equal, Greater, Less, NotEqual};
    for (key, relation, operand, expected) in [
        ("x", Equal, Value(bytes("b")), true),
        ("x", Equal, Value(bytes("a")), false),
        ("x", Less, Value(bytes("c")), true),
        ("x", Greater, Value(bytes("c")), false),
        ("x", NotEqual, Value(bytes("c")), true),
        ("x", Equal, Version(2), true),
        ("x", Equal, Created(Revision(2)), true),
        ("x", Equal, Modified(Revision(3)), true),
        ("x", Less, Modified(Revision(3)), false),
        ("none", Equal, Version(0), true),
        ("none", Greater, Created(Revision(0)), false),
        ("none", Equal, Value(bytes("")), false),
        ("none", NotEqual, Value(bytes("")), true),
        ("none", Less, Value(bytes("a")), false),
    ] {
        let condition = compare(key, relation, operand);
        let done = driver.transact(vec![condition.clone()], vec![], vec![]);
        assert_eq!(done, Done::Transaction { held: expected, results: vec![] }, "{condition:?}");
    }
}

#[test]
fn a_range_within_a_transaction_sees_what_the_transaction_has_written() {
    let mut driver = Driver::new(8, Defects::NONE);
    for key in ["a", "b", "c", "d"] {
        driver.done(put(key, key));
    }
    let first_two = RangeQuery { limit: 2, ..all("a") };
    let steps = vec![
        Step::Delete { key: bytes("a") },
        Step::Delete { key: bytes("b") },
        put_step("bb", "new"),
        Step::Range(first_two),
        Step::Range(RangeQuery { start: bytes("c"), end: Some(bytes("d")), limit: 0 }),
        Step::Range(RangeQuery { start: bytes("d"), end: Some(bytes("c")), limit: 0 }),
    ];
    let done = driver.transact(vec![], steps, vec![]);
    let Done::Transaction { results, .. } = done else { panic!("{done:?}") };
    let keys = |result: &StepResult| match result {
        StepResult::Range(range) => {
            (range.items.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), range.more)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(&results[3]), (vec![bytes("bb"), bytes("c")], true));
    assert_eq!(keys(&results[4]), (vec![bytes("c")], false));
    assert_eq!(keys(&results[5]), (vec![], false));
}

#[test]
fn what_a_transaction_and_a_range_may_read_is_limited() {
    let options = MachineOptions { max_result_bytes: 1000, ..options() };
    let mut driver = Driver::with(options, Defects::NONE);
    for key in ["a", "b", "c"] {
        driver.done(put(key, &"v".repeat(400)));
    }
    let query = Query::Range { range: all(""), revision: None };
    let Found::Range(found) = driver.machine.read(&query).found else { panic!("not a range") };
    assert_eq!((found.items.len(), found.more), (2, true));
    let done = driver.transact(vec![], vec![get("a"), get("b"), get("c")], vec![]);
    assert_eq!(done, Done::Aborted { held: true, step: 2, problem: StepProblem::ResultTooLarge });
}

fn commit(snapshot: u64, isolation: Isolation, reads: Vec<ReadItem>, writes: &[(&str, &str)]) -> Operation {
    let writes = writes.iter().map(|(key, value)| (bytes(key), Some(bytes(value)))).collect();
    Operation::Commit(Commit { snapshot: Revision(snapshot), isolation, reads, writes })
}

/// Two transactions read x and y and each writes the other one: write skew.
fn write_skew(isolation: Isolation) -> [Done; 2] {
    let mut driver = Driver::new(8, Defects::NONE);
    let reads = || vec![ReadItem::Key(bytes("x")), ReadItem::Key(bytes("y"))];
    [
        driver.done(commit(0, isolation, reads(), &[("x", "1")])),
        driver.done(commit(0, isolation, reads(), &[("y", "1")])),
    ]
}

#[test]
fn snapshot_isolation_allows_write_skew_and_serializable_does_not() {
    assert_eq!(write_skew(Isolation::Snapshot), [Done::Committed, Done::Committed]);
    let conflict = Done::Conflict { key: bytes("x"), revision: Revision(1) };
    assert_eq!(write_skew(Isolation::Serializable), [Done::Committed, conflict]);
}

#[test]
fn of_two_that_write_the_same_key_the_first_to_commit_wins() {
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        let mut driver = Driver::new(8, Defects::NONE);
        driver.done(put("x", "0"));
        assert_eq!(driver.done(commit(1, isolation, vec![], &[("x", "1"), ("y", "1")])), Done::Committed);
        let conflict = Done::Conflict { key: bytes("x"), revision: Revision(2) };
        assert_eq!(driver.done(commit(1, isolation, vec![], &[("x", "2")])), conflict);
        assert_eq!(driver.value("x"), Some(&b"1"[..]));
        // Having been deleted since is having been changed.
        driver.done(Operation::delete("y"));
        let conflict = Done::Conflict { key: bytes("y"), revision: Revision(3) };
        assert_eq!(driver.done(commit(2, isolation, vec![], &[("y", "2")])), conflict);
    }
}

#[test]
fn a_key_that_appears_in_a_range_that_was_read_is_a_conflict() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.done(put("a", "1"));
    driver.done(put("b2", "phantom"));
    let range =
        |start, end| ReadItem::Range(RangeQuery { start: bytes(start), end: Some(bytes(end)), limit: 1 });
    let conflict = Done::Conflict { key: bytes("b2"), revision: Revision(2) };
    let serializable = Isolation::Serializable;
    assert_eq!(driver.done(commit(1, serializable, vec![range("b", "c")], &[("x", "1")])), conflict);
    assert_eq!(driver.done(commit(1, serializable, vec![range("c", "d")], &[("x", "1")])), Done::Committed);
}

#[test]
fn a_commit_on_a_snapshot_that_is_compacted_or_in_the_future_is_refused() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.done(put("x", "1"));
    driver.done(put("x", "2"));
    driver.done(Operation::Compact { revision: Revision(2) });
    let compacted = Done::Revision(RevisionProblem::Compacted { first: Revision(2) });
    assert_eq!(driver.done(commit(1, Isolation::Snapshot, vec![], &[("y", "1")])), compacted);
    let future = Done::Revision(RevisionProblem::Future { current: Revision(2) });
    assert_eq!(driver.done(commit(3, Isolation::Snapshot, vec![], &[("y", "1")])), future);
    assert_eq!(driver.done(commit(2, Isolation::Snapshot, vec![], &[("y", "1")])), Done::Committed);
}

fn put_with(key: &str, lease: LeaseId) -> Operation {
    Operation::Step(Step::Put { key: bytes(key), value: bytes("v"), lease: Some(lease) })
}

#[test]
fn a_lease_ends_with_its_keys_when_log_time_says_so() {
    let mut driver = Driver::new(8, Defects::NONE);
    let lease = driver.lease(100);
    driver.done(put_with("kept", lease));
    driver.done(put_with("moved", lease));
    driver.done(put_with("set anew", lease));
    driver.done(put("set anew", "without a lease"));
    let other = driver.lease(1000);
    driver.done(put_with("moved", other));
    driver.done(Operation::Step(append("kept", "still with its lease")));
    driver.pass(99);
    assert_eq!(driver.done(Operation::RenewLease { lease }), Done::LeaseRenewed { ttl_ms: 100 });
    driver.pass(99);
    assert!(driver.value("kept").is_some());
    let before = driver.machine.revision();
    driver.pass(1);
    assert_eq!(driver.value("kept"), None);
    assert!(driver.value("moved").is_some() && driver.value("set anew").is_some());
    assert_eq!(driver.machine.revision(), before.next(), "the end of a lease is a revision");
    assert_eq!(driver.done(Operation::RenewLease { lease }), Done::LeaseUnknown);
    assert_eq!(driver.done(put_with("x", lease)), step(StepResult::Problem(StepProblem::LeaseUnknown)));
    assert_eq!(driver.done(Operation::RevokeLease { lease: other }), Done::LeaseRevoked);
    assert_eq!(driver.value("moved"), None);
    assert_eq!(driver.done(Operation::RevokeLease { lease: other }), Done::LeaseUnknown);
}

#[test]
fn log_time_never_runs_back() {
    let mut driver = Driver::new(8, Defects::NONE);
    driver.time_ms = 1000;
    let lease = driver.lease(100);
    driver.time_ms = 5;
    driver.done(put("x", "a leader whose clock is behind"));
    assert_eq!(driver.machine.time_ms(), 1000);
    assert_eq!(driver.machine.next_expiry(), Some((1100, lease)));
    driver.time_ms = u64::MAX;
    driver.lease(u64::MAX);
    assert_eq!(driver.machine.time_ms(), u64::MAX);
}

#[test]
fn there_are_only_so_many_leases() {
    let mut driver = Driver::with(MachineOptions { max_leases: 1, ..options() }, Defects::NONE);
    let lease = driver.lease(100);
    assert_eq!(driver.done(Operation::GrantLease { ttl_ms: 1 }), Done::TooManyLeases);
    driver.done(Operation::RevokeLease { lease });
    assert_eq!(driver.lease(100), LeaseId(2), "no lease is ever named again");
}

#[test]
fn a_lock_is_one_lease_s_at_a_time_and_each_acquisition_has_a_larger_token() {
    let mut driver = Driver::new(8, Defects::NONE);
    let (first, second) = (driver.lease(100), driver.lease(1000));
    let acquire = |lease| Operation::AcquireLock { name: bytes("l"), lease };
    let token = LockToken(1);
    assert_eq!(driver.done(acquire(first)), Done::LockAcquired { token });
    assert_eq!(driver.done(acquire(first)), Done::LockAcquired { token }, "the same acquisition");
    let holder = LockHolder { lease: first, token };
    assert_eq!(driver.done(acquire(second)), Done::LockBusy { holder });
    let release = |token| Operation::ReleaseLock { name: bytes("l"), token };
    assert_eq!(driver.done(release(LockToken(7))), Done::LockNotHeld);
    let fenced = |token| vec![Condition::LockHeld { name: bytes("l"), token }];
    let held = |held| Done::Transaction { held, results: vec![] };
    assert_eq!(driver.transact(fenced(token), vec![], vec![]), held(true));
    driver.pass(100);
    assert_eq!(driver.transact(fenced(token), vec![], vec![]), held(false), "the lease has ended");
    assert_eq!(driver.done(acquire(first)), Done::LeaseUnknown);
    assert_eq!(driver.done(acquire(second)), Done::LockAcquired { token: LockToken(2) });
    assert_eq!(driver.done(release(token)), Done::LockNotHeld, "a late release frees nobody else's lock");
    assert_eq!(driver.done(release(LockToken(2))), Done::LockReleased);
    assert_eq!(driver.done(acquire(second)), Done::LockAcquired { token: LockToken(3) });
}

#[test]
fn the_keys_of_a_large_lease_end_in_several_revisions() {
    let mut driver = Driver::new(8, Defects::NONE);
    let lease = driver.lease(100);
    for number in 0..20 {
        let put =
            |key: u32| Step::Put { key: bytes(&key.to_string()), value: bytes("v"), lease: Some(lease) };
        driver.transact(vec![], (number * 100..(number + 1) * 100).map(put).collect(), vec![]);
    }
    assert_eq!(driver.machine.key_count(), 2000);
    let before = driver.machine.revision();
    driver.pass(100);
    assert_eq!((driver.machine.key_count(), driver.machine.revision().0), (0, before.0 + 2));
}
