//! The data directory: whose it is, how its cluster began, and that only one process uses it.
//!
//! `identity.json` ([`Identity`]) names the node; a directory with another node's identity is refused, because a node that answers with
//! another's log and votes breaks every promise of both. It also holds the members that the cluster began with, and the cluster's id.
//! `lock` is locked (`flock`) while a process uses the directory; the kernel releases it with the process, however that ends.

mod identity;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use labrys_raft::NodeId;
use thiserror::Error;

use super::cluster::ClusterId;
use crate::disk::{Disk, RealDisk};

pub use identity::Identity;
use identity::{IDENTITY_FILE, how_created};

const LOCK_FILE: &str = "lock";

/// The directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// It belongs to another node.
    #[error(
        "the data directory {directory} belongs to node {found}, not to node {expected}: wrong --id or wrong --data-dir"
    )]
    OtherNode {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
    },
    /// Another process uses it.
    #[error("the data directory {directory} is in use by another process")]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The node was created with other members than it is started with, and nothing but that record says who they are.
    #[error(
        "this node was created with {recorded}, and is started with {asked}: who the members are does not change by \
         starting a node otherwise. Members are changed with `labrys-store ctl members`; until one was, start it with the ids that \
         it was created with (their addresses may differ)"
    )]
    OtherMembers {
        /// How it was created.
        recorded: String,
        /// How it is started.
        asked: String,
    },
    /// The identity file is damaged.
    #[error("{file} cannot be understood: {detail}. Restore it from a backup of this node's data directory")]
    BadIdentity {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The identity file is missing.
    #[error(
        "{file} is missing, although there is a log beside it: nothing says who the members of the cluster were at its \
         beginning. Restore it from a backup of this node's data directory"
    )]
    NoIdentity {
        /// The file.
        file: PathBuf,
    },
    /// The directory is another version's.
    #[error("{file} has format version {found}; this program reads version {supported}")]
    OtherFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// The system refused.
    #[error("cannot {action} in the data directory {directory}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Locks the directory until dropped.
#[derive(Debug)]
pub struct DataDirLock(#[allow(dead_code)] File);

/// What opening a data directory gave.
pub struct OpenedDirectory {
    /// Its files.
    pub disk: RealDisk,
    /// What it says of its node.
    pub identity: Identity,
    /// To be kept as long as it is used.
    pub lock: DataDirLock,
}

/// Opens the directory of `node`, which is created if it is missing, and is then that of a node whose cluster begins with
/// `members` (none: it waits to join one).
pub fn open(
    directory: &Path,
    node: NodeId,
    members: &BTreeMap<u64, String>,
) -> Result<OpenedDirectory, DataDirError> {
    let failed = |action| {
        let directory = directory.to_owned();
        move |source| DataDirError::Io { action, directory, source }
    };
    let mut disk = RealDisk::open(directory).map_err(failed("create or open files"))?;
    let lock_path = directory.join(LOCK_FILE);
    let lock =
        OpenOptions::new().create(true).append(true).open(lock_path).map_err(failed("open the lock file"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(failed("lock the lock file")(source)),
    }
    let names = disk.list().map_err(failed("list the files"))?;
    let identity = if names.iter().any(|name| name == IDENTITY_FILE) {
        Identity::read(&disk, directory, node)?
    } else if names.iter().any(|name| name.starts_with("wal-")) {
        return Err(DataDirError::NoIdentity { file: directory.join(IDENTITY_FILE) });
    } else {
        let identity = Identity::founding(node, members.clone());
        identity.write(&mut disk).map_err(failed("write the identity file"))?;
        identity
    };
    Ok(OpenedDirectory { disk, identity, lock: DataDirLock(lock) })
}

/// Records that the node of this directory has joined `cluster`; returns when that is durable.
pub fn record_cluster(directory: &Path, identity: &Identity, cluster: ClusterId) -> io::Result<()> {
    identity.joined(cluster).write(&mut RealDisk::open(directory)?)
}

/// What is wrong with starting the node of `identity` with these members.
#[must_use]
pub fn other_members(identity: &Identity, members: &BTreeMap<u64, String>) -> DataDirError {
    DataDirError::OtherMembers { recorded: identity.creation(), asked: how_created(members) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: &[u64]) -> BTreeMap<u64, String> {
        ids.iter().map(|id| (*id, format!("node-{id}:7000"))).collect()
    }

    fn begin(directory: &Path, node: u64) -> Result<OpenedDirectory, DataDirError> {
        open(directory, NodeId(node), &members(&[1, 2, 3]))
    }

    #[test]
    fn a_directory_belongs_to_the_node_that_began_it() {
        let directory = tempfile::tempdir().unwrap();
        drop(begin(directory.path(), 1).unwrap());
        drop(begin(directory.path(), 1).unwrap());
        let error = begin(directory.path(), 2).err().unwrap();
        assert!(
            matches!(error, DataDirError::OtherNode { found: NodeId(1), expected: NodeId(2), .. }),
            "{error}"
        );
    }

    #[test]
    fn a_directory_is_used_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = begin(directory.path(), 1).unwrap();
        assert!(matches!(begin(directory.path(), 1), Err(DataDirError::InUse { .. })));
        drop(first);
        assert!(begin(directory.path(), 1).is_ok());
    }

    #[test]
    fn the_first_members_are_those_of_the_first_start_whatever_later_ones_say() {
        let directory = tempfile::tempdir().unwrap();
        let first = begin(directory.path(), 1).unwrap().identity;
        assert_eq!(
            (&first.members, first.cluster),
            (&members(&[1, 2, 3]), Some(ClusterId::of(&first.members)))
        );
        let second = open(directory.path(), NodeId(1), &members(&[1])).unwrap().identity;
        assert_eq!(second, first);
        assert!(second.began_with(&members(&[1, 2, 3])) && !second.began_with(&members(&[1])));
        let moved = members(&[1, 2, 3]).into_keys().map(|id| (id, "elsewhere:1".to_owned())).collect();
        assert!(second.began_with(&moved), "addresses may change");
    }

    #[test]
    fn the_cluster_that_a_node_joins_is_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let joining = open(directory.path(), NodeId(4), &members(&[])).unwrap().identity;
        assert_eq!((joining.cluster, joining.creation().as_str()), (None, "--join"));
        let cluster = ClusterId::of(&members(&[1, 2, 3]));
        record_cluster(directory.path(), &joining, cluster).unwrap();
        let joined = open(directory.path(), NodeId(4), &members(&[])).unwrap().identity;
        assert_eq!((joined.cluster, joined.members.len()), (Some(cluster), 0));
    }

    #[test]
    fn an_identity_that_is_damaged_missing_or_of_another_version_is_an_error_that_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(IDENTITY_FILE);
        for (text, expected) in [
            ("{\"format\":2,\"nod", "cannot be understood"),
            ("{\"format\":2,\"node\":1}", "missing field"),
            ("{\"format\":1,\"node\":1}", "has format version 1; this program reads version 2"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = begin(directory.path(), 1).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(directory.path().join("wal-1-1.log"), "").unwrap();
        assert!(matches!(begin(directory.path(), 1), Err(DataDirError::NoIdentity { .. })));
    }
}
