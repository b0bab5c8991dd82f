//! The client of the reference store: one session of its client library per process.
//!
//! | f | call | `ok` with | `fail :precondition-failed` if |
//! | --- | --- | --- | --- |
//! | `read` | get | the value; nil if the key does not exist | never |
//! | `write` | put | the argument | never |
//! | `cas` | compare-and-set; an expected nil: the key must not exist | the argument | the key had another value |
//!
//! | f | call | `ok` with | `fail :lease-unknown` if |
//! | --- | --- | --- | --- |
//! | `grant` | grant a lease | the lease and its time to live | never; `fail :too-many-leases` if there are too many |
//! | `put` | put with a lease | the argument | there is no such lease (any more) |
//! | `keep-alive` | renew a lease | the argument | likewise |
//! | `revoke` | revoke a lease | the argument | likewise |
//!
//! Any other error is `[:name "detail"]`, where the name is that of the library's table of errors, and it is `fail` only if
//! the library says that it is definite. `docs/client-errors.md` in the crate's folder has the whole table, and a test per
//! row.
//!
//! Keys are stored as EDN text, values as decimal integers; this client writes nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use labrys_history::Value;
use labrys_seed::Seed;
use labrys_store::client::logic::Request;
use labrys_store::client::{ClientError, ClientOptions, StoreClient, Success};
use labrys_store::machine::{Done, Found, LeaseId, Operation, Query, Step, StepProblem, StepResult};

use crate::lease::{self, LEASE_UNKNOWN, LeaseOp};
use crate::register::{PRECONDITION_FAILED, RegisterOp};
use crate::workload::{WorkloadError, WorkloadOptions};
use crate::{Client, ClientFactory, Op, OpenError, Outcome};

/// The name in the table of systems.
pub const NAME: &str = "labrys-store";

/// Opens sessions with the store.
///
/// Their ids are functions of the run's seed, like everything else that is random in a run. The n-th opening of a process
/// (of a thread, that is, and its generation: no two share a process) has an id of its own. They are unique in the life of a
/// cluster because every run has a cluster of its own; two runs of one seed against one cluster would share sessions, and
/// the second would have its writes answered by the first's.
#[derive(Debug)]
pub struct LabrysStore {
    addresses: Vec<String>,
    options: ClientOptions,
    sessions: Seed,
    /// How often each process has been opened.
    openings: Mutex<BTreeMap<u64, u64>>,
}

impl LabrysStore {
    /// Of the nodes with these client addresses (`host:port`), in the order of the nodes. `seed` is the run's; a session in
    /// `options` is not used.
    #[must_use]
    pub fn new(addresses: Vec<String>, options: ClientOptions, seed: Seed) -> LabrysStore {
        let openings = Mutex::new(BTreeMap::new());
        LabrysStore { addresses, options, sessions: seed.fork("labrys-store-sessions"), openings }
    }

    /// The session of the next opening of `process`.
    fn next_session(&self, process: u64) -> u128 {
        let mut openings = self.openings.lock().unwrap_or_else(PoisonError::into_inner);
        let opening = openings.entry(process).or_insert(0);
        let session = session_of(self.sessions, process, *opening);
        *opening += 1;
        session
    }
}

/// The session of an opening of a process, counted from 0. The halves are bijections of the two ([`Seed::fork_index`]), so no two
/// are alike.
#[must_use]
pub fn session_of(sessions: Seed, process: u64, opening: u64) -> u128 {
    let of_process = sessions.fork("process").fork_index(process);
    let of_opening = sessions.fork("opening").fork_index(opening);
    u128::from(of_process.0) << 64 | u128::from(of_opening.0)
}

pub(super) fn factory(options: &WorkloadOptions) -> Result<Arc<dyn ClientFactory>, WorkloadError> {
    if options.node_addresses.is_empty() {
        return Err(WorkloadError::option(
            "node-addresses",
            "[]",
            "the store's clients need at least one node",
        ));
    }
    let client_options = ClientOptions { read_mode: options.read_mode, ..ClientOptions::default() };
    Ok(Arc::new(LabrysStore::new(options.node_addresses.clone(), client_options, options.seed)))
}

#[async_trait]
impl ClientFactory for LabrysStore {
    /// Connects to nothing yet: the library does so with the first operation, and an operation that could not be sent is
    /// `fail`.
    async fn open(&self, process: u64, node: usize) -> Result<Box<dyn Client>, OpenError> {
        let options = ClientOptions { session: Some(self.next_session(process)), ..self.options.clone() };
        let opened = StoreClient::connect(self.addresses.clone(), node, options);
        match opened {
            Ok(session) => Ok(Box::new(LabrysStoreClient { session })),
            Err(error) => {
                Err(OpenError { process, address: error.address.clone(), detail: error.to_string() })
            }
        }
    }
}

struct LabrysStoreClient {
    session: StoreClient,
}

#[async_trait]
impl Client for LabrysStoreClient {
    async fn invoke(&mut self, op: &Op, timeout: Duration) -> Outcome {
        match request_of(op) {
            Ok(request) => outcome_of(op, self.session.perform(request, timeout).await),
            Err(unsent) => unsent,
        }
    }

    async fn close(self: Box<Self>) {
        // A session ends by being dropped; the store forgets it after a while.
    }
}

/// What an operation asks of the store.
///
/// # Errors
/// How it ends if there is nothing to send.
pub fn request_of(op: &Op) -> Result<Request, Outcome> {
    let key = op.key.as_ref().map_or_else(String::new, Value::to_string);
    if let Some(op) = LeaseOp::parse(op) {
        return request_of_lease(key, op);
    }
    match RegisterOp::parse(op) {
        None => Err(unsent("unsupported-operation", format!("{} {}", op.f, op.value))),
        Some(RegisterOp::Read) => Ok(Request::Read(Query::Get { key: key.into(), revision: None })),
        Some(RegisterOp::Write(value)) => Ok(Request::Write(Operation::put(key, encode(&value)?))),
        Some(RegisterOp::CompareAndSet { expected, new }) => {
            let expected = match &expected {
                Value::Nil => None,
                value => Some(encode(value)?),
            };
            Ok(Request::Write(Operation::compare_and_set(key, expected, encode(&new)?)))
        }
    }
}

fn request_of_lease(key: String, op: LeaseOp) -> Result<Request, Outcome> {
    Ok(Request::Write(match op {
        LeaseOp::Grant { ttl_ms } => Operation::GrantLease { ttl_ms },
        LeaseOp::Put { lease, value } => {
            let lease = Some(LeaseId(lease));
            Operation::Step(Step::Put { key: key.into(), value: encode(&value)?, lease })
        }
        LeaseOp::KeepAlive { lease } => Operation::RenewLease { lease: LeaseId(lease) },
        LeaseOp::Revoke { lease } => Operation::RevokeLease { lease: LeaseId(lease) },
    }))
}

/// How an operation ended, by what came of its request.
#[must_use]
pub fn outcome_of(op: &Op, result: Result<Success, ClientError>) -> Outcome {
    match result {
        Err(error) => error_outcome(&error),
        Ok(Success::Read(reading)) => match reading.found {
            Found::Value(record) => {
                Outcome::Ok(record.as_ref().map_or(Value::Nil, |record| decode(&record.value)))
            }
            other => unreachable!("the client's logic lets no {other:?} through for the latest value"),
        },
        Ok(Success::Written(written)) => match written.done {
            Done::Step(StepResult::NotSwapped { .. }) => {
                Outcome::Fail { error: Value::keyword(PRECONDITION_FAILED) }
            }
            Done::LeaseGranted { lease } => {
                let ttl_ms = op.value.as_int().unwrap_or(0).cast_unsigned();
                Outcome::Ok(lease::granted(lease.0, ttl_ms))
            }
            Done::TooManyLeases => Outcome::Fail { error: Value::keyword("too-many-leases") },
            Done::LeaseUnknown | Done::Step(StepResult::Problem(StepProblem::LeaseUnknown)) => {
                Outcome::Fail { error: Value::keyword(LEASE_UNKNOWN) }
            }
            Done::Step(StepResult::Problem(problem)) => unsent("unsupported-value", format!("{problem:?}")),
            _ => Outcome::Ok(op.value.clone()),
        },
    }
}

fn encode(value: &Value) -> Result<Bytes, Outcome> {
    match value {
        Value::Int(number) => Ok(Bytes::from(number.to_string())),
        other => Err(unsent("unsupported-value", other.to_string())),
    }
}

/// A stored value. What is no integer was not written by this client; it is shown as the text that it is, so that the
/// checker finds a value that nobody wrote.
fn decode(bytes: &Bytes) -> Value {
    let text = String::from_utf8_lossy(bytes);
    text.parse().map_or_else(|_| Value::from(text.into_owned()), Value::Int)
}

/// Nothing has been sent.
fn unsent(name: &str, detail: String) -> Outcome {
    Outcome::Fail { error: Value::vector(vec![Value::keyword(name), Value::from(detail)]) }
}

/// What an error of the library says about the operation. The library decides: it knows of all attempts, and this does not.
fn error_outcome(failed: &ClientError) -> Outcome {
    let error = Value::vector(vec![Value::keyword(failed.error.name()), Value::from(failed.detail.as_str())]);
    if failed.definite { Outcome::Fail { error } } else { Outcome::Info { error } }
}

#[cfg(test)]
#[path = "labrys_store_tests.rs"]
mod tests;
