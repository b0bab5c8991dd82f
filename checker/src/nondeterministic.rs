//! [`Nondeterministic`]: models whose calls can leave more than one state behind.
//!
//! A search wants one state after each call. An object that decides things that nobody sees has several: a cache that may drop an
//! entry, an allocator that picks a number. Such a model says which states there may be ([`NondeterministicModel`]), and
//! [`Nondeterministic`] makes a [`Model`] of it whose state is the *set* of states that the object may be in (the powerset construction of automata;
//! Rabin and Scott 1959).
//!
//! **Why that decides the same.** Of one order of calls, the set after it has exactly the states in which the object may be after it. So
//! the order is possible for the object if and only if the set never becomes empty, which is when the call is refused. Both ask whether
//! some order that respects real time is possible.
//!
//! **No call is pure**, not even a read: it leaves the object's state as it is, but not the set, from which it takes the states in
//! which it could not have been. So the search goes without its best rule; a model that can be written deterministically should be
//! (see `models/bag.rs` for how an argument replaces a choice).
//!
//! # A worked example
//!
//! A cache that may drop what is in it at any moment. That a `get` missed says that it was dropped, and it stays so until the next `put`.
//!
//! ```
//! use labrys_checker::nondeterministic::{Nondeterministic, NondeterministicModel};
//! use labrys_checker::linearizable::{Completed, Decision, Interval, decide};
//! use labrys_checker::{Context, Meaning, ModelError};
//! use labrys_history::{Completion, Operation, Value};
//!
//! #[derive(Clone, Debug, PartialEq, Eq, Hash)]
//! enum Call { Put(Value), Get(Option<Value>) }
//!
//! struct Cache;
//!
//! impl NondeterministicModel for Cache {
//!     type State = Option<Value>;
//!     type Call = Call;
//!
//!     fn name(&self) -> &str { "cache" }
//!
//!     fn init(&self) -> Vec<Option<Value>> { vec![None] }
//!
//!     fn meaning(&self, operation: &Operation) -> Result<Meaning<Call>, ModelError> {
//!         Ok(match (operation.f(), operation.completion()) {
//!             ("put", Completion::Ok { .. }) => Meaning::Completed(Call::Put(operation.value().clone())),
//!             ("put", Completion::Info { .. }) => Meaning::Crashed(Call::Put(operation.value().clone())),
//!             ("get", Completion::Ok { value: Value::Nil, .. }) => Meaning::Completed(Call::Get(None)),
//!             ("get", Completion::Ok { value, .. }) => Meaning::Completed(Call::Get(Some(value.clone()))),
//!             _ => Meaning::Nothing,
//!         })
//!     }
//!
//!     fn step(&self, state: &Option<Value>, call: &Call) -> Vec<Option<Value>> {
//!         match call {
//!             Call::Put(value) => vec![Some(value.clone()), None],
//!             Call::Get(None) => vec![None],
//!             Call::Get(hit) if hit == state => vec![hit.clone(), None],
//!             Call::Get(_) => vec![],
//!         }
//!     }
//!
//!     fn describe_call(&self, call: &Call) -> String { format!("{call:?}") }
//!     fn describe_state(&self, state: &Option<Value>) -> String { format!("{state:?}") }
//! }
//!
//! let calls = |calls: &[Call]| -> Vec<Interval<Call>> {
//!     let interval = |(position, call): (u64, &Call)| Interval {
//!         call: call.clone(),
//!         operation: 2 * position,
//!         invoked_ns: 2 * position,
//!         completed: Some(Completed { time_ns: 2 * position + 1, index: 2 * position + 1 }),
//!     };
//!     (0..).zip(calls).map(interval).collect()
//! };
//! let (put, hit, miss) = (Call::Put(Value::Int(1)), Call::Get(Some(Value::Int(1))), Call::Get(None));
//! let dropped = calls(&[put.clone(), hit.clone(), miss.clone()]);
//! assert!(matches!(decide(&Nondeterministic(Cache), &dropped, &Context::default()), Decision::Linearizable(_)));
//! let back_again = calls(&[put, miss, hit]);
//! assert!(matches!(decide(&Nondeterministic(Cache), &back_again, &Context::default()), Decision::NonLinearizable(_)));
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use labrys_history::{Operation, Value};

use crate::model::{Meaning, Model, ModelError};

/// A sequential specification with choices that nobody sees. Its methods are those of [`Model`], but for the states.
pub trait NondeterministicModel: Send + Sync {
    /// A state that the object may be in. States that are equal must behave alike for ever.
    type State: Clone + Ord + Hash + fmt::Debug + Send + Sync + 'static;
    /// A call with its arguments and its result.
    type Call: Clone + Eq + Hash + fmt::Debug + Sync;

    /// The model's name.
    fn name(&self) -> &str;

    /// The states in which the object may be before the first operation; at least one.
    fn init(&self) -> Vec<Self::State>;

    /// What `operation` of a history means.
    ///
    /// # Errors
    /// If the model does not know the function, or its argument or result is of the wrong shape.
    fn meaning(&self, operation: &Operation) -> Result<Meaning<Self::Call>, ModelError>;

    /// The states in which the object may be after `call` in `state`; none if the call cannot have had its result there.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Vec<Self::State>;

    /// See [`Model::is_finite`].
    fn is_finite(&self) -> bool {
        false
    }

    /// See [`Model::partition`].
    fn partition(&self, operation: &Operation) -> Option<Value> {
        operation.key().cloned()
    }

    /// The call in words.
    fn describe_call(&self, call: &Self::Call) -> String;

    /// One state in words.
    fn describe_state(&self, state: &Self::State) -> String;
}

/// The model whose state is the set of states that the object may be in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nondeterministic<M>(pub M);

/// The states that an object may be in: not none, ascending.
pub type StateSet<S> = Arc<[S]>;

/// No state that the object may be in allows the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InNoState<S> {
    states: StateSet<S>,
}

impl<S: fmt::Debug> fmt::Display for InNoState<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.states {
            [state] => write!(formatter, "not possible in the only state that there can be: {state:?}"),
            states => write!(
                formatter,
                "not possible in any of the {} states that there can be: {states:?}",
                states.len()
            ),
        }
    }
}

impl<M: NondeterministicModel> Model for Nondeterministic<M> {
    type State = StateSet<M::State>;
    type Call = M::Call;
    type Refusal = InNoState<M::State>;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn init(&self) -> Self::State {
        let states: BTreeSet<M::State> = self.0.init().into_iter().collect();
        assert!(!states.is_empty(), "an object is in some state before the first operation");
        states.into_iter().collect()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<M::Call>, ModelError> {
        self.0.meaning(operation)
    }

    fn step(&self, states: &Self::State, call: &M::Call) -> Result<Self::State, Self::Refusal> {
        let after: BTreeSet<M::State> = states.iter().flat_map(|state| self.0.step(state, call)).collect();
        if after.is_empty() {
            return Err(InNoState { states: states.clone() });
        }
        Ok(after.into_iter().collect())
    }

    /// Sets of finitely many states are finitely many.
    fn is_finite(&self) -> bool {
        self.0.is_finite()
    }

    fn heap_bytes(&self, states: &Self::State) -> usize {
        size_of_val(&**states)
    }

    fn partition(&self, operation: &Operation) -> Option<Value> {
        self.0.partition(operation)
    }

    fn describe_call(&self, call: &M::Call) -> String {
        self.0.describe_call(call)
    }

    fn describe_state(&self, states: &Self::State) -> String {
        let states: Vec<String> = states.iter().map(|state| self.0.describe_state(state)).collect();
        states.join(" or ")
    }
}
