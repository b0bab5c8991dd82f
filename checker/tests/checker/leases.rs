//! The checker `leases-last`: hand-made histories, and random ones of a store that is right or not against a naive oracle.

use labrys_checker::invariants::LeasesLast;
use labrys_checker::verdict::Validity::{self, Invalid, Valid};
use labrys_checker::verdict::{CheckVerdict, Evidence};
use labrys_checker::{CheckConfig, check};
use labrys_history::{Event, EventKind, History, Process, Value};
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

const TTL_MS: u64 = 1000;
const LEASE: i64 = 7;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A read: of something or not.
    Ok(bool),
    Unknown,
    Fail,
    Info,
}

const OK: End = End::Ok(true);
const NIL: End = End::Ok(false);

/// An operation from one millisecond to another.
#[derive(Clone, Copy, Debug)]
struct Op {
    f: &'static str,
    from_ms: u64,
    to_ms: u64,
    end: End,
    lease: i64,
}

fn op(f: &'static str, from_ms: u64, to_ms: u64, end: End) -> Op {
    Op { f, from_ms, to_ms, end, lease: LEASE }
}

impl Op {
    fn value(self) -> Value {
        match self.f {
            "grant" => TTL_MS.cast_signed().into(),
            "put" => Value::vector(vec![self.lease.into(), 1.into()]),
            "read" => Value::Nil,
            _ => self.lease.into(),
        }
    }

    fn completion(self) -> (EventKind, Value, Option<Value>) {
        match (self.end, self.f) {
            (End::Ok(_), "grant") => {
                (EventKind::Ok, Value::vector(vec![self.lease.into(), self.value()]), None)
            }
            (End::Ok(is_there), "read") => {
                (EventKind::Ok, if is_there { 1.into() } else { Value::Nil }, None)
            }
            (End::Ok(_), _) => (EventKind::Ok, self.value(), None),
            (End::Unknown, _) => (EventKind::Fail, self.value(), Some(Value::keyword("lease-unknown"))),
            (End::Fail, _) => (EventKind::Fail, self.value(), Some(Value::keyword("not-leader"))),
            (End::Info, _) => (EventKind::Info, self.value(), Some(Value::keyword("timeout"))),
        }
    }
}

/// The history of these operations, each of a process of its own, and of events of others at a time in milliseconds.
fn history(ops: &[Op], others: &[(u64, Process, &str)]) -> History {
    let mut events: Vec<(u64, u8, Event)> = Vec::new();
    for (process, op) in (0..).zip(ops) {
        let event = |kind, value| Event::new(0, 0, Process::Client(process), kind, op.f, value);
        let (kind, value, error) = op.completion();
        events.push((op.from_ms, 0, event(EventKind::Invoke, op.value())));
        events.push((op.to_ms, 1, event(kind, value).with_error(error)));
    }
    for (ms, process, f) in others {
        events.push((*ms, 0, Event::new(0, 0, process.clone(), EventKind::Info, *f, Value::Nil)));
    }
    events.sort_by_key(|(ms, rank, _)| (*ms, *rank));
    let numbered =
        (0..).zip(events).map(|(index, (ms, _, event))| Event { index, time_ns: ms * 1_000_000, ..event });
    History::from_validated(numbered.collect())
}

fn verdict(history: &History) -> CheckVerdict {
    check(history, &CheckConfig::default().with(LeasesLast)).unwrap().checks.remove(0)
}

fn judged(ops: &[Op]) -> Validity {
    verdict(&history(ops, &[])).validity
}

/// A lease is granted by 10 ms and a key put with it by 30 ms.
fn with(more: &[Op]) -> Vec<Op> {
    [&[op("grant", 0, 10, OK), op("put", 20, 30, OK)], more].concat()
}

#[test]
fn a_key_that_is_gone_before_the_promise_is_over_is_a_violation_and_one_that_is_gone_later_is_not() {
    // Clocks may drift by one per cent: the promise holds for 990 ms after the invocation.
    assert_eq!(judged(&with(&[op("read", 900, 989, NIL)])), Invalid);
    assert_eq!(judged(&with(&[op("read", 900, 990, NIL)])), Valid);
    assert_eq!(judged(&with(&[op("read", 900, 989, OK)])), Valid);
}

#[test]
fn the_evidence_names_the_promise_and_what_was_seen() {
    let verdict = verdict(&history(&with(&[op("keep-alive", 500, 600, OK), op("read", 900, 910, NIL)]), &[]));
    assert_eq!(verdict.reason, "lease 7 had no key any more 410 ms after it was promised for 1000 ms");
    let [Evidence::Broken { events, .. }] = &verdict.evidence[..] else { panic!("{verdict:?}") };
    assert_eq!(events, &[4, 5, 6, 7]);
    assert_eq!(verdict.statistics["promises"], 2);
}

#[test]
fn a_keep_alive_that_was_answered_promises_from_its_invocation_on_however_late_the_answer() {
    let kept = |end| with(&[op("keep-alive", 600, 1900, end), op("read", 1500, 1580, NIL)]);
    assert_eq!(judged(&kept(OK)), Invalid);
    // One that has no answer promises nothing.
    assert_eq!(judged(&kept(End::Info)), Valid);
    assert_eq!(judged(&kept(End::Fail)), Valid);
    // The one before the last still counts for what was seen before the last was invoked.
    let early = [op("keep-alive", 900, 910, OK), op("read", 800, 890, NIL)];
    assert_eq!(judged(&with(&early)), Invalid);
}

#[test]
fn the_answer_that_a_lease_is_not_there_counts_like_a_read_of_nothing() {
    for f in ["keep-alive", "put", "revoke"] {
        assert_eq!(judged(&with(&[op(f, 400, 500, End::Unknown)])), Invalid, "{f}");
        assert_eq!(judged(&with(&[op(f, 400, 1500, End::Unknown)])), Valid, "{f}");
        assert_eq!(judged(&with(&[op(f, 400, 500, End::Fail)])), Valid, "{f}");
    }
    // Of another lease nothing was promised.
    assert_eq!(judged(&with(&[Op { lease: 8, ..op("keep-alive", 400, 500, End::Unknown) }])), Valid);
}

#[test]
fn what_may_have_been_revoked_may_be_gone() {
    let revoked = |from_ms, end| with(&[op("revoke", from_ms, 900, end), op("read", 400, 500, NIL)]);
    assert_eq!(judged(&revoked(500, OK)), Valid);
    assert_eq!(judged(&revoked(300, End::Info)), Valid);
    assert_eq!(judged(&revoked(501, OK)), Invalid);
    assert_eq!(judged(&revoked(300, End::Fail)), Invalid);
}

#[test]
fn a_key_that_was_not_surely_put_with_that_lease_alone_may_be_missing() {
    let granted = op("grant", 0, 10, OK);
    let read = op("read", 30, 40, NIL);
    assert_eq!(judged(&[granted, op("put", 20, 30, OK), read]), Valid, "they touch, so they are concurrent");
    assert_eq!(judged(&[granted, op("put", 20, 29, End::Info), read]), Valid);
    assert_eq!(judged(&[granted, op("put", 20, 29, OK), read]), Invalid);
    for end in [OK, End::Info] {
        let other = Op { lease: 8, ..op("put", 20, 25, end) };
        assert_eq!(judged(&[granted, op("put", 20, 29, OK), other, read]), Valid);
    }
}

#[test]
fn from_the_first_fault_of_a_clock_on_no_promise_counts() {
    let ops = with(&[op("read", 400, 500, NIL)]);
    let nemesis = |ms, f| verdict(&history(&ops, &[(ms, Process::nemesis(), f)])).validity;
    assert_eq!(nemesis(450, "clock"), Valid);
    assert_eq!(nemesis(501, "clock"), Invalid);
    assert_eq!(nemesis(450, "bump"), Valid, "as Jepsen calls it");
    assert_eq!(nemesis(450, "pause"), Invalid);
}

#[test]
fn a_lease_that_never_ends_though_nothing_goes_wrong_is_a_violation() {
    let late_with = |update: Op, first_ms, second_ms| {
        with(&[update, op("read", first_ms, first_ms + 10, OK), op("read", second_ms, second_ms + 10, OK)])
    };
    let update = |from_ms, to_ms, end| Op { lease: 8, ..op("grant", from_ms, to_ms, end) };
    let late = |first_ms, second_ms| late_with(update(1_011, 11_010, OK), first_ms, second_ms);
    // The last renewal was answered at 10 ms, lasts a second, and is given ten more.
    assert_eq!(judged(&late(11_011, 13_022)), Invalid);
    assert_eq!(judged(&late(11_010, 13_022)), Valid, "the first is in time");
    assert_eq!(judged(&late(11_011, 13_021)), Valid, "they are too close to one another");
    let changed = |update| judged(&late_with(update, 11_011, 13_022));
    assert_eq!(changed(update(1_011, 11_010, End::Info)), Valid, "nothing need have been agreed on since");
    assert_eq!(changed(update(1_010, 11_010, OK)), Valid, "this may have been before the end was due");
    assert_eq!(changed(update(1_011, 11_011, OK)), Valid, "this may have been after the first read");
    let disturbed = |ms, process: Process, f: &str| {
        verdict(&history(&late(11_011, 13_022), &[(ms, process, f)])).validity
    };
    assert_eq!(disturbed(5_000, Process::nemesis(), "pause"), Valid);
    assert_eq!(disturbed(14_000, Process::nemesis(), "pause"), Invalid);
    assert_eq!(
        disturbed(500, Process::observer(), "leader"),
        Valid,
        "it may have begun anew under this leader"
    );
    assert_eq!(disturbed(5, Process::observer(), "leader"), Invalid);
    let unsure = [late(11_011, 13_022), vec![op("keep-alive", 40, 50, End::Info)]].concat();
    assert_eq!(judged(&unsure), Valid, "it may have taken effect at any time");
}

#[test]
fn without_leases_there_is_nothing_to_judge() {
    let verdict = verdict(&history(&[op("read", 0, 1, NIL)], &[]));
    assert_eq!((verdict.validity, verdict.reason.as_str()), (Valid, ""));
    assert_eq!(verdict.statistics["leases"], 0);
}

#[test]
fn whoever_judges_by_the_model_judges_the_time_as_well() {
    let early = history(&with(&[op("read", 400, 500, NIL)]), &[]);
    let config = CheckConfig::linearizable("lease", None).unwrap();
    let verdict = check(&early, &config).unwrap();
    let validities: Vec<(&str, Validity)> =
        verdict.checks.iter().map(|check| (check.checker.as_str(), check.validity)).collect();
    assert_eq!(validities, [("linearizable", Valid), ("leases-last", Invalid)]);
}

/// A store with one lease and one key: each operation takes effect at one moment. Leases last `lasts` thousandths of their time, and up
/// to `longer_ms` longer.
fn random_history(rng: &mut Rng, lasts: u64, longer_ms: u64) -> Vec<Op> {
    let mut moments: Vec<u64> = (0..rng.random_range(3..20)).map(|_| rng.random_range(5..4000)).collect();
    moments.sort_unstable();
    let (mut expires_ms, mut is_put) = (0, false);
    let mut ops: Vec<Op> = Vec::new();
    for (position, at_ms) in moments.into_iter().enumerate() {
        let is_alive = at_ms < expires_ms;
        is_put = is_put && is_alive;
        let f = match position {
            0 => "grant",
            1 => "put",
            _ if rng.random_bool(0.02) => "revoke",
            _ => ["read", "read", "keep-alive", "keep-alive", "put"][rng.random_range(0..5)],
        };
        let is_lost = position > 0 && rng.random_bool(0.15);
        let has_effect = !is_lost || rng.random();
        let end = match f {
            "read" => End::Ok(is_put),
            "grant" => OK,
            _ if is_alive => OK,
            _ => End::Unknown,
        };
        if has_effect && end == OK {
            match f {
                "grant" | "keep-alive" => {
                    expires_ms = at_ms + TTL_MS * lasts / 1000 + rng.random_range(0..=longer_ms);
                }
                "put" => is_put = true,
                "revoke" => (expires_ms, is_put) = (0, false),
                _ => {}
            }
        }
        let slowness = [3, 300][rng.random_range(0..2)];
        let from_ms = at_ms - rng.random_range(0..=slowness).min(at_ms);
        let to_ms = at_ms + rng.random_range(0..=slowness);
        ops.push(op(f, from_ms, to_ms, if is_lost { End::Info } else { end }));
    }
    ops
}

/// The definition, word by word, of one lease and one key.
fn is_too_early(ops: &[Op]) -> bool {
    let is = |op: &Op, f: &[&str]| f.contains(&op.f);
    let may_be_revoked_by = |ms| {
        ops.iter()
            .any(|op| is(op, &["revoke"]) && matches!(op.end, End::Ok(_) | End::Info) && op.from_ms <= ms)
    };
    let shows_end = |seen: &Op| {
        let was_put = ops.iter().any(|op| is(op, &["put"]) && op.end == OK && op.to_ms < seen.from_ms);
        seen.end == End::Unknown || (is(seen, &["read"]) && seen.end == NIL && was_put)
    };
    ops.iter().filter(|seen| shows_end(seen) && !may_be_revoked_by(seen.to_ms)).any(|seen| {
        ops.iter().any(|promise| {
            let is_promise = is(promise, &["grant", "keep-alive"]) && promise.end == OK;
            is_promise && promise.from_ms <= seen.to_ms && seen.to_ms < promise.from_ms + TTL_MS * 99 / 100
        })
    })
}

#[test]
fn random_histories_are_judged_as_by_the_definition_and_a_right_store_is_never_accused() {
    let (mut valid, mut invalid) = (0, 0);
    for number in 0..3000 {
        let mut rng = Seed(0x1ea5e).fork_index(number).rng();
        let is_right = number % 3 == 0;
        // A clock that runs too fast by less than what is allowed for, or a store that ends leases early.
        let lasts = if is_right { [1000, 991][rng.random_range(0..2)] } else { rng.random_range(300..=1000) };
        let longer_ms = [0, 500][rng.random_range(0..2)];
        let ops = random_history(&mut rng, lasts, longer_ms);
        let found = judged(&ops);
        assert_eq!(found == Invalid, is_too_early(&ops), "{number}: {ops:#?}");
        assert!(!is_right || found == Valid, "{number} is of a right store: {ops:#?}");
        *if found == Valid { &mut valid } else { &mut invalid } += 1;
    }
    assert!(valid > 1000 && invalid > 300, "{valid} valid, {invalid} invalid");
}
