//! Why a node cannot start, and why one cannot go on.

use std::io;

use thiserror::Error;

use crate::security::SecurityError;
use crate::server::data_dir::DataDirError;
use crate::server::failpoints::Reached;
use crate::snapshots::SnapshotError;
use crate::wal::WalError;

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
    /// An order said so.
    #[error(transparent)]
    Failpoint(#[from] Reached),
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
