//! What can go wrong with the log on disk, and what the operator is told.

use std::io;

use labrys_raft::NodeId;
use thiserror::Error;

use crate::disk::DiskError;

/// The log cannot be read or written.
#[derive(Debug, Error)]
pub enum WalError {
    /// Data that had been durable is damaged.
    #[error(
        "the log is damaged: {file} at byte {offset}: {detail}, although later records are intact, so this is not a \
         write cut short by a crash. Do not delete the file: the node would forget what it has promised. Restore the \
         data directory from a backup, or remove this node from the cluster, empty its data directory, and add it as \
         a new node"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// A segment is not there.
    #[error(
        "the log is incomplete: segment {number} is missing, which follows {after}; later segments exist. Restore the data directory from a backup, or \
         remove this node from the cluster, empty its data directory, and add it as a new node"
    )]
    MissingSegment {
        /// The number in its name.
        number: u64,
        /// The file before it.
        after: String,
    },
    /// The log is another node's.
    #[error("{file} belongs to node {found}, not to node {expected}: wrong --id or wrong --data-dir")]
    OtherNode {
        /// The file.
        file: String,
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
    },
    /// Written by another version.
    #[error("{file} has format version {found}; this program reads version {supported}")]
    UnsupportedVersion {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// More in one group than a frame can hold.
    #[error("a group of {length} bytes is too large for the log")]
    TooLarge {
        /// Its size in bytes.
        length: usize,
    },
    /// The log has failed before and takes nothing more.
    #[error("the log has failed before")]
    FailedBefore,
}

impl WalError {
    pub(super) fn disk(action: &'static str, file: &str, source: io::Error) -> WalError {
        DiskError::of(action, file, source).into()
    }

    pub(super) fn sync(file: &str, source: io::Error) -> WalError {
        DiskError::of_sync(file, source).into()
    }
}
