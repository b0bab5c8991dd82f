//! Minimal counterexamples are counterexamples, and minimal; and what may be left out makes no violation.

use labrys_checker::linearizable::Interval;
use labrys_checker::models::{Register, RegisterCall};
use labrys_checker::verdict::{Evidence, MinimalHistory, NonLinearizable};
use labrys_checker::{CheckConfig, Model as _, Removal, check};
use labrys_history::Value;
use labrys_seed::Seed;
use rand::Rng as _;

use crate::support::brute_force::{self, Timed};
use crate::support::generate::{self, Shape};
use crate::support::{Op, histories, history_of, interval_of, mini};

/// The number of random histories, if the environment does not say otherwise.
const HISTORIES: u64 = 20_000;

fn small_history(seed: Seed, spoilt: bool) -> Vec<Op> {
    let mut rng = seed.rng();
    let shape = Shape {
        operations: rng.random_range(2..=8),
        values: [0, 2, 3][rng.random_range(0..3)],
        clients: rng.random_range(1..=5),
        crashed_per_mille: [0, 200, 500][rng.random_range(0..3)],
        with_cas: rng.random_bool(0.7),
        keys: 1,
        coarseness: [1, 10, 50][rng.random_range(0..3)],
    };
    let mut ops = generate::linearizable(shape, &mut rng);
    if spoilt {
        for _ in 0..rng.random_range(1..=4) {
            generate::spoil(&mut ops, 4, &mut rng);
        }
    }
    ops
}

fn evidence_on(ops: &[Op]) -> Option<NonLinearizable> {
    let config = CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap();
    let verdict = check(&history_of(ops).0, &config).unwrap();
    let evidence = verdict.checks[0].partitions.iter().flat_map(|partition| &partition.evidence).next()?;
    let Evidence::NonLinearizable(evidence) = evidence else { panic!("{evidence:?}") };
    Some(evidence.clone())
}

fn removal(ops: &[Op]) -> Removal {
    let intervals: Vec<Interval<RegisterCall>> =
        (0..).zip(ops).map(|(position, op)| interval_of(position, op)).collect();
    Register::with_cas(Value::Int(0)).removal(&intervals)
}

/// What goes if `first` does; none if something of it may not go.
fn unit(removal: &Removal, first: usize) -> Option<Vec<usize>> {
    let mut unit = vec![first];
    let mut next = 0;
    while let Some(&position) = unit.get(next) {
        if !removal.removable[position] {
            return None;
        }
        for &(from, to) in &removal.bonds {
            if from as usize == position && !unit.contains(&(to as usize)) {
                unit.push(to as usize);
            }
        }
        next += 1;
    }
    Some(unit)
}

fn is_linearizable(ops: &[Op]) -> bool {
    let timed: Vec<Timed> = ops.iter().map(Timed::of).collect();
    brute_force::is_linearizable(&timed, 0)
}

#[test]
fn what_a_register_lets_be_left_out_makes_no_violation() {
    let (mut removals, mut writes) = (0_u64, 0_u64);
    for number in 0..histories(HISTORIES) {
        let ops = small_history(Seed(0x3e1).fork_index(number), number % 2 == 0);
        if !is_linearizable(&ops) {
            continue;
        }
        let removal = removal(&ops);
        for first in 0..ops.len() {
            let Some(unit) = unit(&removal, first) else { continue };
            let rest: Vec<Op> = (0..ops.len())
                .filter(|position| !unit.contains(position))
                .map(|position| ops[position])
                .collect();
            assert!(is_linearizable(&rest), "{number}: {first} takes {unit:?} with it: {ops:#?}");
            removals += 1;
            writes += u64::from(!rest.is_empty() && unit.len() > 1);
        }
    }
    assert!(removals > HISTORIES && writes > HISTORIES / 4, "{removals} removals, {writes} of more than one");
}

/// The operations of the prefix up to the event `end`, as the checker reduces it: what completes later may be left out.
fn prefix(ops: &[Op], evidence: &NonLinearizable) -> Vec<(u64, Op)> {
    let (_, indices) = history_of(ops);
    let last = (0..ops.len()).find(|&p| indices[p].1 == Some(evidence.prefix_end)).expect("a completion");
    let end = (ops[last].completed.unwrap(), evidence.prefix_end);
    let mut prefix: Vec<(u64, Op)> = Vec::new();
    for (op, index) in ops.iter().zip(&indices) {
        if op.invoked <= end.0 {
            let completed = op.completed.filter(|&time| (time, index.1.unwrap()) <= end);
            prefix.push((index.0, Op { completed, ..*op }));
        }
    }
    prefix.sort_by_key(|(index, _)| *index);
    prefix
}

fn assert_minimal(ops: &[Op], evidence: &NonLinearizable, minimal: &MinimalHistory, context: &str) {
    assert!(minimal.is_minimal, "{context}");
    // What changes nothing and is in flight at the end is not in it.
    let mut prefix = prefix(ops, evidence);
    prefix.retain(|(_, op)| op.completed.is_some() || brute_force::is_write(op.call));
    let all: Vec<Op> = prefix.iter().map(|(_, op)| *op).collect();
    let kept: Vec<usize> = minimal
        .operations
        .iter()
        .map(|op| prefix.iter().position(|(index, _)| *index == op.operation).expect("of the prefix"))
        .collect();
    for (op, &position) in minimal.operations.iter().zip(&kept) {
        assert_eq!(
            (op.invoked_ns, op.completed_ns),
            (all[position].invoked, all[position].completed),
            "{context}"
        );
        assert_eq!(op.completion.is_some(), op.completed_ns.is_some(), "{context}");
    }
    let of_positions = |positions: &mut dyn Iterator<Item = usize>| -> Vec<Op> {
        positions.map(|position| all[position]).collect()
    };
    let part = of_positions(&mut kept.iter().copied());
    assert!(!is_linearizable(&part), "{context}: {part:#?} of {ops:#?}");
    let removal = removal(&all);
    for &first in &kept {
        if let Some(unit) = unit(&removal, first) {
            let rest = of_positions(&mut kept.iter().copied().filter(|position| !unit.contains(position)));
            assert!(is_linearizable(&rest), "{context}: {first} is not needed in {part:#?} of {ops:#?}");
        }
    }
}

#[test]
fn minimal_counterexamples_are_confirmed_by_brute_force_and_nothing_can_be_left_out_of_them() {
    let (mut found, mut smaller) = (0_u64, 0_u64);
    for number in 0..histories(HISTORIES) {
        let ops = small_history(Seed(0x3e2).fork_index(number), true);
        let Some(evidence) = evidence_on(&ops) else { continue };
        let minimal = evidence.minimal.as_ref().unwrap_or_else(|| panic!("{number}: {ops:#?}"));
        assert_minimal(&ops, &evidence, minimal, &format!("history {number}"));
        found += 1;
        smaller += u64::from(minimal.operations.len() < ops.len());
    }
    assert!(found > HISTORIES / 5 && smaller * 2 > found, "{found} found, {smaller} smaller");
}

#[test]
fn a_stale_read_among_thousands_of_operations_is_told_in_three() {
    let mut text = String::from("0 inv w1; 0 ok; ");
    for value in 2..2_000 {
        text.push_str(&format!("0 inv w{value}; 1 inv r; 0 ok; 1 ok {value}; "));
    }
    text.push_str("1 inv r; 0 inv w2000; 1 ok 1; 0 ok");
    let config = CheckConfig::linearizable("register", None).unwrap();
    let verdict = check(&mini::history(&text), &config).unwrap();
    let Evidence::NonLinearizable(evidence) = &verdict.checks[0].partitions[0].evidence[0] else { panic!() };
    let minimal = evidence.minimal.as_ref().unwrap();
    let told: Vec<&str> = minimal.operations.iter().map(|op| op.description.as_str()).collect();
    assert_eq!((told.len(), told[0], told[2]), (3, "write 1", "read → 1"), "{told:?}");
    assert!(told[1].starts_with("write 1"), "some write that is between: {told:?}");
}

#[test]
fn evidence_without_a_minimal_history_is_still_read() {
    let text = r#"{"type":"non-linearizable","prefix_end":1,"operation":0,"longest_linearization":[],"state":"","candidates":[]}"#;
    let Evidence::NonLinearizable(evidence) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
    assert_eq!(evidence.minimal, None);
}
