//! The values of a register's history as numbers, and whether each is written at most once.

use labrys_history::Value;
use rustc_hash::FxHashMap;

use super::register::{Call, INITIAL};
use crate::class::Role;

/// The values of a history as numbers.
pub(super) struct Values<'v> {
    numbers: FxHashMap<&'v Value, u32>,
    /// For each number.
    facts: Vec<Facts>,
}

#[derive(Clone, Copy, Default)]
struct Facts {
    is_written: bool,
    is_written_again: bool,
    is_observed: bool,
}

impl<'v> Values<'v> {
    /// Only the initial value, which is number [`INITIAL`].
    pub fn new(initial: &'v Value) -> Values<'v> {
        let facts = vec![Facts { is_written: true, ..Facts::default() }];
        Values { numbers: FxHashMap::from_iter([(initial, INITIAL)]), facts }
    }

    fn number(&mut self, value: &'v Value) -> u32 {
        let next = self.facts.len() as u32;
        let number = *self.numbers.entry(value).or_insert(next);
        if number == next {
            self.facts.push(Facts::default());
        }
        number
    }

    fn observed(&mut self, value: &'v Value) -> u32 {
        let number = self.number(value);
        self.facts[number as usize].is_observed = true;
        number
    }

    /// The number of a value that is written; one of its own if that was written before.
    fn written(&mut self, value: &'v Value) -> u32 {
        let number = self.number(value);
        let facts = &mut self.facts[number as usize];
        if !facts.is_written {
            facts.is_written = true;
            return number;
        }
        facts.is_written_again = true;
        self.facts.push(Facts { is_written: true, ..Facts::default() });
        self.facts.len() as u32 - 1
    }

    /// The call, if it is one on a register.
    pub fn call(&mut self, role: Role<'v>) -> Option<Call> {
        Some(match role {
            Role::Read(value) => Call::Read(self.observed(value)),
            Role::Write(value) => Call::Write(self.written(value)),
            // It is there before and after.
            Role::CompareAndSet { expected, new } if expected == new => Call::Read(self.observed(expected)),
            Role::CompareAndSet { expected, new } => {
                Call::CompareAndSet { expected: self.observed(expected), new: self.written(new) }
            }
            Role::CompareUnequal(value) => Call::CompareUnequal(self.observed(value)),
            _ => return None,
        })
    }

    /// How many there are, if none is both observed and written twice. (What nobody observes may be written as often as it likes:
    /// each time it is as good as a value of its own.)
    pub fn unique(&self) -> Option<u32> {
        let is_unique = |facts: &Facts| !(facts.is_written_again && facts.is_observed);
        self.facts.iter().all(is_unique).then_some(self.facts.len() as u32)
    }
}
