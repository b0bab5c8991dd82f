//! Which keys of a history hang together.

use std::collections::BTreeMap;
use std::sync::Arc;

use labrys_history::{Operation, Value};

use super::meaning;
use crate::models::shape;

/// Parts of more keys than this are named after the least.
const KEYS_IN_NAME: usize = 8;

/// The parts of the map that a history never connects.
///
/// Operations on different parts commute, and what one returns depends on its own part only: the map is the product of its parts,
/// and locality lets each be judged by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// The name of each key's part; none if the history was not looked at.
    names: Option<Arc<BTreeMap<Value, Value>>>,
    /// If each part is one key, and all have the same initial value: that.
    registers: Option<Value>,
    has_append: bool,
}

impl Parts {
    pub(super) fn of<'m>(operations: &[Operation], initial_of: impl Fn(&Value) -> &'m Value) -> Parts {
        let mut connected = Connected::default();
        for operation in operations {
            connected.connect(&meaning::keys(operation));
        }
        let names = connected.names();
        let is_alone = names.iter().all(|(key, name)| key == name);
        let mut initial = names.keys().map(&initial_of);
        let first = initial.next();
        let is_uniform = first.is_some_and(|first| initial.all(|other| other == first));
        Parts {
            registers: first.filter(|_| is_alone && is_uniform).cloned(),
            names: Some(Arc::new(names)),
            has_append: operations.iter().any(appends),
        }
    }

    /// The part that `operation` is on.
    pub(super) fn part_of(&self, operation: &Operation) -> Option<Value> {
        let Some(names) = &self.names else { return operation.key().cloned() };
        let first = meaning::keys(operation).into_iter().next();
        let part = first.and_then(|key| names.get(&key).cloned());
        let outer = operation.key().filter(|_| operation.f() == "txn");
        shape::part_within(outer, part)
    }

    /// The initial value of each part, if each is a register.
    pub(super) fn initial_of_registers(&self) -> Option<&Value> {
        self.registers.as_ref()
    }

    /// Whether a part has finitely many states.
    pub(super) fn are_finite(&self) -> bool {
        self.names.is_some() && !self.has_append
    }
}

fn appends(operation: &Operation) -> bool {
    let is_append =
        |step: &Value| matches!(step.as_sequence(), Some([f, ..]) if f.as_text() == Some("append"));
    match operation.f() {
        "append" => true,
        "txn" => operation.value().as_sequence().unwrap_or_default().iter().any(is_append),
        _ => false,
    }
}

/// Keys and which of them were connected (union-find).
#[derive(Default)]
struct Connected {
    positions: BTreeMap<Value, usize>,
    parents: Vec<usize>,
}

impl Connected {
    fn connect(&mut self, keys: &[Value]) {
        let mut first = None;
        for key in keys {
            let next = self.parents.len();
            let position = *self.positions.entry(key.clone()).or_insert(next);
            if position == next {
                self.parents.push(next);
            }
            let root = self.root(position);
            let first = *first.get_or_insert(root);
            self.parents[root] = self.root(first);
        }
    }

    fn root(&mut self, mut position: usize) -> usize {
        while self.parents[position] != position {
            self.parents[position] = self.parents[self.parents[position]];
            position = self.parents[position];
        }
        position
    }

    /// The name of each key's part: the key itself if it is alone, or the keys, as a vector.
    fn names(mut self) -> BTreeMap<Value, Value> {
        let mut members: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
        for (key, position) in std::mem::take(&mut self.positions) {
            let root = self.root(position);
            members.entry(root).or_default().push(key);
        }
        let mut names = BTreeMap::new();
        for keys in members.into_values() {
            let name = match keys.as_slice() {
                [alone] => alone.clone(),
                [least, .., _] if keys.len() > KEYS_IN_NAME => {
                    Value::vector(vec![least.clone(), Value::Symbol("…".into())])
                }
                keys => Value::vector(keys.to_vec()),
            };
            names.extend(keys.into_iter().map(|key| (key, name.clone())));
        }
        names
    }
}
