//! [`Chain`]: a list that grows and shrinks at its end, each version linked to the one before.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::hash_of;

/// A list whose versions share everything but their last elements.
pub struct Chain<T> {
    last: Option<Arc<Link<T>>>,
}

struct Link<T> {
    before: Chain<T>,
    value: T,
    length: usize,
    hash: u64,
}

impl<T> Chain<T> {
    /// Nothing in it.
    #[must_use]
    pub const fn new() -> Chain<T> {
        Chain { last: None }
    }

    /// Number of elements. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.last.as_ref().map_or(0, |link| link.length)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The last element. O(1).
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.last.as_ref().map(|link| &link.value)
    }

    /// The list without its last element, if it has one. O(1).
    #[must_use]
    pub fn without_last(&self) -> Option<Chain<T>> {
        self.last.as_ref().map(|link| link.before.clone())
    }

    /// The elements from the last to the first.
    pub fn backwards(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(self.last.as_deref(), |link| link.before.last.as_deref())
            .map(|link| &link.value)
    }

    /// The elements from the first to the last. O(n) time and memory.
    #[must_use]
    pub fn forwards(&self) -> Vec<&T> {
        let mut elements: Vec<&T> = self.backwards().collect();
        elements.reverse();
        elements
    }

    /// About how many bytes this version has for itself.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        // The two counters of an Arc, and what an allocator takes for itself.
        size_of::<Link<T>>() + 3 * size_of::<usize>()
    }

    fn hash(&self) -> u64 {
        self.last.as_ref().map_or(0, |link| link.hash)
    }
}

impl<T: Hash> Chain<T> {
    /// The list with `value` behind its last element. O(1).
    #[must_use]
    pub fn with(&self, value: T) -> Chain<T> {
        let hash = hash_of(&(self.hash(), hash_of(&value)));
        let link = Link { before: self.clone(), value, length: self.len() + 1, hash };
        Chain { last: Some(Arc::new(link)) }
    }
}

impl<T> Clone for Chain<T> {
    fn clone(&self) -> Self {
        Chain { last: self.last.clone() }
    }
}

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Chain::new()
    }
}

impl<T: Hash> FromIterator<T> for Chain<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        elements.into_iter().fold(Chain::new(), |chain, element| chain.with(element))
    }
}

impl<T: PartialEq> PartialEq for Chain<T> {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() || self.hash() != other.hash() {
            return false;
        }
        let (mut a, mut b) = (self.last.as_ref(), other.last.as_ref());
        while let (Some(link_a), Some(link_b)) = (a, b) {
            if Arc::ptr_eq(link_a, link_b) {
                return true;
            }
            if link_a.value != link_b.value {
                return false;
            }
            (a, b) = (link_a.before.last.as_ref(), link_b.before.last.as_ref());
        }
        true
    }
}

impl<T: Eq> Eq for Chain<T> {}

impl<T> Hash for Chain<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash());
    }
}

impl<T: fmt::Debug> fmt::Debug for Chain<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.forwards()).finish()
    }
}

/// One link after the other: a long chain would exhaust the stack if each dropped the one before it.
impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        let mut next = self.last.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.before.last.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_equal_however_they_came_about_and_hash_alike() {
        let a: Chain<u32> = [1, 2, 3].into_iter().collect();
        let b = a.without_last().unwrap().with(3);
        assert_eq!((&a, hash_of(&a)), (&b, hash_of(&b)));
        assert_ne!(a, a.with(3));
        assert_ne!(a, [1, 3, 2].into_iter().collect());
        assert_ne!(a, [2, 2, 3].into_iter().collect());
        assert_eq!(Chain::<u32>::new(), [1].into_iter().collect::<Chain<u32>>().without_last().unwrap());
    }

    #[test]
    fn lists_of_equal_hash_are_still_compared() {
        let list =
            |value| Chain { last: Some(Arc::new(Link { before: Chain::new(), value, length: 1, hash: 7 })) };
        assert_ne!(list(1), list(2));
        assert_eq!(list(1), list(1));
    }

    #[test]
    fn elements_are_read_from_both_ends() {
        let chain: Chain<u32> = (1..=3).collect();
        assert_eq!(chain.forwards(), [&1, &2, &3]);
        assert_eq!(chain.backwards().collect::<Vec<_>>(), [&3, &2, &1]);
        assert_eq!((chain.len(), chain.last(), chain.is_empty()), (3, Some(&3), false));
        assert_eq!(format!("{chain:?}"), "[1, 2, 3]");
    }

    #[test]
    fn a_long_chain_can_be_dropped() {
        let chain: Chain<u32> = (0..1_000_000).collect();
        let shared = chain.clone();
        drop(chain);
        assert_eq!(shared.len(), 1_000_000);
    }
}
