//! The map in memory: what it answers when it is well, and what it does when it is told to be broken.

use std::time::Duration;

use labrys_history::Value;
use labrys_seed::Seed;
use labrys_workloads::clients::in_memory::{Breakage, InMemory, InMemoryOptions};
use labrys_workloads::register::PRECONDITION_FAILED;
use labrys_workloads::{Client, ClientFactory, Op, Outcome};

const TIMEOUT: Duration = Duration::from_secs(1);

fn write(value: i64) -> Op {
    Op::new("write", Value::Int(value)).on_key(Value::Int(0))
}

fn read() -> Op {
    Op::new("read", Value::Nil).on_key(Value::Int(0))
}

fn cas(expected: i64, new: i64) -> Op {
    Op::new("cas", Value::vector(vec![Value::Int(expected), Value::Int(new)])).on_key(Value::Int(0))
}

async fn client(options: InMemoryOptions) -> (InMemory, Box<dyn Client>) {
    let map = InMemory::new(options);
    let client = map.open(0, 0).await.expect("no failures were asked for");
    (map, client)
}

fn broken(breakage: Breakage) -> InMemoryOptions {
    InMemoryOptions { breakage, ..InMemoryOptions::default() }
}

#[tokio::test]
async fn a_well_map_is_a_register_per_key() {
    let (_, mut client) = client(InMemoryOptions::default()).await;
    assert_eq!(client.invoke(&read(), TIMEOUT).await, Outcome::Ok(Value::Nil));
    assert_eq!(client.invoke(&write(1), TIMEOUT).await, Outcome::Ok(Value::Int(1)));
    assert_eq!(client.invoke(&cas(1, 2), TIMEOUT).await, Outcome::Ok(cas(1, 2).value));
    let refused = Outcome::Fail { error: Value::keyword(PRECONDITION_FAILED) };
    assert_eq!(client.invoke(&cas(1, 3), TIMEOUT).await, refused);
    assert_eq!(client.invoke(&read(), TIMEOUT).await, Outcome::Ok(Value::Int(2)));
    let other_key = Op::new("read", Value::Nil).on_key(Value::Int(1));
    assert_eq!(client.invoke(&other_key, TIMEOUT).await, Outcome::Ok(Value::Nil));
}

#[tokio::test]
async fn an_operation_that_it_does_not_know_fails() {
    let (_, mut client) = client(InMemoryOptions::default()).await;
    for op in [Op::new("append", Value::Int(1)), Op::new("cas", Value::Int(1))] {
        assert!(matches!(client.invoke(&op, TIMEOUT).await, Outcome::Fail { .. }));
    }
}

#[tokio::test]
async fn a_map_with_stale_reads_answers_with_what_was_there_before() {
    let (_, mut client) = client(broken(Breakage::StaleReads)).await;
    client.invoke(&write(1), TIMEOUT).await;
    client.invoke(&write(2), TIMEOUT).await;
    assert_eq!(client.invoke(&read(), TIMEOUT).await, Outcome::Ok(Value::Int(1)));
}

#[tokio::test]
async fn a_map_that_loses_every_second_write_acknowledges_it() {
    let (map, mut client) = client(broken(Breakage::LosesWrites(2))).await;
    client.invoke(&write(1), TIMEOUT).await;
    assert_eq!(client.invoke(&write(2), TIMEOUT).await, Outcome::Ok(Value::Int(2)));
    assert_eq!(map.get(Some(&Value::Int(0))), Value::Int(1));
}

#[tokio::test]
async fn a_map_that_does_not_compare_sets() {
    let (map, mut client) = client(broken(Breakage::SetsWithoutComparing)).await;
    assert!(matches!(client.invoke(&cas(4, 3), TIMEOUT).await, Outcome::Ok(_)));
    assert_eq!(map.get(Some(&Value::Int(0))), Value::Int(3));
}

#[tokio::test]
async fn what_is_refused_has_no_effect_and_of_what_is_lost_half_has() {
    let everything = InMemoryOptions { refused_per_mille: 1000, ..InMemoryOptions::default() };
    let (map, mut refused) = client(everything).await;
    assert!(matches!(refused.invoke(&write(1), TIMEOUT).await, Outcome::Fail { .. }));
    assert_eq!(map.get(Some(&Value::Int(0))), Value::Nil);

    let everything = InMemoryOptions { lost_per_mille: 1000, seed: Seed(1), ..InMemoryOptions::default() };
    let (map, mut lossy) = client(everything).await;
    let mut effects = 0;
    for value in 0..100 {
        assert!(matches!(lossy.invoke(&write(value), TIMEOUT).await, Outcome::Info { .. }));
        effects += u32::from(map.get(Some(&Value::Int(0))) == Value::Int(value));
    }
    assert!((35..65).contains(&effects), "{effects}");
}

#[tokio::test]
async fn it_can_refuse_to_be_opened() {
    let map = InMemory::new(InMemoryOptions { open_failures_per_mille: 1000, ..InMemoryOptions::default() });
    let error = map.open(3, 1).await.err().expect("it was told to refuse");
    assert_eq!(
        error.to_string(),
        "cannot open a client of process 3 at in-memory node 1: refused on request"
    );
}

fn on_lease(f: &str, value: Value) -> Op {
    Op::new(f, value).on_key(Value::Int(0))
}

fn put(lease: i64, value: i64) -> Op {
    on_lease("put", Value::vector(vec![Value::Int(lease), Value::Int(value)]))
}

#[tokio::test]
async fn a_key_lasts_as_long_as_its_lease() {
    let (_, mut client) = client(InMemoryOptions::default()).await;
    let unknown = Outcome::Fail { error: Value::keyword("lease-unknown") };
    let granted = client.invoke(&on_lease("grant", Value::Int(600_000)), TIMEOUT).await;
    assert_eq!(granted, Outcome::Ok(Value::vector(vec![Value::Int(1), Value::Int(600_000)])));
    assert_eq!(client.invoke(&put(1, 5), TIMEOUT).await, Outcome::Ok(put(1, 5).value));
    assert_eq!(client.invoke(&read(), TIMEOUT).await, Outcome::Ok(Value::Int(5)));
    assert_eq!(client.invoke(&put(2, 6), TIMEOUT).await, unknown, "nobody granted it");
    let keep_alive = on_lease("keep-alive", Value::Int(1));
    assert_eq!(client.invoke(&keep_alive, TIMEOUT).await, Outcome::Ok(Value::Int(1)));
    let revoke = on_lease("revoke", Value::Int(1));
    assert_eq!(client.invoke(&revoke, TIMEOUT).await, Outcome::Ok(Value::Int(1)));
    assert_eq!(client.invoke(&read(), TIMEOUT).await, Outcome::Ok(Value::Nil));
    assert_eq!(client.invoke(&keep_alive, TIMEOUT).await, unknown);
    // One that is over when it begins.
    client.invoke(&on_lease("grant", Value::Int(0)), TIMEOUT).await;
    assert_eq!(client.invoke(&on_lease("keep-alive", Value::Int(2)), TIMEOUT).await, unknown);
}
