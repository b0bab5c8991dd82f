//! What can go wrong with snapshot files, and what the operator is told.

use std::io;

use labrys_raft::LogIndex;
use thiserror::Error;

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
    #[error("the snapshot {file} is intact, but of another version of this program: {detail}")]
    Unusable {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// No space is left.
    #[error("the disk is full: cannot {action} {file}: {source}. Free some space and start the node again")]
    DiskFull {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SnapshotError {
    pub(super) fn damaged(file: &str, detail: String) -> SnapshotError {
        SnapshotError::Damaged { file: file.to_owned(), detail }
    }

    pub(super) fn disk(action: &'static str, file: &str, source: io::Error) -> SnapshotError {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                SnapshotError::DiskFull { action, file, source }
            }
            _ => SnapshotError::Io { action, file, source },
        }
    }

    pub(super) fn sync(file: &str, source: io::Error) -> SnapshotError {
        SnapshotError::disk("make durable", file, source)
    }
}
