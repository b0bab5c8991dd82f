//! What a driver hands in.

use bytes::Bytes;

use super::message::Message;
use super::numbers::{LogIndex, NodeId, Sequence, Token};
use super::read_mode::ReadMode;
use super::storage::Snapshot;
use crate::membership::Change;

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
    /// The bytes asked for by [`crate::Effect::ReadSnapshotChunk`].
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
    /// A snapshot of this node's own cannot be read back as it was written: whoever is being sent it gets the next one that is stored.
    SnapshotUnreadable {
        /// Its index.
        index: LogIndex,
    },
    /// The bytes of [`crate::Effect::WriteSnapshotChunk`] are written. They need not be durable.
    SnapshotChunkWritten {
        /// Of which snapshot.
        index: LogIndex,
        /// Up to which byte.
        end: u64,
    },
}
