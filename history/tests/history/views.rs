//! What checkers and reports see of a history.

use labrys_history::{Completion, Event, EventKind, History, Operation, Problem, Process, Value};
use proptest::prelude::*;

use crate::strategies;

fn event(index: u64, process: u64, kind: EventKind, key: Option<i64>, value: i64) -> Event {
    let mut event = Event::new(index, 10 * index, Process::Client(process), kind, "write", Value::Int(value));
    event.key = key.map(Value::Int);
    event
}

#[test]
fn operations_are_in_order_of_invocation_with_their_completions() {
    let history = History::new(vec![
        event(0, 0, EventKind::Invoke, None, 1),
        event(2, 1, EventKind::Invoke, None, 2),
        event(3, 1, EventKind::Ok, None, 2),
        event(5, 0, EventKind::Fail, None, 1),
        event(6, 0, EventKind::Invoke, None, 3),
    ])
    .unwrap();
    let operations = history.operations();
    let seen: Vec<(u64, u64, EventKind, Option<u64>)> = operations
        .iter()
        .map(|operation| {
            (
                operation.invoke_index(),
                operation.process(),
                operation.completion().kind(),
                operation.completion().time_ns(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(0, 0, EventKind::Fail, Some(50)), (2, 1, EventKind::Ok, Some(30)), (6, 0, EventKind::Info, None)]
    );
    assert_eq!(history.event(3).map(|event| event.kind), Some(EventKind::Ok));
    assert_eq!(history.event(4), None);
    assert_eq!(history.end_time_ns(), 60);
}

#[test]
fn keys_are_in_order_of_their_first_invocation_and_keep_a_completion_without_key() {
    let history = History::new(vec![
        event(0, 0, EventKind::Invoke, Some(9), 1),
        event(1, 1, EventKind::Invoke, Some(2), 1),
        event(2, 2, EventKind::Invoke, None, 1),
        event(3, 1, EventKind::Info, None, 1),
        event(4, 0, EventKind::Ok, Some(9), 1),
        event(5, 0, EventKind::Invoke, Some(2), 1),
    ])
    .unwrap();
    let keys: Vec<(Option<Value>, Vec<u64>)> = history
        .by_key()
        .into_iter()
        .map(|(key, operations)| {
            (key.cloned(), operations.iter().map(|operation| operation.invoke_index()).collect())
        })
        .collect();
    assert_eq!(keys, [(Some(Value::Int(9)), vec![0]), (Some(Value::Int(2)), vec![1, 5]), (None, vec![2])]);
}

#[test]
fn events_that_break_an_invariant_make_no_history() {
    let events = vec![event(0, 0, EventKind::Invoke, None, 1), event(1, 3, EventKind::Ok, None, 1)];
    let (position, problem) = History::new(events).unwrap_err();
    assert_eq!(position, 1);
    assert!(matches!(problem, Problem::UnmatchedCompletion { process: 3, .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_client_event_is_in_exactly_one_operation(history in strategies::history(60)) {
        let operations = history.operations();
        let mut named: Vec<u64> = operations
            .iter()
            .flat_map(|operation| [Some(operation.invoke_index()), operation.completion().index()])
            .flatten()
            .collect();
        named.sort_unstable();
        let of_clients = history.events().iter().filter(|event| event.process.client().is_some());
        prop_assert!(of_clients.map(|event| event.index).eq(named));
        for operation in &operations {
            if let Some(index) = operation.completion().index() {
                let completion = history.event(index).unwrap();
                prop_assert_eq!(completion.process.client(), Some(operation.process()));
                prop_assert_eq!(completion.kind, operation.completion().kind());
                prop_assert!(index > operation.invoke_index());
            } else {
                let without = Completion::Info { time_ns: None, index: None, value: &Value::Nil, error: None };
                prop_assert_eq!(operation.completion(), without);
            }
        }
        let mut by_key: Vec<u64> =
            history.by_key().into_iter().flat_map(|(_, operations)| operations).map(|o| o.invoke_index()).collect();
        by_key.sort_unstable();
        prop_assert!(operations.iter().map(|operation| operation.invoke_index()).eq(by_key));
    }
}

#[test]
fn what_histories_have_millions_of_is_small() {
    let word = size_of::<usize>();
    assert_eq!((size_of::<Value>(), size_of::<Option<Value>>()), (2 * 8, 2 * 8));
    assert!(size_of::<Event>() <= 88, "{}", size_of::<Event>());
    assert_eq!(size_of::<Operation<'_>>(), 2 * word);
}
