//! The model `fenced-lock`.

use labrys_checker::models::FencedLock;
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object, Outcome};

struct Tokens;

/// No token is as great as this.
const GREATEST: i64 = 20;

/// Who holds it, and the last token.
type State = (Option<u64>, i64);

impl Object for Tokens {
    type State = State;
    type Model = FencedLock;
    const NAME: &'static str = "fenced-lock";

    fn start(rng: &mut Rng) -> (Value, State) {
        match rng.random_range(0..3) {
            0 => (Value::Int(2), (None, 2)),
            _ => (Value::Nil, (None, 0)),
        }
    }

    fn model(initial: &Value) -> FencedLock {
        FencedLock::with_initial(initial).unwrap()
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let f = if rng.random_bool(0.6) { "acquire" } else { "release" };
        Called { process, key: None, f, argument: Value::Nil }
    }

    fn answers(&(holder, last): &State, call: &Called) -> Vec<(Answer, State)> {
        let process = call.process;
        match (call.f, holder) {
            ("acquire", None) => {
                let with = |token: i64| (Some(process), token);
                let mut answers: Vec<(Answer, State)> = Vec::new();
                for token in last + 1..GREATEST {
                    // Often the next ones.
                    let times = if token < last + 3 { 5 } else { 1 };
                    answers.extend((0..times).map(|_| (Answer::Ok(Value::Int(token)), with(token))));
                }
                answers.extend((last + 1..last + 4).map(|token| (Answer::Ok(Value::Nil), with(token))));
                answers
            }
            ("acquire", Some(_)) => vec![(Answer::Fail("held"), (holder, last))],
            (_, Some(other)) if other == process => vec![(Answer::Ok(Value::Bool(true)), (None, last))],
            _ => vec![(Answer::Fail("not-holder"), (holder, last))],
        }
    }

    fn effects(state: &State, call: &Called) -> Vec<State> {
        let mut effects: Vec<State> =
            Self::answers(state, call).into_iter().map(|(_, after)| after).collect();
        effects.sort_unstable();
        effects.dedup();
        effects.truncate(4);
        effects
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes =
        ["acquire held", "acquire info", "acquire ok", "release info", "release not-holder", "release ok"];
    harness::agrees_with_brute_force::<Tokens>(&outcomes);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Tokens>(true);
}

#[test]
fn acquisitions_may_go_with_their_releases() {
    harness::acquisitions_may_go_with_their_releases::<Tokens>(|op| {
        matches!(&op.outcome, Outcome::Crashed | Outcome::Answered(Answer::Ok(_)))
    });
}
