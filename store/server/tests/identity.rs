//! Who the members of a cluster are is recorded when a node is created; nodes of different clusters do not talk to each other.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use common::PATIENCE;
use common::process::{Node, free_address, run};
use labrys_store::client::{ClientOptions, StatusClient, StoreClient};
use serde_json::Value;

fn arguments(id: u64, peers: &[(u64, &str)], data_dir: &Path, more: &[&str]) -> Vec<String> {
    let peers: Vec<String> = peers.iter().map(|(id, address)| format!("{id}={address}")).collect();
    let (id, data_dir) = (id.to_string(), data_dir.display().to_string());
    let flags = ["--id", &id, "--peers", &peers.join(","), "--data-dir", &data_dir];
    flags.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn start(id: u64, peers: &[(u64, &str)], data_dir: &Path, more: &[&str]) -> Node {
    Node::start(&arguments(id, peers, data_dir, more), false)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn refused_start(mut node: Node) -> String {
    let fatal = node.event("fatal");
    assert_eq!(
        (&fatal["exit_code"], node.child.wait().unwrap().code()),
        (&Value::from(2), Some(2)),
        "{fatal}"
    );
    fatal["error"].as_str().unwrap().to_owned()
}

/// One of three nodes, alone, is no majority. Were the members those of each start's `--peers`, it would lead in the second.
#[test]
fn other_members_than_at_the_first_start_are_refused_until_the_log_knows_them() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    let (one, two, three) = (free_address(), free_address(), free_address());
    let all = [(1, one.as_str()), (2, two.as_str()), (3, three.as_str())];
    drop({
        let node = start(1, &all, data_dir, &[]);
        node.event("listening");
        node
    });
    for (peers, more) in [(&all[..1], &[][..]), (&all[..2], &[]), (&all[..], &["--join"])] {
        let error = refused_start(start(1, peers, data_dir, more));
        assert!(
            error.contains("was created with --peers 1=") && error.contains("ctl members"),
            "{peers:?} {more:?}: {error}"
        );
    }
    let elsewhere = free_address();
    start(1, &[(1, &elsewhere), all[1], all[2]], data_dir, &[]).event("listening");
}

#[test]
fn a_node_that_waits_to_join_begins_no_cluster_of_its_own_when_the_flag_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    drop({
        let node = start(4, &[(4, &address)], directory.path(), &["--join"]);
        node.event("listening");
        node
    });
    let error = refused_start(start(4, &[(4, &address)], directory.path(), &[]));
    assert!(error.contains("was created with --join"), "{error}");
}

#[test]
fn once_the_log_knows_the_members_other_peers_give_addresses_only() {
    let directory = tempfile::tempdir().unwrap();
    let (one, four) = (free_address(), free_address());
    let [first_dir, joined_dir] = ["1", "4"].map(|name| directory.path().join(name));
    let first = start(1, &[(1, &one)], &first_dir, &[]);
    first.event("leader");
    let joining = start(4, &[(4, &four)], &joined_dir, &["--join"]);
    joining.event("listening");
    let added = run(&["ctl", "--timeout-ms", "30000", "--endpoints", &one, "members", "add", "4", &four]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let cluster = joining.event("cluster_joined")["cluster"].clone();
    drop(first);
    // With another first member, which does not count.
    let first = start(1, &[(1, &one), (9, "127.0.0.1:1")], &first_dir, &[]);
    let told = first.event("peers_give_addresses_only");
    assert_eq!(told["configuration"].as_str().map(|text| text.contains('9')), Some(false), "{told}");
    first.event("leader");
    block_on(async {
        let mut client = StoreClient::connect(vec![one.clone()], 0, ClientOptions::default()).unwrap();
        client.put("x", "1", PATIENCE).await.unwrap();
    });
    drop(joining);
    let identity = std::fs::read_to_string(joined_dir.join("identity.json")).unwrap();
    let identity: Value = serde_json::from_str(&identity).unwrap();
    assert_eq!((&identity["cluster"], cluster.is_string()), (&cluster, true), "{identity}");
}

/// Node 2 is a member of both clusters by the address book, and was begun with the second.
#[test]
fn nodes_of_two_clusters_refuse_each_other_and_both_sides_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two, three) = (free_address(), free_address(), free_address());
    let first = start(1, &[(1, &one), (2, &two)], &directory.path().join("1"), &[]);
    let second = start(2, &[(1, &one), (2, &two), (3, &three)], &directory.path().join("2"), &[]);
    for (node, peer) in [(&first, 2), (&second, 1)] {
        // Each of them is called by the other, and calls it.
        let mut messages = BTreeSet::new();
        while messages.len() < 2 {
            let line = node.event_that("peer_refused", |line| line["peer"] == peer);
            assert!(line["error"].as_str().unwrap().contains("belongs to cluster"), "{line}");
            let is_new = messages.insert(line["message"].as_str().unwrap().to_owned());
            assert!(is_new, "said twice: {line}");
        }
    }
    block_on(async {
        for address in [&one, &two] {
            let status =
                StatusClient::new(address).unwrap().status(None, Duration::from_secs(10)).await.unwrap();
            assert_eq!((status.leader, status.last_index), (None, 0));
        }
    });
}
