//! Three nodes as processes of their own, which are stopped and killed: leases, locks, watches and counters over it all.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use labrys_store::client::{
    Acquired, ClientOptions, NodeStatus, StatusClient, StoreClient, Transacted, Watch, WatchEvent, prefix,
};
use labrys_store::machine::{Condition, Revision, Step, Transaction};
use labrys_store::raft::Role;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(30);

struct Processes {
    directory: tempfile::TempDir,
    addresses: Vec<String>,
    nodes: Vec<Child>,
}

impl Processes {
    fn start() -> Processes {
        let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<String> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
        drop(listeners);
        let directory = tempfile::tempdir().unwrap();
        let nodes = (0..3).map(|position| spawn(directory.path(), &addresses, position)).collect();
        Processes { directory, addresses, nodes }
    }

    fn signal(&self, position: usize, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.nodes[position].id()).unwrap()), signal).unwrap();
    }

    /// Kills a node and starts it again where it was.
    fn restart(&mut self, position: usize) {
        self.nodes[position].kill().unwrap();
        self.nodes[position].wait().unwrap();
        self.nodes[position] = spawn(self.directory.path(), &self.addresses, position);
    }

    fn client(&self, preferred: usize) -> StoreClient {
        StoreClient::connect(self.addresses.clone(), preferred, ClientOptions::default()).unwrap()
    }

    async fn statuses(&self) -> Vec<NodeStatus> {
        let mut statuses = Vec::new();
        for address in &self.addresses {
            statuses.extend(StatusClient::new(address).unwrap().status(None, Duration::from_secs(1)).await);
        }
        statuses
    }

    /// The position of the leader that most recently became one.
    async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses().await;
            let leaders = statuses.iter().filter(|status| status.role == Role::Leader);
            if let Some(leader) = leaders.max_by_key(|status| status.term) {
                return usize::try_from(leader.node).unwrap() - 1;
            }
            assert!(Instant::now() < deadline, "no leader: {statuses:?}");
        }
    }

    /// Waits until all nodes have applied the same, and asserts that they came to the same.
    async fn agree(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses().await;
            let applied = |status: &NodeStatus| (status.applied_index, status.last_index);
            if statuses.len() == 3
                && statuses.iter().all(|status| applied(status) == applied(&statuses[0]))
                && statuses[0].applied_index == statuses[0].last_index
            {
                assert!(statuses.iter().all(|status| status.digest == statuses[0].digest), "{statuses:?}");
                return;
            }
            assert!(Instant::now() < deadline, "the nodes do not settle: {statuses:?}");
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn spawn(directory: &Path, addresses: &[String], position: usize) -> Child {
    let peers: Vec<String> = (1..).zip(addresses).map(|(id, address)| format!("{id}={address}")).collect();
    let id = (position + 1).to_string();
    Command::new(env!("CARGO_BIN_EXE_labrys-store"))
        .args(["--id", &id, "--peers", &peers.join(",")])
        .arg("--data-dir")
        .arg(directory.join(&id))
        .env_remove("LABRYS_DEFECTS")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Each increment is carried out exactly once, however often it was sent, and a watch sees each, once and in order, although
/// leaders are killed all the while.
#[test]
fn counters_and_their_watch_are_exact_over_killed_leaders() {
    block_on(async {
        let mut processes = Processes::start();
        let mut client = processes.client(0);
        let mut watch = Watch::new(&processes.addresses, 1, prefix("n"), Some(Revision(1))).unwrap();
        let mut seen = Vec::new();
        for number in 1..=60i64 {
            if number % 20 == 10 {
                let leader = processes.leader().await;
                processes.restart(leader);
            }
            assert_eq!(client.increment("n", 1, PATIENCE).await.unwrap(), Ok(number));
        }
        while seen.len() < 60 {
            if let WatchEvent::Changes(changes) = watch.next(PATIENCE).await.unwrap() {
                let record = changes.changes[0].record.clone().unwrap();
                seen.push(String::from_utf8(record.value.to_vec()).unwrap());
            }
        }
        assert_eq!(seen, (1..=60).map(|number| number.to_string()).collect::<Vec<_>>());
        processes.agree().await;
    });
}

/// The leader sleeps for longer than a lease lasts. The lease that is longer and renewed outlives it, the other does not; and the holder of its
/// lock, which has slept as well, can write nothing that the lock protects.
#[test]
fn leases_and_locks_over_a_leader_that_sleeps() {
    block_on(async {
        let processes = Processes::start();
        let mut client = processes.client(0);
        let lost = client.grant_lease(4_000, PATIENCE).await.unwrap().unwrap();
        let kept = client.grant_lease(20_000, PATIENCE).await.unwrap().unwrap();
        client.put_with_lease("lost", "1", lost, PATIENCE).await.unwrap().unwrap();
        client.put_with_lease("kept", "1", kept, PATIENCE).await.unwrap().unwrap();
        let Acquired::Taken(token) = client.acquire_lock("l", lost, PATIENCE).await.unwrap() else {
            panic!("nobody else has the lock");
        };
        let leader = processes.leader().await;
        processes.signal(leader, Signal::SIGSTOP);
        let mut other = processes.client((leader + 1) % 3);
        let deadline = Instant::now() + PATIENCE;
        while other.get("lost", PATIENCE).await.unwrap().is_some() {
            assert!(other.renew_lease(kept, PATIENCE).await.unwrap());
            assert!(Instant::now() < deadline, "the lease does not end");
        }
        assert!(other.renew_lease(kept, PATIENCE).await.unwrap());
        let taken = other.acquire_lock("l", kept, PATIENCE).await.unwrap();
        assert!(matches!(taken, Acquired::Taken(next) if next > token), "{taken:?}");
        processes.signal(leader, Signal::SIGCONT);
        let fenced = Transaction {
            conditions: vec![Condition::LockHeld { name: Bytes::from_static(b"l"), token }],
            then: vec![Step::Put { key: "protected".into(), value: "late".into(), lease: None }],
            ..Transaction::default()
        };
        let mut late = processes.client(leader);
        let done = late.transact(fenced, PATIENCE).await.unwrap();
        assert!(matches!(done, Transacted::Done { held: false, .. }), "{done:?}");
        assert!(late.renew_lease(kept, PATIENCE).await.unwrap());
        assert_eq!(late.get("kept", PATIENCE).await.unwrap(), Some(Bytes::from_static(b"1")));
        processes.agree().await;
    });
}
