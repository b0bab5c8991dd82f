//! The model `mutex`.

use labrys_checker::models::Mutex;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object, Outcome};

struct Held;

impl Object for Held {
    type State = bool;
    type Model = Mutex;
    const NAME: &'static str = "mutex";

    fn start(rng: &mut Rng) -> (Value, bool) {
        let starts =
            [(Value::Nil, false), (Value::Symbol("free".into()), false), (Value::keyword("held"), true)];
        starts[rng.random_range(0..3)].clone()
    }

    fn model(initial: &Value) -> Mutex {
        Mutex::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let f = if rng.random_bool(0.5) { "acquire" } else { "release" };
        Called { process, key: None, f, argument: Value::Nil }
    }

    fn answers(&is_held: &bool, call: &Called) -> Vec<(Answer, bool)> {
        // What a client knows about itself says nothing.
        let unknown = (Answer::Fail("not-held"), is_held);
        let wants_it_held = call.f == "release";
        if is_held == wants_it_held {
            return vec![(Answer::Ok(Value::Bool(true)), !is_held), unknown];
        }
        vec![(Answer::Fail(if is_held { "held" } else { "free" }), is_held), unknown]
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes = [
        "acquire held",
        "acquire info",
        "acquire not-held",
        "acquire ok",
        "release free",
        "release info",
        "release not-held",
        "release ok",
    ];
    harness::agrees_with_brute_force::<Held>(&outcomes);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Held>(true);
}

#[test]
fn few_calls_lead_to_few_states() {
    harness::few_calls_lead_to_few_states::<Held>(2);
}

#[test]
fn acquisitions_may_go_with_their_releases() {
    harness::acquisitions_may_go_with_their_releases::<Held>(|op| {
        matches!(&op.outcome, Outcome::Crashed | Outcome::Answered(Answer::Ok(_)))
    });
}
