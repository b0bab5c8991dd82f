//! The replicated state machine: keys with values, client sessions, and a digest that grows with every applied entry.
//!
//! [`Machine::apply`] is a function of the state and the entry alone: no clock, no randomness, no node id, no hash order.
//! Two nodes that have applied the same entries therefore have the same state, and [`Machine::digest`] shows it: the
//! digest at an index covers every entry up to it *and every outcome*, so it differs from there on as soon as two nodes
//! have applied different entries or have come to different results.
//!
//! It lives in memory and is rebuilt from the newest snapshot and the log after a restart (`docs/decisions/005-state-in-memory.md`).
//! Its maps are persistent: [`Machine::snapshot`] is O(1), and what changes afterwards is copied path by path.
//! Costs: O(log keys + log sessions) per entry.

mod command;
mod digest;
mod sessions;
mod snapshot;

use bytes::Bytes;
use imbl::OrdMap;
use labrys_raft::{Defect, Defects, Entry, LogIndex, Payload};

pub use command::{Command, CommandError, Operation, Outcome, Placement, SessionId};
pub use digest::Digests;
pub use sessions::{Admission, Sessions};
pub use snapshot::{MachineSnapshot, RestoreError};

/// The bounds of a state machine. They are part of its definition: all nodes of a cluster must have the same.
#[derive(Clone, Copy, Debug)]
pub struct MachineOptions {
    /// Most sessions remembered; beyond it the one that was used least recently, by log index, is forgotten.
    pub max_sessions: usize,
    /// How many of the latest digests are kept for questions. Not part of the replicated state.
    pub kept_digests: usize,
}

impl Default for MachineOptions {
    fn default() -> Self {
        MachineOptions { max_sessions: 65_536, kept_digests: 16_384 }
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Machine {
    values: OrdMap<Bytes, Bytes>,
    sessions: Sessions,
    digests: Digests,
    applied: LogIndex,
    defects: Defects,
}

impl Machine {
    /// An empty one, as before the first entry.
    #[must_use]
    pub fn new(options: MachineOptions, defects: Defects) -> Machine {
        Machine {
            values: OrdMap::new(),
            sessions: Sessions::new(options.max_sessions),
            digests: Digests::new(options.kept_digests),
            applied: LogIndex(0),
            defects,
        }
    }

    /// Applies the next entry. `None` if it carries no command.
    ///
    /// # Panics
    ///
    /// If the entry is not the next one: an entry skipped or applied twice is the divergence that all of Raft is there to
    /// prevent, and going on would hide it.
    pub fn apply(&mut self, entry: &Entry) -> Option<Outcome> {
        assert_eq!(entry.index, self.applied.next(), "entries are applied in order, each once");
        self.applied = entry.index;
        let outcome = match &entry.payload {
            Payload::Noop | Payload::Membership(_) => None,
            Payload::Command(bytes) => Some(self.apply_command(bytes, entry.index)),
        };
        self.digests.add(entry, outcome.as_ref());
        outcome
    }

    fn apply_command(&mut self, bytes: &Bytes, index: LogIndex) -> Outcome {
        let Ok(command) = Command::decode(bytes) else {
            return Outcome::Malformed;
        };
        match self.sessions.admit(&command.placement) {
            Admission::Next => {}
            // A retry of what is already done gets the first answer and changes nothing (thesis 6.3).
            Admission::Repeated(_) if self.defects.has(Defect::NoRequestDeduplication) => {}
            Admission::Repeated(outcome) => {
                self.sessions.touch(command.placement.session, index);
                return outcome;
            }
            Admission::Passed => return Outcome::SequencePassed,
            Admission::Expired => return Outcome::SessionExpired,
        }
        let outcome = self.carry_out(command.operation, index);
        self.sessions.record(&command.placement, outcome.clone(), index);
        outcome
    }

    fn carry_out(&mut self, operation: Operation, index: LogIndex) -> Outcome {
        match operation {
            Operation::Put { key, value } => {
                self.values.insert(key, value);
                Outcome::Put { index }
            }
            Operation::CompareAndSet { key, expected, value } => {
                let actual = self.values.get(&key).cloned();
                let swapped = actual == expected;
                if swapped {
                    self.values.insert(key, value);
                    return Outcome::Swapped { index };
                }
                Outcome::NotSwapped { actual, index }
            }
            Operation::Delete { key } => {
                Outcome::Deleted { existed: self.values.remove(&key).is_some(), index }
            }
        }
    }

    /// The value of `key` in the applied state.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.values.get(key)
    }

    /// Index of the last entry applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The digest of everything applied up to and including `index`; `None` if that is in the future or forgotten.
    #[must_use]
    pub fn digest(&self, index: LogIndex) -> Option<u64> {
        self.digests.at(index)
    }

    /// The lowest index whose digest is still known.
    #[must_use]
    pub fn first_digest(&self) -> LogIndex {
        self.digests.first()
    }

    /// How many keys exist.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.values.len()
    }

    /// How many sessions are remembered.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests;
