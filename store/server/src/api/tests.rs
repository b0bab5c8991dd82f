//! What comes in from outside may be anything: nothing of it panics, and nothing of it is larger than the limits say.
//! `LABRYS_STORE_CASES` runs more cases.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::limits::{
    MAX_COMMAND_BYTES, MAX_COMMIT_ITEMS, MAX_COMMIT_RANGES, MAX_STEPS, MAX_TTL_MS, check_operation,
    check_query,
};
use super::*;
use crate::machine::tests::properties::{cases, operation};
use crate::machine::{
    Commit, Isolation, LeaseId, Operation, Placement, Query, RangeQuery, ReadItem, Revision, SessionId, Step,
    Transaction,
};

/// What a service does with a write before anything else; the operation and its bytes, if it is taken.
fn take_write(request: WriteRequest) -> Result<(Operation, usize), Refused> {
    Placement::try_from(request.session)?;
    let operation = request.operation.ok_or_else(|| limits::malformed("a write needs an operation"))?;
    let operation = Operation::try_from(operation)?;
    let bytes = check_operation(&operation)?;
    Ok((operation, bytes))
}

fn take_read(request: ReadRequest) -> Result<Query, Refused> {
    let query = Query::try_from(request)?;
    check_query(&query)?;
    Ok(query)
}

fn placement() -> Placement {
    Placement { session: SessionId(7), sequence: 1, established: true }
}

fn is_definite(refused: &Refused) -> bool {
    let known = matches!(refused.code(), RefusalCode::Malformed | RefusalCode::TooLarge);
    refused.definite && known && !refused.message.is_empty()
}

fn any_query() -> impl Strategy<Value = Query> {
    let key = || prop::collection::vec(any::<u8>(), 0..8).prop_map(Bytes::from);
    let revision = || prop::option::of(any::<u64>().prop_map(Revision));
    prop_oneof![
        Just(Query::Revision),
        (key(), revision()).prop_map(|(key, revision)| Query::Get { key, revision }),
        (key(), prop::option::of(key()), any::<u32>(), revision()).prop_map(
            |(start, end, limit, revision)| {
                Query::Range { range: RangeQuery { start, end, limit }, revision }
            }
        ),
        any::<u64>().prop_map(|lease| Query::Lease { lease: LeaseId(lease) }),
        key().prop_map(|name| Query::Lock { name }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_request_arrives_as_it_was_sent(operation in operation(), query in any_query()) {
        let sent = WriteRequest::new(3, placement(), operation.clone()).encode_to_vec();
        let arrived = WriteRequest::decode(&sent[..]).unwrap();
        prop_assert_eq!(Placement::try_from(arrived.session.clone()).unwrap(), placement());
        prop_assert_eq!(take_write(arrived).unwrap().0, operation);
        let sent = ReadRequest::new(3, query.clone(), labrys_raft::ReadMode::Lease).encode_to_vec();
        prop_assert_eq!(take_read(ReadRequest::decode(&sent[..]).unwrap()).unwrap(), query);
    }

    /// Arbitrary bytes, and the bytes of a request with some changed: a request or not, a refusal or not, but no panic; and what
    /// is taken is no larger than what arrived.
    #[test]
    fn arbitrary_bytes_are_refused_or_taken_within_bounds(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        operation in operation(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut damaged = WriteRequest::new(3, placement(), operation).encode_to_vec();
        for (at, value) in flips {
            let at = at.index(damaged.len());
            damaged[at] = value;
        }
        for bytes in [&bytes, &damaged] {
            if let Ok(request) = WriteRequest::decode(&bytes[..]) {
                match take_write(request) {
                    Ok((_, taken)) => prop_assert!(taken <= bytes.len()),
                    Err(refused) => prop_assert!(is_definite(&refused), "{refused:?}"),
                }
            }
            if let Ok(Err(refused)) = ReadRequest::decode(&bytes[..]).map(take_read) {
                prop_assert!(is_definite(&refused), "{refused:?}");
            }
            if let Ok(watch) = WatchRequest::decode(&bytes[..]) {
                let range = watch.range.unwrap_or_default().into();
                let _ = check_query(&Query::Range { range, revision: None });
            }
            // What a client makes of it.
            if let Ok(reply) = WriteReply::decode(&bytes[..])
                && let Some(write_reply::Outcome::Ok(ok)) = reply.outcome
            {
                let _ = ok.done.map(crate::machine::Done::try_from);
            }
            if let Ok(reply) = ReadReply::decode(&bytes[..])
                && let Some(read_reply::Outcome::Ok(ok)) = reply.outcome
            {
                let _ = crate::machine::Reading::try_from(ok);
            }
        }
    }
}

fn taken(operation: Operation) -> Result<usize, RefusalCode> {
    match take_write(WriteRequest::new(1, placement(), operation)) {
        Ok((_, bytes)) => Ok(bytes),
        Err(refused) => {
            assert!(is_definite(&refused), "{refused:?}");
            Err(refused.code())
        }
    }
}

fn bytes_of(length: usize) -> Bytes {
    Bytes::from(vec![b'x'; length])
}

#[test]
fn each_limit_is_held_exactly() {
    let transaction = |conditions: usize, then: usize, otherwise: usize| {
        let condition =
            crate::machine::Condition::LockHeld { name: Bytes::new(), token: crate::machine::LockToken(1) };
        let step = || Step::Get { key: Bytes::new() };
        Operation::Transaction(Transaction {
            conditions: vec![condition; conditions],
            then: vec![step(); then],
            otherwise: vec![step(); otherwise],
        })
    };
    let range = || ReadItem::Range(RangeQuery { start: Bytes::new(), end: None, limit: 0 });
    let commit = |keys: usize, ranges: usize, writes: usize| {
        let mut reads = vec![ReadItem::Key(Bytes::new()); keys];
        reads.extend(std::iter::repeat_n(range(), ranges));
        let writes = vec![(Bytes::new(), None); writes];
        let isolation = Isolation::Snapshot;
        Operation::Commit(Commit { snapshot: Revision(0), isolation, reads, writes })
    };
    let puts = |count: usize, bytes: usize| {
        let put = Step::Put { key: Bytes::new(), value: bytes_of(bytes), lease: None };
        Operation::Transaction(Transaction { then: vec![put; count], ..Transaction::default() })
    };
    let large = RefusalCode::TooLarge;
    for (operation, expected) in [
        (Operation::put(bytes_of(MAX_KEY_BYTES), bytes_of(MAX_VALUE_BYTES)), None),
        (Operation::put(bytes_of(MAX_KEY_BYTES + 1), ""), Some(large)),
        (Operation::put("", bytes_of(MAX_VALUE_BYTES + 1)), Some(large)),
        (Operation::compare_and_set("", Some(bytes_of(MAX_VALUE_BYTES + 1)), ""), Some(large)),
        (transaction(MAX_STEPS, MAX_STEPS, MAX_STEPS), None),
        (transaction(MAX_STEPS + 1, 0, 0), Some(large)),
        (transaction(0, MAX_STEPS + 1, 0), Some(large)),
        (transaction(0, 0, MAX_STEPS + 1), Some(large)),
        (commit(MAX_COMMIT_ITEMS, 0, MAX_COMMIT_ITEMS), None),
        (commit(MAX_COMMIT_ITEMS + 1, 0, 0), Some(large)),
        (commit(0, 0, MAX_COMMIT_ITEMS + 1), Some(large)),
        (commit(0, MAX_COMMIT_RANGES, 0), None),
        (commit(0, MAX_COMMIT_RANGES + 1, 0), Some(large)),
        (puts(3, MAX_COMMAND_BYTES / 3), None),
        (puts(4, MAX_COMMAND_BYTES / 3), Some(large)),
        (Operation::GrantLease { ttl_ms: MAX_TTL_MS }, None),
        (Operation::GrantLease { ttl_ms: MAX_TTL_MS + 1 }, Some(RefusalCode::Malformed)),
        (Operation::GrantLease { ttl_ms: 0 }, Some(RefusalCode::Malformed)),
    ] {
        let text = format!("{operation:.60?}");
        assert_eq!(taken(operation).err(), expected, "{text:.200}");
    }
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let step = |step| write_request::Operation::Step(super::Step { step });
    let condition = |relation, operand| {
        let key = KeyCondition { key: Bytes::new(), relation, operand };
        let conditions = vec![super::Condition { condition: Some(condition::Condition::Key(key)) }];
        write_request::Operation::Transaction(super::Transaction { conditions, ..Default::default() })
    };
    let version = Some(key_condition::Operand::Version(1));
    for (operation, named) in [
        (None, "needs an operation"),
        (Some(step(None)), "step is empty"),
        (Some(condition(0, version.clone())), "relation 0"),
        (Some(condition(9, version)), "relation 9"),
        (Some(condition(1, None)), "compares with nothing"),
        (Some(write_request::Operation::Commit(super::Commit::default())), "isolation 0"),
    ] {
        let request = WriteRequest { request_id: 1, session: Some(placement().into()), operation };
        let refused = take_write(request).unwrap_err();
        assert!(is_definite(&refused) && refused.message.contains(named), "{named}: {refused:?}");
    }
    let lease = Some(read_request::Query::LeaseId(1));
    for (request, named) in [
        (ReadRequest::default(), "needs a query"),
        (ReadRequest { request_id: 1, revision: Some(1), query: lease, read_mode: 0 }, "at a revision"),
    ] {
        let refused = take_read(request).unwrap_err();
        assert!(is_definite(&refused) && refused.message.contains(named), "{named}: {refused:?}");
    }
}
