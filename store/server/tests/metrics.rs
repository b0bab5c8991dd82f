//! Health and metrics, as probes and scrapers see them.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use common::process::{Node, binary, free_address};
use common::{Cluster, PATIENCE};
use labrys_store::client::{ClientOptions, StoreClient};
use labrys_store::security::{Security, Token};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

/// The status code and the body.
fn fetch(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of the line that begins so.
fn value(text: &str, line: &str) -> f64 {
    let found = text.lines().find_map(|candidate| candidate.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no `{line}` in:\n{text}")).parse().unwrap()
}

/// Of each metric that was scraped, the row that documents it.
fn rows(text: &str) -> String {
    let mut kinds = BTreeMap::new();
    let mut units = BTreeMap::new();
    let mut rows = String::new();
    let mut meanings = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, kind] => drop(kinds.insert(name, kind)),
            ["#", "UNIT", name, unit] => drop(units.insert(name, unit)),
            ["#", "HELP", name, meaning] => meanings.push((name, meaning)),
            _ => {}
        }
    }
    for (name, meaning) in meanings {
        let unit = units.get(name).copied().unwrap_or("");
        writeln!(rows, "| `{name}` | {} | {unit} | {} |", kinds[name], meaning.trim_end_matches('.'))
            .unwrap();
    }
    rows
}

/// One node as a process: its log tells where it serves metrics.
#[test]
fn a_scrape_tells_what_happened_and_every_metric_is_documented() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut command = binary();
    command.args(["--id", "1", "--peers", &format!("1={address}"), "--metrics-listen", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(directory.path());
    let node = Node::spawn(command);
    let metrics = node.event("metrics_listening")["address"].as_str().unwrap().to_owned();
    node.event("leader");
    block_on(async {
        let mut client = StoreClient::connect(vec![address], 0, ClientOptions::default()).unwrap();
        for number in 0..10 {
            client.put(format!("{number}"), vec![7; 100], PATIENCE).await.unwrap();
        }
        client.get("1", PATIENCE).await.unwrap();
        client.put(vec![0; 5000], "the key is too large", PATIENCE).await.unwrap_err();
    });
    assert_eq!(fetch(&metrics, "/health").0, 200);
    assert_eq!(fetch(&metrics, "/nonsense").0, 404);
    let (code, text) = fetch(&metrics, "/metrics");
    assert_eq!(code, 200, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    for (line, expected) in [
        ("labrys_store_keys", 10.0),
        ("labrys_store_sessions", 1.0),
        ("labrys_store_writes_total", 10.0),
        ("labrys_store_reads_total", 1.0),
        ("labrys_store_role{role=\"leader\"}", 1.0),
        ("labrys_store_role{role=\"follower\"}", 0.0),
        ("labrys_store_leader_id", 1.0),
        ("labrys_store_serving", 1.0),
        ("labrys_store_inflight_requests", 0.0),
        ("labrys_store_refusals_total{code=\"too_large\"}", 1.0),
        ("labrys_store_request_seconds_count{method=\"labrys.store.v1.Data/Write\"}", 11.0),
        ("labrys_store_request_seconds_count{method=\"labrys.store.v1.Data/Read\"}", 1.0),
    ] {
        assert!((value(&text, line) - expected).abs() < 0.5, "{line} is not {expected} in:\n{text}");
    }
    assert!(value(&text, "labrys_store_log_write_seconds_count") >= 1.0);
    assert!(value(&text, "labrys_store_log_write_entries_sum") >= 10.0);
    assert!(value(&text, "labrys_store_log_write_bytes_sum") >= 1000.0);
    assert!(value(&text, "labrys_store_leader_changes_total") >= 1.0);
    let documented: String = include_str!("../OPERATING.md")
        .lines()
        .filter(|line| line.starts_with("| `labrys_store_"))
        // A node on its own has no links.
        .filter(|line| !line.contains("link_queue"))
        .fold(String::new(), |rows, row| rows + row + "\n");
    assert_eq!(rows(&text), documented, "the table in OPERATING.md is not what a node says");
}

async fn serving(channel: &Channel, service: &str) -> bool {
    let request = HealthCheckRequest { service: service.to_owned() };
    let reply = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
    reply.status == tonic_health::ServingStatus::Serving as i32
}

async fn until(channel: &Channel, service: &str, expected: bool) {
    let deadline = Instant::now() + PATIENCE;
    while serving(channel, service).await != expected {
        assert!(Instant::now() < deadline, "`{service}` is not {expected}");
        tokio::task::yield_now().await;
    }
}

/// A majority goes, so that what is left knows no leader, and comes back. The probes carry no token, although the nodes want one.
#[test]
fn a_node_serves_while_it_knows_a_leader() {
    block_on(async {
        let token = Token::new(b"secret").unwrap();
        let security = Security { tls: None, token: Some(token) };
        let mut cluster = Cluster::start_adjusted(3, move |options| {
            options.security = security.clone();
            options.metrics_listen = Some("127.0.0.1:0".to_owned());
        });
        let metrics = cluster.nodes[&1].metrics_address().unwrap().to_string();
        let health = |path: &'static str| {
            let metrics = metrics.clone();
            async move { tokio::task::spawn_blocking(move || fetch(&metrics, path).0).await.unwrap() }
        };
        let scraped = metrics.clone();
        let (_, text) = tokio::task::spawn_blocking(move || fetch(&scraped, "/metrics")).await.unwrap();
        for peer in [2, 3] {
            assert!(value(&text, &format!("labrys_store_link_queue_messages{{peer=\"{peer}\"}}")) >= 0.0);
        }
        let channel = Channel::from_shared(format!("http://{}", cluster.peers[&1])).unwrap();
        let channel = channel.connect().await.unwrap();
        until(&channel, "", true).await;
        assert_eq!(health("/health").await, 200);
        cluster.kill(2);
        cluster.kill(3);
        until(&channel, "", false).await;
        assert_eq!(health("/health").await, 503);
        for (service, expected) in [("Kv", false), ("Data", false), ("Admin", true), ("Peer", true)] {
            assert_eq!(serving(&channel, &format!("labrys.store.v1.{service}")).await, expected, "{service}");
        }
        cluster.restart(2);
        until(&channel, "labrys.store.v1.Kv", true).await;
        let request = HealthCheckRequest { service: "nonsense".to_owned() };
        let status = HealthClient::new(channel).check(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::NotFound);
    });
}
