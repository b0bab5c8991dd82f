//! A list that grows at its end: `append` and `read`.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `append v` | `ok` | `v` is its last element from then on, until more are appended |
//! | `append v` | `fail` | nothing: it did not happen |
//! | `append v` | `info` | it may be appended at some later time |
//! | `read` | `ok` with a vector or list | these were its elements, in this order |
//! | `read` | `fail`, `info`, `ok nil` | nothing: nobody saw an answer |
//!
//! The initial elements are a vector or list; none unless given.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::model::{Meaning, Model, ModelError};
use crate::persistent::Chain;

const NAME: &str = "list";
/// Longer lists are not shown whole in a refusal.
const SHOWN_WHOLE: usize = 12;

/// A call on a list, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListCall {
    /// This was appended.
    Append(Value),
    /// These were the elements.
    Read(Chain<Value>),
}

/// Why a list refuses a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRefusal {
    read: Chain<Value>,
    holds: Chain<Value>,
}

impl fmt::Display for ListRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (read, holds) = (self.read.forwards(), self.holds.forwards());
        if read.len().max(holds.len()) <= SHOWN_WHOLE {
            let [read, holds] = [read, holds].map(shape::list_in_words);
            return write!(formatter, "read {read}, but the list is {holds}");
        }
        match read.iter().zip(&holds).position(|(read, holds)| read != holds) {
            Some(position) => {
                let (read, holds) = (read[position], holds[position]);
                write!(formatter, "read {read} as element {position}, but the list has {holds} there")
            }
            None => write!(formatter, "read {} elements, but the list has {}", read.len(), holds.len()),
        }
    }
}

/// The model `list`.
#[derive(Clone, Debug, Default)]
pub struct List {
    initial: Chain<Value>,
}

impl List {
    /// A list of these.
    #[must_use]
    pub fn new(elements: &[Value]) -> List {
        List { initial: elements.iter().cloned().collect() }
    }

    /// A list with the initial elements of the command line.
    ///
    /// # Errors
    /// If they are no vector or list.
    pub fn with_initial(initial: &Value) -> Result<List, WrongInitial> {
        match initial.as_sequence() {
            None if initial.is_nil() => Ok(List::default()),
            Some(elements) => Ok(List::new(elements)),
            None => Err(WrongInitial::new("elements, such as [1 2]", initial)),
        }
    }
}

impl Model for List {
    type State = Chain<Value>;
    type Call = ListCall;
    type Refusal = ListRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> Chain<Value> {
        self.initial.clone()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<ListCall>, ModelError> {
        match (operation.f(), operation.completion()) {
            ("append", completion) => {
                Ok(shape::of_update(completion, ListCall::Append(operation.value().clone())))
            }
            ("read", Completion::Ok { value, .. }) if !value.is_nil() => {
                let elements = value
                    .as_sequence()
                    .ok_or_else(|| shape::wrong_result(NAME, operation, "a vector or list", value))?;
                Ok(Meaning::Completed(ListCall::Read(elements.iter().cloned().collect())))
            }
            ("read", _) => Ok(Meaning::Nothing),
            _ => Err(shape::unknown_function(NAME, operation, "append, read")),
        }
    }

    fn step(&self, holds: &Chain<Value>, call: &ListCall) -> Result<Chain<Value>, ListRefusal> {
        match call {
            ListCall::Append(value) => Ok(holds.with(value.clone())),
            ListCall::Read(read) if read == holds => Ok(holds.clone()),
            ListCall::Read(read) => Err(ListRefusal { read: read.clone(), holds: holds.clone() }),
        }
    }

    fn is_pure(&self, call: &ListCall) -> bool {
        matches!(call, ListCall::Read(_))
    }

    fn heap_bytes(&self, holds: &Chain<Value>) -> usize {
        holds.own_bytes()
    }

    fn describe_call(&self, call: &ListCall) -> String {
        match call {
            ListCall::Append(value) => format!("append {value}"),
            ListCall::Read(elements) => format!("read → {}", shape::list_in_words(elements.forwards())),
        }
    }

    fn describe_state(&self, holds: &Chain<Value>) -> String {
        format!("list = {}", shape::list_in_words(holds.forwards()))
    }
}
