//! Starting and stopping a node.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use labrys_raft::{Config, Defects, Membership, NodeId};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::server::TcpIncoming;
use tower::util::{MapResponseLayer, option_layer};
use tracing::{info, warn};

use super::addresses::Addresses;
use super::data_dir::{self, DataDirError, DataDirLock};
use super::disk_thread::{self, DiskQueue};
use super::health::{self, LeaderKnown};
use super::limits::{Admission, Limits, explain_too_large};
use super::links;
use super::metrics::{self, Exporter, MeasureLayer, Metrics};
use super::node_loop::{Connect, LoopEnd, NodeHandle, NodeLoop, NodeLoopParts};
use super::replica::{Replica, SnapshotPolicy};
use super::services::Services;
use super::snapshot_thread::SnapshotThread;
use crate::api::MAX_PEER_MESSAGE_BYTES;
use crate::api::admin_server::AdminServer;
use crate::api::data_server::DataServer;
use crate::api::kv_server::KvServer;
use crate::api::peer_server::PeerServer;
use crate::client::transport::chain;
use crate::disk::{Disk, RealDisk};
use crate::machine::{Machine, MachineOptions};
use crate::security::{SecureEndpoint, Security, SecurityError, TokenLayer};
use crate::snapshots::{SnapshotError, SnapshotStore};
use crate::wal::{Wal, WalError, WalOptions};

/// How long open calls may take to end after the end has been asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(300);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// This node.
    pub id: u64,
    /// The addresses of all nodes, this one included: what peers connect to and clients are redirected to.
    pub peers: BTreeMap<u64, String>,
    /// This node does not begin the cluster: it waits to be added to one. Of `peers` only its own address is needed.
    pub join: bool,
    /// Where the log is.
    pub data_dir: PathBuf,
    /// See [`Config::election_timeout_ms`].
    pub election_timeout_ms: u64,
    /// See [`Config::heartbeat_interval_ms`].
    pub heartbeat_interval_ms: u64,
    /// See [`Config::pre_vote`].
    pub pre_vote: bool,
    /// See [`Config::check_quorum`].
    pub check_quorum: bool,
    /// See [`Config::election_handicap`].
    pub election_handicap: u64,
    /// See [`Config::lease_reads`].
    pub lease_reads: bool,
    /// See [`Config::max_clock_drift_percent`].
    pub max_clock_drift_percent: u64,
    /// See [`Config::incarnation`].
    pub incarnation: u64,
    /// Seed of the randomised election timeouts.
    pub seed: u64,
    /// Bugs switched on.
    pub defects: Defects,
    /// The bounds of the state machine.
    pub machine: MachineOptions,
    /// The layout of the log. Its defects are those of the node.
    pub wal: WalOptions,
    /// How much it takes on at a time.
    pub limits: Limits,
    /// Where it serves `/metrics` and `/health` over HTTP.
    pub metrics_listen: Option<String>,
    /// TLS and the token: of its clients, of its peers, and its own towards those.
    pub security: Security,
    /// When a snapshot is taken.
    pub snapshots: SnapshotPolicy,
    /// See [`Config::kept_entries`].
    pub kept_entries: u64,
}

impl ServerOptions {
    /// The usual values for node `id` of the cluster at `peers`.
    #[must_use]
    pub fn new(id: u64, peers: BTreeMap<u64, String>, data_dir: PathBuf) -> ServerOptions {
        ServerOptions {
            id,
            peers,
            join: false,
            data_dir,
            election_timeout_ms: 300,
            heartbeat_interval_ms: 50,
            pre_vote: true,
            check_quorum: true,
            election_handicap: 0,
            lease_reads: true,
            max_clock_drift_percent: 10,
            incarnation: RandomState::new().build_hasher().finish(),
            seed: 0,
            defects: Defects::NONE,
            machine: MachineOptions::default(),
            wal: WalOptions::default(),
            limits: Limits::default(),
            metrics_listen: None,
            security: Security::default(),
            snapshots: SnapshotPolicy::default(),
            kept_entries: 5000,
        }
    }

    /// All nodes at whose addresses the cluster begins have a vote; one that joins knows nothing.
    fn initial_membership(&self) -> Membership {
        if self.join {
            return Membership::default();
        }
        let addresses = self.peers.iter().map(|(id, address)| (NodeId(*id), address.clone()));
        Membership::of_voters(self.peers.keys().copied().map(NodeId)).with_addresses(addresses)
    }

    /// What they are to the Raft core.
    #[must_use]
    pub fn raft_config(&self) -> Config {
        Config {
            id: NodeId(self.id),
            initial: self.initial_membership(),
            election_timeout_ms: self.election_timeout_ms,
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            max_batch_entries: 1024,
            max_batch_bytes: 1024 * 1024,
            max_inflight_batches: 16,
            kept_entries: self.kept_entries,
            snapshot_chunk_bytes: 1024 * 1024,
            max_pending: 8192,
            pre_vote: self.pre_vote,
            check_quorum: self.check_quorum,
            election_handicap: self.election_handicap,
            lease_reads: self.lease_reads,
            max_clock_drift_percent: self.max_clock_drift_percent,
            incarnation: self.incarnation,
            seed: self.seed,
            defects: self.defects,
        }
    }
}

/// A node cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory is not this node's.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log cannot be read or begun.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The newest snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The options make no sense, or the log and the snapshots do not fit together.
    #[error(transparent)]
    Raft(#[from] labrys_raft::StartError),
    /// The files for TLS do not do for a node.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// A peer's address makes no sense.
    #[error("`{address}`, the address of node {node}, is not of the form host:port: {detail}")]
    Address {
        /// The node.
        node: u64,
        /// What was given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The address for metrics is not to be had.
    #[error("cannot listen on {address} for metrics: {source}")]
    MetricsListen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a node cannot go on.
#[derive(Debug, Error)]
pub enum Fatal {
    /// The disk failed.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The disk failed, at a snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Raft's invariants do not hold.
    #[error("an invariant of Raft is broken: {what}")]
    InvariantBroken {
        /// What was violated.
        what: String,
    },
    /// A thread panicked: a bug.
    #[error("the {thread} thread panicked; this is a bug")]
    Panicked {
        /// Which.
        thread: &'static str,
    },
    /// The gRPC server failed.
    #[error("the gRPC server failed: {detail}")]
    Serve {
        /// Why.
        detail: String,
    },
}

/// A running node. Dropping it is as abrupt as a crash, only that its threads are gone when the drop is done.
pub struct Server {
    address: SocketAddr,
    handle: NodeHandle,
    disk: Arc<DiskQueue>,
    threads: Vec<JoinHandle<()>>,
    serving: tokio::task::JoinHandle<()>,
    metrics: Option<(SocketAddr, tokio::task::JoinHandle<io::Result<()>>)>,
    shutdown: Option<oneshot::Sender<()>>,
    /// Set: what takes long is given up.
    ending: Arc<AtomicBool>,
    fatal: mpsc::UnboundedReceiver<Fatal>,
    _lock: DataDirLock,
}

impl Server {
    /// Starts a node that serves on `listener`, on the current tokio runtime and three threads of its own.
    pub fn start(listener: std::net::TcpListener, options: &ServerOptions) -> Result<Server, StartError> {
        let started = Instant::now();
        let id = NodeId(options.id);
        options.security.check_node(options.join || options.peers.len() > 1)?;
        check_addresses(options)?;
        let system = |action| move |source| StartError::System { action, source };
        let (real_disk, lock) = data_dir::open(&options.data_dir, id)?;
        let snapshot_disk = RealDisk::open(&options.data_dir).map_err(system("open the data directory"))?;
        let Restored { wal, replica, store, entries } =
            restore(Box::new(real_disk), Box::new(snapshot_disk), options)?;
        let term = replica.status(None).raft.term.0;
        let snapshot = replica.status(None).raft.snapshot.0;

        listener.set_nonblocking(true).map_err(system("use the listening socket"))?;
        let address = listener.local_addr().map_err(system("use the listening socket"))?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(system("use the listening socket"))?;

        let metrics_listener = metrics_listener(options)?;

        let (fatal_sender, fatal) = mpsc::unbounded_channel();
        let disk = DiskQueue::new();
        let peers = options.peers.iter().map(|(id, address)| (NodeId(*id), address.clone()));
        let addresses = Addresses::new(peers.collect());
        addresses.learn_members(&replica.status(None).membership);
        let (snapshots, jobs) = std::sync::mpsc::channel();
        let (node_loop, handle) = NodeLoop::new(NodeLoopParts {
            id,
            replica,
            disk: Arc::clone(&disk),
            snapshots,
            addresses: addresses.clone(),
            connect: connector(options),
            tick_interval: Duration::from_millis((options.heartbeat_interval_ms / 4).max(1)),
            has_defects: !options.defects.is_empty(),
            started,
        });
        let mut threads = Vec::new();
        let (disk_queue, wake_handle) = (Arc::clone(&disk), handle.clone());
        threads.push(spawn("disk", fatal_sender.clone(), move || {
            disk_thread::run(wal, &disk_queue, || wake_handle.wake()).map_err(Fatal::from)
        })?);
        let ending = Arc::new(AtomicBool::new(false));
        let (is_ending, event_handle) = (Arc::clone(&ending), handle.clone());
        threads.push(spawn("snapshot", fatal_sender.clone(), move || {
            let tell = |event| event_handle.snapshot_event(event);
            let go_on = || !is_ending.load(Ordering::Relaxed);
            SnapshotThread { id, store, tell: &tell, go_on: &go_on }.run(&jobs).map_err(Fatal::from)
        })?);
        threads.push(spawn("node", fatal_sender.clone(), move || match node_loop.run() {
            LoopEnd::Stopped => Ok(()),
            LoopEnd::InvariantBroken { what } => Err(Fatal::InvariantBroken { what }),
        })?);

        let admission = Admission::new(options.limits);
        let services = Services::new(id, handle.clone(), addresses, options.defects, Arc::clone(&admission));
        let leader_known = handle.leader_known();
        let exporter = |metrics| Exporter {
            metrics,
            refusals: services.refusals(),
            admission,
            handle: handle.clone(),
            leader_known,
        };
        let metrics = match metrics_listener {
            Some(listener) => {
                let measured = Arc::<Metrics>::default();
                let _ = disk.metrics.set(Arc::clone(&measured));
                let address = listener.local_addr().map_err(system("use the socket for metrics"))?;
                info!(event = "metrics_listening", node = id.0, address = %address, "serving metrics");
                let task = tokio::spawn(metrics::serve(listener, exporter(Arc::clone(&measured))));
                Some((address, task, measured))
            }
            None => None,
        };
        let measured = metrics.as_ref().map(|(_, _, measured)| Arc::clone(measured));
        let metrics = metrics.map(|(address, task, _)| (address, task));
        let (shutdown, shutdown_asked) = oneshot::channel();
        let front =
            Front { services, options: options.clone(), leader_known: handle.leader_known(), measured };
        let serving = tokio::spawn(serve(listener, front, shutdown_asked, fatal_sender));
        let startup_ms = started.elapsed().as_secs_f64() * 1000.0;
        info!(event = "listening", node = id.0, address = %address, snapshot, entries, term, startup_ms, "serving");
        let shutdown = Some(shutdown);
        Ok(Server { address, handle, disk, threads, serving, metrics, shutdown, ending, fatal, _lock: lock })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics, if it does.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(address, _)| *address)
    }

    /// Waits until the node cannot go on.
    pub async fn failed(&mut self) -> Fatal {
        match self.fatal.recv().await {
            Some(fatal) => fatal,
            // The threads have ended without a word: they were asked to.
            None => std::future::pending().await,
        }
    }

    /// Ends in an orderly way: requests that wait are told so, the log is written to its end.
    pub async fn stop(mut self) -> Result<(), Fatal> {
        self.ending.store(true, Ordering::Relaxed);
        self.handle.stop();
        self.disk.stop();
        if let Some(shutdown) = self.shutdown.take() {
            let _ = shutdown.send(());
        }
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, &mut self.serving).await;
        self.fatal.try_recv().map_or(Ok(()), Err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
        if let Some((_, metrics)) = &self.metrics {
            metrics.abort();
        }
        self.ending.store(true, Ordering::Relaxed);
        if self.shutdown.is_some() {
            self.disk.abandon();
        }
        self.handle.stop();
        self.disk.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What is made of what was durable.
pub struct Restored {
    /// The log, ready to be written to.
    pub wal: Wal,
    /// All that decides, at time 0 of its clock.
    pub replica: Replica,
    /// The snapshot files.
    pub store: SnapshotStore,
    /// How many entries the log holds.
    pub entries: usize,
}

/// The log, the newest snapshot, and a replica that begins with both. The two disks are two hands on one directory.
///
/// # Errors
/// If what is on disk cannot be used, or the options make no sense.
pub fn restore(
    log_disk: Box<dyn Disk>,
    snapshot_disk: Box<dyn Disk>,
    options: &ServerOptions,
) -> Result<Restored, StartError> {
    let wal_options = WalOptions { defects: options.defects, ..options.wal };
    let opened = Wal::open(log_disk, NodeId(options.id), wal_options)?;
    for repair in &opened.repairs {
        warn!(event = "log_repaired", file = repair.file, offset = repair.offset, "{repair}");
    }
    let mut store = SnapshotStore::open(snapshot_disk, options.machine, options.defects)?;
    let mut recovered = opened.recovered;
    let found = store.find_newest(&recovered.entries)?;
    for problem in &found.passed_over {
        warn!(event = "snapshot_passed_over", "{problem}");
    }
    let machine = match found.newest {
        None => Machine::new(options.machine, options.defects),
        Some((snapshot, machine)) => {
            recovered.applied = snapshot.index();
            recovered.snapshot = Some(snapshot);
            machine
        }
    };
    let entries = recovered.entries.len();
    let replica = Replica::restored(options.raft_config(), recovered, machine, options.snapshots, 0)?;
    Ok(Restored { wal: opened.wal, replica, store, entries })
}

fn check_addresses(options: &ServerOptions) -> Result<(), StartError> {
    for (node, address) in &options.peers {
        SecureEndpoint::new(address, &options.security).map_err(|error| StartError::Address {
            node: *node,
            address: address.clone(),
            detail: chain(&error),
        })?;
    }
    Ok(())
}

/// What begins links, on the current runtime.
fn connector(options: &ServerOptions) -> Connect {
    let runtime = tokio::runtime::Handle::current();
    let address = options.peers.get(&options.id).cloned().unwrap_or_default();
    let own = links::Introduction { node: NodeId(options.id), address };
    let security = options.security.clone();
    Box::new(move |peer, address| {
        let _entered = runtime.enter();
        let endpoint = SecureEndpoint::new(address, &security).ok()?;
        Some(links::start(peer, endpoint, own.clone()))
    })
}

/// A thread whose failure and whose panic are reported.
fn spawn(
    name: &'static str,
    fatal: mpsc::UnboundedSender<Fatal>,
    body: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let run = move || {
        let failure = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => Fatal::Panicked { thread: name },
        };
        let _ = fatal.send(failure);
    };
    let spawned = std::thread::Builder::new().name(format!("labrys-{name}")).spawn(run);
    spawned.map_err(|source| StartError::System { action: "start a thread", source })
}

/// Binds the address for metrics, if one is asked for.
fn metrics_listener(options: &ServerOptions) -> Result<Option<tokio::net::TcpListener>, StartError> {
    let Some(address) = &options.metrics_listen else { return Ok(None) };
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    listen().map(Some).map_err(|source| StartError::MetricsListen { address: address.clone(), source })
}

/// What stands behind the port.
struct Front {
    services: Services,
    options: ServerOptions,
    leader_known: LeaderKnown,
    measured: Option<Arc<Metrics>>,
}

async fn serve(
    listener: tokio::net::TcpListener,
    front: Front,
    shutdown_asked: oneshot::Receiver<()>,
    fatal: mpsc::UnboundedSender<Fatal>,
) {
    let Front { services, options, leader_known, measured } = front;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    tokio::spawn(health::report(reporter, leader_known));
    let peer = PeerServer::new(services.clone()).max_decoding_message_size(MAX_PEER_MESSAGE_BYTES);
    let mut server = tonic::transport::Server::builder();
    let ServerOptions { security, limits, .. } = options;
    if let Some(tls) = &security.tls {
        server = match server.tls_config(tls.server()) {
            Ok(server) => server,
            Err(error) => {
                let _ = fatal.send(Fatal::Serve { detail: chain(&error) });
                return;
            }
        };
    }
    let result = server
        .layer(option_layer(measured.map(|metrics| MeasureLayer { metrics })))
        .layer(option_layer(security.token.map(|token| TokenLayer { token })))
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .initial_stream_window_size(8 * 1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .layer(MapResponseLayer::new(explain_too_large as fn(_) -> _))
        .add_service(KvServer::new(services.clone()).max_decoding_message_size(limits.request_bytes))
        .add_service(DataServer::new(services.clone()).max_decoding_message_size(limits.request_bytes))
        .add_service(peer)
        .add_service(AdminServer::new(services))
        .add_service(health)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async {
            let _ = shutdown_asked.await;
        })
        .await;
    if let Err(error) = result {
        let _ = fatal.send(Fatal::Serve { detail: chain(&error) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    /// What a thread of the node that ends so reports.
    fn reported(body: impl FnOnce() -> Result<(), Fatal> + Send + 'static) -> Option<Fatal> {
        let (sender, mut fatal) = mpsc::unbounded_channel();
        spawn("disk", sender, body).unwrap().join().unwrap();
        fatal.try_recv().ok()
    }

    #[test]
    fn a_thread_that_panics_is_exit_code_9_and_one_that_ends_as_asked_is_none() {
        let fatal = reported(|| panic!("a bug")).unwrap();
        assert_eq!(Exit::from(&fatal) as u8, 9);
        assert_eq!(fatal.to_string(), "the disk thread panicked; this is a bug");
        let broken = reported(|| Err(Fatal::InvariantBroken { what: "order".to_owned() })).unwrap();
        assert_eq!(Exit::from(&broken) as u8, 8);
        assert!(reported(|| Ok(())).is_none());
    }
}
