//! The model `set`.

use labrys_checker::models::Set;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

/// A bit for each member.
struct Bits<const READS: bool>;

fn members(state: u32) -> Vec<Value> {
    (0..3).filter(|member| state >> member & 1 == 1).map(Value::Int).collect()
}

impl<const READS: bool> Object for Bits<READS> {
    type State = u32;
    type Model = Set;
    const NAME: &'static str = "set";

    fn start(rng: &mut Rng) -> (Value, u32) {
        match rng.random_range(0..4) {
            0 => (Value::set(vec![Value::Int(1), Value::Int(2)]), 0b110),
            _ => (Value::Nil, 0),
        }
    }

    fn model(initial: &Value) -> Set {
        Set::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let member = Value::Int(rng.random_range(0..3));
        let (f, argument) = match rng.random_range(0..if READS { 5 } else { 4 }) {
            0 | 1 => ("add", member),
            2 => ("remove", member),
            3 => ("contains", member),
            _ => ("read", Value::Nil),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(&state: &u32, call: &Called) -> Vec<(Answer, u32)> {
        let bit = 1_u32 << call.argument.as_int().unwrap_or(0);
        let is_in = state & bit != 0;
        let done = Answer::Ok(call.argument.clone());
        match call.f {
            "add" if is_in => vec![(done, state), (Answer::Fail("present"), state)],
            "add" => vec![(done, state | bit)],
            "remove" if is_in => vec![(done, state & !bit)],
            "remove" => vec![(done, state), (Answer::Fail("absent"), state)],
            "contains" => {
                let pair = Value::vector(vec![call.argument.clone(), Value::Bool(is_in)]);
                vec![(Answer::Ok(Value::Bool(is_in)), state), (Answer::Ok(pair), state)]
            }
            _ => {
                let backwards = members(state).into_iter().rev().collect();
                vec![
                    (Answer::Ok(Value::set(members(state))), state),
                    (Answer::Ok(Value::List(backwards)), state),
                ]
            }
        }
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    harness::agrees_with_brute_force::<Bits<true>>(&[
        "add info",
        "add ok",
        "add present",
        "contains info",
        "contains ok",
        "read info",
        "read ok",
        "remove absent",
        "remove info",
        "remove ok",
    ]);
}

#[test]
fn split_by_value_it_agrees_with_brute_force_too() {
    harness::agrees_with_brute_force::<Bits<false>>(&[
        "add info",
        "add ok",
        "add present",
        "contains info",
        "contains ok",
        "remove absent",
        "remove info",
        "remove ok",
    ]);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Bits<true>>(true);
}

#[test]
fn few_calls_lead_to_few_states() {
    harness::few_calls_lead_to_few_states::<Bits<true>>(8);
}

#[test]
fn roles_are_true() {
    harness::roles_are_true::<Bits<true>>();
}
