//! `identity.json`: whose directory it is, with which members its cluster began, and which cluster that is. Written once; the
//! cluster that a node joins is added when the node learns of it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use labrys_raft::NodeId;
use serde::{Deserialize, Serialize};

use super::DataDirError;
use crate::disk::Disk;
use crate::server::cluster::ClusterId;

pub(super) const IDENTITY_FILE: &str = "identity.json";
const TEMPORARY: &str = "identity.json.tmp";
const FORMAT: u32 = 2;

/// What a data directory says of its node.
///
/// The first members are recorded because they decide who is a majority until the log holds a configuration: were they taken from
/// the command line at every start, a corrected `--peers` could elect a second leader beside the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    format: u32,
    /// The node.
    pub node: NodeId,
    /// Its cluster; `None`: it waits to join one.
    pub cluster: Option<ClusterId>,
    /// The members with which the cluster began, and their addresses then; none if this node joined it later.
    pub members: BTreeMap<u64, String>,
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Identity {
    /// Of a node that begins a cluster with these members, or, without any, waits to join one.
    #[must_use]
    pub fn founding(node: NodeId, members: BTreeMap<u64, String>) -> Identity {
        let cluster = (!members.is_empty()).then(|| ClusterId::of(&members));
        Identity { format: FORMAT, node, cluster, members }
    }

    /// The same, of a node that has joined `cluster`.
    #[must_use]
    pub fn joined(&self, cluster: ClusterId) -> Identity {
        Identity { cluster: Some(cluster), ..self.clone() }
    }

    /// Whether it says the same of the first members as the command line does now. Addresses may have changed.
    #[must_use]
    pub fn began_with(&self, members: &BTreeMap<u64, String>) -> bool {
        self.members.keys().eq(members.keys())
    }

    /// For people: how this node was created.
    #[must_use]
    pub fn creation(&self) -> String {
        how_created(&self.members)
    }

    /// What the file says of `node`.
    pub(super) fn read(disk: &dyn Disk, directory: &Path, node: NodeId) -> Result<Identity, DataDirError> {
        let bytes = disk.read(IDENTITY_FILE).map_err(|source| DataDirError::Io {
            action: "read the identity file",
            directory: directory.to_owned(),
            source,
        })?;
        let file = directory.join(IDENTITY_FILE);
        let bad = |error: serde_json::Error| DataDirError::BadIdentity {
            file: file.clone(),
            detail: error.to_string(),
        };
        let Version { format } = serde_json::from_slice(&bytes).map_err(bad)?;
        if format != FORMAT {
            return Err(DataDirError::OtherFormat { file, found: format, supported: FORMAT });
        }
        let identity: Identity = serde_json::from_slice(&bytes).map_err(bad)?;
        if identity.node != node {
            let directory = directory.to_owned();
            return Err(DataDirError::OtherNode { directory, found: identity.node, expected: node });
        }
        Ok(identity)
    }

    /// By way of a temporary file, so that a crash leaves either what was there or all of it.
    pub(super) fn write(&self, disk: &mut dyn Disk) -> io::Result<()> {
        if disk.list()?.iter().any(|name| name == TEMPORARY) {
            disk.remove(TEMPORARY)?;
        }
        disk.create(TEMPORARY)?;
        disk.append(TEMPORARY, &serde_json::to_vec(self)?)?;
        disk.sync(TEMPORARY)?;
        disk.rename(TEMPORARY, IDENTITY_FILE)?;
        disk.sync_directory()
    }
}

/// As in "was created with …".
pub(super) fn how_created(members: &BTreeMap<u64, String>) -> String {
    if members.is_empty() {
        return "--join".to_owned();
    }
    let members: Vec<String> = members.iter().map(|(id, address)| format!("{id}={address}")).collect();
    format!("--peers {}", members.join(","))
}
