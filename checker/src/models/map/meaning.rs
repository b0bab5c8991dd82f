//! What the operations of a history mean to a map.

use std::collections::BTreeSet;

use labrys_history::{Completion, Operation, Value};

use super::{MapAction, MapCall, MapStep};
use crate::model::{Meaning, ModelError};
use crate::models::register::PRECONDITION_FAILED;
use crate::models::shape;

const NOT_FOUND: &str = "not-found";

/// How a history writes things down, where programs differ.
#[derive(Clone, Debug)]
pub(super) struct Conventions {
    /// Whether a `cas` that failed without an error compared unequal.
    plain_failure_is_answer: bool,
    /// Keys that somebody deletes or puts nil under; `None`: that is not known.
    emptied: Option<BTreeSet<Value>>,
}

impl Default for Conventions {
    fn default() -> Self {
        Conventions { plain_failure_is_answer: true, emptied: None }
    }
}

impl Conventions {
    /// Those of a history.
    pub(super) fn of(operations: &[Operation]) -> Conventions {
        let fails_plainly = |operation: &Operation| {
            operation.f() != "cas" && matches!(operation.completion(), Completion::Fail { error: None, .. })
        };
        Conventions {
            plain_failure_is_answer: !operations.iter().any(fails_plainly),
            emptied: Some(operations.iter().flat_map(emptied).collect()),
        }
    }

    pub(super) fn in_words(&self) -> Vec<(&'static str, &'static str)> {
        let failed = if self.plain_failure_is_answer { "compared unequal" } else { "not executed" };
        vec![("convention.cas-failed-without-error", failed)]
    }

    fn can_be_nil(&self, key: &Value, initial: &Value) -> bool {
        initial.is_nil() || self.emptied.as_ref().is_none_or(|emptied| emptied.contains(key))
    }
}

/// The keys that an operation may leave without a value.
fn emptied(operation: &Operation) -> Vec<Value> {
    match operation.f() {
        "delete" | "remove" => vec![single_key(operation)],
        "put" | "write" => {
            argument(operation).filter(|(_, value)| value.is_nil()).map(|(key, _)| key).into_iter().collect()
        }
        "cas" => {
            let pair =
                argument(operation).filter(|(_, pair)| matches!(pair.as_sequence(), Some([_, Value::Nil])));
            pair.map(|(key, _)| key).into_iter().collect()
        }
        "txn" => {
            let steps = operation.value().as_sequence().unwrap_or_default().iter();
            let nil_under = |step: &Value| match step.as_sequence() {
                Some([f, key, Value::Nil]) if is_write(f) => Some(key.clone()),
                _ => None,
            };
            steps.filter_map(nil_under).collect()
        }
        _ => Vec::new(),
    }
}

fn is_write(f: &Value) -> bool {
    matches!(f.as_text(), Some("write" | "w"))
}

fn is_read(f: &Value) -> bool {
    matches!(f.as_text(), Some("read" | "r"))
}

/// All keys that an operation is on. None if it is of the wrong shape, which its meaning will say.
pub(super) fn keys(operation: &Operation) -> Vec<Value> {
    match operation.f() {
        "txn" => {
            let steps = operation.value().as_sequence().unwrap_or_default().iter();
            steps.filter_map(|step| step.as_sequence().and_then(|step| step.get(1)).cloned()).collect()
        }
        "get" | "read" | "delete" | "remove" => vec![single_key(operation)],
        _ => argument(operation).map(|(key, _)| key).into_iter().collect(),
    }
}

/// The key of an operation that has no other argument.
fn single_key(operation: &Operation) -> Value {
    match (operation.key(), operation.value().as_sequence()) {
        (Some(key), _) => key.clone(),
        (None, Some([key, Value::Nil])) => key.clone(),
        (None, _) => operation.value().clone(),
    }
}

/// Key and argument of an operation that has both.
fn argument(operation: &Operation) -> Option<(Value, Value)> {
    match (operation.key(), operation.value().as_sequence()) {
        (Some(key), _) => Some((key.clone(), operation.value().clone())),
        (None, Some([key, argument])) => Some((key.clone(), argument.clone())),
        (None, _) => None,
    }
}

/// What `operation` means.
pub(super) fn of<'m>(
    model: &'static str,
    operation: &Operation,
    conventions: &Conventions,
    initial_of: impl Fn(&Value) -> &'m Value,
) -> Result<Meaning<MapCall>, ModelError> {
    let can_be_nil = |key: &Value| conventions.can_be_nil(key, initial_of(key));
    let with_argument = || {
        argument(operation)
            .ok_or_else(|| shape::wrong_argument(model, operation, "a pair [key value], or a key of its own"))
    };
    match operation.f() {
        "get" | "read" => Ok(get(operation, can_be_nil)),
        "put" | "write" => {
            let (key, value) = with_argument()?;
            Ok(shape::of_update(operation.completion(), one(key, MapAction::Write(value))))
        }
        "append" => {
            let (key, value) = with_argument()?;
            Ok(shape::of_update(operation.completion(), one(key, MapAction::Append(value))))
        }
        "delete" | "remove" => Ok(delete(operation)),
        "cas" => {
            let (key, pair) = with_argument()?;
            let Some([expected, new]) = pair.as_sequence() else {
                return Err(shape::wrong_argument(model, operation, "a key and a pair [expected new]"));
            };
            Ok(cas(operation, key, expected, new, conventions))
        }
        "txn" => transaction(model, operation, can_be_nil),
        _ => Err(shape::unknown_function(model, operation, "get, put, append, cas, delete, txn")),
    }
}

fn one(key: Value, does: MapAction) -> MapCall {
    vec![MapStep { key, does }]
}

fn get(operation: &Operation, can_be_nil: impl Fn(&Value) -> bool) -> Meaning<MapCall> {
    let key = single_key(operation);
    let value = match operation.completion() {
        Completion::Ok { value, .. } => match value.as_sequence() {
            Some([same, value]) if operation.key().is_none() && *same == key => value.clone(),
            _ => value.clone(),
        },
        Completion::Fail { error, .. } if shape::is_text(error, NOT_FOUND) => Value::Nil,
        Completion::Fail { .. } | Completion::Info { .. } => return Meaning::Nothing,
    };
    let is_failure = matches!(operation.completion(), Completion::Fail { .. });
    if value.is_nil() && !is_failure && !can_be_nil(&key) {
        return Meaning::Nothing;
    }
    Meaning::Completed(one(key, MapAction::Read(value)))
}

fn delete(operation: &Operation) -> Meaning<MapCall> {
    let key = single_key(operation);
    match operation.completion() {
        Completion::Fail { error, .. } if shape::is_text(error, NOT_FOUND) => {
            Meaning::Completed(one(key, MapAction::Read(Value::Nil)))
        }
        completion => shape::of_update(completion, one(key, MapAction::Write(Value::Nil))),
    }
}

fn cas(
    operation: &Operation,
    key: Value,
    expected: &Value,
    new: &Value,
    conventions: &Conventions,
) -> Meaning<MapCall> {
    let compared_unequal = match operation.completion() {
        Completion::Fail { value, error: None, .. } => {
            conventions.plain_failure_is_answer && *value == *operation.value()
        }
        Completion::Fail { error, .. } => shape::is_text(error, PRECONDITION_FAILED),
        _ => false,
    };
    if compared_unequal {
        return Meaning::Completed(one(key, MapAction::CasUnequal(expected.clone())));
    }
    shape::of_update(operation.completion(), one(key, MapAction::Cas(expected.clone(), new.clone())))
}

fn transaction(
    model: &'static str,
    operation: &Operation,
    can_be_nil: impl Fn(&Value) -> bool,
) -> Result<Meaning<MapCall>, ModelError> {
    const EXPECTED: &str = "steps [[f key value] …] with f read, write or append";
    let steps = match operation.completion() {
        Completion::Ok { value, .. } => value,
        Completion::Fail { .. } => return Ok(Meaning::Nothing),
        Completion::Info { .. } => operation.value(),
    };
    let is_completed = matches!(operation.completion(), Completion::Ok { .. });
    let wrong = || match operation.completion() {
        Completion::Ok { value, .. } => shape::wrong_result(model, operation, EXPECTED, value),
        _ => shape::wrong_argument(model, operation, EXPECTED),
    };
    let mut call = MapCall::new();
    for step in steps.as_sequence().ok_or_else(wrong)? {
        let Some([f, key, value]) = step.as_sequence() else { return Err(wrong()) };
        let does = match f.as_text() {
            Some("append") => MapAction::Append(value.clone()),
            _ if is_write(f) => MapAction::Write(value.clone()),
            _ if !is_read(f) => return Err(wrong()),
            _ if !is_completed || (value.is_nil() && !can_be_nil(key)) => continue,
            _ => MapAction::Read(value.clone()),
        };
        call.push(MapStep { key: key.clone(), does });
    }
    Ok(match (call.is_empty(), is_completed) {
        (true, _) => Meaning::Nothing,
        (false, true) => Meaning::Completed(call),
        (false, false) => Meaning::Crashed(call),
    })
}
