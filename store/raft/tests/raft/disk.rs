//! A simulated disk: batches that were written but not synced are lost in a crash, whole or torn.

use std::collections::VecDeque;

use labrys_raft::{Entry, HardState, LogIndex, PersistBatch, Sequence, Term};
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

/// What a node has on disk.
#[derive(Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub entries: Vec<Entry>,
    /// `None`: it is honest.
    pub loses: Option<Loss>,
    /// Written, but not yet synced.
    unsynced: VecDeque<PersistBatch>,
}

impl Disk {
    pub fn write(&mut self, batch: PersistBatch) {
        self.unsynced.push_back(batch);
    }

    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Syncs the oldest `count` batches; returns the number to report.
    pub fn sync(&mut self, count: usize) -> Option<Sequence> {
        let mut last = None;
        for mut batch in self.unsynced.drain(..count.min(self.unsynced.len())) {
            last = Some(batch.sequence);
            self.loses.iter().for_each(|loss| loss.take_from(&mut batch));
            take(&mut self.hard_state, &mut self.entries, batch, None);
        }
        last
    }

    /// The power goes: of what was not synced, some oldest batches are found whole, and of the next perhaps a first part
    /// of its entries.
    pub fn crash(&mut self, rng: &mut ChaCha8Rng) {
        let whole = rng.random_range(0..=self.unsynced.len());
        self.sync(if rng.random_bool(0.5) { 0 } else { whole });
        if let Some(torn) = self.unsynced.pop_front()
            && rng.random_bool(0.3)
        {
            let kept = rng.random_range(0..=torn.entries.len());
            take(&mut self.hard_state, &mut self.entries, torn, Some(kept));
        }
        self.unsynced.clear();
    }

    /// The power goes and nothing of what was not synced is found.
    pub fn crash_losing_everything_unsynced(&mut self) {
        self.unsynced.clear();
    }

    /// The term of the durable entry at `index`.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        match index.0 {
            0 => Some(Term(0)),
            _ => self.entries.get(index.0 as usize - 1).map(|entry| entry.term),
        }
    }
}

/// Carries out a batch; if it is torn, only the truncation and the first entries.
fn take(
    hard_state: &mut HardState,
    entries: &mut Vec<Entry>,
    batch: PersistBatch,
    torn_after: Option<usize>,
) {
    if let Some(from) = batch.truncate_from {
        entries.truncate(from.0 as usize - 1);
    }
    let kept = torn_after.unwrap_or(batch.entries.len());
    entries.extend(batch.entries.into_iter().take(kept));
    if torn_after.is_none() {
        *hard_state = batch.hard_state.unwrap_or(*hard_state);
    }
}
