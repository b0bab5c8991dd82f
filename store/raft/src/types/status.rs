//! A look at a node.

use serde::{Deserialize, Serialize};

use super::numbers::{LogIndex, NodeId, Term};

/// The role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether it would be elected; its term is unchanged.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

/// A look at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader of that term, as far as known.
    pub leader: Option<NodeId>,
    /// First index in the log: everything before it is in a snapshot.
    pub first_index: LogIndex,
    /// Last index in the log.
    pub last_index: LogIndex,
    /// Last index known to be committed.
    pub commit: LogIndex,
    /// Last index applied.
    pub applied: LogIndex,
    /// Index of the newest durable snapshot; 0 if there is none.
    pub snapshot: LogIndex,
}
