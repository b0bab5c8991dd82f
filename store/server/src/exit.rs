//! How the process ends. Each cause has its own code, so that whoever started it need not read the log.
//!
//! | code | cause |
//! | --- | --- |
//! | 0 | stopped by SIGTERM or SIGINT, or did what was asked |
//! | 1 | anything else |
//! | 2 | wrong flags or configuration; other first members than those that the node was created with |
//! | 3 | cannot listen: the address is in use, or not this machine's |
//! | 4 | the data directory is another node's or another version's, in use, or not accessible |
//! | 5 | the log or a snapshot is damaged, incomplete, or another version's |
//! | 6 | the disk is full |
//! | 7 | the disk failed (`fdatasync` above all) |
//! | 8 | an invariant of Raft is broken, and no defect is switched on |
//! | 9 | a thread panicked: a bug |
//! | 10 | the operating system refused what every program may ask for: a thread, a socket, a signal handler |
//! | 11 | `ctl`: the store did not do it, and never will |
//! | 12 | `ctl`: nobody knows whether the store did it or will |
//! | 13 | `ctl`: the nodes' states differ where they must be equal |
//! | 14 | an order said so: a failpoint ended the process, or gave the error that did |

use std::process::ExitCode;

use crate::disk::DiskError;
use crate::server::data_dir::DataDirError;
use crate::server::failpoints::Reached;
use crate::server::{Fatal, StartError};
use crate::snapshots::SnapshotError;
use crate::wal::WalError;

/// Why the process ends, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// As asked.
    Success = 0,
    /// Anything else.
    Other = 1,
    /// Wrong flags or configuration.
    Usage = 2,
    /// Cannot listen.
    Listen = 3,
    /// Not this node's data directory.
    DataDir = 4,
    /// A damaged log.
    Corrupt = 5,
    /// No space.
    DiskFull = 6,
    /// The disk failed.
    DiskFailed = 7,
    /// An invariant of Raft is broken.
    InvariantBroken = 8,
    /// A bug.
    Panicked = 9,
    /// The operating system refused.
    System = 10,
    /// The store did not do what it was asked.
    DidNotHappen = 11,
    /// Nobody knows whether the store did what it was asked.
    MayHaveHappened = 12,
    /// The nodes' states differ.
    Differ = 13,
    /// A failpoint.
    Failpoint = 14,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<&DiskError> for Exit {
    fn from(error: &DiskError) -> Exit {
        match error {
            DiskError::Failed { source, .. } | DiskError::Sync { source, .. }
                if source.get_ref().is_some_and(|source| source.is::<Reached>()) =>
            {
                Exit::Failpoint
            }
            DiskError::Full { .. } => Exit::DiskFull,
            DiskError::Failed { .. } | DiskError::Sync { .. } => Exit::DiskFailed,
        }
    }
}

impl From<&WalError> for Exit {
    fn from(error: &WalError) -> Exit {
        match error {
            WalError::Corrupt { .. }
            | WalError::MissingSegment { .. }
            | WalError::UnsupportedVersion { .. } => Exit::Corrupt,
            WalError::OtherNode { .. } => Exit::DataDir,
            WalError::Disk(error) => Exit::from(error),
            WalError::FailedBefore => Exit::DiskFailed,
            WalError::TooLarge { .. } => Exit::Other,
        }
    }
}

impl From<&SnapshotError> for Exit {
    fn from(error: &SnapshotError) -> Exit {
        match error {
            SnapshotError::Damaged { .. }
            | SnapshotError::Irreplaceable { .. }
            | SnapshotError::Unusable { .. } => Exit::Corrupt,
            SnapshotError::Disk(error) => Exit::from(error),
        }
    }
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Exit {
        match error {
            StartError::DataDir(DataDirError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Exit::DiskFull
            }
            StartError::DataDir(DataDirError::OtherMembers { .. }) => Exit::Usage,
            StartError::DataDir(_) => Exit::DataDir,
            StartError::Wal(error) => Exit::from(error),
            StartError::Snapshot(error) => Exit::from(error),
            StartError::Raft(
                labrys_raft::StartError::LogGap { .. }
                | labrys_raft::StartError::TermsFall { .. }
                | labrys_raft::StartError::AppliedBeforeSnapshot { .. }
                | labrys_raft::StartError::AppliedBeyondLog { .. },
            ) => Exit::Corrupt,
            StartError::Raft(_) | StartError::Security(_) | StartError::Address { .. } => Exit::Usage,
            StartError::MetricsListen { .. } => Exit::Listen,
            StartError::System { .. } => Exit::System,
        }
    }
}

impl From<&Fatal> for Exit {
    fn from(fatal: &Fatal) -> Exit {
        match fatal {
            Fatal::Wal(error) => Exit::from(error),
            Fatal::Snapshot(error) => Exit::from(error),
            Fatal::Failpoint(_) => Exit::Failpoint,
            Fatal::InvariantBroken { .. } => Exit::InvariantBroken,
            Fatal::Panicked { .. } => Exit::Panicked,
            Fatal::Serve { .. } => Exit::Other,
        }
    }
}
