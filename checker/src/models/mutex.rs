//! A mutex as Jepsen and Knossos have it: held or free, whoever holds it.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `acquire` | `ok` | it was free, and is held from then on |
//! | `acquire` | `fail` with the error `held` | it was held |
//! | `release` | `ok` | it was held, and is free from then on |
//! | `release` | `fail` with the error `free` | it was free |
//! | either | `fail` otherwise | nothing: it did not happen |
//! | `acquire` | `info` | if it is free at some later time, it may be held from then on |
//! | `release` | `info` | if it is held at some later time, it may be free from then on |
//!
//! Other errors say nothing, `already-held` and `not-held` (of Jepsen's etcd test) among them: those are what a client
//! knows about itself. The initial value is `free` or `held`; free unless given. For a mutex that knows its
//! holder see [`super::reentrant_mutex`] with a limit of 1.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::linearizable::Interval;
use crate::model::{Meaning, Model, ModelError};
use crate::removal::{Hold, Removal};

const NAME: &str = "mutex";

/// A call on a mutex, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MutexCall {
    /// It was free, and is held.
    Acquire,
    /// It was held, and is free.
    Release,
    /// It was held.
    WasHeld,
    /// It was free.
    WasFree,
}

/// Why a mutex refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutexRefusal {
    /// It should be free.
    Held(MutexCall),
    /// It should be held.
    Free(MutexCall),
}

impl fmt::Display for MutexRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, is) = match self {
            MutexRefusal::Held(call) => (call, "held already"),
            MutexRefusal::Free(call) => (call, "free"),
        };
        let did = match call {
            MutexCall::Acquire => "acquired",
            MutexCall::Release => "released",
            MutexCall::WasHeld => "failed to acquire, as of a mutex that is held",
            MutexCall::WasFree => "failed to release, as of a mutex that is free",
        };
        write!(formatter, "{did}, but the mutex is {is}")
    }
}

/// The model `mutex`. Its state is whether it is held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutex {
    is_held: bool,
}

impl Mutex {
    /// A mutex that is held or free.
    #[must_use]
    pub fn new(is_held: bool) -> Mutex {
        Mutex { is_held }
    }

    /// A mutex with the initial value of the command line.
    ///
    /// # Errors
    /// If that is neither `free` nor `held`.
    pub fn with_initial(initial: &Value) -> Result<Mutex, WrongInitial> {
        match initial.as_text() {
            Some("free") => Ok(Mutex::new(false)),
            Some("held") => Ok(Mutex::new(true)),
            None if initial.is_nil() => Ok(Mutex::new(false)),
            _ => Err(WrongInitial::new("free or held", initial)),
        }
    }
}

/// What an operation means whose failure with the error `observed` is an observation.
fn meaning_of(operation: &Operation, call: MutexCall, observed: (&str, MutexCall)) -> Meaning<MutexCall> {
    match operation.completion() {
        Completion::Fail { error, .. } if shape::is_text(error, observed.0) => Meaning::Completed(observed.1),
        completion => shape::of_update(completion, call),
    }
}

impl Model for Mutex {
    type State = bool;
    type Call = MutexCall;
    type Refusal = MutexRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> bool {
        self.is_held
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<MutexCall>, ModelError> {
        match operation.f() {
            "acquire" => Ok(meaning_of(operation, MutexCall::Acquire, ("held", MutexCall::WasHeld))),
            "release" => Ok(meaning_of(operation, MutexCall::Release, ("free", MutexCall::WasFree))),
            _ => Err(shape::unknown_function(NAME, operation, "acquire, release")),
        }
    }

    fn step(&self, &is_held: &bool, call: &MutexCall) -> Result<bool, MutexRefusal> {
        match (call, is_held) {
            (MutexCall::Acquire, false) | (MutexCall::WasHeld, true) => Ok(true),
            (MutexCall::Release, true) | (MutexCall::WasFree, false) => Ok(false),
            (MutexCall::Acquire | MutexCall::WasFree, true) => Err(MutexRefusal::Held(*call)),
            (MutexCall::Release | MutexCall::WasHeld, false) => Err(MutexRefusal::Free(*call)),
        }
    }

    fn is_pure(&self, call: &MutexCall) -> bool {
        matches!(call, MutexCall::WasHeld | MutexCall::WasFree)
    }

    fn is_finite(&self) -> bool {
        true
    }

    fn removal(&self, intervals: &[Interval<MutexCall>]) -> Removal {
        let hold = |call: &MutexCall| match call {
            MutexCall::Acquire => Hold::Acquire(()),
            MutexCall::Release => Hold::Release(()),
            MutexCall::WasHeld => Hold::Denied,
            MutexCall::WasFree => Hold::Unheld,
        };
        Removal::of_lock(self, intervals, hold, self.is_held.then_some(()))
    }

    fn describe_call(&self, call: &MutexCall) -> String {
        match call {
            MutexCall::Acquire => "acquire",
            MutexCall::Release => "release",
            MutexCall::WasHeld => "acquire → held",
            MutexCall::WasFree => "release → free",
        }
        .to_owned()
    }

    fn describe_state(&self, is_held: &bool) -> String {
        format!("mutex = {}", if *is_held { "held" } else { "free" })
    }
}
