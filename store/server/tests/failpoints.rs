//! Failpoints of real nodes: what happens to those who pass, and what is left of it.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::path::Path;
use std::time::Duration;

use common::process::{Node, binary, free_address, single};
use common::{Cluster, PATIENCE};
use labrys_store::client::{
    AdminSession, ClientOptions, FailpointOrder, FailpointStatus, MaintenanceClient, MaintenanceError,
    StoreClient,
};
use labrys_store::raft::{NodeId, ReadMode};
use labrys_store::security::Security;
use labrys_store::server::failpoints::{Action, Point};

/// Longer than any test waits: it is cleared.
const PAUSE: Action = Action::Pause(Duration::from_secs(300));

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn order(address: &str, order: FailpointOrder) -> Result<Vec<FailpointStatus>, MaintenanceError> {
    let node = MaintenanceClient::new(address, &Security::default()).unwrap();
    node.failpoints(order, PATIENCE).await.map(|list| list.failpoints)
}

async fn set(address: &str, point: Point, action: Action, times: Option<u64>) {
    order(address, FailpointOrder::Set { point, action, times }).await.unwrap();
}

async fn look(address: &str, point: Point) -> FailpointStatus {
    let listed = order(address, FailpointOrder::List).await.unwrap();
    listed.into_iter().find(|status| status.name == point.name()).unwrap()
}

async fn wait_until_struck(address: &str, point: Point) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while look(address, point).await.struck == 0 {
        assert!(std::time::Instant::now() < deadline, "nobody has passed {}", point.name());
        tokio::task::yield_now().await;
    }
}

fn client(address: &str) -> StoreClient {
    StoreClient::connect(vec![address.to_owned()], 0, ClientOptions::default()).unwrap()
}

/// A single node that takes orders.
fn node(address: &str, data_dir: &Path) -> Node {
    let mut command = binary();
    command.env("LABRYS_FAILPOINTS", "1").args(single(address, data_dir)).arg("--failpoints");
    let node = Node::spawn(command);
    node.event("failpoints");
    node.event("leader");
    node
}

#[test]
fn a_node_that_was_not_started_to_take_orders_says_so() {
    block_on(async {
        let cluster = Cluster::start(1);
        let refusal = order(&cluster.peers[&1], FailpointOrder::List).await.unwrap_err().to_string();
        assert!(refusal.contains("--failpoints") && refusal.contains("LABRYS_FAILPOINTS=1"), "{refusal}");
    });
}

/// Whoever waits for the log waits, the node itself does not; and nothing is lost.
#[test]
fn a_pause_before_a_sync_holds_writes_back_until_it_is_cleared() {
    block_on(async {
        let (directory, address) = (tempfile::tempdir().unwrap(), free_address());
        let _node = node(&address, directory.path());
        client(&address).put("x", "1", PATIENCE).await.unwrap();
        let passes = look(&address, Point::BeforeWalSync).await.passes;
        assert!(passes > 0);
        set(&address, Point::BeforeWalSync, PAUSE, None).await;
        let written = tokio::spawn({
            let address = address.clone();
            async move { client(&address).put("x", "2", PATIENCE).await }
        });
        wait_until_struck(&address, Point::BeforeWalSync).await;
        assert_eq!(client(&address).get("x", PATIENCE).await.unwrap().unwrap(), "1");
        assert!(!written.is_finished());
        let cleared = order(&address, FailpointOrder::Clear { point: None }).await.unwrap();
        assert!(cleared.iter().all(|status| status.action.is_none()), "{cleared:?}");
        written.await.unwrap().unwrap();
        assert_eq!(client(&address).get("x", PATIENCE).await.unwrap().unwrap(), "2");
    });
}

/// At each point where a write can lead: the process is gone with the code for it, and on the next start everything that was
/// acknowledged is there.
#[test]
fn a_node_ends_where_it_is_told_to_and_has_what_it_acknowledged() {
    block_on(async {
        let (directory, address) = (tempfile::tempdir().unwrap(), free_address());
        let points = [
            Point::BeforeIntake,
            Point::BeforeStep,
            Point::BeforeWalSync,
            Point::AfterWalSync,
            Point::BeforeWriteAnswer,
        ];
        for (round, point) in points.into_iter().enumerate() {
            for action in [Action::Exit, Action::Error] {
                if (point, action) == (Point::BeforeWriteAnswer, Action::Error) {
                    continue; // Nobody ends of it.
                }
                let mut node = node(&address, directory.path());
                let value = format!("{round} {action}");
                client(&address).put("acknowledged", value.clone(), PATIENCE).await.unwrap();
                set(&address, point, action, None).await;
                let deadline = std::time::Instant::now() + PATIENCE;
                let status = loop {
                    if let Some(status) = node.child.try_wait().unwrap() {
                        break status;
                    }
                    assert!(std::time::Instant::now() < deadline, "{point:?} {action}: it goes on");
                    let _ = client(&address).put("x", "1", Duration::from_millis(200)).await;
                };
                assert_eq!(status.code(), Some(14), "{point:?} {action}: {status}");
                drop(node);

                let node = self::node(&address, directory.path());
                let found = client(&address).get("acknowledged", PATIENCE).await.unwrap();
                assert_eq!(found.as_deref(), Some(value.as_bytes()), "{point:?} {action}");
                assert_eq!(look(&address, point).await.action, None, "orders end with the process");
                drop(node);
            }
        }
    });
}

#[test]
fn an_error_before_an_answer_refuses_a_read_and_leaves_a_write_in_doubt() {
    block_on(async {
        let cluster = Cluster::start_adjusted(1, |options| options.failpoints = true);
        cluster.leader().await;
        let address = &cluster.peers[&1];
        let mut client = cluster.client(0);
        set(address, Point::BeforeWriteAnswer, Action::Error, None).await;
        set(address, Point::BeforeReadAnswer, Action::Error, None).await;
        let error = client.put("x", "1", Duration::from_secs(3)).await.unwrap_err();
        assert!(!error.definite, "{error}");
        assert!(client.get("x", Duration::from_secs(3)).await.is_err());
        order(address, FailpointOrder::Clear { point: None }).await.unwrap();
        assert_eq!(client.get("x", PATIENCE).await.unwrap().unwrap(), "1", "it was applied");
        assert!(look(address, Point::BeforeReadAnswer).await.struck > 0);
    });
}

#[test]
fn without_acknowledgements_of_followers_nothing_is_committed() {
    block_on(async {
        let cluster = Cluster::start_adjusted(3, |options| options.failpoints = true);
        let leader = cluster.leader().await;
        let followers: Vec<&String> =
            cluster.peers.iter().filter(|(id, _)| **id != leader).map(|(_, address)| address).collect();
        for follower in &followers {
            set(follower, Point::BeforeAppendReply, Action::Error, None).await;
            set(follower, Point::BeforeVoteReply, Action::Error, None).await;
        }
        let mut client = cluster.client(usize::try_from(leader).unwrap() - 1);
        assert!(client.put("x", "1", Duration::from_millis(500)).await.is_err());
        for follower in &followers {
            wait_until_struck(follower, Point::BeforeAppendReply).await;
            order(follower, FailpointOrder::Clear { point: None }).await.unwrap();
        }
        client.put("x", "2", PATIENCE).await.unwrap();
    });
}

#[test]
fn snapshots_and_what_they_make_superfluous_have_their_points() {
    block_on(async {
        let cluster = Cluster::start_adjusted(1, |options| {
            (options.failpoints, options.kept_entries) = (true, 0);
        });
        cluster.leader().await;
        let address = &cluster.peers[&1];
        cluster.client(0).put("x", "1", PATIENCE).await.unwrap();
        let node = MaintenanceClient::new(address, &Security::default()).unwrap();
        node.defragment(PATIENCE).await.unwrap();
        assert!(look(address, Point::BeforeSnapshotRename).await.passes > 0);
        assert!(look(address, Point::BeforeLogRemove).await.passes > 0);
    });
}

/// The leader stands still with a look at the clock behind it and requests before it, and somebody else leads and writes meanwhile.
#[test]
fn after_a_pause_a_leader_reads_under_its_lease_what_others_have_written_meanwhile() {
    block_on(async {
        let cluster = Cluster::start_adjusted(3, |options| options.failpoints = true);
        let leader = cluster.leader().await;
        let old = cluster.peers[&leader].clone();
        let options = ClientOptions { read_mode: ReadMode::Lease, ..ClientOptions::default() };
        for point in [Point::BeforeIntake, Point::BeforeStep, Point::BeforeReadAnswer] {
            let mut writer = cluster.client(usize::try_from(leader % 3).unwrap());
            writer.put("x", "old", PATIENCE).await.unwrap();
            set(&old, point, PAUSE, Some(1)).await;
            let mut reader = StoreClient::connect(vec![old.clone()], 0, options.clone()).unwrap();
            let first = tokio::spawn(async move { reader.get("x", PATIENCE).await });
            wait_until_struck(&old, point).await;
            writer.put("x", "new", PATIENCE).await.unwrap();
            let mut reader = StoreClient::connect(vec![old.clone()], 0, options.clone()).unwrap();
            let second = tokio::spawn(async move { reader.get("x", PATIENCE).await });
            order(&old, FailpointOrder::Clear { point: Some(point) }).await.unwrap();
            assert!(first.await.unwrap().unwrap().is_some());
            assert_eq!(second.await.unwrap().unwrap().unwrap(), "new", "{point:?}");
            // Another one leads now; the old one is to lead again.
            let admin = AdminSession::new(cluster.addresses(), Security::default()).unwrap();
            admin.transfer(Some(NodeId(leader)), PATIENCE).await.unwrap();
            assert_eq!(cluster.leader().await, leader);
        }
    });
}
