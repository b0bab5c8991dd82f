//! The seam between the Raft core and whatever drives it: a server with real disks and sockets, or a simulator.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Defects;
use crate::membership::{Change, ChangeRefusal, Membership};

/// Declares a number with a meaning of its own.
macro_rules! number {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl $name {
            /// The next one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

number! {
    /// A server of the cluster; never 0.
    NodeId
}
number! {
    /// A term: at most one leader each. 0 before the first election.
    Term
}
number! {
    /// Position in the log, from 1; 0 is "before the log".
    LogIndex
}
number! {
    /// Names a proposal or read of the driver. The driver chooses it and never uses one twice in the life of a node.
    Token
}
number! {
    /// Numbers the [`PersistBatch`]es of a node's life, from 1, without gaps.
    Sequence
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: the entry with which a leader opens its term, so that it can commit what earlier terms left (thesis 3.6.2).
    Noop,
    /// A command of the state machine, opaque here.
    Command(Bytes),
    /// The configuration from here on (thesis 4.1).
    Membership(Box<Membership>),
}

/// An entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that created it.
    pub term: Term,
    /// Its position.
    pub index: LogIndex,
    /// What it carries.
    pub payload: Payload,
}

/// How a read is to be answered. All but `Local` are linearizable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadMode {
    /// By an entry of its own in the log (thesis 6.3): the read ends when that is handed over to be applied, and sees what has
    /// been applied then. Leader only.
    Log,
    /// By confirming the leader once for all reads that wait (ReadIndex, thesis 6.4). Leader only.
    #[default]
    ReadIndex,
    /// The same, asked for by a follower, which answers from its own state machine. Any node that knows a leader.
    Follower,
    /// Without asking anybody, within the time in which no other leader can have been elected, if clocks keep their bound
    /// (thesis 6.4.1); by ReadIndex otherwise. Leader only.
    Lease,
    /// From whatever this node has applied: **not** linearizable, of any age. Any node.
    Local,
}

impl ReadMode {
    /// All of them, the strongest claim first.
    pub const ALL: &'static [ReadMode] =
        &[ReadMode::Log, ReadMode::ReadIndex, ReadMode::Follower, ReadMode::Lease, ReadMode::Local];

    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReadMode::Log => "log",
            ReadMode::ReadIndex => "read-index",
            ReadMode::Follower => "follower",
            ReadMode::Lease => "lease",
            ReadMode::Local => "local",
        }
    }
}

impl fmt::Display for ReadMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for ReadMode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let names = || ReadMode::ALL.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", ");
        let found = ReadMode::ALL.iter().copied().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("there is no read mode called `{name}`; the names are: {}", names()))
    }
}

/// What must survive a crash besides the log (paper, Figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub voted_for: Option<NodeId>,
}

/// Where a snapshot stands: what it has in the place of the log up to there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotPoint {
    /// The last entry that it contains.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// The configuration in force there.
    pub membership: Membership,
}

/// What there is to know of a snapshot. Its bytes are the driver's; nodes in the same state make the same ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where it stands.
    pub point: SnapshotPoint,
    /// How many bytes it has; at least 1.
    pub length_bytes: u64,
    /// The driver's checksum of all of them.
    pub checksum: u32,
}

impl Snapshot {
    /// The last entry that it contains.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.point.index
    }

    /// That entry's term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.point.term
    }
}

/// How a node behaves. Times are in milliseconds of the driver's clock.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The configuration before the first entry of the log, the same for all nodes with which a cluster begins, and the same in
    /// all lives of a node: the driver keeps it on disk from the first start on, like the hard state. Empty for a
    /// node that is added later: it starts with nothing, learns everything from the log, and waits until then. What the log
    /// says later wins; so does the newest snapshot, which carries the configuration in force where it stands.
    pub initial: Membership,
    /// A follower that hears nothing for a random time of one to five quarters of this campaigns; of one to two times this after
    /// campaigns that did not find a leader.
    pub election_timeout_ms: u64,
    /// A leader sends something to every follower at least this often.
    pub heartbeat_interval_ms: u64,
    /// Most entries in one append message.
    pub max_batch_entries: usize,
    /// Most payload bytes in one append message (one entry always fits).
    pub max_batch_bytes: usize,
    /// Most append messages on their way to one follower without an answer.
    pub max_inflight_batches: usize,
    /// How many entries that a snapshot contains stay in the log all the same, for followers that are a little behind; fewer, if
    /// these have more than 64 MiB.
    pub kept_entries: u64,
    /// Most bytes of a snapshot in one message.
    pub snapshot_chunk_bytes: u64,
    /// Most proposals and reads waiting at once; more are refused with [`RefusalReason::Overloaded`].
    pub max_pending: usize,
    /// Ask for votes only after a trial round that changes no term (thesis 9.6).
    pub pre_vote: bool,
    /// A leader that has not heard from a majority for an election timeout steps down (thesis 6.2).
    pub check_quorum: bool,
    /// How many further election timeouts this node waits before it campaigns, so that others are elected first where they
    /// can be: a priority, of which 0 is the highest. Nothing but the time to an election hangs on it.
    pub election_handicap: u64,
    /// Whether reads under a lease are answered so (they are confirmed by a round otherwise). To be the same on all nodes, with
    /// `check_quorum` on: a node that restarts keeps what it may have promised a leader before, and votes for nobody for an
    /// election timeout.
    pub lease_reads: bool,
    /// No node's clock runs faster than another's by more than this, in percent.
    pub max_clock_drift_percent: u64,
    /// Another number in each life of this node, so that no answer to an earlier one is taken for an answer to this one.
    pub incarnation: u64,
    /// Seed of the randomised timeouts.
    pub seed: u64,
    /// Bugs switched on, for testing testers.
    pub defects: Defects,
}

/// What a node was found to have on disk when it started. The node counts all of it as durable and acknowledges it; what a
/// driver merely reads after a process died may still be in the page cache only, and is to be synced first.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last durable hard state.
    pub hard_state: HardState,
    /// The newest durable snapshot.
    pub snapshot: Option<Snapshot>,
    /// All durable entries, without gaps: from index 1, or from some index not above the one after the snapshot.
    pub entries: Vec<Entry>,
    /// How far the state machine that the driver recovered has been applied (0 if it starts empty, at least the snapshot's
    /// index if there is one); never more than was committed, and never what the log on disk does not have. (A committed entry
    /// may be handed over before this node's disk has it; if the log that is found then has another entry in its place, that
    /// one would be taken for committed. A driver whose state machine is durable without snapshots has it wait for the log.)
    pub applied: LogIndex,
}

/// One input. The driver hands inputs in one at a time.
#[derive(Clone, Debug)]
pub enum Input {
    /// The driver's monotonic clock reads `now_ms`. To be given at least every quarter of a heartbeat interval, and
    /// before the first other input after a pause, so that a node which slept notices it before it answers anything. The
    /// clock is to be read *after* the messages that follow in the same step have arrived: what a follower promises the
    /// leader's lease is counted from this reading (see `lease`).
    Tick {
        /// Milliseconds since any fixed point.
        now_ms: u64,
    },
    /// A message arrived. May be late, duplicated, reordered; never altered.
    Receive(Message),
    /// A client wants `command` in the log.
    Propose {
        /// Names the proposal in the effect that ends it.
        token: Token,
        /// The command.
        command: Bytes,
    },
    /// An operator wants the membership changed. Ends as a proposal does: with its entry among those to be applied (a joint
    /// change with the entry that leaves the joint configuration), or refused.
    ChangeMembership {
        /// Names the change in the effect that ends it.
        token: Token,
        /// What is to change.
        change: Change,
    },
    /// A client wants to read.
    Read {
        /// Names the read in the effect that ends it.
        token: Token,
        /// How current it must be, and at what price.
        mode: ReadMode,
    },
    /// An operator wants another node to lead (thesis 3.10).
    TransferLeadership {
        /// Names the transfer in the effect that ends it.
        token: Token,
        /// Who is to lead; `None`: the voter whose log has come furthest.
        target: Option<NodeId>,
    },
    /// Everything up to and including this batch is durable.
    Persisted {
        /// The batch.
        sequence: Sequence,
    },
    /// The state machine has applied everything up to and including `index`.
    Applied {
        /// The last index applied.
        index: LogIndex,
    },
    /// A snapshot is durable: one taken here of what was applied (see [`crate::Node::snapshot_point`]), or one received,
    /// whose length and checksum are right.
    SnapshotStored {
        /// Which.
        snapshot: Snapshot,
    },
    /// All bytes of a snapshot were received, and they are not what was announced. The driver has dropped them.
    SnapshotDamaged {
        /// Its index.
        index: LogIndex,
    },
    /// The bytes asked for by [`Effect::ReadSnapshotChunk`].
    SnapshotChunkRead {
        /// For whom, as asked.
        to: NodeId,
        /// Of which snapshot, as asked.
        index: LogIndex,
        /// From which byte on, as asked.
        offset: u64,
        /// As many as were asked for.
        data: Bytes,
    },
    /// The bytes of [`Effect::WriteSnapshotChunk`] are written. They need not be durable.
    SnapshotChunkWritten {
        /// Of which snapshot.
        index: LogIndex,
        /// Up to which byte.
        end: u64,
    },
}

/// What to write, as one unit, in the order of the sequence numbers: first drop the whole log (`reset_after`), or from
/// `truncate_from` on, then append `entries`, then replace the hard state. After a crash either all of a batch is found or nothing of it, or a
/// prefix of its entries with the old hard state kept *only if no `Persisted` was given for it*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistBatch {
    /// Its number, to be given back in [`Input::Persisted`]. Batches may be grouped: only the last number of a group needs
    /// to be given.
    pub sequence: Sequence,
    /// Drop the whole log: a durable snapshot of everything up to and including this index stands in its place.
    pub reset_after: Option<LogIndex>,
    /// Drop this entry and all after it.
    pub truncate_from: Option<LogIndex>,
    /// Append these; the first follows what is left, or the snapshot.
    pub entries: Vec<Entry>,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
}

/// What the driver must do, in the order given.
///
/// # Duties
///
/// - **Durability before promises is not the driver's burden**: a message that promises something (a vote, an
///   acknowledgement of entries) is withheld inside the node until [`Input::Persisted`] names the batch that it rests on.
///   So `Send` may be carried out at once, in parallel with any `Persist` (a leader's entries travel while its own disk
///   is still writing, thesis 10.2.1), and the wrong order cannot be expressed.
/// - `Persist` batches are made durable in order; `Persisted` is given only after `fdatasync` returned without error. If it
///   returns an error the process ends: the kernel may have dropped the pages, and a second try proves nothing.
/// - `Apply` and `RestoreSnapshot` are carried out in order. An answer is given to a client only when its effect says so.
/// - A driver may crash between any two effects and restarts from [`Recovered`] and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable, then give [`Input::Persisted`].
    Persist(PersistBatch),
    /// Give this to the network. It may be lost.
    Send(Message),
    /// These entries are committed: apply them in order, answer the proposals among them, then give [`Input::Applied`].
    Apply {
        /// Consecutive committed entries, each with the token of the proposal if it was made here in this life.
        entries: Vec<(Entry, Option<Token>)>,
    },
    /// Replace the state machine by what the durable `snapshot` holds, then give [`Input::Applied`] with its index.
    RestoreSnapshot {
        /// Which.
        snapshot: Snapshot,
    },
    /// Read this much of a durable snapshot, then give [`Input::SnapshotChunkRead`]. If it was dropped meanwhile
    /// ([`Effect::DropSnapshots`]), the bytes are not wanted any more.
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
    /// Then give [`Input::SnapshotChunkWritten`]. If they are the last ones, check length and checksum first, make the whole
    /// durable, and give [`Input::SnapshotStored`] or [`Input::SnapshotDamaged`].
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
    /// [`ReadMode::Local`] the state machine has applied everything that was committed when the read arrived.
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
        /// See [`Config::incarnation`].
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
