//! What `queue`, `stack`, `bag` and `priority-queue` have in common: values are put in, and come out again.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `enqueue v` | `ok` | `v` is in it from then on, once more if it was already |
//! | `enqueue v` | `fail` | nothing: it did not happen |
//! | `enqueue v` | `info` | `v` may be in it from some later time on |
//! | `dequeue` | `ok v` | `v` came out, and is in it once less |
//! | `dequeue` | `ok nil`; `fail` with the error `empty` | nothing was in it |
//! | `dequeue` | `fail` otherwise | nothing: it did not happen |
//! | `dequeue` | `info`, whatever it carries | at some later time what was next may have come out, and nobody saw it |
//!
//! Other names for the two: `push` and `pop` of a stack, `add` and `remove` of a bag, `insert` and `remove-min` of a priority queue.
//! Nil cannot be put in. The initial values are a vector, list or set of values (in the order in which they were put in); none
//! unless given. Which value comes out is the [`Discipline`].

use std::fmt;
use std::hash::Hash;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::class::{Class, Role};
use crate::model::{Meaning, Model, ModelError};

/// The error of a removal that found nothing (string, keyword or symbol).
pub const EMPTY: &str = "empty";

/// A call on a container, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ContainerCall {
    /// This was put in.
    Insert(Value),
    /// This came out.
    Remove(Value),
    /// Something came out, and nobody knows what. Only crashed calls are this, which a search may leave out.
    RemoveAny,
    /// A removal found nothing.
    Empty,
}

/// The words that a container is spoken of with.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// The model's name: `priority-queue`.
    pub name: &'static str,
    /// The object: `priority queue`.
    pub object: &'static str,
    /// The names of putting in, the usual one first.
    pub insert: &'static [&'static str],
    /// The names of taking out, the usual one first.
    pub remove: &'static [&'static str],
    /// That something was taken out: `dequeued`.
    pub removed: &'static str,
    /// What the value that comes out next is: `head`; none if any may.
    pub next: Option<&'static str>,
}

/// Which value comes out of a container.
pub trait Discipline: Send + Sync + 'static {
    /// What is in it.
    type State: Clone + Eq + Hash + fmt::Debug + Default + Send + Sync;
    /// How to speak of it.
    const WORDS: &'static Words;
    /// Its kind.
    const CLASS: Class;

    /// With `value` in it once more.
    fn insert(state: &Self::State, value: &Value) -> Self::State;

    /// With `value` taken out, if it can be what comes out.
    fn remove(state: &Self::State, value: &Value) -> Option<Self::State>;

    /// What comes out next, or, where any value may, one of them; `None` of an empty one.
    fn next(state: &Self::State) -> Option<&Value>;

    /// The values, in an order that says something.
    fn values(state: &Self::State) -> Vec<&Value>;

    /// About how many bytes a state has for itself.
    fn own_bytes(state: &Self::State) -> usize;
}

/// The model of a container.
#[derive(Clone, Debug, Default)]
pub struct Container<D: Discipline> {
    initial: D::State,
}

impl<D: Discipline> Container<D> {
    /// A container that is empty.
    #[must_use]
    pub fn new() -> Container<D> {
        Container { initial: D::State::default() }
    }

    /// A container into which these were put, one after the other.
    #[must_use]
    pub fn with_values(values: &[Value]) -> Container<D> {
        let initial = values.iter().fold(D::State::default(), |state, value| D::insert(&state, value));
        Container { initial }
    }

    /// A container with the initial values of the command line.
    ///
    /// # Errors
    /// If they are no collection, or one with nil.
    pub fn with_initial(initial: &Value) -> Result<Container<D>, WrongInitial> {
        let values = shape::elements(initial).filter(|values| !values.iter().any(Value::is_nil));
        values.map(Container::with_values).ok_or_else(|| WrongInitial::new("values, such as [1 2]", initial))
    }

    fn insert_meaning(&self, operation: &Operation) -> Result<Meaning<ContainerCall>, ModelError> {
        if operation.value().is_nil() {
            return Err(shape::wrong_argument(D::WORDS.name, operation, "a value that is not nil"));
        }
        Ok(shape::of_update(operation.completion(), ContainerCall::Insert(operation.value().clone())))
    }

    fn remove_meaning(&self, operation: &Operation) -> Meaning<ContainerCall> {
        match operation.completion() {
            Completion::Ok { value: Value::Nil, .. } => Meaning::Completed(ContainerCall::Empty),
            Completion::Ok { value, .. } => Meaning::Completed(ContainerCall::Remove(value.clone())),
            Completion::Fail { error, .. } if shape::is_text(error, EMPTY) => {
                Meaning::Completed(ContainerCall::Empty)
            }
            Completion::Fail { .. } => Meaning::Nothing,
            Completion::Info { .. } => Meaning::Crashed(ContainerCall::RemoveAny),
        }
    }
}

/// Why a container refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRefusal {
    words: &'static Words,
    /// What came out; `None`: nothing was found.
    removed: Option<Value>,
    /// What comes out next, or one of the values that may; `None`: it is empty.
    next: Option<Value>,
}

impl fmt::Display for ContainerRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Words { object, removed: verb, next: position, .. } = self.words;
        match (&self.removed, &self.next, position) {
            (Some(removed), Some(next), Some(position)) => {
                write!(formatter, "{verb} {removed}, but the {object}'s {position} is {next}")
            }
            (Some(removed), Some(_), None) => {
                write!(formatter, "{verb} {removed}, but it is not in the {object}")
            }
            (Some(removed), None, _) => write!(formatter, "{verb} {removed}, but the {object} is empty"),
            (None, Some(next), Some(position)) => {
                write!(formatter, "found the {object} empty, but its {position} is {next}")
            }
            (None, Some(next), None) => write!(formatter, "found the {object} empty, but {next} is in it"),
            (None, None, _) => write!(formatter, "{verb} something, but the {object} is empty"),
        }
    }
}

impl<D: Discipline> Model for Container<D> {
    type State = D::State;
    type Call = ContainerCall;
    type Refusal = ContainerRefusal;

    fn name(&self) -> &str {
        D::WORDS.name
    }

    fn init(&self) -> D::State {
        self.initial.clone()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<ContainerCall>, ModelError> {
        let f = operation.f();
        if D::WORDS.insert.contains(&f) {
            self.insert_meaning(operation)
        } else if D::WORDS.remove.contains(&f) {
            Ok(self.remove_meaning(operation))
        } else {
            let known = format!("{}, {}", D::WORDS.insert.join(", "), D::WORDS.remove.join(", "));
            Err(shape::unknown_function(D::WORDS.name, operation, &known))
        }
    }

    fn step(&self, state: &D::State, call: &ContainerCall) -> Result<D::State, ContainerRefusal> {
        let next = || D::next(state);
        let (removed, after) = match call {
            ContainerCall::Insert(value) => return Ok(D::insert(state, value)),
            ContainerCall::Remove(value) => (Some(value), D::remove(state, value)),
            ContainerCall::RemoveAny => (None, next().and_then(|value| D::remove(state, value))),
            ContainerCall::Empty => (None, next().is_none().then(|| state.clone())),
        };
        after.ok_or_else(|| ContainerRefusal {
            words: D::WORDS,
            removed: removed.cloned(),
            next: next().cloned(),
        })
    }

    fn is_pure(&self, call: &ContainerCall) -> bool {
        *call == ContainerCall::Empty
    }

    fn class(&self) -> Option<Class> {
        D::next(&self.initial).is_none().then_some(D::CLASS)
    }

    fn role<'c>(&self, call: &'c ContainerCall) -> Option<Role<'c>> {
        Some(match call {
            ContainerCall::Insert(value) => Role::Insert(value),
            ContainerCall::Remove(value) => Role::Remove(value),
            ContainerCall::RemoveAny => Role::RemoveAny,
            ContainerCall::Empty => Role::Empty,
        })
    }

    fn heap_bytes(&self, state: &D::State) -> usize {
        D::own_bytes(state)
    }

    fn describe_call(&self, call: &ContainerCall) -> String {
        let (insert, remove) = (D::WORDS.insert[0], D::WORDS.remove[0]);
        match call {
            ContainerCall::Insert(value) => format!("{insert} {value}"),
            ContainerCall::Remove(value) => format!("{remove} → {value}"),
            ContainerCall::RemoveAny => format!("{remove} → unknown"),
            ContainerCall::Empty => format!("{remove} → empty"),
        }
    }

    fn describe_state(&self, state: &D::State) -> String {
        format!("{} = {}", D::WORDS.object, shape::list_in_words(D::values(state)))
    }
}
