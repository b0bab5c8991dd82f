//! Budgets hold, and what they cut short is unknown and says what made it hard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use labrys_checker::linearizable::{Algorithm, Interval};
use labrys_checker::models::{List, Map, Queue};
use labrys_checker::verdict::{CheckVerdict, CutShort, Evidence, ExplanationPart, Validity};
use labrys_checker::{Budget, CheckConfig, Linearizable, Meaning, Model, ModelError, Removal, check};
use labrys_history::{Event, EventKind, History, Operation, Process, Value};

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

/// Counts the work of a model, so that a clock can be made of it: a step costs one, and one for each 128 bytes of the state.
struct Working<M> {
    model: M,
    work: Arc<AtomicU64>,
}

impl<M> Working<M> {
    fn works(&self, units: usize) {
        self.work.fetch_add(units as u64, Ordering::Relaxed);
    }
}

impl<M: Model> Model for Working<M> {
    type State = M::State;
    type Call = M::Call;
    type Refusal = M::Refusal;

    fn name(&self) -> &str {
        self.model.name()
    }

    fn init(&self) -> M::State {
        self.model.init()
    }

    fn meaning(&self, operation: &Operation<'_>) -> Result<Meaning<M::Call>, ModelError> {
        self.model.meaning(operation)
    }

    fn step(&self, state: &M::State, call: &M::Call) -> Result<M::State, M::Refusal> {
        let next = self.model.step(state, call);
        self.works(1 + self.model.heap_bytes(next.as_ref().unwrap_or(state)) / 128);
        next
    }

    fn is_pure(&self, call: &M::Call) -> bool {
        self.model.is_pure(call)
    }

    fn is_finite(&self) -> bool {
        self.model.is_finite()
    }

    fn heap_bytes(&self, state: &M::State) -> usize {
        self.model.heap_bytes(state)
    }

    fn removal(&self, intervals: &[Interval<M::Call>]) -> Removal {
        self.model.removal(intervals)
    }

    fn describe_call(&self, call: &M::Call) -> String {
        self.model.describe_call(call)
    }

    fn describe_state(&self, state: &M::State) -> String {
        self.works(1 + self.model.heap_bytes(state) / 128);
        self.model.describe_state(state)
    }
}

/// The verdict within so much work, and the work that it took.
fn judged_within<M: Model + 'static>(
    model: M,
    history: &History,
    limit: u64,
    algorithm: Algorithm,
) -> (CheckVerdict, u64) {
    let work = Arc::new(AtomicU64::new(0));
    let clock = || Duration::from_micros(work.load(Ordering::Relaxed));
    let budget = Budget::unlimited().with_time_limit(&clock, Duration::from_micros(limit));
    let checker = Linearizable::new(Working { model, work: work.clone() });
    let mut config = CheckConfig::default().with(checker).within(budget);
    config.context.algorithm = algorithm;
    let verdict = check(history, &config).unwrap().checks.swap_remove(0);
    (verdict, work.load(Ordering::Relaxed))
}

/// So many operations of one kind at the same time, and then one that nothing explains.
fn concurrent(number: u64, f: &str, value: impl Fn(u64) -> Value, last: (&str, Value, Value)) -> History {
    let event = |index, process, kind, f: &str, value| {
        Event::new(index, index, Process::Client(process), kind, f, value)
    };
    let mut events: Vec<Event> = (0..number).map(|n| event(n, n, EventKind::Invoke, f, value(n))).collect();
    events.extend((0..number).map(|n| event(number + n, n, EventKind::Ok, f, value(n))));
    events.push(event(2 * number, 0, EventKind::Invoke, last.0, last.1));
    events.push(event(2 * number + 1, 0, EventKind::Ok, last.0, last.2));
    History::from_validated(events)
}

/// What a search does between two looks, with the states of these histories.
const SLACK: u64 = 30_000;

fn assert_held<M: Model + 'static>(make: impl Fn() -> M, history: &History, name: &str) {
    for algorithm in [Algorithm::Auto, Algorithm::DepthFirst, Algorithm::BreadthFirst] {
        for limit in [0, 20_000, 200_000, 500_000] {
            let (verdict, work) = judged_within(make(), history, limit, algorithm);
            assert!(work <= limit + limit / 10 + SLACK, "{name}, {algorithm:?}: {work} of {limit}");
            assert_eq!(
                verdict.validity,
                Validity::Unknown,
                "{name}, {algorithm:?}, {limit}: {}",
                verdict.reason
            );
        }
    }
}

#[test]
fn the_time_limit_holds_where_states_are_large_and_many() {
    let texts = |n: u64| Value::string(char::from(b'a' + n as u8 % 26).to_string().repeat(1 << 10));
    let pair = |value: Value| Value::vector([Value::Int(0), value]);
    let kv =
        concurrent(20, "append", |n| pair(texts(n)), ("get", pair(Value::Nil), pair(Value::string("none"))));
    assert_held(|| Map::new(&Value::Nil), &kv, "kv");
    let number = |n: u64| Value::Int(n as i64 % 40);
    let list = concurrent(60, "append", number, ("read", Value::Nil, Value::vector([Value::Int(-1)])));
    assert_held(List::default, &list, "list");
    let queue = concurrent(60, "enqueue", number, ("dequeue", Value::Nil, Value::Int(-1)));
    assert_held(Queue::default, &queue, "queue");
}

/// Long texts one after the other, and a wrong read at the end: the search is over soon, and telling of it takes as long as it did.
#[test]
fn an_explanation_that_runs_out_of_time_says_so_and_leaves_the_verdict() {
    let pair = |value: Value| Value::vector([Value::Int(0), value]);
    let event = |index, kind, f: &str, value| Event::new(index, index, Process::Client(0), kind, f, value);
    let mut events = Vec::new();
    for n in 0..400 {
        let text = pair(Value::string("x".repeat(1 << 10)));
        events.push(event(2 * n, EventKind::Invoke, "append", text.clone()));
        events.push(event(2 * n + 1, EventKind::Ok, "append", text));
    }
    events.push(event(800, EventKind::Invoke, "get", pair(Value::Nil)));
    events.push(event(801, EventKind::Ok, "get", pair(Value::string("y"))));
    let history = History::from_validated(events);
    let model = || Map::new(&Value::Nil);
    let (all, whole) = judged_within(model(), &history, u64::MAX >> 1, Algorithm::Auto);
    assert_eq!(all.validity, Validity::Invalid);
    let mut cut_short = BTreeSet::new();
    for twentieth in 1..20 {
        let limit = whole * twentieth / 20;
        let (verdict, work) = judged_within(model(), &history, limit, Algorithm::Auto);
        assert!(work <= limit + limit / 10 + SLACK, "{work} of {limit}");
        let evidence = verdict.partitions[0].evidence.first();
        assert_eq!(evidence.is_some(), verdict.validity == Validity::Invalid, "{}", verdict.reason);
        if let Some(Evidence::NonLinearizable(evidence)) = evidence {
            assert_eq!((evidence.operation, evidence.prefix_end), (800, 801));
            let is_all_there = evidence.minimal.as_ref().is_some_and(|minimal| minimal.is_minimal)
                && !evidence.state.is_empty();
            assert!(is_all_there || !evidence.cut_short.is_empty(), "{limit}: {evidence:?}");
            cut_short.extend(evidence.cut_short.iter().map(|cut| format!("{:?}", cut.part)));
        }
    }
    assert!(cut_short.contains("LongestLinearization"), "{cut_short:?}");
}

/// A register, whose values are written once: its polynomial algorithm bisects.
#[test]
fn a_bisection_that_runs_out_of_time_names_a_prefix_that_is_wrong_though_perhaps_not_the_shortest() {
    let write =
        |n: u64| Op { key: 0, call: Call::Write(n as i64 + 1), invoked: 10 * n, completed: Some(10 * n + 5) };
    let mut ops: Vec<Op> = (0..3_000).map(write).collect();
    ops.push(Op { key: 0, call: Call::Read(7), invoked: 10_001, completed: Some(10_003) });
    let (history, indices) = history_of(&ops);
    let shortest = indices[3_000].1.unwrap();
    let (mut longer, mut exact) = (0, 0);
    for limit in 1..60 {
        // A clock that moves each time that it is looked at.
        let looks = AtomicU64::new(0);
        let clock = || Duration::from_millis(looks.fetch_add(1, Ordering::Relaxed));
        let budget = Budget::unlimited().with_time_limit(&clock, Duration::from_millis(limit));
        let config = CheckConfig::linearizable("register", Some(Value::Int(0))).unwrap().within(budget);
        let verdict = check(&history, &config).unwrap();
        let partition = &verdict.checks[0].partitions[0];
        let Some(Evidence::NonLinearizable(evidence)) = partition.evidence.first() else {
            panic!("{limit}: {}", partition.reason)
        };
        assert!(evidence.prefix_end >= shortest, "{limit}: {}", evidence.prefix_end);
        let is_shortest_prefix = |cut: &CutShort| cut.part == ExplanationPart::ShortestPrefix;
        if evidence.cut_short.iter().any(is_shortest_prefix) {
            longer += u64::from(evidence.prefix_end > shortest);
        } else {
            assert_eq!(evidence.prefix_end, shortest, "{limit}");
            exact += 1;
        }
        let is_done = evidence.cut_short.is_empty();
        let after = looks.into_inner().saturating_sub(limit);
        assert!(after <= 8, "{limit}: {after} looks after the last");
        assert!(is_done || after > 0, "{limit}: {evidence:?}");
    }
    assert!(longer > 3 && exact > 3, "{longer} longer, {exact} exact");
}
