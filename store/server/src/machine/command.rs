//! The commands in the log. Encoded with postcard; the encoding is part of the log's format.
//!
//! What can be in a command is bounded where requests come in (`api::limits`), so that nothing here needs a limit of its own:
//! a node applies whatever its leader has put into the log.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

labrys_raft::number! {
    /// A state of the keys. 0 is the empty one; each step that changes keys makes the next one, without gaps.
    Revision
}
labrys_raft::number! {
    /// A lease, numbered from 1 by the state machine.
    LeaseId
}
labrys_raft::number! {
    /// A fencing token: each acquisition of any lock has a larger one than all before it.
    LockToken
}

/// A client's session: 128 bits that the client draws at random, so that no two clients ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// Where a write stands within its session. See [`super::Sessions`] for what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The session.
    pub session: SessionId,
    /// From 1, one number per operation; a retry repeats it.
    pub sequence: u64,
    /// The client has had a reply that proves that the cluster knows the session.
    pub established: bool,
}

/// A command as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// The time of the leader that proposed it, in milliseconds of log time. Log time, by which leases and sessions expire, is
    /// the largest stamp so far: it never runs back, whatever a leader's clock does.
    pub time_ms: u64,
    /// What is to be done.
    pub body: Body,
}

/// The two kinds of commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A client's.
    Client(Command),
    /// The leader's own: nothing but the time, so that leases expire when no client writes.
    Tick {
        /// Leases to be revoked, whatever their expiry says: always empty, but for a defect.
        revoked: Vec<LeaseId>,
    },
}

/// A client's command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Where it stands in its session.
    pub placement: Placement,
    /// What it does.
    pub operation: Operation,
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// One step on its own.
    Step(Step),
    /// Several steps at one position of the log: all of them or none.
    Transaction(Transaction),
    /// The end of an interactive transaction.
    Commit(Commit),
    /// Forgets the states before `revision`.
    Compact {
        /// The first state that can still be read.
        revision: Revision,
    },
    /// A new lease.
    GrantLease {
        /// How long it lasts without a renewal, in log time.
        ttl_ms: u64,
    },
    /// Makes a lease last its whole time again from now on.
    RenewLease {
        /// Which.
        lease: LeaseId,
    },
    /// Ends a lease: its keys are deleted, its locks are free.
    RevokeLease {
        /// Which.
        lease: LeaseId,
    },
    /// Takes a lock if it is free. Taking a lock that the same lease has is no change.
    AcquireLock {
        /// The lock.
        name: Bytes,
        /// Whose it is to be.
        lease: LeaseId,
    },
    /// Gives a lock back.
    ReleaseLock {
        /// The lock.
        name: Bytes,
        /// What its acquisition brought.
        token: LockToken,
    },
}

/// One read or write of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reads a key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Reads keys in order.
    Range(RangeQuery),
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease that the key ends with. `None`: none, also if it had one.
        lease: Option<LeaseId>,
    },
    /// Sets a key if it has the expected value. A key that is set keeps its lease.
    CompareAndSet {
        /// The key.
        key: Bytes,
        /// The value it must have; `None`: it must not exist.
        expected: Option<Bytes>,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Adds to the end of a value; a key that does not exist has an empty one. It keeps its lease.
    Append {
        /// The key.
        key: Bytes,
        /// What is added.
        suffix: Bytes,
    },
    /// Adds to a number, written in decimal ASCII; a key that does not exist is 0. It keeps its lease.
    Increment {
        /// The key.
        key: Bytes,
        /// How much.
        by: i64,
    },
}

/// Consecutive keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RangeQuery {
    /// The first.
    pub start: Bytes,
    /// Where to stop: the first key that is not wanted. `None`: after the last.
    pub end: Option<Bytes>,
    /// Most items; 0 leaves it to the state machine.
    pub limit: u32,
}

impl RangeQuery {
    /// Whether no key can be within.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether `key` is within.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start <= key && self.end.as_ref().is_none_or(|end| key < end)
    }
}

/// If all conditions hold, the one list of steps, and else the other. A step that cannot be done ends it without any change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What is done then. Each step sees the ones before.
    pub then: Vec<Step>,
    /// What is done else.
    pub otherwise: Vec<Step>,
}

/// Something about the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// About a key. One that does not exist has version 0, and 0 for its revisions, and no value: its value is not equal to,
    /// less or greater than any.
    Key {
        /// The key.
        key: Bytes,
        /// How what it has compares to what is given.
        relation: Relation,
        /// What is given.
        operand: Operand,
    },
    /// The lock is held by that acquisition: what makes a write of a lock's holder safe.
    LockHeld {
        /// The lock.
        name: Bytes,
        /// What its acquisition brought.
        token: LockToken,
    },
}

/// What of a key is compared, and to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operand {
    /// Its value, byte by byte.
    Value(Bytes),
    /// How often it has been changed since it was created.
    Version(u64),
    /// When it was created.
    Created(Revision),
    /// When it was changed last.
    Modified(Revision),
}

/// How two things compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `>`
    Greater,
}

/// The end of an interactive transaction, which has read the state `snapshot` and now writes: see [`super::transaction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The state that it has read.
    pub snapshot: Revision,
    /// What is to be checked.
    pub isolation: Isolation,
    /// What it has read.
    pub reads: Vec<ReadItem>,
    /// What it writes; `None` deletes. The last of several of the same key counts.
    pub writes: Vec<(Bytes, Option<Bytes>)>,
}

/// How far interactive transactions are isolated from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Nothing that it writes was written since its snapshot.
    Snapshot,
    /// And nothing that it has read was.
    Serializable,
}

/// Something that an interactive transaction has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadItem {
    /// A key, whether it was there or not.
    Key(Bytes),
    /// All keys of a range, those that were not there as well. Its limit does not count.
    Range(RangeQuery),
}

/// Bytes that are not a command.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a command: {0}")]
pub struct CommandError(#[from] postcard::Error);

impl Stamped {
    /// As it is put into the log.
    pub fn encode(&self) -> Result<Bytes, CommandError> {
        Ok(Bytes::from(postcard::to_stdvec(self)?))
    }

    /// From the log.
    pub fn decode(bytes: &[u8]) -> Result<Stamped, CommandError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

impl Operation {
    /// Sets a key.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Operation {
        Operation::Step(Step::Put { key: key.into(), value: value.into(), lease: None })
    }

    /// Sets a key if it has the expected value.
    #[must_use]
    pub fn compare_and_set(
        key: impl Into<Bytes>,
        expected: Option<Bytes>,
        value: impl Into<Bytes>,
    ) -> Operation {
        Operation::Step(Step::CompareAndSet { key: key.into(), expected, value: value.into() })
    }

    /// Removes a key.
    #[must_use]
    pub fn delete(key: impl Into<Bytes>) -> Operation {
        Operation::Step(Step::Delete { key: key.into() })
    }
}
