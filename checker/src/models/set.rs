//! A set of values: `add`, `remove`, `contains` and `read`.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `add v` | `ok` | `v` is in it from then on, whether it was before or not |
//! | `add v` | `fail` with the error `present` | `v` was in it |
//! | `remove v` | `ok` | `v` is not in it from then on, whether it was before or not |
//! | `remove v` | `fail` with the error `absent` | `v` was not in it |
//! | `add v`, `remove v` | `fail` otherwise | nothing: it did not happen |
//! | `add v`, `remove v` | `info` | the same as `ok`, from some later time on, or nothing |
//! | `contains v` | `ok true`, `ok false`, or `ok [v true]`, `ok [v false]` | whether `v` was in it |
//! | `read` | `ok` with a set, vector or list | exactly these were in it; one that is listed twice makes the answer wrong |
//! | `contains v`, `read` | `fail`, `info`, `ok nil` | nothing: nobody saw an answer |
//!
//! The initial members are a set, vector or list; none unless given.
//!
//! Values are independent of one another unless somebody reads the whole set. In a history without such a read each value is
//! a part of its own.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::class::{Class, Role};
use crate::model::{Meaning, Model, ModelError};
use crate::persistent::Entries;

const NAME: &str = "set";

/// A call on a set, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetCall {
    /// This is a member from then on.
    Add(Value),
    /// This is no member from then on.
    Remove(Value),
    /// Whether this was a member.
    Contains(Value, bool),
    /// These were the members, in ascending order.
    Members(Vec<Value>),
}

/// Why a set refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetRefusal {
    /// This was found, but is not in it.
    NotIn(Value),
    /// This was not found, but is in it.
    In(Value),
    /// This was read twice.
    Twice(Value),
}

impl fmt::Display for SetRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetRefusal::NotIn(value) => write!(formatter, "found {value}, but it is not in the set"),
            SetRefusal::In(value) => write!(formatter, "did not find {value}, but it is in the set"),
            SetRefusal::Twice(value) => write!(formatter, "read {value} twice, but a set has it once"),
        }
    }
}

/// The model `set`.
#[derive(Clone, Debug, Default)]
pub struct Set {
    initial: Entries<Value, ()>,
    /// Whether each value is a part of its own.
    is_split: bool,
}

impl Set {
    /// A set of these.
    #[must_use]
    pub fn new(members: &[Value]) -> Set {
        Set { initial: members.iter().map(|member| (member.clone(), ())).collect(), is_split: false }
    }

    /// A set with the initial members of the command line.
    ///
    /// # Errors
    /// If they are no collection.
    pub fn with_initial(initial: &Value) -> Result<Set, WrongInitial> {
        let members =
            shape::elements(initial).ok_or_else(|| WrongInitial::new("members, such as #{1 2}", initial))?;
        Ok(Set::new(members))
    }

    /// An update; a failure with the error `observed` says whether the value is there.
    fn update(operation: &Operation, call: SetCall, observed: (&str, bool)) -> Meaning<SetCall> {
        match operation.completion() {
            Completion::Fail { error, .. } if shape::is_text(error, observed.0) => {
                Meaning::Completed(SetCall::Contains(operation.value().clone(), observed.1))
            }
            completion => shape::of_update(completion, call),
        }
    }
}

fn contains_meaning(operation: &Operation) -> Result<Meaning<SetCall>, ModelError> {
    let Completion::Ok { value, .. } = operation.completion() else { return Ok(Meaning::Nothing) };
    let answer = match value.as_sequence() {
        Some([member, answer]) if *member == *operation.value() => answer,
        _ => value,
    };
    match answer {
        Value::Bool(answer) => Ok(Meaning::Completed(SetCall::Contains(operation.value().clone(), *answer))),
        Value::Nil => Ok(Meaning::Nothing),
        _ => Err(shape::wrong_result(NAME, operation, "true or false", value)),
    }
}

fn read_meaning(operation: &Operation) -> Result<Meaning<SetCall>, ModelError> {
    match operation.completion() {
        Completion::Ok { value, .. } if !value.is_nil() => {
            let members = shape::elements(value)
                .ok_or_else(|| shape::wrong_result(NAME, operation, "a set, vector or list", value))?;
            let mut members = members.to_vec();
            members.sort_unstable();
            Ok(Meaning::Completed(SetCall::Members(members)))
        }
        _ => Ok(Meaning::Nothing),
    }
}

/// What is wrong with these members in ascending order, if something is.
fn difference(state: &Entries<Value, ()>, read: &[Value]) -> Option<SetRefusal> {
    if let Some(pair) = read.windows(2).find(|pair| pair[0] == pair[1]) {
        return Some(SetRefusal::Twice(pair[0].clone()));
    }
    if let Some(member) = read.iter().find(|member| !state.contains(member)) {
        return Some(SetRefusal::NotIn(member.clone()));
    }
    if read.len() == state.len() {
        return None;
    }
    let missing = state.iter().find(|(member, ())| read.binary_search(member).is_err());
    missing.map(|(member, ())| SetRefusal::In(member.clone()))
}

impl Model for Set {
    type State = Entries<Value, ()>;
    type Call = SetCall;
    type Refusal = SetRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> Self::State {
        self.initial.clone()
    }

    fn prepared(&self, operations: &[Operation]) -> Option<Set> {
        let is_split = !operations.iter().any(|operation| operation.f() == "read");
        Some(Set { is_split, ..self.clone() })
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<SetCall>, ModelError> {
        let value = || operation.value().clone();
        match operation.f() {
            "add" => Ok(Set::update(operation, SetCall::Add(value()), ("present", true))),
            "remove" => Ok(Set::update(operation, SetCall::Remove(value()), ("absent", false))),
            "contains" => contains_meaning(operation),
            "read" => read_meaning(operation),
            _ => Err(shape::unknown_function(NAME, operation, "add, remove, contains, read")),
        }
    }

    fn step(&self, state: &Self::State, call: &SetCall) -> Result<Self::State, SetRefusal> {
        match call {
            SetCall::Add(value) => Ok(state.with_member(value)),
            SetCall::Remove(value) if state.contains(value) => Ok(state.without(value)),
            SetCall::Remove(_) => Ok(state.clone()),
            SetCall::Contains(value, answer) => match (answer, state.contains(value)) {
                (true, false) => Err(SetRefusal::NotIn(value.clone())),
                (false, true) => Err(SetRefusal::In(value.clone())),
                _ => Ok(state.clone()),
            },
            SetCall::Members(members) => difference(state, members).map_or_else(|| Ok(state.clone()), Err),
        }
    }

    fn is_pure(&self, call: &SetCall) -> bool {
        matches!(call, SetCall::Contains(..) | SetCall::Members(_))
    }

    /// Its states are the initial one with some of the values that are added, and without some that are removed.
    fn is_finite(&self) -> bool {
        true
    }

    fn class(&self) -> Option<Class> {
        self.initial.is_empty().then_some(Class::Set)
    }

    fn role<'c>(&self, call: &'c SetCall) -> Option<Role<'c>> {
        match call {
            SetCall::Add(value) => Some(Role::Insert(value)),
            SetCall::Remove(value) => Some(Role::Remove(value)),
            SetCall::Contains(value, answer) => Some(Role::Contains(value, *answer)),
            SetCall::Members(members) => members.is_sorted_by(|a, b| a < b).then_some(Role::Members(members)),
        }
    }

    fn heap_bytes(&self, state: &Self::State) -> usize {
        state.own_bytes()
    }

    fn partition(&self, operation: &Operation) -> Option<Value> {
        let member = self.is_split.then(|| operation.value().clone());
        shape::part_within(operation.key(), member)
    }

    fn describe_call(&self, call: &SetCall) -> String {
        match call {
            SetCall::Add(value) => format!("add {value}"),
            SetCall::Remove(value) => format!("remove {value}"),
            SetCall::Contains(value, answer) => format!("contains {value} → {answer}"),
            SetCall::Members(members) => format!("read → {}", shape::list_in_words(members)),
        }
    }

    fn describe_state(&self, state: &Self::State) -> String {
        format!("set = {}", shape::list_in_words(state.iter().map(|(member, ())| member)))
    }
}
