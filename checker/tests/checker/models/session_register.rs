//! The model `session-register`.

use std::collections::BTreeMap;

use labrys_checker::models::SessionRegister;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

struct Sessions;

/// All values that there were, and the last that each process has seen.
type State = (Vec<Value>, BTreeMap<u64, usize>);

impl Object for Sessions {
    type State = State;
    type Model = SessionRegister;
    const NAME: &'static str = "session-register";

    fn start(rng: &mut Rng) -> (Value, State) {
        let initial = [Value::Nil, Value::Int(0)][rng.random_range(0..2)].clone();
        (initial.clone(), (vec![initial], BTreeMap::new()))
    }

    fn model(initial: &Value) -> SessionRegister {
        SessionRegister::new(initial.clone())
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let mut value = || Value::Int(rng.random_range(0..3));
        let (expected, new) = (value(), value());
        let (f, argument) = match rng.random_range(0..5) {
            0..3 => ("read", Value::Nil),
            3 => ("write", new),
            _ => ("cas", Value::vector(vec![expected, new])),
        };
        Called { process, key: None, f, argument }
    }

    fn answers((values, seen): &State, call: &Called) -> Vec<(Answer, State)> {
        let see = |values: &Vec<Value>, position: usize| {
            let mut seen = seen.clone();
            seen.insert(call.process, position);
            (values.clone(), seen)
        };
        let write =
            |value: &Value| see(&[values.as_slice(), std::slice::from_ref(value)].concat(), values.len());
        let last = values.len() - 1;
        match (call.f, call.argument.as_sequence()) {
            ("read", _) => {
                let from = seen.get(&call.process).copied().unwrap_or(0);
                let mut answers: Vec<(Answer, State)> = (from..values.len())
                    .map(|position| (Answer::Ok(values[position].clone()), see(values, position)))
                    .collect();
                if !values[0].is_nil() {
                    // Nobody writes nil, so it says nothing.
                    answers.push((Answer::Ok(Value::Nil), (values.clone(), seen.clone())));
                }
                answers
            }
            (_, Some([expected, new])) if *expected == values[last] => {
                vec![(Answer::Ok(call.argument.clone()), write(new))]
            }
            (_, Some(_)) => vec![(Answer::Fail("precondition-failed"), see(values, last))],
            _ => vec![(Answer::Ok(call.argument.clone()), write(&call.argument))],
        }
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes =
        ["cas info", "cas ok", "cas precondition-failed", "read info", "read ok", "write info", "write ok"];
    harness::agrees_with_brute_force::<Sessions>(&outcomes);
}

#[test]
fn no_call_is_said_to_be_pure() {
    harness::pure_calls_leave_every_state::<Sessions>(false);
}
