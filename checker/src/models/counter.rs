//! A counter: `add`, `read`, and `add-and-get`.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `add n`, `add` | `ok` | it is more by `n` from then on, or by 1; `n` may be negative |
//! | `increment`, `decrement`, with or without `n` | | the same as `add n` and `add -n` |
//! | `read` | `ok t` | it was `t` |
//! | `read` | `fail`, `info`, `ok nil` | nothing: nobody saw an answer |
//! | `add-and-get n`, `increment-and-get` | `ok t`, or `ok [n t]` | it is more by `n` (or 1) from then on, and was `t` then |
//! | `add-and-get n` | `ok nil` | the same as of `add n` |
//! | any addition | `fail` | nothing: it did not happen |
//! | any addition | `info` | it may be more from some later time on |
//!
//! The initial value is a number; 0 unless given.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::class::{Class, Role};
use crate::model::{Meaning, Model, ModelError};

const NAME: &str = "counter";

/// A call on a counter, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterCall {
    /// It is so much more from then on.
    Add(i64),
    /// It was this.
    Total(i64),
    /// It is so much more from then on, and was this then.
    AddAndTotal(i64, i64),
}

/// Why a counter refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterRefusal {
    /// It was read as something else.
    Total {
        /// What was read.
        read: i64,
        /// What it is.
        holds: i128,
    },
    /// An addition returned something else.
    AddAndTotal {
        /// What was added.
        added: i64,
        /// What was returned.
        returned: i64,
        /// What it was before.
        holds: i128,
    },
}

impl fmt::Display for CounterRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CounterRefusal::Total { read, holds } => {
                write!(formatter, "read {read}, but the counter is {holds}")
            }
            CounterRefusal::AddAndTotal { added, returned, holds } => {
                write!(formatter, "added {added} and got {returned}, but the counter is {holds}")
            }
        }
    }
}

/// The model `counter`. A state is a sum of fewer than 2^64 numbers of 64 bits, which 128 bits hold.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    initial: i64,
}

impl Counter {
    /// A counter that is at `initial`.
    #[must_use]
    pub fn new(initial: i64) -> Counter {
        Counter { initial }
    }

    /// A counter with the initial value of the command line.
    ///
    /// # Errors
    /// If it is no number of 64 bits.
    pub fn with_initial(initial: &Value) -> Result<Counter, WrongInitial> {
        match initial {
            Value::Nil => Ok(Counter::new(0)),
            Value::Int(number) => Ok(Counter::new(*number)),
            _ => Err(WrongInitial::new("a number", initial)),
        }
    }
}

/// How much an addition adds: its argument, or 1 if it has none.
fn amount(operation: &Operation, sign: i64) -> Result<i64, ModelError> {
    let amount = match operation.value() {
        Value::Nil => Some(sign),
        Value::Int(number) => number.checked_mul(sign),
        _ => None,
    };
    amount.ok_or_else(|| shape::wrong_argument(NAME, operation, "a number of 64 bits or nothing"))
}

fn read_meaning(operation: &Operation) -> Result<Meaning<CounterCall>, ModelError> {
    match operation.completion() {
        Completion::Ok { value: Value::Int(total), .. } => Ok(Meaning::Completed(CounterCall::Total(*total))),
        Completion::Ok { value: Value::Nil, .. } | Completion::Fail { .. } | Completion::Info { .. } => {
            Ok(Meaning::Nothing)
        }
        Completion::Ok { value, .. } => {
            Err(shape::wrong_result(NAME, operation, "a number of 64 bits", value))
        }
    }
}

fn add_and_get_meaning(operation: &Operation) -> Result<Meaning<CounterCall>, ModelError> {
    let amount = amount(operation, 1)?;
    let Completion::Ok { value, .. } = operation.completion() else {
        return Ok(shape::of_update(operation.completion(), CounterCall::Add(amount)));
    };
    let total = match value.as_sequence() {
        Some([added, total]) if *added == Value::Int(amount) => total,
        _ => value,
    };
    match total {
        Value::Int(total) => Ok(Meaning::Completed(CounterCall::AddAndTotal(amount, *total))),
        Value::Nil => Ok(Meaning::Completed(CounterCall::Add(amount))),
        _ => Err(shape::wrong_result(NAME, operation, "a number of 64 bits or [added total]", value)),
    }
}

impl Model for Counter {
    type State = i128;
    type Call = CounterCall;
    type Refusal = CounterRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> i128 {
        self.initial.into()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<CounterCall>, ModelError> {
        let add =
            |sign| Ok(shape::of_update(operation.completion(), CounterCall::Add(amount(operation, sign)?)));
        match operation.f() {
            "add" | "increment" => add(1),
            "decrement" => add(-1),
            "add-and-get" | "increment-and-get" => add_and_get_meaning(operation),
            "read" => read_meaning(operation),
            _ => Err(shape::unknown_function(
                NAME,
                operation,
                "add, increment, decrement, read, add-and-get, increment-and-get",
            )),
        }
    }

    fn step(&self, &holds: &i128, call: &CounterCall) -> Result<i128, CounterRefusal> {
        match *call {
            CounterCall::Add(amount) => Ok(holds + i128::from(amount)),
            CounterCall::Total(read) if i128::from(read) == holds => Ok(holds),
            CounterCall::Total(read) => Err(CounterRefusal::Total { read, holds }),
            CounterCall::AddAndTotal(added, returned) => {
                let after = holds + i128::from(added);
                let is_right = after == i128::from(returned);
                if is_right { Ok(after) } else { Err(CounterRefusal::AddAndTotal { added, returned, holds }) }
            }
        }
    }

    fn is_pure(&self, call: &CounterCall) -> bool {
        matches!(call, CounterCall::Total(_) | CounterCall::Add(0) | CounterCall::AddAndTotal(0, _))
    }

    fn class(&self) -> Option<Class> {
        (self.initial == 0).then_some(Class::Counter)
    }

    fn role<'c>(&self, call: &'c CounterCall) -> Option<Role<'c>> {
        Some(match *call {
            CounterCall::Add(amount) => Role::Add(amount),
            CounterCall::Total(total) => Role::Total(total),
            CounterCall::AddAndTotal(amount, total) => Role::AddAndTotal(amount, total),
        })
    }

    fn describe_call(&self, call: &CounterCall) -> String {
        match call {
            CounterCall::Add(amount) => format!("add {amount}"),
            CounterCall::Total(total) => format!("read → {total}"),
            CounterCall::AddAndTotal(amount, total) => format!("add-and-get {amount} → {total}"),
        }
    }

    fn describe_state(&self, holds: &i128) -> String {
        format!("counter = {holds}")
    }
}
