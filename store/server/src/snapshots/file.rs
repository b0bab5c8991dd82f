//! The format of a snapshot file.
//!
//! ```text
//! magic u32 │ version u32 │ body: the state machine's bytes │ foot │ foot length u32 │ CRC32C of head and foot u32 │ magic u32
//! ```
//!
//! Numbers are little-endian. The foot is a [`Snapshot`] in postcard: index, term, configuration, and the length and CRC32C of
//! the body. It stands at the end because they are known only then; a body is written as it is made, and never held whole.

use std::io::{self, Read, Write};

use labrys_raft::Snapshot;

use super::SnapshotError;
use crate::disk::Disk;

/// Bytes before the body.
pub(super) const HEAD_BYTES: u64 = 8;
const TAIL_BYTES: u64 = 12;
const MAGIC: [u8; 4] = *b"LbrS";
const VERSION: u32 = 1;
/// A foot holds a configuration and a few numbers.
const MAX_FOOT_BYTES: u64 = 16 * 1024 * 1024;
/// How much is written and read at once.
const CHUNK_BYTES: usize = 1024 * 1024;
/// How much may be written and not synced: so that the sync of the log never waits for more than this.
const UNSYNCED_BYTES: u64 = 8 * 1024 * 1024;

fn head() -> [u8; HEAD_BYTES as usize] {
    let mut head = [0; HEAD_BYTES as usize];
    head[..4].copy_from_slice(&MAGIC);
    head[4..].copy_from_slice(&VERSION.to_le_bytes());
    head
}

/// A file whose body is being written.
pub(super) struct Body {
    name: String,
    length: u64,
    checksum: u32,
    unsynced: u64,
}

impl Body {
    /// Creates the file.
    pub(super) fn begin(disk: &mut dyn Disk, name: &str) -> Result<Body, SnapshotError> {
        disk.create(name).map_err(|source| SnapshotError::disk("create", name, source))?;
        disk.append(name, &head()).map_err(|source| SnapshotError::disk("write to", name, source))?;
        Ok(Body { name: name.to_owned(), length: 0, checksum: 0, unsynced: 0 })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn checksum(&self) -> u32 {
        self.checksum
    }

    pub(super) fn append(&mut self, disk: &mut dyn Disk, data: &[u8]) -> Result<(), SnapshotError> {
        self.try_append(disk, data).map_err(|source| SnapshotError::disk("write to", &self.name, source))
    }

    fn try_append(&mut self, disk: &mut dyn Disk, data: &[u8]) -> io::Result<()> {
        disk.append(&self.name, data)?;
        self.checksum = crc32c::crc32c_append(self.checksum, data);
        self.length += data.len() as u64;
        self.unsynced += data.len() as u64;
        if self.unsynced >= UNSYNCED_BYTES {
            self.unsynced = 0;
            disk.sync(&self.name)?;
        }
        Ok(())
    }

    /// Writes what follows the body. To be synced.
    pub(super) fn end(&self, disk: &mut dyn Disk, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let failed = |source| SnapshotError::disk("write to", &self.name, source);
        let mut tail = postcard::to_stdvec(snapshot).map_err(|error| failed(io::Error::other(error)))?;
        let length = u32::try_from(tail.len()).map_err(|error| failed(io::Error::other(error)))?;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head()), &tail);
        tail.extend_from_slice(&length.to_le_bytes());
        tail.extend_from_slice(&checksum.to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        disk.append(&self.name, &tail).map_err(failed)
    }
}

/// Writes a body in large pieces.
pub(super) struct BodyWriter<'a> {
    body: &'a mut Body,
    disk: &'a mut dyn Disk,
    go_on: &'a dyn Fn() -> bool,
    buffer: Vec<u8>,
}

impl<'a> BodyWriter<'a> {
    pub(super) fn new(
        body: &'a mut Body,
        disk: &'a mut dyn Disk,
        go_on: &'a dyn Fn() -> bool,
    ) -> BodyWriter<'a> {
        BodyWriter { body, disk, go_on, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !(self.go_on)() {
            return Err(io::Error::other("given up"));
        }
        self.body.try_append(self.disk, &self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for BodyWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK_BYTES {
            self.finish()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a body in large pieces, and sums it up.
pub(super) struct BodyReader<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    length: u64,
    /// Where the piece after the one in `piece` begins.
    offset: u64,
    piece: Vec<u8>,
    read: usize,
    checksum: u32,
}

impl<'a> BodyReader<'a> {
    pub(super) fn new(disk: &'a dyn Disk, name: &'a str, length: u64) -> BodyReader<'a> {
        BodyReader { disk, name, length, offset: 0, piece: Vec::new(), read: 0, checksum: 0 }
    }

    /// Of everything read so far.
    pub(super) fn checksum(&self) -> u32 {
        self.checksum
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            let length = (self.length - self.offset).min(CHUNK_BYTES as u64);
            self.piece = self.disk.read_range(self.name, HEAD_BYTES + self.offset, length)?;
            self.checksum = crc32c::crc32c_append(self.checksum, &self.piece);
            (self.offset, self.read) = (self.offset + length, 0);
        }
        let count = into.len().min(self.piece.len() - self.read);
        into[..count].copy_from_slice(&self.piece[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

/// What there is to know of the snapshot in a complete file. The body is not looked at.
pub(super) fn describe(disk: &dyn Disk, name: &str) -> Result<Snapshot, SnapshotError> {
    let failed = |source| SnapshotError::disk("read", name, source);
    let damaged = |detail: &str| SnapshotError::damaged(name, detail.to_owned());
    let length = disk.length(name).map_err(failed)?;
    if length < HEAD_BYTES + TAIL_BYTES {
        return Err(damaged("it is cut short"));
    }
    let read = |offset, length| disk.read_range(name, offset, length).map_err(failed);
    let (found, tail) = (read(0, HEAD_BYTES)?, read(length - TAIL_BYTES, TAIL_BYTES)?);
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if found[..4] != MAGIC || tail[8..] != MAGIC {
        return Err(damaged("its first or its last bytes are not those of a snapshot"));
    }
    if found[4..] != VERSION.to_le_bytes() {
        let detail = format!("its format has version {}, not {VERSION}", number(&found[4..]));
        return Err(SnapshotError::Unusable { file: name.to_owned(), detail });
    }
    let foot_length = u64::from(number(&tail));
    let body_and_foot = length - HEAD_BYTES - TAIL_BYTES;
    if foot_length > body_and_foot.min(MAX_FOOT_BYTES) {
        return Err(damaged("its foot is longer than it is"));
    }
    let foot = read(length - TAIL_BYTES - foot_length, foot_length)?;
    if crc32c::crc32c_append(crc32c::crc32c(&found), &foot) != number(&tail[4..]) {
        return Err(damaged("the checksum of its foot is wrong"));
    }
    let snapshot: Snapshot = postcard::from_bytes(&foot)
        .map_err(|error| damaged(&format!("its foot cannot be decoded: {error}")))?;
    if snapshot.length_bytes != body_and_foot - foot_length {
        return Err(damaged("its length is not what it says"));
    }
    Ok(snapshot)
}
