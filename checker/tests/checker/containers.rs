//! The polynomial algorithms for queue, stack, bag and priority queue agree with brute force and with the general search, on small
//! histories with crashed operations, operations in flight, ties and empty containers; and every order that they give is legal.

use labrys_checker::linearizable::JudgedByModel;
use labrys_checker::{Class, Context, Role};
use labrys_history::{Event, EventKind, History, Operation, Process, Value};
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use crate::support::brute_force::{Timed, is_linearizable_by};
use crate::support::toy::{Toy, ToyModel, assert_agreement, is_valid, small_history};

/// A call on a container, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    Insert(i64),
    Remove(i64),
    /// Crashed; of the values that it may have taken the least, if nothing else says which.
    RemoveAny,
    Empty,
}

/// The values, the last inserted at the end.
type Content = Vec<i64>;

/// A kind of container: it has a class, and allows the removal of the value at some positions.
trait Kind: Copy + Send + Sync + 'static {
    const CLASS: Class;
    fn is_next(content: &Content, position: usize) -> bool;
}

#[derive(Clone, Copy)]
struct Queue;
#[derive(Clone, Copy)]
struct Stack;
#[derive(Clone, Copy)]
struct Bag;
#[derive(Clone, Copy)]
struct PriorityQueue;

impl Kind for Queue {
    const CLASS: Class = Class::Queue;

    fn is_next(_: &Content, position: usize) -> bool {
        position == 0
    }
}

impl Kind for Stack {
    const CLASS: Class = Class::Stack;

    fn is_next(content: &Content, position: usize) -> bool {
        position + 1 == content.len()
    }
}

impl Kind for Bag {
    const CLASS: Class = Class::Bag;

    fn is_next(_: &Content, _: usize) -> bool {
        true
    }
}

impl Kind for PriorityQueue {
    const CLASS: Class = Class::PriorityQueue;

    fn is_next(content: &Content, position: usize) -> bool {
        content.iter().all(|&other| other >= content[position])
    }
}

#[derive(Clone, Copy)]
struct Container<K>(K);

impl<K: Kind> Toy for Container<K> {
    type Call = Call;
    type State = Content;
    const CLASS: Class = K::CLASS;

    fn init() -> Content {
        Content::new()
    }

    fn step(mut content: Content, call: Call) -> Option<Content> {
        match call {
            Call::Insert(value) => content.push(value),
            Call::Remove(value) => {
                let is_it = |&position: &usize| content[position] == value && K::is_next(&content, position);
                let position = (0..content.len()).find(is_it)?;
                content.remove(position);
            }
            Call::RemoveAny => {
                let allowed = (0..content.len()).filter(|&position| K::is_next(&content, position));
                let position = allowed.min_by_key(|&position| content[position])?;
                content.remove(position);
            }
            Call::Empty => return content.is_empty().then_some(content),
        }
        Some(content)
    }

    fn values(call: Call) -> Vec<Value> {
        match call {
            Call::Insert(value) | Call::Remove(value) => vec![Value::Int(value)],
            Call::RemoveAny | Call::Empty => Vec::new(),
        }
    }

    fn role(call: Call, values: &[Value]) -> Role<'_> {
        match call {
            Call::Insert(_) => Role::Insert(&values[0]),
            Call::Remove(_) => Role::Remove(&values[0]),
            Call::RemoveAny => Role::RemoveAny,
            Call::Empty => Role::Empty,
        }
    }

    fn is_pure(call: Call) -> bool {
        call == Call::Empty
    }

    fn call(operation: &Operation) -> Call {
        match (operation.f(), operation.value().as_int()) {
            ("insert", Some(value)) => Call::Insert(value),
            ("remove", Some(value)) => Call::Remove(value),
            (f, _) => {
                assert_eq!(f, "remove-any");
                Call::RemoveAny
            }
        }
    }

    /// Removals that crashed took some value that was inserted, any, or nothing.
    fn is_linearizable(ops: &[Timed<Call>]) -> bool {
        let Some(unknown) = ops.iter().position(|op| op.call == Call::RemoveAny) else {
            return is_linearizable_by(Self::step, ops, Self::init());
        };
        let mut known = ops.to_vec();
        let removed = known.remove(unknown);
        Self::is_linearizable(&known)
            || ops.iter().any(|op| match op.call {
                Call::Insert(value) => {
                    let mut known = ops.to_vec();
                    known[unknown] = Timed { call: Call::Remove(value), ..removed };
                    Self::is_linearizable(&known)
                }
                _ => false,
            })
    }
}

/// A call that the container allows: an insertion of a value that is not in it, mostly one that never was, or a removal.
fn any_legal<K: Kind>(content: &Content, values: i64, rng: &mut Rng) -> Call {
    loop {
        let call = match (rng.random_range(0..9), content.len()) {
            (0..4, _) => Call::Insert(rng.random_range(0..values)),
            (4, 0) => Call::Empty,
            (4, _) | (_, 0) => continue,
            (5, length) => Call::Remove(content[rng.random_range(0..length)]),
            // Often the one that is allowed, at either end or the least.
            (6, _) => Call::Remove(content[0]),
            (7, length) => Call::Remove(content[length - 1]),
            _ => Call::Remove(*content.iter().min().unwrap_or(&0)),
        };
        let is_new = !matches!(call, Call::Insert(value) if content.contains(&value));
        if is_new && Container::<K>::step(content.clone(), call).is_some() {
            return call;
        }
    }
}

fn agrees_with_brute_force<K: Kind>(kind: K) {
    assert_agreement(Container(kind), |seed| {
        let mut ops = small_history::<Container<K>>(seed, |content, rng| any_legal::<K>(content, 30, rng));
        // At most two removals crash, so that the oracle comes to an end.
        let mut rng = seed.fork("crashes").rng();
        let crashes = [0.0, 0.0, 0.5][rng.random_range(0..3)];
        for op in ops.iter_mut().filter(|op| matches!(op.call, Call::Remove(_))).take(2) {
            if rng.random_bool(crashes) {
                let invoked = op.invoked;
                *op = Timed { call: Call::RemoveAny, invoked, completed: u64::MAX, optional: true };
            }
        }
        ops
    });
}

#[test]
fn the_algorithm_for_queues_agrees_with_brute_force() {
    agrees_with_brute_force(Queue);
}

#[test]
fn the_algorithm_for_stacks_agrees_with_brute_force() {
    agrees_with_brute_force(Stack);
}

#[test]
fn the_algorithm_for_bags_agrees_with_brute_force() {
    agrees_with_brute_force(Bag);
}

#[test]
fn the_algorithm_for_priority_queues_agrees_with_brute_force() {
    agrees_with_brute_force(PriorityQueue);
}

/// A legal history of many operations, each in flight together with some others.
fn large_history<K: Kind>(operations: u64, rng: &mut Rng) -> Vec<Timed<Call>> {
    let mut content = Content::new();
    let step = |number| {
        let call = any_legal::<K>(&content, i64::MAX, rng);
        content = Container::<K>::step(content.clone(), call).expect("legal");
        let at = 100 + 10 * number;
        let (before, after) = (rng.random_range(0..100), rng.random_range(0..100));
        Timed { call, invoked: at - before, completed: at + after, optional: false }
    };
    (0..operations).map(step).collect()
}

fn has_a_witness_until_spoilt<K: Kind>(kind: K) {
    let model = ToyModel::told(Container(kind));
    for number in 0..10 {
        let mut rng = Seed(0x1a26e).fork(&format!("{:?}", K::CLASS)).fork_index(number).rng();
        let mut ops = large_history::<K>(600, &mut rng);
        assert!(is_valid(&model, &ops), "{:?} {number}", K::CLASS);
        // A removal that comes before everything.
        let late = ops.iter().rposition(|op| matches!(op.call, Call::Remove(_))).expect("some were removed");
        for op in &mut ops {
            (op.invoked, op.completed) = (op.invoked + 100, op.completed + 100);
        }
        (ops[late].invoked, ops[late].completed) = (0, 50);
        assert!(!is_valid(&model, &ops), "{:?} {number}", K::CLASS);
    }
}

#[test]
fn large_histories_have_a_witness_and_lose_it_when_a_removal_comes_much_too_soon() {
    has_a_witness_until_spoilt(Queue);
    has_a_witness_until_spoilt(Stack);
    has_a_witness_until_spoilt(Bag);
    has_a_witness_until_spoilt(PriorityQueue);
}

/// A history in which `calls` follow one another. A removal of anything crashes.
fn one_after_another(calls: &[(&str, i64)]) -> History {
    let events = calls.iter().zip(0_u64..).flat_map(|(&(f, value), number)| {
        let event =
            |index, kind| Event::new(index, index, Process::Client(number), kind, f, Value::Int(value));
        let end = if f == "remove-any" { EventKind::Info } else { EventKind::Ok };
        [event(2 * number, EventKind::Invoke), event(2 * number + 1, end)]
    });
    History::from_validated(events.collect())
}

/// Fails unless the algorithm with a name decides histories of distinct values, even if something was removed of which nobody
/// knows what.
fn assert_names_the_algorithm<K: Kind>(kind: K, name: &str) {
    let model = ToyModel::told(Container(kind));
    for (calls, expected) in [
        ([("insert", 1), ("insert", 2), ("remove", 1), ("remove", 2)], name),
        ([("insert", 1), ("remove", 1), ("insert", 1), ("remove", 1)], "wgl"),
        ([("insert", 1), ("remove-any", 0), ("remove", 1), ("remove", 2)], name),
        ([("insert", 2), ("insert", 1), ("remove-any", 0), ("remove", 1)], name),
    ] {
        let verdict = model.judge(&one_after_another(&calls).operations(), &Context::default()).unwrap();
        assert_eq!(verdict.partitions[0].algorithm, expected, "{calls:?}");
    }
}

#[test]
fn the_verdict_names_the_algorithm_that_decided() {
    assert_names_the_algorithm(Queue, "queue");
    assert_names_the_algorithm(Stack, "stack");
    assert_names_the_algorithm(Bag, "bag");
    assert_names_the_algorithm(PriorityQueue, "priority-queue");
}
