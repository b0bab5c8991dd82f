//! A simulated disk: batches that were written but not synced are lost in a crash, whole or torn. Snapshots are files of
//! their own, written beside the log in an order of their own; one that is not complete is lost in a crash.

use std::collections::VecDeque;

use bytes::Bytes;
use labrys_raft::{
    Entry, HardState, Input, LogIndex, NodeId, PersistBatch, Recovered, Sequence, Snapshot, SnapshotPoint,
    Term,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What a lying disk never writes, although it says that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Entries,
    /// The vote; the term arrives.
    Vote,
    /// Term and vote.
    HardState,
}

impl Loss {
    fn take_from(self, batch: &mut PersistBatch) {
        match self {
            Loss::Entries => batch.entries.clear(),
            Loss::Vote => batch.hard_state.iter_mut().for_each(|hard_state| hard_state.voted_for = None),
            Loss::HardState => batch.hard_state = None,
        }
    }
}

/// Something to be done with a snapshot, which takes its time.
#[derive(Debug)]
pub enum SnapshotJob {
    /// Make one durable that was taken here.
    Store(Snapshot, Bytes),
    /// Keep a part of one that is being received.
    Write { snapshot: Snapshot, offset: u64, data: Bytes },
    /// Read a part of a durable one.
    Read { to: NodeId, index: LogIndex, offset: u64, length: u64 },
}

/// What a node has on disk.
#[derive(Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    /// Entries after `before`.
    pub entries: Vec<Entry>,
    /// The position before the first entry.
    before: LogIndex,
    /// Durable snapshots, oldest first.
    pub snapshots: Vec<(Snapshot, Bytes)>,
    /// `None`: it is honest.
    pub loses: Option<Loss>,
    /// One bit of the next snapshot received flips on the way.
    pub damages_next: bool,
    /// Written, but not yet synced.
    unsynced: VecDeque<PersistBatch>,
    jobs: VecDeque<SnapshotJob>,
    /// What has arrived of a snapshot.
    partial: Vec<u8>,
}

impl Disk {
    pub fn write(&mut self, batch: PersistBatch) {
        self.unsynced.push_back(batch);
    }

    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    pub fn add_job(&mut self, job: SnapshotJob) {
        self.jobs.push_back(job);
    }

    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Whether a part of `snapshot` is still to be written.
    pub fn is_receiving(&self, snapshot: &Snapshot) -> bool {
        let is_part =
            |job: &SnapshotJob| matches!(job, SnapshotJob::Write { snapshot: of, .. } if of == snapshot);
        self.jobs.iter().any(is_part)
    }

    /// Syncs the oldest `count` batches; returns the number to report.
    pub fn sync(&mut self, count: usize) -> Option<Sequence> {
        let mut last = None;
        for mut batch in self.unsynced.drain(..count.min(self.unsynced.len())) {
            last = Some(batch.sequence);
            self.loses.iter().for_each(|loss| loss.take_from(&mut batch));
            take(&mut self.hard_state, &mut self.before, &mut self.entries, batch, None);
        }
        last
    }

    /// Does the oldest job; returns what to report. `Err`: it cannot be done.
    pub fn work(&mut self) -> Result<Option<Input>, String> {
        match self.jobs.pop_front() {
            None => Ok(None),
            Some(SnapshotJob::Store(snapshot, bytes)) => {
                self.store(snapshot.clone(), bytes);
                Ok(Some(Input::SnapshotStored { snapshot }))
            }
            Some(SnapshotJob::Write { snapshot, offset, data }) => {
                self.partial.truncate(offset as usize);
                if self.partial.len() as u64 != offset {
                    return Err(format!("bytes {offset}.. do not follow the {} before", self.partial.len()));
                }
                self.partial.extend_from_slice(&data);
                let (index, end) = (snapshot.index(), self.partial.len() as u64);
                Ok(Some(if end < snapshot.length_bytes {
                    Input::SnapshotChunkWritten { index, end }
                } else {
                    self.complete(snapshot)
                }))
            }
            Some(SnapshotJob::Read { to, index, offset, length }) => {
                // One that was dropped meanwhile is not wanted any more; if it were, the cluster would not heal.
                let found = self.snapshots.iter().find(|(snapshot, _)| snapshot.index() == index);
                Ok(found.map(|(_, bytes)| {
                    let data = bytes.slice(offset as usize..(offset + length) as usize);
                    Input::SnapshotChunkRead { to, index, offset, data }
                }))
            }
        }
    }

    /// The last bytes of a snapshot have arrived.
    fn complete(&mut self, snapshot: Snapshot) -> Input {
        let mut bytes = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.damages_next) {
            bytes[0] ^= 1;
        }
        if describe(snapshot.point.clone(), &bytes) != snapshot {
            return Input::SnapshotDamaged { index: snapshot.index() };
        }
        self.store(snapshot.clone(), Bytes::from(bytes));
        Input::SnapshotStored { snapshot }
    }

    fn store(&mut self, snapshot: Snapshot, bytes: Bytes) {
        self.snapshots.push((snapshot, bytes));
        self.snapshots.sort_by_key(|(snapshot, _)| snapshot.index());
    }

    /// Drops durable entries up to `up_to`. Those not synced yet stay; a log may keep more than it must.
    pub fn compact(&mut self, up_to: LogIndex) {
        let count = (up_to.0.saturating_sub(self.before.0) as usize).min(self.entries.len());
        self.entries.drain(..count);
        self.before.0 += count as u64;
    }

    pub fn drop_snapshots(&mut self, below: LogIndex) {
        self.snapshots.retain(|(snapshot, _)| snapshot.index() >= below);
    }

    /// What a node that starts finds, with a state machine that was applied up to `applied`.
    pub fn recovered(&self, applied: LogIndex) -> Recovered {
        let snapshot = self.snapshots.last().map(|(snapshot, _)| snapshot.clone());
        Recovered { hard_state: self.hard_state, snapshot, entries: self.entries.clone(), applied }
    }

    /// The lowest and the highest index that a state machine may be found at which had applied `machine`. It is never found
    /// ahead of the log: neither beyond its end, nor with another entry than the log has. (Entries may be applied before this
    /// disk has them; a driver with a durable state machine has to wait, see `Recovered::applied`.)
    pub fn applicable(&self, machine: &[Entry]) -> (LogIndex, LogIndex) {
        let last = LogIndex(self.before.0 + self.entries.len() as u64).0.min(machine.len() as u64);
        let is_in_log =
            |index: &u64| self.entry_term(LogIndex(*index)) == Some(machine[*index as usize - 1].term);
        let most = LogIndex((1..=last).rev().find(is_in_log).unwrap_or(0));
        let Some((snapshot, _)) = self.snapshots.last() else { return (LogIndex(0), most) };
        let index = snapshot.index();
        let agrees = self.before == index || self.entry_term(index) == Some(snapshot.term());
        (index, if agrees { most.max(index) } else { index })
    }

    /// The power goes: of what was not synced, some oldest batches are found whole, and of the next perhaps a first part
    /// of its entries. A snapshot that was about to be stored is there or not.
    pub fn crash(&mut self, rng: &mut ChaCha8Rng) {
        let whole = rng.random_range(0..=self.unsynced.len());
        self.sync(if rng.random_bool(0.5) { 0 } else { whole });
        if let Some(torn) = self.unsynced.pop_front()
            && rng.random_bool(0.3)
        {
            let kept = rng.random_range(0..=torn.entries.len());
            take(&mut self.hard_state, &mut self.before, &mut self.entries, torn, Some(kept));
        }
        let done = rng.random_range(0..=self.jobs.len());
        for _ in 0..done {
            let _ = self.work();
        }
        self.crash_losing_everything_unsynced();
    }

    /// The power goes and nothing of what was not synced is found.
    pub fn crash_losing_everything_unsynced(&mut self) {
        self.unsynced.clear();
        self.jobs.clear();
        self.partial.clear();
    }

    /// A log from index 1 on.
    pub fn fill(&mut self, entries: Vec<Entry>) {
        (self.before, self.entries) = (LogIndex(0), entries);
    }

    fn entry_term(&self, index: LogIndex) -> Option<Term> {
        let offset = index.0.checked_sub(self.before.0 + 1)?;
        self.entries.get(offset as usize).map(|entry| entry.term)
    }

    /// The term of what is durable at `index`, as an entry or as the end of a snapshot; `Err` if it is within one.
    pub fn term_at(&self, index: LogIndex) -> Result<Option<Term>, InSnapshot> {
        if let Some((snapshot, _)) = self.snapshots.last().filter(|(snapshot, _)| snapshot.index() >= index) {
            return if snapshot.index() == index { Ok(Some(snapshot.term())) } else { Err(InSnapshot) };
        }
        Ok(if index.0 == 0 { Some(Term(0)) } else { self.entry_term(index) })
    }
}

/// A durable snapshot contains it.
pub struct InSnapshot;

/// What there is to know of a snapshot with these bytes.
pub fn describe(point: SnapshotPoint, bytes: &[u8]) -> Snapshot {
    let checksum = bytes.iter().fold(1_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    Snapshot { point, length_bytes: bytes.len() as u64, checksum }
}

/// Carries out a batch; if it is torn, only the truncation and the first entries.
fn take(
    hard_state: &mut HardState,
    before: &mut LogIndex,
    entries: &mut Vec<Entry>,
    batch: PersistBatch,
    torn_after: Option<usize>,
) {
    if let Some(index) = batch.reset_after {
        entries.clear();
        *before = index;
    }
    if let Some(from) = batch.truncate_from {
        entries.truncate((from.0 - before.0) as usize - 1);
    }
    let kept = torn_after.unwrap_or(batch.entries.len());
    entries.extend(batch.entries.into_iter().take(kept));
    if torn_after.is_none() {
        *hard_state = batch.hard_state.unwrap_or(*hard_state);
    }
}
