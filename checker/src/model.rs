//! [`Model`]: a sequential specification, and what the operations of a history mean to it.
//!
//! A model says what one client alone would see. Linearizability (Herlihy and Wing, "Linearizability: a correctness
//! condition for concurrent objects", TOPLAS 1990) then asks whether the operations of all clients can be put into one
//! order that respects real time and that the model allows.
//!
//! # Intervals are closed
//!
//! An operation takes effect at one instant of `[invocation, completion]`, both ends included. Hence:
//!
//! - One operation precedes another only if it completed *strictly before* the other was invoked. Two that touch in one nanosecond are
//!   concurrent, even two of one process, in whatever order the file has them: at a tie the clock cannot tell, and assuming an order
//!   could make a correct system look wrong.
//! - At one instant invocations come before completions.
//! - What crashed has the interval `[invocation, ∞)`, and may be left out as well. What failed has none.
//! - A prefix of a history, up to some completion, has everything that was invoked at that instant or before; what is still open
//!   then is like a crashed operation whose result is known.
//!
//! Times are compared as recorded; a clock that goes backwards between machines is not mended here.
//!
//! # A model of one's own
//!
//! `checker/examples/own_model.rs` is a worked example, fit to be copied: a state, a call with its result, a refusal in words, and
//! [`Model::step`]. [`crate::linearizable::decide`] judges calls with intervals, [`crate::Linearizable::new`] whole histories, for which
//! [`Model::meaning`] says what each completion means. If calls can leave more than one state behind, see [`crate::nondeterministic`].
//!
//! The trait's optional methods are statements about the model which a search may rely on. A statement that is false
//! makes verdicts false, so each has a property test for each model that overrides it.

use std::fmt;
use std::hash::Hash;

use labrys_history::{Operation, Value};
use thiserror::Error;

use crate::class::{Class, Role};
use crate::linearizable::Interval;
use crate::removal::Removal;

/// What an operation of a history means to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning<C> {
    /// It took effect once, at some point of its closed interval from invocation to completion, with this result.
    Completed(C),
    /// It takes effect once at some point after its invocation, or never; nobody saw a result.
    Crashed(C),
    /// It says nothing: a read without an answer, a write that definitely did not happen.
    Nothing,
}

/// A sequential specification.
pub trait Model: Send + Sync {
    /// The state of the object. Two states that are equal must behave alike for ever. Many large ones are dropped by a thread of
    /// their own.
    type State: Clone + Eq + Hash + fmt::Debug + Send + 'static;
    /// A call with its arguments and its result.
    type Call: Clone + Eq + Hash + fmt::Debug + Sync;
    /// Why a call is not allowed in a state, in words. Built for every refusal of a search, so keep it small and let its
    /// `Display` do the work.
    type Refusal: fmt::Display;

    /// The model's name in the table of models.
    fn name(&self) -> &str;

    /// The state before the first operation.
    fn init(&self) -> Self::State;

    /// The same model as this history writes things down, where programs differ in that and the history shows it; `None` if
    /// there is nothing to adapt. Asked once, before the first [`Model::meaning`], and only about histories of other programs
    /// ([`crate::Context::foreign`]): Labrys says what it means.
    fn adapted(&self, operations: &[Operation]) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = operations;
        None
    }

    /// The same model with what it wants to know about the whole history that it is going to judge: which parts it falls into; `None` if
    /// there is nothing to know. Asked once about every history, after [`Model::adapted`] and before the first [`Model::meaning`].
    fn prepared(&self, operations: &[Operation]) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = operations;
        None
    }

    /// The conventions by which it reads a history, by name, for the verdict: `failed-cas`: `compared unequal`.
    fn conventions(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// What `operation` of a history means.
    ///
    /// # Errors
    /// If the model does not know the function, or its argument or result is of the wrong shape.
    fn meaning(&self, operation: &Operation) -> Result<Meaning<Self::Call>, ModelError>;

    /// The state after `call`, or why it cannot be taken in `state`.
    ///
    /// # Errors
    /// The refusal: `read 3, but the register holds 1`.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Result<Self::State, Self::Refusal>;

    /// Whether `call` leaves *every* state in which it is legal as it is: a read, a compare-and-set that failed. A write
    /// of the value that happens to be there is not pure, since elsewhere it changes the state.
    fn is_pure(&self, call: &Self::Call) -> bool {
        let _ = call;
        false
    }

    /// Whether finitely many calls lead to finitely many states, however often they are repeated: true of a register, false
    /// of a counter or a queue.
    fn is_finite(&self) -> bool {
        false
    }

    /// The kind of object that this is, if there is a polynomial algorithm for it.
    fn class(&self) -> Option<Class> {
        None
    }

    /// What `call` does to an object of that class; `None` if it does something that such an object does not know.
    fn role<'c>(&self, call: &'c Self::Call) -> Option<Role<'c>> {
        let _ = call;
        None
    }

    /// About how many bytes `state` holds on the heap for itself, those it shares with other states aside. A search counts
    /// them against its memory limit, which holds no better than this number is right.
    fn heap_bytes(&self, state: &Self::State) -> usize {
        let _ = state;
        0
    }

    /// Which operations of a history may be left out without making a violation where there was none, and what must go with
    /// them: what minimal counterexamples rest on. The statement that is made is that of [`Removal`].
    ///
    /// What the model's class allows, unless overridden; for a model without one: every pure call by itself. That is sound: a
    /// call that leaves every state as it is can be taken out of any linearization.
    fn removal(&self, intervals: &[Interval<Self::Call>]) -> Removal
    where
        Self: Sized,
    {
        Removal::by_class(self, intervals)
    }

    /// The part of the object that `operation` is on, where parts are independent of one another: the history is split by
    /// it (locality: Herlihy and Wing 1990, theorem 1).
    fn partition(&self, operation: &Operation) -> Option<Value> {
        operation.key().cloned()
    }

    /// The call in words: `write 3`, `read → 1`.
    fn describe_call(&self, call: &Self::Call) -> String;

    /// The state in words: `register = 1`.
    fn describe_state(&self, state: &Self::State) -> String;
}

/// An operation that a model cannot make sense of. That is a wrong choice of model or a broken history, not a violation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ModelError {
    /// No such function.
    #[error("event {event}: the model {model} has no function {f:?}; it knows {known}")]
    UnknownFunction {
        /// Index of the invocation.
        event: u64,
        /// The function.
        f: String,
        /// The model's name.
        model: String,
        /// What it knows, for a person.
        known: String,
    },
    /// An argument or result of the wrong shape.
    #[error("event {event}: {f} of the model {model} wants {expected}, but has {found}")]
    WrongShape {
        /// Index of the event that carries it.
        event: u64,
        /// The function.
        f: String,
        /// The model's name.
        model: String,
        /// What the model wants, for a person.
        expected: String,
        /// What is there, as EDN.
        found: String,
    },
}
