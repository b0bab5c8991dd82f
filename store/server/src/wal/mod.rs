//! The log on disk: the entries and the hard state of a node, in one sequence of frames.
//!
//! A *frame* is what one group commit wrote: any number of [`PersistBatch`]es, encoded together, under one CRC32C. It is
//! followed by `fdatasync` before the next frame is begun. Two things follow:
//!
//! - entries and hard state that belong together are found together after a crash, or not at all;
//! - a damaged frame with a good frame behind it *had been* durable. That is a failing medium, not a torn write, and it is
//!   refused ([`WalError::Corrupt`]): cutting the log there would silently forget what this node has promised (Alagappan
//!   et al., *Protocol-Aware Recovery for Consensus-Based Storage*, FAST 2018). A damaged frame with nothing behind it is
//!   taken for the write that the crash interrupted, and cut off with a warning. A medium that damages the very last
//!   frame after it had been synced cannot be told from that; it is the known limit of a log without a second copy.
//!
//! Frames live in segments, `wal-0000000001-00000000000000000001.log` and so on: the number of the segment, and the index of
//! the entry that came next when it was begun. A segment is synced before the next is created, and the directory is synced
//! before the first group is written to the new one. Reopening reads everything, O(size of the log), and syncs the last
//! segment and the directory.
//!
//! # Compaction
//!
//! [`Wal::compact`] drops whole segments from the front, those whose entries are all in a durable snapshot. The head of each
//! segment therefore repeats the hard state, and nothing else of what came before is needed: a truncation in a later segment
//! reaches back to what was dropped only if it was overwritten since, because what is in a snapshot was committed.
//! Segments are removed one by one, oldest first, each removal durable before the next, so that a crash leaves no hole.
//!
//! [`PersistBatch`]: labrys_raft::PersistBatch

mod error;
mod frame;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use labrys_raft::{Defect, Defects, HardState, LogIndex, NodeId, PersistBatch, Recovered};

pub use error::WalError;
pub use recovery::Repair;

use crate::disk::{Disk, DiskError};
use frame::{FramePayload, FrameRef};

/// The version of the format, in the head of every segment.
pub const FORMAT_VERSION: u32 = 2;

/// How the log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// A new segment is begun when the current one has reached this size.
    pub segment_bytes: u64,
    /// Bugs switched on.
    pub defects: Defects,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions { segment_bytes: 64 * 1024 * 1024, defects: Defects::NONE }
    }
}

/// A segment: its file, and how far its entries go.
#[derive(Clone, Debug, Default)]
struct Segment {
    number: u64,
    name: String,
    bytes: u64,
    /// The highest index of all entries that were ever written to it; 0 if there are none.
    last_index: LogIndex,
}

/// The open log. After the first error it refuses everything: what the disk holds is then unknown.
pub struct Wal {
    disk: Box<dyn Disk>,
    node: NodeId,
    options: WalOptions,
    /// Those that are written no more, oldest first.
    closed: VecDeque<Segment>,
    segment: Segment,
    next_frame: u64,
    /// The entry that comes next.
    next_index: LogIndex,
    /// The one written last.
    hard_state: HardState,
    /// One that waits for the next group (a defect).
    put_off: Option<HardState>,
    failed: bool,
    buffer: Vec<u8>,
}

/// What opening a log gave.
pub struct Opened {
    /// The log, ready to be written to.
    pub wal: Wal,
    /// What it held.
    pub recovered: Recovered,
    /// What had to be mended; to be logged as warnings.
    pub repairs: Vec<Repair>,
}

/// The name of the file of a segment that was begun when `next_index` was the index of the next entry.
#[must_use]
pub fn segment_name(segment: u64, next_index: LogIndex) -> String {
    format!("wal-{segment:010}-{:020}.log", next_index.0)
}

impl Wal {
    /// Opens the log of `node` on `disk`, mends a torn tail, and begins the log if there is none. What it returns is durable,
    /// also if a process that died had written it and not synced it.
    pub fn open(disk: Box<dyn Disk>, node: NodeId, options: WalOptions) -> Result<Opened, WalError> {
        let mut disk = disk;
        let mut found = recovery::recover(disk.as_mut(), node, options.defects)?;
        let segment = found.segments.pop_back();
        let is_new = segment.is_none();
        let mut wal = Wal {
            disk,
            node,
            options,
            closed: found.segments,
            segment: segment.unwrap_or_default(),
            next_frame: found.next_frame,
            next_index: found.next_index,
            hard_state: found.hard_state,
            put_off: None,
            failed: false,
            buffer: Vec::new(),
        };
        if is_new {
            wal.begin_segment()?;
        }
        let recovered =
            Recovered { hard_state: found.hard_state, entries: found.entries, ..Recovered::default() };
        Ok(Opened { wal, recovered, repairs: found.repairs })
    }

    /// Writes `batches` in their order as one frame and returns when it is durable.
    pub fn write(&mut self, batches: &[PersistBatch]) -> Result<(), WalError> {
        if self.failed {
            return Err(WalError::FailedBefore);
        }
        // Only a success clears it.
        self.failed = true;
        if self.segment.bytes >= self.options.segment_bytes {
            self.begin_segment()?;
        }
        let mut frame = FrameRef::changes(batches);
        if self.options.defects.has(Defect::HardStateAndEntriesNotAtomic) {
            self.put_off = frame.put_off_hard_state(self.put_off.take());
        }
        self.write_frame(&frame)?;
        batches.iter().for_each(|batch| self.note(batch));
        self.failed = false;
        Ok(())
    }

    /// Drops the segments whose entries are all at or below `up_to`, which a durable snapshot contains.
    pub fn compact(&mut self, up_to: LogIndex) -> Result<(), WalError> {
        while self.compact_one(up_to)? {}
        Ok(())
    }

    /// Drops the oldest of these segments; false: there is none. For who has something to do in between: removing a large
    /// file takes a while.
    pub fn compact_one(&mut self, up_to: LogIndex) -> Result<bool, WalError> {
        if self.failed {
            return Err(WalError::FailedBefore);
        }
        let Some(oldest) = self.closed.front().filter(|segment| segment.last_index <= up_to) else {
            return Ok(false);
        };
        self.failed = true;
        let name = oldest.name.clone();
        self.disk.remove(&name).map_err(|source| WalError::disk("remove", &name, source))?;
        self.sync_directory()?;
        self.closed.pop_front();
        self.failed = false;
        Ok(true)
    }

    /// Begins a new segment, however small the present one is, so that the present one can be dropped when its entries are not needed
    /// any more.
    pub fn rotate(&mut self) -> Result<(), WalError> {
        if self.failed {
            return Err(WalError::FailedBefore);
        }
        self.failed = true;
        self.begin_segment()?;
        self.failed = false;
        Ok(())
    }

    /// The size of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum::<u64>() + self.segment.bytes
    }

    fn note(&mut self, batch: &PersistBatch) {
        if let Some(index) = batch.reset_after {
            self.next_index = index.next();
        }
        self.next_index = batch.truncate_from.unwrap_or(self.next_index);
        if let Some(last) = batch.entries.last() {
            self.next_index = last.index.next();
            self.segment.last_index = self.segment.last_index.max(last.index);
        }
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
    }

    /// The previous segment is durable already: every frame was synced when it was written.
    fn begin_segment(&mut self) -> Result<(), WalError> {
        let number = self.segment.number + 1;
        let next = Segment { number, name: segment_name(number, self.next_index), ..Segment::default() };
        let previous = std::mem::replace(&mut self.segment, next);
        if previous.number > 0 {
            self.closed.push_back(previous);
        }
        let name = &self.segment.name;
        self.disk.create(name).map_err(|source| WalError::disk("create", name, source))?;
        let header = FramePayload::Segment {
            version: FORMAT_VERSION,
            node: self.node,
            segment: number,
            next_index: self.next_index,
            hard_state: self.hard_state,
        };
        self.write_frame(&FrameRef::Whole(&header))?;
        if self.options.defects.has(Defect::NoDirFsync) {
            return Ok(());
        }
        self.sync_directory()
    }

    fn sync_directory(&mut self) -> Result<(), WalError> {
        self.disk.sync_directory().map_err(|source| WalError::sync("the data directory", source))
    }

    fn write_frame(&mut self, payload: &FrameRef<'_>) -> Result<(), WalError> {
        let name = &self.segment.name;
        self.buffer = frame::encode(self.next_frame, payload, std::mem::take(&mut self.buffer))?;
        match self.disk.append(name, &self.buffer).map_err(|source| WalError::disk("append to", name, source))
        {
            Err(WalError::Disk(DiskError::Full { .. }))
                if self.options.defects.has(Defect::DiskFullSwallowed) => {}
            written => written?,
        }
        let mut synced = self.disk.sync(name);
        if synced.is_err() && self.options.defects.has(Defect::FsyncFailureRetry) {
            synced = self.disk.sync(name);
        }
        synced.map_err(|source| WalError::sync(name, source))?;
        self.next_frame += 1;
        self.segment.bytes += self.buffer.len() as u64;
        Ok(())
    }
}
