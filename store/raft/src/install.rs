//! InstallSnapshot: sending a snapshot to a follower that needs entries which are no longer in the log, and receiving one.
//!
//! Paper, section 7 and Figure 13; thesis 5.1. The bytes come in chunks, in order, and are the driver's: neither leader nor
//! follower ever has more than one chunk of a snapshot in memory. A follower takes the next chunk when the one before is
//! written, and acknowledges the whole when it is durable.
//!
//! Complexity: O(1) per message, apart from the bytes.

use bytes::Bytes;

use crate::defects::Defect;
use crate::node::{Halted, Node, RoleState};
use crate::snapshot_transfer::Transfer;
use crate::types::{Effect, LogIndex, MessageBody, NodeId, Snapshot, Term, Wanted};

/// A snapshot that this node is being sent.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Incoming {
    snapshot: Snapshot,
    /// The last term whose leader sent a part of it.
    term: Term,
    /// Everything before this byte was given to the driver.
    received: u64,
    /// Everything before this byte is written.
    written: u64,
}

impl Incoming {
    fn new(snapshot: Snapshot, term: Term) -> Incoming {
        Incoming { snapshot, term, received: 0, written: 0 }
    }

    /// Which.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn wanted(&self) -> Wanted {
        if self.received == self.written { Wanted::From(self.written) } else { Wanted::Nothing }
    }
}

/// A part of a snapshot, as it arrives.
pub(crate) struct Chunk {
    pub(crate) snapshot: Snapshot,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
}

impl Chunk {
    /// Whether a leader of this protocol can have sent it.
    pub(crate) fn makes_sense(snapshot: &Snapshot, offset: u64, data: &Bytes) -> bool {
        let end = offset.checked_add(data.len() as u64);
        snapshot.index().0 > 0
            && end.is_some_and(|end| end <= snapshot.length_bytes)
            && snapshot.length_bytes > 0
    }
}

impl Node {
    /// The leader of the present term sends a part of a snapshot, or asks how far this node is with it.
    pub(crate) fn on_install_snapshot(
        &mut self,
        from: NodeId,
        chunk: Chunk,
        round: u64,
    ) -> Result<(), Halted> {
        self.recognise_leader(from)?;
        self.note_round(round);
        let Chunk { snapshot, offset, data } = chunk;
        let index = snapshot.index();
        if index <= self.commit {
            self.acknowledge_what_is_committed();
            return Ok(());
        }
        let term = self.hard_state.term;
        match &mut self.incoming {
            // A leader never goes back to an older snapshot: this message is late. The next leader may have an older one.
            Some(newer) if newer.term == term && newer.snapshot.index() > index => return Ok(()),
            Some(same) if same.snapshot == snapshot => same.term = term,
            _ => self.incoming = Some(Incoming::new(snapshot, term)),
        }
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        let wanted = incoming.wanted();
        if data.is_empty() || wanted != Wanted::From(offset) {
            self.send(from, MessageBody::SnapshotReply { round, index, wanted });
            return Ok(());
        }
        incoming.received += data.len() as u64;
        let is_last = incoming.received == incoming.snapshot.length_bytes;
        let snapshot = incoming.snapshot.clone();
        self.effects.push(Effect::WriteSnapshotChunk { snapshot: snapshot.clone(), offset, data });
        if is_last && self.config.defects.has(Defect::SnapshotInstallBoundaryBeforeData) {
            return self.on_snapshot_stored(snapshot);
        }
        Ok(())
    }

    /// The driver has written a chunk.
    pub(crate) fn on_snapshot_chunk_written(&mut self, index: LogIndex, end: u64) {
        let Some(incoming) = &mut self.incoming else { return };
        // Of another snapshot, the report is late. Of the last chunk, what counts is whether the whole is durable.
        let is_expected = incoming.snapshot.index() == index && incoming.received == end;
        if !is_expected || end == incoming.snapshot.length_bytes {
            return;
        }
        incoming.written = end;
        self.ask_for_more();
    }

    /// What was received is not what was announced: it is to be sent again.
    pub(crate) fn on_snapshot_damaged(&mut self, index: LogIndex) {
        let Some(incoming) = &mut self.incoming else { return };
        if incoming.snapshot.index() == index && incoming.received == incoming.snapshot.length_bytes {
            (incoming.received, incoming.written) = (0, 0);
            self.ask_for_more();
        }
    }

    fn ask_for_more(&mut self) {
        let (Some(incoming), Some(leader)) = (&self.incoming, self.leader) else { return };
        if leader == self.config.id {
            return;
        }
        let (index, wanted) = (incoming.snapshot.index(), incoming.wanted());
        let round = self.acknowledged_round();
        self.send(leader, MessageBody::SnapshotReply { round, index, wanted });
    }

    /// Sends follower number `position`, which is being sent a snapshot, a question if one is due, and has its next chunk read.
    pub(crate) fn send_snapshot(&mut self, position: usize, is_due: bool) {
        let max_bytes = self.config.snapshot_chunk_bytes;
        let RoleState::Leader(leadership) = &mut self.role_state else { return };
        let round = leadership.round;
        let (to, progress) = leadership.follower_mut(position);
        let Some(transfer) = progress.transfer_mut() else { return };
        let asks = transfer.take_question() || is_due;
        let read = transfer.take_read(max_bytes);
        let (snapshot, offset) = (transfer.snapshot.clone(), transfer.offset());
        if let Some(length) = read {
            let index = snapshot.index();
            self.effects.push(Effect::ReadSnapshotChunk { to, index, offset, length });
        }
        if asks {
            let data = Bytes::new();
            self.send(to, MessageBody::InstallSnapshot { snapshot, offset, data, round });
        }
    }

    /// The driver has read a chunk for a follower.
    pub(crate) fn on_snapshot_chunk_read(&mut self, to: NodeId, index: LogIndex, offset: u64, data: Bytes) {
        let RoleState::Leader(leadership) = &mut self.role_state else { return };
        let round = leadership.round;
        let Some(transfer) = leadership.progress_of_mut(to).and_then(|progress| progress.transfer_mut())
        else {
            return;
        };
        if transfer.snapshot.index() == index && transfer.has_read(offset, data.len() as u64, round) {
            let snapshot = transfer.snapshot.clone();
            self.send(to, MessageBody::InstallSnapshot { snapshot, offset, data, round });
        }
    }

    /// A snapshot of this node's own cannot be read.
    pub(crate) fn on_snapshot_unreadable(&mut self, index: LogIndex) {
        let RoleState::Leader(leadership) = &mut self.role_state else { return };
        let transfers = leadership.transfers_mut();
        transfers.filter(|transfer| transfer.snapshot.index() == index).for_each(Transfer::give_up);
    }

    /// A follower says what it needs next of a snapshot.
    pub(crate) fn on_snapshot_reply(&mut self, from: NodeId, round: u64, index: LogIndex, wanted: Wanted) {
        let RoleState::Leader(leadership) = &mut self.role_state else { return };
        // Nobody was asked for a later one: nonsense, which must not confirm rounds to come.
        let round = round.min(leadership.round);
        let Some(progress) = leadership.progress_of_mut(from) else { return };
        progress.heard(self.now_ms, round);
        if let Some(transfer) = progress.transfer_mut()
            && transfer.snapshot.index() == index
        {
            transfer.answered(wanted, round);
        }
        self.confirm_reads();
    }
}
