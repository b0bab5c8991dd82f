//! The model `multi-register`.

use std::collections::BTreeMap;

use labrys_checker::models::Map;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

/// `:x` and `:y` are 0 at first, `:z` is nothing.
struct Registers;

type State = BTreeMap<Value, Value>;

fn initial() -> [(Value, Value); 2] {
    [(Value::keyword("x"), Value::Int(0)), (Value::keyword("y"), Value::Int(0))]
}

fn step(f: &str, key: &Value, value: Value) -> Value {
    Value::vector(vec![Value::keyword(f), key.clone(), value])
}

impl Object for Registers {
    type State = State;
    type Model = Map;
    const NAME: &'static str = "multi-register";

    fn start(_: &mut Rng) -> (Value, State) {
        (Value::map(initial().to_vec()), initial().into_iter().collect())
    }

    fn model(initial: &Value) -> Map {
        Map::multi_register(initial)
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let mut steps = Vec::new();
        for _ in 0..[1, 1, 1, 2, 2, 3][rng.random_range(0..6)] {
            let key = Value::keyword(["x", "y", "z"][rng.random_range(0..3)]);
            let value = Value::Int(rng.random_range(0..2));
            steps.push(match rng.random_range(0..4) {
                0 => step("read", &key, Value::Nil),
                1 => step("r", &key, Value::Nil),
                2 => step("write", &key, value),
                _ => step("w", &key, value),
            });
        }
        Called { process, key: None, f: "txn", argument: Value::vector(steps) }
    }

    /// Reads of `:x`, which is never nothing, may be answered by nil: not known.
    fn answers(state: &State, call: &Called) -> Vec<(Answer, State)> {
        let (mut after, mut all, mut some) = (state.clone(), Vec::new(), Vec::new());
        for asked in call.argument.as_sequence().unwrap() {
            let [f, key, value] = asked.as_sequence().unwrap() else { panic!("{asked}") };
            let name = f.as_text().unwrap();
            if name.starts_with('r') {
                let read = after.get(key).cloned().unwrap_or_default();
                all.push(step(name, key, read.clone()));
                let is_x = key.as_text() == Some("x");
                some.push(step(name, key, if is_x { Value::Nil } else { read }));
            } else {
                after.insert(key.clone(), value.clone());
                all.push(asked.clone());
                some.push(asked.clone());
            }
        }
        let ok = |steps| (Answer::Ok(Value::vector(steps)), after.clone());
        if all == some { vec![ok(all)] } else { vec![ok(all), ok(some)] }
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    harness::agrees_with_brute_force::<Registers>(&["txn info", "txn ok"]);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Registers>(true);
}

#[test]
fn few_calls_lead_to_few_states() {
    harness::few_calls_lead_to_few_states::<Registers>(12);
}
