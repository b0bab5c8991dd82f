//! What nodes say to each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::numbers::{LogIndex, NodeId, Term};
use super::storage::{Entry, Snapshot};

/// A message from node to node. `term` is the sender's term, except in a pre-vote request and its grant, where it is the
/// term that the candidate would have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Sender.
    pub from: NodeId,
    /// Receiver.
    pub to: NodeId,
    /// See above.
    pub term: Term,
    /// What it says.
    pub body: MessageBody,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MessageBody {
    /// Would you vote for me? (thesis 9.6)
    PreVote {
        /// Index of the candidate's last entry.
        last_index: LogIndex,
        /// Term of the candidate's last entry.
        last_term: Term,
    },
    /// Answer to a pre-vote.
    PreVoteReply {
        /// Yes or no.
        granted: bool,
    },
    /// RequestVote (paper, Figure 2).
    Vote {
        /// Index of the candidate's last entry.
        last_index: LogIndex,
        /// Term of the candidate's last entry.
        last_term: Term,
        /// The leader itself has asked the candidate to take over: the request is heeded although that leader lives.
        is_transfer: bool,
    },
    /// Answer to a request for a vote, of a trial round or not: the sender of that is a member no more, by a configuration that is
    /// committed. Of any term.
    Removed,
    /// Answer to a vote request.
    VoteReply {
        /// Yes or no.
        granted: bool,
    },
    /// AppendEntries (paper, Figure 2); without entries, a heartbeat or a probe, which checks `prev` all the same.
    Append {
        /// Index of the entry before the first one sent.
        prev_index: LogIndex,
        /// Term of that entry.
        prev_term: Term,
        /// Consecutive entries after it.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: LogIndex,
        /// The round of leadership confirmation that an answer counts for (ReadIndex and check-quorum); grows.
        round: u64,
    },
    /// Answer to an append.
    AppendReply {
        /// The round of the append that it answers; 0, which is before the first, if that was of an older term.
        round: u64,
        /// `Ok(match)`: the logs agree up to and including `match`, durably here. `Err`: they differ at `prev_index`.
        outcome: Result<LogIndex, AppendRejection>,
    },
    /// InstallSnapshot (paper, Figure 13): a part of a snapshot. Without bytes it asks only how far the follower is, and is
    /// the heartbeat of a follower that is being sent one. When all of it is durable, the answer is an `AppendReply`.
    InstallSnapshot {
        /// The snapshot.
        snapshot: Snapshot,
        /// Where in it the bytes stand.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// As in an append.
        round: u64,
    },
    /// Answer to a part of a snapshot that is not complete yet.
    SnapshotReply {
        /// As in the answer to an append.
        round: u64,
        /// The snapshot's index.
        index: LogIndex,
        /// What the follower needs next.
        wanted: Wanted,
    },
    /// Campaign now, says the leader who wants the receiver to take over (thesis 3.10).
    TimeoutNow,
    /// A follower with reads asks the leader how far its state machine must be (thesis 6.4, last paragraph).
    ReadIndex {
        /// See [`crate::Config::incarnation`].
        incarnation: u64,
        /// Numbers the requests of this incarnation, from 1. A request stands for all reads that arrived before it was sent.
        request: u64,
    },
    /// Answer to that, once a majority has confirmed the leader in a round that began after the request arrived.
    ReadIndexReply {
        /// As in the request.
        incarnation: u64,
        /// As in the request.
        request: u64,
        /// What must be applied before the reads are answered.
        index: LogIndex,
    },
}

/// What a follower needs next of a snapshot that it is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wanted {
    /// The bytes from here on.
    From(u64),
    /// Nothing: it is still writing.
    Nothing,
}

/// Where to look next after a mismatch (thesis 3.5, in the form that etcd uses).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendRejection {
    /// The `prev_index` that was refused: tells a late rejection from a current one.
    pub rejected: LogIndex,
    /// The last index at which the logs may agree.
    pub hint_index: LogIndex,
    /// The follower's term at `hint_index`.
    pub hint_term: Term,
}
