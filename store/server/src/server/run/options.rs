//! What a node is started with, and what that means to Raft.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use labrys_raft::{Config, Defects, Membership, NodeId};

use crate::machine::MachineOptions;
use crate::security::Security;
use crate::server::limits::Limits;
use crate::server::replica::SnapshotPolicy;
use crate::wal::WalOptions;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// This node.
    pub id: u64,
    /// The addresses of all nodes, this one included: what peers connect to and clients are redirected to.
    pub peers: BTreeMap<u64, String>,
    /// The members that the cluster began with, if they are recorded ([`Identity::members`]): who has a vote until the log says
    /// otherwise. `None`: those of `peers`, or nobody for a node that joins.
    ///
    /// [`Identity::members`]: crate::server::data_dir::Identity::members
    pub first_members: Option<BTreeMap<u64, String>>,
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
    /// Who says how wrong the clock is to run: see [`injected`](crate::server::clock::injected).
    pub clock_file: Option<PathBuf>,
    /// Whether the clock is the machine's wall clock, which others may set: [`Clock::start_wall`](crate::server::clock::Clock::start_wall).
    pub wall_clock: bool,
    /// Whether it takes orders for its [`failpoints`](crate::server::failpoints).
    pub failpoints: bool,
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
    /// How much travels and waits at a time.
    pub batching: Batching,
}

/// How much travels and waits at a time: the same names in [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// See [`Config::max_batch_entries`].
    pub max_batch_entries: usize,
    /// See [`Config::max_batch_bytes`].
    pub max_batch_bytes: usize,
    /// See [`Config::max_inflight_batches`].
    pub max_inflight_batches: usize,
    /// See [`Config::snapshot_chunk_bytes`].
    pub snapshot_chunk_bytes: u64,
    /// See [`Config::max_pending`].
    pub max_pending: usize,
}

impl Default for Batching {
    fn default() -> Batching {
        Batching {
            max_batch_entries: 1024,
            max_batch_bytes: 1024 * 1024,
            max_inflight_batches: 16,
            snapshot_chunk_bytes: 1024 * 1024,
            max_pending: 8192,
        }
    }
}

impl ServerOptions {
    /// The usual values for node `id` of the cluster at `peers`.
    #[must_use]
    pub fn new(id: u64, peers: BTreeMap<u64, String>, data_dir: PathBuf) -> ServerOptions {
        ServerOptions {
            id,
            peers,
            first_members: None,
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
            clock_file: None,
            wall_clock: false,
            failpoints: false,
            machine: MachineOptions::default(),
            wal: WalOptions::default(),
            limits: Limits::default(),
            metrics_listen: None,
            security: Security::default(),
            snapshots: SnapshotPolicy::default(),
            kept_entries: 5000,
            batching: Batching::default(),
        }
    }

    /// The members of a cluster that begins now: all nodes of `peers`, or nobody as far as one that joins knows.
    #[must_use]
    pub fn founding_members(&self) -> BTreeMap<u64, String> {
        if self.join { BTreeMap::new() } else { self.peers.clone() }
    }

    /// Each of the first members has a vote. Where it is reached now says `peers`, if anything does.
    fn initial_membership(&self) -> Membership {
        let mut first = self.first_members.clone().unwrap_or_else(|| self.founding_members());
        for (id, address) in &mut first {
            if let Some(now) = self.peers.get(id) {
                address.clone_from(now);
            }
        }
        let voters: Vec<NodeId> = first.keys().copied().map(NodeId).collect();
        let addresses = first.into_iter().map(|(id, address)| (NodeId(id), address));
        Membership::of_voters(voters).with_addresses(addresses)
    }

    /// What they are to the Raft core.
    #[must_use]
    pub fn raft_config(&self) -> Config {
        Config {
            id: NodeId(self.id),
            initial: self.initial_membership(),
            election_timeout_ms: self.election_timeout_ms,
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            max_batch_entries: self.batching.max_batch_entries,
            max_batch_bytes: self.batching.max_batch_bytes,
            max_inflight_batches: self.batching.max_inflight_batches,
            kept_entries: self.kept_entries,
            snapshot_chunk_bytes: self.batching.snapshot_chunk_bytes,
            max_pending: self.batching.max_pending,
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
