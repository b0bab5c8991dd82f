//! [`Class`] and [`Role`]: how a model says that its object is of a kind for which there is more than a search.
//!
//! For some objects, and histories in which every value is inserted or written once, linearizability is decided in polynomial
//! time. A model that is such an object names its class ([`crate::Model::class`]) and the role of each call
//! ([`crate::Model::role`]); whether a history is of the kind that the algorithm needs is the algorithm's question. A statement
//! that is false makes verdicts false, so a model that makes one is tested against brute force.

use labrys_history::Value;

/// A kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Holds one value.
    Register {
        /// What it holds before the first operation.
        initial: Value,
    },
    /// First in, first out; empty before the first operation.
    Queue,
    /// Last in, first out; empty before the first operation.
    Stack,
    /// A removal gets any value that is in it; empty before the first operation.
    Bag,
    /// A removal gets the least value that is in it, in the order of [`Value`]; empty before the first operation.
    PriorityQueue,
    /// Every value is in it or not; empty before the first operation.
    Set,
    /// A number that is added to; 0 before the first operation.
    Counter,
}

/// What a call does to an object of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'c> {
    /// Register: it held this.
    Read(&'c Value),
    /// Register: it holds this from then on.
    Write(&'c Value),
    /// Register: it held `expected` and holds `new` from then on.
    CompareAndSet {
        /// What it held.
        expected: &'c Value,
        /// What it holds then.
        new: &'c Value,
    },
    /// Register: it held something else than this.
    CompareUnequal(&'c Value),
    /// Queue, stack, bag, priority queue, set: this is in it from then on (once more; in a set, once).
    Insert(&'c Value),
    /// Queue, stack, bag, priority queue: this came out of it. Set: this was in it or not, and is not from then on.
    Remove(&'c Value),
    /// Queue, stack, bag, priority queue: something came out of it, and nobody knows what; of an empty one nothing does. Only
    /// crashed operations have this role.
    RemoveAny,
    /// Queue, stack, bag, priority queue: nothing was in it.
    Empty,
    /// Set: whether this was in it.
    Contains(&'c Value, bool),
    /// Set: exactly these were in it.
    Members(&'c [Value]),
    /// Counter: so much more from then on.
    Add(i64),
    /// Counter: it was this.
    Total(i64),
    /// Counter: so much more from then on, and this was it then.
    AddAndTotal(i64, i64),
}
