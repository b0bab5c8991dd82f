//! The durability of the volume against an oracle that keeps everything that was ever done, and does again what was synced.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use labrys_seed::Seed;
use proptest::prelude::*;

use super::names::{Ino, ROOT};
use super::volume::Volume;
use crate::fault::PowerLoss;

/// A file by its directory (0: the top, 1: the other one) and its name.
type Place = (usize, u8);

#[derive(Clone, Debug)]
enum Step {
    Create(Place),
    Write(Place, u16, u16),
    Resize(Place, u16),
    Sync(Place),
    FailSync(Place),
    Rename(Place, Place),
    Remove(Place),
    SyncDirectory(usize),
}

#[derive(Clone, Debug)]
enum Done {
    Write(u64, Vec<u8>),
    Resize(u64),
}

/// What is done to a file and whether it is synced; `None`: it never will be.
type Deeds = Vec<(Done, Option<bool>)>;
type Tree = BTreeMap<Place, usize>;
/// What it is that a name is for from now on.
type Change = Vec<(Place, Option<usize>)>;

#[derive(Default)]
struct Oracle {
    files: Vec<Deeds>,
    changes: Vec<(Change, bool)>,
}

fn content(deeds: &Deeds, is_done: impl Fn(Option<bool>) -> bool) -> Vec<u8> {
    let mut content = Vec::new();
    for (done, _) in deeds.iter().filter(|(_, synced)| is_done(*synced)) {
        match done {
            Done::Resize(length) => content.resize(*length as usize, 0),
            Done::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                content.resize(content.len().max(to), 0);
                content[from..to].copy_from_slice(data);
            }
        }
    }
    content
}

fn tree<'a>(changes: impl Iterator<Item = &'a Change>) -> Tree {
    let mut tree = Tree::new();
    for (place, target) in changes.flatten() {
        match target {
            Some(file) => tree.insert(*place, *file),
            None => tree.remove(place),
        };
    }
    tree
}

impl Oracle {
    fn seen(&self) -> Tree {
        tree(self.changes.iter().map(|(change, _)| change))
    }

    /// The names if, of what is not durable, the first `kept` changes survive.
    fn left(&self, kept: usize) -> Tree {
        let mut unsynced = 0;
        let survives = |(_, durable): &&(Change, bool)| {
            unsynced += usize::from(!durable);
            *durable || unsynced <= kept
        };
        tree(self.changes.iter().filter(survives).map(|(change, _)| change))
    }

    fn sync_directory(&mut self, directory: usize) {
        let touches =
            |change: &Change, directory: usize| change.iter().any(|(place, _)| place.0 == directory);
        for (change, durable) in &mut self.changes {
            *durable |= touches(change, directory);
        }
        loop {
            let before = self.changes.iter().filter(|(_, durable)| *durable).count();
            for later in 0..self.changes.len() {
                for earlier in 0..later {
                    let shared = (0..2).any(|directory| {
                        touches(&self.changes[earlier].0, directory)
                            && touches(&self.changes[later].0, directory)
                    });
                    self.changes[earlier].1 |= shared && self.changes[later].1;
                }
            }
            if before == self.changes.iter().filter(|(_, durable)| *durable).count() {
                return;
            }
        }
    }
}

/// A volume with two directories, and what should be in it.
struct Pair {
    folder: tempfile::TempDir,
    volume: Volume,
    directories: [Ino; 2],
    oracle: Oracle,
    written: u8,
}

fn name(place: Place) -> String {
    format!("file-{}", place.1)
}

impl Pair {
    fn new() -> Pair {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deeper")).unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        let deeper = volume.lookup(ROOT, OsStr::new("deeper")).unwrap();
        Pair { folder, volume, directories: [ROOT, deeper], oracle: Oracle::default(), written: 0 }
    }

    fn find(&self, place: Place) -> Option<(Ino, usize)> {
        let ino = self.volume.lookup(self.directories[place.0], OsStr::new(&name(place))).ok();
        let file = self.oracle.seen().get(&place).copied();
        assert_eq!(ino.is_some(), file.is_some(), "{place:?}");
        ino.zip(file)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create(place) => {
                let directory = self.directories[place.0];
                if self.find(*place).is_none() {
                    self.volume.create(directory, OsStr::new(&name(*place)), 0o644).unwrap();
                    self.oracle.changes.push((vec![(*place, Some(self.oracle.files.len()))], false));
                    self.oracle.files.push(Vec::new());
                }
            }
            Step::Write(place, offset, length) => {
                let Some((ino, file)) = self.find(*place) else { return };
                self.written = self.written % 250 + 1;
                let data = vec![self.written; usize::from(*length)];
                let (handle, unsynced) = self.volume.file(ino).unwrap();
                unsynced.write(handle, u64::from(*offset), &data).unwrap();
                self.oracle.files[file].push((Done::Write(u64::from(*offset), data), Some(false)));
            }
            Step::Resize(place, length) => {
                let Some((ino, file)) = self.find(*place) else { return };
                let (handle, unsynced) = self.volume.file(ino).unwrap();
                unsynced.resize(handle, u64::from(*length)).unwrap();
                self.oracle.files[file].push((Done::Resize(u64::from(*length)), Some(false)));
            }
            Step::Sync(place) => {
                let Some((ino, file)) = self.find(*place) else { return };
                let (_, unsynced) = self.volume.file(ino).unwrap();
                unsynced.sync(unsynced.mark());
                self.oracle.files[file].iter_mut().for_each(|(_, synced)| *synced = synced.map(|_| true));
            }
            Step::FailSync(place) => {
                let Some((ino, file)) = self.find(*place) else { return };
                self.volume.file(ino).unwrap().1.fail_sync();
                let deeds = self.oracle.files[file].iter_mut();
                deeds.filter(|(_, synced)| *synced == Some(false)).for_each(|(_, synced)| *synced = None);
            }
            Step::Rename(from, to) => {
                let Some((_, file)) = self.find(*from).filter(|_| from != to) else { return };
                let (old, new) = (name(*from), name(*to));
                let from_place = (self.directories[from.0], OsStr::new(&old));
                self.volume.rename(from_place, (self.directories[to.0], OsStr::new(&new))).unwrap();
                self.oracle.changes.push((vec![(*from, None), (*to, Some(file))], false));
            }
            Step::Remove(place) => {
                if self.find(*place).is_some() {
                    self.volume.remove_file(self.directories[place.0], OsStr::new(&name(*place))).unwrap();
                    self.oracle.changes.push((vec![(*place, None)], false));
                }
            }
            Step::SyncDirectory(directory) => {
                self.volume.sync_directory(self.directories[*directory]).unwrap();
                self.oracle.sync_directory(*directory);
            }
        }
    }

    /// What is in the folder underneath.
    fn found(&self) -> BTreeMap<Place, Vec<u8>> {
        let mut found = BTreeMap::new();
        for (directory, path) in
            [self.folder.path().to_owned(), self.folder.path().join("deeper")].iter().enumerate()
        {
            for entry in files_in(path) {
                let number = entry.strip_prefix("file-").unwrap().parse().unwrap();
                found.insert((directory, number), std::fs::read(path.join(entry)).unwrap());
            }
        }
        found
    }

    fn expected(
        &self,
        tree: &Tree,
        is_done: impl Fn(Option<bool>) -> bool + Copy,
    ) -> BTreeMap<Place, Vec<u8>> {
        tree.iter().map(|(place, file)| (*place, content(&self.oracle.files[*file], is_done))).collect()
    }
}

fn files_in(path: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "deeper").collect()
}

fn any_place() -> impl Strategy<Value = Place> {
    (0..2_usize, 0..3_u8)
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any_place().prop_map(Step::Create),
        6 => (any_place(), 0..1500_u16, 1..1500_u16).prop_map(|(place, at, length)| Step::Write(place, at, length)),
        1 => (any_place(), 0..2500_u16).prop_map(|(place, length)| Step::Resize(place, length)),
        3 => any_place().prop_map(Step::Sync),
        1 => any_place().prop_map(Step::FailSync),
        2 => (any_place(), any_place()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => any_place().prop_map(Step::Remove),
        2 => (0..2_usize).prop_map(Step::SyncDirectory),
    ]
}

/// More of them with `LABRYS_DISK_CASES`.
fn cases() -> ProptestConfig {
    #[allow(clippy::disallowed_methods, reason = "how long a test takes is no configuration of the nemesis")]
    let asked = std::env::var("LABRYS_DISK_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(200))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_loss_of_power_leaves_just_what_was_synced(steps in prop::collection::vec(any_step(), 0..40)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
        }
        prop_assert_eq!(pair.found(), pair.expected(&pair.oracle.seen(), |_| true));
        pair.volume.lose_power(PowerLoss::Everything, &mut Seed(1).rng()).unwrap();
        let left = pair.oracle.left(0);
        prop_assert_eq!(pair.found(), pair.expected(&left, |synced| synced == Some(true)));
        // And that is durable now.
        pair.volume.lose_power(PowerLoss::Everything, &mut Seed(1).rng()).unwrap();
        prop_assert_eq!(pair.found(), pair.expected(&left, |synced| synced == Some(true)));
    }

    #[test]
    fn what_survives_torn_or_reordered_was_written_and_what_was_synced_is_there(
        steps in prop::collection::vec(any_step(), 0..40), seed in any::<u64>(), torn in any::<bool>()
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
        }
        let loss = if torn { PowerLoss::Torn } else { PowerLoss::Reordered };
        let unsynced = pair.oracle.changes.iter().filter(|(_, durable)| !durable).count();
        let lost = pair.volume.lose_power(loss, &mut Seed(seed).rng()).unwrap();
        prop_assert_eq!(lost.names + lost.kept_names, unsynced as u64);
        let left = pair.oracle.left(usize::try_from(lost.kept_names).unwrap());
        let found = pair.found();
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), left.keys().collect::<Vec<_>>());
        for (place, bytes) in found {
            let deeds = &pair.oracle.files[left[&place]];
            if deeds.iter().all(|(_, synced)| *synced == Some(true)) {
                prop_assert_eq!(&bytes, &content(deeds, |_| true));
            }
            for (at, byte) in bytes.iter().enumerate() {
                let wrote = |done: &Done| matches!(done, Done::Write(offset, data)
                    if (*offset as usize..*offset as usize + data.len()).contains(&at) && data[0] == *byte);
                let is_known = *byte == 0 || deeds.iter().any(|(done, synced)| synced.is_some() && wrote(done));
                prop_assert!(is_known, "{place:?} has {byte} at {at}");
            }
        }
    }
}

#[test]
fn a_torn_write_ends_at_a_sector_and_a_reordered_one_has_holes() {
    let left = |loss, seed| {
        let mut pair = Pair::new();
        pair.take(&Step::Create((0, 0)));
        pair.take(&Step::SyncDirectory(0));
        pair.take(&Step::Write((0, 0), 0, 8192));
        pair.volume.lose_power(loss, &mut Seed(seed).rng()).unwrap();
        pair.found().remove(&(0, 0)).unwrap()
    };
    let torn: Vec<usize> = (0..40).map(|seed| left(PowerLoss::Torn, seed).len()).collect();
    assert!(torn.iter().all(|length| length % 512 == 0), "{torn:?}");
    assert!(torn.contains(&8192) && torn.iter().any(|length| *length < 8192), "{torn:?}");
    let has_hole = |bytes: Vec<u8>| bytes.chunks(512).any(|sector| sector.iter().all(|byte| *byte == 0));
    assert!((0..10).any(|seed| has_hole(left(PowerLoss::Reordered, seed))));
    assert!((0..10).all(|seed| left(PowerLoss::Everything, seed).is_empty()));
}
