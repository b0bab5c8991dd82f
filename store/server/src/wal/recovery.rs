//! Reading the log back, mending what a crash left at its end, and making sure that it is durable.
//!
//! What can be read need not be durable: if only the process died, between a write and its sync, the next one finds in the
//! page cache what no disk holds yet. The node acknowledges what it finds, so it is synced here, before anyone sees it:
//! the last segment (the ones before it were synced before it was begun) and the directory, which holds the last segment's
//! name. One limit is known: after a sync that *failed*, the page cache may show what the disk has refused, and a later
//! sync of it may succeed; the node ended with exit code 7 and the operator has been told that the disk is not to be trusted.

use std::fmt;

use labrys_raft::{LogIndex, NodeId, Recovered};

use super::frame::{self, Change, FramePayload};
use super::{FORMAT_VERSION, WalError, segment_name};
use crate::disk::Disk;

/// The end of the log was a write that a crash had interrupted; it was cut off. It was never acknowledged to anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The file.
    pub file: String,
    /// Where the unfinished record began.
    pub offset: u64,
    /// How many bytes were cut off.
    pub dropped_bytes: u64,
    /// What was wrong with them.
    pub detail: String,
}

impl fmt::Display for Repair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repair { file, offset, dropped_bytes, detail } = self;
        write!(
            formatter,
            "cut {dropped_bytes} bytes off {file} at byte {offset}: {detail} (a write that a crash interrupted)"
        )
    }
}

/// What was found. `segment` is 0 if a first segment must be begun.
pub(super) struct RecoveredLog {
    pub recovered: Recovered,
    pub repairs: Vec<Repair>,
    pub segment: u64,
    pub segment_bytes: u64,
    pub next_frame: u64,
}

struct Reader {
    node: NodeId,
    log: RecoveredLog,
}

/// Reads all segments in order.
pub(super) fn recover(disk: &mut dyn Disk, node: NodeId) -> Result<RecoveredLog, WalError> {
    let segments = segments(disk)?;
    let log = RecoveredLog {
        recovered: Recovered::default(),
        repairs: Vec::new(),
        segment: 0,
        segment_bytes: 0,
        next_frame: 1,
    };
    let mut reader = Reader { node, log };
    for (position, segment) in segments.iter().enumerate() {
        reader.read_segment(disk, *segment, position + 1 == segments.len())?;
    }
    make_durable(disk, reader.log.segment)?;
    Ok(reader.log)
}

/// Syncs what was found: the last segment, unless there is none (0), and the names.
fn make_durable(disk: &mut dyn Disk, last_segment: u64) -> Result<(), WalError> {
    if last_segment != 0 {
        let name = segment_name(last_segment);
        disk.sync(&name).map_err(|source| WalError::sync(&name, source))?;
    }
    disk.sync_directory().map_err(|source| WalError::sync("the data directory", source))
}

fn segments(disk: &dyn Disk) -> Result<Vec<u64>, WalError> {
    let names = disk.list().map_err(|source| WalError::disk("list", "the data directory", source))?;
    let number = |name: &String| name.strip_prefix("wal-")?.strip_suffix(".log")?.parse::<u64>().ok();
    let mut segments: Vec<u64> = names.iter().filter_map(number).collect();
    segments.sort_unstable();
    for (expected, found) in (1..).zip(&segments) {
        if expected != *found {
            return Err(WalError::MissingSegment { file: segment_name(expected) });
        }
    }
    Ok(segments)
}

impl Reader {
    fn read_segment(&mut self, disk: &mut dyn Disk, segment: u64, is_last: bool) -> Result<(), WalError> {
        let name = segment_name(segment);
        let bytes = disk.read(&name).map_err(|source| WalError::disk("read", &name, source))?;
        let mut offset = 0;
        while offset < bytes.len() {
            match frame::decode(&bytes[offset..]) {
                Ok(found) => {
                    let problem = self.take_frame(&name, segment, offset, &found)?;
                    if let Some(detail) = problem {
                        return Err(WalError::Corrupt { file: name, offset: offset as u64, detail });
                    }
                    offset += found.length;
                }
                Err(detail) => {
                    if !is_last || frame::any_intact(&bytes[offset + 1..], self.log.next_frame) {
                        return Err(WalError::Corrupt {
                            file: name,
                            offset: offset as u64,
                            detail: detail.to_owned(),
                        });
                    }
                    return self.cut(disk, segment, offset, bytes.len(), detail);
                }
            }
        }
        if offset == 0 {
            if is_last {
                return self.cut(disk, segment, 0, 0, "the segment is empty");
            }
            return Err(WalError::Corrupt {
                file: name,
                offset: 0,
                detail: "the segment is empty".to_owned(),
            });
        }
        self.log.segment = segment;
        self.log.segment_bytes = bytes.len() as u64;
        Ok(())
    }

    /// Cuts the last segment at `offset`; removes it if nothing is left, as if it had never been begun. To be synced.
    fn cut(
        &mut self,
        disk: &mut dyn Disk,
        segment: u64,
        offset: usize,
        length: usize,
        detail: &str,
    ) -> Result<(), WalError> {
        let name = segment_name(segment);
        if offset == 0 {
            disk.remove(&name).map_err(|source| WalError::disk("remove", &name, source))?;
        } else {
            disk.truncate(&name, offset as u64).map_err(|source| WalError::disk("cut", &name, source))?;
            self.log.segment = segment;
            self.log.segment_bytes = offset as u64;
        }
        let dropped_bytes = (length - offset) as u64;
        self.log.repairs.push(Repair {
            file: name,
            offset: offset as u64,
            dropped_bytes,
            detail: detail.to_owned(),
        });
        Ok(())
    }

    /// Takes one intact frame over; gives what is wrong with it, if anything.
    fn take_frame(
        &mut self,
        file: &str,
        segment: u64,
        offset: usize,
        found: &frame::Found<'_>,
    ) -> Result<Option<String>, WalError> {
        if found.number != self.log.next_frame {
            return Ok(Some(format!(
                "record {} is here in the place of record {}",
                found.number, self.log.next_frame
            )));
        }
        self.log.next_frame += 1;
        let payload = match postcard::from_bytes::<FramePayload>(found.payload) {
            Ok(payload) => payload,
            Err(error) => return Ok(Some(format!("the record cannot be decoded: {error}"))),
        };
        match payload {
            FramePayload::Segment { version, .. } if version != FORMAT_VERSION => {
                Err(WalError::UnsupportedVersion {
                    file: file.to_owned(),
                    found: version,
                    supported: FORMAT_VERSION,
                })
            }
            FramePayload::Segment { node, .. } if node != self.node => {
                Err(WalError::OtherNode { file: file.to_owned(), found: node, expected: self.node })
            }
            FramePayload::Segment { segment: written, .. } if written != segment || offset != 0 => {
                Ok(Some(format!("the head of segment {written} is here")))
            }
            FramePayload::Segment { .. } => Ok(None),
            FramePayload::Changes(_) if offset == 0 => Ok(Some("the segment has no head".to_owned())),
            FramePayload::Changes(changes) => {
                Ok(changes.into_iter().find_map(|change| self.take_change(change)))
            }
        }
    }

    fn take_change(&mut self, change: Change) -> Option<String> {
        let entries = &mut self.log.recovered.entries;
        if let Some(from) = change.truncate_from {
            let keep = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
            entries.truncate(keep);
        }
        for entry in change.entries {
            let expected = LogIndex(entries.len() as u64 + 1);
            if entry.index != expected {
                return Some(format!("entry {} follows entry {}", entry.index, entries.len()));
            }
            entries.push(entry);
        }
        if let Some(hard_state) = change.hard_state {
            self.log.recovered.hard_state = hard_state;
        }
        None
    }
}
