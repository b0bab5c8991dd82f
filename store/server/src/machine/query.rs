//! Reading the applied state: keys, leases, locks, and what changed since a revision.

use std::sync::Arc;

use bytes::Bytes;
use labrys_raft::{Defect, LogIndex};

use super::keys::{MAX_RANGE_ITEMS, RevisionChanges};
use super::outcome::{LockHolder, RECORD_BYTES, RangeResult, Record, RevisionProblem};
use super::{LeaseId, Machine, MachineOptions, RangeQuery, Revision};

/// Something to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Nothing but where the state is: how an interactive transaction begins.
    Revision,
    /// A key.
    Get {
        /// The key.
        key: Bytes,
        /// In which state; `None`: the latest.
        revision: Option<Revision>,
    },
    /// Keys in order.
    Range {
        /// Which.
        range: RangeQuery,
        /// In which state; `None`: the latest.
        revision: Option<Revision>,
    },
    /// A lease.
    Lease {
        /// Which.
        lease: LeaseId,
    },
    /// Who holds a lock.
    Lock {
        /// Which.
        name: Bytes,
    },
}

/// What was read, and in which state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Index of the last entry applied.
    pub applied: LogIndex,
    /// The latest state, also if an older one was read.
    pub revision: Revision,
    /// The first state that can be read.
    pub compacted: Revision,
    /// What was read.
    pub found: Found,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was asked for.
    Revision,
    /// A key; `None`: it does not exist.
    Value(Option<Arc<Record>>),
    /// Keys.
    Range(RangeResult),
    /// None of the first keys of the range is in that state, and no further ones were looked at, for the time being.
    NoneBefore {
        /// The key from which on to look.
        next: Bytes,
    },
    /// A lease; `None`: it does not exist (any more).
    Lease(Option<LeaseView>),
    /// A lock's holder; `None`: it is free.
    Lock(Option<LockHolder>),
    /// The state asked for cannot be read.
    Problem(RevisionProblem),
}

/// A look at a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// How long it lasts without a renewal.
    pub ttl_ms: u64,
    /// How long it lasts from now on, by the log time of the last command.
    pub left_ms: u64,
    /// The keys that end with it.
    pub key_count: u64,
    /// The locks that end with it.
    pub lock_count: u64,
}

/// Some of what changed since a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeBatch {
    /// In order; revisions that changed nothing of interest are left out.
    pub revisions: Vec<RevisionChanges>,
    /// Everything up to and including this revision has been looked at.
    pub through: Revision,
}

impl Machine {
    /// Reads something. O(log n), and O(items) for a range; of an earlier state, O([`MachineOptions::max_visited`]).
    #[must_use]
    pub fn read(&self, query: &Query) -> Reading {
        let keys = &self.state.keys;
        let readable = |asked: &Option<Revision>| {
            keys.readable(asked.filter(|_| !self.setting.defects.has(Defect::TxnReadsLatest)))
        };
        let found = match query {
            Query::Revision => Found::Revision,
            Query::Get { key, revision } => match readable(revision) {
                Ok(revision) => Found::Value(keys.get_at(key, revision).cloned()),
                Err(problem) => Found::Problem(problem),
            },
            Query::Range { range, revision } => match readable(revision) {
                Ok(revision) => {
                    let MachineOptions { max_result_bytes, max_visited, .. } = self.setting.options;
                    match keys.range(range, revision, MAX_RANGE_ITEMS, max_result_bytes, max_visited) {
                        Ok(result) => Found::Range(result),
                        Err(next) => Found::NoneBefore { next },
                    }
                }
                Err(problem) => Found::Problem(problem),
            },
            Query::Lease { lease } => Found::Lease(self.state.leases.get(*lease).map(|lease| LeaseView {
                ttl_ms: lease.ttl_ms,
                left_ms: lease.expires_ms.saturating_sub(self.state.time_ms),
                key_count: lease.keys.len() as u64,
                lock_count: lease.locks.len() as u64,
            })),
            Query::Lock { name } => Found::Lock(self.state.locks.holder(name)),
        };
        let (revision, compacted) = (keys.revision(), keys.compacted());
        Reading { applied: self.state.applied, revision, compacted, found }
    }

    /// What the revisions from `from` on changed in `range`, in order, each change once and all of a revision together: as
    /// many as `max_bytes` of keys and values allow, though at least one revision, and of at most `max_revisions` looked at, or
    /// fewer, if these have more than [`MachineOptions::max_visited`] changes.
    ///
    /// # Errors
    ///
    /// If revisions from `from` on are compacted: the first that is not.
    pub fn changes(
        &self,
        from: Revision,
        range: &RangeQuery,
        max_revisions: usize,
        max_bytes: usize,
    ) -> Result<ChangeBatch, Revision> {
        let keys = &self.state.keys;
        // The state at the mark can be read, but what led to it is forgotten.
        let first = keys.compacted().next();
        if from < first && keys.compacted() > Revision(0) {
            return Err(first);
        }
        let mut batch = ChangeBatch { revisions: Vec::new(), through: Revision(from.0.saturating_sub(1)) };
        let (mut bytes, mut visited) = (0, 0);
        for (revision, all) in keys.changed_from(from).take(max_revisions) {
            visited += all.len();
            if visited > self.setting.options.max_visited && visited > all.len() {
                break;
            }
            let changed = keys.changes_of(revision, all.iter().filter(|key| range.contains(key)));
            bytes += changed
                .changes
                .iter()
                .map(|change| {
                    change.key.len()
                        + change.record.as_ref().map_or(RECORD_BYTES, |record| record.size_bytes())
                })
                .sum::<usize>();
            if bytes > max_bytes && !batch.revisions.is_empty() {
                break;
            }
            batch.through = changed.revision;
            if !changed.changes.is_empty() {
                batch.revisions.push(changed);
            }
        }
        Ok(batch)
    }
}
