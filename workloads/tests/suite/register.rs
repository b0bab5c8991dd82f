//! The register workload, on simulated threads.

use std::collections::BTreeMap;

use labrys_history::{EventKind, Process, Value};
use labrys_seed::Seed;
use labrys_workloads::register::RegisterOp;
use labrys_workloads::testing::{Reply, Simulated, Simulation};
use labrys_workloads::workload::{self, WorkloadOptions, WrittenValues};
use labrys_workloads::{Op, Workload};

use crate::support::{MILLISECOND_NS, count};

fn options() -> WorkloadOptions {
    WorkloadOptions {
        system: "in-memory".to_owned(),
        time_limit_ms: 1_000,
        seed: Seed(11),
        ..WorkloadOptions::default()
    }
}

fn register(options: &WorkloadOptions) -> Workload {
    workload::build("register", options).expect("the options are right")
}

fn run(options: &WorkloadOptions) -> Simulated {
    Simulation::new(options.concurrency).seed(options.seed).run(register(options).generator)
}

fn key_of(key: &Option<Value>) -> i64 {
    key.as_ref().and_then(Value::as_int).expect("every operation has a key")
}

#[test]
fn half_of_the_threads_read_and_of_the_rest_two_thirds_compare_and_set() {
    let simulated = run(&options());
    // A thousand milliseconds, ten threads, a millisecond each.
    assert_eq!(simulated.invocations().count(), 10_000);
    let [reads, writes, sets] = ["read", "write", "cas"].map(|f| count(&simulated, f));
    assert_eq!(reads + writes + sets, 10_000);
    assert!(reads.abs_diff(4_000) < 100, "two readers in five: {reads}");
    assert!(sets.abs_diff(2 * writes) < 400, "{writes} {sets}");
}

#[test]
fn every_operation_is_one_on_a_register_with_small_values() {
    for event in run(&options()).invocations() {
        let op = Op { f: event.f.clone(), key: event.key.clone(), value: event.value.clone() };
        let values = match RegisterOp::parse(&op).expect("an operation on a register") {
            RegisterOp::Read => vec![],
            RegisterOp::Write(value) => vec![value],
            RegisterOp::CompareAndSet { expected, new } => vec![expected, new],
        };
        assert!(values.iter().all(|value| value.as_int().is_some_and(|number| (0..5).contains(&number))));
    }
}

#[test]
fn unique_values_are_unique_on_their_key() {
    let simulated = run(&WorkloadOptions { values: WrittenValues::Unique, ..options() });
    let mut written: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for event in simulated.invocations() {
        let new = match &*event.f {
            "write" => event.value.as_int(),
            "cas" => event.value.as_sequence().and_then(|pair| pair[1].as_int()),
            _ => continue,
        };
        written.entry(key_of(&event.key)).or_default().push(new.expect("an integer"));
    }
    for (key, mut values) in written {
        let number = values.len();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), number, "key {key}");
    }
}

#[test]
fn a_key_is_left_after_its_operations_and_at_any_time_so_many_are_worked_on() {
    let options = WorkloadOptions { ops_per_key: 50, key_count: 2, ..options() };
    let simulated = run(&options);
    let mut per_key: BTreeMap<i64, u64> = BTreeMap::new();
    for event in simulated.invocations() {
        *per_key.entry(key_of(&event.key)).or_default() += 1;
    }
    assert_eq!(per_key.keys().copied().collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    assert!(per_key.values().all(|operations| *operations == 50));
    for window in simulated.invocations().map(|event| key_of(&event.key)).collect::<Vec<_>>().windows(10) {
        let mut keys = window.to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert!(keys.len() <= 4, "two at a time, and the two before them: {window:?}");
    }
}

#[test]
fn a_key_whose_operations_all_end_info_is_left_before_it_has_too_many_processes() {
    let options = WorkloadOptions { processes_per_key: Some(12), ..options() };
    let simulated =
        Simulation::new(10).reply(|_| Reply::info(10 * MILLISECOND_NS)).run(register(&options).generator);
    let mut processes: BTreeMap<i64, Vec<&Process>> = BTreeMap::new();
    for event in simulated.invocations() {
        processes.entry(key_of(&event.key)).or_default().push(&event.process);
    }
    assert!(processes.len() > 50);
    for (key, mut of_key) in processes {
        of_key.sort();
        of_key.dedup();
        assert!(of_key.len() <= 12, "key {key}: {}", of_key.len());
    }
}

#[test]
fn a_rate_is_kept() {
    let options = WorkloadOptions { rate_per_second: Some(500.0), ..options() };
    let operations = run(&options).invocations().count();
    assert!(operations.abs_diff(500) < 60, "{operations}");
}

#[test]
fn the_operations_of_a_key_do_not_depend_on_what_happens_on_other_keys() {
    let of_key_0 = |slow_key: i64| -> Vec<(String, Value)> {
        let simulated = Simulation::new(2)
            .reply(move |invocation| {
                let slow = invocation.op.key.as_ref().and_then(Value::as_int) == Some(slow_key);
                Reply::ok(&invocation.op, if slow { 50 * MILLISECOND_NS } else { MILLISECOND_NS })
            })
            .run(register(&WorkloadOptions { concurrency: 2, key_count: 2, ..options() }).generator);
        let mine = simulated.invocations().filter(|event| key_of(&event.key) == 0);
        mine.map(|event| (event.f.to_string(), event.value.clone())).collect()
    };
    assert_eq!(of_key_0(1), of_key_0(-1));
}

#[test]
fn the_final_reads_read_every_touched_key_until_one_is_ok() {
    let mut workload = register(&WorkloadOptions { ops_per_key: 10, time_limit_ms: 20, ..options() });
    let main = Simulation::new(10).run(&mut workload.generator);
    let touched = main.invocations().map(|event| key_of(&event.key)).max().unwrap();
    let mut attempts: BTreeMap<i64, u64> = BTreeMap::new();
    let last = Simulation::new(10)
        .reply(move |invocation| {
            let attempt = attempts.entry(key_of(&invocation.op.key)).or_default();
            *attempt += 1;
            match *attempt {
                1 => Reply::fail(1),
                2 => Reply::info(1),
                _ => Reply::ok(&invocation.op, 1),
            }
        })
        .run(workload.final_generator.expect("the register workload has final reads"));
    let mut read: Vec<i64> = last
        .events
        .iter()
        .filter(|event| event.kind == EventKind::Ok)
        .map(|event| key_of(&event.key))
        .collect();
    read.sort_unstable();
    assert_eq!(read, (0..=touched).collect::<Vec<_>>());
    assert!(last.invocations().all(|event| *event.f == *"read"));
}

#[test]
fn the_final_reads_give_up_on_a_key_that_cannot_be_read() {
    let mut workload = register(&WorkloadOptions { ops_per_key: 10, time_limit_ms: 1, ..options() });
    Simulation::new(10).run(&mut workload.generator);
    let last = Simulation::new(10)
        .reply(|_| Reply::fail(1))
        .run(workload.final_generator.expect("the register workload has final reads"));
    let mut per_key: BTreeMap<i64, u64> = BTreeMap::new();
    for event in last.invocations() {
        *per_key.entry(key_of(&event.key)).or_default() += 1;
    }
    assert_eq!(per_key.into_iter().collect::<Vec<_>>(), [(0, 5), (1, 5)]);
}

#[test]
fn the_history_of_a_seed_never_changes_between_versions() {
    let simulated = run(&WorkloadOptions { time_limit_ms: 2, concurrency: 3, key_count: 1, ..options() });
    let lines: Vec<String> = simulated
        .invocations()
        .map(|event| {
            let (process, key) = (&event.process, key_of(&event.key));
            format!("{process} {} {key} {}", event.f, event.value)
        })
        .collect();
    // Recorded once: a change here changes what every committed seed of every user does.
    assert_eq!(lines, RECORDED);
}

const RECORDED: [&str; 6] =
    ["0 read 0 nil", "1 cas 0 [4 1]", "2 cas 0 [3 0]", "2 cas 0 [0 2]", "0 read 0 nil", "1 write 0 4"];
