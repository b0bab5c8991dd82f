//! Reading the log back, mending what a crash left at its end, and making sure that it is durable.
//!
//! What can be read need not be durable: if only the process died, between a write and its sync, the next one finds in the
//! page cache what no disk holds yet; and after a sync that *failed*, it finds what no later sync will ever write, for the kernel
//! has marked those pages as clean (Rebello et al., *Can Applications Recover from fsync Failures?*, ATC 2020). The node acknowledges
//! what it finds, so the last segment is written anew here, into a file that takes its place when it is durable, before anyone
//! sees it; the segments before it were synced before it was begun. (The simulator found what a mere sync left: zeros in the middle
//! of the log, after a loss of power.)

use std::collections::VecDeque;
use std::fmt;

use labrys_raft::{Defect, Defects, Entry, HardState, LogIndex, NodeId};

use super::frame::{self, Change, FramePayload};
use super::{FORMAT_VERSION, Segment, WalError};
use crate::disk::Disk;

/// The end of the log was no intact record, and nothing intact followed it: it was cut off. If it was a write that a crash had interrupted,
/// this node has promised nothing that rests on it, since it promises after the sync. If the medium has damaged the last record that
/// was synced, it may have: the two cannot be told apart.
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
            "cut {dropped_bytes} bytes off {file} at byte {offset}: {detail}, and nothing intact follows (a write that a crash interrupted, unless \
             the medium has damaged the last record)"
        )
    }
}

/// What was found. No segment: a first one must be begun.
pub(super) struct RecoveredLog {
    pub hard_state: HardState,
    /// Consecutive; the first is not 1 if segments were dropped, or the log begins behind a snapshot.
    pub entries: Vec<Entry>,
    pub repairs: Vec<Repair>,
    pub segments: VecDeque<Segment>,
    pub next_frame: u64,
    pub next_index: LogIndex,
}

struct Reader {
    node: NodeId,
    defects: Defects,
    log: RecoveredLog,
    /// A segment has been read.
    has_begun: bool,
}

/// Reads all segments in order.
pub(super) fn recover(disk: &mut dyn Disk, node: NodeId, defects: Defects) -> Result<RecoveredLog, WalError> {
    let segments = segments(disk)?;
    let log = RecoveredLog {
        hard_state: HardState::default(),
        entries: Vec::new(),
        repairs: Vec::new(),
        segments: VecDeque::new(),
        next_frame: 1,
        next_index: LogIndex(1),
    };
    let mut reader = Reader { node, defects, log, has_begun: false };
    let last = segments.last().map(|segment| segment.number);
    for segment in segments {
        if !reader.log.repairs.is_empty() {
            // A defect: only the last segment can be repaired, but an earlier one was.
            disk.remove(&segment.name).map_err(|source| WalError::disk("remove", &segment.name, source))?;
            continue;
        }
        let is_last = Some(segment.number) == last;
        reader.read_segment(disk, segment, is_last)?;
    }
    make_durable(disk, reader.log.segments.back())?;
    Ok(reader.log)
}

/// The file into which the last segment is written anew.
const REWRITTEN: &str = "wal-rewritten.tmp";

/// Makes what was found durable: the last segment, unless there is none, and the names. O(size of a segment).
fn make_durable(disk: &mut dyn Disk, last: Option<&Segment>) -> Result<(), WalError> {
    if let Some(Segment { name, .. }) = last {
        rewrite(disk, name)?;
    }
    disk.sync_directory().map_err(|source| WalError::sync("the data directory", source))
}

/// Writes a file anew. A crash in the middle leaves the old one.
fn rewrite(disk: &mut dyn Disk, name: &str) -> Result<(), WalError> {
    let content = disk.read(name).map_err(|source| WalError::disk("read", name, source))?;
    remove_rewritten(disk)?;
    disk.create(REWRITTEN).map_err(|source| WalError::disk("create", REWRITTEN, source))?;
    disk.append(REWRITTEN, &content).map_err(|source| WalError::disk("append to", REWRITTEN, source))?;
    disk.sync(REWRITTEN).map_err(|source| WalError::sync(REWRITTEN, source))?;
    disk.rename(REWRITTEN, name).map_err(|source| WalError::disk("rename", REWRITTEN, source))
}

/// What a crash in the middle of a rewriting has left.
fn remove_rewritten(disk: &mut dyn Disk) -> Result<(), WalError> {
    match disk.remove(REWRITTEN) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(WalError::disk("remove", REWRITTEN, source))
        }
        _ => Ok(()),
    }
}

/// The segments by their files' names, in order. Those at the front may have been dropped.
fn segments(disk: &dyn Disk) -> Result<Vec<Segment>, WalError> {
    let names = disk.list().map_err(|source| WalError::disk("list", "the data directory", source))?;
    let is_segment = |name: &&String| name.starts_with("wal-") && name.ends_with(".log");
    let (named, foreign): (Vec<_>, Vec<_>) =
        names.iter().filter(is_segment).map(|name| segment_of(name).ok_or(name)).partition(Result::is_ok);
    if let Some(Err(file)) = foreign.into_iter().next() {
        // The first version had no index in the name.
        let file = file.clone();
        return Err(WalError::UnsupportedVersion { file, found: 1, supported: FORMAT_VERSION });
    }
    let mut segments: Vec<Segment> = named.into_iter().flatten().collect();
    segments.sort_unstable_by_key(|segment| segment.number);
    for pair in segments.windows(2) {
        let expected = pair[0].number + 1;
        if pair[1].number != expected {
            return Err(WalError::MissingSegment { number: expected, after: pair[0].name.clone() });
        }
    }
    Ok(segments)
}

fn segment_of(name: &str) -> Option<Segment> {
    let (number, next_index) = name.strip_prefix("wal-")?.strip_suffix(".log")?.split_once('-')?;
    let number = number.parse().ok()?;
    next_index.parse::<u64>().ok()?;
    Some(Segment { number, name: name.to_owned(), ..Segment::default() })
}

impl Reader {
    fn read_segment(
        &mut self,
        disk: &mut dyn Disk,
        mut segment: Segment,
        is_last: bool,
    ) -> Result<(), WalError> {
        let name = segment.name.clone();
        let bytes = disk.read(&name).map_err(|source| WalError::disk("read", &name, source))?;
        let corrupt = |offset: usize, detail: String| {
            Err(WalError::Corrupt { file: name.clone(), offset: offset as u64, detail })
        };
        let mut offset = 0;
        while offset < bytes.len() {
            match frame::decode(&bytes[offset..], self.defects) {
                Ok(found) => {
                    if let Some(detail) = self.take_frame(&mut segment, offset, &found)? {
                        return corrupt(offset, detail);
                    }
                    offset += found.length;
                }
                Err(detail) => {
                    let was_durable =
                        !is_last || frame::any_intact(&bytes[offset + 1..], self.log.next_frame);
                    if was_durable && !self.defects.has(Defect::MidLogCorruptionTruncates) {
                        return corrupt(offset, detail.to_owned());
                    }
                    return self.cut(disk, segment, offset, bytes.len(), detail);
                }
            }
        }
        if offset == 0 {
            if is_last {
                return self.cut(disk, segment, 0, 0, "the segment is empty");
            }
            return corrupt(0, "the segment is empty".to_owned());
        }
        segment.bytes = bytes.len() as u64;
        self.log.segments.push_back(segment);
        Ok(())
    }

    /// Cuts the last segment at `offset`; removes it if nothing is left, as if it had never been begun. To be synced.
    fn cut(
        &mut self,
        disk: &mut dyn Disk,
        segment: Segment,
        offset: usize,
        length: usize,
        detail: &str,
    ) -> Result<(), WalError> {
        let name = segment.name.clone();
        if offset == 0 {
            disk.remove(&name).map_err(|source| WalError::disk("remove", &name, source))?;
        } else {
            disk.truncate(&name, offset as u64).map_err(|source| WalError::disk("cut", &name, source))?;
            self.log.segments.push_back(Segment { bytes: offset as u64, ..segment });
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
        segment: &mut Segment,
        offset: usize,
        found: &frame::Found<'_>,
    ) -> Result<Option<String>, WalError> {
        // Of the first segment that is left, any number may be the first.
        if self.has_begun && found.number != self.log.next_frame {
            return Ok(Some(format!(
                "record {} is here in the place of record {}",
                found.number, self.log.next_frame
            )));
        }
        self.log.next_frame = found.number + 1;
        let payload = match postcard::from_bytes::<FramePayload>(found.payload) {
            Ok(payload) => payload,
            Err(error) => return Ok(Some(format!("the record cannot be decoded: {error}"))),
        };
        match payload {
            FramePayload::Segment { version, .. } if version != FORMAT_VERSION => {
                Err(WalError::UnsupportedVersion {
                    file: segment.name.clone(),
                    found: version,
                    supported: FORMAT_VERSION,
                })
            }
            FramePayload::Segment { node, .. } if node != self.node => {
                Err(WalError::OtherNode { file: segment.name.clone(), found: node, expected: self.node })
            }
            FramePayload::Segment { segment: written, .. } if written != segment.number || offset != 0 => {
                Ok(Some(format!("the head of segment {written} is here")))
            }
            FramePayload::Segment { next_index, hard_state, .. } => {
                self.log.hard_state = hard_state;
                if !self.has_begun {
                    (self.log.next_index, self.has_begun) = (next_index, true);
                }
                Ok(None)
            }
            FramePayload::Changes(_) if offset == 0 => Ok(Some("the segment has no head".to_owned())),
            FramePayload::Changes(changes) => {
                Ok(changes.into_iter().find_map(|change| self.take_change(segment, change)))
            }
        }
    }

    fn take_change(&mut self, segment: &mut Segment, change: Change) -> Option<String> {
        let log = &mut self.log;
        if let Some(index) = change.reset_after {
            log.entries.clear();
            log.next_index = index.next();
        }
        if let Some(from) = change.truncate_from {
            // What is before the first entry that is left was dropped with its segment.
            let kept = log.entries.first().map_or(0, |first| from.0.saturating_sub(first.index.0));
            log.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            log.next_index = log.next_index.min(from);
        }
        for entry in change.entries {
            if entry.index != log.next_index {
                return Some(format!(
                    "entry {} is here in the place of entry {}",
                    entry.index, log.next_index
                ));
            }
            log.next_index = entry.index.next();
            segment.last_index = segment.last_index.max(entry.index);
            log.entries.push(entry);
        }
        if let Some(hard_state) = change.hard_state {
            log.hard_state = hard_state;
        }
        None
    }
}
