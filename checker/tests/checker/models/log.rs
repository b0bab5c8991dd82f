//! The model `log`.

use labrys_checker::models::Log;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

struct Records;

impl Object for Records {
    type State = Vec<Value>;
    type Model = Log;
    const NAME: &'static str = "log";

    fn start(rng: &mut Rng) -> (Value, Vec<Value>) {
        match rng.random_range(0..4) {
            0 => (Value::vector(vec![Value::string("a")]), vec![Value::string("a")]),
            _ => (Value::Nil, Vec::new()),
        }
    }

    fn model(initial: &Value) -> Log {
        Log::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let (f, argument) = match rng.random_range(0..6) {
            0..3 => ("send", Value::string(["a", "b"][rng.random_range(0..2)])),
            3 => ("poll", Value::Nil),
            offset => ("poll", Value::Int(offset - 4)),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(state: &Vec<Value>, call: &Called) -> Vec<(Answer, Vec<Value>)> {
        let value = call.argument.clone();
        let offset = |position: usize| Value::Int(position as i64);
        if call.f == "send" {
            let after = [state.as_slice(), std::slice::from_ref(&value)].concat();
            let pair = Value::vector(vec![offset(state.len()), value.clone()]);
            let results = [offset(state.len()), pair, value, Value::Nil];
            return results.into_iter().map(|result| (Answer::Ok(result), after.clone())).collect();
        }
        let from = value.as_int().unwrap_or(0) as usize;
        let there: Vec<Value> = (from..state.len())
            .map(|position| Value::vector(vec![offset(position), state[position].clone()]))
            .collect();
        let least = usize::from(!there.is_empty());
        (least..=there.len())
            .map(|number| (Answer::Ok(Value::vector(there[..number].to_vec())), state.clone()))
            .collect()
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    harness::agrees_with_brute_force::<Records>(&["poll info", "poll ok", "send info", "send ok"]);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Records>(true);
}
