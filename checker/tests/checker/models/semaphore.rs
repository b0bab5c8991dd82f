//! The model `semaphore`.

use labrys_checker::models::Semaphore;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object, Outcome};

struct Permits;

/// How many there are, and how many are free.
type State = (i64, i64);

impl Object for Permits {
    type State = State;
    type Model = Semaphore;
    const NAME: &'static str = "semaphore";

    fn start(rng: &mut Rng) -> (Value, State) {
        match rng.random_range(0..4) {
            0 => (Value::Nil, (1, 1)),
            permits => (Value::Int(permits), (permits, permits)),
        }
    }

    fn model(initial: &Value) -> Semaphore {
        Semaphore::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let f = if rng.random_bool(0.6) { "acquire" } else { "release" };
        let argument = if rng.random_bool(0.5) { Value::Nil } else { Value::Int(2) };
        Called { process, key: None, f, argument }
    }

    fn answers(&(permits, free): &State, call: &Called) -> Vec<(Answer, State)> {
        let number = call.argument.as_int().unwrap_or(1);
        let done = Answer::Ok(Value::Bool(true));
        match call.f {
            "acquire" if free >= number => vec![(done, (permits, free - number))],
            "acquire" => vec![(Answer::Fail("unavailable"), (permits, free))],
            _ if free + number <= permits => vec![(done, (permits, free + number))],
            _ => Vec::new(),
        }
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes = ["acquire info", "acquire ok", "acquire unavailable", "release info", "release ok"];
    harness::agrees_with_brute_force::<Permits>(&outcomes);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Permits>(true);
}

#[test]
fn few_calls_lead_to_few_states() {
    harness::few_calls_lead_to_few_states::<Permits>(4);
}

#[test]
fn acquisitions_may_go_with_their_releases() {
    harness::acquisitions_may_go_with_their_releases::<Permits>(|op| {
        matches!(&op.outcome, Outcome::Crashed | Outcome::Answered(Answer::Ok(_)))
    });
}
