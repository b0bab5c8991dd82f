//! A disk in memory that forgets, tears and fails as a real one may.
//!
//! The model: the *volatile* view is what processes see; the *durable* view is what a loss of power is sure to leave. A
//! loss of power keeps, of each file's un-synced bytes, any subset of its blocks (the rest reads as zeros, as unwritten
//! blocks of an ext4 file do) and any length; and of the un-synced directory operations, a prefix. The choice is the
//! caller's, by a function from a range to a number in it, so that a property test or a seeded simulation can make it.
//!
//! The death of a process is another thing: the page cache is the kernel's and outlives it. The next process reads
//! everything that was written, synced or not, and none of it has become durable by that. So the two views differ from
//! the start of the next process on, which is what a program that trusts what it reads gets wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Disk;

/// How a simulated disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// `ENOSPC`.
    NoSpace,
    /// `EIO`.
    InputOutput,
}

impl FailureKind {
    fn error(self) -> io::Error {
        match self {
            FailureKind::NoSpace => io::Error::from_raw_os_error(28),
            FailureKind::InputOutput => io::Error::from_raw_os_error(5),
        }
    }
}

/// Chooses what a loss of power leaves: a number in `0..=limit`.
pub type PowerLoss<'a> = &'a mut dyn FnMut(u64) -> u64;

/// The unit in which un-synced bytes are kept or lost.
const BLOCK_BYTES: usize = 64;

type FileId = u64;

#[derive(Clone, Debug, Default)]
struct FileContent {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    /// Up to here the two are known to be the same, so that a sync costs as much as was written since the last one.
    agreed: usize,
    /// From here to there, a sync that failed has marked as written what is on no disk: readable, and never written again.
    dropped: Option<(usize, usize)>,
    /// Where what the last sync made durable begins; `None`: no sync has yet.
    last_sync_from: Option<usize>,
}

impl FileContent {
    /// Up to here it was durable before its last sync began. Of a file that was made shorter nothing is taken for that, since what is
    /// last now may have been synced last.
    fn settled(&self) -> usize {
        let agreed = if self.durable.len() > self.agreed { 0 } else { self.agreed };
        self.last_sync_from.map_or(agreed, |from| from.min(agreed))
    }

    /// What is written becomes durable, but for what an earlier sync has dropped.
    fn sync(&mut self) {
        if self.durable.len() > self.agreed {
            self.last_sync_from = Some(0);
        } else if self.volatile.len() > self.agreed {
            self.last_sync_from = Some(self.agreed);
        }
        self.durable.truncate(self.agreed);
        self.durable.extend_from_slice(&self.volatile[self.agreed..]);
        self.agreed = self.volatile.len();
        if let Some((from, to)) = self.dropped {
            let to = to.min(self.durable.len());
            let from = from.min(to);
            self.durable[from..to].fill(0);
            self.agreed = from;
        }
    }

    /// Both views are this. No more is settled than was: a program that finds what has survived may not sync it again.
    fn settle(&mut self, left: Vec<u8>) {
        self.last_sync_from = Some(self.settled());
        self.agreed = left.len();
        self.volatile.clone_from(&left);
        self.durable = left;
        self.dropped = None;
    }
}

/// What has gone wrong with a file, and what should be there.
#[derive(Clone, Debug)]
pub struct Rotten {
    file: FileId,
    volatile: Option<Damage>,
    durable: Option<Damage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Damage {
    offset: usize,
    was: Vec<u8>,
    /// Nothing: the file ends here.
    is: Vec<u8>,
}

impl Rotten {
    /// Whether both are about the same bytes: then what should be there is not known any more when the first of both is put right.
    #[must_use]
    pub fn overlaps(&self, other: &Rotten) -> bool {
        let both = [(&self.volatile, &other.volatile), (&self.durable, &other.durable)];
        let overlap = |(one, other): (&Option<Damage>, &Option<Damage>)| {
            one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one.overlaps(other))
        };
        self.file == other.file && both.into_iter().any(overlap)
    }
}

impl Damage {
    /// Behind the last byte that it is about.
    fn end(&self) -> usize {
        if self.is.is_empty() { usize::MAX } else { self.offset + self.is.len() }
    }

    fn overlaps(&self, other: &Damage) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    fn between(before: &[u8], after: &[u8]) -> Option<Damage> {
        if after.len() < before.len() {
            return Some(Damage { offset: after.len(), was: before[after.len()..].to_vec(), is: Vec::new() });
        }
        let differs = |at: &usize| before[*at] != after[*at];
        let (first, last) = ((0..before.len()).find(differs)?, (0..before.len()).rfind(differs)?);
        Some(Damage { offset: first, was: before[first..=last].to_vec(), is: after[first..=last].to_vec() })
    }

    fn put_right(&self, view: &mut Vec<u8>) {
        let end = self.offset + self.is.len();
        if self.is.is_empty() && view.len() == self.offset {
            view.extend_from_slice(&self.was);
        } else if !self.is.is_empty() && view.get(self.offset..end) == Some(&self.is[..]) {
            view[self.offset..end].copy_from_slice(&self.was);
        }
    }
}

#[derive(Clone, Debug)]
enum DirectoryChange {
    Create(String, FileId),
    Rename(String, String),
    Remove(String),
}

/// How long the present process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Endless,
    /// So many more operations that change the disk; it dies in the one after them.
    Left(u64),
    Dead,
}

/// The process is dead.
enum Death {
    /// In this very operation.
    Now,
    Before,
}

impl From<Death> for io::Error {
    fn from(_: Death) -> io::Error {
        io::Error::other("the process is dead")
    }
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<FileId, FileContent>,
    volatile_names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    unsynced_changes: Vec<DirectoryChange>,
    next_id: FileId,
    fail_append: Option<FailureKind>,
    fail_sync: Option<FailureKind>,
    /// Only once.
    fail_next_sync: Option<FailureKind>,
    life: Life,
    sync_count: u64,
}

/// A disk in memory; clones share it, as processes started one after the other share a disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

fn change_names(names: &mut BTreeMap<String, FileId>, change: &DirectoryChange) {
    match change {
        DirectoryChange::Create(name, id) => {
            names.insert(name.clone(), *id);
        }
        DirectoryChange::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
        DirectoryChange::Remove(name) => {
            names.remove(name);
        }
    }
}

/// What is left of a file whose un-synced bytes are subject to `choose`.
fn tear(file: &FileContent, choose: PowerLoss<'_>) -> Vec<u8> {
    if file.dropped.is_some() {
        return file.durable.clone();
    }
    let rest = file.volatile[file.agreed..].iter().zip(&file.durable[file.agreed..]);
    let common = file.agreed + rest.take_while(|(a, b)| a == b).count();
    if common == file.volatile.len() && common == file.durable.len() {
        return file.durable.clone();
    }
    // A cut that was not synced may or may not have happened.
    let base = if file.durable.len() > common && choose(1) == 0 { file.durable.len() } else { common };
    let mut left = file.durable[..base].to_vec();
    if base == common {
        let unsynced = &file.volatile[common..];
        let kept = usize::try_from(choose(unsynced.len() as u64)).unwrap_or(0);
        for block in unsynced[..kept].chunks(BLOCK_BYTES) {
            match choose(SimulatedDisk::HOLE_LIMIT) {
                0 => left.extend(std::iter::repeat_n(0, block.len())),
                _ => left.extend_from_slice(block),
            }
        }
    }
    left
}

impl SimulatedDisk {
    /// What is asked of each block that may survive a loss of power, and of nothing else unless by chance: 0 loses it.
    pub const HOLE_LIMIT: u64 = 3;

    /// An empty disk.
    #[must_use]
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process dies in its operation after the next `operations` ones that change the disk: of an append in that
    /// moment the first half is done, of anything else nothing. From then on every such operation fails, until
    /// [`SimulatedDisk::start_process`].
    pub fn kill_process_after(&self, operations: u64) {
        self.state().life = Life::Left(operations);
    }

    /// The next process begins: it sees everything that the one before had written; nothing has become durable by that.
    /// Gives whether that one had died of [`SimulatedDisk::kill_process_after`].
    pub fn start_process(&self) -> bool {
        let mut state = self.state();
        (state.fail_append, state.fail_sync, state.fail_next_sync) = (None, None, None);
        std::mem::take(&mut state.life) == Life::Dead
    }

    /// Loses power: what was not synced is kept, torn or lost as `choose` says; what is left is durable.
    pub fn lose_power(&self, choose: PowerLoss<'_>) {
        let mut state = self.state();
        let changes = std::mem::take(&mut state.unsynced_changes);
        let kept = usize::try_from(choose(changes.len() as u64)).unwrap_or(0);
        for change in &changes[..kept] {
            change_names(&mut state.durable_names, change);
        }
        state.volatile_names = state.durable_names.clone();
        for file in state.files.values_mut() {
            let left = tear(file, choose);
            file.settle(left);
        }
        state.forget_nameless();
        (state.fail_append, state.fail_sync, state.fail_next_sync) = (None, None, None);
        state.life = Life::Endless;
    }

    /// From now on nothing fails any more.
    pub fn mend(&self) {
        let mut state = self.state();
        (state.fail_append, state.fail_sync, state.fail_next_sync) = (None, None, None);
    }

    /// The files that processes see and their lengths, in the order of their names.
    #[must_use]
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let length = |id: &FileId| state.files.get(id).map_or(0, |file| file.volatile.len());
        state.volatile_names.iter().map(|(name, id)| (name.clone(), length(id))).collect()
    }

    /// From now on appends fail half-way.
    pub fn fail_appends(&self, kind: FailureKind) {
        self.state().fail_append = Some(kind);
    }

    /// From now on syncs fail.
    pub fn fail_syncs(&self, kind: FailureKind) {
        self.state().fail_sync = Some(kind);
    }

    /// The next sync of a file fails, and those after it succeed: without having written what the failed one was to write, since
    /// the kernel has marked those pages as clean (Rebello et al., *Can Applications Recover from fsync Failures?*, ATC 2020).
    pub fn fail_next_sync(&self, kind: FailureKind) {
        self.state().fail_next_sync = Some(kind);
    }

    /// Flips one bit of a file, durably, as a failing medium does. False if the file is not that long.
    #[must_use]
    pub fn flip_bit(&self, name: &str, offset: usize, bit: u8) -> bool {
        let mut state = self.state();
        let Some(file) = state.volatile_names.get(name).copied().and_then(|id| state.files.get_mut(&id))
        else {
            return false;
        };
        let mut found = false;
        for content in [&mut file.volatile, &mut file.durable] {
            if let Some(byte) = content.get_mut(offset) {
                *byte ^= 1 << (bit % 8);
                found = true;
            }
        }
        found
    }

    /// As [`SimulatedDisk::files`], and of each how many bytes from its beginning were durable before its last sync began. What a sync
    /// made durable after them cannot be told, if it is damaged, from a write that a crash interrupted.
    #[must_use]
    pub fn settled_files(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let settled = |id: &FileId| state.files.get(id).map_or(0, FileContent::settled);
        state.volatile_names.iter().map(|(name, id)| (name.clone(), settled(id))).collect()
    }

    /// Makes the bytes of a file go wrong, durably, as `rot` says, which may change them or cut them short. `None` if nothing has.
    #[must_use]
    pub fn rot(&self, name: &str, mut rot: impl FnMut(&mut Vec<u8>)) -> Option<Rotten> {
        let mut state = self.state();
        let id = state.volatile_names.get(name).copied()?;
        let file = state.files.get_mut(&id)?;
        let mut damage = |view: &mut Vec<u8>| {
            let before = view.clone();
            rot(view);
            Damage::between(&before, view)
        };
        let (volatile, durable) = (damage(&mut file.volatile), damage(&mut file.durable));
        file.agreed = file.agreed.min(file.volatile.len()).min(file.durable.len());
        let is_any = volatile.is_some() || durable.is_some();
        is_any.then_some(Rotten { file: id, volatile, durable })
    }

    /// Puts back what should be there, where nobody has written since.
    pub fn put_right(&self, rotten: &Rotten) {
        let mut state = self.state();
        let Some(file) = state.files.get_mut(&rotten.file) else { return };
        for (view, damage) in [(&mut file.volatile, &rotten.volatile), (&mut file.durable, &rotten.durable)] {
            if let Some(damage) = damage {
                damage.put_right(view);
            }
        }
    }

    /// How many times a file was synced.
    #[must_use]
    pub fn sync_count(&self) -> u64 {
        self.state().sync_count
    }
}

impl State {
    fn file(&mut self, name: &str) -> io::Result<&mut FileContent> {
        let id = self.volatile_names.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.files.get_mut(id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Frees the space of files that have no name any more and cannot get one back.
    fn forget_nameless(&mut self) {
        let State { files, volatile_names, durable_names, .. } = self;
        let named: BTreeSet<FileId> =
            volatile_names.values().chain(durable_names.values()).copied().collect();
        files.retain(|id, _| named.contains(id));
    }

    fn change(&mut self, change: DirectoryChange) {
        change_names(&mut self.volatile_names, &change);
        self.unsynced_changes.push(change);
    }

    /// Spends one operation of the process's life.
    fn live_on(&mut self) -> Result<(), Death> {
        match &mut self.life {
            Life::Endless => Ok(()),
            Life::Dead => Err(Death::Before),
            Life::Left(0) => {
                self.life = Life::Dead;
                Err(Death::Now)
            }
            Life::Left(operations) => {
                *operations -= 1;
                Ok(())
            }
        }
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().volatile_names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.state().file(name)?.volatile.clone())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.volatile_names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        state.live_on()?;
        let id = state.next_id;
        state.next_id += 1;
        state.files.insert(id, FileContent::default());
        state.change(DirectoryChange::Create(name.to_owned(), id));
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let death = state.live_on().err();
        let failure = state.fail_append;
        let written = match (&death, failure) {
            (Some(Death::Before), _) => 0,
            (Some(Death::Now), _) | (None, Some(_)) => bytes.len() / 2,
            (None, None) => bytes.len(),
        };
        state.file(name)?.volatile.extend_from_slice(&bytes[..written]);
        match (death, failure) {
            (Some(death), _) => Err(death.into()),
            (None, Some(kind)) => Err(kind.error()),
            (None, None) => Ok(()),
        }
    }

    fn truncate(&mut self, name: &str, length_bytes: u64) -> io::Result<()> {
        let length = usize::try_from(length_bytes).unwrap_or(usize::MAX);
        let mut state = self.state();
        state.live_on()?;
        let file = state.file(name)?;
        file.volatile.truncate(length);
        file.agreed = file.agreed.min(length);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.live_on()?;
        if let Some(kind) = state.fail_sync {
            return Err(kind.error());
        }
        state.sync_count += 1;
        let failure = state.fail_next_sync.take();
        let file = state.file(name)?;
        if let Some(kind) = failure {
            let from = file.dropped.map_or(file.durable.len(), |(from, _)| from);
            file.dropped = Some((from, file.volatile.len()));
            return Err(kind.error());
        }
        file.sync();
        Ok(())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.state().file(name)?.volatile.len() as u64)
    }

    fn read_range(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let content = &state.file(name)?.volatile;
        let range = |start: u64, length: u64| {
            let start = usize::try_from(start).ok()?;
            content.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        };
        let found = range(offset, length).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(found.to_vec())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.file(from)?;
        state.live_on()?;
        state.change(DirectoryChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.file(name)?;
        state.live_on()?;
        state.change(DirectoryChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.live_on()?;
        if let Some(kind) = state.fail_sync {
            return Err(kind.error());
        }
        state.durable_names = state.volatile_names.clone();
        state.unsynced_changes.clear();
        state.forget_nameless();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_of_power_loses_what_was_not_synced_and_nothing_else() {
        let mut disk = SimulatedDisk::new();
        disk.create("a").unwrap();
        disk.append("a", b"safe").unwrap();
        disk.sync("a").unwrap();
        disk.sync_directory().unwrap();
        disk.append("a", b"lost").unwrap();
        disk.create("b").unwrap();
        disk.sync("b").unwrap();
        disk.lose_power(&mut |_| 0);
        assert_eq!(disk.read("a").unwrap(), b"safe");
        assert_eq!(disk.list().unwrap(), ["a"], "the name `b` was not made durable");
    }

    #[test]
    fn what_the_last_sync_made_durable_is_not_settled() {
        let mut disk = SimulatedDisk::new();
        disk.create("a").unwrap();
        disk.sync_directory().unwrap();
        let settled = |disk: &SimulatedDisk| disk.settled_files()[0].1;
        disk.append("a", &[1; 100]).unwrap();
        assert_eq!(settled(&disk), 0);
        disk.sync("a").unwrap();
        assert_eq!(settled(&disk), 0);
        (0..3).for_each(|_| disk.append("a", &[1; 100]).unwrap());
        disk.sync("a").unwrap();
        disk.sync("a").unwrap();
        assert_eq!(settled(&disk), 100, "a sync that makes nothing durable is none");
        disk.lose_power(&mut |_| 0);
        assert_eq!(settled(&disk), 100);
        disk.append("a", &[1; 100]).unwrap();
        disk.sync("a").unwrap();
        assert_eq!(settled(&disk), 400);
        disk.append("a", &[1; 100]).unwrap();
        disk.lose_power(&mut |limit| limit);
        assert_eq!((settled(&disk), disk.length("a").unwrap()), (400, 600), "what survived was not synced");
        disk.truncate("a", 500).unwrap();
        assert_eq!(settled(&disk), 0, "its end may have been synced last");
        disk.sync("a").unwrap();
        assert_eq!(settled(&disk), 0);
        disk.append("a", &[1; 100]).unwrap();
        disk.sync("a").unwrap();
        assert_eq!(settled(&disk), 500);
    }

    #[test]
    fn what_has_gone_wrong_is_put_right_unless_somebody_has_written_there() {
        let content: Vec<u8> = (0..200).collect();
        let rotten = |rot: fn(&mut Vec<u8>)| {
            let mut disk = SimulatedDisk::new();
            disk.create("a").unwrap();
            disk.sync_directory().unwrap();
            disk.append("a", &content).unwrap();
            disk.sync("a").unwrap();
            let rotten = disk.rot("a", rot).unwrap();
            disk.lose_power(&mut |_| 0);
            assert_ne!(disk.read("a").unwrap(), content, "it is durable");
            (disk, rotten)
        };
        let rots: [fn(&mut Vec<u8>); 3] =
            [|bytes| bytes[7] ^= 4, |bytes| bytes.swap(3, 150), |bytes| bytes.truncate(9)];
        for rot in rots {
            let (disk, found) = rotten(rot);
            disk.put_right(&found);
            assert_eq!(disk.read("a").unwrap(), content);
            disk.lose_power(&mut |_| 0);
            assert_eq!(disk.read("a").unwrap(), content, "durably");
            let (mut disk, found) = rotten(rot);
            disk.truncate("a", 0).unwrap();
            disk.append("a", &[9; 50]).unwrap();
            disk.put_right(&found);
            assert_eq!(disk.read("a").unwrap(), [9; 50]);
        }
        let (disk, first) = rotten(|bytes| bytes.swap(3, 150));
        let other = |rot: fn(&mut Vec<u8>)| disk.rot("a", rot).unwrap();
        assert!(
            first.overlaps(&other(|bytes| bytes[9] ^= 1))
                && first.overlaps(&other(|bytes| bytes.truncate(100)))
        );
        assert!(!first.overlaps(&other(|bytes| bytes[2] ^= 1)));
        let (disk, _) = rotten(|bytes| bytes[0] = 1);
        assert!(disk.rot("a", |_| {}).is_none() && disk.rot("b", |bytes| bytes[0] = 2).is_none());
    }

    #[test]
    fn a_loss_of_power_may_keep_a_later_block_and_lose_an_earlier_one() {
        let mut disk = SimulatedDisk::new();
        disk.create("a").unwrap();
        disk.sync_directory().unwrap();
        disk.append("a", &[7; 2 * BLOCK_BYTES]).unwrap();
        let mut answers = [0, 2 * BLOCK_BYTES as u64, 0, 1].into_iter();
        disk.lose_power(&mut |_| answers.next().unwrap());
        let left = disk.read("a").unwrap();
        assert!(left[..BLOCK_BYTES].iter().all(|byte| *byte == 0));
        assert!(left[BLOCK_BYTES..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn the_death_of_a_process_loses_nothing_and_makes_nothing_durable() {
        let mut disk = SimulatedDisk::new();
        disk.create("a").unwrap();
        disk.sync_directory().unwrap();
        disk.kill_process_after(2);
        disk.append("a", b"whole").unwrap();
        disk.create("b").unwrap();
        assert!(disk.append("a", b"half").is_err());
        assert!(disk.append("a", b"none").is_err() && disk.sync("a").is_err() && disk.remove("a").is_err());
        assert!(disk.start_process(), "it died");
        assert_eq!(disk.read("a").unwrap(), b"wholeha");
        assert_eq!(disk.list().unwrap(), ["a", "b"]);
        disk.lose_power(&mut |_| 0);
        assert_eq!((disk.read("a").unwrap(), disk.list().unwrap()), (vec![], vec!["a".to_owned()]));
    }

    #[test]
    fn failures_are_the_ones_asked_for() {
        let mut disk = SimulatedDisk::new();
        disk.create("a").unwrap();
        disk.fail_appends(FailureKind::NoSpace);
        assert_eq!(disk.append("a", b"1234").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.fail_syncs(FailureKind::InputOutput);
        assert_eq!(disk.sync("a").unwrap_err().raw_os_error(), Some(5));
    }

    #[test]
    fn a_sync_that_succeeds_after_one_that_failed_has_not_written_what_that_one_dropped() {
        let mut disk = SimulatedDisk::new();
        disk.create("a").unwrap();
        disk.sync_directory().unwrap();
        disk.append("a", b"safe").unwrap();
        disk.sync("a").unwrap();
        disk.append("a", b"lost").unwrap();
        disk.fail_next_sync(FailureKind::InputOutput);
        assert!(disk.sync("a").is_err());
        disk.append("a", b"more").unwrap();
        disk.sync("a").unwrap();
        assert_eq!(disk.read("a").unwrap(), b"safelostmore", "the page cache still has it");
        disk.lose_power(&mut |limit| limit);
        assert_eq!(disk.read("a").unwrap(), b"safe\0\0\0\0more");
    }

    #[test]
    fn a_part_of_a_file_is_read_if_the_file_has_it() {
        let mut disk = SimulatedDisk::new();
        disk.create("a").unwrap();
        disk.append("a", b"0123456789").unwrap();
        assert_eq!(disk.length("a").unwrap(), 10);
        assert_eq!(disk.read_range("a", 3, 4).unwrap(), b"3456");
        assert!(disk.read_range("a", 7, 4).is_err() && disk.read_range("a", u64::MAX, 2).is_err());
    }
}
