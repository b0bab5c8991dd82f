//! The data directory: whose it is, and that only one process uses it.
//!
//! `identity.json` names the node; a directory with another node's identity is refused, because a node that answers with
//! another's log and votes breaks every promise of both. `lock` is locked (`flock`) while a process uses the directory; the
//! kernel releases it with the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use labrys_raft::NodeId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::disk::{Disk, RealDisk};

const IDENTITY_FILE: &str = "identity.json";
const LOCK_FILE: &str = "lock";

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    node: NodeId,
}

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
    /// The identity file is damaged.
    #[error("{file} cannot be understood: {detail}. It should read {{\"format\":1,\"node\":ID}}")]
    BadIdentity {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        detail: String,
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

/// Opens the directory of `node`, which is created if it is missing.
pub fn open(directory: &Path, node: NodeId) -> Result<(RealDisk, DataDirLock), DataDirError> {
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
    if names.iter().any(|name| name == IDENTITY_FILE) {
        check_identity(&disk, directory, node)?;
    } else {
        write_identity(&mut disk, node).map_err(failed("write the identity file"))?;
    }
    Ok((disk, DataDirLock(lock)))
}

fn check_identity(disk: &dyn Disk, directory: &Path, node: NodeId) -> Result<(), DataDirError> {
    let bytes = disk.read(IDENTITY_FILE).map_err(|source| DataDirError::Io {
        action: "read the identity file",
        directory: directory.to_owned(),
        source,
    })?;
    let bad = |detail| DataDirError::BadIdentity { file: directory.join(IDENTITY_FILE), detail };
    let identity: Identity = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if identity.format != 1 {
        return Err(bad(format!("format {} is unknown", identity.format)));
    }
    if identity.node != node {
        let directory = directory.to_owned();
        return Err(DataDirError::OtherNode { directory, found: identity.node, expected: node });
    }
    Ok(())
}

/// By way of a temporary file, so that a crash leaves either nothing or all of it.
fn write_identity(disk: &mut dyn Disk, node: NodeId) -> io::Result<()> {
    const TEMPORARY: &str = "identity.json.tmp";
    if disk.list()?.iter().any(|name| name == TEMPORARY) {
        disk.remove(TEMPORARY)?;
    }
    disk.create(TEMPORARY)?;
    disk.append(TEMPORARY, &serde_json::to_vec(&Identity { format: 1, node })?)?;
    disk.sync(TEMPORARY)?;
    disk.rename(TEMPORARY, IDENTITY_FILE)?;
    disk.sync_directory()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_the_node_that_began_it() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path(), NodeId(1)).unwrap());
        drop(open(directory.path(), NodeId(1)).unwrap());
        let error = open(directory.path(), NodeId(2)).err().unwrap();
        assert!(
            matches!(error, DataDirError::OtherNode { found: NodeId(1), expected: NodeId(2), .. }),
            "{error}"
        );
    }

    #[test]
    fn a_directory_is_used_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path(), NodeId(1)).unwrap();
        assert!(matches!(open(directory.path(), NodeId(1)), Err(DataDirError::InUse { .. })));
        drop(first);
        assert!(open(directory.path(), NodeId(1)).is_ok());
    }

    #[test]
    fn a_damaged_identity_is_an_error_that_says_what_it_should_be() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(IDENTITY_FILE), "{\"format\":1,\"nod").unwrap();
        let error = open(directory.path(), NodeId(1)).err().unwrap();
        assert!(error.to_string().contains("{\"format\":1,\"node\":ID}"), "{error}");
    }
}
