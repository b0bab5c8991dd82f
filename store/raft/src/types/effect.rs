//! What a driver has to do.

use bytes::Bytes;

use super::message::Message;
use super::numbers::{LogIndex, NodeId, Term, Token};
use super::status::Role;
use super::storage::{Entry, PersistBatch, Snapshot};
use crate::membership::{ChangeRefusal, Membership};

/// What the driver must do, in the order given.
///
/// # Duties
///
/// - **Durability before promises is not the driver's burden**: a message that promises something (a vote, an
///   acknowledgement of entries) is withheld inside the node until [`crate::Input::Persisted`] names the batch that it rests on.
///   So `Send` may be carried out at once, in parallel with any `Persist` (a leader's entries travel while its own disk
///   is still writing, thesis 10.2.1), and the wrong order cannot be expressed.
/// - `Persist` batches are made durable in order; `Persisted` is given only after `fdatasync` returned without error. If it
///   returns an error the process ends: the kernel may have dropped the pages, and a second try proves nothing.
/// - `Apply` and `RestoreSnapshot` are carried out in order. An answer is given to a client only when its effect says so.
/// - A driver may crash between any two effects and restarts from [`crate::Recovered`] and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable, then give [`crate::Input::Persisted`].
    Persist(PersistBatch),
    /// Give this to the network. It may be lost.
    Send(Message),
    /// These entries are committed: apply them in order, answer the proposals among them, then give [`crate::Input::Applied`].
    Apply {
        /// Consecutive committed entries, each with the token of the proposal if it was made here in this life.
        entries: Vec<(Entry, Option<Token>)>,
    },
    /// Replace the state machine by what the durable `snapshot` holds, then give [`crate::Input::Applied`] with its index.
    RestoreSnapshot {
        /// Which.
        snapshot: Snapshot,
    },
    /// Read this much of a durable snapshot, then give [`crate::Input::SnapshotChunkRead`]. If it was dropped meanwhile
    /// ([`crate::Effect::DropSnapshots`]), the bytes are not wanted any more.
    ReadSnapshotChunk {
        /// For whom.
        to: NodeId,
        /// The snapshot's index.
        index: LogIndex,
        /// From which byte on.
        offset: u64,
        /// How many bytes; the snapshot has them.
        length: u64,
    },
    /// Keep these bytes of a snapshot that is being received. They follow the ones before, or begin it anew if `offset` is 0.
    /// Then give [`crate::Input::SnapshotChunkWritten`]. If they are the last ones, check length and checksum first, make the whole
    /// durable, and give [`crate::Input::SnapshotStored`] or [`crate::Input::SnapshotDamaged`].
    ///
    /// Of each snapshot at most one of these is on its way at a time, and a driver need keep no snapshot but the last one that
    /// was begun. What is not complete is worth nothing after a crash.
    WriteSnapshotChunk {
        /// The snapshot.
        snapshot: Snapshot,
        /// Where in it.
        offset: u64,
        /// At least one byte.
        data: Bytes,
    },
    /// The log up to and including `up_to` is not needed any more. The driver may keep any part of the end of that.
    CompactLog {
        /// The last entry not needed.
        up_to: LogIndex,
    },
    /// Snapshots with an index below this one are not needed any more.
    DropSnapshots {
        /// The lowest index that is needed.
        below: LogIndex,
    },
    /// The read may be answered from the state machine now, before the next input is handed in. In every mode but
    /// [`crate::ReadMode::Local`] the state machine has applied everything that was committed when the read arrived.
    ReadReady {
        /// The read.
        token: Token,
        /// The index that the read waited for.
        index: LogIndex,
        /// Of a read under a lease: read the state machine first, and *then* the clock; only if that is still before this
        /// time, what was read was current. Otherwise the process was stopped in between: give the answer up. (The other
        /// order proves nothing: the process may be stopped between looking at the clock and reading.)
        valid_until_ms: Option<u64>,
    },
    /// The transfer of leadership has succeeded: its target leads.
    TransferDone {
        /// The transfer.
        token: Token,
        /// Who leads now.
        leader: NodeId,
    },
    /// The proposal or read ends here without having been carried out, or without this node's knowing.
    Refused {
        /// The proposal or read.
        token: Token,
        /// Why; decides whether the client may take it as "did not happen".
        reason: RefusalReason,
    },
    /// The role, term or known leader changed. For logs, metrics and redirection.
    RoleChanged {
        /// The new term.
        term: Term,
        /// The new role.
        role: Role,
        /// The leader of that term, as far as known.
        leader: Option<NodeId>,
    },
    /// Another configuration is in force (not necessarily committed): peers may have to be reached elsewhere.
    MembershipChanged {
        /// The index of its entry; 0: the one from before the log.
        index: LogIndex,
        /// The configuration.
        membership: Box<Membership>,
    },
    /// Another node says that this one is a member of the cluster no more. It does not campaign from now on, unless a leader is
    /// heard from after all. The driver tells the operator.
    RemovedFromCluster,
    /// An invariant of Raft is broken. Without defects this cannot happen: the driver ends the process. With a defect
    /// switched on the node carries on as a system without the assertion would, and the driver logs it.
    InvariantBroken {
        /// What was violated.
        what: String,
    },
    /// A follower no longer has what it acknowledged to this leader: its disk was emptied or replaced, or lies. The leader
    /// sends it everything anew; but what was committed with its help may have too few copies, and it may vote for a
    /// candidate without it. The driver tells the operator.
    FollowerLostLog {
        /// Which.
        follower: NodeId,
        /// It had acknowledged everything up to here.
        acknowledged: LogIndex,
    },
}

/// Why a proposal or read was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// *Definite.* This node is not the leader and did not append it.
    NotLeader {
        /// Who is, as far as known.
        leader: Option<NodeId>,
    },
    /// *Definite.* The membership cannot be changed so, or not now.
    ChangeRefused(ChangeRefusal),
    /// *Definite.* This node is handing leadership over and appends nothing.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// Of a transfer: its target did not take over within an election timeout, and this node serves again. *Indefinite*: the
    /// target may have been told, late, and may take over yet.
    TransferGivenUp,
    /// *Definite.* Too much is waiting already.
    Overloaded,
    /// *Definite.* Another entry was committed in its place.
    Superseded,
    /// *Indefinite* for a proposal (its entry may still be committed by the next leader), definite for a read, which
    /// changes nothing: leadership was lost while it waited.
    LeadershipLost,
}

impl RefusalReason {
    /// Whether a *proposal* refused for this reason is known never to take effect.
    #[must_use]
    pub fn is_definite(self) -> bool {
        !matches!(self, RefusalReason::LeadershipLost | RefusalReason::TransferGivenUp)
    }
}
