//! The online check says the same as the check of the whole history, and forgets what it has judged.

use labrys_checker::linearizable::Algorithm;
use labrys_checker::models::{Register, Set};
use labrys_checker::online::{Online, Status, Violation};
use labrys_checker::verdict::Evidence;
use labrys_checker::{Budget, CheckConfig, check};
use labrys_history::{Event, EventKind, History, Process, Value};
use labrys_seed::Seed;
use rand::Rng as _;

use crate::support::generate::{self, Shape};
use crate::support::{Op, history_of, mini};

fn online() -> Online<'static, Register> {
    Online::new(Register::with_cas(Value::Int(0)), Budget::unlimited())
}

fn status_of(history: &History) -> Status {
    let mut online = online();
    for event in history.events() {
        online.event(event).unwrap();
    }
    online.finish().unwrap().clone()
}

/// The earliest violation of any key, as the check of the whole history has it.
fn earliest_violation(history: &History) -> Option<Violation> {
    let mut config =
        CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap().judging_all(true);
    config.context.algorithm = Algorithm::DepthFirst;
    let verdict = check(history, &config).unwrap();
    let violations = verdict.checks[0].partitions.iter().flat_map(|partition| {
        partition.evidence.iter().map(|evidence| match evidence {
            Evidence::NonLinearizable(evidence) => Violation {
                key: partition.key.as_i64().map(Value::Int),
                prefix_end: evidence.prefix_end,
                operation: evidence.operation,
            },
            other => panic!("{other:?}"),
        })
    });
    violations.min_by_key(|violation| violation.prefix_end)
}

fn history_from(seed: Seed, operations: usize, keys: i64) -> Vec<Op> {
    let mut rng = seed.rng();
    let shape = Shape {
        operations,
        values: rng.random_range(2..=4),
        clients: rng.random_range(1..=5),
        crashed_per_mille: [0, 50, 200][rng.random_range(0..3)],
        with_cas: rng.random_bool(0.7),
        keys,
        coarseness: [1, 10][rng.random_range(0..2)],
    };
    let mut ops = generate::linearizable(shape, &mut rng);
    for _ in 0..[0, 1, 3][rng.random_range(0..3)] {
        generate::spoil(&mut ops, shape.values, &mut rng);
    }
    ops
}

#[test]
fn the_online_check_finds_the_first_violation_of_random_histories() {
    let (mut fine, mut violated) = (0, 0);
    for number in 0..3_000 {
        let seed = Seed(0x0911).fork_index(number);
        let ops = history_from(seed, 4 + number as usize % 30, 1 + number as i64 % 2);
        let (history, _) = history_of(&ops);
        let expected = earliest_violation(&history);
        match (status_of(&history), &expected) {
            (Status::Fine, None) => fine += 1,
            (Status::Violated(found), Some(expected)) if found == *expected => violated += 1,
            (status, expected) => panic!("seed {seed}: {status:?}, but {expected:?}: {ops:#?}"),
        }
    }
    assert!(fine > 500 && violated > 500, "{fine} fine, {violated} violated");
}

#[test]
fn a_violation_is_told_when_all_that_was_invoked_before_it_has_ended() {
    let history = mini::history("0 inv w1; 1 inv r; 1 ok 5; 2 inv r; 2 ok 1; 0 ok; 1 inv r; 1 ok 1");
    let mut online = online();
    let told: Vec<bool> =
        history.events().iter().map(|event| *online.event(event).unwrap() != Status::Fine).collect();
    // The write that is open might still turn out to explain the read of 5.
    assert_eq!(told, [false, false, false, false, false, true, true, true]);
    let violation = Violation { key: None, prefix_end: 2, operation: 1 };
    assert_eq!(online.finish().unwrap(), &Status::Violated(violation));
}

#[test]
fn what_was_judged_is_forgotten() {
    let shape = Shape {
        operations: 20_000,
        values: 3,
        clients: 4,
        crashed_per_mille: 0,
        with_cas: true,
        keys: 2,
        coarseness: 1,
    };
    let (history, _) = history_of(&generate::linearizable(shape, &mut Seed(3).rng()));
    let mut online = online();
    let mut most = 0;
    for event in history.events() {
        assert_eq!(online.event(event).unwrap(), &Status::Fine);
        most = most.max(online.held_operations());
    }
    assert!((4..40).contains(&most), "{most}");
}

/// Two removals of what is not there, at the same time: neither makes the set forget what else is in it.
#[test]
fn calls_that_would_forget_other_states_do_not_forget_the_one_that_is_carried() {
    let event = |index: u64, process, kind, f: &str, value| {
        Event::new(index, 10 * index, Process::Client(process), kind, f, value)
    };
    let (invoke, ok) = (EventKind::Invoke, EventKind::Ok);
    let events = [
        event(0, 0, invoke, "add", Value::Int(7)),
        event(1, 0, ok, "add", Value::Int(7)),
        event(2, 0, invoke, "remove", Value::Int(7)),
        event(3, 1, invoke, "remove", Value::Int(8)),
        event(4, 0, ok, "remove", Value::Int(7)),
        event(5, 1, ok, "remove", Value::Int(8)),
        event(6, 0, invoke, "contains", Value::Int(7)),
        event(7, 0, ok, "contains", Value::vector([Value::Int(7), Value::Bool(true)])),
    ];
    let mut online = Online::new(Set::default(), Budget::unlimited());
    for event in &events {
        online.event(event).unwrap();
    }
    let status = online.finish().unwrap();
    assert!(matches!(status, Status::Violated(Violation { prefix_end: 7, .. })), "{status:?}");
}
