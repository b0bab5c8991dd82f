//! A non-deterministic model: a cache that may drop its entry at any moment, and then misses until the next `put`.

use labrys_checker::linearizable::JudgedByModel;
use labrys_checker::nondeterministic::{Nondeterministic, NondeterministicModel};
use labrys_checker::{Meaning, ModelError};
use labrys_history::{Completion, Operation, Value};
use labrys_seed::Rng;
use rand::Rng as _;

use super::harness;
use crate::support::object::{Answer, Called, Object};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    Put(i64),
    Get(Option<i64>),
}

struct Cache;

impl NondeterministicModel for Cache {
    type State = Option<i64>;
    type Call = Call;

    fn name(&self) -> &str {
        "cache"
    }

    fn init(&self) -> Vec<Option<i64>> {
        vec![None]
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<Call>, ModelError> {
        Ok(match (operation.f(), operation.completion()) {
            ("put", Completion::Ok { .. }) => {
                Meaning::Completed(Call::Put(operation.value().as_int().unwrap()))
            }
            ("put", Completion::Info { .. }) => {
                Meaning::Crashed(Call::Put(operation.value().as_int().unwrap()))
            }
            ("get", Completion::Ok { value, .. }) => Meaning::Completed(Call::Get(value.as_int())),
            _ => Meaning::Nothing,
        })
    }

    fn step(&self, state: &Option<i64>, call: &Call) -> Vec<Option<i64>> {
        match call {
            Call::Put(value) => vec![Some(*value), None],
            Call::Get(None) => vec![None],
            Call::Get(hit) if hit == state => vec![*hit, None],
            Call::Get(_) => vec![],
        }
    }

    fn is_finite(&self) -> bool {
        true
    }

    fn describe_call(&self, call: &Call) -> String {
        format!("{call:?}")
    }

    fn describe_state(&self, state: &Option<i64>) -> String {
        format!("{state:?}")
    }
}

/// The same the other way round. An entry is dropped before an answer rather than after it.
struct Entry;

impl Object for Entry {
    type State = Option<i64>;
    type Model = Nondeterministic<Cache>;
    const NAME: &'static str = "cache";

    fn start(_: &mut Rng) -> (Value, Option<i64>) {
        (Value::Nil, None)
    }

    fn model(_: &Value) -> Nondeterministic<Cache> {
        Nondeterministic(Cache)
    }

    fn judge(_: &Value) -> Box<dyn JudgedByModel> {
        Box::new(Nondeterministic(Cache))
    }

    fn call(rng: &mut Rng, process: u64) -> Called {
        let (f, argument) = match rng.random_range(0..3) {
            0 => ("put", Value::Int(rng.random_range(0..3))),
            _ => ("get", Value::Nil),
        };
        Called { process, key: None, f, argument }
    }

    fn answers(state: &Option<i64>, call: &Called) -> Vec<(Answer, Option<i64>)> {
        let miss = (Answer::Ok(Value::Nil), None);
        match (call.argument.as_int(), state) {
            (Some(value), _) => vec![(Answer::Ok(Value::Int(value)), Some(value))],
            (None, Some(value)) => vec![(Answer::Ok(Value::Int(*value)), *state), miss],
            (None, None) => vec![miss],
        }
    }
}

#[test]
fn the_powerset_of_a_nondeterministic_model_agrees_with_brute_force() {
    harness::agrees_with_brute_force::<Entry>(&["get info", "get ok", "put info", "put ok"]);
}

#[test]
fn no_call_is_said_to_be_pure() {
    harness::pure_calls_leave_every_state::<Entry>(false);
}

#[test]
fn few_calls_lead_to_few_states() {
    harness::few_calls_lead_to_few_states::<Entry>(7);
}

#[test]
fn refusals_and_states_name_all_that_there_can_be() {
    use labrys_checker::Model;
    let model = Nondeterministic(Cache);
    let states = model.step(&model.init(), &Call::Put(1)).unwrap();
    assert_eq!(model.describe_state(&states), "None or Some(1)");
    let refusal = model.step(&states, &Call::Get(Some(2))).unwrap_err();
    assert_eq!(refusal.to_string(), "not possible in any of the 2 states that there can be: [None, Some(1)]");
    let refusal = model.step(&model.init(), &Call::Get(Some(2))).unwrap_err();
    assert_eq!(refusal.to_string(), "not possible in the only state that there can be: None");
}
