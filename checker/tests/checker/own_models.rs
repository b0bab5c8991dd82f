//! The search relies on nothing that only registers have: it agrees with brute force on a counter, whose updates commute and
//! are legal everywhere with different outcomes, and whose model is not in the table.

use std::fmt;

use labrys_checker::linearizable::{Algorithm, Completed, Decision, Interval, decide};
use labrys_checker::{Context, Meaning, Model, ModelError};
use labrys_history::Operation;
use labrys_seed::Seed;
use rand::Rng as _;

use crate::support::brute_force::{Timed, is_linearizable_by};

/// A call on a counter, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Count {
    Add(i64),
    AddAndGet(i64, i64),
    Get(i64),
}

fn step(state: i64, call: Count) -> Option<i64> {
    match call {
        Count::Add(number) => Some(state + number),
        Count::AddAndGet(number, got) => (state + number == got).then_some(got),
        Count::Get(got) => (state == got).then_some(state),
    }
}

struct Counter;

struct NotThatMany(i64);

impl fmt::Display for NotThatMany {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the counter is at {}", self.0)
    }
}

impl Model for Counter {
    type State = i64;
    type Call = Count;
    type Refusal = NotThatMany;

    fn name(&self) -> &str {
        "counter"
    }

    fn init(&self) -> i64 {
        0
    }

    fn meaning(&self, _: &Operation) -> Result<Meaning<Count>, ModelError> {
        Ok(Meaning::Nothing)
    }

    fn step(&self, state: &i64, call: &Count) -> Result<i64, NotThatMany> {
        step(*state, *call).ok_or(NotThatMany(*state))
    }

    fn is_pure(&self, call: &Count) -> bool {
        matches!(call, Count::Get(_))
    }

    fn describe_call(&self, call: &Count) -> String {
        format!("{call:?}")
    }

    fn describe_state(&self, state: &i64) -> String {
        format!("counter = {state}")
    }
}

const ALGORITHMS: [Algorithm; 3] = [Algorithm::General, Algorithm::DepthFirst, Algorithm::BreadthFirst];

fn small_history(seed: Seed) -> Vec<Timed<Count>> {
    let mut rng = seed.rng();
    let length = rng.random_range(1..=7);
    let timed = (0..length).map(|_| {
        let (number, result) = (rng.random_range(-1..=2), rng.random_range(-1..=4));
        let (call, may_crash) = match rng.random_range(0..4) {
            0 => (Count::Get(result), false),
            1 => (Count::AddAndGet(number, result), false),
            _ => (Count::Add(number), true),
        };
        let invoked = rng.random_range(0..20);
        let crashed = may_crash && rng.random_bool(0.4);
        let completed = if crashed { u64::MAX } else { invoked + rng.random_range(0..15) };
        Timed { call, invoked, completed, optional: crashed }
    });
    timed.collect()
}

fn decision_on(ops: &[Timed<Count>], algorithm: Algorithm) -> Decision {
    let intervals: Vec<Interval<Count>> = ops
        .iter()
        .enumerate()
        .map(|(position, op)| Interval {
            call: op.call,
            operation: position as u64,
            invoked_ns: op.invoked,
            completed: (!op.optional)
                .then(|| Completed { time_ns: op.completed, index: 1_000 + position as u64 }),
        })
        .collect();
    decide(&Counter, &intervals, &Context { algorithm, ..Context::default() })
}

/// Fails unless `order` is legal, respects real time, and has every operation that is not optional.
fn assert_witness(ops: &[Timed<Count>], order: &[u64]) {
    let order: Vec<usize> = order.iter().map(|&operation| operation as usize).collect();
    order.iter().fold(0, |state, &position| step(state, ops[position].call).expect("legal"));
    for (at, &position) in order.iter().enumerate() {
        for &later in &order[at + 1..] {
            assert!(later != position && ops[later].completed >= ops[position].invoked, "{order:?}: {ops:?}");
        }
    }
    assert!(
        (0..ops.len()).all(|position| ops[position].optional || order.contains(&position)),
        "{order:?}: {ops:?}"
    );
}

#[test]
fn the_search_agrees_with_brute_force_on_a_counter_and_has_a_witness_for_each_linearizable_one() {
    let (mut valid, mut invalid) = (0_u32, 0_u32);
    for number in 0..20_000 {
        let ops = small_history(Seed(0xc0).fork_index(number));
        let expected = is_linearizable_by(step, &ops, 0);
        let algorithm = ALGORITHMS[number as usize % ALGORITHMS.len()];
        match decision_on(&ops, algorithm) {
            Decision::Linearizable(order) => {
                assert!(expected, "{ops:?}");
                assert_witness(&ops, &order);
                valid += 1;
            }
            Decision::NonLinearizable(_) => {
                assert!(!expected, "{ops:?}");
                invalid += 1;
            }
            Decision::Unknown(reason) => panic!("{reason}: {ops:?}"),
        }
    }
    assert!(valid.min(invalid) > 4_000, "{valid} valid, {invalid} invalid");
}
