//! The search agrees with the oracle, on many small histories of all kinds, and proves what it says.

use labrys_checker::linearizable::{Algorithm, CONFIGURATIONS_LIMIT};
use labrys_checker::verdict::{Evidence, NonLinearizable, Validity};
use labrys_checker::{CheckConfig, check};
use labrys_history::Value;
use labrys_seed::Seed;
use proptest::prelude::*;
use rand::Rng as _;

use crate::support::brute_force::{self, Timed};
use crate::support::generate::{self, Shape};
use crate::support::{Call, Op, histories, history_of};

/// The number of random histories, if the environment does not say otherwise.
const HISTORIES: u64 = 100_000;

/// A random small history of a random kind.
fn small_history(seed: Seed) -> Vec<Op> {
    let mut rng = seed.rng();
    let shape = Shape {
        operations: rng.random_range(2..=9),
        values: rng.random_range(2..=4),
        clients: rng.random_range(1..=5),
        crashed_per_mille: [0, 200, 500][rng.random_range(0..3)],
        with_cas: rng.random_bool(0.7),
        keys: [1, 1, 2][rng.random_range(0..3)],
        coarseness: [1, 10, 50][rng.random_range(0..3)],
    };
    let mut ops = generate::linearizable(shape, &mut rng);
    for _ in 0..[0, 1, 3, 6][rng.random_range(0..4)] {
        generate::spoil(&mut ops, shape.values, &mut rng);
    }
    ops
}

/// Why a key is invalid, and whether the general search found it.
struct Violation {
    key: i64,
    evidence: NonLinearizable,
    is_searched: bool,
}

/// The ways of the general search.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::General, Algorithm::DepthFirst, Algorithm::BreadthFirst];

/// What the checker says of `ops`.
fn judged(ops: &[Op], algorithm: Algorithm) -> (Validity, Vec<Violation>) {
    let (history, _) = history_of(ops);
    let mut config =
        CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap().judging_all(true);
    config.context.algorithm = algorithm;
    let verdict = check(&history, &config).unwrap();
    let evidence = verdict.checks[0].partitions.iter().flat_map(|partition| {
        let key = partition.key.as_i64().unwrap();
        let is_searched = partition.algorithm != "register";
        partition.evidence.iter().map(move |evidence| match evidence {
            Evidence::NonLinearizable(evidence) => Violation { key, evidence: evidence.clone(), is_searched },
            other => panic!("{other:?}"),
        })
    });
    (verdict.validity, evidence.collect())
}

/// What the oracle says.
fn expected(ops: &[Op]) -> bool {
    (0..2).all(|key| {
        let of_key: Vec<Timed> = ops.iter().filter(|op| op.key == key).map(Timed::of).collect();
        brute_force::is_linearizable(&of_key, 0)
    })
}

/// Fails unless verdict and evidence are right, whichever search decides.
fn assert_right(ops: &[Op], algorithms: &[Algorithm], context: &str) -> Validity {
    let expected = if expected(ops) { Validity::Valid } else { Validity::Invalid };
    for &algorithm in algorithms {
        let context = format!("{context}, {algorithm:?}");
        let (validity, violations) = judged(ops, algorithm);
        assert_eq!(validity, expected, "{context}: {ops:#?}");
        for violation in &violations {
            assert_proves(ops, violation, &context);
        }
    }
    expected
}

/// The position of an event in the order of closed intervals.
type Moment = (u64, bool, u64);

/// Fails unless the evidence is the shortest prefix, an order of it (a longest, where it was searched for), and all candidates
/// with true reasons.
fn assert_proves(ops: &[Op], violation: &Violation, context: &str) {
    let Violation { key, ref evidence, is_searched } = *violation;
    let (_, indices) = history_of(ops);
    let of_key: Vec<usize> = (0..ops.len()).filter(|&position| ops[position].key == key).collect();
    let invoked = |p: usize| -> Moment { (ops[p].invoked, false, indices[p].0) };
    let completed = |p: usize| ops[p].completed.map(|time| -> Moment { (time, true, indices[p].1.unwrap()) });
    let last = *of_key.iter().find(|&&p| indices[p].1 == Some(evidence.prefix_end)).expect("a completion");
    assert_eq!(evidence.operation, indices[last].0, "{context}");
    let end = completed(last).unwrap();

    // The prefix: what was invoked before its end; what completes later may be left out.
    let inside: Vec<usize> = of_key.into_iter().filter(|&p| invoked(p) < end).collect();
    let prefix = |is_required: &dyn Fn(Moment) -> bool| -> Vec<Timed> {
        let timed = inside.iter().map(|&p| {
            let optional = !completed(p).is_some_and(is_required);
            Timed { optional, ..Timed::of(&ops[p]) }
        });
        timed.collect()
    };
    let (with_end, before_end) = (prefix(&|moment| moment <= end), prefix(&|moment| moment < end));
    assert!(!brute_force::is_linearizable(&with_end, 0), "{context}: the prefix is linearizable: {ops:#?}");
    assert!(brute_force::is_linearizable(&before_end, 0), "{context}: a shorter one is not: {ops:#?}");

    // The order: legal, in real time, with everything required, and none is longer.
    let position_of =
        |operation: u64| inside.iter().position(|&p| indices[p].0 == operation).expect("inside");
    let order: Vec<usize> =
        evidence.longest_linearization.iter().map(|step| position_of(step.operation)).collect();
    let mut state = 0;
    for (at, &position) in order.iter().enumerate() {
        state = brute_force::step(state, before_end[position].call).expect("legal");
        assert_eq!(evidence.longest_linearization[at].state, format!("register = {state}"), "{context}");
        for &later in &order[at + 1..] {
            assert!(before_end[later].completed >= before_end[position].invoked, "{context}: {ops:#?}");
            assert_ne!(later, position, "{context}: twice");
        }
    }
    assert_eq!(evidence.state, format!("register = {state}"), "{context}");
    let required: Vec<usize> = (0..inside.len()).filter(|&p| !before_end[p].optional).collect();
    assert!(required.iter().all(|position| order.contains(position)), "{context}: {ops:#?}");
    let counts = |position: usize| before_end[position].completed != u64::MAX;
    let length = order.iter().filter(|&&position| counts(position)).count();
    let longest = brute_force::longest(&before_end, 0, &required, &counts);
    assert!(Some(length) == longest || !is_searched, "{context}: {length}, {longest:?}: {ops:#?}");

    // The configurations: some order leads to each, and they are all different.
    let configurations = &evidence.surviving.configurations;
    assert!(
        !configurations.is_empty() && configurations.len() <= CONFIGURATIONS_LIMIT,
        "{context}: {ops:#?}"
    );
    assert_eq!(configurations[0].state, evidence.state, "{context}");
    for (number, configuration) in configurations.iter().enumerate() {
        let mut placed = required.clone();
        placed
            .extend(configuration.linearized.iter().chain(&configuration.crashed).map(|&op| position_of(op)));
        assert!(configuration.linearized.iter().all(|&op| counts(position_of(op))), "{context}: {ops:#?}");
        assert!(!configuration.crashed.iter().any(|&op| counts(position_of(op))), "{context}: {ops:#?}");
        let state: i64 = configuration.state.strip_prefix("register = ").unwrap().parse().unwrap();
        let is_reached = brute_force::leads_to(&before_end, 0, &placed, state);
        assert!(is_reached, "{context}: nothing leads to {configuration:#?}: {ops:#?}");
        let is_new = configurations[..number].iter().all(|other| {
            (&other.state, &other.linearized, &other.crashed)
                != (&configuration.state, &configuration.linearized, &configuration.crashed)
        });
        assert!(is_new, "{context}: {configurations:#?}");
        for candidate in &configuration.candidates {
            let position = position_of(candidate.operation);
            assert!(!placed.contains(&position), "{context}: {candidate:?}: {ops:#?}");
            let is_legal = brute_force::step(state, before_end[position].call).is_some();
            assert_eq!(is_legal, candidate.reason.starts_with("leads nowhere"), "{context}: {candidate:?}");
        }
    }

    // The candidates: all the others, refused for a reason or leading nowhere. Equal crashed ones stand for one another.
    for (position, op) in before_end.iter().enumerate() {
        let operation = indices[inside[position]].0;
        let candidate = evidence.candidates.iter().find(|candidate| candidate.operation == operation);
        let is_legal = brute_force::step(state, op.call).is_some();
        match candidate {
            Some(candidate) => {
                assert!(!order.contains(&position), "{context}: {operation} is done: {ops:#?}");
                let leads_nowhere = candidate.reason.starts_with("leads nowhere");
                assert_eq!(is_legal, leads_nowhere, "{context}: {candidate:?} in {state}: {ops:#?}");
                assert!(!(is_legal && counts(position)), "{context}: it would have made a longer order");
            }
            None => {
                let is_done = order.contains(&position);
                let stands_for_it = before_end.iter().enumerate().any(|(other, twin)| {
                    other != position && twin.call == op.call && twin.completed == u64::MAX
                });
                let says_nothing =
                    matches!(op.call, Call::Read(_)) || matches!(op.call, Call::Cas(a, b) if a == b);
                let is_left_out = !counts(position) && (stands_for_it || says_nothing);
                assert!(is_done || is_left_out, "{context}: {operation} is missing: {evidence:#?} {ops:#?}");
            }
        }
    }
}

#[test]
fn the_search_agrees_with_brute_force_on_100_000_random_small_histories() {
    let histories = histories(HISTORIES);
    let (mut valid, mut invalid) = (0_u64, 0_u64);
    for number in 0..histories {
        let seed = Seed(0x1abe5).fork_index(number);
        let algorithms = [Algorithm::Auto, ALGORITHMS[number as usize % ALGORITHMS.len()]];
        match assert_right(&small_history(seed), &algorithms, &format!("seed {seed}")) {
            Validity::Valid => valid += 1,
            _ => invalid += 1,
        }
    }
    println!("{valid} valid, {invalid} invalid");
    assert!(
        valid.min(invalid) * 5 > histories,
        "{valid} valid, {invalid} invalid: the generator is one-sided"
    );
}

#[test]
fn the_random_histories_have_crashes_observed_failures_ties_and_several_keys() {
    let mut seen = [0_u32; 6];
    for number in 0..1_000 {
        let ops = small_history(Seed(0x1abe5).fork_index(number));
        let ties = ops.iter().any(|a| ops.iter().any(|b| a.completed == Some(b.invoked)));
        let crashed = |op: &Op| op.completed.is_none();
        let facts = [
            ops.iter().any(|op| crashed(op) && matches!(op.call, Call::Write(_))),
            ops.iter().any(|op| crashed(op) && matches!(op.call, Call::Cas(..))),
            ops.iter().any(|op| matches!(op.call, Call::CasUnequal(..))),
            ops.iter().any(|op| matches!(op.call, Call::Cas(..)) && !crashed(op)),
            ties,
            ops.iter().any(|op| op.key == 0) && ops.iter().any(|op| op.key == 1),
        ];
        for (count, is_so) in seen.iter_mut().zip(facts) {
            *count += u32::from(is_so);
        }
    }
    assert!(seen.iter().all(|&count| count > 100), "{seen:?} of 1000");
}

fn any_op() -> impl Strategy<Value = Op> {
    let call = prop_oneof![
        (0..3_i64).prop_map(Call::Read),
        (0..3_i64).prop_map(Call::Write),
        (0..3_i64, 0..3_i64).prop_map(|(a, b)| Call::Cas(a, b)),
        (0..3_i64, 0..3_i64).prop_map(|(a, b)| Call::CasUnequal(a, b)),
    ];
    (call, 0..12_u64, proptest::option::weighted(0.8, 0..8_u64)).prop_map(|(call, invoked, length)| {
        // A compare-and-set that failed completed.
        let length = if matches!(call, Call::CasUnequal(..)) { length.or(Some(3)) } else { length };
        Op { key: 0, call, invoked, completed: length.map(|length| invoked + length) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Histories of no register at all, which shrink.
    #[test]
    fn the_search_agrees_with_brute_force_on_arbitrary_intervals(ops in proptest::collection::vec(any_op(), 0..7)) {
        assert_right(&ops, &ALGORITHMS, "arbitrary");
    }
}
