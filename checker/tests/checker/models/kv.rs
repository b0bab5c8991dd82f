//! The model `kv`.

use std::collections::BTreeMap;

use labrys_checker::models::Map;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

/// Keys that are empty at first and can become so again, or hold the empty text at first and never become empty.
struct Texts<const EMPTY: bool, const KEYS: i64>;

impl<const EMPTY: bool, const KEYS: i64> Object for Texts<EMPTY, KEYS> {
    /// The keys that are not as they were at first.
    type State = BTreeMap<Value, Value>;
    type Model = Map;
    const NAME: &'static str = "kv";

    fn start(_: &mut Rng) -> (Value, Self::State) {
        (if EMPTY { Value::Nil } else { Value::string("") }, BTreeMap::new())
    }

    fn model(initial: &Value) -> Map {
        Map::new(initial)
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let mut value = || Value::string(["", "a", "b"][rng.random_range(0..3)]);
        let (a, b) = (value(), value());
        let pair = Value::vector(vec![a.clone(), b]);
        let (f, argument) = match rng.random_range(0..if EMPTY { 8 } else { 6 }) {
            0 | 1 => ("get", Value::Nil),
            2 => ("put", a),
            3 => ("append", a),
            4 | 5 => ("cas", pair),
            6 => ("put", Value::Nil),
            _ => ("delete", Value::Nil),
        };
        let key = Value::Int(rng.random_range(0..KEYS));
        if rng.random_bool(0.5) {
            return Called { process, key: Some(key), f, argument };
        }
        let argument = match (f, rng.random_bool(0.5)) {
            ("get" | "delete", true) => key,
            _ => Value::vector(vec![key, argument]),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(state: &Self::State, call: &Called) -> Vec<(Answer, Self::State)> {
        let (key, argument) = match (&call.key, call.argument.as_sequence()) {
            (Some(key), _) => (key, &call.argument),
            (None, Some([key, argument])) => (key, argument),
            (None, _) => (&call.argument, &Value::Nil),
        };
        let initial = if EMPTY { Value::Nil } else { Value::string("") };
        let holds = state.get(key).unwrap_or(&initial).clone();
        let with = |value: Value| {
            let mut state = state.clone();
            if value == initial {
                state.remove(key);
            } else {
                state.insert(key.clone(), value);
            }
            state
        };
        let done = Answer::Ok(call.argument.clone());
        let text = |value: &Value| value.as_text().unwrap_or_default().to_owned();
        match (call.f, argument.as_sequence()) {
            ("get", _) => {
                let mut results = vec![holds.clone()];
                if call.key.is_none() {
                    results.push(Value::vector(vec![key.clone(), holds.clone()]));
                }
                if !EMPTY {
                    results.push(Value::Nil);
                }
                let mut answers: Vec<_> =
                    results.into_iter().map(|result| (Answer::Ok(result), state.clone())).collect();
                if holds.is_nil() {
                    answers.push((Answer::Fail("not-found"), state.clone()));
                }
                answers
            }
            ("cas", Some([expected, new])) if *expected == holds => vec![(done, with(new.clone()))],
            ("cas", _) => {
                vec![(Answer::Fail("precondition-failed"), state.clone()), (Answer::Fail(""), state.clone())]
            }
            ("append", _) => vec![(done, with(Value::string(text(&holds) + &text(argument))))],
            ("delete", _) if holds.is_nil() => {
                vec![(done, state.clone()), (Answer::Fail("not-found"), state.clone())]
            }
            ("delete", _) => vec![(done, with(Value::Nil))],
            _ => vec![(done, with(argument.clone()))],
        }
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes = [
        "append info",
        "append ok",
        "cas ",
        "cas info",
        "cas ok",
        "cas precondition-failed",
        "delete info",
        "delete not-found",
        "delete ok",
        "get info",
        "get not-found",
        "get ok",
        "put info",
        "put ok",
    ];
    harness::agrees_with_brute_force::<Texts<true, 2>>(&outcomes);
}

#[test]
fn with_keys_that_are_never_empty_it_agrees_with_brute_force_too() {
    let outcomes = [
        "append info",
        "append ok",
        "cas ",
        "cas info",
        "cas ok",
        "cas precondition-failed",
        "get info",
        "get ok",
        "put info",
        "put ok",
    ];
    harness::agrees_with_brute_force::<Texts<false, 2>>(&outcomes);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Texts<true, 2>>(true);
}

#[test]
fn roles_are_true_of_one_key() {
    harness::roles_are_true::<Texts<true, 1>>();
}
