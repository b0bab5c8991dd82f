//! The client of the reference store: one session of its client library per process.
//!
//! | f | call | `ok` with | `fail :precondition-failed` if |
//! | --- | --- | --- | --- |
//! | `read` | get | the value; nil if the key does not exist | never |
//! | `write` | put | the argument | never |
//! | `cas` | compare-and-set; an expected nil: the key must not exist | the argument | the key had another value |
//!
//! Any other error is `[:name "detail"]`, where the name is that of the library's table of errors, and it is `fail` only if
//! the library says that it is definite. `docs/client-errors.md` in the crate's folder has the whole table, and a test per
//! row.
//!
//! Keys are stored as EDN text, values as decimal integers; this client writes nothing else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use labrys_history::Value;
use labrys_store::client::{ClientError, ClientOptions, CompareAndSet, StoreClient};

use crate::register::{PRECONDITION_FAILED, RegisterOp};
use crate::workload::{WorkloadError, WorkloadOptions};
use crate::{Client, ClientFactory, Op, OpenError, Outcome};

/// The name in the table of systems.
pub const NAME: &str = "labrys-store";

/// Opens sessions with the store.
#[derive(Clone, Debug)]
pub struct LabrysStore {
    addresses: Vec<String>,
    options: ClientOptions,
}

impl LabrysStore {
    /// Of the nodes with these client addresses (`host:port`), in the order of the nodes.
    #[must_use]
    pub fn new(addresses: Vec<String>, options: ClientOptions) -> LabrysStore {
        LabrysStore { addresses, options }
    }
}

pub(super) fn factory(options: &WorkloadOptions) -> Result<Arc<dyn ClientFactory>, WorkloadError> {
    if options.node_addresses.is_empty() {
        return Err(WorkloadError::option(
            "node-addresses",
            "[]",
            "the store's clients need at least one node",
        ));
    }
    Ok(Arc::new(LabrysStore::new(options.node_addresses.clone(), ClientOptions::default())))
}

#[async_trait]
impl ClientFactory for LabrysStore {
    /// Connects to nothing yet: the library does so with the first operation, and an operation that could not be sent is
    /// `fail`.
    async fn open(&self, process: u64, node: usize) -> Result<Box<dyn Client>, OpenError> {
        let opened = StoreClient::connect(self.addresses.clone(), node, self.options.clone());
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
        let key = op.key.as_ref().map_or_else(String::new, Value::to_string);
        match RegisterOp::parse(op) {
            None => unsent("unsupported-operation", format!("{} {}", op.f, op.value)),
            Some(RegisterOp::Read) => read_outcome(self.session.get(key, timeout).await),
            Some(RegisterOp::Write(value)) => match encode(&value) {
                Err(unsupported) => unsupported,
                Ok(bytes) => match self.session.put(key, bytes, timeout).await {
                    Ok(()) => Outcome::Ok(value),
                    Err(error) => error_outcome(&error),
                },
            },
            Some(RegisterOp::CompareAndSet { expected, new }) => {
                self.compare_and_set(key, &expected, &new, &op.value, timeout).await
            }
        }
    }

    async fn close(self: Box<Self>) {
        // A session ends by being dropped; the store forgets it after a while.
    }
}

impl LabrysStoreClient {
    async fn compare_and_set(
        &mut self,
        key: String,
        expected: &Value,
        new: &Value,
        argument: &Value,
        timeout: Duration,
    ) -> Outcome {
        let expected = match expected {
            Value::Nil => None,
            value => match encode(value) {
                Ok(bytes) => Some(bytes),
                Err(unsupported) => return unsupported,
            },
        };
        let new = match encode(new) {
            Ok(bytes) => bytes,
            Err(unsupported) => return unsupported,
        };
        match self.session.compare_and_set(key, expected, new, timeout).await {
            Ok(CompareAndSet::Swapped) => Outcome::Ok(argument.clone()),
            Ok(CompareAndSet::NotSwapped { .. }) => {
                Outcome::Fail { error: Value::keyword(PRECONDITION_FAILED) }
            }
            Err(error) => error_outcome(&error),
        }
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

fn read_outcome(result: Result<Option<Bytes>, ClientError>) -> Outcome {
    match result {
        Ok(value) => Outcome::Ok(value.as_ref().map_or(Value::Nil, decode)),
        Err(error) => error_outcome(&error),
    }
}

/// Nothing has been sent.
fn unsent(name: &str, detail: String) -> Outcome {
    Outcome::Fail { error: Value::Vector(vec![Value::keyword(name), Value::from(detail)]) }
}

/// What an error of the library says about the operation. The library decides: it knows of all attempts, and this does not.
fn error_outcome(failed: &ClientError) -> Outcome {
    let error = Value::Vector(vec![Value::keyword(failed.error.name()), Value::from(failed.detail.as_str())]);
    if failed.definite { Outcome::Fail { error } } else { Outcome::Info { error } }
}

#[cfg(test)]
#[path = "labrys_store_tests.rs"]
mod tests;
