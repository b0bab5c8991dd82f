//! Measures three nodes on loopback, in this process, with real disks: puts and gets per second, latency, the time without
//! a leader after a crash, and how long a restart takes. A first look; the bench against other systems comes later.
//!
//! `cargo run --release -p labrys-store --example throughput -- [CLIENTS] [SECONDS]`

#![allow(clippy::disallowed_methods)] // It measures time.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use labrys_store::client::{ClientOptions, StatusClient, StoreClient};
use labrys_store::raft::Role;
use labrys_store::server::{Server, ServerOptions};

const TIMEOUT: Duration = Duration::from_secs(10);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, Debug)]
enum Load {
    Put,
    Get,
}

fn start(
    id: u64,
    listener: TcpListener,
    peers: &BTreeMap<u64, String>,
    directory: &Path,
) -> Result<Server, AnyError> {
    let options = ServerOptions::new(id, peers.clone(), directory.join(format!("node-{id}")));
    Ok(Server::start(listener, &options)?)
}

async fn leader(peers: &BTreeMap<u64, String>) -> Result<u64, AnyError> {
    loop {
        for (id, address) in peers {
            let status = StatusClient::new(address)?.status(None, TIMEOUT).await;
            if status.is_ok_and(|status| status.role == Role::Leader) {
                return Ok(*id);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn drive(
    load: Load,
    addresses: Vec<String>,
    preferred: usize,
    end: Instant,
) -> Result<Vec<Duration>, AnyError> {
    let mut client = StoreClient::connect(addresses, preferred, ClientOptions::default())?;
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let key = format!("key-{}", latencies.len() % 1000);
        match load {
            Load::Put => client.put(key, vec![b'x'; 256], TIMEOUT).await?,
            Load::Get => drop(client.get(key, TIMEOUT).await?),
        }
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

async fn measure(
    load: Load,
    addresses: &[String],
    preferred: usize,
    clients: usize,
    seconds: u64,
) -> Result<(), AnyError> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let drivers = (0..clients).map(|_| tokio::spawn(drive(load, addresses.to_vec(), preferred, end)));
    let mut latencies = Vec::new();
    for driver in drivers.collect::<Vec<_>>() {
        latencies.extend(driver.await??);
    }
    latencies.sort_unstable();
    let quantile = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    let rate = latencies.len() as u64 / seconds;
    println!(
        "{load:?}: {clients} clients, {rate} per second, p50 {:?}, p99 {:?}",
        quantile(0.5),
        quantile(0.99)
    );
    Ok(())
}

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let clients = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let directory = tempfile::tempdir()?;
        let mut listeners = BTreeMap::new();
        let mut peers = BTreeMap::new();
        for id in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            peers.insert(id, listener.local_addr()?.to_string());
            listeners.insert(id, listener);
        }
        let mut nodes = BTreeMap::new();
        for (id, listener) in listeners {
            nodes.insert(id, start(id, listener, &peers, directory.path())?);
        }
        let addresses: Vec<String> = peers.values().cloned().collect();
        let first = leader(&peers).await?;
        let preferred = usize::try_from(first - 1)?;
        for load in [Load::Put, Load::Get] {
            measure(load, &addresses, preferred, clients, seconds).await?;
        }
        let mut client = StoreClient::connect(addresses, preferred, ClientOptions::default())?;
        let mut failovers = Vec::new();
        for _ in 0..5 {
            let victim = leader(&peers).await?;
            client.put("failover", "before", TIMEOUT).await?;
            drop(nodes.remove(&victim));
            let begun = Instant::now();
            client.put("failover", "after", TIMEOUT).await?;
            failovers.push(begun.elapsed());
            let listener = TcpListener::bind(&peers[&victim])?;
            let begun = Instant::now();
            nodes.insert(victim, start(victim, listener, &peers, directory.path())?);
            println!("restart with the log above: {:?}", begun.elapsed());
        }
        println!("first write after the leader's crash: {failovers:?}");
        Ok(())
    })
}
