//! [`Agenda`]: what will happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What will happen, in order of time; of two things at the same time the one that was planned first comes first. O(log n).
#[derive(Debug)]
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<Planned<T>>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<T> {
    at_ns: u64,
    number: u64,
    what: T,
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Planned<T> {}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.number).cmp(&(other.at_ns, other.number))
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans something.
    pub fn plan(&mut self, at_ns: u64, what: T) {
        self.heap.push(Reverse(Planned { at_ns, number: self.planned, what }));
        self.planned += 1;
    }

    /// Takes what comes next, with its time.
    pub fn take(&mut self) -> Option<(u64, T)> {
        self.heap.pop().map(|Reverse(planned)| (planned.at_ns, planned.what))
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
