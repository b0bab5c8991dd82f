//! What goes into a replica, what comes out of it, and what it tells of itself.

use labrys_raft::{
    Change, ChangeRefusal, LogIndex, Membership, Message, NodeId, PersistBatch, ReadMode, Role, Sequence,
    Status, Term, Token,
};

use super::{SnapshotEvent, SnapshotJob};
use crate::api::RefusalCode;
use crate::machine::{Command, Outcome, Query, Reading};

/// What goes in.
#[derive(Clone, Debug)]
pub enum ReplicaInput {
    /// The monotonic clock reads this. To be given first in every batch.
    Tick {
        /// Milliseconds since any fixed point.
        now_ms: u64,
    },
    /// A message of a peer.
    Receive(Message),
    /// A client's request. Exactly one answer will name `token`, unless the replica is dropped before.
    Request {
        /// Names it; never used twice in the life of a replica.
        token: Token,
        /// What it wants.
        request: ClientRequest,
    },
    /// Everything up to and including this batch is durable.
    Persisted {
        /// The batch.
        sequence: Sequence,
    },
    /// What came of something done with snapshot files.
    Snapshot(SnapshotEvent),
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequest {
    /// Something of the state, as current as the mode says.
    Read(Query, ReadMode),
    /// A change.
    Write(Command),
    /// A change of the membership.
    Change(Change),
    /// Another leader: this one, or whoever has most of the log.
    Transfer(Option<NodeId>),
}

/// What comes out.
#[derive(Clone, Debug)]
pub enum ReplicaOutput {
    /// Make this durable, then say so.
    Persist(PersistBatch),
    /// The log up to and including `up_to` may be dropped.
    CompactLog {
        /// The last entry not needed.
        up_to: LogIndex,
    },
    /// Do this with snapshot files, in order, beside everything else; then give [`ReplicaInput::Snapshot`].
    Snapshot(SnapshotJob),
    /// For the operator: a snapshot from another node has taken the place of the state.
    SnapshotInstalled {
        /// Where it stands.
        index: LogIndex,
        /// Its size.
        length_bytes: u64,
    },
    /// Give this to the network.
    Send(Message),
    /// Tell the client. After an early answer (a defect) a second one for the same token may come, to be ignored.
    Answer {
        /// Which request.
        token: Token,
        /// The answer.
        answer: Answer,
    },
    /// Read the clock now, and tell the client if it is before `valid_until_ms`; the lease under which this was read is over
    /// otherwise, and what was read may not be current.
    AnswerUnderLease {
        /// Which request.
        token: Token,
        /// The answer.
        answer: Answer,
        /// On the clock of [`ReplicaInput::Tick`].
        valid_until_ms: u64,
    },
    /// Another configuration is in force: its members may be somewhere new.
    MembershipChanged {
        /// The configuration.
        membership: Box<Membership>,
    },
    /// The role, term or leader changed.
    RoleChanged {
        /// The new term.
        term: Term,
        /// The new role.
        role: Role,
        /// Its leader, as far as known.
        leader: Option<NodeId>,
    },
    /// An invariant of Raft is broken: end the process, unless a defect is switched on.
    InvariantBroken {
        /// What was violated.
        what: String,
    },
    /// Tell the operator; see [`labrys_raft::Effect::RemovedFromCluster`].
    RemovedFromCluster,
    /// Tell the operator; see [`labrys_raft::Effect::FollowerLostLog`].
    FollowerLostLog {
        /// Which.
        follower: NodeId,
        /// It had acknowledged everything up to here.
        acknowledged: LogIndex,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a read.
    Reading(Reading),
    /// To a write that was applied.
    Outcome(Outcome),
    /// To a change of the membership that is committed.
    MembershipChanged {
        /// Where in the log.
        index: LogIndex,
    },
    /// Definite: the membership cannot be changed so, or not now.
    ChangeRefused(ChangeRefusal),
    /// To a transfer of leadership that was carried out.
    Transferred {
        /// Who leads now.
        leader: NodeId,
    },
    /// Definite: this node does not lead.
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// Anything else.
    Refused {
        /// Whether the request is known never to take effect.
        definite: bool,
        /// Why.
        code: RefusalCode,
        /// In words.
        message: &'static str,
    },
}

impl Answer {
    /// To a read under a lease that was over when the answer was there.
    #[must_use]
    pub fn lease_is_over() -> Answer {
        Answer::Refused {
            definite: true,
            code: RefusalCode::LeaseOver,
            message: "the lease was over when the answer was there",
        }
    }
}

/// A look at a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Raft's part.
    pub raft: Status,
    /// The configuration in force.
    pub membership: Membership,
    /// Where its entry is.
    pub membership_index: LogIndex,
    /// The digest at `raft.applied`.
    pub digest: u64,
    /// The digest at the index asked for.
    pub digest_at_index: Option<u64>,
    /// The lowest index whose digest is known.
    pub first_digest: LogIndex,
    /// The size of the newest snapshot; 0: there is none.
    pub snapshot_bytes: u64,
    /// How many keys exist.
    pub key_count: usize,
    /// How many sessions are remembered.
    pub session_count: usize,
    /// See [`crate::machine::Machine::state_bytes`].
    pub state_bytes: u64,
    /// See [`crate::machine::Machine::history_bytes`].
    pub history_bytes: u64,
}
