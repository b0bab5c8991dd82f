//! [`Fifo`]: a queue whose versions share their elements.

use std::fmt;
use std::hash::{Hash, Hasher};

use rpds::QueueSync;

use super::hash_of;

/// What the hashes of the elements are weighed with: element i from the end by the i-th power. Odd, hence invertible modulo
/// 2^64, so that the first element can be taken out of the sum again.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
/// The inverse of [`BASE`] modulo 2^64.
const INVERSE: u64 = inverse(BASE);

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the number of bits that are right.
const fn inverse(number: u64) -> u64 {
    let mut inverse = number;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(number.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// First in, first out.
#[derive(Clone)]
pub struct Fifo<T> {
    elements: QueueSync<T>,
    hash: u64,
    /// The weight of the element that is put in next-to-first: [`BASE`] to the power of the length.
    power: u64,
}

impl<T: Clone + Hash> Fifo<T> {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Fifo<T> {
        Fifo { elements: QueueSync::new_sync(), hash: 0, power: 1 }
    }

    /// Number of elements. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The first element. O(1).
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.elements.peek()
    }

    /// The elements from the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.elements.iter()
    }

    /// The queue with `value` behind its last element. O(1).
    #[must_use]
    pub fn with(&self, value: T) -> Fifo<T> {
        let hash = self.hash.wrapping_mul(BASE).wrapping_add(hash_of(&value));
        Fifo { elements: self.elements.enqueue(value), hash, power: self.power.wrapping_mul(BASE) }
    }

    /// The queue without its first element, if it has one. O(1) amortised in one line of versions.
    #[must_use]
    pub fn without_first(&self) -> Option<Fifo<T>> {
        let elements = self.elements.dequeue()?;
        let power = self.power.wrapping_mul(INVERSE);
        let of_first = hash_of(self.first()?).wrapping_mul(power);
        Some(Fifo { elements, hash: self.hash.wrapping_sub(of_first), power })
    }

    /// About how many bytes this version has for itself.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        // A node holds the element and the next one, in an Arc each, with what an allocator takes for itself.
        size_of::<T>() + 9 * size_of::<usize>()
    }
}

impl<T: Clone + Hash> Default for Fifo<T> {
    fn default() -> Self {
        Fifo::new()
    }
}

impl<T: Clone + Hash> FromIterator<T> for Fifo<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        elements.into_iter().fold(Fifo::new(), |queue, element| queue.with(element))
    }
}

impl<T: PartialEq> PartialEq for Fifo<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.elements == other.elements
    }
}

impl<T: Eq> Eq for Fifo<T> {}

impl<T> Hash for Fifo<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: fmt::Debug> fmt::Debug for Fifo<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.elements.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// `Some` puts in, `None` takes out.
        #[test]
        fn it_is_a_queue_whose_hash_depends_on_its_elements_only(steps in proptest::collection::vec(proptest::option::of(0..3_u32), 0..40)) {
            let (mut fifo, mut expected) = (Fifo::new(), VecDeque::new());
            for step in steps {
                match step {
                    Some(value) => {
                        fifo = fifo.with(value);
                        expected.push_back(value);
                    }
                    None => {
                        prop_assert_eq!(fifo.first(), expected.front());
                        prop_assert_eq!(fifo.without_first().is_some(), expected.pop_front().is_some());
                        fifo = fifo.without_first().unwrap_or(fifo);
                    }
                }
                let fresh: Fifo<u32> = expected.iter().copied().collect();
                prop_assert_eq!((&fifo, fifo.hash, fifo.power), (&fresh, fresh.hash, fresh.power));
                prop_assert_eq!(fifo.len(), expected.len());
                prop_assert!(fifo.iter().eq(expected.iter()));
            }
        }
    }

    #[test]
    fn queues_that_differ_in_order_differ() {
        let queue = |values: &[u32]| values.iter().copied().collect::<Fifo<u32>>();
        assert_ne!(queue(&[1, 2]), queue(&[2, 1]));
        assert_ne!(queue(&[1]), queue(&[1, 1]));
    }
}
