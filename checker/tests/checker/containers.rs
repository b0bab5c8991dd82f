//! The polynomial algorithms for queue, stack, bag and priority queue agree with brute force and with the general search, on small
//! histories with crashed operations, operations in flight, ties and empty containers; and every order that they give is legal.

use std::fmt;

use labrys_checker::linearizable::{Completed, Decision, Interval, JudgedByModel, decide};
use labrys_checker::{Class, Context, Meaning, Model, ModelError, Role};
use labrys_history::{Event, EventKind, History, Operation, Process, Value};
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use crate::support::brute_force::{Timed, is_linearizable_by};
use crate::support::histories;

/// A call on a container, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    Insert(i64),
    Remove(i64),
    Empty,
}

/// The values, the last inserted at the end.
type Content = Vec<i64>;

/// What a container allows.
type Step = fn(Content, Call) -> Option<Content>;

/// The content after `call`, where a removal may take the value at one of the positions that `next` names.
fn step(mut content: Content, call: Call, next: impl Fn(&Content, usize) -> bool) -> Option<Content> {
    match call {
        Call::Insert(value) => content.push(value),
        Call::Remove(value) => {
            let found = content.iter().position(|&other| other == value);
            content.remove(found.filter(|&position| next(&content, position))?);
        }
        Call::Empty => return content.is_empty().then_some(content),
    }
    Some(content)
}

fn queue(content: Content, call: Call) -> Option<Content> {
    step(content, call, |_, position| position == 0)
}

fn stack(content: Content, call: Call) -> Option<Content> {
    step(content, call, |content, position| position + 1 == content.len())
}

fn bag(content: Content, call: Call) -> Option<Content> {
    step(content, call, |_, _| true)
}

fn priority_queue(content: Content, call: Call) -> Option<Content> {
    step(content, call, |content, position| content.iter().all(|&other| other >= content[position]))
}

/// A model of a container, which may keep to itself that it is one.
struct Container {
    class: Option<Class>,
    step: Step,
}

/// A call in the model's words, which roles borrow from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ModelCall(Call, Value);

impl ModelCall {
    fn new(call: Call) -> ModelCall {
        let value = match call {
            Call::Insert(value) | Call::Remove(value) => Value::Int(value),
            Call::Empty => Value::Nil,
        };
        ModelCall(call, value)
    }
}

struct NotPossible(Content);

impl fmt::Display for NotPossible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "it holds {:?}", self.0)
    }
}

impl Model for Container {
    type State = Content;
    type Call = ModelCall;
    type Refusal = NotPossible;

    fn name(&self) -> &str {
        "container"
    }

    fn init(&self) -> Content {
        Content::new()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<ModelCall>, ModelError> {
        let value = operation.value.as_int().expect("these tests use numbers");
        let call = if &*operation.f == "insert" { Call::Insert(value) } else { Call::Remove(value) };
        Ok(Meaning::Completed(ModelCall::new(call)))
    }

    fn step(&self, state: &Content, call: &ModelCall) -> Result<Content, NotPossible> {
        (self.step)(state.clone(), call.0).ok_or_else(|| NotPossible(state.clone()))
    }

    fn is_pure(&self, call: &ModelCall) -> bool {
        call.0 == Call::Empty
    }

    fn class(&self) -> Option<Class> {
        self.class.clone()
    }

    fn role<'c>(&self, call: &'c ModelCall) -> Option<Role<'c>> {
        Some(match call.0 {
            Call::Insert(_) => Role::Insert(&call.1),
            Call::Remove(_) => Role::Remove(&call.1),
            Call::Empty => Role::Empty,
        })
    }

    fn describe_call(&self, call: &ModelCall) -> String {
        format!("{:?}", call.0)
    }

    fn describe_state(&self, state: &Content) -> String {
        format!("{state:?}")
    }
}

/// A call that `step` allows, mostly a new value inserted or one removed.
fn any_legal(step: Step, content: &Content, inserted: i64, rng: &mut Rng) -> (Call, Content) {
    loop {
        let call = match rng.random_range(0..5) {
            0 | 1 => Call::Insert(inserted * 4 % 11),
            2 => Call::Empty,
            _ => match content.len() {
                0 => continue,
                length => Call::Remove(content[rng.random_range(0..length)]),
            },
        };
        if let Some(next) = step(content.clone(), call) {
            return (call, next);
        }
    }
}

/// A random history: one that is legal at first, of operations that are stretched, and then perhaps spoilt.
fn small_history(step: Step, seed: Seed) -> Vec<Timed<Call>> {
    let mut rng = seed.rng();
    let (mut content, mut inserted) = (Content::new(), 0);
    let stretch = rng.random_range(1..12);
    let crashes = [0.0, 0.0, 0.1, 0.3][rng.random_range(0..4)];
    let mut ops = Vec::new();
    for number in 0..rng.random_range(3..=9_u64) {
        let (call, next) = any_legal(step, &content, inserted, &mut rng);
        content = next;
        inserted += i64::from(matches!(call, Call::Insert(_)));
        let at = 10 + 3 * number;
        let invoked = at - rng.random_range(0..stretch).min(at);
        let optional = rng.random_bool(crashes);
        let completed = if optional { u64::MAX } else { at + rng.random_range(0..stretch) };
        ops.push(Timed { call, invoked, completed, optional });
    }
    for _ in 0..[0, 1, 2, 4][rng.random_range(0..4)] {
        spoil(&mut ops, &mut rng);
    }
    ops
}

fn spoil(ops: &mut [Timed<Call>], rng: &mut Rng) {
    let (one, other) = (rng.random_range(0..ops.len()), rng.random_range(0..ops.len()));
    match rng.random_range(0..8) {
        // Twice removed, twice inserted, never inserted: rarely, for these are easy.
        0 => ops[one].call = ops[other].call,
        1..4 => {
            let length = ops[one].completed.saturating_sub(ops[one].invoked);
            ops[one].invoked = rng.random_range(0..40);
            ops[one].completed = ops[one].invoked.saturating_add(length);
        }
        _ => (ops[one].call, ops[other].call) = (ops[other].call, ops[one].call),
    }
}

fn decision_on(model: &Container, ops: &[Timed<Call>]) -> Decision {
    let interval = |(position, op): (usize, &Timed<Call>)| Interval {
        call: ModelCall::new(op.call),
        operation: position as u64,
        invoked_ns: op.invoked,
        completed: (!op.optional)
            .then(|| Completed { time_ns: op.completed, index: 1_000 + position as u64 }),
    };
    let intervals: Vec<_> = ops.iter().enumerate().map(interval).collect();
    decide(model, &intervals, &Context::default())
}

/// Fails unless `order` is legal, respects real time, and has every operation that is not optional.
fn assert_witness(step: Step, ops: &[Timed<Call>], order: &[u64]) {
    let order: Vec<usize> = order.iter().map(|&operation| operation as usize).collect();
    let legal = order.iter().try_fold(Content::new(), |content, &position| step(content, ops[position].call));
    assert!(legal.is_some(), "{order:?} is not legal: {ops:#?}");
    for (at, &position) in order.iter().enumerate() {
        for &later in &order[at + 1..] {
            assert!(
                later != position && ops[later].completed >= ops[position].invoked,
                "{order:?}: {ops:#?}"
            );
        }
    }
    assert!((0..ops.len()).all(|op| ops[op].optional || order.contains(&op)), "{order:?}: {ops:#?}");
}

/// Whether a decision is "linearizable", and right about it.
fn is_valid(decision: &Decision, step: Step, ops: &[Timed<Call>]) -> bool {
    match decision {
        Decision::Linearizable(order) => {
            assert_witness(step, ops, order);
            true
        }
        Decision::NonLinearizable(_) => false,
        Decision::Unknown(reason) => panic!("{reason}: {ops:#?}"),
    }
}

fn agrees_with_brute_force(class: Class, step: Step) {
    let told = Container { class: Some(class.clone()), step };
    let untold = Container { class: None, step };
    let (mut valid, histories) = (0_u64, histories(15_000));
    for number in 0..histories {
        let ops = small_history(step, Seed(0xba6).fork(&format!("{class:?}")).fork_index(number));
        let expected = is_linearizable_by(step, &ops, Content::new());
        assert_eq!(is_valid(&decision_on(&told, &ops), step, &ops), expected, "{class:?}: {ops:#?}");
        assert_eq!(is_valid(&decision_on(&untold, &ops), step, &ops), expected, "in general: {ops:#?}");
        valid += u64::from(expected);
    }
    println!("{valid} of {histories} are valid");
    assert!(valid.min(histories - valid) * 5 > histories, "{valid} of {histories} are valid: one-sided");
}

#[test]
fn the_algorithm_for_queues_agrees_with_brute_force() {
    agrees_with_brute_force(Class::Queue, queue);
}

#[test]
fn the_algorithm_for_stacks_agrees_with_brute_force() {
    agrees_with_brute_force(Class::Stack, stack);
}

#[test]
fn the_algorithm_for_bags_agrees_with_brute_force() {
    agrees_with_brute_force(Class::Bag, bag);
}

#[test]
fn the_algorithm_for_priority_queues_agrees_with_brute_force() {
    agrees_with_brute_force(Class::PriorityQueue, priority_queue);
}

/// A legal history of many operations, each in flight together with some others.
fn large_history(step: Step, operations: u64, rng: &mut Rng) -> Vec<Timed<Call>> {
    let (mut content, mut inserted) = (Content::new(), 0);
    let mut ops = Vec::new();
    for number in 0..operations {
        let at = 100 + 10 * number;
        let call = loop {
            let call = match (rng.random_range(0..9), content.len()) {
                (0..4, _) => Call::Insert(inserted * 7_919 % 1_000_003),
                (4, 0) => Call::Empty,
                (4, _) | (_, 0) => continue,
                // What is allowed: one of the few at either end, or the least.
                (_, length) => Call::Remove(match rng.random_range(0..3) {
                    0 => content[0],
                    1 => content[length - 1],
                    _ => *content.iter().min().unwrap_or(&0),
                }),
            };
            if let Some(next) = step(content.clone(), call) {
                content = next;
                break call;
            }
        };
        inserted += i64::from(matches!(call, Call::Insert(_)));
        let (before, after) = (rng.random_range(0..100), rng.random_range(0..100));
        ops.push(Timed { call, invoked: at - before, completed: at + after, optional: false });
    }
    ops
}

#[test]
fn large_histories_have_a_witness_and_lose_it_when_a_removal_comes_much_too_soon() {
    let algorithms: [(Class, Step); 4] = [
        (Class::Queue, queue),
        (Class::Stack, stack),
        (Class::Bag, bag),
        (Class::PriorityQueue, priority_queue),
    ];
    for (class, step) in algorithms {
        let model = Container { class: Some(class.clone()), step };
        for number in 0..10 {
            let mut rng = Seed(0x1a26e).fork(&format!("{class:?}")).fork_index(number).rng();
            let mut ops = large_history(step, 600, &mut rng);
            assert!(is_valid(&decision_on(&model, &ops), step, &ops), "{class:?} {number}");
            let Some(late) = ops.iter().rposition(|op| matches!(op.call, Call::Remove(_))) else { continue };
            (ops[late].invoked, ops[late].completed) = (0, 50);
            assert!(!is_valid(&decision_on(&model, &ops), step, &ops), "{class:?} {number}");
        }
    }
}

/// The operations of a history in which `calls` follow one another.
fn one_after_another(calls: &[(&str, i64)]) -> Vec<Operation> {
    let events = calls.iter().zip(0_u64..).flat_map(|(&(f, value), number)| {
        let event = |index, kind| Event::new(index, index, Process::Client(0), kind, f, Value::Int(value));
        [event(2 * number, EventKind::Invoke), event(2 * number + 1, EventKind::Ok)]
    });
    History::from_validated(events.collect()).operations()
}

#[test]
fn the_verdict_names_the_algorithm_that_decided() {
    let distinct = one_after_another(&[("insert", 1), ("insert", 2), ("remove", 1), ("insert", 3)]);
    let repeated = one_after_another(&[("insert", 1), ("remove", 1), ("insert", 1)]);
    let algorithms: [(Class, Step, &str); 4] = [
        (Class::Queue, queue, "queue"),
        (Class::Stack, stack, "stack"),
        (Class::Bag, bag, "bag"),
        (Class::PriorityQueue, priority_queue, "priority-queue"),
    ];
    for (class, step, name) in algorithms {
        let model = Container { class: Some(class), step };
        for (operations, expected) in [(&distinct, name), (&repeated, "wgl")] {
            let verdict = model.judge(operations, &Context::default()).unwrap();
            assert_eq!(verdict.partitions[0].algorithm, expected, "{name}");
        }
    }
}
