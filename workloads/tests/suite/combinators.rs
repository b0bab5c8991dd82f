//! Order, choice, bounds and pace.

use std::time::Duration;

use labrys_history::{EventKind, Value};
use labrys_seed::Seed;
use labrys_workloads::generator::{
    Gaps, GeneratorExt, any, clients, cycle, from_fn, log, mix, mix_weighted, nemesis, nothing, phases,
    sequence,
};
use labrys_workloads::testing::{End, Reply, Simulation};
use rand::Rng as _;

use crate::support::{MILLISECOND_NS, count, forever, functions, just, numbered, op, times_ms};

#[test]
fn nothing_is_exhausted_at_once() {
    let simulated = Simulation::new(3).run(nothing());
    assert_eq!((simulated.events.len(), simulated.end), (0, End::Exhausted));
}

#[test]
fn a_limit_counts_operations_and_not_messages() {
    let talking = cycle(|_| sequence(vec![log("again").boxed(), just("read")])).limit(3);
    let simulated = Simulation::new(1).run(talking);
    assert_eq!(functions(&simulated), ["read"; 3]);
    assert_eq!(simulated.messages.len(), 3);
}

#[test]
fn a_message_comes_at_its_place_in_the_sequence_and_occupies_no_thread() {
    let talking = sequence(vec![just("a"), log("half-way").boxed(), just("b")]);
    let simulated = Simulation::new(1).latency_ns(7).run(talking);
    assert_eq!(functions(&simulated), ["a", "b"]);
    assert_eq!(simulated.messages, [(0, "half-way".into())]);
}

#[test]
fn a_stagger_of_one_millisecond_over_a_second_gives_about_a_thousand_operations() {
    for (gaps, expected) in [(Gaps::Exponential, 1032), (Gaps::Uniform, 1011), (Gaps::Constant, 999)] {
        let staggered = forever("read")
            .stagger(Duration::from_millis(1), gaps, Seed(7))
            .time_limit(Duration::from_secs(1));
        let simulated = Simulation::new(10).latency_ns(1_000).run(staggered);
        assert_eq!(simulated.invocations().count(), expected, "{gaps:?}");
    }
}

#[test]
fn the_gaps_of_a_poisson_process_vary_as_much_as_they_are_long() {
    let staggered = forever("read").stagger(Duration::from_millis(1), Gaps::Exponential, Seed(1));
    let simulated = Simulation::new(100).latency_ns(1).operation_limit(20_000).run(staggered);
    let times: Vec<f64> = simulated.invocations().map(|event| event.time_ns as f64).collect();
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((mean / 1e6 - 1.0).abs() < 0.02, "mean {mean}");
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "deviation {}", variance.sqrt());
}

#[test]
fn a_stagger_does_not_make_up_for_a_second_in_which_every_thread_was_stuck() {
    let staggered = forever("read").stagger(Duration::from_millis(1), Gaps::Constant, Seed(1));
    let mut stuck = true;
    let simulated = Simulation::new(1)
        .reply(move |invocation| {
            let latency_ns = if std::mem::take(&mut stuck) { 1_000 * MILLISECOND_NS } else { 1 };
            Reply::ok(&invocation.op, latency_ns)
        })
        .operation_limit(30)
        .run(clients(staggered));
    let times = times_ms(&simulated);
    // The one that was due, and those of the last ten milliseconds; then one per millisecond again.
    assert_eq!(times[..12], [vec![1], vec![1001; 11]].concat());
    assert_eq!(times[12..], (1002..1020).collect::<Vec<_>>());
}

#[test]
fn a_delay_keeps_operations_apart_and_begins_at_once() {
    let delayed = forever("read").delay(Duration::from_millis(10)).limit(4);
    let simulated = Simulation::new(5).run(delayed);
    assert_eq!(times_ms(&simulated), [0, 10, 20, 30]);
}

#[test]
fn a_time_limit_counts_from_when_it_is_first_asked_and_excludes_its_end() {
    let slow = |f: &str| forever(f).delay(Duration::from_millis(10));
    let limited =
        sequence(vec![slow("a").limit(3).boxed(), slow("b").time_limit(Duration::from_millis(30)).boxed()]);
    let simulated = Simulation::new(9).run(limited);
    assert_eq!(functions(&simulated), ["a", "a", "a", "b", "b", "b"]);
    assert_eq!(times_ms(&simulated), [0, 10, 20, 20, 30, 40]);
}

#[test]
fn a_sequence_goes_on_while_operations_are_in_flight() {
    let simulated = Simulation::new(2).latency_ns(5).run(sequence(vec![just("a"), just("b")]));
    let times: Vec<u64> = simulated.invocations().map(|event| event.time_ns).collect();
    assert_eq!(times, [0, 0]);
}

#[test]
fn phases_wait_until_all_threads_are_free() {
    let mut latency_ns = 0;
    let simulated = Simulation::new(4)
        .reply(move |invocation| {
            latency_ns += 10;
            Reply::ok(&invocation.op, latency_ns)
        })
        .run(phases(vec![numbered("a", 4), numbered("b", 2)]));
    let last_a = simulated.events.iter().rposition(|event| *event.f == *"a").unwrap();
    let first_b = simulated.events.iter().position(|event| *event.f == *"b").unwrap();
    assert!(last_a < first_b);
    assert_eq!(simulated.events[last_a].time_ns, 40);
    assert_eq!(simulated.events[first_b].time_ns, 40);
}

#[test]
fn phases_wait_for_the_nemesis_too() {
    let breaking = nemesis(just("break"));
    let simulated = Simulation::new(4)
        .reply(|invocation| Reply::ok(&invocation.op, if *invocation.op.f == *"break" { 99 } else { 1 }))
        .run(phases(vec![breaking.boxed(), clients(just("read")).boxed()]));
    let read = simulated.invocations().last().unwrap();
    // The second phase is restricted to clients inside, so its `synchronize` sees the nemesis as well.
    assert_eq!((&*read.f, read.time_ns), ("read", 99));
}

#[test]
fn a_mix_draws_each_child_as_often_and_a_weighted_one_in_proportion() {
    let even = mix(Seed(3), vec![forever("a"), forever("b"), forever("c")]).limit(30_000);
    let simulated = Simulation::new(10).run(even);
    let counts = ["a", "b", "c"].map(|f| count(&simulated, f));
    assert_eq!(counts.iter().sum::<usize>(), 30_000);
    assert!(counts.iter().all(|count| count.abs_diff(10_000) < 300), "{counts:?}");

    let weighted = mix_weighted(Seed(3), vec![(1, forever("a")), (9, forever("b"))]).limit(30_000);
    let simulated = Simulation::new(10).run(weighted);
    assert!(count(&simulated, "a").abs_diff(3_000) < 200, "{}", count(&simulated, "a"));
}

#[test]
fn a_mix_goes_on_with_the_others_when_a_child_is_exhausted() {
    let mixed = mix(Seed(3), vec![numbered("a", 3), numbered("b", 50), nothing().boxed()]);
    let simulated = Simulation::new(2).run(mixed);
    assert_eq!((count(&simulated, "a"), count(&simulated, "b")), (3, 50));
    assert_eq!(simulated.end, End::Exhausted);
}

#[test]
fn any_takes_whoever_is_ready_first() {
    let every = |f: &str, ms| forever(f).delay(Duration::from_millis(ms));
    let both = any(vec![every("slow", 10).boxed(), every("fast", 3).boxed()]);
    let simulated = Simulation::new(9).run(both.time_limit(Duration::from_millis(21)));
    assert_eq!((count(&simulated, "slow"), count(&simulated, "fast")), (3, 7));
}

#[test]
fn any_starves_nobody_when_all_are_always_ready() {
    let simulated = Simulation::new(1).run(any(vec![forever("a"), forever("b"), forever("c")]).limit(30_000));
    for f in ["a", "b", "c"] {
        assert!(count(&simulated, f).abs_diff(10_000) < 300, "{f}: {}", count(&simulated, f));
    }
}

#[test]
fn nested_choices_are_independent_of_each_other() {
    let inner = any(vec![forever("b"), forever("c")]);
    let simulated = Simulation::new(1).run(any(vec![forever("a"), inner.boxed()]).limit(40_000));
    for (f, expected) in [("a", 20_000), ("b", 10_000), ("c", 10_000)] {
        assert!(count(&simulated, f).abs_diff(expected) < 500, "{f}: {}", count(&simulated, f));
    }
}

#[test]
fn a_cycle_starts_again_and_ends_at_the_first_empty_round() {
    let rounds = cycle(|round| if round < 2 { numbered("a", 2) } else { nothing().boxed() });
    let simulated = Simulation::new(1).run(rounds);
    let values: Vec<&Value> = simulated.invocations().map(|event| &event.value).collect();
    assert_eq!(values, [&Value::Int(0), &Value::Int(1), &Value::Int(0), &Value::Int(1)]);
    assert_eq!(simulated.end, End::Exhausted);
}

#[test]
fn until_ok_tries_until_an_operation_of_its_own_succeeded() {
    let mut attempts = 0;
    let simulated = Simulation::new(1)
        .reply(move |invocation| {
            attempts += 1;
            match attempts {
                1 => Reply::fail(1),
                2 => Reply::info(1),
                _ => Reply::ok(&invocation.op, 1),
            }
        })
        .run(clients(forever("read").until_ok()));
    let kinds: Vec<EventKind> = simulated.events.iter().map(|event| event.kind).collect();
    use EventKind::{Fail, Info, Invoke, Ok};
    assert_eq!(kinds, [Invoke, Fail, Invoke, Info, Invoke, Ok]);
}

#[test]
fn until_ok_is_not_ended_by_the_success_of_others() {
    let trying = forever("try").until_ok().limit(2).boxed();
    let simulated = Simulation::new(2)
        .reply(|invocation| match &*invocation.op.f {
            "try" => Reply::fail(10),
            _ => Reply::ok(&invocation.op, 1),
        })
        .run(any(vec![numbered("other", 5), trying]));
    assert_eq!((count(&simulated, "try"), count(&simulated, "other")), (2, 5));
}

#[test]
fn a_process_limit_ends_before_one_process_too_many_could_take_part() {
    let limited = forever("read").process_limit(5);
    let simulated = Simulation::new(2).reply(|_| Reply::info(1)).run(limited);
    let mut processes: Vec<_> = simulated.invocations().map(|event| event.process.clone()).collect();
    processes.sort();
    processes.dedup();
    assert!(processes.len() <= 5, "{processes:?}");
    assert!(simulated.invocations().count() >= 4);
    assert_eq!(simulated.end, End::Exhausted);
}

#[test]
fn a_map_changes_operations_and_nothing_else() {
    let doubled = numbered("a", 4).map(|mut op| {
        op.value = Value::Int(op.value.as_int().unwrap() * 2);
        op
    });
    let simulated = Simulation::new(1).run(doubled);
    let values: Vec<i64> = simulated.invocations().filter_map(|event| event.value.as_int()).collect();
    assert_eq!(values, [0, 2, 4, 6]);
}

#[test]
fn a_generator_that_waits_for_what_cannot_happen_is_noticed() {
    let never = forever("read").on_threads(|_| false);
    assert_eq!(Simulation::new(1).run(never).end, End::Stuck);
}

#[test]
fn a_function_is_called_once_per_operation_with_the_stream_of_its_seed() {
    let expected: Vec<i64> = {
        let mut rng = Seed(5).rng();
        (0..100).map(|_| rng.random_range(0..1000)).collect()
    };
    let random = from_fn(Seed(5), |rng, _| {
        let mut op = op("write");
        op.value = Value::Int(rng.random_range(0..1000));
        op
    });
    // Slow threads make the interpreter ask again and again without taking.
    let simulated = Simulation::new(1).run(any(vec![
        random.limit(100).boxed(),
        forever("tick").delay(Duration::from_micros(1)).limit(3000).boxed(),
    ]));
    let written: Vec<i64> =
        simulated.invocations().filter(|e| *e.f == *"write").filter_map(|e| e.value.as_int()).collect();
    assert_eq!(written, expected);
}
