//! The model `list`.

use labrys_checker::models::List;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

struct Elements;

impl Object for Elements {
    type State = Vec<Value>;
    type Model = List;
    const NAME: &'static str = "list";

    fn start(rng: &mut Rng) -> (Value, Vec<Value>) {
        match rng.random_range(0..4) {
            0 => (Value::list(vec![Value::Int(1)]), vec![Value::Int(1)]),
            _ => (Value::Nil, Vec::new()),
        }
    }

    fn model(initial: &Value) -> List {
        List::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let (f, argument) = match rng.random_range(0..2) {
            0 => ("append", Value::Int(rng.random_range(0..3))),
            _ => ("read", Value::Nil),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(state: &Vec<Value>, call: &Called) -> Vec<(Answer, Vec<Value>)> {
        if call.f == "read" {
            return vec![
                (Answer::Ok(Value::vector(state.clone())), state.clone()),
                (Answer::Ok(Value::list(state.clone())), state.clone()),
            ];
        }
        let after = [state.as_slice(), std::slice::from_ref(&call.argument)].concat();
        vec![(Answer::Ok(call.argument.clone()), after)]
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    harness::agrees_with_brute_force::<Elements>(&["append info", "append ok", "read info", "read ok"]);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Elements>(true);
}
