//! What the loop tells of itself and of its replica.

use std::time::Duration;

use labrys_raft::{NodeId, Term};

use crate::server::replica::ReplicaStatus;

/// A change of the leader, as this node saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// The term.
    pub term: Term,
    /// The leader; `None`: none known.
    pub leader: Option<NodeId>,
    /// When, since the node started.
    pub uptime: Duration,
}

/// What the status call tells.
#[derive(Clone, Debug)]
pub struct LoopStatus {
    /// The replica's part.
    pub replica: ReplicaStatus,
    /// Time since the start.
    pub uptime: Duration,
    /// The latest changes of the leader, oldest first.
    pub leader_changes: Vec<LeaderChange>,
    /// What the loop has counted.
    pub counters: LoopCounters,
    /// The size of the log's files.
    pub log_bytes: u64,
}

/// What the loop counts since its start, and what waits in it.
#[derive(Clone, Debug, Default)]
pub struct LoopCounters {
    /// Changes of the leader.
    pub leader_changes: u64,
    /// Writes handed to Raft.
    pub writes: u64,
    /// Reads handed to Raft.
    pub reads: u64,
    /// Requests that are taken and not answered.
    pub waiting: usize,
    /// Batches that wait for the disk.
    pub disk_queue: usize,
    /// Messages that wait for each peer's link.
    pub link_queues: Vec<(NodeId, usize)>,
}
