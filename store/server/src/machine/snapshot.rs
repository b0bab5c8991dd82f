//! Snapshots of the state machine: a frozen copy that costs nothing to make, written and read as a sequence of records.
//!
//! Writing happens beside the running state machine, on another thread, record by record: no copy of the whole is ever in
//! memory. The bytes are a function of the state alone, so replicas with equal states have equal snapshots.
//!
//! ```text
//! { record length u32, little-endian │ record in postcard } …     Head, then values by key, sessions by id, then End
//! ```
//!
//! Where the state stands in the log is *not* in these bytes: it belongs to whoever keeps them (the head of a snapshot file,
//! the message that carries it), once.
//!
//! Complexity: O(1) to freeze, O(keys + sessions) to write and O(n log n) to read.

use std::io::{self, Read, Write};

use bytes::Bytes;
use imbl::OrdMap;
use labrys_raft::{Defects, LogIndex};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sessions::Session;
use super::{Digests, Machine, MachineOptions, SessionId, Sessions};

/// The version of the records.
const FORMAT_VERSION: u32 = 1;
/// Longer records than this are nonsense: a key and a value with their lengths are far below it.
const MAX_RECORD_BYTES: u32 = 16 * 1024 * 1024;

/// The state as it was after some entry. Cloning is O(1).
#[derive(Clone, Debug)]
pub struct MachineSnapshot {
    values: OrdMap<Bytes, Bytes>,
    sessions: Sessions,
    digest: u64,
    applied: LogIndex,
}

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Head { version: u32, digest: u64 },
    Value { key: Bytes, value: Bytes },
    Session { id: SessionId, session: Session },
    End { records: u64 },
}

/// Bytes that are not a snapshot of this version.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// They cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Read(#[from] io::Error),
    /// They can, but make no sense.
    #[error("record {record} of the snapshot {detail}")]
    Malformed {
        /// Which, from 0.
        record: u64,
        /// What is wrong with it.
        detail: String,
    },
}

impl Machine {
    /// The state as it is now, frozen. O(1): it shares everything with the machine, which copies what it changes.
    #[must_use]
    pub fn snapshot(&self) -> MachineSnapshot {
        MachineSnapshot {
            values: self.values.clone(),
            sessions: self.sessions.clone(),
            digest: self.digests.last(),
            applied: self.applied,
        }
    }

    /// The state machine that stood at `applied` when its snapshot was written to `source`.
    ///
    /// # Errors
    ///
    /// If `source` cannot be read, or does not hold exactly one snapshot of this version.
    pub fn restore(
        source: &mut dyn Read,
        applied: LogIndex,
        options: MachineOptions,
        defects: Defects,
    ) -> Result<Machine, RestoreError> {
        let mut records = Records { source, count: 0 };
        let mut machine = Machine::new(options, defects);
        machine.applied = applied;
        match records.next()? {
            Record::Head { version: FORMAT_VERSION, digest } => {
                machine.digests = Digests::restored(applied, digest, options.kept_digests);
            }
            Record::Head { version, .. } => return Err(records.malformed(format!("has version {version}"))),
            _ => return Err(records.malformed("is not a head".to_owned())),
        }
        loop {
            let before = records.count;
            match records.next()? {
                Record::Value { key, value } => {
                    machine.values.insert(key, value);
                }
                Record::Session { id, session } => machine.sessions.restore(id, session),
                Record::End { records: written } if written == before => break,
                Record::End { .. } | Record::Head { .. } => {
                    return Err(records.malformed("stands in the wrong place".to_owned()));
                }
            }
        }
        match records.source.read(&mut [0])? {
            0 => Ok(machine),
            _ => Err(records.malformed("is followed by more than an end".to_owned())),
        }
    }
}

impl MachineSnapshot {
    /// Index of the last entry that it contains.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Writes it. Many small writes: `sink` had better gather them.
    ///
    /// # Errors
    ///
    /// Those of `sink`.
    pub fn write_to(&self, sink: &mut dyn Write) -> io::Result<()> {
        let mut records = 0;
        let mut write = |record: &Record| {
            records += 1;
            write_record(sink, record)
        };
        write(&Record::Head { version: FORMAT_VERSION, digest: self.digest })?;
        for (key, value) in &self.values {
            write(&Record::Value { key: key.clone(), value: value.clone() })?;
        }
        for (id, session) in self.sessions.iter() {
            write(&Record::Session { id: *id, session: session.clone() })?;
        }
        write_record(sink, &Record::End { records })
    }
}

fn write_record(sink: &mut dyn Write, record: &Record) -> io::Result<()> {
    let bytes = postcard::to_stdvec(record).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    sink.write_all(&length.to_le_bytes())?;
    sink.write_all(&bytes)
}

/// Reads records one by one.
struct Records<'a> {
    source: &'a mut dyn Read,
    count: u64,
}

impl Records<'_> {
    fn next(&mut self) -> Result<Record, RestoreError> {
        let mut length = [0; 4];
        self.source.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > MAX_RECORD_BYTES {
            return Err(RestoreError::Malformed {
                record: self.count,
                detail: format!("claims to have {length} bytes"),
            });
        }
        // No more memory than there are bytes, whatever the length claims.
        let mut bytes = Vec::new();
        let read = (&mut *self.source).take(u64::from(length)).read_to_end(&mut bytes)?;
        if read < length as usize {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let record = postcard::from_bytes(&bytes).map_err(|error| RestoreError::Malformed {
            record: self.count,
            detail: format!("cannot be decoded: {error}"),
        })?;
        self.count += 1;
        Ok(record)
    }

    /// The record read last is wrong.
    fn malformed(&self, detail: String) -> RestoreError {
        RestoreError::Malformed { record: self.count.saturating_sub(1), detail }
    }
}
