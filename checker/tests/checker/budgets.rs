//! Budgets hold, and what they cut short is unknown and says what made it hard.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use labrys_checker::verdict::{CheckVerdict, Validity};
use labrys_checker::{Budget, CheckConfig, check};
use labrys_history::{Event, EventKind, History, Process, Value};

use crate::support::{Call, Op, history_of};

/// A history that no search of this kind can decide soon: many concurrent compare-and-sets on values written twice, and a read of a
/// value that never was, concurrent with all of them.
fn hard() -> History {
    let writes = (0..60).map(|n| Op { key: 0, call: Call::Write(n + 1), invoked: 0, completed: Some(1_000) });
    let cas = (0..60).map(|n| Op {
        key: 0,
        call: Call::Cas(1 + n * 7 % 60, 1 + n * 11 % 60),
        invoked: 0,
        completed: Some(1_001),
    });
    let never = Op { key: 0, call: Call::Read(-1), invoked: 0, completed: Some(2_000) };
    history_of(&writes.chain(cas).chain([never]).collect::<Vec<_>>()).0
}

fn linearizable_within(budget: Budget<'_>) -> CheckVerdict {
    let config = CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap().within(budget);
    let verdict = check(&hard(), &config).unwrap();
    verdict.checks.into_iter().next().unwrap()
}

#[test]
fn the_time_limit_is_kept_on_the_clock_that_was_handed_in() {
    // A clock that moves a millisecond each time it is looked at.
    let looks = AtomicU64::new(0);
    let clock = || Duration::from_millis(looks.fetch_add(1, Ordering::Relaxed));
    let verdict = linearizable_within(Budget::unlimited().with_time_limit(&clock, Duration::from_millis(50)));
    assert_eq!(verdict.validity, Validity::Unknown);
    assert_eq!(
        verdict.reason,
        "key 0: the time limit of 50ms ran out with an order for 65 of 121 completed operations; up to 121 at a time, and \
         0 crashed"
    );
    assert_eq!(looks.into_inner(), 51, "looked at until it said 50, and not again");
}

#[test]
fn the_memory_limit_is_kept() {
    let limit = 8 << 20;
    let verdict = linearizable_within(Budget::unlimited().with_memory_limit_bytes(limit));
    assert_eq!(verdict.validity, Validity::Unknown);
    assert!(verdict.reason.starts_with("key 0: the memory limit of 8 MiB was reached"), "{}", verdict.reason);
    let peak = verdict.partitions[0].statistics["peak-bytes"].as_u64().unwrap() as usize;
    assert!(peak <= limit + limit / 5, "{peak}");
    assert!(peak > limit / 4, "{peak}: given up long before the limit");
}

/// Seven texts of 1 KiB are appended to one key at the same time, in whatever order, and none was there afterwards: 13,700 states, 82 MiB.
#[test]
fn what_states_hold_on_the_heap_counts_as_memory() {
    let event = |index, process, kind, f, value| {
        Event::new(index, index, Process::Client(process), kind, f, Value::vector(vec![Value::Int(0), value]))
    };
    let text = |n: u64| Value::string(n.to_string().repeat(1 << 10));
    let mut events: Vec<Event> = (0..7).map(|n| event(n, n, EventKind::Invoke, "append", text(n))).collect();
    events.extend((0..7).map(|n| event(7 + n, n, EventKind::Ok, "append", text(n))));
    events.push(event(14, 0, EventKind::Invoke, "get", Value::Nil));
    events.push(event(15, 0, EventKind::Ok, "get", Value::string("none")));
    let history = History::from_validated(events);
    let verdict_within = |budget| {
        let config = CheckConfig::linearizable("kv", None).unwrap().within(budget);
        check(&history, &config).unwrap().validity
    };
    assert_eq!(verdict_within(Budget::unlimited().with_memory_limit_bytes(8 << 20)), Validity::Unknown);
    assert_eq!(verdict_within(Budget::unlimited()), Validity::Invalid);
}

#[test]
fn a_caller_who_cancels_gets_unknown() {
    let cancelled = AtomicBool::new(true);
    let verdict = linearizable_within(Budget { cancelled: Some(&cancelled), ..Budget::unlimited() });
    assert_eq!(verdict.validity, Validity::Unknown);
    assert!(verdict.reason.contains("the check was cancelled"), "{}", verdict.reason);
}

#[test]
fn a_violation_that_was_found_outweighs_a_partition_that_was_given_up() {
    let (hard_events, bad_read) =
        (hard(), Op { key: 1, call: Call::Read(9), invoked: 0, completed: Some(1) });
    let (bad, _) = history_of(&[bad_read]);
    let mut events: Vec<_> = bad.events().iter().chain(hard_events.events()).cloned().collect();
    for (index, event) in events.iter_mut().enumerate() {
        event.index = index as u64;
    }
    let budget = Budget::unlimited().with_memory_limit_bytes(1 << 20);
    let config = CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap().within(budget);
    let verdict = check(&History::from_validated(events), &config).unwrap();
    assert_eq!(verdict.validity, Validity::Invalid);
    let validities: Vec<_> = verdict.checks[0].partitions.iter().map(|p| p.validity).collect();
    assert_eq!(validities, [Validity::Unknown, Validity::Invalid]);
}
