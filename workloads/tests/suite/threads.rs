//! Who does what: routing to threads, processes, independent keys.

use std::collections::{BTreeMap, BTreeSet};

use labrys_history::{Event, EventKind, Process, Value};
use labrys_seed::Seed;
use labrys_workloads::generator::{
    GeneratorExt, Thread, any, clients, concurrent_keys, each_thread, nemesis, nothing, phases, reserve,
    sequential_keys,
};
use labrys_workloads::testing::{End, Reply, Simulated, Simulation};

use crate::support::{count, forever, functions, just, numbered, thread};

#[test]
fn reserve_gives_the_write_range_only_writes() {
    let reserved = reserve(vec![(2, forever("write")), (3, forever("cas"))], forever("read")).limit(5_000);
    let simulated = Simulation::new(10).run(clients(reserved));
    for event in simulated.invocations() {
        let expected = match thread(event, 10).expect("a client") {
            0..2 => "write",
            2..5 => "cas",
            _ => "read",
        };
        assert_eq!(&*event.f, expected);
    }
    assert!(["write", "cas", "read"].iter().all(|f| count(&simulated, f) > 0));
}

#[test]
fn reserve_under_a_rate_serves_its_parts_in_proportion_to_their_threads() {
    use labrys_workloads::generator::Gaps;
    let reserved = reserve(vec![(2, forever("write"))], forever("read"));
    let paced = reserved.stagger(std::time::Duration::from_millis(1), Gaps::Constant, Seed(1)).limit(10_000);
    let simulated = Simulation::new(8).latency_ns(1).run(clients(paced));
    assert!(count(&simulated, "write").abs_diff(2_500) < 150, "{}", count(&simulated, "write"));
}

#[test]
fn reserve_leaves_out_parts_for_which_there_are_no_threads() {
    let reserved = reserve(vec![(2, numbered("a", 5)), (2, numbered("b", 5))], numbered("c", 5));
    let simulated = Simulation::new(2).run(clients(reserved));
    assert_eq!(functions(&simulated), ["a"; 5]);
    assert_eq!(simulated.end, End::Exhausted);
}

#[test]
fn operations_for_the_nemesis_go_to_the_nemesis_and_those_for_clients_do_not() {
    let both = any(vec![clients(numbered("read", 50)).boxed(), nemesis(numbered("break", 5)).boxed()]);
    let simulated = Simulation::new(3).run(both);
    for event in &simulated.events {
        assert_eq!(event.process == Process::nemesis(), *event.f == *"break");
        if *event.f == *"break" {
            assert_eq!(event.kind, EventKind::Info);
        }
    }
    assert_eq!((count(&simulated, "read"), count(&simulated, "break")), (50, 5));
}

#[test]
fn every_thread_has_a_generator_of_its_own() {
    let own = each_thread(|thread| match thread {
        Thread::Client(number) => numbered(&format!("of-{number}"), 3),
        Thread::Nemesis => numbered("of-nemesis", 2),
    });
    let simulated = Simulation::new(3).run(own);
    for event in simulated.invocations() {
        let expected = thread(event, 3).map_or("of-nemesis".to_owned(), |number| format!("of-{number}"));
        assert_eq!(*event.f, *expected);
    }
    assert_eq!(simulated.invocations().count(), 11);
}

#[test]
fn slow_operations_spread_over_all_threads() {
    use labrys_workloads::generator::Gaps;
    let slow = forever("read").stagger(std::time::Duration::from_millis(10), Gaps::Constant, Seed(1));
    let simulated = Simulation::new(5).latency_ns(1).run(clients(slow.limit(1000)));
    let mut per_thread = [0_u32; 5];
    for event in simulated.invocations() {
        per_thread[thread(event, 5).unwrap() as usize] += 1;
    }
    assert!(per_thread.iter().all(|count| count.abs_diff(200) < 50), "{per_thread:?}");
}

#[test]
fn a_process_that_had_an_info_is_replaced_by_itself_plus_the_number_of_threads() {
    let mut number = 0;
    let simulated = Simulation::new(3)
        .reply(move |invocation| {
            number += 1;
            if number % 4 == 0 { Reply::info(1) } else { Reply::ok(&invocation.op, 1) }
        })
        .run(clients(forever("read").limit(1000)));
    let mut current: Vec<u64> = vec![0, 1, 2];
    let mut infos = 0;
    for event in &simulated.events {
        let Process::Client(process) = event.process else { panic!("{event:?}") };
        let thread = (process % 3) as usize;
        assert_eq!(process, current[thread], "{event:?}");
        if event.kind == EventKind::Info {
            current[thread] += 3;
            infos += 1;
        }
    }
    assert_eq!(infos, 250);
}

fn key_of(event: &Event) -> i64 {
    event.key.as_ref().and_then(Value::as_int).expect("every operation has a key")
}

fn keys(count: i64) -> impl Iterator<Item = Value> + Send {
    (0..count).map(Value::Int)
}

/// Threads by key.
fn threads_by_key(simulated: &Simulated, client_count: u64) -> BTreeMap<i64, BTreeSet<u64>> {
    let mut threads: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
    for event in simulated.invocations() {
        threads.entry(key_of(event)).or_default().insert(thread(event, client_count).unwrap());
    }
    threads
}

#[test]
fn every_key_is_worked_on_by_one_group_of_threads() {
    let lifted = concurrent_keys(3, keys(12), |_| forever("read").limit(50).boxed());
    let simulated = Simulation::new(6).run(clients(lifted));
    let threads = threads_by_key(&simulated, 6);
    assert_eq!(threads.len(), 12);
    for (key, members) in &threads {
        let group: BTreeSet<u64> = if members.contains(&0) { (0..3).collect() } else { (3..6).collect() };
        assert_eq!(*members, group, "key {key}");
    }
    for key in 0..12 {
        assert_eq!(simulated.invocations().filter(|event| key_of(event) == key).count(), 50);
    }
}

#[test]
fn groups_work_on_their_keys_at_the_same_time() {
    let lifted = concurrent_keys(2, keys(3), |_| forever("read").limit(100).boxed());
    let simulated = Simulation::new(6).run(clients(lifted));
    let first: Vec<i64> = simulated.invocations().take(6).map(key_of).collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
}

#[test]
fn what_remains_of_a_division_of_threads_belongs_to_the_last_group() {
    let lifted = concurrent_keys(2, keys(2), |_| forever("read").limit(200).boxed());
    let simulated = Simulation::new(5).run(clients(lifted));
    let sizes: Vec<usize> = threads_by_key(&simulated, 5).values().map(BTreeSet::len).collect();
    assert_eq!(sizes, [2, 3]);
}

#[test]
fn fewer_threads_than_a_group_needs_are_one_group() {
    let lifted = concurrent_keys(9, keys(2), |_| forever("read").limit(20).boxed());
    let simulated = Simulation::new(4).run(clients(lifted));
    assert_eq!(simulated.invocations().count(), 40);
}

#[test]
fn sequential_keys_come_one_after_the_other() {
    let lifted = sequential_keys(keys(4), |_| forever("read").limit(25).boxed());
    let simulated = Simulation::new(4).run(clients(lifted));
    let order: Vec<i64> = simulated.invocations().map(key_of).collect();
    assert!(order.is_sorted());
    assert_eq!(order.len(), 100);
}

#[test]
fn keys_whose_generator_is_empty_are_skipped() {
    let lifted =
        sequential_keys(
            keys(10),
            |key| {
                if key.as_int() == Some(7) { just("read") } else { nothing().boxed() }
            },
        );
    let simulated = Simulation::new(2).run(clients(lifted));
    assert_eq!(simulated.invocations().map(key_of).collect::<Vec<_>>(), [7]);
}

#[test]
fn a_late_completion_of_the_previous_key_does_not_count_for_the_next() {
    // Key 0 ends after two operations are invoked; their successes arrive while key 1, which needs one of its own, is on.
    let lifted = sequential_keys(keys(2), |key| match key.as_int() {
        Some(0) => forever("read").limit(2).boxed(),
        _ => forever("read").until_ok().limit(3).boxed(),
    });
    let simulated = Simulation::new(3)
        .reply(|invocation| match invocation.op.key {
            Some(Value::Int(0)) => Reply::ok(&invocation.op, 10),
            _ => Reply::fail(1),
        })
        .run(clients(lifted));
    assert_eq!(simulated.invocations().filter(|event| key_of(event) == 1).count(), 3);
}

#[test]
fn the_second_phase_of_the_clients_does_not_wait_for_the_nemesis() {
    let workload = clients(phases(vec![numbered("a", 4), numbered("b", 4)]));
    let simulated = Simulation::new(2)
        .reply(|invocation| Reply::ok(&invocation.op, if *invocation.op.f == *"break" { 1_000 } else { 1 }))
        .run(any(vec![workload.boxed(), nemesis(just("break")).boxed()]));
    let last_b = simulated.invocations().filter(|event| *event.f == *"b").last().unwrap();
    assert!(last_b.time_ns < 1_000);
}
