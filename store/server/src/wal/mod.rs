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
//! Frames live in segments, `wal-0000000001.log` and so on. A segment is synced before the next is created, and the
//! directory is synced before the first group is written to the new one. Reopening reads everything, O(size of the log), and
//! syncs the last segment and the directory.
//!
//! What it is not: compacted. Snapshots will let it drop whole segments from the front.
//!
//! [`PersistBatch`]: labrys_raft::PersistBatch

mod error;
mod frame;
mod recovery;
#[cfg(test)]
mod tests;

use labrys_raft::{NodeId, PersistBatch, Recovered};

pub use error::WalError;
pub use recovery::Repair;

use crate::disk::Disk;
use frame::{FramePayload, FrameRef};

/// The version of the format, in the head of every segment.
pub const FORMAT_VERSION: u32 = 1;

/// How the log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// A new segment is begun when the current one has reached this size.
    pub segment_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions { segment_bytes: 64 * 1024 * 1024 }
    }
}

/// The open log. After the first error it refuses everything: what the disk holds is then unknown.
pub struct Wal {
    disk: Box<dyn Disk>,
    node: NodeId,
    options: WalOptions,
    segment: u64,
    segment_bytes: u64,
    next_frame: u64,
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

/// The name of a segment's file.
#[must_use]
pub fn segment_name(segment: u64) -> String {
    format!("wal-{segment:010}.log")
}

impl Wal {
    /// Opens the log of `node` on `disk`, mends a torn tail, and begins the log if there is none. What it returns is durable,
    /// also if a process that died had written it and not synced it.
    pub fn open(disk: Box<dyn Disk>, node: NodeId, options: WalOptions) -> Result<Opened, WalError> {
        let mut disk = disk;
        let found = recovery::recover(disk.as_mut(), node)?;
        let mut wal = Wal {
            disk,
            node,
            options,
            segment: found.segment,
            segment_bytes: found.segment_bytes,
            next_frame: found.next_frame,
            failed: false,
            buffer: Vec::new(),
        };
        if wal.segment == 0 {
            wal.begin_segment()?;
        }
        Ok(Opened { wal, recovered: found.recovered, repairs: found.repairs })
    }

    /// Writes `batches` in their order as one frame and returns when it is durable.
    pub fn write(&mut self, batches: &[PersistBatch]) -> Result<(), WalError> {
        if self.failed {
            return Err(WalError::FailedBefore);
        }
        // Only a success clears it.
        self.failed = true;
        if self.segment_bytes >= self.options.segment_bytes {
            self.begin_segment()?;
        }
        self.write_frame(&FrameRef::changes(batches))?;
        self.failed = false;
        Ok(())
    }

    /// The previous segment is durable already: every frame was synced when it was written.
    fn begin_segment(&mut self) -> Result<(), WalError> {
        self.segment += 1;
        self.segment_bytes = 0;
        let name = segment_name(self.segment);
        self.disk.create(&name).map_err(|source| WalError::disk("create", &name, source))?;
        let header =
            FramePayload::Segment { version: FORMAT_VERSION, node: self.node, segment: self.segment };
        self.write_frame(&FrameRef::Whole(&header))?;
        self.disk.sync_directory().map_err(|source| WalError::sync("the data directory", source))
    }

    fn write_frame(&mut self, payload: &FrameRef<'_>) -> Result<(), WalError> {
        let name = segment_name(self.segment);
        self.buffer = frame::encode(self.next_frame, payload, std::mem::take(&mut self.buffer))?;
        self.disk.append(&name, &self.buffer).map_err(|source| WalError::disk("append to", &name, source))?;
        self.disk.sync(&name).map_err(|source| WalError::sync(&name, source))?;
        self.next_frame += 1;
        self.segment_bytes += self.buffer.len() as u64;
        Ok(())
    }
}
