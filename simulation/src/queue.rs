//! [`Agenda`]: what will happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

/// What will happen, in order of time; of two things at the same time the one that was planned first comes first. O(log n).
///
/// The heap orders places only: what happens is large (a message of Raft), and moved twice in all instead of at every level.
#[derive(Debug)]
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<Planned>>,
    what: Slab<T>,
    planned: u64,
}

/// When, the how many-th of all that was ever planned, and where its matter is. Numbers are unique, so places never decide.
type Planned = (u64, u64, usize);

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda { heap: BinaryHeap::new(), what: Slab::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans something.
    pub fn plan(&mut self, at_ns: u64, what: T) {
        let place = self.what.insert(what);
        self.heap.push(Reverse((at_ns, self.planned, place)));
        self.planned += 1;
    }

    /// Takes what comes next, with its time.
    pub fn take(&mut self) -> Option<(u64, T)> {
        let Reverse((at_ns, _, place)) = self.heap.pop()?;
        Some((at_ns, self.what.remove(place)))
    }

    /// How much has ever been planned.
    #[must_use]
    pub fn planned(&self) -> u64 {
        self.planned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_of_time_and_then_of_planning() {
        let mut agenda = Agenda::default();
        for (at_ns, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b'), (5, 'e')] {
            agenda.plan(at_ns, what);
        }
        let order: String = std::iter::from_fn(|| agenda.take().map(|(_, what)| what)).collect();
        assert_eq!(order, "abcde");
    }
}
