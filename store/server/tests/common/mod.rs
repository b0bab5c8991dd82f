//! A cluster within this process, on loopback addresses that the system chose.

#![allow(dead_code)] // Not every test file uses everything.

pub mod certificates;
pub mod process;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use labrys_store::client::{ClientOptions, NodeStatus, StatusClient, StoreClient};
use labrys_store::raft::{Defects, Role};
use labrys_store::server::{Server, ServerOptions};
use tempfile::TempDir;

/// Time within which everything that is waited for must happen; generous, since machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Cluster {
    pub directory: TempDir,
    pub peers: BTreeMap<u64, String>,
    pub nodes: BTreeMap<u64, Server>,
    adjust: Box<dyn Fn(&mut ServerOptions)>,
}

impl Cluster {
    pub fn start(count: u64) -> Cluster {
        Cluster::start_with(count, Defects::NONE)
    }

    pub fn start_with(count: u64, defects: Defects) -> Cluster {
        Cluster::start_adjusted(count, move |options| options.defects = defects)
    }

    /// With other than the usual options.
    pub fn start_adjusted(count: u64, adjust: impl Fn(&mut ServerOptions) + 'static) -> Cluster {
        let listeners: BTreeMap<u64, TcpListener> =
            (1..=count).map(|id| (id, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
        let peers = listeners
            .iter()
            .map(|(id, listener)| (*id, listener.local_addr().unwrap().to_string()))
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let mut cluster = Cluster { directory, peers, nodes: BTreeMap::new(), adjust: Box::new(adjust) };
        for (id, listener) in listeners {
            cluster.start_on(id, listener);
        }
        cluster
    }

    fn start_on(&mut self, id: u64, listener: TcpListener) {
        let data_dir = self.directory.path().join(format!("node-{id}"));
        let mut options = ServerOptions::new(id, self.peers.clone(), data_dir);
        options.seed = 11;
        (self.adjust)(&mut options);
        self.nodes.insert(id, Server::start(listener, &options).unwrap());
    }

    /// Starts a node that knows its own address only and waits to be added.
    pub fn join(&mut self, id: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = BTreeMap::from([(id, listener.local_addr().unwrap().to_string())]);
        let mut options =
            ServerOptions::new(id, own.clone(), self.directory.path().join(format!("node-{id}")));
        (options.join, options.seed) = (true, 11);
        (self.adjust)(&mut options);
        self.nodes.insert(id, Server::start(listener, &options).unwrap());
        self.peers.extend(own);
    }

    /// Starts a node again where it was. Its port may take a moment to be free.
    pub fn restart(&mut self, id: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpListener::bind(&self.peers[&id]) {
                Ok(listener) => return self.start_on(id, listener),
                Err(error) => {
                    assert!(Instant::now() < deadline, "the port of node {id} is not free: {error}")
                }
            }
            std::thread::yield_now();
        }
    }

    /// Drops a node, which is as abrupt as a crash.
    pub fn kill(&mut self, id: u64) {
        self.nodes.remove(&id);
    }

    pub fn addresses(&self) -> Vec<String> {
        self.peers.values().cloned().collect()
    }

    pub fn client(&self, preferred: usize) -> StoreClient {
        StoreClient::connect(self.addresses(), preferred, ClientOptions::default()).unwrap()
    }

    pub async fn status(&self, id: u64, digest_at_index: Option<u64>) -> Option<NodeStatus> {
        let mut client = StatusClient::new(&self.peers[&id]).unwrap();
        client.status(digest_at_index, Duration::from_secs(2)).await.ok()
    }

    /// Waits until one node leads and the others that run know it.
    pub async fn leader(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut statuses = Vec::new();
            for id in self.nodes.keys() {
                statuses.extend(self.status(*id, None).await);
            }
            let leader = statuses.iter().find(|status| status.role == Role::Leader).map(|status| status.node);
            let agreed = statuses.iter().all(|status| status.leader == leader);
            if let (Some(leader), true, true) = (leader, agreed, statuses.len() == self.nodes.len()) {
                return leader;
            }
            assert!(Instant::now() < deadline, "no leader: {statuses:?}");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until all nodes that run have applied the same index, and gives their statuses.
    pub async fn settled(&self) -> Vec<NodeStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut statuses = Vec::new();
            for id in self.nodes.keys() {
                statuses.extend(self.status(*id, None).await);
            }
            let first = statuses.first().map(|status| status.applied_index);
            if statuses.len() == self.nodes.len()
                && statuses.iter().all(|status| {
                    Some(status.applied_index) == first && status.last_index == status.applied_index
                })
            {
                return statuses;
            }
            assert!(Instant::now() < deadline, "the nodes do not settle: {statuses:?}");
            tokio::task::yield_now().await;
        }
    }
}
