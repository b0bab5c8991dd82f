//! One frame: a head of 20 bytes, then the payload in postcard.
//!
//! ```text
//! magic u32 │ payload length u32 │ frame number u64 │ CRC32C u32 of all of the frame but itself │ payload
//! ```
//!
//! Numbers are little-endian. Frame numbers run through all segments from 1 without gaps.

use labrys_raft::{Defect, Defects, Entry, HardState, LogIndex, NodeId, PersistBatch};
use serde::{Deserialize, Serialize};

use super::WalError;

/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 20;
const MAGIC: [u8; 4] = *b"LbrW";

/// What a frame carries, as read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FramePayload {
    /// The first frame of a segment, with what is still needed of the segments before it.
    Segment { version: u32, node: NodeId, segment: u64, next_index: LogIndex, hard_state: HardState },
    /// Changes of the log and the hard state, in order.
    Changes(Vec<Change>),
}

/// A [`PersistBatch`] on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Change {
    pub reset_after: Option<LogIndex>,
    pub truncate_from: Option<LogIndex>,
    pub entries: Vec<Entry>,
    pub hard_state: Option<HardState>,
}

/// The same as [`Change`], borrowed, so that entries are not copied to be written.
#[derive(Serialize)]
pub(super) struct ChangeRef<'a> {
    reset_after: Option<LogIndex>,
    truncate_from: Option<LogIndex>,
    entries: &'a [Entry],
    hard_state: Option<HardState>,
}

/// The same as [`FramePayload`], borrowed. The order of the variants of the two must agree.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum FrameRef<'a> {
    Whole(&'a FramePayload),
    Changes(ChangesRef<'a>),
}

#[derive(Serialize)]
pub(super) enum ChangesRef<'a> {
    #[allow(dead_code)] // Holds the place of `FramePayload::Segment`.
    Segment,
    Changes(Vec<ChangeRef<'a>>),
}

impl<'a> FrameRef<'a> {
    pub(super) fn changes(batches: &'a [PersistBatch]) -> FrameRef<'a> {
        let changes = batches.iter().map(|batch| ChangeRef {
            reset_after: batch.reset_after,
            truncate_from: batch.truncate_from,
            entries: &batch.entries,
            hard_state: batch.hard_state,
        });
        FrameRef::Changes(ChangesRef::Changes(changes.collect()))
    }

    /// A defect: takes the hard state out, puts `earlier` in its place, and gives what it took.
    pub(super) fn put_off_hard_state(&mut self, earlier: Option<HardState>) -> Option<HardState> {
        let FrameRef::Changes(ChangesRef::Changes(changes)) = self else { return earlier };
        let latest = changes.iter_mut().filter_map(|change| change.hard_state.take()).last();
        if let Some(first) = changes.first_mut() {
            first.hard_state = earlier;
        }
        latest
    }
}

/// Writes frame `number` into `buffer`, whose content is dropped and whose memory is used again.
pub(super) fn encode(number: u64, payload: &FrameRef<'_>, mut buffer: Vec<u8>) -> Result<Vec<u8>, WalError> {
    buffer.clear();
    buffer.extend_from_slice(&[0; HEAD_BYTES]);
    // Serialisation into memory cannot fail for these types: they hold no maps of unknown length and no floats.
    let mut buffer =
        postcard::to_extend(payload, buffer).map_err(|_| WalError::TooLarge { length: usize::MAX })?;
    let length = buffer.len() - HEAD_BYTES;
    let length_u32 = u32::try_from(length).map_err(|_| WalError::TooLarge { length })?;
    buffer[0..4].copy_from_slice(&MAGIC);
    buffer[4..8].copy_from_slice(&length_u32.to_le_bytes());
    buffer[8..16].copy_from_slice(&number.to_le_bytes());
    let crc = checksum(&buffer);
    buffer[16..20].copy_from_slice(&crc.to_le_bytes());
    Ok(buffer)
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..16]), &frame[HEAD_BYTES..])
}

/// A frame found in a file.
pub(super) struct Found<'a> {
    pub number: u64,
    pub payload: &'a [u8],
    pub length: usize,
}

/// The frame at the start of `bytes`, or what is wrong there.
pub(super) fn decode(bytes: &[u8], defects: Defects) -> Result<Found<'_>, &'static str> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Err("the head of the record is cut short");
    };
    if head[0..4] != MAGIC {
        return Err("no record begins here");
    }
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let number =
        u64::from_le_bytes([head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]]);
    let crc = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
    let Some(frame) = HEAD_BYTES.checked_add(length).and_then(|end| bytes.get(..end)) else {
        return Err("the record is cut short");
    };
    if checksum(frame) != crc && !defects.has(Defect::TornTailIgnored) {
        return Err("the checksum of the record is wrong");
    }
    Ok(Found { number, payload: &frame[HEAD_BYTES..], length: frame.len() })
}

/// Whether an intact frame with a number above `after` begins anywhere in `bytes`. O(bytes), unless magic numbers abound.
pub(super) fn any_intact(bytes: &[u8], after: u64) -> bool {
    let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    starts
        .map(|(offset, _)| offset)
        .any(|offset| decode(&bytes[offset..], Defects::NONE).is_ok_and(|found| found.number > after))
}
