//! A stack, last in, first out: `push` and `pop` (or `enqueue` and `dequeue`). What completions mean stands in the table of
//! [`super::container`].
//!
//! A crashed `pop` takes the top that it finds, or nothing of an empty stack.

use labrys_history::Value;

use super::container::{Container, Discipline, Words};
use crate::class::Class;
use crate::persistent::Chain;

/// The model `stack`.
pub type Stack = Container<LastInFirstOut>;

/// What was put in last comes out first.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastInFirstOut;

impl Discipline for LastInFirstOut {
    type State = Chain<Value>;
    const WORDS: &'static Words = &Words {
        name: "stack",
        object: "stack",
        insert: &["push", "enqueue"],
        remove: &["pop", "dequeue"],
        removed: "popped",
        next: Some("top"),
    };
    const CLASS: Class = Class::Stack;

    fn insert(state: &Chain<Value>, value: &Value) -> Chain<Value> {
        state.with(value.clone())
    }

    fn remove(state: &Chain<Value>, value: &Value) -> Option<Chain<Value>> {
        if state.last() == Some(value) { state.without_last() } else { None }
    }

    fn next(state: &Chain<Value>) -> Option<&Value> {
        state.last()
    }

    fn values(state: &Chain<Value>) -> Vec<&Value> {
        state.forwards()
    }

    fn own_bytes(state: &Chain<Value>) -> usize {
        state.own_bytes()
    }
}
