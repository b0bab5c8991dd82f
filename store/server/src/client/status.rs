//! Looking at a node: role, term, progress, digests. For operators, and for whoever compares replicas.

use std::time::Duration;

use labrys_raft::Role;
use serde::Serialize;
use thiserror::Error;

use super::transport::{AddressError, chain, endpoint};
use crate::api::admin_client::AdminClient;
use crate::api::{self, NodeRole};
use crate::security::{SecureChannel, SecureEndpoint, Security};

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its id.
    pub node: u64,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader of that term, as far as it knows.
    pub leader: Option<u64>,
    /// The address of that leader.
    pub leader_address: Option<String>,
    /// Last index of its log.
    pub last_index: u64,
    /// Last index that it knows to be committed.
    pub commit_index: u64,
    /// Last index applied.
    pub applied_index: u64,
    /// Digest of the state machine at `applied_index`.
    pub digest: u64,
    /// Digest at the index asked for; `None` if it was not asked for, is not applied yet, or is too long ago.
    pub digest_at_index: Option<u64>,
    /// The lowest index whose digest is still known.
    pub first_digest_index: u64,
    /// Time since the node started.
    pub uptime_ms: u64,
    /// Names of the bugs switched on.
    pub defects: Vec<String>,
    /// The latest changes of the leader, as this node saw them, oldest first.
    pub leader_changes: Vec<LeaderChangeSeen>,
    /// How many keys exist.
    pub key_count: u64,
    /// How many client sessions are remembered.
    pub session_count: u64,
    /// The program's version.
    pub version: String,
    /// Its files, and how it can be read.
    pub storage: StorageStatus,
}

/// What a node says about its files, and how it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StorageStatus {
    /// The last entry in its newest snapshot; 0: there is none.
    pub snapshot_index: u64,
    /// The size of that snapshot.
    pub snapshot_bytes: u64,
    /// The size of its log.
    pub log_bytes: u64,
    /// The first entry of its log in memory.
    pub first_index: u64,
    /// By which names reads can be asked for.
    pub read_modes: Vec<String>,
    /// Its cluster; `None`: it waits to join one.
    pub cluster: Option<String>,
}

/// A node learned of a leader, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaderChangeSeen {
    /// The term.
    pub term: u64,
    /// The leader.
    pub leader: Option<u64>,
    /// When, since the node started.
    pub uptime_ms: u64,
}

/// The node could not be asked.
#[derive(Debug, Error)]
#[error("no status from {address}: {detail}")]
pub struct StatusError {
    /// Whom.
    pub address: String,
    /// Why.
    pub detail: String,
}

/// Asks one node, over a connection that is kept while it works.
pub struct StatusClient {
    address: String,
    endpoint: SecureEndpoint,
    link: Option<AdminClient<SecureChannel>>,
}

impl StatusClient {
    /// For the node at `address` (`host:port`). Nothing is connected yet.
    pub fn new(address: &str) -> Result<StatusClient, AddressError> {
        StatusClient::with_security(address, &Security::default())
    }

    /// The same, with TLS and the token.
    pub fn with_security(address: &str, security: &Security) -> Result<StatusClient, AddressError> {
        let endpoint = endpoint(address, Duration::from_secs(1), security)?;
        Ok(StatusClient { address: address.to_owned(), endpoint, link: None })
    }

    /// The same, over connections from this address of the machine instead of one that the system chooses.
    #[must_use]
    pub fn from_address(self, local: std::net::IpAddr) -> StatusClient {
        let endpoint = self.endpoint.map(|endpoint| endpoint.local_address(Some(local)));
        StatusClient { endpoint, link: None, ..self }
    }

    /// What the node says, within `timeout`; with the digest at an index, if one is given.
    pub async fn status(
        &mut self,
        digest_at_index: Option<u64>,
        timeout: Duration,
    ) -> Result<NodeStatus, StatusError> {
        let result = match tokio::time::timeout(timeout, self.ask(digest_at_index)).await {
            Ok(result) => result,
            Err(_) => Err("no answer in time".to_owned()),
        };
        result.map_err(|detail| {
            self.link = None;
            StatusError { address: self.address.clone(), detail }
        })
    }

    async fn ask(&mut self, digest_at_index: Option<u64>) -> Result<NodeStatus, String> {
        let link = match &mut self.link {
            Some(link) => link,
            empty => {
                let channel = self.endpoint.connect().await.map_err(|error| chain(&error))?;
                empty.insert(AdminClient::new(channel))
            }
        };
        let reply =
            link.status(api::StatusRequest { digest_at_index }).await.map_err(|status| chain(&status))?;
        from_reply(reply.into_inner())
    }
}

fn from_reply(reply: api::StatusReply) -> Result<NodeStatus, String> {
    let role = match reply.role() {
        NodeRole::Follower => Role::Follower,
        NodeRole::PreCandidate => Role::PreCandidate,
        NodeRole::Candidate => Role::Candidate,
        NodeRole::Leader => Role::Leader,
        NodeRole::Unspecified => return Err(format!("role {} is unknown", reply.role)),
    };
    let changes = reply.leader_changes.into_iter().map(|change| LeaderChangeSeen {
        term: change.term,
        leader: (change.leader_id != 0).then_some(change.leader_id),
        uptime_ms: change.uptime_ms,
    });
    let modes = reply.read_modes.iter().filter_map(|mode| api::members::read_mode(*mode).ok());
    let storage = StorageStatus {
        snapshot_index: reply.snapshot_index,
        snapshot_bytes: reply.snapshot_bytes,
        log_bytes: reply.log_bytes,
        first_index: reply.first_index,
        read_modes: modes.map(|mode| mode.to_string()).collect(),
        cluster: Some(reply.cluster_id).filter(|cluster| !cluster.is_empty()),
    };
    Ok(NodeStatus {
        node: reply.node_id,
        role,
        term: reply.term,
        leader: (reply.leader_id != 0).then_some(reply.leader_id),
        leader_address: (!reply.leader_address.is_empty()).then_some(reply.leader_address),
        last_index: reply.last_index,
        commit_index: reply.commit_index,
        applied_index: reply.applied_index,
        digest: reply.digest.map(|digest| digest.digest).unwrap_or_default(),
        digest_at_index: reply.digest_at_index.map(|digest| digest.digest),
        first_digest_index: reply.first_digest_index,
        uptime_ms: reply.uptime_ms,
        defects: reply.defects,
        leader_changes: changes.collect(),
        key_count: reply.key_count,
        session_count: reply.session_count,
        version: reply.version,
        storage,
    })
}
