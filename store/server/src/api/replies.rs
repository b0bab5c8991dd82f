//! Outcomes between the state machine's form and gRPC's. A client takes nothing for granted: a reply that lacks something is
//! none.

use std::sync::Arc;

use labrys_raft::LogIndex;

use super::{
    MaybeRecord, Nothing, RangeItems, ReadOk, WriteOk, read_ok, revision_problem, step_result, write_ok,
};
use crate::api;
use crate::machine::{
    Change, Done, Found, LeaseId, LeaseView, LockHolder, LockToken, RangeResult, Reading, Record, Revision,
    RevisionChanges, RevisionProblem, StepProblem, StepResult,
};

/// A reply that lacks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete(pub &'static str);

impl From<&Record> for api::Record {
    fn from(record: &Record) -> api::Record {
        api::Record {
            value: record.value.clone(),
            created_revision: record.created.0,
            modified_revision: record.modified.0,
            version: record.version,
            lease_id: record.lease.map_or(0, |lease| lease.0),
            modified_ms: record.modified_ms,
        }
    }
}

impl From<api::Record> for Record {
    fn from(record: api::Record) -> Record {
        Record {
            value: record.value,
            created: Revision(record.created_revision),
            modified: Revision(record.modified_revision),
            version: record.version,
            lease: (record.lease_id != 0).then_some(LeaseId(record.lease_id)),
            modified_ms: record.modified_ms,
        }
    }
}

fn maybe_record(record: Option<Arc<Record>>) -> MaybeRecord {
    MaybeRecord { record: record.map(|record| (&*record).into()) }
}

fn from_maybe_record(maybe: MaybeRecord) -> Option<Arc<Record>> {
    maybe.record.map(|record| Arc::new(record.into()))
}

impl From<RangeResult> for RangeItems {
    fn from(range: RangeResult) -> RangeItems {
        let item = |(key, record): (_, Arc<Record>)| api::KeyRecord { key, record: Some((&*record).into()) };
        RangeItems { items: range.items.into_iter().map(item).collect(), more: range.more }
    }
}

impl TryFrom<RangeItems> for RangeResult {
    type Error = Incomplete;

    fn try_from(range: RangeItems) -> Result<RangeResult, Incomplete> {
        let item = |item: api::KeyRecord| {
            let record: Record = item.record.ok_or(Incomplete("an item without a record"))?.into();
            Ok((item.key, Arc::new(record)))
        };
        let items = range.items.into_iter().map(item).collect::<Result<_, _>>()?;
        Ok(RangeResult { items, more: range.more })
    }
}

impl From<RevisionProblem> for api::RevisionProblem {
    fn from(problem: RevisionProblem) -> api::RevisionProblem {
        use revision_problem::Problem;
        let problem = match problem {
            RevisionProblem::Compacted { first } => Problem::CompactedFirstRevision(first.0),
            RevisionProblem::Future { current } => Problem::FutureCurrentRevision(current.0),
        };
        api::RevisionProblem { problem: Some(problem) }
    }
}

impl TryFrom<api::RevisionProblem> for RevisionProblem {
    type Error = Incomplete;

    fn try_from(problem: api::RevisionProblem) -> Result<RevisionProblem, Incomplete> {
        use revision_problem::Problem;
        match problem.problem.ok_or(Incomplete("an empty problem"))? {
            Problem::CompactedFirstRevision(first) => {
                Ok(RevisionProblem::Compacted { first: Revision(first) })
            }
            Problem::FutureCurrentRevision(current) => {
                Ok(RevisionProblem::Future { current: Revision(current) })
            }
        }
    }
}

impl From<LockHolder> for api::LockHolder {
    fn from(holder: LockHolder) -> api::LockHolder {
        api::LockHolder { lease_id: holder.lease.0, token: holder.token.0 }
    }
}

impl From<api::LockHolder> for LockHolder {
    fn from(holder: api::LockHolder) -> LockHolder {
        LockHolder { lease: LeaseId(holder.lease_id), token: LockToken(holder.token) }
    }
}

impl From<Reading> for ReadOk {
    fn from(reading: Reading) -> ReadOk {
        use read_ok::Found as Told;
        let found = match reading.found {
            Found::Revision => Told::Nothing(Nothing {}),
            Found::Value(record) => Told::Record(maybe_record(record)),
            Found::Range(range) => Told::Range(range.into()),
            Found::NoneBefore { .. } => Told::Range(RangeResult { items: Vec::new(), more: true }.into()),
            Found::Lease(None) => Told::Lease(api::MaybeLease::default()),
            Found::Lease(Some(lease)) => Told::Lease(api::MaybeLease {
                exists: true,
                ttl_ms: lease.ttl_ms,
                left_ms: lease.left_ms,
                key_count: lease.key_count,
                lock_count: lease.lock_count,
            }),
            Found::Lock(holder) => Told::Lock(api::MaybeHolder { holder: holder.map(Into::into) }),
            Found::Problem(problem) => Told::Problem(problem.into()),
        };
        ReadOk {
            applied_index: reading.applied.0,
            revision: reading.revision.0,
            compacted_revision: reading.compacted.0,
            found: Some(found),
        }
    }
}

impl TryFrom<ReadOk> for Reading {
    type Error = Incomplete;

    fn try_from(ok: ReadOk) -> Result<Reading, Incomplete> {
        use read_ok::Found as Told;
        let found = match ok.found.ok_or(Incomplete("nothing found and nothing missed"))? {
            Told::Nothing(Nothing {}) => Found::Revision,
            Told::Record(record) => Found::Value(from_maybe_record(record)),
            Told::Range(range) => Found::Range(range.try_into()?),
            Told::Lease(lease) => Found::Lease(lease.exists.then_some(LeaseView {
                ttl_ms: lease.ttl_ms,
                left_ms: lease.left_ms,
                key_count: lease.key_count,
                lock_count: lease.lock_count,
            })),
            Told::Lock(lock) => Found::Lock(lock.holder.map(Into::into)),
            Told::Problem(problem) => Found::Problem(problem.try_into()?),
        };
        Ok(Reading {
            applied: LogIndex(ok.applied_index),
            revision: Revision(ok.revision),
            compacted: Revision(ok.compacted_revision),
            found,
        })
    }
}

impl From<StepProblem> for api::StepProblem {
    fn from(problem: StepProblem) -> api::StepProblem {
        match problem {
            StepProblem::NotANumber => api::StepProblem::NotANumber,
            StepProblem::Overflow => api::StepProblem::Overflow,
            StepProblem::ValueTooLarge => api::StepProblem::ValueTooLarge,
            StepProblem::ResultTooLarge => api::StepProblem::ResultTooLarge,
            StepProblem::LeaseUnknown => api::StepProblem::LeaseUnknown,
            StepProblem::WritesTooLarge => api::StepProblem::WritesTooLarge,
        }
    }
}

fn step_problem(number: i32) -> Result<StepProblem, Incomplete> {
    match api::StepProblem::try_from(number) {
        Ok(api::StepProblem::NotANumber) => Ok(StepProblem::NotANumber),
        Ok(api::StepProblem::Overflow) => Ok(StepProblem::Overflow),
        Ok(api::StepProblem::ValueTooLarge) => Ok(StepProblem::ValueTooLarge),
        Ok(api::StepProblem::ResultTooLarge) => Ok(StepProblem::ResultTooLarge),
        Ok(api::StepProblem::LeaseUnknown) => Ok(StepProblem::LeaseUnknown),
        Ok(api::StepProblem::WritesTooLarge) => Ok(StepProblem::WritesTooLarge),
        Ok(api::StepProblem::Unspecified) | Err(_) => Err(Incomplete("an unknown problem of a step")),
    }
}

impl From<StepResult> for api::StepResult {
    fn from(result: StepResult) -> api::StepResult {
        use step_result::Result as Told;
        let result = match result {
            StepResult::Value(record) => Told::Record(maybe_record(record)),
            StepResult::Range(range) => Told::Range(range.into()),
            StepResult::Put => Told::Put(Nothing {}),
            StepResult::Swapped => Told::Swapped(Nothing {}),
            StepResult::NotSwapped { actual } => Told::NotSwapped(api::NotSwapped { actual }),
            StepResult::Deleted { existed } => Told::DeletedExisted(existed),
            StepResult::Appended { length_bytes } => Told::AppendedLengthBytes(length_bytes),
            StepResult::Incremented { value } => Told::IncrementedValue(value),
            StepResult::Problem(problem) => Told::Problem(api::StepProblem::from(problem).into()),
        };
        api::StepResult { result: Some(result) }
    }
}

impl TryFrom<api::StepResult> for StepResult {
    type Error = Incomplete;

    fn try_from(result: api::StepResult) -> Result<StepResult, Incomplete> {
        use step_result::Result as Told;
        Ok(match result.result.ok_or(Incomplete("an empty result"))? {
            Told::Record(record) => StepResult::Value(from_maybe_record(record)),
            Told::Range(range) => StepResult::Range(range.try_into()?),
            Told::Put(Nothing {}) => StepResult::Put,
            Told::Swapped(Nothing {}) => StepResult::Swapped,
            Told::NotSwapped(api::NotSwapped { actual }) => StepResult::NotSwapped { actual },
            Told::DeletedExisted(existed) => StepResult::Deleted { existed },
            Told::AppendedLengthBytes(length_bytes) => StepResult::Appended { length_bytes },
            Told::IncrementedValue(value) => StepResult::Incremented { value },
            Told::Problem(number) => StepResult::Problem(step_problem(number)?),
        })
    }
}

impl From<Done> for write_ok::Done {
    fn from(done: Done) -> write_ok::Done {
        use write_ok::Done as Told;
        match done {
            Done::Step(result) => Told::Step(result.into()),
            Done::Transaction { held, results } => Told::Transaction(api::TransactionDone {
                held,
                results: results.into_iter().map(Into::into).collect(),
            }),
            Done::Aborted { held, step, problem } => Told::Aborted(api::TransactionAborted {
                held,
                step,
                problem: api::StepProblem::from(problem).into(),
            }),
            Done::Committed => Told::Committed(Nothing {}),
            Done::Conflict { key, revision } => {
                Told::Conflict(api::CommitConflict { key, revision: revision.0 })
            }
            Done::Revision(problem) => Told::Problem(problem.into()),
            Done::Compacted { first } => Told::CompactedFirstRevision(first.0),
            Done::LeaseGranted { lease } => Told::LeaseGrantedId(lease.0),
            Done::LeaseRenewed { ttl_ms } => Told::LeaseRenewedTtlMs(ttl_ms),
            Done::LeaseRevoked => Told::LeaseRevoked(Nothing {}),
            Done::LeaseUnknown => Told::LeaseUnknown(Nothing {}),
            Done::TooManyLeases => Told::TooManyLeases(Nothing {}),
            Done::LockAcquired { token } => Told::LockAcquiredToken(token.0),
            Done::LockBusy { holder } => Told::LockBusy(holder.into()),
            Done::LockReleased => Told::LockReleased(Nothing {}),
            Done::LockNotHeld => Told::LockNotHeld(Nothing {}),
        }
    }
}

impl TryFrom<write_ok::Done> for Done {
    type Error = Incomplete;

    fn try_from(done: write_ok::Done) -> Result<Done, Incomplete> {
        use write_ok::Done as Told;
        Ok(match done {
            Told::Step(result) => Done::Step(result.try_into()?),
            Told::Transaction(done) => Done::Transaction {
                held: done.held,
                results: done.results.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            },
            Told::Aborted(aborted) => Done::Aborted {
                held: aborted.held,
                step: aborted.step,
                problem: step_problem(aborted.problem)?,
            },
            Told::Committed(Nothing {}) => Done::Committed,
            Told::Conflict(conflict) => {
                Done::Conflict { key: conflict.key, revision: Revision(conflict.revision) }
            }
            Told::Problem(problem) => Done::Revision(problem.try_into()?),
            Told::CompactedFirstRevision(first) => Done::Compacted { first: Revision(first) },
            Told::LeaseGrantedId(lease) => Done::LeaseGranted { lease: LeaseId(lease) },
            Told::LeaseRenewedTtlMs(ttl_ms) => Done::LeaseRenewed { ttl_ms },
            Told::LeaseRevoked(Nothing {}) => Done::LeaseRevoked,
            Told::LeaseUnknown(Nothing {}) => Done::LeaseUnknown,
            Told::TooManyLeases(Nothing {}) => Done::TooManyLeases,
            Told::LockAcquiredToken(token) => Done::LockAcquired { token: LockToken(token) },
            Told::LockBusy(holder) => Done::LockBusy { holder: holder.into() },
            Told::LockReleased(Nothing {}) => Done::LockReleased,
            Told::LockNotHeld(Nothing {}) => Done::LockNotHeld,
        })
    }
}

impl WriteOk {
    /// The outcome of a command that was carried out.
    #[must_use]
    pub fn new(index: LogIndex, revision: Revision, done: Done) -> WriteOk {
        WriteOk { index: index.0, revision: revision.0, done: Some(done.into()) }
    }
}

impl From<RevisionChanges> for api::RevisionChanges {
    fn from(changes: RevisionChanges) -> api::RevisionChanges {
        let change = |change: Change| api::Change {
            key: change.key,
            record: change.record.map(|record| (&*record).into()),
        };
        api::RevisionChanges {
            revision: changes.revision.0,
            changes: changes.changes.into_iter().map(change).collect(),
        }
    }
}

impl From<api::RevisionChanges> for RevisionChanges {
    fn from(changes: api::RevisionChanges) -> RevisionChanges {
        let change = |change: api::Change| Change {
            key: change.key,
            record: change.record.map(|record| Arc::new(record.into())),
        };
        RevisionChanges {
            revision: Revision(changes.revision),
            changes: changes.changes.into_iter().map(change).collect(),
        }
    }
}
