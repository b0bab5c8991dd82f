//! A lock whose every acquisition gets a token that is greater than all before (a fence: storage that has seen a
//! greater token turns away a holder who does not know yet that it lost the lock).
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `acquire` | `ok t` | nobody held it, the caller does from then on, and `t` is greater than all tokens before |
//! | `acquire` | `ok nil` | the same, with a token that nobody saw |
//! | `acquire` | `fail` with the error `held` | somebody held it |
//! | `acquire` | `info` | if nobody holds it at some later time, the caller may from then on, with a token that nobody saw |
//! | `release` | `ok` | the caller held it, and nobody does from then on |
//! | `release` | `fail` with the error `not-holder` | the caller did not hold it |
//! | `release` | `info` | the same as `ok` at some later time, or nothing |
//! | either | `fail` otherwise | nothing: it did not happen |
//!
//! The caller is the process, or what stands under `:client` of the argument. The initial value is the number that all tokens are
//! greater than; 0 unless given.
//!
//! **A token that nobody saw** could be any that is greater than the last. Here it is the next number: the greater it is, the fewer
//! tokens may follow, and nothing else depends on it, so whatever order is legal with some token is legal with the least.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::linearizable::Interval;
use crate::model::{Meaning, Model, ModelError};
use crate::removal::{Hold, Removal};

const NAME: &str = "fenced-lock";

/// A call on a lock with fences, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FencedCall {
    /// This caller acquired it, with this token or one that nobody saw.
    Acquire(Value, Option<i64>),
    /// This caller released it.
    Release(Value),
    /// Somebody held it.
    WasHeld,
    /// This caller did not hold it.
    NotHolder(Value),
}

/// Who holds it, and the greatest token yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Who holds it.
    pub holder: Option<Value>,
    /// The greatest token that anybody got.
    pub token: i64,
}

/// Why a lock with fences refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FencedRefusal {
    /// It is held.
    Held {
        /// By whom.
        holder: Value,
    },
    /// It is free.
    Free,
    /// The token is not greater than one before.
    Token {
        /// The token.
        token: i64,
        /// The greatest before.
        greatest: i64,
    },
    /// It is not for the caller to release.
    Holder {
        /// Who released.
        caller: Value,
        /// Who holds it.
        holder: Option<Value>,
    },
    /// The caller holds it, though it was told otherwise.
    Holds {
        /// Who.
        caller: Value,
    },
}

impl fmt::Display for FencedRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FencedRefusal::Held { holder } => write!(formatter, "acquired, but {holder} holds the lock"),
            FencedRefusal::Free => {
                write!(formatter, "failed to acquire, as of a lock that is held, but nobody holds the lock")
            }
            FencedRefusal::Token { token, greatest } => {
                write!(formatter, "acquired with token {token}, but {greatest} was given before")
            }
            FencedRefusal::Holder { caller, holder: Some(holder) } => {
                write!(formatter, "released by {caller}, but {holder} holds the lock")
            }
            FencedRefusal::Holder { caller, holder: None } => {
                write!(formatter, "released by {caller}, but nobody holds the lock")
            }
            FencedRefusal::Holds { caller } => {
                write!(formatter, "failed to release, as of another's lock, but {caller} holds the lock")
            }
        }
    }
}

/// The model `fenced-lock`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FencedLock {
    token: i64,
}

impl FencedLock {
    /// A free lock whose tokens are greater than `token`.
    #[must_use]
    pub fn new(token: i64) -> FencedLock {
        FencedLock { token }
    }

    /// A lock with the initial token of the command line.
    ///
    /// # Errors
    /// If that is no number of 64 bits.
    pub fn with_initial(initial: &Value) -> Result<FencedLock, WrongInitial> {
        match initial {
            Value::Nil => Ok(FencedLock::new(0)),
            Value::Int(token) => Ok(FencedLock::new(*token)),
            _ => Err(WrongInitial::new("a number", initial)),
        }
    }
}

fn acquire_meaning(operation: &Operation) -> Result<Meaning<FencedCall>, ModelError> {
    let acquired = |token| FencedCall::Acquire(shape::caller(operation), token);
    match operation.completion() {
        Completion::Ok { value: Value::Int(token), .. } => Ok(Meaning::Completed(acquired(Some(*token)))),
        // A completion may repeat the argument: then it says nothing about a token.
        Completion::Ok { value, .. } if value.is_nil() || *value == *operation.value() => {
            Ok(Meaning::Completed(acquired(None)))
        }
        Completion::Ok { value, .. } => {
            Err(shape::wrong_result(NAME, operation, "a token, which is a number", value))
        }
        Completion::Fail { error, .. } if shape::is_text(error, "held") => {
            Ok(Meaning::Completed(FencedCall::WasHeld))
        }
        Completion::Fail { .. } => Ok(Meaning::Nothing),
        Completion::Info { .. } => Ok(Meaning::Crashed(acquired(None))),
    }
}

fn release_meaning(operation: &Operation) -> Meaning<FencedCall> {
    match operation.completion() {
        Completion::Fail { error, .. } if shape::is_text(error, "not-holder") => {
            Meaning::Completed(FencedCall::NotHolder(shape::caller(operation)))
        }
        completion => shape::of_update(completion, FencedCall::Release(shape::caller(operation))),
    }
}

impl Model for FencedLock {
    type State = Fence;
    type Call = FencedCall;
    type Refusal = FencedRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> Fence {
        Fence { holder: None, token: self.token }
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<FencedCall>, ModelError> {
        match operation.f() {
            "acquire" => acquire_meaning(operation),
            "release" => Ok(release_meaning(operation)),
            _ => Err(shape::unknown_function(NAME, operation, "acquire, release")),
        }
    }

    fn step(&self, fence: &Fence, call: &FencedCall) -> Result<Fence, FencedRefusal> {
        match (call, &fence.holder) {
            (FencedCall::Acquire(..), Some(holder)) => Err(FencedRefusal::Held { holder: holder.clone() }),
            (FencedCall::Acquire(caller, token), None) => {
                let token = token.unwrap_or(fence.token.saturating_add(1));
                if token <= fence.token {
                    return Err(FencedRefusal::Token { token, greatest: fence.token });
                }
                Ok(Fence { holder: Some(caller.clone()), token })
            }
            (FencedCall::Release(caller), Some(holder)) if caller == holder => {
                Ok(Fence { holder: None, token: fence.token })
            }
            (FencedCall::Release(caller), holder) => {
                Err(FencedRefusal::Holder { caller: caller.clone(), holder: holder.clone() })
            }
            (FencedCall::WasHeld, Some(_)) => Ok(fence.clone()),
            (FencedCall::WasHeld, None) => Err(FencedRefusal::Free),
            (FencedCall::NotHolder(caller), Some(holder)) if caller == holder => {
                Err(FencedRefusal::Holds { caller: caller.clone() })
            }
            (FencedCall::NotHolder(_), _) => Ok(fence.clone()),
        }
    }

    fn is_pure(&self, call: &FencedCall) -> bool {
        matches!(call, FencedCall::WasHeld | FencedCall::NotHolder(_))
    }

    fn removal(&self, intervals: &[Interval<FencedCall>]) -> Removal {
        let hold = |call: &FencedCall| match call {
            FencedCall::Acquire(caller, _) => Hold::Acquire(caller.clone()),
            FencedCall::Release(caller) => Hold::Release(caller.clone()),
            FencedCall::WasHeld => Hold::Denied,
            FencedCall::NotHolder(_) => Hold::Unheld,
        };
        Removal::of_lock(self, intervals, hold, None)
    }

    fn describe_call(&self, call: &FencedCall) -> String {
        match call {
            FencedCall::Acquire(caller, Some(token)) => format!("acquire by {caller} → token {token}"),
            FencedCall::Acquire(caller, None) => format!("acquire by {caller} → unknown token"),
            FencedCall::Release(caller) => format!("release by {caller}"),
            FencedCall::WasHeld => "acquire → held".to_owned(),
            FencedCall::NotHolder(caller) => format!("release by {caller} → not the holder"),
        }
    }

    fn describe_state(&self, fence: &Fence) -> String {
        match &fence.holder {
            Some(holder) => format!("{holder} holds the lock with token {}", fence.token),
            None => format!("nobody holds the lock, the last token was {}", fence.token),
        }
    }
}
