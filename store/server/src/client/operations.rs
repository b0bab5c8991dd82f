//! What a client can do, as methods. Every method ends within its time limit and one pause; a [`ClientError`] says whether the
//! operation is known not to have happened. What the store itself has to say (a condition did not hold, a lease has ended, a
//! revision is compacted) is not an error but the result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::errors::ClientError;
use super::logic::{Request, Success, Written};
use super::transport::StoreClient;
use crate::machine::{
    Commit, Done, Found, LeaseId, LeaseView, LockHolder, LockToken, Operation, Query, RangeQuery,
    RangeResult, Reading, Record, Revision, RevisionProblem, Step, StepProblem, StepResult, Transaction,
};

/// How a compare-and-set ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareAndSet {
    /// The key had the expected value and has the new one.
    Swapped,
    /// It had not; nothing has changed.
    NotSwapped {
        /// What it had; `None`: the key does not exist.
        actual: Option<Bytes>,
    },
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transacted {
    /// The one list or the other was carried out.
    Done {
        /// Whether the conditions held.
        held: bool,
        /// One result for each step.
        results: Vec<StepResult>,
        /// The state after it; the one that it made, if it changed anything.
        revision: Revision,
    },
    /// Nothing has changed: a step cannot be done.
    Aborted {
        /// Whether the conditions held.
        held: bool,
        /// Which step of that list, from 0.
        step: u32,
        /// Why.
        problem: StepProblem,
    },
}

/// How taking a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The lock is the lease's. The token goes into the condition of every write that the lock protects.
    Taken(LockToken),
    /// Another has it.
    Busy(LockHolder),
    /// The lease has ended.
    LeaseUnknown,
}

/// The keys that begin with `prefix`.
#[must_use]
pub fn prefix(prefix: impl Into<Bytes>) -> RangeQuery {
    let start: Bytes = prefix.into();
    // The first key after them: the prefix with its last byte one higher, without the bytes that cannot be.
    let end = start.iter().rposition(|byte| *byte < u8::MAX).map(|last| {
        let mut end = start[..=last].to_vec();
        end[last] += 1;
        end.into()
    });
    RangeQuery { start, end, limit: 0 }
}

impl StoreClient {
    /// The value of `key`; `None` if it does not exist. Linearizable.
    pub async fn get(
        &mut self,
        key: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Option<Bytes>, ClientError> {
        let query = Query::Get { key: key.into(), revision: None };
        match self.read(query, timeout).await?.found {
            Found::Value(record) => Ok(record.map(|record| record.value.clone())),
            other => unreachable!("the logic lets no {other:?} through for the latest value"),
        }
    }

    /// What `key` had in the state `revision`, or has in the latest one.
    pub async fn get_at(
        &mut self,
        key: impl Into<Bytes>,
        revision: Option<Revision>,
        timeout: Duration,
    ) -> Result<Result<Option<Arc<Record>>, RevisionProblem>, ClientError> {
        match self.read(Query::Get { key: key.into(), revision }, timeout).await?.found {
            Found::Value(record) => Ok(Ok(record)),
            Found::Problem(problem) => Ok(Err(problem)),
            other => unreachable!("the logic lets no {other:?} through for a key"),
        }
    }

    /// Keys in order, of the state `revision` or the latest one.
    pub async fn range(
        &mut self,
        range: RangeQuery,
        revision: Option<Revision>,
        timeout: Duration,
    ) -> Result<Result<RangeResult, RevisionProblem>, ClientError> {
        match self.read(Query::Range { range, revision }, timeout).await?.found {
            Found::Range(range) => Ok(Ok(range)),
            Found::Problem(problem) => Ok(Err(problem)),
            other => unreachable!("the logic lets no {other:?} through for a range"),
        }
    }

    /// Sets `key`.
    pub async fn put(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        self.write(Operation::put(key, value), timeout).await.map(|_| ())
    }

    /// Sets `key` until `lease` ends.
    pub async fn put_with_lease(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        lease: LeaseId,
        timeout: Duration,
    ) -> Result<Result<(), StepProblem>, ClientError> {
        let step = Step::Put { key: key.into(), value: value.into(), lease: Some(lease) };
        Ok(self.step(step, timeout).await?.map(|_| ()))
    }

    /// Sets `key` if it has the value `expected` (`None`: if it does not exist).
    pub async fn compare_and_set(
        &mut self,
        key: impl Into<Bytes>,
        expected: Option<Bytes>,
        value: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<CompareAndSet, ClientError> {
        match self.write(Operation::compare_and_set(key, expected, value), timeout).await?.done {
            Done::Step(StepResult::Swapped) => Ok(CompareAndSet::Swapped),
            Done::Step(StepResult::NotSwapped { actual }) => Ok(CompareAndSet::NotSwapped { actual }),
            other => unreachable!("the logic lets no {other:?} through for a compare-and-set"),
        }
    }

    /// Removes `key`; says whether it existed.
    pub async fn delete(&mut self, key: impl Into<Bytes>, timeout: Duration) -> Result<bool, ClientError> {
        match self.write(Operation::delete(key), timeout).await?.done {
            Done::Step(StepResult::Deleted { existed }) => Ok(existed),
            other => unreachable!("the logic lets no {other:?} through for a deletion"),
        }
    }

    /// Adds to the end of a value; gives its length.
    pub async fn append(
        &mut self,
        key: impl Into<Bytes>,
        suffix: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Result<u64, StepProblem>, ClientError> {
        let step = Step::Append { key: key.into(), suffix: suffix.into() };
        Ok(self.step(step, timeout).await?.map(|result| match result {
            StepResult::Appended { length_bytes } => length_bytes,
            other => unreachable!("the logic lets no {other:?} through for an append"),
        }))
    }

    /// Adds to a number; gives its new value.
    pub async fn increment(
        &mut self,
        key: impl Into<Bytes>,
        by: i64,
        timeout: Duration,
    ) -> Result<Result<i64, StepProblem>, ClientError> {
        let step = Step::Increment { key: key.into(), by };
        Ok(self.step(step, timeout).await?.map(|result| match result {
            StepResult::Incremented { value } => value,
            other => unreachable!("the logic lets no {other:?} through for an increment"),
        }))
    }

    /// A write of one step.
    async fn step(
        &mut self,
        step: Step,
        timeout: Duration,
    ) -> Result<Result<StepResult, StepProblem>, ClientError> {
        match self.write(Operation::Step(step), timeout).await?.done {
            Done::Step(StepResult::Problem(problem)) => Ok(Err(problem)),
            Done::Step(result) => Ok(Ok(result)),
            other => unreachable!("the logic lets no {other:?} through for a step"),
        }
    }

    /// Carries out one list of steps or the other, at one position of the log.
    pub async fn transact(
        &mut self,
        transaction: Transaction,
        timeout: Duration,
    ) -> Result<Transacted, ClientError> {
        let written = self.write(Operation::Transaction(transaction), timeout).await?;
        match written.done {
            Done::Transaction { held, results } => {
                Ok(Transacted::Done { held, results, revision: written.revision })
            }
            Done::Aborted { held, step, problem } => Ok(Transacted::Aborted { held, step, problem }),
            other => unreachable!("the logic lets no {other:?} through for a transaction"),
        }
    }

    /// Ends an interactive transaction: [`Done::Committed`], [`Done::Conflict`] or [`Done::Revision`].
    pub async fn commit(&mut self, commit: Commit, timeout: Duration) -> Result<Written, ClientError> {
        self.write(Operation::Commit(commit), timeout).await
    }

    /// Forgets the states before `revision`; gives the first that can be read.
    pub async fn compact(
        &mut self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Result<Revision, RevisionProblem>, ClientError> {
        match self.write(Operation::Compact { revision }, timeout).await?.done {
            Done::Compacted { first } => Ok(Ok(first)),
            Done::Revision(problem) => Ok(Err(problem)),
            other => unreachable!("the logic lets no {other:?} through for a compaction"),
        }
    }

    /// A new lease; `None`: there are as many as there may be.
    pub async fn grant_lease(
        &mut self,
        ttl_ms: u64,
        timeout: Duration,
    ) -> Result<Option<LeaseId>, ClientError> {
        match self.write(Operation::GrantLease { ttl_ms }, timeout).await?.done {
            Done::LeaseGranted { lease } => Ok(Some(lease)),
            _ => Ok(None),
        }
    }

    /// Makes a lease last its whole time again; false: it has ended.
    pub async fn renew_lease(&mut self, lease: LeaseId, timeout: Duration) -> Result<bool, ClientError> {
        let written = self.write(Operation::RenewLease { lease }, timeout).await?;
        Ok(matches!(written.done, Done::LeaseRenewed { .. }))
    }

    /// Ends a lease, with its keys and locks; false: it had ended.
    pub async fn revoke_lease(&mut self, lease: LeaseId, timeout: Duration) -> Result<bool, ClientError> {
        Ok(self.write(Operation::RevokeLease { lease }, timeout).await?.done == Done::LeaseRevoked)
    }

    /// A look at a lease; `None`: it has ended.
    pub async fn lease(
        &mut self,
        lease: LeaseId,
        timeout: Duration,
    ) -> Result<Option<LeaseView>, ClientError> {
        match self.read(Query::Lease { lease }, timeout).await?.found {
            Found::Lease(view) => Ok(view),
            other => unreachable!("the logic lets no {other:?} through for a lease"),
        }
    }

    /// Takes a lock if it is free.
    pub async fn acquire_lock(
        &mut self,
        name: impl Into<Bytes>,
        lease: LeaseId,
        timeout: Duration,
    ) -> Result<Acquired, ClientError> {
        match self.write(Operation::AcquireLock { name: name.into(), lease }, timeout).await?.done {
            Done::LockAcquired { token } => Ok(Acquired::Taken(token)),
            Done::LockBusy { holder } => Ok(Acquired::Busy(holder)),
            _ => Ok(Acquired::LeaseUnknown),
        }
    }

    /// Gives a lock back; false: that acquisition did not hold it any more.
    pub async fn release_lock(
        &mut self,
        name: impl Into<Bytes>,
        token: LockToken,
        timeout: Duration,
    ) -> Result<bool, ClientError> {
        let written = self.write(Operation::ReleaseLock { name: name.into(), token }, timeout).await?;
        Ok(written.done == Done::LockReleased)
    }

    /// Who holds a lock; `None`: it is free.
    pub async fn lock_holder(
        &mut self,
        name: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Option<LockHolder>, ClientError> {
        match self.read(Query::Lock { name: name.into() }, timeout).await?.found {
            Found::Lock(holder) => Ok(holder),
            other => unreachable!("the logic lets no {other:?} through for a lock"),
        }
    }

    /// Reads anything.
    pub async fn read(&mut self, query: Query, timeout: Duration) -> Result<Reading, ClientError> {
        match self.perform(Request::Read(query), timeout).await? {
            Success::Read(reading) => Ok(reading),
            other => unreachable!("the logic lets no {other:?} through for a read"),
        }
    }

    /// Carries out any write.
    pub async fn write(&mut self, operation: Operation, timeout: Duration) -> Result<Written, ClientError> {
        match self.perform(Request::Write(operation), timeout).await? {
            Success::Written(written) => Ok(written),
            other => unreachable!("the logic lets no {other:?} through for a write"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_range_of_the_keys_that_begin_with_it() {
        for (start, inside, outside) in [
            (&b"ab"[..], &[&b"ab"[..], b"ab\0", b"ab\xff\xff"][..], &[&b"a"[..], b"ac", b"b"][..]),
            (b"a\xff", &[b"a\xff", b"a\xff\xff"], &[b"a\xfe", b"b"]),
            (b"\xff", &[b"\xff", b"\xff\xff"], &[b"\xfe\xff"]),
            (b"", &[b"", b"\xff"], &[]),
        ] {
            let range = prefix(start);
            assert!(inside.iter().all(|key| range.contains(key)), "{range:?}");
            assert!(!outside.iter().any(|key| range.contains(key)), "{range:?}");
        }
    }
}
