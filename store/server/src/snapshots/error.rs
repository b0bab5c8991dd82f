//! What can go wrong with snapshot files, and what the operator is told.

use std::io;

use labrys_raft::LogIndex;
use thiserror::Error;

use crate::disk::DiskError;

/// A snapshot cannot be read or written.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// It is not what was written.
    #[error("the snapshot {file} is damaged: {detail}; it is passed over")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// It is damaged, and the log does not have what it contained.
    #[error(
        "the snapshot {file} is damaged: {detail}, and the log does not reach from an older one to entry {index}. Do not \
         delete the file: the node would forget what it has promised. Restore the data directory from a backup, or remove \
         this node from the cluster, empty its data directory, and add it as a new node"
    )]
    Irreplaceable {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
        /// The last entry that it contained.
        index: LogIndex,
    },
    /// It is what was written, and this program cannot read it.
    #[error(
        "the snapshot {file} is intact, but of another version of this program: {detail}. Start the version that wrote it, \
         or remove this node from the cluster, empty its data directory, and add it as a new node"
    )]
    Unusable {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl SnapshotError {
    pub(super) fn damaged(file: &str, detail: String) -> SnapshotError {
        SnapshotError::Damaged { file: file.to_owned(), detail }
    }

    pub(super) fn disk(action: &'static str, file: &str, source: io::Error) -> SnapshotError {
        DiskError::of(action, file, source).into()
    }

    pub(super) fn sync(file: &str, source: io::Error) -> SnapshotError {
        DiskError::of_sync(file, source).into()
    }
}
