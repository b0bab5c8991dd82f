//! Three nodes in this process, with real sockets and real disks.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, PATIENCE};
use labrys_store::api;
use labrys_store::api::kv_client::KvClient;
use labrys_store::client::{AttemptError, CompareAndSet};
use labrys_store::machine::{Found, Query};
use labrys_store::raft::{Defect, Defects};

const THREADS: usize = 2;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn clients_of_any_node_see_each_other_s_writes() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        let mut first = cluster.client(0);
        let mut second = cluster.client(1);
        assert_eq!(first.get("x", PATIENCE).await.unwrap(), None);
        first.put("x", "1", PATIENCE).await.unwrap();
        assert_eq!(second.get("x", PATIENCE).await.unwrap(), Some(bytes("1")));
        let swapped = second.compare_and_set("x", Some(bytes("1")), "2", PATIENCE).await.unwrap();
        assert_eq!(swapped, CompareAndSet::Swapped);
        let missed = first.compare_and_set("x", Some(bytes("1")), "3", PATIENCE).await.unwrap();
        assert_eq!(missed, CompareAndSet::NotSwapped { actual: Some(bytes("2")) });
        assert_eq!(first.compare_and_set("new", None, "1", PATIENCE).await.unwrap(), CompareAndSet::Swapped);
        assert!(second.delete("x", PATIENCE).await.unwrap());
        assert!(!first.delete("x", PATIENCE).await.unwrap());
        assert_eq!(second.get("x", PATIENCE).await.unwrap(), None);

        let statuses = cluster.settled().await;
        assert!(statuses.iter().all(|status| status.digest == statuses[0].digest), "{statuses:?}");
        let earlier = statuses[0].applied_index - 3;
        let mut digests = Vec::new();
        for id in 1..=3 {
            digests.push(cluster.status(id, Some(earlier)).await.unwrap().digest_at_index);
        }
        assert!(digests[0].is_some() && digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_leaders_die_and_come_back() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let mut client = cluster.client(0);
        let mut expected = Vec::new();
        for round in 0..3 {
            for number in 0..20 {
                let key = format!("{round}-{number}");
                client.put(key.clone(), key.clone(), PATIENCE).await.unwrap();
                expected.push(key);
            }
            let leader = cluster.leader().await;
            cluster.kill(leader);
            let key = format!("{round}-after");
            client.put(key.clone(), key.clone(), PATIENCE).await.unwrap();
            expected.push(key);
            cluster.restart(leader);
        }
        for key in &expected {
            let found = client.get(key.clone(), PATIENCE).await.unwrap();
            assert_eq!(found.as_deref(), Some(key.as_bytes()));
        }
        let statuses = cluster.settled().await;
        assert!(statuses.iter().all(|status| status.digest == statuses[0].digest), "{statuses:?}");
    });
}

#[test]
fn a_cluster_that_was_stopped_as_a_whole_starts_from_its_disks() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let mut client = cluster.client(2);
        for number in 0..50 {
            client.put(format!("{number}"), "value", PATIENCE).await.unwrap();
        }
        for id in 1..=3 {
            let server = cluster.nodes.remove(&id).unwrap();
            server.stop().await.unwrap();
        }
        for id in 1..=3 {
            cluster.restart(id);
        }
        let mut client = cluster.client(1);
        for number in 0..50 {
            assert_eq!(client.get(format!("{number}"), PATIENCE).await.unwrap(), Some(bytes("value")));
        }
    });
}

#[test]
fn a_follower_redirects_reads_and_writes_and_says_that_this_is_definite() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        let leader = cluster.leader().await;
        let follower = leader % 3 + 1;
        let mut raw = KvClient::connect(format!("http://{}", cluster.peers[&follower])).await.unwrap();
        let reply = raw
            .get(api::GetRequest { request_id: 77, key: bytes("x"), read_mode: 0 })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(reply.request_id, 77);
        let expected = api::NotLeader { leader_id: leader, leader_address: cluster.peers[&leader].clone() };
        assert_eq!(reply.outcome, Some(api::get_reply::Outcome::NotLeader(expected.clone())));
        let session =
            Some(api::SessionRequest { session_id: vec![1; 16].into(), sequence: 1, established: false });
        let put = api::PutRequest { request_id: 78, session, key: bytes("x"), value: bytes("1") };
        let reply = raw.put(put).await.unwrap().into_inner();
        assert_eq!(reply.outcome, Some(api::put_reply::Outcome::NotLeader(expected)));
    });
}

#[test]
fn a_retry_over_another_connection_is_carried_out_once() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        let leader = cluster.leader().await;
        let mut client = cluster.client(0);
        client.put("x", "0", PATIENCE).await.unwrap();
        let session =
            Some(api::SessionRequest { session_id: vec![9; 16].into(), sequence: 1, established: false });
        let swap = |request_id| api::CompareAndSetRequest {
            request_id,
            session: session.clone(),
            key: bytes("x"),
            expected: Some(bytes("0")),
            value: bytes("1"),
        };
        let mut replies = Vec::new();
        for request_id in [5, 6] {
            let mut raw = KvClient::connect(format!("http://{}", cluster.peers[&leader])).await.unwrap();
            replies.push(raw.compare_and_set(swap(request_id)).await.unwrap().into_inner());
            client.put("x", "0", PATIENCE).await.unwrap();
        }
        assert_eq!(replies[0].outcome, replies[1].outcome, "the retry gets the first answer, index and all");
        assert_eq!(client.get("x", PATIENCE).await.unwrap(), Some(bytes("0")));
    });
}

#[test]
fn malformed_and_oversized_requests_are_refused_and_change_nothing() {
    runtime().block_on(async {
        let cluster = Cluster::start(1);
        cluster.leader().await;
        let mut raw = KvClient::connect(format!("http://{}", cluster.peers[&1])).await.unwrap();
        let session = |id: Vec<u8>| {
            Some(api::SessionRequest { session_id: id.into(), sequence: 1, established: false })
        };
        let put = |session, key: Bytes, value: Bytes| api::PutRequest { request_id: 1, session, key, value };
        let cases = [
            (put(None, bytes("x"), bytes("1")), api::RefusalCode::Malformed),
            (put(session(vec![1; 3]), bytes("x"), bytes("1")), api::RefusalCode::Malformed),
            (put(session(vec![1; 16]), vec![0; 5000].into(), bytes("1")), api::RefusalCode::TooLarge),
            (put(session(vec![1; 16]), bytes("x"), vec![0; 2_000_000].into()), api::RefusalCode::TooLarge),
        ];
        let before = cluster.settled().await[0].clone();
        for (request, code) in cases {
            match raw.put(request).await.unwrap().into_inner().outcome {
                Some(api::put_reply::Outcome::Refused(refused)) => {
                    assert_eq!((refused.code(), refused.definite), (code, true));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(cluster.settled().await[0].last_index, before.last_index);
    });
}

#[test]
fn without_a_majority_a_write_ends_indefinite_and_a_read_definite() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let leader = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        let mut client = cluster.client(usize::try_from(leader).unwrap() - 1);
        client.put("x", "1", PATIENCE).await.unwrap();
        for id in others {
            cluster.kill(id);
        }
        let error = client.put("x", "2", Duration::from_secs(2)).await.unwrap_err();
        assert!(!error.definite, "{error}");
        let error = client.get("x", Duration::from_millis(500)).await.unwrap_err();
        assert!(error.definite, "{error}");
    });
}

/// The client's first choice is a follower. A correct one would send it on to the leader for good; this one answers reads,
/// and the client, which has its writes carried out by the leader, goes on asking it and only it.
#[test]
fn with_follower_read_a_client_stays_with_its_follower() {
    runtime().block_on(async {
        let mut cluster = Cluster::start_with(3, Defects::NONE.with(Defect::FollowerRead));
        let leader = cluster.leader().await;
        let follower = usize::try_from(leader % 3).unwrap();
        let mut client = cluster.client(follower);
        client.put("x", "1", PATIENCE).await.unwrap();
        let settled = cluster.settled().await[0].applied_index;
        assert_eq!(client.get("x", PATIENCE).await.unwrap(), Some(bytes("1")));
        // Without the others nobody can lead, and only a node that reads its own state without asking can answer.
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader % 3 + 1).collect();
        others.into_iter().for_each(|id| cluster.kill(id));
        for _ in 0..20 {
            let query = Query::Get { key: bytes("x"), revision: None };
            let reading = client.read(query, PATIENCE).await.unwrap();
            let Found::Value(Some(record)) = reading.found else { panic!("{reading:?}") };
            assert_eq!((&record.value, reading.applied.0), (&bytes("1"), settled));
        }
    });
}

/// The same without the defect: the follower sends the client on, so that its reads end with the leader.
#[test]
fn a_client_of_a_correct_follower_goes_on_to_the_leader() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let leader = cluster.leader().await;
        let mut client = cluster.client(usize::try_from(leader % 3).unwrap());
        client.put("x", "1", PATIENCE).await.unwrap();
        cluster.settled().await;
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader % 3 + 1).collect();
        others.into_iter().for_each(|id| cluster.kill(id));
        let error = client.get("x", Duration::from_millis(500)).await.unwrap_err();
        assert!(error.definite, "{error}");
    });
}

#[test]
fn a_client_of_nobody_says_definitely_that_nothing_happened() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(1);
        cluster.leader().await;
        let mut client = cluster.client(0);
        cluster.kill(1);
        let error = client.put("x", "1", Duration::from_millis(300)).await.unwrap_err();
        assert_eq!((error.error, error.definite), (AttemptError::CannotConnect, true), "{error}");
    });
}

/// Snapshots every 20 entries, of which 5 stay in a log of small segments.
fn small_snapshots(options: &mut labrys_store::server::ServerOptions) {
    options.snapshots.entries = 20;
    options.kept_entries = 5;
    options.wal.segment_bytes = 2000;
}

/// The files of a node whose names begin so.
fn files(cluster: &Cluster, id: u64, prefix: &str) -> Vec<String> {
    let directory = cluster.directory.path().join(format!("node-{id}"));
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

#[test]
fn a_node_that_missed_more_than_the_log_keeps_gets_a_snapshot_and_all_of_them_start_from_theirs() {
    runtime().block_on(async {
        let mut cluster = Cluster::start_adjusted(3, small_snapshots);
        let mut client = cluster.client(0);
        client.put("first", "1", PATIENCE).await.unwrap();
        let settled = cluster.settled().await[0].applied_index;
        let follower = cluster.leader().await % 3 + 1;
        cluster.kill(follower);
        for number in 0..100 {
            client.put(format!("{number}"), "value", PATIENCE).await.unwrap();
        }
        cluster.restart(follower);
        let statuses = cluster.settled().await;
        assert!(statuses.iter().all(|status| status.digest == statuses[0].digest), "{statuses:?}");
        let newcomer = cluster.status(follower, None).await.unwrap();
        assert!(newcomer.first_digest_index > settled, "what it knows begins with a snapshot: {newcomer:?}");

        // Nobody has the beginning of the log any more, and all of them start all the same.
        for id in 1..=3 {
            let deadline = std::time::Instant::now() + PATIENCE;
            let first_segment = "wal-0000000001-00000000000000000001.log";
            let is_tidy = || {
                // The log of the one that was away has only begun.
                let has_dropped = id == follower || files(&cluster, id, "wal-")[0] != first_segment;
                has_dropped && files(&cluster, id, "snapshot-").len() == 1
            };
            while !is_tidy() {
                assert!(std::time::Instant::now() < deadline, "node {id}: {:?}", files(&cluster, id, ""));
                tokio::task::yield_now().await;
            }
            cluster.kill(id);
        }
        (1..=3).for_each(|id| cluster.restart(id));
        let mut client = cluster.client(1);
        for key in ["first", "0", "99"] {
            assert!(client.get(key, PATIENCE).await.unwrap().is_some(), "{key}");
        }
        client.put("last", "1", PATIENCE).await.unwrap();
        let statuses = cluster.settled().await;
        assert!(statuses.iter().all(|status| status.digest == statuses[0].digest), "{statuses:?}");
    });
}
