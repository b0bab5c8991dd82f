//! The contract between generators and interpreters: asking changes nothing, and the same completions give the same operations.

use std::time::Duration;

use labrys_history::{Event, Value};
use labrys_seed::Seed;
use labrys_workloads::generator::{
    BoxGenerator, Context, Gaps, Generator, GeneratorExt, Peek, Taken, any, clients, concurrent_keys, cycle,
    from_fn, mix, nemesis, phases, reserve, sequence,
};
use labrys_workloads::testing::{Reply, Simulated, Simulation};
use proptest::prelude::*;
use rand::Rng as _;

use crate::support::{forever, numbered, op};

/// Asks `times` more often than the interpreter does.
struct Nagging<G> {
    inner: G,
    times: usize,
}

impl<G: Generator> Generator for Nagging<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        let answer = self.inner.peek(context);
        for _ in 0..self.times {
            assert_eq!(self.inner.peek(context), answer, "the answer changed though nothing else did");
        }
        answer
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.inner.take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}

/// A generator of random shape: every combinator, nested.
fn arbitrary(seed: Seed, depth: u32) -> BoxGenerator {
    let mut rng = seed.rng();
    let child = |name: &str| arbitrary(seed.fork(name), depth.saturating_sub(1));
    let mean = Duration::from_micros(rng.random_range(1..2_000));
    if depth == 0 {
        return match rng.random_range(0..3) {
            0 => numbered("count", rng.random_range(0..20)),
            1 => forever("ever").limit(rng.random_range(0..20)).boxed(),
            _ => from_fn(seed, |rng, _| {
                let mut op = op("random");
                op.value = Value::Int(rng.random_range(0..1_000_000));
                op
            })
            .limit(rng.random_range(0..20))
            .boxed(),
        };
    }
    match rng.random_range(0..13) {
        0 => any(vec![child("a"), child("b"), child("c")]).boxed(),
        1 => mix(seed, vec![child("a"), child("b"), child("c")]).boxed(),
        2 => sequence(vec![child("a"), child("b")]).boxed(),
        3 => phases(vec![child("a"), child("b")]).boxed(),
        4 => clients(reserve(vec![(1, child("a")), (2, child("b"))], child("c"))).boxed(),
        5 => child("a").stagger(mean, Gaps::Exponential, seed).boxed(),
        6 => child("a").stagger(mean, Gaps::Uniform, seed).time_limit(Duration::from_millis(30)).boxed(),
        7 => child("a").delay(mean).boxed(),
        8 => {
            let keys = (0..rng.random_range(0..5)).map(Value::Int);
            let on_key =
                move |key: &Value| arbitrary(seed.fork_index(key.as_int().unwrap() as u64), depth - 1);
            clients(concurrent_keys(2, keys, on_key)).boxed()
        }
        9 => child("a").until_ok().limit(10).boxed(),
        10 => any(vec![clients(child("a")).boxed(), nemesis(child("b")).boxed()]).boxed(),
        11 => cycle(move |round| arbitrary(seed.fork_index(round), depth - 1)).limit(50).boxed(),
        _ => child("a").process_limit(9).boxed(),
    }
}

fn simulate(generator: impl Generator, seed: Seed) -> Simulated {
    let mut rng = seed.fork("replies").rng();
    Simulation::new(5)
        .seed(seed)
        .operation_limit(500)
        .reply(move |invocation| {
            let latency_ns = rng.random_range(0..3_000_000);
            match rng.random_range(0..10) {
                0 => Reply::fail(latency_ns),
                1 => Reply::info(latency_ns),
                _ => Reply::ok(&invocation.op, latency_ns),
            }
        })
        .run(generator)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn asking_more_often_changes_nothing(seed: u64, times in 1_usize..4) {
        let asked_once = simulate(arbitrary(Seed(seed), 4), Seed(seed));
        let nagged = simulate(Nagging { inner: arbitrary(Seed(seed), 4), times }, Seed(seed));
        prop_assert_eq!(asked_once, nagged);
    }

    #[test]
    fn the_same_seed_and_the_same_completions_give_the_same_operations(seed: u64) {
        let first = simulate(arbitrary(Seed(seed), 4), Seed(seed));
        let second = simulate(arbitrary(Seed(seed), 4), Seed(seed));
        prop_assert_eq!(first, second);
    }

    #[test]
    fn a_child_that_loses_every_tie_loses_no_operation(seed: u64, count in 1_i64..40) {
        // Its competitor is ready all the time; every number must come, once and in order.
        let competitor = forever("noise").limit(300).boxed();
        let simulated = simulate(any(vec![competitor, numbered("count", count)]), Seed(seed));
        let numbers: Vec<i64> =
            simulated.invocations().filter(|e| *e.f == *"count").filter_map(|e| e.value.as_int()).collect();
        prop_assert_eq!(numbers, (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn the_random_generators_of_these_tests_do_exercise_something() {
    let operations: usize =
        (0..200).map(|seed| simulate(arbitrary(Seed(seed), 4), Seed(seed)).invocations().count()).sum();
    assert!(operations > 2_000, "{operations}");
}
