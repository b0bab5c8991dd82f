//! A semaphore: so many permits, to be had by anybody.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `acquire n`, `acquire` | `ok` | `n` permits (or 1) were free, and are taken from then on |
//! | `acquire n` | `fail` with the error `unavailable` | fewer than `n` were free |
//! | `release n`, `release` | `ok` | `n` permits (or 1) were taken, and are free from then on |
//! | either | `fail` otherwise | nothing: it did not happen |
//! | either | `info` | the same as `ok` at some later time, or nothing |
//!
//! Who took them is not looked at, only that no more are given back than were taken. The initial value is the number of permits;
//! 1 unless given.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::linearizable::Interval;
use crate::model::{Meaning, Model, ModelError};
use crate::removal::{Hold, Removal};

const NAME: &str = "semaphore";

/// A call on a semaphore, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SemaphoreCall {
    /// So many were taken.
    Acquire(u64),
    /// So many were given back.
    Release(u64),
    /// So many were not to be had.
    Unavailable(u64),
}

/// Why a semaphore refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SemaphoreRefusal {
    call: SemaphoreCall,
    taken: u64,
    permits: u64,
}

impl fmt::Display for SemaphoreRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (taken, free) = (self.taken, self.permits - self.taken);
        match self.call {
            SemaphoreCall::Acquire(number) => {
                write!(formatter, "acquired {number}, but only {free} are free")
            }
            SemaphoreCall::Release(number) => {
                write!(formatter, "released {number}, but only {taken} are taken")
            }
            SemaphoreCall::Unavailable(number) => {
                write!(formatter, "could not acquire {number}, but {free} are free")
            }
        }
    }
}

/// The model `semaphore`. Its state is the number of permits taken.
#[derive(Clone, Copy, Debug)]
pub struct Semaphore {
    permits: u64,
}

impl Semaphore {
    /// A semaphore with so many permits, all free.
    #[must_use]
    pub fn new(permits: u64) -> Semaphore {
        Semaphore { permits }
    }

    /// A semaphore with the permits of the command line.
    ///
    /// # Errors
    /// If that is no number from 0.
    pub fn with_initial(initial: &Value) -> Result<Semaphore, WrongInitial> {
        match (initial, initial.as_int().map(u64::try_from)) {
            (Value::Nil, _) => Ok(Semaphore::new(1)),
            (_, Some(Ok(permits))) => Ok(Semaphore::new(permits)),
            _ => Err(WrongInitial::new("a number of permits", initial)),
        }
    }
}

fn number(operation: &Operation) -> Result<u64, ModelError> {
    let number = match operation.value() {
        Value::Nil => Some(1),
        Value::Int(number) => u64::try_from(*number).ok().filter(|&number| number > 0),
        _ => None,
    };
    number.ok_or_else(|| shape::wrong_argument(NAME, operation, "a number above 0 or nothing"))
}

impl Model for Semaphore {
    type State = u64;
    type Call = SemaphoreCall;
    type Refusal = SemaphoreRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> u64 {
        0
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<SemaphoreCall>, ModelError> {
        match (operation.f(), operation.completion()) {
            ("acquire", Completion::Fail { error, .. }) if shape::is_text(error, "unavailable") => {
                Ok(Meaning::Completed(SemaphoreCall::Unavailable(number(operation)?)))
            }
            ("acquire", completion) => {
                Ok(shape::of_update(completion, SemaphoreCall::Acquire(number(operation)?)))
            }
            ("release", completion) => {
                Ok(shape::of_update(completion, SemaphoreCall::Release(number(operation)?)))
            }
            _ => Err(shape::unknown_function(NAME, operation, "acquire, release")),
        }
    }

    fn step(&self, &taken: &u64, call: &SemaphoreCall) -> Result<u64, SemaphoreRefusal> {
        let free = self.permits - taken;
        match *call {
            SemaphoreCall::Acquire(number) if number <= free => Ok(taken + number),
            SemaphoreCall::Release(number) if number <= taken => Ok(taken - number),
            SemaphoreCall::Unavailable(number) if number > free => Ok(taken),
            call => Err(SemaphoreRefusal { call, taken, permits: self.permits }),
        }
    }

    fn is_pure(&self, call: &SemaphoreCall) -> bool {
        matches!(call, SemaphoreCall::Unavailable(_))
    }

    /// Taken are sums of the numbers of calls, from 0 to the number of permits.
    fn is_finite(&self) -> bool {
        true
    }

    fn removal(&self, intervals: &[Interval<SemaphoreCall>]) -> Removal {
        let hold = |call: &SemaphoreCall| match *call {
            SemaphoreCall::Acquire(number) => Hold::Acquire(number),
            SemaphoreCall::Release(number) => Hold::Release(number),
            SemaphoreCall::Unavailable(_) => Hold::Denied,
        };
        Removal::of_lock(self, intervals, hold, None)
    }

    fn describe_call(&self, call: &SemaphoreCall) -> String {
        match call {
            SemaphoreCall::Acquire(number) => format!("acquire {number}"),
            SemaphoreCall::Release(number) => format!("release {number}"),
            SemaphoreCall::Unavailable(number) => format!("acquire {number} → unavailable"),
        }
    }

    fn describe_state(&self, taken: &u64) -> String {
        format!("semaphore = {taken} of {} taken", self.permits)
    }
}
