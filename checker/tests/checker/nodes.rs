//! The checkers of what the observer and the nemesis recorded.

use labrys_checker::invariants::{
    FaultsOverlapped, FinalReads, NoCrashes, NodeInvariants, OneLeaderPerTerm, Recovery, ReplicasAgree,
};
use labrys_checker::verdict::{CheckVerdict, Evidence, Validity};
use labrys_checker::{CheckConfig, Checker, check};
use labrys_history::{Event, EventKind, History, Process, Value};

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (Value::string(name), value)).collect())
}

fn observed<const N: usize>(events: [(&str, Value); N]) -> History {
    let events = events.into_iter().enumerate().map(|(index, (f, value))| {
        Event::new(index as u64, index as u64, Process::observer(), EventKind::Info, f, value)
    });
    History::from_validated(events.collect())
}

fn leader(node: &str, term: i64) -> (&'static str, Value) {
    ("leader", map([("node", node.into()), ("term", term.into())]))
}

fn digest(node: &str, applied: i64, digest: &str) -> (&'static str, Value) {
    ("digest", map([("node", node.into()), ("applied", applied.into()), ("digest", digest.into())]))
}

fn exit(node: &str, status: &str, expected: bool, log: &[&str]) -> (&'static str, Value) {
    let log = Value::Vector(log.iter().map(|&line| line.into()).collect());
    let value =
        map([("node", node.into()), ("status", status.into()), ("expected", expected.into()), ("log", log)]);
    ("exit", value)
}

fn judged(history: &History, checker: impl Checker + 'static) -> CheckVerdict {
    check(history, &CheckConfig::default().with(checker)).unwrap().checks.remove(0)
}

/// Asserts that `checker` finds one thing, says `reason` and names `events`.
fn assert_broken(history: &History, checker: impl Checker + 'static, reason: &str, events: &[u64]) {
    let verdict = judged(history, checker);
    assert_eq!((verdict.validity, verdict.reason.as_str()), (Validity::Invalid, reason));
    let [Evidence::Broken { what, events: named }] = &verdict.evidence[..] else { panic!("{verdict:?}") };
    assert_eq!((what.as_str(), &named[..]), (reason, events));
}

#[test]
fn two_nodes_that_lead_one_term_are_found() {
    let fine = [leader("n1", 1), leader("n1", 1), leader("n2", 2), leader("n1", 3)];
    assert_eq!(judged(&observed(fine), OneLeaderPerTerm).validity, Validity::Valid);
    let history = observed([leader("n1", 1), leader("n2", 2), leader("n2", 2), leader("n3", 2)]);
    assert_broken(&history, OneLeaderPerTerm, "term 2 had 2 leaders: n2, n3", &[1, 3]);
}

#[test]
fn a_system_that_did_not_come_back_is_not_known_to_be_right() {
    let recovery = |recovered, what: &str| {
        let fields =
            [("recovered", Value::Bool(recovered)), ("what", what.into()), ("after_ms", Value::Int(7))];
        observed([("recovery", map(fields))])
    };
    let back = judged(&recovery(true, "recovered after 7 ms"), Recovery);
    assert_eq!((back.validity, back.reason.as_str()), (Validity::Valid, ""));
    assert_eq!(back.statistics["recovery_ms"], 7);
    let lost = judged(&recovery(false, "n3 is not there"), Recovery);
    assert_eq!((lost.validity, lost.reason.as_str()), (Validity::Unknown, "n3 is not there"));
}

#[test]
fn replicas_that_differ_at_an_index_are_found() {
    let fine = [digest("n1", 5, "aa"), digest("n2", 6, "bb"), digest("n2", 5, "aa")];
    assert_eq!(judged(&observed(fine), ReplicasAgree).validity, Validity::Valid);
    let history = observed([digest("n1", 5, "aa"), digest("n2", 5, "aa"), digest("n3", 5, "cc")]);
    assert_broken(&history, ReplicasAgree, "replicas differ at index 5: n1 has aa, n3 has cc", &[0, 2]);
}

#[test]
fn a_replica_that_differs_from_itself_is_found() {
    let history = observed([digest("n1", 5, "aa"), digest("n1", 5, "bb")]);
    assert_broken(&history, ReplicasAgree, "replicas differ at index 5: n1 has aa, n1 has bb", &[0, 1]);
}

#[test]
fn a_node_that_ended_by_itself_is_found() {
    let fine = [exit("n1", "signal 9", true, &[])];
    assert_eq!(judged(&observed(fine), NoCrashes).validity, Validity::Valid);
    let history = observed([exit("n2", "exit 101", false, &["starting", "panicked at wal.rs:10", "  "])]);
    let reason = "n2 ended by itself (exit 101); its log ends: panicked at wal.rs:10";
    assert_broken(&history, NoCrashes, reason, &[0]);
}

#[test]
fn a_node_that_its_environment_ended_makes_a_run_unknown_and_a_crash_beside_it_invalid() {
    let ended = |node: &str, why: Option<&str>| {
        let (f, value) = exit(node, "exit code 6", false, &["no space left"]);
        let Value::Map(fields) = value else { panic!("a map") };
        let environment = why.map(|why| ("environment".into(), why.into()));
        (f, Value::Map(fields.iter().cloned().chain(environment).collect()))
    };
    let by_the_disk = judged(&observed([ended("n1", Some("its disk is full"))]), NoCrashes);
    assert_eq!(by_the_disk.validity, Validity::Unknown);
    assert_eq!(
        by_the_disk.reason,
        "n1 was ended by its environment (exit code 6: its disk is full); its log ends: no space left"
    );
    assert_eq!((by_the_disk.evidence.len(), &by_the_disk.statistics["ended-by-environment"]), (0, &1.into()));
    let both = judged(&observed([ended("n1", Some("its disk is full")), ended("n2", None)]), NoCrashes);
    assert_eq!((both.validity, both.evidence.len()), (Validity::Invalid, 1));
}

#[test]
fn a_node_that_complains_of_itself_is_found() {
    let complaint = map([("node", "n1".into()), ("what", "commit index went back".into())]);
    let history = observed([("invariant", complaint)]);
    assert_broken(&history, NodeInvariants, "n1 says: commit index went back", &[0]);
}

#[test]
fn several_findings_are_counted_and_the_first_is_told() {
    let history = observed([leader("n1", 1), leader("n2", 1), leader("n1", 2), leader("n3", 2)]);
    let verdict = judged(&history, OneLeaderPerTerm);
    assert_eq!(verdict.reason, "term 1 had 2 leaders: n1, n2 (and 1 more)");
    assert_eq!(verdict.evidence.len(), 2);
}

#[test]
fn without_events_of_the_observer_the_invariants_are_valid_and_say_that_they_saw_none() {
    let checkers: [Box<dyn Checker>; 4] =
        [Box::new(OneLeaderPerTerm), Box::new(ReplicasAgree), Box::new(NoCrashes), Box::new(NodeInvariants)];
    let config = CheckConfig { checkers: checkers.into(), ..CheckConfig::default() };
    let verdict = check(&observed([("weather", Value::Nil)]), &config).unwrap();
    assert_eq!(verdict.validity, Validity::Valid);
    assert!(verdict.checks.iter().all(|check| check.statistics["events"] == 0));
}

#[test]
fn an_event_that_breaks_the_convention_is_an_error_and_no_violation() {
    let history =
        observed([leader("n1", 1), ("leader", map([("node", "n2".into()), ("term", "two".into())]))]);
    let error = check(&history, &CheckConfig::default().with(OneLeaderPerTerm)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "event 1: leader of observer wants {node: string, term: integer}, but has {\"node\" \"n2\", \"term\" \"two\"}"
    );
}

/// A history of one write from 100 to 200 and one that stays open if `is_open`, with a fault that is applied and undone.
fn with_fault(apply_ns: u64, undo_ns: Option<u64>, is_open: bool) -> History {
    let client = |kind| (Process::Client(0), kind, "write", Value::Int(1));
    let fault = |action: &str, phase: &str| {
        let value = map([("fault", 7.into()), ("action", action.into()), ("phase", phase.into())]);
        (Process::nemesis(), EventKind::Info, "partition", value)
    };
    let mut events = vec![(100, client(EventKind::Invoke)), (apply_ns - 1, fault("apply", "invoke"))];
    events.push((apply_ns, fault("apply", "complete")));
    if !is_open {
        events.push((200, client(EventKind::Ok)));
    }
    if let Some(undo_ns) = undo_ns {
        events.push((undo_ns, fault("undo", "invoke")));
        events.push((undo_ns + 1000, fault("undo", "complete")));
    }
    events.sort_by_key(|&(time, _)| time);
    let events = events.into_iter().enumerate().map(|(index, (time, (process, kind, f, value)))| {
        Event::new(index as u64, time, process, kind, f, value)
    });
    History::from_validated(events.collect())
}

#[test]
fn faults_that_met_no_operation_make_a_run_unknown() {
    for (history, expected) in [
        (with_fault(10, Some(20), false), Validity::Unknown),
        (with_fault(10, Some(99), false), Validity::Unknown),
        (with_fault(10, Some(100), false), Validity::Valid),
        (with_fault(10, None, false), Validity::Valid),
        (with_fault(150, Some(160), false), Validity::Valid),
        (with_fault(200, Some(260), false), Validity::Valid),
        (with_fault(201, Some(260), false), Validity::Unknown),
        (with_fault(201, Some(260), true), Validity::Valid),
    ] {
        let verdict = judged(&history, FaultsOverlapped { requested: true });
        assert_eq!(verdict.validity, expected, "{history:?}");
        assert_eq!(verdict.statistics["faults"], 1);
        let not_requested = judged(&history, FaultsOverlapped { requested: false });
        assert_eq!(not_requested.validity, Validity::Valid);
    }
}

#[test]
fn faults_that_were_asked_for_and_never_applied_make_a_run_unknown() {
    let verdict = judged(&History::default(), FaultsOverlapped { requested: true });
    assert_eq!(verdict.validity, Validity::Unknown);
    assert_eq!(verdict.reason, "faults were asked for, but none was applied");
}

/// The same history, in which the end of applying and of undoing say whether the fault has bitten.
fn saying(history: &History, at_apply: bool, at_undo: bool) -> History {
    let events = history.events().iter().cloned().map(|mut event| {
        let word = |name| event.value.get(name).and_then(Value::as_text).map(str::to_owned);
        let bit = match (word("action").as_deref(), word("phase").as_deref()) {
            (Some("apply"), Some("complete")) => Some(at_apply),
            (Some("undo"), Some("complete")) => Some(at_undo),
            _ => None,
        };
        if let (Value::Map(fields), Some(bit)) = (&event.value, bit) {
            event.value = Value::Map(fields.iter().cloned().chain([("bit".into(), bit.into())]).collect());
        }
        event
    });
    History::from_validated(events.collect())
}

#[test]
fn only_a_fault_that_bit_counts_and_a_partition_shows_it_when_it_is_undone() {
    let undone = with_fault(150, Some(160), false);
    let never_undone = with_fault(150, None, false);
    for (history, expected) in [
        (saying(&undone, false, false), Validity::Unknown),
        (saying(&undone, false, true), Validity::Valid),
        (saying(&undone, true, false), Validity::Valid),
        (saying(&never_undone, false, true), Validity::Unknown),
        (saying(&never_undone, true, true), Validity::Valid),
    ] {
        let verdict = judged(&history, FaultsOverlapped { requested: true });
        assert_eq!(verdict.validity, expected, "{history:?}");
        assert_eq!(judged(&history, FaultsOverlapped { requested: false }).validity, Validity::Valid);
    }
    let toothless = judged(&saying(&undone, false, false), FaultsOverlapped { requested: true });
    assert_eq!(toothless.reason, "none of the 1 faults had an effect");
    assert_eq!(toothless.statistics["faults-that-bit"], 0);
}

#[test]
fn a_fault_that_could_not_be_applied_meets_nothing() {
    let history = with_fault(150, Some(160), false);
    let spoilt = history.events().iter().cloned().map(|event| {
        let is_applied = event.value.get("phase").and_then(Value::as_text) == Some("complete");
        event.with_error(is_applied.then(|| Value::from("no such rule")))
    });
    let verdict = judged(&History::from_validated(spoilt.collect()), FaultsOverlapped { requested: true });
    assert_eq!((verdict.validity, &verdict.statistics["faults"]), (Validity::Unknown, &0.into()));
}

/// Writes of keys 1 and 2, the beginning of the final reads, and reads of these keys that end so.
fn with_final_reads(recovered: bool, ends: [EventKind; 2]) -> History {
    let mut events: Vec<Event> = Vec::new();
    let mut add = |process: Process, kind, f: &str, key: Option<i64>, value: Value| {
        let index = events.len() as u64;
        let event = Event::new(index, index, process, kind, f, value);
        events.push(Event { key: key.map(Value::Int), ..event });
    };
    for key in [1, 2] {
        add(Process::Client(0), EventKind::Invoke, "write", Some(key), Value::Int(7));
        add(Process::Client(0), EventKind::Ok, "write", Some(key), Value::Int(7));
        add(Process::Client(0), EventKind::Invoke, "read", Some(key), Value::Nil);
        add(Process::Client(0), EventKind::Ok, "read", Some(key), Value::Int(7));
    }
    let value = map([("recovered", recovered.into())]);
    add(Process::observer(), EventKind::Info, "final-reads", None, value);
    for (key, end) in [1_i64, 2].into_iter().zip(ends) {
        add(Process::Client(key.cast_unsigned()), EventKind::Invoke, "read", Some(key), Value::Nil);
        add(Process::Client(key.cast_unsigned()), end, "read", Some(key), Value::Int(7));
    }
    History::from_validated(events)
}

#[test]
fn a_key_without_a_final_read_makes_a_run_unknown_if_the_system_had_recovered() {
    use EventKind::{Fail, Info, Ok};
    for (recovered, ends, expected) in [
        (true, [Ok, Ok], Validity::Valid),
        (true, [Ok, Fail], Validity::Unknown),
        (true, [Info, Ok], Validity::Unknown),
        (false, [Fail, Fail], Validity::Valid),
    ] {
        let verdict = judged(&with_final_reads(recovered, ends), FinalReads);
        assert_eq!(verdict.validity, expected, "{recovered} {ends:?}");
    }
    let verdict = judged(&with_final_reads(true, [Ok, Fail]), FinalReads);
    let reason = "the system had recovered, but 1 of 2 keys have no successful final read: 2";
    assert_eq!((verdict.reason.as_str(), &verdict.statistics["keys"]), (reason, &2.into()));
    let says_nothing = judged(&with_fault(150, Some(160), false), FinalReads);
    assert_eq!((says_nothing.validity, &says_nothing.statistics["keys"]), (Validity::Valid, &0.into()));
}

#[test]
fn a_run_is_judged_by_all_of_them() {
    let config = CheckConfig::default().with_run_checkers(true);
    let names: Vec<&str> = config.checkers.iter().map(|checker| checker.name()).collect();
    assert_eq!(
        names,
        [
            "statistics",
            "one-leader-per-term",
            "replicas-agree",
            "no-crashes",
            "node-invariants",
            "faults-overlapped",
            "recovery",
            "final-reads"
        ]
    );
}
