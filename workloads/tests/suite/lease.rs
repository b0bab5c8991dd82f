//! The lease workload, on simulated threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use labrys_history::{Event, EventKind, Value};
use labrys_seed::Seed;
use labrys_workloads::lease::{LeaseOp, granted};
use labrys_workloads::testing::{Reply, Simulated, Simulation};
use labrys_workloads::workload::{self, WorkloadOptions};
use labrys_workloads::{Op, Outcome, Workload};

use crate::support::{MILLISECOND_NS, count};

fn options() -> WorkloadOptions {
    WorkloadOptions {
        system: "in-memory".to_owned(),
        concurrency: 12,
        key_count: 4,
        ops_per_key: 2_000,
        time_limit_ms: 300_000,
        seed: Seed(5),
        ..WorkloadOptions::default()
    }
}

fn lease(options: &WorkloadOptions) -> Workload {
    workload::build("lease", options).expect("the options are right")
}

/// Leases that last until they are revoked, and the value of each key.
#[derive(Default)]
struct Store {
    granted: u64,
    /// The key of a lease, for those that are there.
    leases: BTreeMap<u64, Option<Value>>,
    values: BTreeMap<Option<Value>, Value>,
}

impl Store {
    fn reply(&mut self, op: &Op) -> Reply {
        let unknown = Outcome::Fail { error: Value::keyword("lease-unknown") };
        let outcome = match LeaseOp::parse(op) {
            None => Outcome::Ok(self.values.get(&op.key).cloned().unwrap_or_default()),
            Some(LeaseOp::Grant { ttl_ms }) => {
                self.granted += 1;
                self.leases.insert(self.granted, None);
                Outcome::Ok(granted(self.granted, ttl_ms))
            }
            Some(LeaseOp::Put { lease, value }) => match self.leases.get_mut(&lease) {
                Some(key) => {
                    *key = op.key.clone();
                    self.values.insert(op.key.clone(), value);
                    Outcome::Ok(op.value.clone())
                }
                None => unknown,
            },
            Some(LeaseOp::KeepAlive { lease }) if self.leases.contains_key(&lease) => {
                Outcome::Ok(op.value.clone())
            }
            Some(LeaseOp::Revoke { lease }) => match self.leases.remove(&lease) {
                Some(key) => {
                    self.values.remove(&key);
                    Outcome::Ok(op.value.clone())
                }
                None => unknown,
            },
            Some(LeaseOp::KeepAlive { .. }) => unknown,
        };
        Reply { latency_ns: MILLISECOND_NS, outcome }
    }
}

fn run(options: &WorkloadOptions) -> Simulated {
    let store = Rc::new(RefCell::new(Store::default()));
    Simulation::new(options.concurrency)
        .seed(options.seed)
        .reply(move |invocation| store.borrow_mut().reply(&invocation.op))
        .run(lease(options).generator)
}

/// Per key its events, in order.
fn by_key(simulated: &Simulated) -> BTreeMap<i64, Vec<&Event>> {
    let mut keys: BTreeMap<i64, Vec<&Event>> = BTreeMap::new();
    for event in &simulated.events {
        let key = event.key.as_ref().and_then(Value::as_int).expect("every operation has a key");
        keys.entry(key).or_default().push(event);
    }
    keys
}

fn invoked<'e>(events: &[&'e Event], f: &str) -> Vec<&'e Event> {
    events.iter().copied().filter(|event| event.kind == EventKind::Invoke && *event.f == *f).collect()
}

#[test]
fn a_key_has_one_lease_one_value_and_is_kept_alive_three_times_in_its_time() {
    let simulated = run(&options());
    let keys = by_key(&simulated);
    assert!(keys.len() > 20, "{} lives in five minutes", keys.len());
    let mut kept = 0;
    for (key, events) in &keys {
        let (grants, puts) = (invoked(events, "grant"), invoked(events, "put"));
        assert_eq!((grants.len(), puts.len()), (1, 1), "key {key}");
        let ttl_ms = grants[0].value.as_int().expect("a time to live").cast_unsigned();
        assert!((1_000..=3_000).contains(&ttl_ms));
        let times: Vec<u64> =
            puts.into_iter().chain(invoked(events, "keep-alive")).map(|event| event.time_ns).collect();
        for pair in times.windows(2) {
            let gap_ns = pair[1] - pair[0];
            assert!(gap_ns >= ttl_ms * MILLISECOND_NS / 3, "key {key}: {gap_ns} ns");
            assert!(gap_ns < ttl_ms * MILLISECOND_NS / 2, "key {key}: {gap_ns} ns");
        }
        kept = kept.max(times.len());
    }
    assert!(kept > 15, "some are kept alive for long: {kept}");
}

#[test]
fn some_leases_are_revoked_and_others_left_alone_and_all_are_read_in_the_end() {
    let simulated = run(&options());
    let keys = by_key(&simulated);
    let (mut revoked, mut left_alone) = (0, 0);
    // The last ones are cut off by the time limit.
    for (key, events) in keys.iter().take(keys.len() - 4) {
        let last = events.iter().rposition(|event| *event.f != *"read").expect("a life has a beginning");
        let reads: Vec<bool> = events[last..]
            .iter()
            .filter(|event| *event.f == *"read" && event.kind == EventKind::Ok)
            .map(|event| event.value.is_nil())
            .collect();
        if invoked(events, "revoke").is_empty() {
            left_alone += 1;
            // This store never ends a lease by itself: it is watched until the checker would be sure.
            let watched_ns = events.last().expect("events").time_ns - events[last].time_ns;
            assert!(watched_ns >= 15_000 * MILLISECOND_NS, "key {key}: {watched_ns} ns");
            assert!(reads.iter().all(|is_nothing| !is_nothing), "key {key}");
        } else {
            revoked += 1;
            assert!(reads.iter().filter(|is_nothing| **is_nothing).count() >= 4, "key {key}: {reads:?}");
        }
    }
    assert!(revoked > 3 && left_alone > 3, "{revoked} revoked, {left_alone} left alone");
}

#[test]
fn what_fails_is_tried_again_and_a_lease_that_ended_is_not() {
    let store = Rc::new(RefCell::new(Store::default()));
    let mut attempts: BTreeMap<(String, Option<Value>), u64> = BTreeMap::new();
    let simulated = Simulation::new(3)
        .reply(move |invocation| {
            let op = &invocation.op;
            let attempt = attempts.entry((op.f.to_string(), op.key.clone())).or_default();
            *attempt += 1;
            match (&*op.f, *attempt) {
                ("read", _) => store.borrow_mut().reply(op),
                (_, 1) => Reply::fail(MILLISECOND_NS),
                (_, 2) => Reply::info(MILLISECOND_NS),
                ("keep-alive", 6) => {
                    let error = Value::keyword("lease-unknown");
                    Reply { latency_ns: MILLISECOND_NS, outcome: Outcome::Fail { error } }
                }
                _ => store.borrow_mut().reply(op),
            }
        })
        .run(lease(&WorkloadOptions { concurrency: 3, key_count: 1, ..options() }).generator);
    let keys = by_key(&simulated);
    let mut ended = 0;
    for (key, events) in keys.iter().take(keys.len() - 1) {
        assert_eq!(invoked(events, "grant").len(), 3, "key {key}");
        let puts = invoked(events, "put");
        assert_eq!(puts.len(), 3, "key {key}");
        assert!(puts.windows(2).all(|pair| pair[0].value != pair[1].value), "no value twice");
        let kept = invoked(events, "keep-alive").len();
        assert!(kept <= 6, "key {key}: nobody keeps alive what has ended");
        if kept == 6 {
            ended += 1;
            assert!(invoked(events, "revoke").is_empty(), "key {key}");
        }
    }
    assert!(ended > 0);
}

#[test]
fn one_thread_is_left_to_the_keeper_when_reads_hang() {
    let store = Rc::new(RefCell::new(Store::default()));
    let simulated = Simulation::new(2)
        .reply(move |invocation| {
            let reply = store.borrow_mut().reply(&invocation.op);
            let latency_ns = if *invocation.op.f == *"read" { 900 * MILLISECOND_NS } else { MILLISECOND_NS };
            Reply { latency_ns, ..reply }
        })
        .run(lease(&WorkloadOptions { concurrency: 2, key_count: 1, ..options() }).generator);
    assert!(count(&simulated, "keep-alive") > 30);
    for events in by_key(&simulated).values() {
        let ttl_ms = invoked(events, "grant")[0].value.as_int().expect("a time to live").cast_unsigned();
        for pair in invoked(events, "keep-alive").windows(2) {
            let gap_ns = pair[1].time_ns - pair[0].time_ns;
            assert!(gap_ns < ttl_ms * MILLISECOND_NS / 3 + 2 * MILLISECOND_NS, "{gap_ns} ns");
        }
    }
}

#[test]
fn one_thread_does_both() {
    let simulated = run(&WorkloadOptions { concurrency: 1, key_count: 1, ..options() });
    assert!(count(&simulated, "keep-alive") > 10 && count(&simulated, "read") > 100);
}

#[test]
fn the_history_of_a_seed_never_changes_between_versions() {
    let simulated = run(&WorkloadOptions { time_limit_ms: 1_000, concurrency: 2, key_count: 1, ..options() });
    let lines: Vec<String> = simulated
        .invocations()
        .take(6)
        .map(|event| format!("{} {} {}", event.process, event.f, event.value))
        .collect();
    // Recorded once: a change here changes what every committed seed of every user does.
    assert_eq!(lines, RECORDED);
}

const RECORDED: [&str; 6] =
    ["0 grant 2667", "0 put [1 1]", "0 read nil", "1 read nil", "1 read nil", "1 read nil"];
