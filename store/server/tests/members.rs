//! Changes of the cluster and reads in every mode: nodes in this process, `labrys-store ctl` as processes.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::process::{Command, Stdio};

use common::{Cluster, PATIENCE};
use labrys_store::client::{ClientOptions, StoreClient};
use labrys_store::raft::ReadMode;
use serde_json::{Value, json};

const DONE: i32 = 0;
const DID_NOT_HAPPEN: i32 = 11;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The exit code of a verb, and what it printed: an answer, or the one line about what is wrong.
async fn ctl(cluster: &Cluster, arguments: &[&str]) -> (i32, Value) {
    let endpoints = cluster.addresses().join(",");
    let mut command = Command::new(env!("CARGO_BIN_EXE_labrys-store"));
    command.args(["ctl", "--timeout-ms", "20000", "--endpoints", &endpoints]).args(arguments);
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    let (answer, complaint) = (text(output.stdout), text(output.stderr));
    let shown = if complaint.is_empty() { serde_json::from_str(&answer).unwrap() } else { json!(complaint) };
    (output.status.code().unwrap(), shown)
}

/// The same, of a verb that succeeds.
async fn done(cluster: &Cluster, arguments: &[&str]) -> Value {
    let (code, shown) = ctl(cluster, arguments).await;
    assert_eq!(code, DONE, "{arguments:?}: {shown}");
    shown
}

/// Id and role of each member.
async fn roles(cluster: &Cluster) -> Vec<(u64, String)> {
    let list = done(cluster, &["members", "list"]).await;
    let role = |member: &Value| (member["id"].as_u64().unwrap(), member["role"].as_str().unwrap().to_owned());
    list["members"].as_array().unwrap().iter().map(role).collect()
}

fn voters(ids: &[u64]) -> Vec<(u64, String)> {
    ids.iter().map(|id| (*id, "voter".to_owned())).collect()
}

#[test]
fn a_node_is_added_catches_up_gets_a_vote_leads_and_another_goes() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let first_leader = cluster.leader().await;
        let mut client = cluster.client(0);
        client.put("x", "1", PATIENCE).await.unwrap();

        cluster.join(4);
        let address = cluster.peers[&4].clone();
        done(&cluster, &["members", "add", "4", &address]).await;
        assert_eq!(roles(&cluster).await[3], (4, "learner".to_owned()));
        done(&cluster, &["members", "promote", "4"]).await;
        assert_eq!(roles(&cluster).await, voters(&[1, 2, 3, 4]));

        assert_eq!(done(&cluster, &["transfer-leader", "4"]).await, json!({ "leader": 4 }));
        // The leader says it, or whoever is asked.
        assert_eq!(done(&cluster, &["members", "list"]).await["node"], 4);
        assert_eq!(done(&cluster, &["--only", "members", "list"]).await["node"], 1);
        client.put("x", "2", PATIENCE).await.unwrap();
        let leaves = first_leader.to_string();
        done(&cluster, &["members", "remove", &leaves]).await;
        cluster.kill(first_leader);
        cluster.peers.remove(&first_leader);
        let left: Vec<u64> = (1..=4).filter(|id| *id != first_leader).collect();
        assert_eq!(roles(&cluster).await, voters(&left));

        // Its configuration is in its log: it is found there again, whatever it is started with.
        cluster.kill(4);
        cluster.restart(4);
        cluster.leader().await;
        assert_eq!(roles(&cluster).await, voters(&left));
        let mut client = cluster.client(0);
        assert_eq!(client.get("x", PATIENCE).await.unwrap().as_deref(), Some(&b"2"[..]));
        let statuses = cluster.settled().await;
        assert!(statuses.iter().all(|status| status.digest == statuses[0].digest), "{statuses:?}");
    });
}

#[test]
fn several_are_replaced_at_once_the_leader_among_them() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let leader = cluster.leader().await;
        for id in [4, 5] {
            cluster.join(id);
            let address = cluster.peers[&id].clone();
            done(&cluster, &["members", "add", &id.to_string(), &address]).await;
        }
        let other = leader % 3 + 1;
        let remove = format!("{leader},{other}");
        done(&cluster, &["members", "replace", "--promote", "4,5", "--remove", &remove]).await;
        for id in [leader, other] {
            cluster.kill(id);
            cluster.peers.remove(&id);
        }
        let left: Vec<u64> = (1..=5).filter(|id| ![leader, other].contains(id)).collect();
        cluster.leader().await;
        assert_eq!(roles(&cluster).await, voters(&left));
        cluster.client(1).put("x", "1", PATIENCE).await.unwrap();
    });
}

#[test]
fn a_change_that_makes_no_sense_is_refused_for_certain_with_the_reason() {
    runtime().block_on(async {
        let cluster = Cluster::start(1);
        cluster.leader().await;
        for (arguments, reason) in [
            (&["members", "add", "1", "127.0.0.1:1"][..], "a new member needs one above 1"),
            (&["members", "add", "2", "nowhere"], "host:port"),
            (&["members", "promote", "1"], "node 1 is not a learner"),
            (&["members", "remove", "7"], "node 7 is not a member"),
            (&["members", "remove", "1"], "at least one voter must remain"),
            (&["members", "replace"], "names no node"),
            (&["transfer-leader", "9"], "node 9 is not a voter"),
        ] {
            let (code, shown) = ctl(&cluster, arguments).await;
            assert_eq!(code, DID_NOT_HAPPEN, "{arguments:?}: {shown}");
            assert!(shown.as_str().unwrap().contains(reason), "{arguments:?}: {shown}");
        }
        assert_eq!(roles(&cluster).await, voters(&[1]));
        assert_eq!(done(&cluster, &["transfer-leader", "1"]).await, json!({ "leader": 1 }));
    });
}

#[test]
fn leadership_that_nobody_takes_is_kept_and_the_store_serves_on() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let leader = cluster.leader().await;
        let target = leader % 3 + 1;
        cluster.kill(target);
        let (code, shown) = ctl(&cluster, &["transfer-leader", &target.to_string()]).await;
        assert_ne!(code, DONE, "{shown}");
        assert!(shown.as_str().unwrap().contains("not taken over in time"), "{shown}");
        let mut client = cluster.client(usize::try_from(leader).unwrap() - 1);
        client.put("x", "1", PATIENCE).await.unwrap();
        assert_ne!(cluster.leader().await, target, "it is not there");
    });
}

#[test]
fn a_read_sees_what_was_written_before_in_every_mode_and_at_every_node_that_answers_it() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        cluster.leader().await;
        let mut writer = cluster.client(0);
        for mode in ReadMode::ALL {
            for node in 0..3 {
                let value = format!("{mode} {node}");
                writer.put("x", value.clone(), PATIENCE).await.unwrap();
                if *mode == ReadMode::Local {
                    cluster.settled().await;
                }
                let options = ClientOptions { read_mode: *mode, ..ClientOptions::default() };
                let mut reader = StoreClient::connect(cluster.addresses(), node, options).unwrap();
                let found = reader.get("x", PATIENCE).await.unwrap();
                assert_eq!(found.as_deref(), Some(value.as_bytes()), "{mode} at {node}");
            }
        }
    });
}
