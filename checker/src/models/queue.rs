//! A queue, first in, first out: `enqueue` and `dequeue`. What completions mean stands in the table of
//! [`super::container`].
//!
//! A crashed `dequeue` takes the head that it finds, or nothing of an empty queue.

use labrys_history::Value;

use super::container::{Container, Discipline, Words};
use crate::class::Class;
use crate::persistent::Fifo;

/// The model `queue`.
pub type Queue = Container<FirstInFirstOut>;

/// What was put in first comes out first.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstInFirstOut;

impl Discipline for FirstInFirstOut {
    type State = Fifo<Value>;
    const WORDS: &'static Words = &Words {
        name: "queue",
        object: "queue",
        insert: &["enqueue"],
        remove: &["dequeue"],
        removed: "dequeued",
        next: Some("head"),
    };
    const CLASS: Class = Class::Queue;

    fn insert(state: &Fifo<Value>, value: &Value) -> Fifo<Value> {
        state.with(value.clone())
    }

    fn remove(state: &Fifo<Value>, value: &Value) -> Option<Fifo<Value>> {
        if state.first() == Some(value) { state.without_first() } else { None }
    }

    fn next(state: &Fifo<Value>) -> Option<&Value> {
        state.first()
    }

    fn values(state: &Fifo<Value>) -> Vec<&Value> {
        state.iter().collect()
    }

    fn own_bytes(state: &Fifo<Value>) -> usize {
        state.own_bytes()
    }
}
