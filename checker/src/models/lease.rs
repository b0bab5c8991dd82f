//! Keys that last as long as the lease that they were put with.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `grant ttl` | `ok [lease ttl]` | this lease, which never was there, is there from then on |
//! | `grant ttl` | `fail`, `info` | nothing: if there is a lease, nobody knows which |
//! | `put [lease value]` | `ok` | the lease was there, and the key holds the value, until the lease ends |
//! | `put [lease value]` | `info` | if the lease is there at some later time, the key may hold the value from then on |
//! | `keep-alive lease` | `ok` | the lease was there |
//! | `keep-alive lease` | `info` | nothing: how long a lease lasts is not looked at here |
//! | `revoke lease` | `ok` | the lease was there, and is not from then on |
//! | `revoke lease` | `info` | it may not be there from some later time on |
//! | the last three | `fail` with the error `lease-unknown` | the lease was not there |
//! | `read` | `ok v` | the key held `v`; nil: it did not exist |
//! | all | `fail` otherwise | nothing: it did not happen |
//!
//! Values are not nil. There is no initial value: no lease is there.
//!
//! **A lease may end at any moment**, by itself, and its key with it; it never comes back. Whether it ended *too early* is a matter of
//! time, which a sequential specification does not know: [`crate::invariants::LeasesLast`] looks at that. What is left for this model:
//! what was gone stays gone, and what nobody put is never there.
//!
//! **Why ends by themselves need no search.** Here a lease ends when the first call says that it is not there: a read of nil while its key is
//! there, or the error. (A grant says nothing of that: no number is given twice.) Take a legal order of the calls with the ends put in wherever they were. Between the end of a lease and the
//! first call that says so stand only calls that say nothing of it: any call that wants it there would be illegal, and a put that
//! crashed can be left out. So the end can be moved behind them, to that call, and the order stays legal. The other way round, an
//! end just before the call that shows it is one that may happen.

use std::collections::BTreeMap;
use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::model::{Meaning, Model, ModelError};

/// The error of an operation with a lease that is not there.
pub const LEASE_UNKNOWN: &str = "lease-unknown";

/// About what a lease takes in a map.
const LEASE_BYTES: usize = 32;

/// A call on leases and the key under them, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LeaseCall {
    /// This lease was granted.
    Grant(i64),
    /// A put with this lease of this value.
    Put {
        /// The lease.
        lease: i64,
        /// The value.
        value: Value,
    },
    /// This lease was kept alive.
    KeepAlive(i64),
    /// This lease was revoked.
    Revoke(i64),
    /// This lease was not there.
    Unknown(i64),
    /// A read that returned this; `None`: the key did not exist.
    Read(Option<Value>),
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseRefusal {
    /// A lease was granted that is there, or was.
    Granted {
        /// Which.
        lease: i64,
    },
    /// A lease was used that is not there.
    Gone {
        /// Which.
        lease: i64,
    },
    /// A read returned the wrong value.
    Read {
        /// What was read.
        read: Value,
        /// What is there.
        holds: Option<Value>,
    },
}

impl fmt::Display for LeaseRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseRefusal::Granted { lease } => {
                write!(formatter, "granted lease {lease}, which was granted before")
            }
            LeaseRefusal::Gone { lease } => write!(formatter, "lease {lease} is not there (any more)"),
            LeaseRefusal::Read { read, holds: Some(holds) } => {
                write!(formatter, "read {read}, but the key holds {holds}")
            }
            LeaseRefusal::Read { read, holds: None } => {
                write!(formatter, "read {read}, but the key does not exist")
            }
        }
    }
}

/// The leases that there were, and what the key holds with which of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leased {
    /// The leases that were granted, and of each whether it is there: whether nothing has shown that it has ended.
    pub leases: BTreeMap<i64, bool>,
    /// The key's value and its lease, one of those; `None`: it does not exist.
    pub key: Option<(Value, i64)>,
}

impl Leased {
    fn with(&self, lease: i64) -> Leased {
        let mut after = self.clone();
        after.leases.insert(lease, true);
        after
    }

    fn without(&self, lease: i64) -> Leased {
        let mut after = self.clone();
        if let Some(is_there) = after.leases.get_mut(&lease) {
            *is_there = false;
        }
        after.key = after.key.filter(|(_, of)| *of != lease);
        after
    }
}

/// The model `lease`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lease;

impl Lease {
    /// Its name in the table of models.
    pub const NAME: &'static str = "lease";

    /// With the initial value of the command line: none.
    ///
    /// # Errors
    /// If there is one.
    pub fn with_initial(initial: &Value) -> Result<Lease, WrongInitial> {
        match initial {
            Value::Nil => Ok(Lease),
            _ => Err(WrongInitial::new("none: no key exists before it is put", initial)),
        }
    }
}

/// The lease and the time to live that a grant gave, if the completion has the right shape.
pub(crate) fn granted(value: &Value) -> Option<(i64, i64)> {
    match value.as_sequence()? {
        [lease, ttl_ms] => Some((lease.as_int()?, ttl_ms.as_int()?)),
        _ => None,
    }
}

/// The lease that an operation other than `grant` and `read` was invoked with.
pub(crate) fn lease_of(operation: &Operation) -> Option<i64> {
    match operation.f() {
        "put" => match operation.value().as_sequence()? {
            [lease, _] => lease.as_int(),
            _ => None,
        },
        "keep-alive" | "revoke" => operation.value().as_int(),
        _ => None,
    }
}

/// Whether it was answered that the operation's lease is not there.
pub(crate) fn is_unknown(completion: &Completion) -> bool {
    matches!(completion, Completion::Fail { error, .. } if shape::is_text(*error, LEASE_UNKNOWN))
}

fn grant_meaning(operation: &Operation) -> Result<Meaning<LeaseCall>, ModelError> {
    match operation.completion() {
        Completion::Ok { value, .. } => match granted(value) {
            Some((lease, _)) => Ok(Meaning::Completed(LeaseCall::Grant(lease))),
            None => Err(shape::wrong_result(Lease::NAME, operation, "[lease ttl], two numbers", value)),
        },
        Completion::Fail { .. } | Completion::Info { .. } => Ok(Meaning::Nothing),
    }
}

/// What an operation with a lease means, which is `call` if it happened.
fn with_lease(operation: &Operation, lease: i64, call: LeaseCall) -> Meaning<LeaseCall> {
    match operation.completion() {
        completion if is_unknown(&completion) => Meaning::Completed(LeaseCall::Unknown(lease)),
        Completion::Info { .. } if matches!(call, LeaseCall::KeepAlive(_)) => Meaning::Nothing,
        completion => shape::of_update(completion, call),
    }
}

impl Model for Lease {
    type State = Leased;
    type Call = LeaseCall;
    type Refusal = LeaseRefusal;

    fn name(&self) -> &str {
        Lease::NAME
    }

    fn init(&self) -> Leased {
        Leased::default()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<LeaseCall>, ModelError> {
        let wrong = |expected| shape::wrong_argument(Lease::NAME, operation, expected);
        match operation.f() {
            "grant" => grant_meaning(operation),
            "put" => match operation.value().as_sequence() {
                Some([Value::Int(lease), value]) if !value.is_nil() => {
                    let call = LeaseCall::Put { lease: *lease, value: value.clone() };
                    Ok(with_lease(operation, *lease, call))
                }
                _ => Err(wrong("[lease value], a number and a value that is not nil")),
            },
            f @ ("keep-alive" | "revoke") => {
                let lease = operation.value().as_int().ok_or_else(|| wrong("a lease, which is a number"))?;
                let call = if f == "revoke" { LeaseCall::Revoke(lease) } else { LeaseCall::KeepAlive(lease) };
                Ok(with_lease(operation, lease, call))
            }
            "read" => Ok(match operation.completion() {
                Completion::Ok { value, .. } => {
                    Meaning::Completed(LeaseCall::Read(Some(value.clone()).filter(|value| !value.is_nil())))
                }
                Completion::Fail { .. } | Completion::Info { .. } => Meaning::Nothing,
            }),
            _ => Err(shape::unknown_function(Lease::NAME, operation, "grant, put, keep-alive, revoke, read")),
        }
    }

    fn step(&self, state: &Leased, call: &LeaseCall) -> Result<Leased, LeaseRefusal> {
        let present = |lease: &i64| match state.leases.get(lease) {
            Some(true) => Ok(*lease),
            Some(false) | None => Err(LeaseRefusal::Gone { lease: *lease }),
        };
        match call {
            LeaseCall::Grant(lease) if state.leases.contains_key(lease) => {
                Err(LeaseRefusal::Granted { lease: *lease })
            }
            LeaseCall::Grant(lease) => Ok(state.with(*lease)),
            LeaseCall::Put { lease, value } => {
                let key = Some((value.clone(), present(lease)?));
                Ok(Leased { leases: state.leases.clone(), key })
            }
            LeaseCall::KeepAlive(lease) => present(lease).map(|_| state.clone()),
            LeaseCall::Revoke(lease) => present(lease).map(|lease| state.without(lease)),
            LeaseCall::Unknown(lease) => Ok(state.without(*lease)),
            LeaseCall::Read(read) => match (read, &state.key) {
                (Some(read), Some((holds, _))) if read == holds => Ok(state.clone()),
                (Some(read), holds) => Err(LeaseRefusal::Read {
                    read: read.clone(),
                    holds: holds.as_ref().map(|(value, _)| value.clone()),
                }),
                // Only the end of its lease takes a key away.
                (None, Some((_, lease))) => Ok(state.without(*lease)),
                (None, None) => Ok(state.clone()),
            },
        }
    }

    fn is_pure(&self, call: &LeaseCall) -> bool {
        matches!(call, LeaseCall::KeepAlive(_) | LeaseCall::Read(Some(_)))
    }

    fn heap_bytes(&self, state: &Leased) -> usize {
        state.leases.len() * LEASE_BYTES
    }

    fn describe_call(&self, call: &LeaseCall) -> String {
        match call {
            LeaseCall::Grant(lease) => format!("grant → lease {lease}"),
            LeaseCall::Put { lease, value } => format!("put {value} with lease {lease}"),
            LeaseCall::KeepAlive(lease) => format!("keep lease {lease} alive"),
            LeaseCall::Revoke(lease) => format!("revoke lease {lease}"),
            LeaseCall::Unknown(lease) => format!("lease {lease} → unknown"),
            LeaseCall::Read(Some(value)) => format!("read → {value}"),
            LeaseCall::Read(None) => "read → nothing".to_owned(),
        }
    }

    fn describe_state(&self, state: &Leased) -> String {
        let there: Vec<i64> =
            state.leases.iter().filter(|(_, is_there)| **is_there).map(|(lease, _)| *lease).collect();
        let leases = match there.is_empty() {
            true => "no lease".to_owned(),
            false => format!("leases {}", shape::list_in_words(&there)),
        };
        match &state.key {
            Some((value, lease)) => format!("{leases}, the key holds {value} with lease {lease}"),
            None => format!("{leases}, the key does not exist"),
        }
    }
}
