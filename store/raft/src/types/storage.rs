//! What a node keeps on disk: entries, term and vote, snapshots; how it is written, and how it is found again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::numbers::{LogIndex, NodeId, Sequence, Term};
use crate::membership::Membership;

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

/// What to write, as one unit, in the order of the sequence numbers: first drop the whole log (`reset_after`), or from
/// `truncate_from` on, then append `entries`, then replace the hard state. After a crash either all of a batch is found or nothing of it, or a
/// prefix of its entries with the old hard state kept *only if no `Persisted` was given for it*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistBatch {
    /// Its number, to be given back in [`crate::Input::Persisted`]. Batches may be grouped: only the last number of a group needs
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
