//! The names in directories: those that programs see, and those that a loss of power would leave.
//!
//! A change is one or two entries of directories that change together (a rename is two), and is durable when one of its directories was
//! synced after it, and with it all changes before it in the same directories, so that no rename survives without what it renamed. A
//! loss of power leaves what is durable and, if it is torn or reordered, a prefix of the other changes, in their order: journals of file
//! systems write these one after another.
//!
//! Pure: no file is touched here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// The number of a file or directory.
pub(super) type Ino = u64;

/// The directory at the top.
pub(super) const ROOT: Ino = 1;

/// In a directory a name is for this file from now on, or for none.
pub(super) type Entry = (Ino, OsString, Option<Ino>);

/// Most changes that are not durable yet; with more, the oldest are written back, as a kernel does by itself every few seconds.
const MOST_CHANGES: usize = 4096;

type Directories = BTreeMap<Ino, BTreeMap<OsString, Ino>>;

/// All directories of a disk.
#[derive(Debug)]
pub(super) struct Names {
    seen: Directories,
    durable: Directories,
    changes: Vec<Vec<Entry>>,
}

fn apply(directories: &mut Directories, change: &[Entry]) {
    for (directory, name, target) in change {
        let entries = directories.entry(*directory).or_default();
        match target {
            Some(ino) => entries.insert(name.clone(), *ino),
            None => entries.remove(name),
        };
    }
}

impl Names {
    /// An empty directory.
    pub fn new() -> Names {
        let root = BTreeMap::from([(ROOT, BTreeMap::new())]);
        Names { seen: root.clone(), durable: root, changes: Vec::new() }
    }

    /// A directory is there, and empty; what its name is, a change says.
    pub fn add_directory(&mut self, ino: Ino) {
        self.seen.insert(ino, BTreeMap::new());
        self.durable.insert(ino, BTreeMap::new());
    }

    /// A directory is seen no more.
    pub fn remove_directory(&mut self, ino: Ino) {
        self.seen.remove(&ino);
    }

    /// What programs see.
    pub fn entries(&self, directory: Ino) -> Option<&BTreeMap<OsString, Ino>> {
        self.seen.get(&directory)
    }

    /// What a name is for.
    pub fn get(&self, directory: Ino, name: &OsStr) -> Option<Ino> {
        self.seen.get(&directory)?.get(name).copied()
    }

    /// The directories that are seen, with what is in them.
    pub fn all(&self) -> impl Iterator<Item = (Ino, &OsString, Ino)> {
        self.seen
            .iter()
            .flat_map(|(directory, entries)| entries.iter().map(move |(name, ino)| (*directory, name, *ino)))
    }

    /// Changes entries, together.
    pub fn change(&mut self, change: Vec<Entry>) {
        apply(&mut self.seen, &change);
        self.changes.push(change);
        if self.changes.len() > MOST_CHANGES {
            let oldest: Vec<_> = self.changes.drain(..MOST_CHANGES / 2).collect();
            oldest.iter().for_each(|change| apply(&mut self.durable, change));
        }
    }

    /// Everything is durable: what is found on a disk that is taken over.
    pub fn settle(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        changes.iter().for_each(|change| apply(&mut self.durable, change));
    }

    /// A directory was synced. O(changes that are not durable).
    pub fn sync(&mut self, directory: Ino) {
        let mut synced = BTreeSet::from([directory]);
        let mut is_durable = vec![false; self.changes.len()];
        for (change, is_durable) in self.changes.iter().zip(&mut is_durable).rev() {
            if change.iter().any(|(directory, ..)| synced.contains(directory)) {
                *is_durable = true;
                synced.extend(change.iter().map(|(directory, ..)| *directory));
            }
        }
        let mut rest = Vec::new();
        for (change, is_durable) in std::mem::take(&mut self.changes).into_iter().zip(is_durable) {
            if is_durable {
                apply(&mut self.durable, &change);
            } else {
                rest.push(change);
            }
        }
        self.changes = rest;
    }

    /// How many changes are not durable.
    pub fn unsynced(&self) -> usize {
        self.changes.len()
    }

    /// The power is lost, and of the changes that were not durable the first `kept` survive. What is not below the root is gone.
    pub fn lose_power(&mut self, kept: usize) {
        let changes = std::mem::take(&mut self.changes);
        changes.iter().take(kept).for_each(|change| apply(&mut self.durable, change));
        let mut reached = BTreeSet::from([ROOT]);
        let mut ahead = vec![ROOT];
        while let Some(directory) = ahead.pop() {
            for ino in self.durable.get(&directory).into_iter().flat_map(BTreeMap::values) {
                if self.durable.contains_key(ino) && reached.insert(*ino) {
                    ahead.push(*ino);
                }
            }
        }
        self.durable.retain(|directory, _| reached.contains(directory));
        self.seen = self.durable.clone();
    }

    /// The files that have a name, or may get one back.
    pub fn referenced(&self) -> BTreeSet<Ino> {
        let named = self.seen.values().chain(self.durable.values()).flat_map(BTreeMap::values).copied();
        let changed = self.changes.iter().flatten().filter_map(|(.., target)| *target);
        named.chain(changed).collect()
    }

    /// Forgets directories that have no name and cannot get one back.
    pub fn forget_directories(&mut self, referenced: &BTreeSet<Ino>) {
        self.durable.retain(|directory, _| *directory == ROOT || referenced.contains(directory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(directory: Ino, name: &str, target: Option<Ino>) -> Entry {
        (directory, OsString::from(name), target)
    }

    fn listing(names: &Names) -> Vec<String> {
        names.all().map(|(directory, name, ino)| format!("{directory}/{}={ino}", name.display())).collect()
    }

    #[test]
    fn a_name_is_durable_when_its_directory_was_synced_and_not_before() {
        let mut names = Names::new();
        names.change(vec![set(ROOT, "a", Some(2))]);
        names.sync(ROOT);
        names.change(vec![set(ROOT, "b", Some(3))]);
        names.change(vec![set(ROOT, "a", None)]);
        assert_eq!(listing(&names), ["1/b=3"]);
        names.lose_power(0);
        assert_eq!(listing(&names), ["1/a=2"]);
    }

    #[test]
    fn what_survives_of_the_rest_is_a_prefix() {
        let mut names = Names::new();
        names.change(vec![set(ROOT, "a", Some(2))]);
        names.change(vec![set(ROOT, "a", None), set(ROOT, "b", Some(2))]);
        names.change(vec![set(ROOT, "c", Some(3))]);
        names.lose_power(2);
        assert_eq!(listing(&names), ["1/b=2"]);
    }

    #[test]
    fn a_rename_between_directories_never_leaves_two_names_and_what_is_below_a_lost_directory_is_lost() {
        let mut names = Names::new();
        names.add_directory(2);
        names.change(vec![set(ROOT, "d", Some(2))]);
        names.sync(ROOT);
        names.change(vec![set(ROOT, "a", Some(3))]);
        names.change(vec![set(ROOT, "a", None), set(2, "a", Some(3))]);
        names.sync(2);
        names.lose_power(usize::MAX);
        assert_eq!(listing(&names), ["1/d=2", "2/a=3"]);

        names.add_directory(4);
        names.change(vec![set(ROOT, "e", Some(4))]);
        names.change(vec![set(4, "f", Some(5))]);
        names.sync(4);
        names.lose_power(0);
        assert_eq!(listing(&names), ["1/d=2", "2/a=3"]);
        assert!(!names.referenced().contains(&5));
    }
}
