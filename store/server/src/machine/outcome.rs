//! What commands and reads come to. Outcomes are kept in sessions and covered by the digest.

use std::sync::Arc;

use bytes::Bytes;
use labrys_raft::LogIndex;
use serde::{Deserialize, Serialize};

use super::{LeaseId, LockToken, Revision};

/// What applying a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out; whether it changed anything, `done` says.
    Done {
        /// Where in the log.
        index: LogIndex,
        /// The state of the keys after it; the one that it made, if it changed any.
        revision: Revision,
        /// What it came to.
        done: Done,
    },
    /// Not carried out: the session is not known (any more).
    SessionExpired,
    /// Not carried out: a later operation of the session has been.
    SequencePassed,
    /// Not carried out: the command cannot be decoded.
    Malformed,
    /// Not carried out: the state would grow, and has as many bytes as it may have.
    NoSpace,
    /// Not carried out: the session is new, and as many are remembered as may be.
    TooManySessions,
    /// Carried out, before; what came of it is not kept any more.
    AnswerForgotten,
}

/// What a command that was carried out came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// A step on its own.
    Step(StepResult),
    /// A transaction was carried out.
    Transaction {
        /// Whether the conditions held.
        held: bool,
        /// One result for each step of the list that was carried out.
        results: Vec<StepResult>,
    },
    /// A transaction has changed nothing, because a step of it cannot be done.
    Aborted {
        /// Whether the conditions held.
        held: bool,
        /// Which step of that list, from 0.
        step: u32,
        /// Why.
        problem: StepProblem,
    },
    /// An interactive transaction has taken effect.
    Committed,
    /// An interactive transaction has changed nothing: another one was first.
    Conflict {
        /// What both had to do with.
        key: Bytes,
        /// When the other one changed it.
        revision: Revision,
    },
    /// Nothing has changed: the state that the command names is not there.
    Revision(RevisionProblem),
    /// The states before this one are forgotten.
    Compacted {
        /// The first state that can be read.
        first: Revision,
    },
    /// There is a new lease.
    LeaseGranted {
        /// Which.
        lease: LeaseId,
    },
    /// The lease lasts for this time from now on.
    LeaseRenewed {
        /// In log time.
        ttl_ms: u64,
    },
    /// The lease has ended, with its keys and locks.
    LeaseRevoked,
    /// Nothing has changed: there is no such lease (any more).
    LeaseUnknown,
    /// Nothing has changed: there are as many leases as there may be.
    TooManyLeases,
    /// The lock is the lease's.
    LockAcquired {
        /// The acquisition's token.
        token: LockToken,
    },
    /// Nothing has changed: the lock is another's.
    LockBusy {
        /// Whose.
        holder: LockHolder,
    },
    /// The lock is free.
    LockReleased,
    /// Nothing has changed: that acquisition does not hold the lock (any more).
    LockNotHeld,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepResult {
    /// A read.
    Value(Option<Arc<Record>>),
    /// A read of several keys.
    Range(RangeResult),
    /// The key is set.
    Put,
    /// The key had the expected value and has the new one.
    Swapped,
    /// The key did not have the expected value; nothing has changed.
    NotSwapped {
        /// What it had.
        actual: Option<Bytes>,
    },
    /// The key does not exist now.
    Deleted {
        /// Whether it did.
        existed: bool,
    },
    /// The value is longer now.
    Appended {
        /// How long.
        length_bytes: u64,
    },
    /// The number is this now.
    Incremented {
        /// Its new value.
        value: i64,
    },
    /// It cannot be done; nothing has changed.
    Problem(StepProblem),
}

/// Why a step cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepProblem {
    /// The value is not a number in decimal ASCII that fits into 64 bits with a sign.
    NotANumber,
    /// The sum would not fit into 64 bits with a sign.
    Overflow,
    /// The value would be larger than a value may be.
    ValueTooLarge,
    /// All that the transaction has read would be more than an outcome may be.
    ResultTooLarge,
    /// There is no such lease (any more).
    LeaseUnknown,
    /// All that the transaction would write is more than a revision may be.
    WritesTooLarge,
}

/// Why a state cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionProblem {
    /// It was compacted.
    Compacted {
        /// The first one that can be.
        first: Revision,
    },
    /// It is not there yet.
    Future {
        /// The latest.
        current: Revision,
    },
}

/// About what a record takes besides its value.
pub(crate) const RECORD_BYTES: usize = 64;

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The value.
    pub value: Bytes,
    /// The revision at which the key began to exist.
    pub created: Revision,
    /// The revision that gave it this value.
    pub modified: Revision,
    /// How many revisions have changed it since it began to exist, that one included.
    pub version: u64,
    /// The lease that it ends with.
    pub lease: Option<LeaseId>,
    /// The log time at which it got this value.
    pub modified_ms: u64,
}

/// Some of the keys of a range, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResult {
    /// The keys with what they have.
    pub items: Vec<(Bytes, Arc<Record>)>,
    /// There may be further keys in the range: the limit, the most that an outcome may be, or the most that is looked at at a
    /// time was reached.
    pub more: bool,
}

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The lease that it ends with.
    pub lease: LeaseId,
    /// The acquisition's token.
    pub token: LockToken,
}

impl Record {
    /// About what it takes in memory.
    pub(super) fn size_bytes(&self) -> usize {
        self.value.len() + RECORD_BYTES
    }
}

impl StepResult {
    /// About what it takes in memory.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            StepResult::Value(record) => record.as_ref().map_or(8, |record| record.size_bytes()),
            StepResult::Range(range) => {
                range.items.iter().map(|(key, record)| key.len() + record.size_bytes()).sum()
            }
            StepResult::NotSwapped { actual } => actual.as_ref().map_or(8, Bytes::len),
            _ => 16,
        }
    }
}

impl Outcome {
    /// About what it takes in memory.
    pub(super) fn size_bytes(&self) -> usize {
        let content = match self {
            Outcome::Done { done: Done::Step(result), .. } => result.size_bytes(),
            Outcome::Done { done: Done::Transaction { results, .. }, .. } => {
                results.iter().map(StepResult::size_bytes).sum()
            }
            _ => 0,
        };
        64 + content
    }
}
