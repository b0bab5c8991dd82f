//! A closed-loop load: so many clients, each with one request at a time, for so long. And how long nobody is served after the
//! leader died.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use labrys_seed::{Rng, Seed};
use rand::{Rng as _, RngCore as _};
use serde::Serialize;
use tokio::task::JoinSet;

use super::connection::{Connection, RequestError};
use super::system::Cluster;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub clients: usize,
    pub value_bytes: usize,
    /// Of a hundred requests; the others are writes.
    pub reads_percent: u32,
    /// Of the keys; each as likely.
    pub keys: u64,
    pub warm_up: Duration,
    pub duration: Duration,
}

/// What a load came to.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Requests carried out in a second.
    pub per_second: f64,
    /// Their median latency.
    pub p50_us: u64,
    /// The latency that 99 % did not exceed.
    pub p99_us: u64,
    /// Bytes that all nodes had written to disk, per write; absent if nothing was written.
    pub written_bytes_per_put: Option<f64>,
    /// Requests that failed.
    pub errors: u64,
}

/// A latency of more than this is taken for this.
const MAX_LATENCY_US: u64 = 60_000_000;

/// What one client saw while it counted.
struct Seen {
    latencies_us: Histogram<u64>,
    puts: u64,
    errors: u64,
}

impl Seen {
    fn new() -> Seen {
        let latencies_us = Histogram::new_with_max(MAX_LATENCY_US, 3)
            .unwrap_or_else(|error| unreachable!("three digits are possible: {error}"));
        Seen { latencies_us, puts: 0, errors: 0 }
    }
}

/// Puts the load on the leader of `cluster`; `seed` decides keys and values.
///
/// # Errors
/// If a client cannot connect, or nothing succeeded.
pub(super) async fn run(cluster: &Cluster, load: Load, seed: Seed) -> anyhow::Result<Measured> {
    let address = cluster.addresses()[cluster.leader().await?].clone();
    let begin = Instant::now();
    let (count_from, end) = (begin + load.warm_up, begin + load.warm_up + load.duration);
    let mut clients = JoinSet::new();
    for client in 0..load.clients {
        let id = u128::from(seed.0) << 64 | client as u128;
        let connection = Connection::open(cluster.system, &address, id).await;
        let connection = connection.with_context(|| format!("connecting to {address}"))?;
        let rng = seed.fork("client").fork_index(client as u64).rng();
        clients.spawn(work(connection, load, rng, count_from, end));
    }
    tokio::time::sleep_until(count_from.into()).await;
    let written_before = cluster.written_bytes()?;
    let mut all = Seen::new();
    while let Some(seen) = clients.join_next().await {
        let seen = seen?;
        all.latencies_us.add(&seen.latencies_us)?;
        all.puts += seen.puts;
        all.errors += seen.errors;
    }
    let written = cluster.written_bytes()?.saturating_sub(written_before);
    if all.latencies_us.is_empty() {
        bail!("{} carried nothing out in {:?}", cluster.system.name(), load.duration);
    }
    Ok(Measured {
        per_second: all.latencies_us.len() as f64 / load.duration.as_secs_f64(),
        p50_us: all.latencies_us.value_at_quantile(0.5),
        p99_us: all.latencies_us.value_at_quantile(0.99),
        written_bytes_per_put: (all.puts > 0).then(|| written as f64 / all.puts as f64),
        errors: all.errors,
    })
}

/// One client. What it has under way at the end is not counted.
async fn work(
    mut connection: Connection,
    load: Load,
    mut rng: Rng,
    count_from: Instant,
    end: Instant,
) -> Seen {
    let mut seen = Seen::new();
    let mut value = vec![0; load.value_bytes];
    rng.fill_bytes(&mut value);
    let value = Bytes::from(value);
    loop {
        let key = key(rng.random_range(0..load.keys));
        let is_read = rng.random_range(0..100) < load.reads_percent;
        let begin = Instant::now();
        let done = if is_read { connection.get(key).await } else { connection.put(key, value.clone()).await };
        let now = Instant::now();
        if now >= end {
            return seen;
        }
        if begin < count_from {
            continue;
        }
        match done {
            Ok(()) => {
                let latency = u64::try_from((now - begin).as_micros()).unwrap_or(MAX_LATENCY_US);
                seen.latencies_us.saturating_record(latency);
                seen.puts += u64::from(!is_read);
            }
            Err(_) => seen.errors += 1,
        }
    }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("key-{number:012}"))
}

/// Writes `keys` keys of `value_bytes` each, in order, as fast as 64 clients can.
///
/// # Errors
/// If a write fails.
pub(super) async fn fill(cluster: &Cluster, keys: u64, value_bytes: usize) -> anyhow::Result<Duration> {
    const CLIENTS: u64 = 64;
    let address = cluster.addresses()[cluster.leader().await?].clone();
    let value = Bytes::from(vec![b'v'; value_bytes]);
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut connection =
            Connection::open(cluster.system, &address, u128::MAX - u128::from(client)).await?;
        let value = value.clone();
        clients.spawn(async move {
            for number in (client..keys).step_by(CLIENTS as usize) {
                connection.put(key(number), value.clone()).await?;
            }
            Ok::<(), RequestError>(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(began.elapsed())
}

/// How long it takes from the moment of a leader's death until a write that began afterwards is carried out by another node.
///
/// # Errors
/// If it takes a minute.
pub(super) async fn failover(cluster: &Cluster, round: u64) -> anyhow::Result<Duration> {
    const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
    let leader = cluster.leader().await?;
    let killed = Instant::now();
    tokio::task::block_in_place(|| cluster.kill(leader))?;
    let mut survivors = JoinSet::new();
    for (node, address) in cluster.addresses().iter().enumerate().filter(|(node, _)| *node != leader) {
        let (system, address) = (cluster.system, address.clone());
        survivors.spawn(async move {
            for attempt in 0_u128.. {
                let client = u128::from(round) << 100 | (node as u128) << 90 | attempt;
                if try_once(system, &address, client).await {
                    break;
                }
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
        });
    }
    let served = tokio::time::timeout(GIVE_UP_AFTER, survivors.join_next()).await;
    let took = killed.elapsed();
    served.with_context(|| format!("nobody served for {} s", GIVE_UP_AFTER.as_secs()))?;
    survivors.shutdown().await;
    cluster.restart(leader)?;
    Ok(took)
}

/// The resolution of [`failover`], and what an attempt may take: etcd's followers hold a write until there is a leader.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(100);

async fn try_once(system: super::System, address: &str, client: u128) -> bool {
    let attempt = async {
        let mut connection = Connection::open(system, address, client).await?;
        connection.put(key(0), Bytes::from_static(b"failover")).await
    };
    matches!(tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await, Ok(Ok(())))
}

/// Waits until every node has what the leader has.
///
/// # Errors
/// If it takes a minute.
pub(super) async fn settle(cluster: &Cluster) -> anyhow::Result<()> {
    let caught_up = async {
        loop {
            let leader = cluster.leader().await?;
            let mut behind = 0;
            for node in 0..cluster.addresses().len() {
                behind += usize::from(!cluster.has_caught_up(node, leader).await);
            }
            if behind == 0 {
                return anyhow::Ok(());
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), caught_up).await.context("the cluster did not settle")?
}

/// How long a follower that was killed takes, from its start, until it has applied what the leader has.
///
/// # Errors
/// If it takes two minutes, or there is no follower.
pub(super) async fn restart(cluster: &Cluster) -> anyhow::Result<Duration> {
    const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
    let leader = cluster.leader().await?;
    let follower = (0..cluster.addresses().len()).find(|node| *node != leader).context("no follower")?;
    tokio::task::block_in_place(|| cluster.kill(follower))?;
    let began = Instant::now();
    cluster.restart(follower)?;
    let caught_up = async {
        while !cluster.has_caught_up(follower, leader).await {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    };
    tokio::time::timeout(GIVE_UP_AFTER, caught_up).await.context("the restarted node did not catch up")?;
    Ok(began.elapsed())
}
