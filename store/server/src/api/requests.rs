//! Requests between their form in gRPC and the state machine's. What comes in may be anything: a field that is missing or makes no
//! sense is a definite refusal that names it. The lists in it are bounded by the size of a gRPC message.

use super::limits::malformed;
use super::{
    KeyRange, Nothing, ReadRequest, Refused, SessionRequest, WriteRequest, condition, key_condition,
    read_item, read_request, step, write_request,
};
use crate::api;
use crate::machine::{
    Commit, Condition, Isolation, LeaseId, LockToken, Operand, Operation, Placement, Query, RangeQuery,
    ReadItem, Relation, Revision, SessionId, Step, Transaction,
};
use labrys_raft::ReadMode;

use bytes::Bytes;

impl From<KeyRange> for RangeQuery {
    fn from(range: KeyRange) -> RangeQuery {
        RangeQuery { start: range.start, end: range.end, limit: range.limit }
    }
}

impl From<RangeQuery> for KeyRange {
    fn from(range: RangeQuery) -> KeyRange {
        KeyRange { start: range.start, end: range.end, limit: range.limit }
    }
}

impl TryFrom<Option<SessionRequest>> for Placement {
    type Error = Refused;

    fn try_from(session: Option<SessionRequest>) -> Result<Placement, Refused> {
        let session = session.ok_or_else(|| malformed("a write needs a session"))?;
        let Ok(id) = <[u8; 16]>::try_from(&session.session_id[..]) else {
            return Err(malformed("a session id has 16 bytes"));
        };
        if session.sequence == 0 {
            return Err(malformed("sequence numbers begin at 1"));
        }
        let session_id = SessionId(u128::from_be_bytes(id));
        Ok(Placement { session: session_id, sequence: session.sequence, established: session.established })
    }
}

impl From<Placement> for SessionRequest {
    fn from(placement: Placement) -> SessionRequest {
        SessionRequest {
            session_id: Bytes::copy_from_slice(&placement.session.0.to_be_bytes()),
            sequence: placement.sequence,
            established: placement.established,
        }
    }
}

impl TryFrom<ReadRequest> for Query {
    type Error = Refused;

    fn try_from(request: ReadRequest) -> Result<Query, Refused> {
        use read_request::Query as Asked;
        let revision = request.revision.map(Revision);
        let query = request.query.ok_or_else(|| malformed("a read needs a query"))?;
        Ok(match query {
            Asked::Key(key) => Query::Get { key, revision },
            Asked::Range(range) => Query::Range { range: range.into(), revision },
            _ if revision.is_some() => return Err(malformed("only keys and ranges are read at a revision")),
            Asked::Nothing(Nothing {}) => Query::Revision,
            Asked::LeaseId(lease) => Query::Lease { lease: LeaseId(lease) },
            Asked::LockName(name) => Query::Lock { name },
        })
    }
}

impl ReadRequest {
    /// The request for a query.
    #[must_use]
    pub fn new(request_id: u64, query: Query, mode: ReadMode) -> ReadRequest {
        use read_request::Query as Asked;
        let (revision, query) = match query {
            Query::Revision => (None, Asked::Nothing(Nothing {})),
            Query::Get { key, revision } => (revision, Asked::Key(key)),
            Query::Range { range, revision } => (revision, Asked::Range(range.into())),
            Query::Lease { lease } => (None, Asked::LeaseId(lease.0)),
            Query::Lock { name } => (None, Asked::LockName(name)),
        };
        let read_mode = super::ReadMode::from(mode).into();
        ReadRequest {
            request_id,
            revision: revision.map(|revision| revision.0),
            query: Some(query),
            read_mode,
        }
    }
}

impl TryFrom<write_request::Operation> for Operation {
    type Error = Refused;

    fn try_from(operation: write_request::Operation) -> Result<Operation, Refused> {
        use write_request::Operation as Asked;
        Ok(match operation {
            Asked::Step(step) => Operation::Step(step.try_into()?),
            Asked::Transaction(transaction) => Operation::Transaction(Transaction {
                conditions: all(transaction.conditions)?,
                then: all(transaction.then)?,
                otherwise: all(transaction.otherwise)?,
            }),
            Asked::Commit(commit) => Operation::Commit(commit.try_into()?),
            Asked::CompactRevision(revision) => Operation::Compact { revision: Revision(revision) },
            Asked::GrantLeaseTtlMs(ttl_ms) => Operation::GrantLease { ttl_ms },
            Asked::RenewLeaseId(lease) => Operation::RenewLease { lease: LeaseId(lease) },
            Asked::RevokeLeaseId(lease) => Operation::RevokeLease { lease: LeaseId(lease) },
            Asked::AcquireLock(lock) => {
                Operation::AcquireLock { name: lock.name, lease: LeaseId(lock.lease_id) }
            }
            Asked::ReleaseLock(lock) => {
                Operation::ReleaseLock { name: lock.name, token: LockToken(lock.token) }
            }
        })
    }
}

fn all<F, T: TryFrom<F, Error = Refused>>(list: Vec<F>) -> Result<Vec<T>, Refused> {
    list.into_iter().map(T::try_from).collect()
}

impl From<Operation> for write_request::Operation {
    fn from(operation: Operation) -> write_request::Operation {
        use write_request::Operation as Asked;
        match operation {
            Operation::Step(step) => Asked::Step(step.into()),
            Operation::Transaction(Transaction { conditions, then, otherwise }) => {
                Asked::Transaction(api::Transaction {
                    conditions: conditions.into_iter().map(Into::into).collect(),
                    then: then.into_iter().map(Into::into).collect(),
                    otherwise: otherwise.into_iter().map(Into::into).collect(),
                })
            }
            Operation::Commit(commit) => Asked::Commit(commit.into()),
            Operation::Compact { revision } => Asked::CompactRevision(revision.0),
            Operation::GrantLease { ttl_ms } => Asked::GrantLeaseTtlMs(ttl_ms),
            Operation::RenewLease { lease } => Asked::RenewLeaseId(lease.0),
            Operation::RevokeLease { lease } => Asked::RevokeLeaseId(lease.0),
            Operation::AcquireLock { name, lease } => {
                Asked::AcquireLock(api::AcquireLock { name, lease_id: lease.0 })
            }
            Operation::ReleaseLock { name, token } => {
                Asked::ReleaseLock(api::ReleaseLock { name, token: token.0 })
            }
        }
    }
}

impl WriteRequest {
    /// The request for an operation.
    #[must_use]
    pub fn new(request_id: u64, placement: Placement, operation: Operation) -> WriteRequest {
        WriteRequest { request_id, session: Some(placement.into()), operation: Some(operation.into()) }
    }
}

impl TryFrom<api::Step> for Step {
    type Error = Refused;

    fn try_from(step: api::Step) -> Result<Step, Refused> {
        use step::Step as Asked;
        let step = step.step.ok_or_else(|| malformed("a step is empty"))?;
        Ok(match step {
            Asked::Get(key) => Step::Get { key },
            Asked::Range(range) => Step::Range(range.into()),
            Asked::Put(put) => {
                let lease = (put.lease_id != 0).then_some(LeaseId(put.lease_id));
                Step::Put { key: put.key, value: put.value, lease }
            }
            Asked::CompareAndSet(swap) => {
                Step::CompareAndSet { key: swap.key, expected: swap.expected, value: swap.value }
            }
            Asked::Delete(key) => Step::Delete { key },
            Asked::Append(append) => Step::Append { key: append.key, suffix: append.suffix },
            Asked::Increment(increment) => Step::Increment { key: increment.key, by: increment.by },
        })
    }
}

impl From<Step> for api::Step {
    fn from(step: Step) -> api::Step {
        use step::Step as Asked;
        let step = match step {
            Step::Get { key } => Asked::Get(key),
            Step::Range(range) => Asked::Range(range.into()),
            Step::Put { key, value, lease } => {
                Asked::Put(api::PutStep { key, value, lease_id: lease.map_or(0, |lease| lease.0) })
            }
            Step::CompareAndSet { key, expected, value } => {
                Asked::CompareAndSet(api::CompareAndSetStep { key, expected, value })
            }
            Step::Delete { key } => Asked::Delete(key),
            Step::Append { key, suffix } => Asked::Append(api::AppendStep { key, suffix }),
            Step::Increment { key, by } => Asked::Increment(api::IncrementStep { key, by }),
        };
        api::Step { step: Some(step) }
    }
}

impl TryFrom<api::Condition> for Condition {
    type Error = Refused;

    fn try_from(condition: api::Condition) -> Result<Condition, Refused> {
        use key_condition::Operand as Asked;
        let condition = condition.condition.ok_or_else(|| malformed("a condition is empty"))?;
        let key = match condition {
            condition::Condition::Key(key) => key,
            condition::Condition::Lock(lock) => {
                return Ok(Condition::LockHeld { name: lock.name, token: LockToken(lock.token) });
            }
        };
        let relation = match key.relation() {
            api::Relation::Equal => Relation::Equal,
            api::Relation::NotEqual => Relation::NotEqual,
            api::Relation::Less => Relation::Less,
            api::Relation::Greater => Relation::Greater,
            api::Relation::Unspecified => {
                return Err(malformed(format!("relation {} is unknown", key.relation)));
            }
        };
        let operand = match key.operand.ok_or_else(|| malformed("a condition compares with nothing"))? {
            Asked::Value(value) => Operand::Value(value),
            Asked::Version(version) => Operand::Version(version),
            Asked::CreatedRevision(revision) => Operand::Created(Revision(revision)),
            Asked::ModifiedRevision(revision) => Operand::Modified(Revision(revision)),
        };
        Ok(Condition::Key { key: key.key, relation, operand })
    }
}

impl From<Condition> for api::Condition {
    fn from(condition: Condition) -> api::Condition {
        use key_condition::Operand as Asked;
        let condition = match condition {
            Condition::LockHeld { name, token } => {
                condition::Condition::Lock(api::LockCondition { name, token: token.0 })
            }
            Condition::Key { key, relation, operand } => {
                let relation = match relation {
                    Relation::Equal => api::Relation::Equal,
                    Relation::NotEqual => api::Relation::NotEqual,
                    Relation::Less => api::Relation::Less,
                    Relation::Greater => api::Relation::Greater,
                };
                let operand = match operand {
                    Operand::Value(value) => Asked::Value(value),
                    Operand::Version(version) => Asked::Version(version),
                    Operand::Created(revision) => Asked::CreatedRevision(revision.0),
                    Operand::Modified(revision) => Asked::ModifiedRevision(revision.0),
                };
                let (relation, operand) = (relation.into(), Some(operand));
                condition::Condition::Key(api::KeyCondition { key, relation, operand })
            }
        };
        api::Condition { condition: Some(condition) }
    }
}

impl TryFrom<api::Commit> for Commit {
    type Error = Refused;

    fn try_from(commit: api::Commit) -> Result<Commit, Refused> {
        let isolation = match commit.isolation() {
            api::Isolation::Snapshot => Isolation::Snapshot,
            api::Isolation::Serializable => Isolation::Serializable,
            api::Isolation::Unspecified => {
                return Err(malformed(format!("isolation {} is unknown", commit.isolation)));
            }
        };
        let read = |item: api::ReadItem| match item.item {
            Some(read_item::Item::Key(key)) => Ok(ReadItem::Key(key)),
            Some(read_item::Item::Range(range)) => Ok(ReadItem::Range(range.into())),
            None => Err(malformed("an item of the read set is empty")),
        };
        Ok(Commit {
            snapshot: Revision(commit.snapshot_revision),
            isolation,
            reads: commit.reads.into_iter().map(read).collect::<Result<_, _>>()?,
            writes: commit.writes.into_iter().map(|item| (item.key, item.value)).collect(),
        })
    }
}

impl From<Commit> for api::Commit {
    fn from(commit: Commit) -> api::Commit {
        let isolation = match commit.isolation {
            Isolation::Snapshot => api::Isolation::Snapshot,
            Isolation::Serializable => api::Isolation::Serializable,
        };
        let read = |item| api::ReadItem {
            item: Some(match item {
                ReadItem::Key(key) => read_item::Item::Key(key),
                ReadItem::Range(range) => read_item::Item::Range(range.into()),
            }),
        };
        api::Commit {
            snapshot_revision: commit.snapshot.0,
            isolation: isolation.into(),
            reads: commit.reads.into_iter().map(read).collect(),
            writes: commit.writes.into_iter().map(|(key, value)| api::WriteItem { key, value }).collect(),
        }
    }
}
