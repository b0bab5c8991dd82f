//! The disk refused something: what the log and the snapshot files say of it alike.

use std::io;

use thiserror::Error;

/// Something could not be done with a file. Whatever it was, nothing is acknowledged after it.
#[derive(Debug, Error)]
pub enum DiskError {
    /// No space is left.
    #[error(
        "the disk is full: cannot {action} {file}: {source}. Nothing more is acknowledged; free some space and start the node again"
    )]
    Full {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed.
    #[error("cannot {action} {file}: {source}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// `fdatasync` failed.
    #[error(
        "cannot make {file} durable: {source}. What the disk holds is unknown now and a second try would prove nothing, \
         so the node ends"
    )]
    Sync {
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl DiskError {
    /// That `action` failed on `file`.
    pub fn of(action: &'static str, file: &str, source: io::Error) -> DiskError {
        let file = file.to_owned();
        if is_full(&source) {
            DiskError::Full { action, file, source }
        } else {
            DiskError::Failed { action, file, source }
        }
    }

    /// That syncing `file` failed. Some file systems find out only then that they are full.
    pub fn of_sync(file: &str, source: io::Error) -> DiskError {
        if is_full(&source) {
            return DiskError::Full { action: "sync", file: file.to_owned(), source };
        }
        DiskError::Sync { file: file.to_owned(), source }
    }
}
