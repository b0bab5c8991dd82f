//! A map from keys to values, and its transactions: the models `kv` and `multi-register`, which differ in their names only.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `get k` | `ok v` | `k` had the value `v`; nil: none |
//! | `get k` | `fail` with the error `not-found` | `k` had no value |
//! | `put k v` | `ok` | `k` has the value `v` from then on; nil: none |
//! | `append k v` | `ok` | a text gets `v` at its end, a vector `v` as its last element; no value becomes the text `v`, or the vector `[v]` |
//! | `cas k [a b]` | `ok` | `k` had the value `a`, and has `b` from then on |
//! | `cas k [a b]` | `fail`, as an answer (see below) | `k` had another value than `a` |
//! | `delete k` | `ok` | `k` has no value from then on |
//! | `delete k` | `fail` with the error `not-found` | `k` had no value |
//! | `txn [[f k v] …]` | `ok [[f k v] …]` | all of these took effect at once, in this order; `f` is `read` (`r`), `write` (`w`) or `append` |
//! | what reads | `info`, `fail` otherwise | nothing: nobody saw an answer |
//! | what changes | `fail` otherwise | nothing: it did not happen |
//! | what changes | `info` | the same as `ok` from some later time on, but what was read, or nothing |
//!
//! `read` and `write` are `get` and `put`, `remove` is `delete`. **Where the key is**: in the operation's key, if it has one (a file with
//! `:key`, or independent keys); then the value is `v`, or `[a b]`. Otherwise in the value: `[k v]`, `[k [a b]]`, and of a `get` or `delete`
//! `[k nil]` or just `k`; a `get` may return `v` or `[k v]`. Transactions have their keys in the value.
//!
//! The initial value is a map, or any other value, which every key then has: `""`, or nil unless given.
//!
//! # Where programs differ
//!
//! As of a register (see [`super::register`]): a `cas` that failed compared unequal if its error is `precondition-failed`, or if it has
//! none, unless something else failed without an error too. A read of nil is an observation if `k` can be without a value: initially, or because somebody deletes it or puts
//! nil; else it says nothing.
//!
//! # Parts
//!
//! Keys that no transaction of the history connects are independent, so a history in which every operation is on one key is split by
//! key. If it has no transactions of several steps, each part is then a register.

mod meaning;
mod parts;

use std::fmt;

use labrys_history::{Operation, Value};

use super::shape::{self, WrongInitial};
use crate::class::{Class, Role};
use crate::model::{Meaning, Model, ModelError};
use crate::persistent::Entries;
use meaning::Conventions;
use parts::Parts;

/// What a call does to one key, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MapAction {
    /// It had this value; nil: none.
    Read(Value),
    /// It has this value from then on; nil: none.
    Write(Value),
    /// This was appended to its value.
    Append(Value),
    /// It had the first, and has the second from then on.
    Cas(Value, Value),
    /// It had another value than this.
    CasUnequal(Value),
}

/// A step of a call: a key, and what is done to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MapStep {
    /// The key.
    pub key: Value,
    /// What is done to it.
    pub does: MapAction,
}

/// A call: steps that take effect at once.
pub type MapCall = Vec<MapStep>;

/// Why a map refuses a call: because of this step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRefusal {
    step: MapStep,
    holds: Value,
}

impl fmt::Display for MapRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (MapStep { key, does }, holds) = (&self.step, &self.holds);
        match does {
            MapAction::Read(value) => {
                write!(formatter, "read {value} under {key}, but the map has {holds} there")
            }
            MapAction::Cas(expected, _) => {
                write!(formatter, "compared equal to {expected} under {key}, but the map has {holds} there")
            }
            MapAction::CasUnequal(expected) => {
                write!(formatter, "compared unequal to {expected} under {key}, but the map has {holds} there")
            }
            MapAction::Append(value) => {
                write!(
                    formatter,
                    "appended {value} under {key}, but {holds} is there, which nothing can be appended to"
                )
            }
            MapAction::Write(value) => write!(formatter, "wrote {value} under {key}"),
        }
    }
}

/// The models `kv` and `multi-register`.
#[derive(Clone, Debug)]
pub struct Map {
    name: &'static str,
    /// The initial values that are not the usual one.
    initial: Entries<Value, Value>,
    /// The initial value of all other keys.
    usual: Value,
    conventions: Conventions,
    parts: Parts,
}

impl Map {
    /// A map with the initial values of the command line: a map, or the value of every key.
    #[must_use]
    pub fn new(initial: &Value) -> Map {
        let (initial, usual) = match initial {
            Value::Map(entries) => (entries.iter().cloned().collect(), Value::Nil),
            usual => (Entries::new(), usual.clone()),
        };
        Map { name: "kv", initial, usual, conventions: Conventions::default(), parts: Parts::default() }
    }

    /// The same under the name `multi-register`.
    #[must_use]
    pub fn multi_register(initial: &Value) -> Map {
        Map { name: "multi-register", ..Map::new(initial) }
    }

    /// For the table: no initial value is wrong.
    pub(super) fn checked(self) -> Result<Map, WrongInitial> {
        Ok(self)
    }

    fn initial_of(&self, key: &Value) -> &Value {
        self.initial.get(key).unwrap_or(&self.usual)
    }

    fn value_of<'s>(&'s self, state: &'s Entries<Value, Value>, key: &Value) -> &'s Value {
        state.get(key).unwrap_or_else(|| self.initial_of(key))
    }

    fn with_value(&self, state: &Entries<Value, Value>, key: &Value, value: Value) -> Entries<Value, Value> {
        // States have what differs from the initial values, so that equal maps are equal states.
        if value == *self.initial_of(key) { state.without(key) } else { state.with(key.clone(), value) }
    }

    /// The value of the key after `action`, or `None` if it stays; the error if the action is not possible.
    fn value_after(holds: &Value, action: &MapAction) -> Result<Option<Value>, ()> {
        match action {
            MapAction::Read(value) => {
                if value == holds {
                    Ok(None)
                } else {
                    Err(())
                }
            }
            MapAction::Write(value) => Ok(Some(value.clone())),
            MapAction::Append(value) => appended(holds, value).map(Some).ok_or(()),
            MapAction::Cas(expected, new) => {
                if expected == holds {
                    Ok(Some(new.clone()))
                } else {
                    Err(())
                }
            }
            MapAction::CasUnequal(expected) => {
                if expected != holds {
                    Ok(None)
                } else {
                    Err(())
                }
            }
        }
    }
}

/// `value` at the end of what is there, if that has an end.
fn appended(holds: &Value, value: &Value) -> Option<Value> {
    match (holds, value) {
        (Value::Nil, Value::String(_)) => Some(value.clone()),
        (Value::Nil, _) => Some(Value::vector(vec![value.clone()])),
        (Value::String(text), Value::String(more)) => Some(Value::string(format!("{text}{more}"))),
        (Value::Vector(elements) | Value::List(elements), _) => {
            Some(Value::Vector(elements.iter().chain([value]).cloned().collect()))
        }
        _ => None,
    }
}

impl Model for Map {
    type State = Entries<Value, Value>;
    type Call = MapCall;
    type Refusal = MapRefusal;

    fn name(&self) -> &str {
        self.name
    }

    fn init(&self) -> Self::State {
        Entries::new()
    }

    fn adapted(&self, operations: &[Operation]) -> Option<Map> {
        Some(Map { conventions: Conventions::of(operations), ..self.clone() })
    }

    fn prepared(&self, operations: &[Operation]) -> Option<Map> {
        Some(Map { parts: Parts::of(operations, |key| self.initial_of(key)), ..self.clone() })
    }

    fn conventions(&self) -> Vec<(&'static str, &'static str)> {
        self.conventions.in_words()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<MapCall>, ModelError> {
        meaning::of(self.name, operation, &self.conventions, |key| self.initial_of(key))
    }

    fn step(&self, state: &Self::State, call: &MapCall) -> Result<Self::State, MapRefusal> {
        let mut after = state.clone();
        for step in call {
            let holds = self.value_of(&after, &step.key);
            match Map::value_after(holds, &step.does) {
                Ok(Some(value)) => after = self.with_value(&after, &step.key, value),
                Ok(None) => {}
                Err(()) => return Err(MapRefusal { step: step.clone(), holds: holds.clone() }),
            }
        }
        Ok(after)
    }

    fn is_pure(&self, call: &MapCall) -> bool {
        call.iter().all(|step| match &step.does {
            MapAction::Read(_) | MapAction::CasUnequal(_) => true,
            MapAction::Cas(expected, new) => expected == new,
            MapAction::Write(_) | MapAction::Append(_) => false,
        })
    }

    /// Without appending a key has its initial value or one that is written.
    fn is_finite(&self) -> bool {
        self.parts.are_finite()
    }

    fn class(&self) -> Option<Class> {
        self.parts.initial_of_registers().map(|initial| Class::Register { initial: initial.clone() })
    }

    fn role<'c>(&self, call: &'c MapCall) -> Option<Role<'c>> {
        let [step] = call.as_slice() else { return None };
        match &step.does {
            MapAction::Read(value) => Some(Role::Read(value)),
            MapAction::Write(value) => Some(Role::Write(value)),
            MapAction::Append(_) => None,
            MapAction::Cas(expected, new) => Some(Role::CompareAndSet { expected, new }),
            MapAction::CasUnequal(expected) => Some(Role::CompareUnequal(expected)),
        }
    }

    fn heap_bytes(&self, state: &Self::State) -> usize {
        // What changed last is not known; of a map with one entry it is that.
        let text = match state.first() {
            Some((_, Value::String(text))) if state.len() == 1 => text.len(),
            Some((_, Value::Vector(elements))) if state.len() == 1 => size_of_val(&**elements),
            _ => 0,
        };
        state.own_bytes() + text
    }

    fn partition(&self, operation: &Operation) -> Option<Value> {
        self.parts.part_of(operation)
    }

    fn describe_call(&self, call: &MapCall) -> String {
        let steps: Vec<String> = call.iter().map(describe_step).collect();
        steps.join(", ")
    }

    fn describe_state(&self, state: &Self::State) -> String {
        let mut entries = self.initial.clone();
        for (key, value) in state.iter() {
            entries = entries.with(key.clone(), value.clone());
        }
        let entries = entries.iter().map(|(key, value)| format!("{key} = {value}"));
        match (shape::list_in_words(entries), &self.usual) {
            (entries, Value::Nil) => format!("map = {entries}"),
            (entries, usual) => format!("map = {entries}, other keys = {usual}"),
        }
    }
}

fn describe_step(step: &MapStep) -> String {
    let key = &step.key;
    match &step.does {
        MapAction::Read(value) => format!("get {key} → {value}"),
        MapAction::Write(Value::Nil) => format!("delete {key}"),
        MapAction::Write(value) => format!("put {key} {value}"),
        MapAction::Append(value) => format!("append {key} {value}"),
        MapAction::Cas(expected, new) => format!("cas {key} {expected} → {new}"),
        MapAction::CasUnequal(expected) => format!("cas {key} {expected} → unequal"),
    }
}
