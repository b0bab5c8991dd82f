//! The model `lease`.

use std::collections::BTreeSet;

use labrys_checker::models::{Lease, find};
use labrys_history::Value;
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

/// Leases that end whenever they like, before any call.
struct Leases;

const UNKNOWN: Answer = Answer::Fail("lease-unknown");
/// Leases have numbers from 1 up to this.
const MOST: i64 = 2;

/// The leases that are there, what the key holds with which of them, and the leases that ever were.
type State = (BTreeSet<i64>, Option<(i64, i64)>, BTreeSet<i64>);

fn without((leases, key, granted): &State, lease: i64) -> State {
    let mut leases = leases.clone();
    leases.remove(&lease);
    (leases, key.filter(|(_, of)| *of != lease), granted.clone())
}

/// The states that there may be after a while.
fn later(state: &State) -> Vec<State> {
    let mut states = vec![state.clone()];
    for lease in &state.0 {
        let ended: Vec<State> = states.iter().map(|state| without(state, *lease)).collect();
        states.extend(ended);
    }
    states
}

/// What a call is answered at once.
fn answer(state: &State, call: &Called) -> Vec<(Answer, State)> {
    let (leases, key, granted) = state;
    let said = |answer: Value, after: State| vec![(Answer::Ok(answer), after)];
    let same = call.argument.clone();
    match (call.f, call.argument.as_sequence()) {
        ("grant", _) => {
            let new = (1..=MOST).filter(|lease| !granted.contains(lease));
            let with = |set: &BTreeSet<i64>, lease| set.iter().copied().chain([lease]).collect();
            let grant = |lease: i64| {
                let after = (with(leases, lease), *key, with(granted, lease));
                (Answer::Ok(Value::vector(vec![lease.into(), same.clone()])), after)
            };
            // Mostly the same one.
            new.flat_map(|lease| [lease].repeat(if lease == 1 { 4 } else { 1 })).map(grant).collect()
        }
        ("put", Some([Value::Int(lease), Value::Int(value)])) => match leases.contains(lease) {
            true => said(same, (leases.clone(), Some((*value, *lease)), granted.clone())),
            false => vec![(UNKNOWN, state.clone())],
        },
        ("read", _) => said(key.map_or(Value::Nil, |(value, _)| value.into()), state.clone()),
        (f, _) => match call.argument.as_int().filter(|lease| leases.contains(lease)) {
            Some(lease) if f == "revoke" => said(same, without(state, lease)),
            Some(_) => said(same, state.clone()),
            None => vec![(UNKNOWN, state.clone())],
        },
    }
}

impl Object for Leases {
    type State = State;
    type Model = Lease;
    const NAME: &'static str = "lease";

    fn start(_: &mut Rng) -> (Value, State) {
        (Value::Nil, State::default())
    }

    fn model(_: &Value) -> Lease {
        Lease
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let lease = Value::Int(if rng.random_bool(0.8) { 1 } else { rng.random_range(1..=MOST) });
        let value = Value::Int(rng.random_range(0..2));
        let (f, argument) = match rng.random_range(0..12) {
            0..4 => ("grant", Value::Int(1000)),
            4..6 => ("put", Value::vector(vec![lease, value])),
            6..9 => ("keep-alive", lease),
            9 => ("revoke", lease),
            _ => ("read", Value::Nil),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(state: &State, call: &Called) -> Vec<(Answer, State)> {
        // Mostly no lease ends.
        let at_once = std::iter::repeat_n(state.clone(), 2);
        at_once.chain(later(state)).flat_map(|state| answer(&state, call)).collect()
    }

    /// A lease that nobody knows is none.
    fn effects(state: &State, call: &Called) -> Vec<State> {
        match call.f {
            "grant" => vec![state.clone()],
            _ => Self::answers(state, call).into_iter().map(|(_, after)| after).collect(),
        }
    }
}

#[test]
fn the_model_agrees_with_brute_force() {
    let outcomes = [
        "grant info",
        "grant ok",
        "keep-alive info",
        "keep-alive lease-unknown",
        "keep-alive ok",
        "put info",
        "put lease-unknown",
        "put ok",
        "read info",
        "read ok",
        "revoke info",
        "revoke lease-unknown",
        "revoke ok",
    ];
    harness::agrees_with_brute_force::<Leases>(&outcomes);
}

#[test]
fn pure_calls_leave_every_state() {
    harness::pure_calls_leave_every_state::<Leases>(true);
}

#[test]
fn an_initial_value_is_refused() {
    let error = find("lease", Some(Value::Int(1))).err().expect("no key exists at first");
    assert!(error.to_string().contains("none: no key exists before it is put"), "{error}");
}
