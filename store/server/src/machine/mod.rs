//! The replicated state machine: keys in all their versions, transactions, leases, locks, client sessions, and a digest that
//! grows with every applied entry. What it promises to clients is in `store/server/README.md`.
//!
//! [`Machine::apply`] is a function of the state and the entry alone: no clock, no randomness, no node id, no hash order.
//! Two nodes that have applied the same entries therefore have the same state, and [`Machine::digest`] shows it: the
//! digest at an index covers every entry up to it, *every outcome and every change*, so it differs from there on as soon as two
//! nodes have applied different entries or have come to different results.
//!
//! - [`command`]: what stands in the log; [`outcome`]: what it comes to;
//! - `state`: what each command does; `keys`, `leases`, `locks`, [`sessions`]: the parts of the state;
//! - [`transaction`]: transactions, and when an interactive one is refused;
//! - [`query`]: reading; what changed since a revision;
//! - [`snapshot`]: the whole as bytes.
//!
//! It lives in memory and is rebuilt from the newest snapshot and the log after a restart (`docs/decisions/005-state-in-memory.md`).
//! Its maps are persistent: [`Machine::snapshot`] is O(1), and what changes afterwards is copied path by path.
//! Costs: O(log n) per changed key, with n keys, versions and sessions.

pub mod command;
mod digest;
mod keys;
mod keys_hash;
mod leases;
mod locks;
pub mod outcome;
pub mod query;
pub mod sessions;
pub mod snapshot;
mod state;
pub mod transaction;

use bytes::Bytes;
use labrys_raft::{Defects, Entry, LogIndex, Payload};

pub use command::{
    Body, Command, CommandError, Commit, Condition, Isolation, LeaseId, LockToken, Operand, Operation,
    Placement, RangeQuery, ReadItem, Relation, Revision, SessionId, Stamped, Step, Transaction,
};
pub use digest::Digests;
pub use keys::{Change, MAX_RANGE_ITEMS, RevisionChanges};
pub use keys_hash::KeysHash;
pub(crate) use outcome::RECORD_BYTES;
pub use outcome::{Done, LockHolder, Outcome, RangeResult, Record, RevisionProblem, StepProblem, StepResult};
pub use query::{ChangeBatch, Found, LeaseView, Query, Reading};
pub use sessions::{Admission, SessionLimits, Sessions};
pub use snapshot::{MachineSnapshot, RestoreError};
pub use state::Surroundings;

use state::{Setting, State};

/// The bounds of a state machine. They are part of its definition: all nodes of a cluster must have the same.
#[derive(Clone, Copy, Debug)]
pub struct MachineOptions {
    /// What is remembered of clients.
    pub sessions: SessionLimits,
    /// How many of the latest digests are kept for questions. Not part of the replicated state.
    pub kept_digests: usize,
    /// Older revisions than this many are compacted without being asked.
    pub retained_revisions: u64,
    /// Older revisions are compacted, too, as far as what is kept of the states before the latest has more bytes than this.
    pub max_history_bytes: u64,
    /// Most bytes of the latest state: keys, values and locks, with about what is needed to keep them. What would make it larger
    /// is not carried out; what makes it smaller is.
    pub max_state_bytes: u64,
    /// Most changes that are compared with the ranges that an interactive transaction has read.
    pub max_compared_changes: usize,
    /// Most keys or changes that a read looks at without finding anything; not part of the replicated state.
    pub max_visited: usize,
    /// Most bytes in all that one transaction writes. More than a value and a key.
    pub max_revision_bytes: usize,
    /// Most leases at a time.
    pub max_leases: usize,
    /// Most bytes in a value.
    pub max_value_bytes: usize,
    /// Most bytes in what a transaction or a range reads. More than a value and a key.
    pub max_result_bytes: usize,
}

impl Default for MachineOptions {
    fn default() -> Self {
        MachineOptions {
            sessions: SessionLimits {
                count: 262_144,
                bytes: 256 * 1024 * 1024,
                ttl_ms: 3_600_000,
                first_write_ms: 600_000,
            },
            kept_digests: 16_384,
            retained_revisions: 100_000,
            max_history_bytes: 256 * 1024 * 1024,
            max_state_bytes: 2 * 1024 * 1024 * 1024,
            max_compared_changes: 100_000,
            max_visited: 10_000,
            max_revision_bytes: crate::api::MAX_REVISION_BYTES,
            max_leases: 65_536,
            max_value_bytes: crate::api::MAX_VALUE_BYTES,
            max_result_bytes: crate::api::MAX_RESULT_BYTES,
        }
    }
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    setting: Setting,
    digests: Digests,
}

impl Machine {
    /// An empty one, as before the first entry.
    #[must_use]
    pub fn new(options: MachineOptions, defects: Defects) -> Machine {
        Machine {
            state: State::default(),
            setting: Setting { options, defects, surroundings: Surroundings::default() },
            digests: Digests::new(options.kept_digests),
        }
    }

    /// Tells what the replica knows besides the log, for the defects that look at it.
    pub fn set_surroundings(&mut self, surroundings: Surroundings) {
        self.setting.surroundings = surroundings;
    }

    /// Applies the next entry. `None` if it carries no client's command.
    ///
    /// # Panics
    ///
    /// If the entry is not the next one: an entry skipped or applied twice is the divergence that all of Raft is there to
    /// prevent, and going on would hide it.
    pub fn apply(&mut self, entry: &Entry) -> Option<Outcome> {
        assert_eq!(entry.index, self.state.applied.next(), "entries are applied in order, each once");
        self.state.applied = entry.index;
        let revision = self.state.keys.revision();
        let outcome = match &entry.payload {
            Payload::Noop | Payload::Membership(_) => None,
            Payload::Command(bytes) => self.state.apply(bytes, entry.index, &self.setting),
        };
        self.digests.add(entry, outcome.as_ref(), &self.state, revision);
        outcome
    }

    /// The latest value of `key` in the applied state.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.state.keys.get(key).map(|record| &record.value)
    }

    /// The latest state of the keys.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.keys.revision()
    }

    /// Log time: the largest stamp applied, in milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.state.time_ms
    }

    /// When, in log time, the next lease expires, and which.
    #[must_use]
    pub fn next_expiry(&self) -> Option<(u64, LeaseId)> {
        self.state.leases.first_to_expire()
    }

    /// Index of the last entry applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.state.applied
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
        self.state.keys.len()
    }

    /// About how many bytes the latest state takes; held against [`MachineOptions::max_state_bytes`].
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.state.size_bytes()
    }

    /// About how many bytes the states before it take; held against [`MachineOptions::max_history_bytes`].
    #[must_use]
    pub fn history_bytes(&self) -> u64 {
        self.state.keys.history_bytes()
    }

    /// How many sessions are remembered.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.state.sessions.len()
    }

    /// How many leases there are.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.state.leases.len()
    }
}

#[cfg(test)]
pub(crate) mod tests;
