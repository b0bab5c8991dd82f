//! The replica's part in snapshots: when one is taken, and how the state machine is replaced by one that was received.
//!
//! Taking one costs the replica a clone of the state machine's roots, O(1); serialising it and making it durable is done
//! elsewhere, beside the writes that follow. A received one arrives here as a state machine that is ready to be used.

use bytes::Bytes;
use labrys_raft::{Defect, Effect, Entry, Input, LogIndex, NodeId, Payload, Snapshot, SnapshotPoint, Token};

use super::{Replica, ReplicaOutput};
use crate::machine::{Machine, MachineSnapshot};

/// When a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// As soon as so many entries were applied since the last one.
    pub entries: u64,
    /// As soon as entries of so many bytes were applied since the last one; but of no fewer than that one has, so that
    /// snapshots never cost more than as many bytes as the log.
    pub bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy { entries: 1_000_000, bytes: 64 * 1024 * 1024 }
    }
}

/// Something to be done with a snapshot file.
#[derive(Clone, Debug)]
pub enum SnapshotJob {
    /// Write it and make it durable, then give [`SnapshotEvent::Taken`].
    Take {
        /// Where it stands.
        point: SnapshotPoint,
        /// The state there.
        machine: Box<MachineSnapshot>,
    },
    /// See [`Effect::WriteSnapshotChunk`].
    Receive {
        /// The snapshot.
        snapshot: Snapshot,
        /// Where in it.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// See [`Effect::ReadSnapshotChunk`].
    Read {
        /// For whom.
        to: NodeId,
        /// The snapshot's index.
        index: LogIndex,
        /// From which byte on.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// See [`Effect::DropSnapshots`].
    DropBelow {
        /// The lowest index that is needed.
        index: LogIndex,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum SnapshotEvent {
    /// One taken here is durable.
    Taken(Snapshot),
    /// One received is durable: its state machine.
    Received(Snapshot, Box<Machine>),
    /// One of this node's own cannot be read back as it was written: it is to be replaced by one of the present state.
    OwnDamaged {
        /// Its index.
        index: LogIndex,
    },
    /// See [`Input::SnapshotDamaged`].
    Damaged {
        /// Its index.
        index: LogIndex,
    },
    /// See [`Input::SnapshotChunkWritten`].
    Written {
        /// Of which snapshot.
        index: LogIndex,
        /// Up to which byte.
        end: u64,
    },
    /// See [`Input::SnapshotChunkRead`].
    Read {
        /// For whom.
        to: NodeId,
        /// The snapshot's index.
        index: LogIndex,
        /// From which byte on.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
}

/// What a replica remembers of snapshots.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    policy: SnapshotPolicy,
    /// Where the newest one stands, and its size.
    last: LogIndex,
    last_bytes: u64,
    /// How much was applied since then.
    bytes_since: u64,
    /// One is being taken.
    is_taking: bool,
    /// One is to be taken at once: somebody has asked for it.
    is_asked: bool,
    /// Those that were received, until the core says whether they are to be used. Two leaders in succession may send two, which
    /// arrive together.
    received: Vec<(Snapshot, Box<Machine>)>,
    /// One that is to be used and is not there yet, and what is to be applied after it (a defect).
    awaited: Option<Snapshot>,
    delayed: Vec<(Entry, Option<Token>)>,
    /// The state before the last entries were applied (a defect).
    earlier: Option<MachineSnapshot>,
}

impl Snapshots {
    /// The newest one is `last`.
    pub(super) fn new(policy: SnapshotPolicy, last: Option<&Snapshot>) -> Snapshots {
        let (index, bytes) = last.map_or((LogIndex(0), 0), |last| (last.index(), last.length_bytes));
        Snapshots { policy, last: index, last_bytes: bytes, ..Snapshots::default() }
    }
}

impl Replica {
    pub(super) fn on_snapshot_event(&mut self, event: SnapshotEvent, outputs: &mut Vec<ReplicaOutput>) {
        let input = match event {
            SnapshotEvent::Taken(snapshot) => {
                self.snapshots.is_taking = false;
                self.note_snapshot(&snapshot);
                Input::SnapshotStored { snapshot }
            }
            SnapshotEvent::Received(snapshot, machine) => {
                let applied = self.machine.applied();
                self.snapshots.received.retain(|(received, _)| received.index() > applied);
                self.snapshots.received.push((snapshot.clone(), machine));
                if let Some(awaited) = self.snapshots.awaited.take_if(|awaited| *awaited == snapshot) {
                    self.restore(&awaited, outputs);
                }
                Input::SnapshotStored { snapshot }
            }
            SnapshotEvent::OwnDamaged { index } => {
                self.snapshots.is_asked = true;
                Input::SnapshotUnreadable { index }
            }
            SnapshotEvent::Damaged { index } => Input::SnapshotDamaged { index },
            SnapshotEvent::Written { index, end } => Input::SnapshotChunkWritten { index, end },
            SnapshotEvent::Read { to, index, offset, data } => {
                Input::SnapshotChunkRead { to, index, offset, data }
            }
        };
        self.inputs.push(input);
    }

    /// The effects that are about snapshots.
    pub(super) fn carry_out_snapshot(&mut self, effect: Effect, outputs: &mut Vec<ReplicaOutput>) {
        let job = match effect {
            Effect::RestoreSnapshot { snapshot } => return self.restore(&snapshot, outputs),
            Effect::CompactLog { up_to } => return outputs.push(ReplicaOutput::CompactLog { up_to }),
            Effect::DropSnapshots { below } => SnapshotJob::DropBelow { index: below },
            Effect::WriteSnapshotChunk { snapshot, offset, data } => {
                SnapshotJob::Receive { snapshot, offset, data }
            }
            Effect::ReadSnapshotChunk { to, index, offset, length } => {
                SnapshotJob::Read { to, index, offset, length }
            }
            _ => return,
        };
        outputs.push(ReplicaOutput::Snapshot(job));
    }

    /// Puts the state machine of a received snapshot in the place of this one.
    fn restore(&mut self, snapshot: &Snapshot, outputs: &mut Vec<ReplicaOutput>) {
        let Some(position) = self.snapshots.received.iter().position(|(received, _)| received == snapshot)
        else {
            // Only with a defect: the core counts on what is not there yet.
            self.snapshots.awaited = Some(snapshot.clone());
            return;
        };
        let (_, machine) = self.snapshots.received.swap_remove(position);
        self.machine = *machine;
        self.optimistic = None;
        self.note_snapshot(snapshot);
        self.clock.applied(self.now_ms, self.machine.time_ms(), false);
        self.inputs.push(Input::Applied { index: snapshot.index() });
        let index = snapshot.index();
        outputs.push(ReplicaOutput::SnapshotInstalled { index, length_bytes: snapshot.length_bytes });
        let delayed = std::mem::take(&mut self.snapshots.delayed);
        if !delayed.is_empty() {
            self.apply(delayed, outputs);
        }
    }

    fn note_snapshot(&mut self, snapshot: &Snapshot) {
        (self.snapshots.last, self.snapshots.last_bytes) = (snapshot.index(), snapshot.length_bytes);
    }

    /// Entries are about to be applied; gives them back, unless they have to wait.
    pub(super) fn before_apply(
        &mut self,
        entries: Vec<(Entry, Option<Token>)>,
    ) -> Vec<(Entry, Option<Token>)> {
        if self.snapshots.awaited.is_some() {
            self.snapshots.delayed.extend(entries);
            return Vec::new();
        }
        if self.defects.has(Defect::AppliedIndexNonatomic) {
            self.snapshots.earlier = Some(self.machine.snapshot());
        }
        let bytes = |(entry, _): &(Entry, Option<Token>)| match &entry.payload {
            Payload::Command(command) => command.len() as u64,
            Payload::Noop | Payload::Membership(_) => 0,
        };
        self.snapshots.bytes_since += entries.iter().map(bytes).sum::<u64>();
        entries
    }

    /// Has a snapshot taken as soon as possible, whether or not one is due. Gives the index that it contains at least; the newest one
    /// may do already.
    pub fn ask_for_snapshot(&mut self) -> LogIndex {
        self.snapshots.is_asked |= self.node.snapshot_point().is_some();
        self.machine.applied()
    }

    /// The size of the newest snapshot in bytes; 0: there is none.
    #[must_use]
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshots.last_bytes
    }

    /// The state as it is now, for who wants to look at it elsewhere. O(1).
    #[must_use]
    pub fn frozen(&self) -> MachineSnapshot {
        self.machine.snapshot()
    }

    /// Takes a snapshot if one is due.
    pub(super) fn take_snapshot_if_due(&mut self, outputs: &mut Vec<ReplicaOutput>) {
        let Snapshots { policy, last, last_bytes, bytes_since, is_taking, is_asked, .. } = &self.snapshots;
        let entries_since = self.machine.applied().0.saturating_sub(last.0);
        let is_due =
            *is_asked || entries_since >= policy.entries || *bytes_since >= policy.bytes.max(*last_bytes);
        if *is_taking || !is_due {
            return;
        }
        let Some(point) = self.node.snapshot_point() else { return };
        self.snapshots.is_asked = false;
        let machine = if self.defects.has(Defect::AppliedIndexNonatomic) {
            self.snapshots.earlier.clone().unwrap_or_else(|| self.machine.snapshot())
        } else {
            self.machine.snapshot()
        };
        self.snapshots.is_taking = true;
        self.snapshots.bytes_since = 0;
        let machine = Box::new(machine);
        outputs.push(ReplicaOutput::Snapshot(SnapshotJob::Take { point, machine }));
    }
}
