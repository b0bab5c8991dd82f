//! A second opinion on sequential specifications: objects that answer calls, written without the checker's models.
//!
//! A model is asked whether a call *with its result* is legal. An [`Object`] here is asked the other way round: which answers
//! it could give to a call. From the same object come random histories, and the oracle that judges them by trying every order
//! of whole operations, functions and values as they stand in a history file. So what the model makes of a completion is tested too,
//! and the parts that it splits a history into, since the oracle splits nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;

use labrys_checker::linearizable::JudgedByModel;
use labrys_checker::{Model, models};
use labrys_history::{Event, EventKind, Operation, Process, Value};
use labrys_seed::Rng;
use rand::Rng as _;

/// What an object answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Ok(Value),
    /// With this error; without one if it is empty.
    Fail(&'static str),
}

/// A call as it stands in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    pub process: u64,
    pub key: Option<Value>,
    pub f: &'static str,
    pub argument: Value,
}

/// A sequential object.
pub trait Object {
    type State: Clone + Debug;
    type Model: Model;

    /// The name of its model in the table of models.
    const NAME: &'static str;

    /// An initial state, as the command line would say it, and as this object has it.
    fn start(rng: &mut Rng) -> (Value, Self::State);

    /// The model under test.
    fn model(initial: &Value) -> Self::Model;

    /// A random call; its process is set already.
    fn call(rng: &mut Rng, process: u64) -> Called;

    /// Every answer that it may give in `state`, with the state after; none if the call blocks.
    fn answers(state: &Self::State, call: &Called) -> Vec<(Answer, Self::State)>;

    /// The same model as users find it.
    fn judge(initial: &Value) -> Box<dyn JudgedByModel> {
        models::find(Self::NAME, Some(initial.clone())).unwrap()
    }

    /// The states after a call whose answer nobody saw.
    fn effects(state: &Self::State, call: &Called) -> Vec<Self::State> {
        Self::answers(state, call).into_iter().map(|(_, state)| state).collect()
    }
}

/// An error that says nothing about the state.
pub const TIMED_OUT: &str = "timed-out";

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(Answer),
    Crashed,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    pub call: Called,
    pub outcome: Outcome,
    pub invoked: u64,
    pub completed: u64,
}

impl Op {
    fn is_optional(&self) -> bool {
        self.outcome == Outcome::Crashed
    }

    /// Whether it must have ended before `other` began.
    fn precedes(&self, other: &Op) -> bool {
        !self.is_optional() && self.completed < other.invoked
    }

    fn after<O: Object>(&self, state: &O::State) -> Vec<O::State> {
        match &self.outcome {
            Outcome::Answered(Answer::Fail(TIMED_OUT)) => vec![state.clone()],
            Outcome::Crashed => O::effects(state, &self.call),
            Outcome::Answered(answer) => {
                let answers = O::answers(state, &self.call).into_iter();
                answers.filter(|(other, _)| other == answer).map(|(_, state)| state).collect()
            }
        }
    }
}

/// Whether some order of all operations (crashed ones may be left out) is what the object could have done in real time.
pub fn is_linearizable<O: Object>(start: &O::State, ops: &[Op]) -> bool {
    extend::<O>(start, ops, 0)
}

fn extend<O: Object>(state: &O::State, ops: &[Op], placed: u32) -> bool {
    let is_placed = |position: usize| placed >> position & 1 == 1;
    if (0..ops.len()).all(|position| is_placed(position) || ops[position].is_optional()) {
        return true;
    }
    (0..ops.len()).any(|position| {
        let is_next = !is_placed(position)
            && !(0..ops.len()).any(|other| !is_placed(other) && ops[other].precedes(&ops[position]));
        is_next
            && ops[position]
                .after::<O>(state)
                .iter()
                .any(|after| extend::<O>(after, ops, placed | 1 << position))
    })
}

/// Fails unless `order` (positions) is what the object could have done in real time, with all of `needed`.
pub fn assert_witness<O: Object>(start: &O::State, ops: &[Op], order: &[usize], needed: &[usize]) {
    let mut states = vec![start.clone()];
    for (at, &position) in order.iter().enumerate() {
        states = states.iter().flat_map(|state| ops[position].after::<O>(state)).collect();
        assert!(!states.is_empty(), "step {at} of {order:?} is illegal: {ops:#?}");
        for &later in &order[at + 1..] {
            assert!(later != position && !ops[later].precedes(&ops[position]), "{order:?}: {ops:#?}");
        }
    }
    let missing = needed.iter().find(|position| !order.contains(position));
    assert_eq!(missing, None, "{order:?}: {ops:#?}");
}

/// The events of operations, an invocation and a completion each.
pub struct Recorded(Vec<(Event, Event)>);

impl Recorded {
    pub fn operations(&self) -> Vec<Operation<'_>> {
        self.0
            .iter()
            .filter_map(|(invocation, completion)| Operation::new(invocation, Some(completion)))
            .collect()
    }
}

/// The operations as a history has them. The operation at position p is invoked at index p, and completes at 1000 + p.
pub fn recorded(ops: &[Op]) -> Recorded {
    let recorded = ops.iter().enumerate().map(|(position, op)| {
        let event = |index, time_ns, kind, value: &Value| Event {
            key: op.call.key.clone(),
            ..Event::new(index, time_ns, Process::Client(op.call.process), kind, op.call.f, value.clone())
        };
        let invocation = event(position as u64, op.invoked, EventKind::Invoke, &op.call.argument);
        let completion = |kind, value| event(1_000 + position as u64, op.completed, kind, value);
        let completion = match &op.outcome {
            Outcome::Answered(Answer::Ok(value)) => completion(EventKind::Ok, value),
            Outcome::Answered(Answer::Fail(error)) => completion(EventKind::Fail, &op.call.argument)
                .with_error((!error.is_empty()).then(|| Value::keyword(*error))),
            Outcome::Crashed => completion(EventKind::Info, &op.call.argument),
        };
        (invocation, completion)
    });
    Recorded(recorded.collect())
}

/// A history of at most `most` operations, by an object that exists, and then spoilt a little or not.
pub fn random_history<O: Object>(start: &O::State, most: usize, rng: &mut Rng) -> Vec<Op> {
    let mut ops = linearizable_history::<O>(start, most, rng);
    for _ in 0..[0, 0, 1, 2, 4][rng.random_range(0..5)] {
        spoil::<O>(start, &mut ops, rng);
    }
    ops
}

fn linearizable_history<O: Object>(start: &O::State, most: usize, rng: &mut Rng) -> Vec<Op> {
    let operations = rng.random_range(1..=most);
    let coarseness = [1, 10, 50][rng.random_range(0..3)];
    let crashed = [0.0, 0.2, 0.5][rng.random_range(0..3)];
    let mut moments: Vec<(u64, u64, u64, u64)> = Vec::new();
    let clients = rng.random_range(1..=4);
    for client in 0..clients {
        let mut now = rng.random_range(0..100);
        for _ in (client..operations as u64).step_by(clients as usize) {
            let invoked = now + rng.random_range(1..20);
            let effect = invoked + rng.random_range(0..100);
            now = effect + rng.random_range(0..100);
            moments.push((effect, client, invoked, now));
        }
    }
    moments.sort_unstable();
    let mut state = start.clone();
    let mut next_process: BTreeMap<u64, u64> = BTreeMap::new();
    let ops = moments.into_iter().map(|(_, client, invoked, completed)| {
        // A client that crashed goes on as another process.
        let process = client + 10 * next_process.get(&client).copied().unwrap_or(0);
        let call = O::call(rng, process);
        let mut answers = O::answers(&state, &call);
        let (times_out, crashes) = (rng.random_bool(0.05), rng.random_bool(crashed));
        let answered = (!answers.is_empty()).then(|| answers.swap_remove(rng.random_range(0..answers.len())));
        let outcome = match answered {
            _ if crashes => {
                *next_process.entry(client).or_default() += 1;
                let mut effects = O::effects(&state, &call);
                if !effects.is_empty() && rng.random_bool(0.6) {
                    state = effects.swap_remove(rng.random_range(0..effects.len()));
                }
                Outcome::Crashed
            }
            Some((answer, after)) if !times_out => {
                state = after;
                Outcome::Answered(answer)
            }
            _ => Outcome::Answered(Answer::Fail(TIMED_OUT)),
        };
        Op { call, outcome, invoked: invoked / coarseness, completed: completed / coarseness }
    });
    ops.collect()
}

/// Spoils one operation: another answer, another call, another interval.
fn spoil<O: Object>(start: &O::State, ops: &mut [Op], rng: &mut Rng) {
    let position = rng.random_range(0..ops.len());
    let op = &mut ops[position];
    match rng.random_range(0..4) {
        0 | 1 => {
            if rng.random_bool(0.3) {
                op.call = O::call(rng, op.call.process);
            }
            let state = random_state::<O>(start, rng);
            let mut answers = O::answers(&state, &op.call);
            op.outcome = if answers.is_empty() {
                Outcome::Crashed
            } else {
                Outcome::Answered(answers.swap_remove(rng.random_range(0..answers.len())).0)
            };
        }
        2 => {
            let shift = rng.random_range(0..100);
            op.invoked += shift;
            op.completed += shift;
        }
        _ => op.completed = op.invoked + (op.completed - op.invoked) / 4,
    }
}

/// A state that a few calls lead to.
pub fn random_state<O: Object>(start: &O::State, rng: &mut Rng) -> O::State {
    let mut state = start.clone();
    for _ in 0..rng.random_range(0..6) {
        let process = rng.random_range(0..4);
        let call = O::call(rng, process);
        let mut effects = O::effects(&state, &call);
        if !effects.is_empty() {
            state = effects.swap_remove(rng.random_range(0..effects.len()));
        }
    }
    state
}
