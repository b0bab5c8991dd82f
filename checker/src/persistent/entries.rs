//! [`Entries`]: a map in order of its keys, whose versions share their entries.

use std::fmt;
use std::hash::{Hash, Hasher};

use rpds::RedBlackTreeMapSync;

use super::hash_of;

/// A map; a set with values of `()`, a bag with numbers as values.
#[derive(Clone)]
pub struct Entries<K: Ord, V> {
    entries: RedBlackTreeMapSync<K, V>,
    /// The sum of the entries' hashes: the same in whatever order they came.
    hash: u64,
}

impl<K: Ord + Clone + Hash, V: Clone + Hash> Entries<K, V> {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Entries<K, V> {
        Entries { entries: RedBlackTreeMapSync::new_sync(), hash: 0 }
    }

    /// Number of keys. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What stands under `key`. O(log n).
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// Whether something stands under `key`. O(log n).
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// The entry with the least key. O(log n).
    #[must_use]
    pub fn first(&self) -> Option<(&K, &V)> {
        self.entries.first()
    }

    /// The entries in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// The map with `value` under `key`. O(log n).
    #[must_use]
    pub fn with(&self, key: K, value: V) -> Entries<K, V> {
        let hash = self.hash_without(&key).wrapping_add(hash_of(&(&key, &value)));
        Entries { entries: self.entries.insert(key, value), hash }
    }

    /// The map with nothing under `key`. O(log n).
    #[must_use]
    pub fn without(&self, key: &K) -> Entries<K, V> {
        Entries { hash: self.hash_without(key), entries: self.entries.remove(key) }
    }

    fn hash_without(&self, key: &K) -> u64 {
        self.get(key).map_or(self.hash, |value| self.hash.wrapping_sub(hash_of(&(key, value))))
    }

    /// About how many bytes this version has for itself.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        // The path to the change is new: nodes with two children, colour and entry, the entry and its counters.
        let path = (usize::BITS - self.len().leading_zeros()) as usize;
        path * 8 * size_of::<usize>() + size_of::<(K, V)>()
    }
}

impl<K: Ord + Clone + Hash> Entries<K, ()> {
    /// The set with `key` in it. O(log n).
    #[must_use]
    pub fn with_member(&self, key: &K) -> Entries<K, ()> {
        if self.contains(key) { self.clone() } else { self.with(key.clone(), ()) }
    }
}

impl<K: Ord + Clone + Hash> Entries<K, usize> {
    /// The bag with one more of `key`. O(log n).
    #[must_use]
    pub fn with_one_more(&self, key: &K) -> Entries<K, usize> {
        let number = self.get(key).copied().unwrap_or(0);
        self.with(key.clone(), number + 1)
    }

    /// The bag with one less of `key`, if it has any. O(log n).
    #[must_use]
    pub fn with_one_less(&self, key: &K) -> Option<Entries<K, usize>> {
        match *self.get(key)? {
            1 => Some(self.without(key)),
            number => Some(self.with(key.clone(), number - 1)),
        }
    }
}

impl<K: Ord + Clone + Hash, V: Clone + Hash> Default for Entries<K, V> {
    fn default() -> Self {
        Entries::new()
    }
}

impl<K: Ord + Clone + Hash, V: Clone + Hash> FromIterator<(K, V)> for Entries<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        entries.into_iter().fold(Entries::new(), |map, (key, value)| map.with(key, value))
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Entries<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.entries == other.entries
    }
}

impl<K: Ord, V: Eq> Eq for Entries<K, V> {}

impl<K: Ord, V> Hash for Entries<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Entries<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.entries.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// `Some` puts in, `None` takes out.
        #[test]
        fn it_is_a_map_whose_hash_depends_on_its_entries_only(steps in proptest::collection::vec((0..4_u32, proptest::option::of(0..3_u32)), 0..40)) {
            let (mut entries, mut expected) = (Entries::new(), BTreeMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => {
                        entries = entries.with(key, value);
                        expected.insert(key, value);
                    }
                    None => {
                        entries = entries.without(&key);
                        expected.remove(&key);
                    }
                }
                let fresh: Entries<u32, u32> = expected.iter().rev().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!((&entries, entries.hash), (&fresh, fresh.hash));
                prop_assert!(entries.iter().eq(expected.iter()));
                prop_assert_eq!(entries.first(), expected.first_key_value());
            }
        }
    }

    #[test]
    fn a_bag_counts() {
        let bag = Entries::new().with_one_more(&"a").with_one_more(&"a").with_one_more(&"b");
        assert_eq!(bag.iter().collect::<Vec<_>>(), [(&"a", &2), (&"b", &1)]);
        let less = bag.with_one_less(&"a").unwrap().with_one_less(&"a").unwrap();
        assert_eq!(less, Entries::new().with_one_more(&"b"));
        assert_eq!(less.with_one_less(&"a"), None);
    }
}
