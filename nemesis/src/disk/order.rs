//! What a disk is told to do, and what it answers: files beside each other on the node's host.
//!
//! | file | who writes it | what is in it |
//! | --- | --- | --- |
//! | `disk.json` | the injectors, each time as a whole | [`DiskOrder`]: what holds now; the disk goes when the file does |
//! | `disk.json.answer` | the disk, after each order | [`DiskAnswer`] |
//! | `disk.json.errors` | the disk, line by line | [`DiskError`]: which process met which trouble first |
//! | `disk.json.log` | the disk | why it ended, if it should not have |
//! | `disk.json.ext4` | the kernel | the image of the file system, if it is a real one |

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use super::volume::Lost;
use crate::fault::{DiskTrouble, PowerLoss};
use crate::host::ProcessIdentity;
use crate::poll::Patience;

/// What a disk is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// A file system in a process of ours, which keeps what POSIX promises and no more, and can do everything that a fault asks for.
    #[default]
    Fuse,
    /// A real ext4 in a file, by way of a loop device: for root, and for losses of power alone.
    Ext4,
}

impl DiskKind {
    /// Every kind.
    pub const ALL: [DiskKind; 2] = [DiskKind::Fuse, DiskKind::Ext4];

    /// How long its process is waited for: a real one is made, unmounted and mounted by programs that wait for the machine's own disk.
    pub(super) fn patience(self, patience: Patience) -> Patience {
        match self {
            DiskKind::Fuse => patience,
            DiskKind::Ext4 => Patience { settle_ms: patience.settle_ms.saturating_mul(3), ..patience },
        }
    }
}

impl fmt::Display for DiskKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            DiskKind::Fuse => "fuse",
            DiskKind::Ext4 => "ext4",
        })
    }
}

impl FromStr for DiskKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = DiskKind::ALL.into_iter().find(|kind| kind.to_string() == text);
        known.ok_or_else(|| {
            format!(
                "there is no disk `{text}`; known: {}",
                DiskKind::ALL.map(|kind| kind.to_string()).join(", ")
            )
        })
    }
}

/// What a fault does to a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskAct {
    /// The power is lost, once, and is off as long as it is in the order: nothing can be read or written.
    PowerCut {
        /// What becomes of un-synced data.
        loss: PowerLoss,
        /// Of what survives.
        seed: u64,
        /// Who uses the disk: a real file system kills it.
        #[serde(default)]
        process: Option<ProcessIdentity>,
        /// Then, in microseconds of CLOCK_MONOTONIC, so that several real file systems of a machine lose power at once; at once if it is over.
        #[serde(default)]
        at_us: Option<u64>,
    },
    /// As long as it is in the order.
    Trouble {
        /// Which.
        trouble: DiskTrouble,
        /// Of where rot sets in.
        seed: u64,
    },
}

/// What holds for a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskOrder {
    /// The folder that the disk is mounted over.
    pub directory: PathBuf,
    /// What it is made of.
    #[serde(default)]
    pub kind: DiskKind,
    /// Larger with each order.
    pub serial: u64,
    /// By the number of the fault.
    pub acts: BTreeMap<u64, DiskAct>,
}

/// What an act came to at the moment when it was first ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskDeed {
    /// Operations are in trouble from now on.
    Holds,
    /// The power is off, and who uses the disk was sent SIGKILL; what was lost shows with the next order.
    PowerOff,
    /// The power was lost.
    PowerLost(Lost),
    /// Bytes have gone wrong.
    Rotten {
        /// Of this file, by its path on the disk.
        file: String,
        /// From here on.
        offset: u64,
        /// So many.
        bytes: u64,
    },
    /// There was nothing that could go wrong.
    NothingToRot,
    /// It could not be done.
    Failed(String),
}

/// How trouble shows that a fault made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetTrouble {
    /// An operation failed.
    Failed,
    /// Bytes were read that had gone wrong.
    ReadRot,
}

/// A line of `disk.json.errors`: the first time that a process met the trouble of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DiskError {
    /// The process.
    pub pid: i32,
    /// The fault.
    pub fault_id: u64,
    /// How.
    pub met: MetTrouble,
}

/// What the disk has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskAnswer {
    /// Of the order that it has carried out.
    pub serial: u64,
    /// The disk's process.
    pub pid: i32,
    /// By the number of the fault: how many operations went otherwise than they should.
    pub operations: BTreeMap<u64, u64>,
    /// By the number of the fault: what it came to.
    pub deeds: BTreeMap<u64, DiskDeed>,
    /// How many syncs of files have succeeded, from the beginning.
    pub syncs: u64,
    /// Why the power is not back, though it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still_off: Option<String>,
}

/// Where the disk of an order file writes who met trouble.
#[must_use]
pub fn errors_file(order_file: &Path) -> PathBuf {
    beside(order_file, ".errors")
}

pub(super) fn answer_file(order_file: &Path) -> PathBuf {
    beside(order_file, ".answer")
}

pub(super) fn log_file(order_file: &Path) -> PathBuf {
    beside(order_file, ".log")
}

pub(super) fn image_file(order_file: &Path) -> PathBuf {
    beside(order_file, ".ext4")
}

pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
