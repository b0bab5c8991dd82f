//! What is asked of every model.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use labrys_checker::linearizable::{Completed, Decision, Interval, decide};
use labrys_checker::verdict::Validity;
use labrys_checker::{Class, Context, Meaning, Model, ModelError, Role};
use labrys_history::{Completion, Operation, Value};
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use crate::support::object::{
    self, Answer, Object, Op, Outcome, assert_witness, is_linearizable, random_history,
};

/// The number of random histories per model, if the environment does not say otherwise.
const HISTORIES: u64 = 4_000;
/// The most operations of a history that is tried by brute force.
const OPERATIONS: usize = 6;

#[expect(clippy::disallowed_methods, reason = "how long a test runs is no part of a verdict")]
fn histories() -> u64 {
    let asked_for = std::env::var("LABRYS_TEST_HISTORIES");
    asked_for.map_or(HISTORIES, |text| text.parse().expect("LABRYS_TEST_HISTORIES is a number"))
}

fn rng_of<O: Object>(number: u64) -> Rng {
    Seed(0x0b1e).fork(O::NAME).fork_index(number).rng()
}

/// What is left of operations by the model: calls with intervals. All in one part.
fn intervals<M: Model>(model: &M, ops: &[Op]) -> Vec<Interval<M::Call>> {
    let recorded = object::recorded(ops);
    let intervals = recorded.operations().into_iter().filter_map(|operation| {
        let (call, is_completed) = match model.meaning(&operation).unwrap() {
            Meaning::Nothing => return None,
            Meaning::Completed(call) => (call, true),
            Meaning::Crashed(call) => (call, false),
        };
        let completed = match operation.completion() {
            Completion::Ok { time_ns, index, .. } | Completion::Fail { time_ns, index, .. }
                if is_completed =>
            {
                Some(Completed { time_ns, index })
            }
            _ => None,
        };
        let (operation, invoked_ns) = (operation.invoke_index(), operation.invoke_time_ns());
        Some(Interval { call, operation, invoked_ns, completed })
    });
    intervals.collect()
}

/// The model as it reads a history of these operations.
fn adapted<M: Model>(model: M, ops: &[Op]) -> M {
    let recorded = object::recorded(ops);
    let operations = recorded.operations();
    let model = model.adapted(&operations).unwrap_or(model);
    model.prepared(&operations).unwrap_or(model)
}

/// Judges one history in all ways, and fails unless all are right.
fn assert_right<O: Object>(number: u64, seen: &mut Seen) {
    let mut rng = rng_of::<O>(number);
    let (initial, start) = O::start(&mut rng);
    let ops = random_history::<O>(&start, OPERATIONS, &mut rng);
    let expected = is_linearizable::<O>(&start, &ops);
    seen.note(&ops, expected);
    let context = || format!("{} {number}, {initial}, {expected}: {ops:#?}", O::NAME);

    let all = Context { all: true, foreign: true, witness: true, ..Context::default() };
    let judged = O::judge(&initial).judge(&object::recorded(&ops).operations(), &all);
    let judged = judged.unwrap_or_else(|error| panic!("{error}: {}", context()));
    let validity = if expected { Validity::Valid } else { Validity::Invalid };
    assert_eq!(judged.validity, validity, "{} {}", judged.reason, context());

    let model = adapted(O::model(&initial), &ops);
    for partition in judged.partitions.iter().filter(|_| expected) {
        let order = partition.linearization.as_ref().unwrap_or_else(|| panic!("no witness: {}", context()));
        let order: Vec<usize> = order.iter().map(|&operation| operation as usize).collect();
        assert_witness::<O>(&start, &ops, &order, &needed_of(&model, &ops, &partition.key));
    }

    let intervals = intervals(&model, &ops);
    match decide(&WithoutClass(model), &intervals, &Context::default()) {
        Decision::Linearizable(order) => {
            assert!(expected, "the search alone: {}", context());
            let order: Vec<usize> = order.iter().map(|&operation| operation as usize).collect();
            let completed = intervals.iter().filter(|interval| interval.completed.is_some());
            let needed: Vec<usize> = completed.map(|interval| interval.operation as usize).collect();
            assert_witness::<O>(&start, &ops, &order, &needed);
        }
        Decision::NonLinearizable(_) => assert!(!expected, "the search alone: {}", context()),
        Decision::Unknown(reason) => panic!("{reason}: {}", context()),
    }
    if expected && let Some(rest) = without_a_unit(&adapted(O::model(&initial), &ops), &ops, &mut rng) {
        seen.reduced += 1;
        assert!(is_linearizable::<O>(&start, &rest), "{rest:#?} of {}", context());
    }
}

/// What must stand in an order of a part: what completed and says something.
fn needed_of<M: Model>(model: &M, ops: &[Op], key: &serde_json::Value) -> Vec<usize> {
    let recorded = object::recorded(ops);
    let operations = recorded.operations();
    let is_needed = |operation: &Operation<'_>| {
        let part = model.partition(operation);
        let is_of_part = part.as_ref().map_or(serde_json::Value::Null, json_of_key) == *key;
        let is_completed = !matches!(operation.completion(), Completion::Info { .. });
        is_of_part && is_completed && matches!(model.meaning(operation), Ok(Meaning::Completed(_)))
    };
    (0..ops.len()).filter(|&position| is_needed(&operations[position])).collect()
}

/// A key as verdicts have it.
fn json_of_key(key: &Value) -> serde_json::Value {
    match key {
        Value::Int(number) => (*number).into(),
        Value::String(text) => text.to_string().into(),
        other => other.to_string().into(),
    }
}

/// The history without a random unit that the model says may be left out.
fn without_a_unit<M: Model>(model: &M, ops: &[Op], rng: &mut Rng) -> Option<Vec<Op>> {
    // Of one part, as a search for counterexamples has it.
    let part_of = |op: &Op| model.partition(&object::recorded(std::slice::from_ref(op)).operations()[0]);
    let part = part_of(&ops[rng.random_range(0..ops.len())]);
    let is_in_part = |op: &Op| part_of(op) == part;
    let positions: Vec<usize> = (0..ops.len()).filter(|&position| is_in_part(&ops[position])).collect();
    let of_part: Vec<Op> = positions.iter().map(|&position| ops[position].clone()).collect();
    let intervals = intervals(model, &of_part);
    let removal = model.removal(&intervals);
    let mut unit = BTreeSet::from([rng.random_range(0..intervals.len().max(1)) as u32]);
    let mut size = 0;
    while size < unit.len() {
        size = unit.len();
        unit.extend(
            removal.bonds.iter().filter(|(a, _)| unit.contains(a)).map(|&(_, b)| b).collect::<Vec<_>>(),
        );
    }
    if !unit.iter().all(|&position| removal.removable.get(position as usize) == Some(&true)) {
        return None;
    }
    let is_out = |position: usize| {
        let of_unit = unit.iter().map(|&number| positions[intervals[number as usize].operation as usize]);
        of_unit.into_iter().any(|out| out == position)
    };
    Some((0..ops.len()).filter(|&position| !is_out(position)).map(|position| ops[position].clone()).collect())
}

/// A model that keeps its class to itself, so that the general search decides, over the whole history at once.
struct WithoutClass<M>(M);

impl<M: Model> Model for WithoutClass<M> {
    type State = M::State;
    type Call = M::Call;
    type Refusal = M::Refusal;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn init(&self) -> M::State {
        self.0.init()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<M::Call>, ModelError> {
        self.0.meaning(operation)
    }

    fn step(&self, state: &M::State, call: &M::Call) -> Result<M::State, M::Refusal> {
        self.0.step(state, call)
    }

    fn is_pure(&self, call: &M::Call) -> bool {
        self.0.is_pure(call)
    }

    fn is_finite(&self) -> bool {
        self.0.is_finite()
    }

    fn describe_call(&self, call: &M::Call) -> String {
        self.0.describe_call(call)
    }

    fn describe_state(&self, state: &M::State) -> String {
        self.0.describe_state(state)
    }
}

/// What the histories had, so that a generator that never makes something is noticed.
#[derive(Default)]
struct Seen {
    valid: u64,
    invalid: u64,
    ties: u64,
    /// Histories that were linearizable and had a unit taken out.
    reduced: u64,
    /// Functions with how they ended, in valid histories.
    outcomes: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, ops: &[Op], is_valid: bool) {
        *if is_valid { &mut self.valid } else { &mut self.invalid } += 1;
        self.ties += u64::from(ops.iter().any(|a| ops.iter().any(|b| a.completed == b.invoked)));
        for op in ops.iter().filter(|_| is_valid) {
            let ending = match &op.outcome {
                Outcome::Answered(Answer::Ok(_)) => "ok",
                Outcome::Answered(Answer::Fail(error)) => error,
                Outcome::Crashed => "info",
            };
            self.outcomes.insert(format!("{} {ending}", op.call.f));
        }
    }
}

/// Judges the random histories of an object. `outcomes`: those that valid histories must have had, besides `timed-out` ones.
pub fn agrees_with_brute_force<O: Object>(outcomes: &[&str]) {
    let mut seen = Seen::default();
    let histories = histories();
    for number in 0..histories {
        assert_right::<O>(number, &mut seen);
    }
    let mut line = String::new();
    let Seen { valid, invalid, ties, reduced, .. } = seen;
    write!(line, "{}: {valid} valid, {invalid} invalid, {ties} with ties, {reduced} reduced", O::NAME)
        .unwrap();
    println!("{line}");
    assert!(valid.min(invalid) * 20 > histories && ties * 10 > histories, "{line}");
    seen.outcomes.retain(|outcome| !outcome.ends_with(object::TIMED_OUT));
    let expected: BTreeSet<String> = outcomes.iter().map(|&outcome| outcome.to_owned()).collect();
    assert_eq!(seen.outcomes, expected);
}

/// A model, calls of a history of some object of its kind, and states that they lead to.
struct Sample<M: Model> {
    model: M,
    calls: Vec<M::Call>,
    states: Vec<M::State>,
}

fn sample<O: Object>(number: u64) -> Sample<O::Model> {
    let mut rng = rng_of::<O>(number);
    let (initial, start) = O::start(&mut rng);
    let ops = random_history::<O>(&start, 12, &mut rng);
    let model = adapted(O::model(&initial), &ops);
    let calls: Vec<_> = intervals(&model, &ops).into_iter().map(|interval| interval.call).collect();
    let mut states = vec![model.init()];
    for _ in 0..if calls.is_empty() { 0 } else { 30 } {
        let (state, call) =
            (&states[rng.random_range(0..states.len())], &calls[rng.random_range(0..calls.len())]);
        if let Ok(next) = model.step(state, call) {
            states.push(next);
        }
    }
    Sample { model, calls, states }
}

/// Fails unless calls that are said to be pure leave every state in which they are legal; and unless equal states hash alike
/// and take the same calls. `has_pure`: whether there are any.
pub fn pure_calls_leave_every_state<O: Object>(has_pure: bool) {
    let mut pure_and_legal = 0;
    for number in 0..300 {
        let Sample { model, calls, states } = sample::<O>(number);
        for (state, call) in states.iter().flat_map(|state| calls.iter().map(move |call| (state, call))) {
            if let (true, Ok(after)) = (model.is_pure(call), model.step(state, call)) {
                assert_eq!(after, *state, "{call:?}");
                pure_and_legal += 1;
            }
        }
    }
    assert_eq!(pure_and_legal > 300, has_pure, "{pure_and_legal} steps");
}

/// Fails unless the model of a history without crashes is finite: calls repeated for ever lead to no more than `most` states.
pub fn few_calls_lead_to_few_states<O: Object>(most: usize) {
    let mut largest = 0;
    for number in 0..100 {
        let Sample { model, mut calls, .. } = sample::<O>(number);
        assert!(model.is_finite());
        calls.truncate(6);
        let mut met = HashSet::from([model.init()]);
        let mut open = vec![model.init()];
        while let Some(state) = open.pop() {
            for after in calls.iter().filter_map(|call| model.step(&state, call).ok()) {
                if met.insert(after.clone()) {
                    open.push(after);
                }
            }
            assert!(met.len() <= most, "{calls:?}");
        }
        largest = largest.max(met.len());
    }
    assert!(largest > 1, "no call changed anything");
}

/// Fails unless every call does what its role says to an object of the model's class, as it is written down here once more.
pub fn roles_are_true<O: Object>() {
    let (mut legal, mut refused) = (0, 0);
    for number in 0..600 {
        let mut rng = rng_of::<O>(number);
        let Sample { model, calls, .. } = sample::<O>(number);
        let Some(class) = model.class() else { continue };
        let (mut state, mut thing) = (model.init(), Thing::new(&class));
        for _ in 0..if calls.is_empty() { 0 } else { 30 } {
            let call = &calls[rng.random_range(0..calls.len())];
            let Some(role) = model.role(call) else { continue };
            let expected = thing.after(&class, role);
            assert_eq!(model.step(&state, call).is_ok(), expected.is_some(), "{call:?} in {state:?}");
            if let (Ok(after), Some(expected)) = (model.step(&state, call), expected) {
                (state, thing) = (after, expected);
                legal += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(legal > 1_000 && refused > 100, "{legal} legal, {refused} refused");
}

/// An object of any class: one value, or values in order of insertion, or a number.
#[derive(Clone)]
enum Thing {
    Holds(Value),
    Contains(Vec<Value>),
    Counts(i64),
}

impl Thing {
    fn new(class: &Class) -> Thing {
        match class {
            Class::Register { initial } => Thing::Holds(initial.clone()),
            Class::Counter => Thing::Counts(0),
            _ => Thing::Contains(Vec::new()),
        }
    }

    fn after(&self, class: &Class, role: Role<'_>) -> Option<Thing> {
        match self {
            Thing::Holds(held) => held_after(held, role).map(Thing::Holds),
            Thing::Counts(total) => total_after(*total, role).map(Thing::Counts),
            Thing::Contains(values) => {
                let values = values.clone();
                match class {
                    Class::Set => members_after(values, role),
                    _ => values_after(values, class, role),
                }
                .map(Thing::Contains)
            }
        }
    }
}

fn held_after(held: &Value, role: Role<'_>) -> Option<Value> {
    match role {
        Role::Read(value) => (value == held).then(|| held.clone()),
        Role::Write(value) => Some(value.clone()),
        Role::CompareAndSet { expected, new } => (expected == held).then(|| new.clone()),
        Role::CompareUnequal(value) => (value != held).then(|| held.clone()),
        other => panic!("{other:?} of a register"),
    }
}

fn total_after(total: i64, role: Role<'_>) -> Option<i64> {
    match role {
        Role::Add(number) => Some(total + number),
        Role::Total(expected) => (total == expected).then_some(total),
        Role::AddAndTotal(number, expected) => (total + number == expected).then_some(expected),
        other => panic!("{other:?} of a counter"),
    }
}

fn members_after(mut members: Vec<Value>, role: Role<'_>) -> Option<Vec<Value>> {
    let position = |value: &Value| members.iter().position(|member| member == value);
    match role {
        Role::Insert(value) if position(value).is_none() => members.push(value.clone()),
        Role::Insert(_) => {}
        Role::Remove(value) => members.retain(|member| member != value),
        Role::Contains(value, is_in) => return (position(value).is_some() == is_in).then_some(members),
        Role::Members(read) => {
            let is_same = read.len() == members.len() && read.iter().all(|value| position(value).is_some());
            return is_same.then_some(members);
        }
        other => panic!("{other:?} of a set"),
    }
    Some(members)
}

fn values_after(mut values: Vec<Value>, class: &Class, role: Role<'_>) -> Option<Vec<Value>> {
    let next = match class {
        Class::Queue => (!values.is_empty()).then_some(0),
        Class::Stack => values.len().checked_sub(1),
        Class::Bag | Class::PriorityQueue => (0..values.len()).min_by_key(|&position| &values[position]),
        other => panic!("{other:?}"),
    };
    match (role, next) {
        (Role::Insert(value), _) => values.push(value.clone()),
        (Role::Empty, next) => return next.is_none().then_some(values),
        (Role::RemoveAny, next) => drop(values.remove(next?)),
        (Role::Remove(value), _) if *class == Class::Bag => {
            values.remove(values.iter().position(|other| other == value)?);
        }
        (Role::Remove(value), next) => {
            let next = next?;
            if values[next] != *value {
                return None;
            }
            values.remove(next);
        }
        (other, _) => panic!("{other:?} of {class:?}"),
    }
    Some(values)
}

/// Fails unless acquisitions and releases may go with one another as the model says: takes out each unit of random histories in which
/// clients mostly release what they acquired.
pub fn acquisitions_may_go_with_their_releases<O: Object>(holds: impl Fn(&Op) -> bool) {
    let (mut pairs, mut alone, mut with_others) = (0_u64, 0_u64, 0_u64);
    for number in 0..histories() * 2 {
        let mut rng = Seed(0x10c5).fork(O::NAME).fork_index(number).rng();
        let (initial, start) = O::start(&mut rng);
        let ops = random_history::<O>(&start, OPERATIONS + 1, &mut rng);
        if !is_linearizable::<O>(&start, &ops) {
            continue;
        }
        let model = O::model(&initial);
        let intervals = intervals(&model, &ops);
        let removal = model.removal(&intervals);
        for first in (0..intervals.len()).filter(|&position| removal.removable[position]) {
            let mut unit = vec![first as u32];
            let mut next = 0;
            while let Some(&position) = unit.get(next) {
                let bound = removal.bonds.iter().filter(|&&(a, b)| a == position && !unit.contains(&b));
                let mut bound: Vec<u32> = bound.map(|&(_, b)| b).collect();
                bound.dedup();
                unit.extend(bound);
                next += 1;
            }
            if !unit.iter().all(|&position| removal.removable[position as usize]) {
                continue;
            }
            let is_out = |position: usize| {
                unit.iter().any(|&number| intervals[number as usize].operation as usize == position)
            };
            let rest: Vec<Op> = (0..ops.len())
                .filter(|&position| !is_out(position))
                .map(|position| ops[position].clone())
                .collect();
            assert!(is_linearizable::<O>(&start, &rest), "{} {number}: {unit:?} of {ops:#?}", O::NAME);
            let held = (0..ops.len()).filter(|&position| is_out(position) && holds(&ops[position])).count();
            pairs += u64::from(held == 2);
            alone += u64::from(held == 1);
            with_others += u64::from(held > 0 && unit.len() > held);
        }
    }
    let line = format!("{}: {pairs} pairs, {alone} alone, {with_others} with observations", O::NAME);
    println!("{line}");
    assert!(pairs > 200 && alone > 200 && with_others > 50, "{line}");
}
