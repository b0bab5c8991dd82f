//! A bag: `add` and `remove` (or `enqueue` and `dequeue`, as of a queue without an order), where a removal gets any value that
//! is in it. What completions mean stands in the table of [`super::container`].
//!
//! # A crashed `remove`
//!
//! It takes any value that it finds, which would make the model non-deterministic. Here it takes the least, and that decides
//! the same: take an order that proves a history linearizable with some value taken by each. A crashed removal never
//! completes, so real time lets it be later. Until the next removal that finds the bag empty, nobody notices that its value is
//! still there: one more value never makes an addition, a removal of a value or another crashed removal illegal. So it may be moved directly before
//! that one, or, if there is none, be left out. Then the crashed removals that took effect stand in blocks before removals that find the bag
//! empty, each with as many of them as there are values, and such a block empties the bag in whatever order it takes them.

use labrys_history::Value;

use super::container::{Container, Discipline, Words};
use crate::class::Class;
use crate::persistent::Entries;

/// The model `bag`.
pub type Bag = Container<AnyOut>;

/// Any value comes out.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyOut;

impl Discipline for AnyOut {
    type State = Entries<Value, usize>;
    const WORDS: &'static Words = &Words {
        name: "bag",
        object: "bag",
        insert: &["add", "enqueue"],
        remove: &["remove", "dequeue"],
        removed: "removed",
        next: None,
    };
    const CLASS: Class = Class::Bag;

    fn insert(state: &Entries<Value, usize>, value: &Value) -> Entries<Value, usize> {
        state.with_one_more(value)
    }

    fn remove(state: &Entries<Value, usize>, value: &Value) -> Option<Entries<Value, usize>> {
        state.with_one_less(value)
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
