//! Registers in which every value is written once are decided in polynomial time, and rightly: against brute force, with
//! every order replayed.

use labrys_checker::linearizable::{Decision, decide};
use labrys_checker::models::Register;
use labrys_checker::verdict::Validity;
use labrys_checker::{CheckConfig, Context, check};
use labrys_history::Value;
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use crate::support::brute_force::{self, Timed};
use crate::support::generate::{self, Shape};
use crate::support::{Call, Op, histories, history_of, interval_of};

/// The number of random histories, if the environment does not say otherwise.
const HISTORIES: u64 = 40_000;

/// The values that `ops` could be about: all that are written, the initial one, and one that never was.
fn any_value(ops: &[Op], rng: &mut Rng) -> i64 {
    match ops[rng.random_range(0..ops.len())].call {
        Call::Read(value) | Call::Write(value) => value,
        Call::Cas(expected, new) | Call::CasUnequal(expected, new) => {
            if rng.random_bool(0.3) {
                expected
            } else {
                new
            }
        }
    }
}

/// Changes what one operation observed or when it was, and leaves the values that are written as they are.
fn spoil(ops: &mut [Op], rng: &mut Rng) {
    let value = any_value(ops, rng);
    let position = rng.random_range(0..ops.len());
    let op = &mut ops[position];
    match rng.random_range(0..4) {
        0 => {
            op.call = match op.call {
                Call::Read(_) => Call::Read(value),
                Call::Write(new) => Call::Cas(value, new),
                Call::Cas(_, new) if rng.random_bool(0.5) => Call::Write(new),
                Call::Cas(_, new) => Call::Cas(value, new),
                Call::CasUnequal(_, new) => Call::CasUnequal(value, new),
            };
        }
        1 => {
            let shift = rng.random_range(0..100);
            op.invoked += shift;
            op.completed = op.completed.map(|time| time + shift);
        }
        2 => op.completed = op.completed.map(|time| op.invoked + (time - op.invoked) / 4),
        _ => op.completed = op.completed.map(|time| time + rng.random_range(0..60)),
    }
}

/// A random small history in which every value is written at most once.
fn unique_history(seed: Seed, unequal: bool) -> Vec<Op> {
    let mut rng = seed.rng();
    let shape = Shape {
        operations: rng.random_range(2..=8),
        values: 0,
        clients: rng.random_range(1..=5),
        crashed_per_mille: [0, 150, 400][rng.random_range(0..3)],
        with_cas: rng.random_bool(0.7),
        keys: 1,
        coarseness: [1, 10, 50][rng.random_range(0..3)],
    };
    let mut ops = generate::linearizable(shape, &mut rng);
    // An unequal comparison with a value that never was says nothing.
    for position in 0..ops.len() {
        let value = any_value(&ops, &mut rng);
        if let Call::CasUnequal(_, new) = ops[position].call {
            ops[position].call = if unequal { Call::CasUnequal(value, new) } else { Call::Read(value) };
        }
    }
    for _ in 0..[0, 1, 2, 4][rng.random_range(0..4)] {
        spoil(&mut ops, &mut rng);
    }
    ops
}

/// What the checker says of `ops`, and by which algorithm.
fn judged(ops: &[Op]) -> (Validity, String) {
    let config = CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap();
    let verdict = check(&history_of(ops).0, &config).unwrap();
    let algorithm = verdict.checks[0].partitions[0].algorithm.clone();
    (verdict.validity, algorithm)
}

/// The order by which the checker proves that `ops` are linearizable, as positions.
fn witness(ops: &[Op]) -> Option<Vec<usize>> {
    let intervals: Vec<_> = (0..).zip(ops).map(|(position, op)| interval_of(position, op)).collect();
    match decide(&Register::with_cas(Value::Int(0)), &intervals, &Context::default()) {
        Decision::Linearizable(order) => Some(order.into_iter().map(|name| name as usize).collect()),
        Decision::NonLinearizable(_) => None,
        Decision::Unknown(reason) => panic!("{reason}"),
    }
}

/// Fails unless `order` has all that completed, each operation once, in real time, and is legal.
fn assert_linearizes(ops: &[Op], order: &[usize], context: &str) {
    let mut state = 0;
    for (at, &position) in order.iter().enumerate() {
        state = brute_force::step(state, ops[position].call)
            .unwrap_or_else(|| panic!("{context}: {position} in {state}: {order:?} {ops:#?}"));
        for &later in &order[at + 1..] {
            let is_possible = ops[later].completed.is_none_or(|completed| completed >= ops[position].invoked);
            assert!(later != position && is_possible, "{context}: {position}, {later}: {order:?} {ops:#?}");
        }
    }
    let is_missing = |position: &usize| ops[*position].completed.is_some() && !order.contains(position);
    assert_eq!((0..ops.len()).find(is_missing), None, "{context}: {order:?} {ops:#?}");
}

/// The verdict on `ops`, which brute force confirms, and the algorithm.
fn assert_right(ops: &[Op], context: &str) -> (Validity, String) {
    let timed: Vec<Timed> = ops.iter().map(Timed::of).collect();
    let (validity, algorithm) = judged(ops);
    let is_linearizable = brute_force::is_linearizable(&timed, 0);
    let expected = if is_linearizable { Validity::Valid } else { Validity::Invalid };
    assert_eq!(validity, expected, "{context}, by {algorithm}: {ops:#?}");
    match witness(ops) {
        Some(order) => assert_linearizes(ops, &order, context),
        None => assert!(!is_linearizable, "{context}: {ops:#?}"),
    }
    (validity, algorithm)
}

#[test]
fn unique_reads_writes_and_cas_are_always_decided_in_polynomial_time_and_rightly() {
    let histories = histories(HISTORIES);
    let mut invalid = 0_u64;
    for number in 0..histories {
        let seed = Seed(0x0c1).fork_index(number);
        let ops = unique_history(seed, false);
        let (validity, algorithm) = assert_right(&ops, &format!("seed {seed}"));
        assert_eq!(algorithm, "register", "seed {seed}: {ops:#?}");
        invalid += u64::from(validity == Validity::Invalid);
    }
    println!("{invalid} of {histories} invalid");
    assert!(invalid.min(histories - invalid) * 5 > histories, "{invalid} of {histories} invalid");
}

#[test]
fn unique_values_with_unequal_comparisons_are_decided_rightly_and_mostly_in_polynomial_time() {
    let histories = histories(HISTORIES);
    let (mut invalid, mut searched) = (0_u64, 0_u64);
    for number in 0..histories {
        let seed = Seed(0x0c2).fork_index(number);
        let (validity, algorithm) = assert_right(&unique_history(seed, true), &format!("seed {seed}"));
        invalid += u64::from(validity == Validity::Invalid);
        searched += u64::from(algorithm != "register");
    }
    println!("{invalid} of {histories} invalid, {searched} searched");
    assert!(searched * 100 < histories, "{searched} of {histories} needed the general search");
    assert!(invalid.min(histories - invalid) * 5 > histories, "{invalid} of {histories} invalid");
}

#[test]
fn the_random_histories_have_chains_crashes_that_were_seen_ties_and_unequal_comparisons() {
    let mut seen = [0_u32; 5];
    for number in 0..1_000 {
        let ops = unique_history(Seed(0x0c2).fork_index(number), true);
        let any = |is_so: &dyn Fn(&Op, &Op) -> bool| ops.iter().any(|a| ops.iter().any(|b| is_so(a, b)));
        let facts = [
            any(
                &|a, b| matches!((a.call, b.call), (Call::Cas(_, new), Call::Cas(expected, _)) if new == expected),
            ),
            any(&|a, b| match (a.call, b.call) {
                (Call::Write(new) | Call::Cas(_, new), Call::Read(read)) => {
                    a.completed.is_none() && new == read
                }
                _ => false,
            }),
            any(&|a, b| match (a.call, b.call) {
                (Call::Cas(expected, new), Call::Cas(other, other_new)) => {
                    expected == other && new != other_new
                }
                _ => false,
            }),
            any(&|a, b| a.completed == Some(b.invoked)),
            any(&|a, b| match (a.call, b.call) {
                (Call::Write(new) | Call::Cas(_, new), Call::CasUnequal(other, _)) => new == other,
                _ => false,
            }),
        ];
        for (count, is_so) in seen.iter_mut().zip(facts) {
            *count += u32::from(is_so);
        }
    }
    assert!(seen.iter().all(|&count| count > 40), "{seen:?} of 1000");
}
