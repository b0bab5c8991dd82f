//! The model `reentrant-mutex`.

use labrys_checker::models::ReentrantMutex;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object, Outcome};

struct Holding;

/// The limit, who holds it, and how often.
type State = (i64, Option<Value>, i64);

impl Object for Holding {
    type State = State;
    type Model = ReentrantMutex;
    const NAME: &'static str = "reentrant-mutex";

    fn start(rng: &mut Rng) -> (Value, State) {
        match rng.random_range(0..3) {
            0 => (Value::Nil, (i64::MAX, None, 0)),
            limit => (Value::map(vec![(Value::keyword("limit"), Value::Int(limit))]), (limit, None, 0)),
        }
    }

    fn model(initial: &Value) -> ReentrantMutex {
        ReentrantMutex::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let f = if rng.random_bool(0.6) { "acquire" } else { "release" };
        let named = Value::map(vec![(Value::keyword("client"), Value::string("a"))]);
        let argument = if rng.random_bool(0.5) { named } else { Value::Nil };
        Called { process, key: None, f, argument }
    }

    fn answers((limit, holder, times): &State, call: &Called) -> Vec<(Answer, State)> {
        let caller = match &call.argument {
            Value::Nil => Value::Int(call.process as i64),
            _ => Value::string("a"),
        };
        let is_mine = *times > 0 && *holder == Some(caller.clone());
        let after = |times: i64| (*limit, (times > 0).then(|| caller.clone()), times);
        let same = (*limit, holder.clone(), *times);
        vec![match call.f {
            "acquire" if *times == 0 || is_mine && times < limit => {
                (Answer::Ok(Value::Bool(true)), after(times + 1))
            }
            "acquire" => (Answer::Fail("held"), same),
            _ if is_mine => (Answer::Ok(Value::Bool(true)), after(times - 1)),
            _ => (Answer::Fail("not-holder"), same),
        }]
    }
}

/// One who may hold it twice.
struct Twice;

impl Object for Twice {
    type State = State;
    type Model = ReentrantMutex;
    const NAME: &'static str = "reentrant-mutex";

    fn start(_: &mut Rng) -> (Value, State) {
        (Value::map(vec![(Value::keyword("limit"), Value::Int(2))]), (2, None, 0))
    }

    fn model(initial: &Value) -> ReentrantMutex {
        ReentrantMutex::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        Holding::call(rng, process)
    }

    fn answers(state: &State, call: &Called) -> Vec<(Answer, State)> {
        Holding::answers(state, call)
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes =
        ["acquire held", "acquire info", "acquire ok", "release info", "release not-holder", "release ok"];
    harness::agrees_with_brute_force::<Holding>(&outcomes);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Holding>(true);
}

#[test]
fn few_calls_lead_to_few_states() {
    harness::few_calls_lead_to_few_states::<Twice>(11);
}

#[test]
fn acquisitions_may_go_with_their_releases() {
    harness::acquisitions_may_go_with_their_releases::<Holding>(|op| {
        matches!(&op.outcome, Outcome::Crashed | Outcome::Answered(Answer::Ok(_)))
    });
}
