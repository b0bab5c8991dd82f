//! How large a request may be. Checked before anything is done; so what is in the log, in memory and in a reply is bounded.

use bytes::Bytes;

use super::{RefusalCode, Refused};
use crate::machine::{Commit, Condition, Operand, Operation, Query, RangeQuery, ReadItem, Step, Transaction};

/// Most bytes in a key or the name of a lock.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Most bytes in a value.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Most bytes in the keys and values of one command.
pub const MAX_COMMAND_BYTES: usize = 3 * 1024 * 1024;
/// Most conditions of a transaction, and most steps of each of its lists.
pub const MAX_STEPS: usize = 128;
/// Most items in the read set of an interactive transaction, and as many in its write set.
pub const MAX_COMMIT_ITEMS: usize = 1024;
/// Most ranges among them, since each is compared with every change since the snapshot.
pub const MAX_COMMIT_RANGES: usize = 16;
/// The longest lease: 30 days.
pub const MAX_TTL_MS: u64 = 30 * 24 * 3600 * 1000;
/// Most bytes in what one reply brings back. More than a key and a value.
pub const MAX_RESULT_BYTES: usize = 2 * 1024 * 1024;
/// Most bytes in all that one transaction writes, and so in what a revision tells a watch.
pub const MAX_REVISION_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes in a gRPC message from a client, unless a node is told otherwise.
pub const MAX_REQUEST_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes in a gRPC message to a client.
pub const MAX_REPLY_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes in one gRPC message between nodes: a Raft batch and what surrounds it.
pub const MAX_PEER_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

// How the limits hang together.
const _: () = {
    /// What an item counts besides its key and value: `machine::outcome::RECORD_BYTES`.
    const COUNTED: usize = crate::machine::RECORD_BYTES;
    /// What an item takes on the wire besides its key and value, at most: six numbers and five lengths of nested messages.
    const ON_THE_WIRE: usize = 6 * 11 + 5 * 6;
    // Whatever a command says itself can be written in one revision, and a value can be read.
    assert!(MAX_COMMAND_BYTES + MAX_COMMIT_ITEMS * COUNTED <= MAX_REVISION_BYTES);
    assert!(MAX_KEY_BYTES + MAX_VALUE_BYTES + COUNTED <= MAX_RESULT_BYTES);
    // A command fits into a message: 1024 items, each with a few lengths.
    assert!(MAX_COMMAND_BYTES + 2 * MAX_COMMIT_ITEMS * ON_THE_WIRE <= MAX_REQUEST_MESSAGE_BYTES);
    // What is counted as so many bytes has at most as many items as fit without any key or value.
    assert!(MAX_REVISION_BYTES / COUNTED * ON_THE_WIRE + ON_THE_WIRE <= MAX_REPLY_MESSAGE_BYTES);
    assert!(MAX_RESULT_BYTES <= MAX_REVISION_BYTES);
};

/// A refusal of a request that can never be carried out: definite.
pub(crate) fn malformed(message: impl Into<String>) -> Refused {
    Refused { definite: true, code: RefusalCode::Malformed.into(), message: message.into() }
}

fn too_large(message: impl Into<String>) -> Refused {
    Refused { definite: true, code: RefusalCode::TooLarge.into(), message: message.into() }
}

/// Adds up the bytes of a request, and refuses what is too large.
#[derive(Default)]
struct Sizes {
    bytes: usize,
}

impl Sizes {
    fn key(&mut self, key: &Bytes) -> Result<(), Refused> {
        self.bytes += key.len();
        if key.len() > MAX_KEY_BYTES {
            return Err(too_large(format!(
                "a key has at most {MAX_KEY_BYTES} bytes, this one {}",
                key.len()
            )));
        }
        Ok(())
    }

    fn value(&mut self, value: &Bytes) -> Result<(), Refused> {
        self.bytes += value.len();
        if value.len() > MAX_VALUE_BYTES {
            let message = format!("a value has at most {MAX_VALUE_BYTES} bytes, this one {}", value.len());
            return Err(too_large(message));
        }
        Ok(())
    }

    fn range(&mut self, range: &RangeQuery) -> Result<(), Refused> {
        self.key(&range.start)?;
        range.end.as_ref().map_or(Ok(()), |end| self.key(end))
    }

    fn step(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::Get { key } | Step::Delete { key } | Step::Increment { key, .. } => self.key(key),
            Step::Range(range) => self.range(range),
            Step::Put { key, value, .. } | Step::Append { key, suffix: value } => {
                self.key(key)?;
                self.value(value)
            }
            Step::CompareAndSet { key, expected, value } => {
                self.key(key)?;
                expected.as_ref().map_or(Ok(()), |expected| self.value(expected))?;
                self.value(value)
            }
        }
    }

    fn transaction(&mut self, transaction: &Transaction) -> Result<(), Refused> {
        let Transaction { conditions, then, otherwise } = transaction;
        for (count, what) in
            [(conditions.len(), "conditions"), (then.len(), "steps"), (otherwise.len(), "steps")]
        {
            if count > MAX_STEPS {
                return Err(too_large(format!(
                    "a transaction has at most {MAX_STEPS} {what}, this one {count}"
                )));
            }
        }
        for condition in conditions {
            match condition {
                Condition::Key { key, operand, .. } => {
                    self.key(key)?;
                    if let Operand::Value(value) = operand {
                        self.value(value)?;
                    }
                }
                Condition::LockHeld { name, .. } => self.key(name)?,
            }
        }
        then.iter().chain(otherwise).try_for_each(|step| self.step(step))
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), Refused> {
        let largest = commit.reads.len().max(commit.writes.len());
        if largest > MAX_COMMIT_ITEMS {
            let message = format!(
                "a transaction reads and writes at most {MAX_COMMIT_ITEMS} items, this one {largest}"
            );
            return Err(too_large(message));
        }
        let ranges = commit.reads.iter().filter(|item| matches!(item, ReadItem::Range(_))).count();
        if ranges > MAX_COMMIT_RANGES {
            let message =
                format!("a transaction reads at most {MAX_COMMIT_RANGES} ranges, this one {ranges}");
            return Err(too_large(message));
        }
        for item in &commit.reads {
            match item {
                ReadItem::Key(key) => self.key(key)?,
                ReadItem::Range(range) => self.range(range)?,
            }
        }
        for (key, value) in &commit.writes {
            self.key(key)?;
            value.as_ref().map_or(Ok(()), |value| self.value(value))?;
        }
        Ok(())
    }

    fn total(self) -> Result<usize, Refused> {
        if self.bytes > MAX_COMMAND_BYTES {
            let message = format!(
                "a request has at most {MAX_COMMAND_BYTES} bytes in keys and values, this one {}",
                self.bytes
            );
            return Err(too_large(message));
        }
        Ok(self.bytes)
    }
}

/// The bytes of an operation, or why it is not taken.
pub fn check_operation(operation: &Operation) -> Result<usize, Refused> {
    let mut sizes = Sizes::default();
    match operation {
        Operation::Step(step) => sizes.step(step)?,
        Operation::Transaction(transaction) => sizes.transaction(transaction)?,
        Operation::Commit(commit) => sizes.commit(commit)?,
        Operation::AcquireLock { name, .. } | Operation::ReleaseLock { name, .. } => sizes.key(name)?,
        Operation::GrantLease { ttl_ms } if !(1..=MAX_TTL_MS).contains(ttl_ms) => {
            return Err(malformed(format!("a lease lasts from 1 to {MAX_TTL_MS} ms, not {ttl_ms}")));
        }
        Operation::Compact { .. }
        | Operation::GrantLease { .. }
        | Operation::RenewLease { .. }
        | Operation::RevokeLease { .. } => {}
    }
    sizes.total()
}

/// The bytes of a query, or why it is not taken.
pub fn check_query(query: &Query) -> Result<usize, Refused> {
    let mut sizes = Sizes::default();
    match query {
        Query::Get { key, .. } | Query::Lock { name: key } => sizes.key(key)?,
        Query::Range { range, .. } => sizes.range(range)?,
        Query::Revision | Query::Lease { .. } => {}
    }
    sizes.total()
}
