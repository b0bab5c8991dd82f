//! The model `queue`.

use labrys_checker::models::Queue;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

struct Values;

impl Object for Values {
    /// In order of insertion.
    type State = Vec<i64>;
    type Model = Queue;
    const NAME: &'static str = "queue";

    fn start(rng: &mut Rng) -> (Value, Vec<i64>) {
        match rng.random_range(0..4) {
            0 => (Value::vector(vec![Value::Int(2), Value::Int(1)]), vec![2, 1]),
            _ => (Value::Nil, Vec::new()),
        }
    }

    fn model(initial: &Value) -> Queue {
        Queue::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let (f, argument) = match rng.random_range(0..2) {
            0 => ("enqueue", Value::Int(rng.random_range(1..=4))),
            _ => ("dequeue", Value::Nil),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(state: &Vec<i64>, call: &Called) -> Vec<(Answer, Vec<i64>)> {
        if let Some(value) = call.argument.as_int() {
            return vec![(Answer::Ok(Value::Int(value)), [state.as_slice(), &[value]].concat())];
        }
        if state.is_empty() {
            return vec![(Answer::Ok(Value::Nil), Vec::new()), (Answer::Fail("empty"), Vec::new())];
        }
        let without = |position: usize| {
            let mut rest = state.clone();
            let value = rest.remove(position);
            (Answer::Ok(Value::Int(value)), rest)
        };
        vec![without(0)]
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes = ["enqueue info", "enqueue ok", "dequeue empty", "dequeue info", "dequeue ok"];
    harness::agrees_with_brute_force::<Values>(&outcomes);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Values>(true);
}

#[test]
fn roles_are_true() {
    harness::roles_are_true::<Values>();
}
