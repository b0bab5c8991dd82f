//! A mutex that knows its holder, who may acquire it again and has to release it as often.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `acquire` | `ok` | nobody held it, or the caller did, less often than the limit; the caller holds it once more from then on |
//! | `acquire` | `fail` with the error `held` | another held it, or the caller did as often as the limit |
//! | `release` | `ok` | the caller held it, and holds it once less from then on |
//! | `release` | `fail` with the error `not-holder` | the caller did not hold it |
//! | either | `fail` otherwise | nothing: it did not happen |
//! | either | `info` | the same as `ok` at some later time, or nothing |
//!
//! The caller is the process, or, if the argument is a map with `:client`, what stands under that. So a client that lives on after
//! a crashed operation, as Jepsen's processes do not, should say its name. The initial value is `{:limit N}`: how often one may hold it at a time; without limit
//! unless given. With a limit of 1 it is a mutex that knows its holder.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::linearizable::Interval;
use crate::model::{Meaning, Model, ModelError};
use crate::removal::{Hold, Removal};

const NAME: &str = "reentrant-mutex";

/// A call on a mutex that knows its holder, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReentrantCall {
    /// This caller acquired it.
    Acquire(Value),
    /// This caller released it.
    Release(Value),
    /// It could not be acquired by this caller.
    Unavailable(Value),
    /// This caller did not hold it.
    NotHolder(Value),
}

impl ReentrantCall {
    fn caller(&self) -> &Value {
        match self {
            ReentrantCall::Acquire(caller)
            | ReentrantCall::Release(caller)
            | ReentrantCall::Unavailable(caller)
            | ReentrantCall::NotHolder(caller) => caller,
        }
    }
}

/// Who holds it, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Who.
    pub client: Value,
    /// How often; not 0.
    pub times: u64,
}

/// Why it refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReentrantRefusal {
    call: ReentrantCall,
    holder: Option<Holder>,
}

impl fmt::Display for ReentrantRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caller = self.call.caller();
        match self.call {
            ReentrantCall::Acquire(_) => write!(formatter, "acquired by {caller}")?,
            ReentrantCall::Release(_) => write!(formatter, "released by {caller}")?,
            ReentrantCall::Unavailable(_) => write!(formatter, "not to be had for {caller}")?,
            ReentrantCall::NotHolder(_) => write!(formatter, "not held by {caller}")?,
        }
        write!(formatter, ", but {}", in_words(self.holder.as_ref()))
    }
}

fn in_words(holder: Option<&Holder>) -> String {
    match holder {
        None => "nobody holds the mutex".to_owned(),
        Some(Holder { client, times: 1 }) => format!("{client} holds the mutex"),
        Some(Holder { client, times }) => format!("{client} holds the mutex {times} times"),
    }
}

/// The model `reentrant-mutex`.
#[derive(Clone, Copy, Debug)]
pub struct ReentrantMutex {
    limit: Option<u64>,
}

impl ReentrantMutex {
    /// A free mutex that one may hold `limit` times at once.
    #[must_use]
    pub fn new(limit: Option<u64>) -> ReentrantMutex {
        ReentrantMutex { limit }
    }

    /// A mutex with the limit of the command line.
    ///
    /// # Errors
    /// If that is no map with a number above 0 under `:limit`.
    pub fn with_initial(initial: &Value) -> Result<ReentrantMutex, WrongInitial> {
        let limit = initial.get("limit").and_then(Value::as_int).and_then(|limit| u64::try_from(limit).ok());
        match limit {
            None if initial.is_nil() => Ok(ReentrantMutex::new(None)),
            Some(1..) => Ok(ReentrantMutex::new(limit)),
            _ => Err(WrongInitial::new("a map {:limit N} with N above 0", initial)),
        }
    }

    fn is_available(&self, holder: Option<&Holder>, caller: &Value) -> bool {
        holder.is_none_or(|holder| {
            holder.client == *caller && self.limit.is_none_or(|limit| holder.times < limit)
        })
    }
}

impl Model for ReentrantMutex {
    type State = Option<Holder>;
    type Call = ReentrantCall;
    type Refusal = ReentrantRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> Option<Holder> {
        None
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<ReentrantCall>, ModelError> {
        let caller = || shape::caller(operation);
        let error = match operation.completion() {
            Completion::Fail { error, .. } => error.and_then(Value::as_text),
            _ => None,
        };
        match (operation.f(), error) {
            ("acquire", Some("held")) => Ok(Meaning::Completed(ReentrantCall::Unavailable(caller()))),
            ("acquire", _) => Ok(shape::of_update(operation.completion(), ReentrantCall::Acquire(caller()))),
            ("release", Some("not-holder")) => Ok(Meaning::Completed(ReentrantCall::NotHolder(caller()))),
            ("release", _) => Ok(shape::of_update(operation.completion(), ReentrantCall::Release(caller()))),
            _ => Err(shape::unknown_function(NAME, operation, "acquire, release")),
        }
    }

    fn step(
        &self,
        holder: &Option<Holder>,
        call: &ReentrantCall,
    ) -> Result<Option<Holder>, ReentrantRefusal> {
        let caller = call.caller();
        let times =
            holder.as_ref().filter(|holder| holder.client == *caller).map_or(0, |holder| holder.times);
        let held = |times: u64| (times > 0).then(|| Holder { client: caller.clone(), times });
        let is_available = self.is_available(holder.as_ref(), caller);
        match call {
            ReentrantCall::Acquire(_) if is_available => Ok(held(times + 1)),
            ReentrantCall::Unavailable(_) if !is_available => Ok(holder.clone()),
            ReentrantCall::Release(_) if times > 0 => Ok(held(times - 1)),
            ReentrantCall::NotHolder(_) if times == 0 => Ok(holder.clone()),
            _ => Err(ReentrantRefusal { call: call.clone(), holder: holder.clone() }),
        }
    }

    fn is_pure(&self, call: &ReentrantCall) -> bool {
        matches!(call, ReentrantCall::Unavailable(_) | ReentrantCall::NotHolder(_))
    }

    fn is_finite(&self) -> bool {
        self.limit.is_some()
    }

    fn removal(&self, intervals: &[Interval<ReentrantCall>]) -> Removal {
        let hold = |call: &ReentrantCall| match call {
            ReentrantCall::Acquire(caller) => Hold::Acquire(caller.clone()),
            ReentrantCall::Release(caller) => Hold::Release(caller.clone()),
            ReentrantCall::Unavailable(_) => Hold::Denied,
            ReentrantCall::NotHolder(_) => Hold::Unheld,
        };
        Removal::of_lock(self, intervals, hold, None)
    }

    fn describe_call(&self, call: &ReentrantCall) -> String {
        let caller = call.caller();
        match call {
            ReentrantCall::Acquire(_) => format!("acquire by {caller}"),
            ReentrantCall::Release(_) => format!("release by {caller}"),
            ReentrantCall::Unavailable(_) => format!("acquire by {caller} → held"),
            ReentrantCall::NotHolder(_) => format!("release by {caller} → not the holder"),
        }
    }

    fn describe_state(&self, holder: &Option<Holder>) -> String {
        in_words(holder.as_ref())
    }
}
