//! A priority queue: `insert` and `remove-min` (or `enqueue` and `dequeue`), where a removal gets the least value that is in it,
//! in the order of [`Value`]. What completions mean stands in the table of [`super::container`].
//!
//! A crashed `remove-min` takes the least value that it finds, or nothing of an empty queue.

use labrys_history::Value;

use super::container::{Container, Discipline, Words};
use crate::class::Class;
use crate::persistent::Entries;

/// The model `priority-queue`.
pub type PriorityQueue = Container<LeastOut>;

/// The least value comes out first.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastOut;

impl Discipline for LeastOut {
    type State = Entries<Value, usize>;
    const WORDS: &'static Words = &Words {
        name: "priority-queue",
        object: "priority queue",
        insert: &["insert", "enqueue"],
        remove: &["remove-min", "dequeue"],
        removed: "removed",
        next: Some("least value"),
    };
    const CLASS: Class = Class::PriorityQueue;

    fn insert(state: &Entries<Value, usize>, value: &Value) -> Entries<Value, usize> {
        state.with_one_more(value)
    }

    fn remove(state: &Entries<Value, usize>, value: &Value) -> Option<Entries<Value, usize>> {
        if Self::next(state) == Some(value) { state.with_one_less(value) } else { None }
    }

    fn next(state: &Entries<Value, usize>) -> Option<&Value> {
        state.first().map(|(value, _)| value)
    }

    fn values(state: &Entries<Value, usize>) -> Vec<&Value> {
        state.iter().flat_map(|(value, &number)| std::iter::repeat_n(value, number)).collect()
    }

    fn own_bytes(state: &Entries<Value, usize>) -> usize {
        state.own_bytes()
    }
}
