//! Each defect of the state machine: without it the property holds, with it it does not.

use super::*;

/// Runs `scenario` without and with the defect.
fn without_and_with<T>(defect: Defect, scenario: impl Fn(Defects) -> T) -> [T; 2] {
    [scenario(Defects::NONE), scenario(Defects::NONE.with(defect))]
}

/// Two replicas whose own clocks differ by `apart_ms` and of which the first has proposed everything: whether their digests
/// agree after `commands`.
fn replicas_agree(
    defects: Defects,
    apart_ms: u64,
    options: MachineOptions,
    commands: impl Fn(&mut Driver),
) -> bool {
    let digest = |clock_ms, proposed_here| {
        let mut driver = Driver::with(options, defects);
        driver.machine.set_surroundings(Surroundings { clock_ms, proposed_here });
        commands(&mut driver);
        driver.machine.digest(driver.machine.applied())
    };
    digest(0, true) == digest(apart_ms, false)
}

fn increment(driver: &mut Driver, session: u128) {
    driver.run(session, 1, false, Operation::Step(Step::Increment { key: bytes("n"), by: 1 }));
}

#[test]
fn dedup_not_replicated_makes_replicas_count_a_retry_differently() {
    let agree = without_and_with(Defect::DedupNotReplicated, |defects| {
        replicas_agree(defects, 0, options(), |driver| {
            increment(driver, 1);
            increment(driver, 1);
        })
    });
    assert_eq!(agree, [true, false]);
}

#[test]
fn dedup_expiry_clock_makes_replicas_forget_sessions_at_different_times() {
    let mut short = options();
    short.sessions.ttl_ms = 100;
    let agree = without_and_with(Defect::DedupExpiryClock, |defects| {
        replicas_agree(defects, 0, short, |driver| {
            increment(driver, 1);
            let_own_clocks_drift(driver);
            increment(driver, 1);
        })
    });
    assert_eq!(agree, [true, false]);
}

/// The other replica's clock goes on, the log's time does not.
fn let_own_clocks_drift(driver: &mut Driver) {
    let proposed_here = driver.machine.setting.surroundings.proposed_here;
    let clock_ms = if proposed_here { 0 } else { 100 };
    driver.machine.set_surroundings(Surroundings { clock_ms, proposed_here });
}

#[test]
fn nondeterministic_apply_makes_replicas_differ_after_any_change() {
    let agree = without_and_with(Defect::NondeterministicApply, |defects| {
        replicas_agree(defects, 7, options(), |driver| {
            driver.done(put("x", "1"));
        })
    });
    assert_eq!(agree, [true, false]);
}

#[test]
fn ttl_wall_clock_ends_a_lease_on_one_replica_and_not_on_the_other() {
    let agree = without_and_with(Defect::TtlWallClock, |defects| {
        replicas_agree(defects, 0, options(), |driver| {
            let lease = driver.lease(100);
            driver.done(Operation::Step(Step::Put {
                key: bytes("x"),
                value: bytes("1"),
                lease: Some(lease),
            }));
            let_own_clocks_drift(driver);
            driver.pass(1);
        })
    });
    assert_eq!(agree, [true, false]);
}

#[test]
fn txn_not_atomic_shows_half_a_transaction() {
    let seen = without_and_with(Defect::TxnNotAtomic, |defects| {
        let mut driver = Driver::new(8, defects);
        let set = |key| Step::Put { key: bytes(key), value: bytes("1"), lease: None };
        driver.transact(vec![], vec![set("x"), set("y")], vec![]);
        let at_once = [driver.value("x").is_some(), driver.value("y").is_some()];
        driver.pass(1);
        assert!(driver.value("y").is_some(), "in the end it is whole");
        at_once
    });
    assert_eq!(seen, [[true, true], [true, false]]);
}

fn commits(defects: Defects, isolation: Isolation, writes: [&str; 2]) -> [bool; 2] {
    let mut driver = Driver::new(8, defects);
    writes.map(|key| {
        let reads = vec![ReadItem::Key(bytes("x")), ReadItem::Key(bytes("y"))];
        let writes = vec![(bytes(key), Some(bytes("1")))];
        let commit = Commit { snapshot: Revision(0), isolation, reads, writes };
        driver.done(Operation::Commit(commit)) == Done::Committed
    })
}

#[test]
fn commit_without_the_write_check_loses_an_update() {
    let both = without_and_with(Defect::CommitSkipsWriteCheck, |defects| {
        commits(defects, Isolation::Snapshot, ["x", "x"])
    });
    assert_eq!(both, [[true, false], [true, true]]);
}

#[test]
fn commit_without_the_read_check_lets_write_skew_through_at_serializable() {
    let both = without_and_with(Defect::CommitSkipsReadCheck, |defects| {
        commits(defects, Isolation::Serializable, ["x", "y"])
    });
    assert_eq!(both, [[true, false], [true, true]]);
}

#[test]
fn txn_reads_latest_shows_what_was_written_after_the_snapshot() {
    let seen = without_and_with(Defect::TxnReadsLatest, |defects| {
        let mut driver = Driver::new(8, defects);
        driver.done(put("x", "1"));
        driver.done(put("x", "2"));
        driver.at(1, "x")
    });
    assert_eq!(seen, [Ok(Some(bytes("1"))), Ok(Some(bytes("2")))]);
}

#[test]
fn lock_without_fencing_lets_a_holder_write_whose_lease_has_ended() {
    let held = without_and_with(Defect::LockWithoutFencing, |defects| {
        let mut driver = Driver::new(8, defects);
        let lease = driver.lease(100);
        let acquired = driver.done(Operation::AcquireLock { name: bytes("l"), lease });
        let Done::LockAcquired { token } = acquired else { panic!("{acquired:?}") };
        driver.pass(100);
        let fence = Condition::LockHeld { name: bytes("l"), token };
        matches!(driver.transact(vec![fence], vec![], vec![]), Done::Transaction { held: true, .. })
    });
    assert_eq!(held, [false, true]);
}
