//! Snapshots of the state machine: a frozen copy that costs nothing to make, written and read as a sequence of records.
//!
//! Writing happens beside the running state machine, on another thread, record by record: no copy of the whole is ever in
//! memory. The bytes are a function of the state alone, so replicas with equal states have equal snapshots.
//!
//! ```text
//! { record length u32, little-endian │ record in postcard } …     Head, then leases, keys, versions, changes, locks and
//!                                                                 sessions, each in its order, then End
//! ```
//!
//! Where the state stands in the log is *not* in these bytes: it belongs to whoever keeps them (the head of a snapshot file,
//! the message that carries it), once. What follows from the rest (which keys a lease has, what expires first) is not in
//! them either.
//!
//! Complexity: O(1) to freeze, O(n) to write and O(n log n) to read, with n keys, versions and sessions.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use labrys_raft::{Defect, Defects, LogIndex};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::keys::{NewValue, Summary};
use super::sessions::Session;
use super::state::State;
use super::{Digests, LeaseId, LockHolder, LockToken, Machine, MachineOptions, Revision, SessionId};

/// The version of the records.
const FORMAT_VERSION: u32 = 3;
/// Longer records than this are nonsense: a kept outcome and the keys of a revision with their lengths are far below it.
const MAX_RECORD_BYTES: u32 = 16 * 1024 * 1024;

/// The state as it was after some entry. Cloning is O(1).
#[derive(Clone, Debug)]
pub struct MachineSnapshot {
    state: State,
    digest: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Head {
        version: u32,
        digest: u64,
        time_ms: u64,
        keys: Summary,
        last_lease: LeaseId,
        last_token: LockToken,
    },
    Lease {
        id: LeaseId,
        ttl_ms: u64,
        expires_ms: u64,
    },
    Key {
        key: Bytes,
        record: Arc<super::Record>,
    },
    Past {
        key: Bytes,
        revision: Revision,
        record: Option<Arc<super::Record>>,
    },
    Changed {
        revision: Revision,
        keys: Vec<Bytes>,
    },
    Lock {
        name: Bytes,
        holder: LockHolder,
    },
    Session {
        id: SessionId,
        session: Session,
    },
    PutOff {
        key: Bytes,
        value: Option<NewValue>,
    },
    End {
        records: u64,
    },
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
        MachineSnapshot { state: self.state.clone(), digest: self.digests.last() }
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
        machine.state.applied = applied;
        match records.next()? {
            Record::Head { version: FORMAT_VERSION, digest, time_ms, keys, last_lease, last_token } => {
                machine.digests = Digests::restored(applied, digest, options.kept_digests);
                machine.state.restore_head(time_ms, keys, last_lease, last_token);
            }
            Record::Head { version, .. } => return Err(records.malformed(format!("has version {version}"))),
            _ => return Err(records.malformed("is not a head".to_owned())),
        }
        loop {
            let before = records.count;
            match records.next()? {
                Record::End { records: written } if written == before => break,
                Record::End { .. } | Record::Head { .. } => {
                    return Err(records.malformed("stands in the wrong place".to_owned()));
                }
                Record::Session { .. } if defects.has(Defect::DedupLostInSnapshot) => {}
                record => machine.state.restore_record(record),
            }
        }
        match records.source.read(&mut [0])? {
            0 => Ok(machine),
            _ => Err(records.malformed("is followed by more than an end".to_owned())),
        }
    }
}

impl State {
    fn restore_head(&mut self, time_ms: u64, keys: Summary, last_lease: LeaseId, last_token: LockToken) {
        self.time_ms = time_ms;
        self.keys.restore_summary(keys);
        self.leases.restore_last(last_lease);
        self.locks.restore_last(last_token);
    }

    fn restore_record(&mut self, record: Record) {
        match record {
            Record::Head { .. } | Record::End { .. } => {}
            Record::Lease { id, ttl_ms, expires_ms } => self.leases.restore(id, ttl_ms, expires_ms),
            Record::Key { key, record } => {
                self.leases.reattach(&key, None, record.lease);
                self.keys.restore_current(key, record);
            }
            Record::Past { key, revision, record } => self.keys.restore_past(key, revision, record),
            Record::Changed { revision, keys } => self.keys.restore_changed(revision, keys.into()),
            Record::Lock { name, holder } => {
                if let Some(lease) = self.leases.get_mut(holder.lease) {
                    lease.locks.insert(name.clone());
                }
                self.locks.restore(name, holder);
            }
            Record::Session { id, session } => self.sessions.restore(id, session),
            Record::PutOff { key, value } => {
                self.put_off.insert(key, value);
            }
        }
    }
}

impl MachineSnapshot {
    pub(super) fn keys(&self) -> &super::keys::Keys {
        &self.state.keys
    }

    /// Index of the last entry that it contains.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.state.applied
    }

    /// Writes it. Many small writes: `sink` had better gather them.
    ///
    /// # Errors
    ///
    /// Those of `sink`.
    pub fn write_to(&self, sink: &mut dyn Write) -> io::Result<()> {
        let State { applied: _, time_ms, keys, leases, locks, sessions, put_off } = &self.state;
        let mut records = 0;
        let mut write = |record: &Record| {
            records += 1;
            write_record(sink, record)
        };
        write(&Record::Head {
            version: FORMAT_VERSION,
            digest: self.digest,
            time_ms: *time_ms,
            keys: keys.summary(),
            last_lease: leases.last(),
            last_token: locks.last(),
        })?;
        for (id, lease) in leases.iter() {
            write(&Record::Lease { id: *id, ttl_ms: lease.ttl_ms, expires_ms: lease.expires_ms })?;
        }
        for (key, record) in keys.iter_current() {
            write(&Record::Key { key: key.clone(), record: Arc::clone(record) })?;
        }
        for ((key, revision), record) in keys.iter_past() {
            write(&Record::Past { key: key.clone(), revision: *revision, record: record.clone() })?;
        }
        for (revision, keys) in keys.changed_from(Revision(0)) {
            write(&Record::Changed { revision, keys: keys.to_vec() })?;
        }
        for (name, holder) in locks.iter() {
            write(&Record::Lock { name: name.clone(), holder: *holder })?;
        }
        for (id, session) in sessions.iter() {
            write(&Record::Session { id: *id, session: session.clone() })?;
        }
        for (key, value) in put_off {
            write(&Record::PutOff { key: key.clone(), value: value.clone() })?;
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
