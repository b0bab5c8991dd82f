//! Starting and stopping a node.
//!
//! - `options`: what it is started with; `errors`: why it cannot start or go on;
//! - `restore`: what it finds in its data directory;
//! - `threads`: threads whose end is noticed; `front`: what stands behind its port.

mod errors;
mod front;
mod options;
mod restore;
mod threads;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use labrys_raft::{LogIndex, NodeId};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::addresses::Addresses;
use super::clock::Clock;
use super::cluster::Belonging;
use super::data_dir::{self, DataDirLock, Identity, OpenedDirectory};
use super::disk_thread::{self, DiskQueue};
use super::failpoints::{Failpoints, PassingDisk};
use super::limits::Admission;
use super::links;
use super::metrics::{self, Exporter, Metrics};
use super::node_loop::{Connect, LoopEnd, NodeHandle, NodeLoop, NodeLoopParts};
use super::replica::Replica;
use super::services::{ServiceParts, Services};
use super::snapshot_thread::SnapshotThread;
use crate::client::transport::chain;
use crate::disk::{Disk, RealDisk};
use crate::security::SecureEndpoint;

pub use errors::{Fatal, StartError};
use front::{Front, serve};
pub use options::{Batching, ServerOptions};
pub use restore::{Restored, restore};
use threads::spawn;

/// How long open calls may take to end after the end has been asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(300);

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
    failpoints: Option<Arc<Failpoints>>,
    fatal: mpsc::UnboundedReceiver<Fatal>,
    _lock: DataDirLock,
}

impl Server {
    /// Starts a node that serves on `listener`, on the current tokio runtime and three threads of its own.
    pub fn start(listener: std::net::TcpListener, options: &ServerOptions) -> Result<Server, StartError> {
        let clock = match &options.clock_file {
            Some(file) => Clock::start_injected(file),
            None if options.wall_clock => Clock::start_wall(),
            None => Clock::start(),
        };
        let id = NodeId(options.id);
        if let Some(file) = &options.clock_file {
            let file = file.display();
            warn!(event = "clock_faults", node = id.0, %file, "the clock runs as wrong as a file says");
        }
        if options.wall_clock {
            warn!(
                event = "clock_faults",
                node = id.0,
                "the clock is the machine's wall clock, which can be set"
            );
        }
        let failpoints = options.failpoints.then(Arc::<Failpoints>::default);
        if failpoints.is_some() {
            warn!(
                event = "failpoints",
                node = id.0,
                "this node pauses, fails and ends where an order says so"
            );
        }
        options.security.check_node(options.join || options.peers.len() > 1)?;
        check_addresses(options)?;
        let system = |action| move |source| StartError::System { action, source };
        let opened = data_dir::open(&options.data_dir, id, &options.founding_members())?;
        let OpenedDirectory { disk: real_disk, identity, lock } = opened;
        let options = &ServerOptions { first_members: Some(identity.members.clone()), ..options.clone() };
        let snapshot_disk = RealDisk::open(&options.data_dir).map_err(system("open the data directory"))?;
        let Restored { wal, replica, store, entries } =
            restore(on_the_way(real_disk, &failpoints), on_the_way(snapshot_disk, &failpoints), options)?;
        check_members(&identity, &replica, options)?;
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
        let belonging = Arc::new(belonging(&identity, &options.data_dir));
        let (snapshots, jobs) = std::sync::mpsc::channel();
        let (node_loop, handle) = NodeLoop::new(NodeLoopParts {
            id,
            replica,
            disk: Arc::clone(&disk),
            snapshots,
            addresses: addresses.clone(),
            connect: connector(options, &belonging),
            tick_interval: Duration::from_millis((options.heartbeat_interval_ms / 4).max(1)),
            defects: options.defects,
            clock: clock.clone(),
            failpoints: failpoints.clone(),
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
            LoopEnd::Failpoint(reached) => Err(Fatal::Failpoint(reached)),
        })?);

        let admission = Admission::new(options.limits);
        let services = Services::new(ServiceParts {
            id,
            handle: handle.clone(),
            addresses,
            disk: Arc::clone(&disk),
            lease_reads: options.lease_reads,
            belonging,
            defects: options.defects,
            admission: Arc::clone(&admission),
            failpoints: failpoints.clone(),
        });
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
        let startup_ms = clock.elapsed().as_secs_f64() * 1000.0;
        info!(event = "listening", node = id.0, address = %address, snapshot, entries, term, startup_ms, "serving");
        let shutdown = Some(shutdown);
        Ok(Server {
            address,
            handle,
            disk,
            threads,
            serving,
            metrics,
            shutdown,
            ending,
            failpoints,
            fatal,
            _lock: lock,
        })
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
        self.clear_failpoints();
        self.handle.stop();
        self.disk.stop();
        if let Some(shutdown) = self.shutdown.take() {
            let _ = shutdown.send(());
        }
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, &mut self.serving).await;
        self.fatal.try_recv().map_or(Ok(()), Err)
    }
}

impl Server {
    /// Whoever pauses goes on.
    fn clear_failpoints(&self) {
        if let Some(failpoints) = &self.failpoints {
            failpoints.clear_all();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
        if let Some((_, metrics)) = &self.metrics {
            metrics.abort();
        }
        self.ending.store(true, Ordering::Relaxed);
        self.clear_failpoints();
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

/// A disk, by way of the failpoints if there are any.
fn on_the_way(disk: RealDisk, failpoints: &Option<Arc<Failpoints>>) -> Box<dyn Disk> {
    match failpoints {
        None => Box::new(disk),
        Some(failpoints) => Box::new(PassingDisk::new(disk, Arc::clone(failpoints))),
    }
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

/// Who is a majority, is said by the log or a snapshot, and else by what was recorded when the node was created; never by the command
/// line of this start, which may only repeat it.
fn check_members(identity: &Identity, replica: &Replica, options: &ServerOptions) -> Result<(), StartError> {
    let asked = options.founding_members();
    if identity.began_with(&asked) {
        return Ok(());
    }
    let status = replica.status(None);
    if status.membership_index == LogIndex(0) && status.raft.snapshot == LogIndex(0) {
        return Err(data_dir::other_members(identity, &asked).into());
    }
    info!(
        event = "peers_give_addresses_only",
        node = options.id,
        configuration = %status.membership,
        "--peers names other members than this node was created with: the members are those of the configuration in the log"
    );
    Ok(())
}

/// The cluster of this node, recorded where its identity is once it joins one.
fn belonging(identity: &Identity, data_dir: &Path) -> Belonging {
    let (recorded, data_dir) = (identity.clone(), data_dir.to_owned());
    let record = move |cluster| data_dir::record_cluster(&data_dir, &recorded, cluster);
    Belonging::new(identity.cluster, Box::new(record))
}

/// What begins links, on the current runtime.
fn connector(options: &ServerOptions, belonging: &Arc<Belonging>) -> Connect {
    let runtime = tokio::runtime::Handle::current();
    let address = options.peers.get(&options.id).cloned().unwrap_or_default();
    let belonging = Arc::clone(belonging);
    let own = links::Introduction { node: NodeId(options.id), address, belonging };
    let security = options.security.clone();
    Box::new(move |peer, address| {
        let _entered = runtime.enter();
        let endpoint = SecureEndpoint::new(address, &security).ok()?;
        Some(links::start(peer, endpoint, own.clone()))
    })
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
