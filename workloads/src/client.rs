//! The seam between the harness and the client of any system.

use std::time::Duration;

use async_trait::async_trait;
use labrys_history::{Text, Value};
use thiserror::Error;

/// An operation to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The function: `read`, `write`, `cas`, …
    pub f: Text,
    /// The independent key, if the workload has them.
    pub key: Option<Value>,
    /// The argument.
    pub value: Value,
}

impl Op {
    /// An operation without a key.
    pub fn new(f: impl Into<Text>, value: Value) -> Op {
        Op { f: f.into(), key: None, value }
    }

    /// The same operation on `key`.
    #[must_use]
    pub fn on_key(self, key: Value) -> Op {
        Op { key: Some(key), ..self }
    }
}

/// How an operation ended, as far as the client knows.
///
/// `Fail` is a promise: the operation has not happened and never will. Where a client cannot promise that, it says
/// `Info`; a wrong `Fail` makes a correct system look broken, a needless `Info` only makes the checker's work harder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, with this result.
    Ok(Value),
    /// It did not happen.
    Fail {
        /// Why.
        error: Value,
    },
    /// Unknown.
    Info {
        /// Why.
        error: Value,
    },
}

/// A client could not be opened. Not an operation: nothing has been sent.
#[derive(Debug, Error)]
#[error("cannot open a client of process {process} at {address}: {detail}")]
pub struct OpenError {
    /// The process that wanted it.
    pub process: u64,
    /// The node's address.
    pub address: String,
    /// Why.
    pub detail: String,
}

/// One process's connection to the system. Operations come one at a time.
#[async_trait]
pub trait Client: Send {
    /// Carries out `op`. Ends by itself within `timeout` with `Info` or `Fail`; the interpreter gives up a little later
    /// with `Info` and drops the client, in whatever state it is.
    async fn invoke(&mut self, op: &Op, timeout: Duration) -> Outcome;

    /// Ends the connection in an orderly way. Dropping a client must be safe, too.
    async fn close(self: Box<Self>);
}

/// Opens clients.
#[async_trait]
pub trait ClientFactory: Send + Sync {
    /// A client of `process`, which is bound to the node at position `node` of the cluster (its first choice, from which
    /// it may go on to others if the system's clients do).
    async fn open(&self, process: u64, node: usize) -> Result<Box<dyn Client>, OpenError>;
}
