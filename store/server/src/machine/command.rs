//! The commands in the log and their outcomes. Encoded with postcard; the encoding is part of the log's format.

use std::fmt;

use bytes::Bytes;
use labrys_raft::LogIndex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Sets a key if it has the expected value.
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
}

/// A command as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Where it stands in its session.
    pub placement: Placement,
    /// What it does.
    pub operation: Operation,
}

/// What applying a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The key is set.
    Put {
        /// Where in the log.
        index: LogIndex,
    },
    /// The key had the expected value and has the new one.
    Swapped {
        /// Where in the log.
        index: LogIndex,
    },
    /// The key did not have the expected value; nothing has changed.
    NotSwapped {
        /// What it had.
        actual: Option<Bytes>,
        /// Where in the log.
        index: LogIndex,
    },
    /// The key does not exist now.
    Deleted {
        /// Whether it did.
        existed: bool,
        /// Where in the log.
        index: LogIndex,
    },
    /// Not carried out: the session is not known (any more).
    SessionExpired,
    /// Not carried out: a later operation of the session has been.
    SequencePassed,
    /// Not carried out: the command cannot be decoded.
    Malformed,
}

/// Bytes that are not a command.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a command: {0}")]
pub struct CommandError(#[from] postcard::Error);

impl Command {
    /// As it is put into the log.
    pub fn encode(&self) -> Result<Bytes, CommandError> {
        Ok(Bytes::from(postcard::to_stdvec(self)?))
    }

    /// From the log.
    pub fn decode(bytes: &[u8]) -> Result<Command, CommandError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}
