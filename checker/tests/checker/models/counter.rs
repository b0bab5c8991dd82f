//! The model `counter`.

use labrys_checker::models::Counter;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

struct Number;

impl Object for Number {
    type State = i64;
    type Model = Counter;
    const NAME: &'static str = "counter";

    fn start(rng: &mut Rng) -> (Value, i64) {
        match rng.random_range(0..4) {
            0 => (Value::Int(-1), -1),
            _ => (Value::Nil, 0),
        }
    }

    fn model(initial: &Value) -> Counter {
        Counter::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let number = Value::Int(rng.random_range(-1..=2));
        let (f, argument) = match rng.random_range(0..6) {
            0 => ("add", number),
            1 => ("increment", Value::Nil),
            2 => ("decrement", number),
            3 => ("add-and-get", number),
            4 => ("increment-and-get", Value::Nil),
            _ => ("read", Value::Nil),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(&state: &i64, call: &Called) -> Vec<(Answer, i64)> {
        let number = call.argument.as_int().unwrap_or(1);
        let after = if call.f == "decrement" { state - number } else { state + number };
        let ok = |value: i64| Answer::Ok(Value::Int(value));
        match call.f {
            "read" => vec![(ok(state), state)],
            "add-and-get" | "increment-and-get" => {
                let pair = Value::vector(vec![Value::Int(number), Value::Int(after)]);
                vec![(ok(after), after), (Answer::Ok(pair), after)]
            }
            _ => vec![(Answer::Ok(call.argument.clone()), after)],
        }
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    harness::agrees_with_brute_force::<Number>(&[
        "add info",
        "add ok",
        "add-and-get info",
        "add-and-get ok",
        "decrement info",
        "decrement ok",
        "increment info",
        "increment ok",
        "increment-and-get info",
        "increment-and-get ok",
        "read info",
        "read ok",
    ]);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Number>(true);
}

#[test]
fn roles_are_true() {
    harness::roles_are_true::<Number>();
}
