//! What models share in reading operations: errors, completions, and lists in words.

use labrys_history::{Completion, Operation, Value};
use thiserror::Error;

use crate::model::{Meaning, ModelError};

/// The most elements of a collection that stand in a description.
const ELEMENTS_IN_WORDS: usize = 20;

/// An initial value that a model cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found {found}")]
pub struct WrongInitial {
    /// What the model wants, for a person.
    pub expected: String,
    /// What is there, as EDN.
    pub found: String,
}

impl WrongInitial {
    /// `found` where `expected` should be.
    pub(crate) fn new(expected: impl Into<String>, found: &Value) -> WrongInitial {
        WrongInitial { expected: expected.into(), found: found.to_string() }
    }
}

/// The error about a function that `model` does not know.
pub(crate) fn unknown_function(model: &str, operation: &Operation, known: &str) -> ModelError {
    ModelError::UnknownFunction {
        event: operation.invoke_index(),
        f: operation.f().to_string(),
        model: model.to_owned(),
        known: known.to_owned(),
    }
}

/// The error about an argument of the wrong shape.
pub(crate) fn wrong_argument(model: &str, operation: &Operation, expected: &str) -> ModelError {
    wrong(model, operation, operation.invoke_index(), expected, operation.value())
}

/// The error about a result of the wrong shape.
pub(crate) fn wrong_result(model: &str, operation: &Operation, expected: &str, found: &Value) -> ModelError {
    let event = operation.completion().index().unwrap_or(operation.invoke_index());
    wrong(model, operation, event, &format!("as its result {expected}"), found)
}

fn wrong(model: &str, operation: &Operation, event: u64, expected: &str, found: &Value) -> ModelError {
    ModelError::WrongShape {
        event,
        f: operation.f().to_string(),
        model: model.to_owned(),
        expected: expected.to_owned(),
        found: found.to_string(),
    }
}

/// What an operation means that changes something and returns nothing of interest.
pub(crate) fn of_update<C>(completion: Completion, call: C) -> Meaning<C> {
    match completion {
        Completion::Ok { .. } => Meaning::Completed(call),
        Completion::Fail { .. } => Meaning::Nothing,
        Completion::Info { .. } => Meaning::Crashed(call),
    }
}

/// Whether an error is the string, keyword or symbol `text`.
pub(crate) fn is_text(error: Option<&Value>, text: &str) -> bool {
    error.and_then(Value::as_text) == Some(text)
}

/// Who calls, for models that know it: what stands under `:client` of the argument, or the process.
pub(crate) fn caller(operation: &Operation) -> Value {
    let process = || Value::Int(i64::try_from(operation.process()).unwrap_or(i64::MAX));
    operation.value().get("client").cloned().unwrap_or_else(process)
}

/// The elements of a collection that is no map; none of nil.
pub(crate) fn elements(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Nil => Some(&[]),
        Value::Vector(elements) | Value::List(elements) | Value::Set(elements) => Some(elements),
        _ => None,
    }
}

/// `[1 2 3]`, or of a long list the start, and how many more there are.
pub(crate) fn list_in_words(values: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let mut values = values.into_iter();
    let first: Vec<String> = values.by_ref().take(ELEMENTS_IN_WORDS).map(|value| value.to_string()).collect();
    match values.count() {
        0 => format!("[{}]", first.join(" ")),
        more => format!("[{} … and {more} more]", first.join(" ")),
    }
}

/// The name of a part of an object which itself stands under an independent key or not.
pub(crate) fn part_within(key: Option<&Value>, part: Option<Value>) -> Option<Value> {
    match (key, part) {
        (Some(key), Some(part)) => Some(Value::vector(vec![key.clone(), part])),
        (Some(key), None) => Some(key.clone()),
        (None, part) => part,
    }
}
