//! The polynomial algorithms for sets and counters agree with brute force and with the general search, on small histories with
//! crashed operations and ties; and every order that they give is legal.

use labrys_checker::linearizable::JudgedByModel;
use labrys_checker::{Class, Context, Role};
use labrys_history::{Event, EventKind, History, Operation, Process, Value};
use labrys_seed::Seed;
use rand::Rng as _;

use crate::support::brute_force::Timed;
use crate::support::toy::{Toy, ToyModel, assert_agreement, small_history};

/// A call on a set of numbers below 64, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OnSet {
    Insert(u32),
    Remove(u32),
    Contains(u32, bool),
    /// The members, as bits.
    Members(u64),
}

#[derive(Clone, Copy)]
struct Set;

impl Toy for Set {
    type Call = OnSet;
    type State = u64;
    const CLASS: Class = Class::Set;

    fn init() -> u64 {
        0
    }

    fn step(members: u64, call: OnSet) -> Option<u64> {
        match call {
            OnSet::Insert(value) => Some(members | 1 << value),
            OnSet::Remove(value) => Some(members & !(1 << value)),
            OnSet::Contains(value, answer) => ((members >> value & 1 == 1) == answer).then_some(members),
            OnSet::Members(answer) => (answer == members).then_some(members),
        }
    }

    fn values(call: OnSet) -> Vec<Value> {
        match call {
            OnSet::Insert(value) | OnSet::Remove(value) | OnSet::Contains(value, _) => {
                vec![Value::Int(value.into())]
            }
            OnSet::Members(members) => {
                (0..64).rev().filter(|value| members >> value & 1 == 1).map(Value::Int).collect()
            }
        }
    }

    fn role(call: OnSet, values: &[Value]) -> Role<'_> {
        match call {
            OnSet::Insert(_) => Role::Insert(&values[0]),
            OnSet::Remove(_) => Role::Remove(&values[0]),
            OnSet::Contains(_, answer) => Role::Contains(&values[0], answer),
            OnSet::Members(_) => Role::Members(values),
        }
    }

    fn is_pure(call: OnSet) -> bool {
        matches!(call, OnSet::Contains(..) | OnSet::Members(_))
    }

    fn call(operation: &Operation) -> OnSet {
        match (operation.f(), operation.value().as_int()) {
            ("insert", Some(value)) => OnSet::Insert(value as u32),
            ("remove", Some(value)) => OnSet::Remove(value as u32),
            (_, members) => OnSet::Members(members.expect("members are given as bits") as u64),
        }
    }
}

/// Histories with readers of the whole set and nothing removed, or with each value inserted and removed once, or with anything.
fn set_history(seed: Seed) -> Vec<Timed<OnSet>> {
    let mut shape = seed.fork("shape").rng();
    let (has_members, has_removals) = [(true, false), (false, true), (true, true)][shape.random_range(0..3)];
    let is_once = has_removals && !has_members;
    let values = shape.random_range(1..5);
    let (mut inserted, mut removed) = (0_u64, 0_u64);
    let mut ops = small_history::<Set>(seed, |&members, rng| {
        let value = rng.random_range(0..values);
        let (bit, is_member) = (1 << value, members >> value & 1 == 1);
        match rng.random_range(0..7) {
            0..3 if !is_once || inserted & bit == 0 => {
                inserted |= bit;
                OnSet::Insert(value)
            }
            3 if has_removals && (!is_once || removed & bit == 0) => {
                removed |= bit;
                OnSet::Remove(value)
            }
            4 if has_members => OnSet::Members(members),
            _ => OnSet::Contains(value, is_member),
        }
    });
    for op in &mut ops {
        op.call = match op.call {
            OnSet::Contains(value, answer) if shape.random_bool(0.1) => OnSet::Contains(value, !answer),
            OnSet::Members(members) if shape.random_bool(0.2) => OnSet::Members(members ^ 1),
            call => call,
        };
    }
    ops
}

#[test]
fn the_algorithm_for_sets_agrees_with_brute_force() {
    assert_agreement(Set, set_history);
}

/// A call on a counter, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OnCounter {
    Add(i64),
    Total(i64),
    AddAndTotal(i64, i64),
}

#[derive(Clone, Copy)]
struct Counter;

impl Toy for Counter {
    type Call = OnCounter;
    type State = i64;
    const CLASS: Class = Class::Counter;

    fn init() -> i64 {
        0
    }

    fn step(total: i64, call: OnCounter) -> Option<i64> {
        match call {
            OnCounter::Add(number) => Some(total + number),
            OnCounter::Total(answer) => (answer == total).then_some(total),
            OnCounter::AddAndTotal(number, answer) => (answer == total + number).then_some(answer),
        }
    }

    fn values(_: OnCounter) -> Vec<Value> {
        Vec::new()
    }

    fn role(call: OnCounter, _: &[Value]) -> Role<'_> {
        match call {
            OnCounter::Add(number) => Role::Add(number),
            OnCounter::Total(answer) => Role::Total(answer),
            OnCounter::AddAndTotal(number, answer) => Role::AddAndTotal(number, answer),
        }
    }

    fn is_pure(call: OnCounter) -> bool {
        matches!(call, OnCounter::Total(_))
    }

    fn call(operation: &Operation) -> OnCounter {
        let number = operation.value().as_int().expect("these tests use numbers");
        if operation.f() == "add" { OnCounter::Add(number) } else { OnCounter::Total(number) }
    }
}

fn counter_history(seed: Seed) -> Vec<Timed<OnCounter>> {
    let mut rng = seed.fork("shape").rng();
    let addend = [1, 1, 1, 3][rng.random_range(0..4)];
    let returning = [0.0, 0.3, 1.0][rng.random_range(0..3)];
    // Now and then a number that is another, a total that is none of the multiples, or both.
    let odd = [0.0, 0.02][rng.random_range(0..2)];
    small_history::<Counter>(seed, |&total, rng| {
        let number = if rng.random_bool(odd) { rng.random_range(-1..=2) } else { addend };
        match rng.random_range(0..5) {
            0..2 => OnCounter::Total(total),
            _ if rng.random_bool(returning) => OnCounter::AddAndTotal(number, total + number),
            _ => OnCounter::Add(number),
        }
    })
}

#[test]
fn the_algorithm_for_counters_agrees_with_brute_force() {
    assert_agreement(Counter, counter_history);
}

/// The algorithm that decides when `calls` follow one another.
fn algorithm<T: Toy>(toy: T, calls: &[(&str, i64)]) -> String {
    let events = calls.iter().zip(0_u64..).flat_map(|(&(f, value), number)| {
        let event = |index, kind| Event::new(index, index, Process::Client(0), kind, f, Value::Int(value));
        [event(2 * number, EventKind::Invoke), event(2 * number + 1, EventKind::Ok)]
    });
    let history = History::from_validated(events.collect());
    let verdict = ToyModel::told(toy).judge(&history.operations(), &Context::default()).unwrap();
    verdict.partitions[0].algorithm.clone()
}

#[test]
fn the_verdict_names_the_algorithm_that_decided() {
    assert_eq!(algorithm(Set, &[("insert", 1), ("insert", 1), ("read", 2)]), "set");
    assert_eq!(algorithm(Set, &[("insert", 1), ("remove", 1)]), "set");
    assert_eq!(algorithm(Set, &[("insert", 1), ("remove", 1), ("read", 0)]), "wgl");
    assert_eq!(algorithm(Counter, &[("add", 5), ("add", 5), ("read", 7)]), "counter");
    assert_eq!(algorithm(Counter, &[("add", 5), ("add", 4), ("read", 9)]), "wgl");
    assert_eq!(algorithm(Counter, &[("read", 0), ("add", 0)]), "wgl");
}
