//! The keys with all their versions, in persistent maps: a clone is O(1) and shares everything, so that a snapshot is taken
//! without stopping the writes (`docs/decisions/`).
//!
//! Three maps: what each key has now; what each key had before, by key and revision; and which keys each revision changed.
//! A get of the latest state looks into the first only. A version in the second ends where the key's next one begins.
//!
//! # Compaction
//!
//! [`Keys::compact`] only moves the mark below which nothing may be read; [`Keys::sweep`] then drops what nobody can read any
//! more, so much per applied entry, so that a large compaction does not hold up the writes. What is swept is told by the third
//! map: when the changes of a revision at or below the mark are swept, each of its keys loses the version before that
//! revision (it ended at or below the mark), and a deletion its own. So a version is dropped if and only if it ended at or
//! below the mark: all states from the mark on stay whole.
//!
//! # Bytes
//!
//! What the keys have now and what is kept of before are counted apart, change by change: the first is held against the quota
//! of the state, the second is bounded by [`Keys::bound_history`], which moves the mark as far as it must. Both numbers follow
//! from the maps alone, so they are the same on all replicas, also on one that began with a snapshot.
//!
//! Costs, with n keys and versions: O(log n) for a get, a change and each item of a range.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::outcome::RECORD_BYTES;
use super::{LeaseId, RangeQuery, RangeResult, Record, Revision, RevisionProblem};

/// Most items in the result of a range.
pub const MAX_RANGE_ITEMS: usize = 10_000;

/// About what the maps take for one key, besides its bytes and those of its record.
pub(super) const KEY_OVERHEAD_BYTES: u64 = 64;

/// What a key is to have: a value and its lease, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewValue {
    pub(super) value: Bytes,
    pub(super) lease: Option<LeaseId>,
}

/// Changes that are to take effect together.
pub(super) type Writes = BTreeMap<Bytes, Option<NewValue>>;

/// What a revision did to a key: what it has since then, or that it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// `None`: it was deleted.
    pub record: Option<Arc<Record>>,
}

/// What one revision changed, in the order of the keys, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionChanges {
    /// The revision.
    pub revision: Revision,
    /// Its changes.
    pub changes: Vec<Change>,
}

/// Where the keys stand; part of the format of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    revision: Revision,
    compacted: Revision,
    swept: Revision,
}

/// All keys, all versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    current: OrdMap<Bytes, Arc<Record>>,
    past: OrdMap<(Bytes, Revision), Option<Arc<Record>>>,
    changes: OrdMap<Revision, Arc<[Bytes]>>,
    at: Summary,
    /// About what `current` takes.
    current_bytes: u64,
    /// About what `past` and `changes` take.
    history_bytes: u64,
}

/// About what a key takes with what it has.
fn current_item_bytes(key: &Bytes, value_bytes: usize) -> u64 {
    (key.len() + value_bytes + RECORD_BYTES) as u64 + KEY_OVERHEAD_BYTES
}

/// About what a key takes with what it had.
fn past_item_bytes(key: &Bytes, record: Option<&Arc<Record>>) -> u64 {
    key.len() as u64 + record.map_or(0, |record| record.size_bytes() as u64) + KEY_OVERHEAD_BYTES
}

/// About what the list of a revision's keys takes; the keys themselves are counted where they are.
fn changed_bytes(keys: &[Bytes]) -> u64 {
    (keys.len() as u64 + 1) * KEY_OVERHEAD_BYTES
}

impl Keys {
    /// The latest state.
    pub(super) fn revision(&self) -> Revision {
        self.at.revision
    }

    /// The first state that can be read.
    pub(super) fn compacted(&self) -> Revision {
        self.at.compacted
    }

    pub(super) fn len(&self) -> usize {
        self.current.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Record>> {
        self.current.get(key)
    }

    /// Which state `asked` names, if that can be read.
    pub(super) fn readable(&self, asked: Option<Revision>) -> Result<Revision, RevisionProblem> {
        match asked {
            None => Ok(self.at.revision),
            Some(revision) if revision > self.at.revision => {
                Err(RevisionProblem::Future { current: self.at.revision })
            }
            Some(revision) if revision < self.at.compacted => {
                Err(RevisionProblem::Compacted { first: self.at.compacted })
            }
            Some(revision) => Ok(revision),
        }
    }

    /// What a key had in a state that can be read.
    pub(super) fn get_at(&self, key: &Bytes, revision: Revision) -> Option<&Arc<Record>> {
        match self.current.get(key) {
            Some(record) if record.modified <= revision => Some(record),
            _ => self.last_past(key, revision).and_then(|(_, record)| record.as_ref()),
        }
    }

    /// The latest of a key's past versions and deletions up to `revision`.
    fn last_past(&self, key: &Bytes, revision: Revision) -> Option<(Revision, &Option<Arc<Record>>)> {
        let ((found, at), record) = self.past.get_prev(&(key.clone(), revision))?;
        (found == key).then_some((*at, record))
    }

    /// When a key was last set or deleted; 0 if never, or if it was deleted before the compaction.
    pub(super) fn last_change(&self, key: &Bytes) -> Revision {
        match self.current.get(key) {
            Some(record) => record.modified,
            None => self.last_past(key, Revision(u64::MAX)).map_or(Revision(0), |(at, _)| at),
        }
    }

    /// Keys of a range in a state that can be read: as many as `max_items` and `max_bytes` allow, though at least one.
    ///
    /// An earlier state has not all keys that are or were there, and those that it does not have are stepped over: after
    /// `max_visited` keys that is the end, with what was found; the error, if nothing was, is the key from which on to look again.
    pub(super) fn range(
        &self,
        query: &RangeQuery,
        revision: Revision,
        max_items: usize,
        max_bytes: usize,
        max_visited: usize,
    ) -> Result<RangeResult, Bytes> {
        let mut collected = RangeCollector::new(query, max_items, max_bytes);
        if revision == self.at.revision {
            for (key, record) in self.current_range(query) {
                if !collected.add(key, record) {
                    break;
                }
            }
            return Ok(collected.result);
        }
        let mut visited = 0;
        let mut next = self.next_key(&query.start);
        while let Some(key) = next.filter(|key| query.contains(key)) {
            if visited >= max_visited {
                collected.result.more = true;
                return if collected.result.items.is_empty() { Err(key) } else { Ok(collected.result) };
            }
            visited += 1;
            if let Some(record) = self.get_at(&key, revision)
                && !collected.add(&key, record)
            {
                break;
            }
            // The key after `key` in the order of bytes.
            next = self.next_key(&Bytes::from([&key[..], &[0]].concat()));
        }
        Ok(collected.result)
    }

    /// The keys of a range in the latest state, in order.
    pub(super) fn current_range(&self, query: &RangeQuery) -> impl Iterator<Item = (&Bytes, &Arc<Record>)> {
        let bounds = (!query.is_empty()).then(|| {
            let end = query.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            (Bound::Included(&query.start), end)
        });
        bounds.into_iter().flat_map(|bounds| self.current.range::<_, Bytes>(bounds))
    }

    /// The first key from `from` on that has or had a value.
    fn next_key(&self, from: &Bytes) -> Option<Bytes> {
        let current = self.current.get_next(from).map(|(key, _)| key);
        let past = self.past.get_next(&(from.clone(), Revision(0))).map(|((key, _), _)| key);
        current.into_iter().chain(past).min().cloned()
    }

    /// About how many bytes the latest state takes.
    pub(super) fn current_bytes(&self) -> u64 {
        self.current_bytes
    }

    /// About how many bytes the states before it take.
    pub(super) fn history_bytes(&self) -> u64 {
        self.history_bytes
    }

    /// About how many bytes the latest state would take after these changes. O(changes log n).
    pub(super) fn current_bytes_with(&self, writes: &Writes) -> u64 {
        let old = |key| self.current.get(key).map_or(0, |record| current_item_bytes(key, record.value.len()));
        let new = |key, value: &Option<NewValue>| {
            value.as_ref().map_or(0, |value| current_item_bytes(key, value.value.len()))
        };
        let added: u64 = writes.iter().map(|(key, value)| new(key, value)).sum();
        self.current_bytes + added - writes.keys().map(old).sum::<u64>()
    }

    /// Makes the changes as the next revision, at log time `now_ms`. Deleting what is not there is no change; without any
    /// change there is no revision.
    pub(super) fn commit(&mut self, writes: Writes, now_ms: u64) {
        let next = self.at.revision.next();
        let mut changed = Vec::with_capacity(writes.len());
        for (key, value) in writes {
            let previous = self.current.get(&key).cloned();
            match value {
                Some(value) => {
                    let record = next_record(previous.as_deref(), value, next, now_ms);
                    self.restore_current(key.clone(), Arc::new(record));
                }
                None if previous.is_none() => continue,
                None => {
                    self.current.remove(&key);
                    self.restore_past(key.clone(), next, None);
                }
            }
            if let Some(previous) = previous {
                self.current_bytes -= current_item_bytes(&key, previous.value.len());
                self.restore_past(key.clone(), previous.modified, Some(previous));
            }
            changed.push(key);
        }
        if !changed.is_empty() {
            self.at.revision = next;
            self.restore_changed(next, changed.into());
        }
    }

    /// What the revisions from `from` on changed.
    pub(super) fn changes_from(&self, from: Revision) -> impl Iterator<Item = RevisionChanges> + '_ {
        self.changed_from(from).map(|(revision, keys)| self.changes_of(revision, keys.iter()))
    }

    /// What a revision did to some of the keys that it changed.
    pub(super) fn changes_of<'a>(
        &self,
        revision: Revision,
        keys: impl IntoIterator<Item = &'a Bytes>,
    ) -> RevisionChanges {
        RevisionChanges {
            revision,
            changes: keys.into_iter().map(|key| self.change(key, revision)).collect(),
        }
    }

    /// Which keys the revisions from `from` on changed.
    pub(super) fn changed_from(&self, from: Revision) -> impl Iterator<Item = (Revision, &Arc<[Bytes]>)> {
        self.changes.range(from..).map(|(revision, keys)| (*revision, keys))
    }

    fn change(&self, key: &Bytes, revision: Revision) -> Change {
        let record = match self.current.get(key) {
            Some(record) if record.modified == revision => Some(Arc::clone(record)),
            _ => self.past.get(&(key.clone(), revision)).cloned().flatten(),
        };
        Change { key: key.clone(), record }
    }

    /// Forgets the states before `revision`, which is not in the future. A mark that is there already stays where it is.
    pub(super) fn compact(&mut self, revision: Revision) {
        self.at.compacted = self.at.compacted.max(revision);
    }

    /// Drops what cannot be read any more, of about `budget` changes.
    pub(super) fn sweep(&mut self, budget: usize) {
        let mut done = 0;
        while done < budget && self.at.swept < self.at.compacted {
            done += self.sweep_revision();
        }
    }

    /// Drops what can be read only before the revision after the one swept last; how many changes that had.
    fn sweep_revision(&mut self) -> usize {
        self.at.swept = self.at.swept.next();
        let Some(keys) = self.changes.remove(&self.at.swept) else { return 0 };
        self.history_bytes -= changed_bytes(&keys);
        for key in keys.iter() {
            if let Some((at, _)) = self.last_past(key, Revision(self.at.swept.0 - 1)) {
                self.drop_past(&(key.clone(), at));
            }
            let own = (key.clone(), self.at.swept);
            if self.past.get(&own).is_some_and(Option::is_none) {
                self.drop_past(&own);
            }
        }
        keys.len()
    }

    fn drop_past(&mut self, version: &(Bytes, Revision)) {
        if let Some(record) = self.past.remove(version) {
            self.history_bytes -= past_item_bytes(&version.0, record.as_ref());
        }
    }

    /// Forgets and drops as many of the oldest states as it takes for the history to have no more than `max_bytes`. Whatever is
    /// dropped counts at least [`KEY_OVERHEAD_BYTES`], so what an entry adds is paid for by so many steps at most.
    pub(super) fn bound_history(&mut self, max_bytes: u64) {
        while self.history_bytes > max_bytes && self.at.swept < self.at.revision {
            self.compact(self.at.swept.next());
            self.sweep_revision();
        }
    }

    pub(super) fn summary(&self) -> Summary {
        self.at
    }

    pub(super) fn iter_current(&self) -> impl Iterator<Item = (&Bytes, &Arc<Record>)> {
        self.current.iter()
    }

    pub(super) fn iter_past(&self) -> impl Iterator<Item = (&(Bytes, Revision), &Option<Arc<Record>>)> {
        self.past.iter()
    }

    pub(super) fn restore_summary(&mut self, summary: Summary) {
        self.at = summary;
    }

    /// Gives a key what it has now, and counts it; what it had is counted until then.
    pub(super) fn restore_current(&mut self, key: Bytes, record: Arc<Record>) {
        self.current_bytes += current_item_bytes(&key, record.value.len());
        self.current.insert(key, record);
    }

    /// Takes over a version or deletion that is not there yet.
    pub(super) fn restore_past(&mut self, key: Bytes, revision: Revision, record: Option<Arc<Record>>) {
        self.history_bytes += past_item_bytes(&key, record.as_ref());
        self.past.insert((key, revision), record);
    }

    /// Takes over what a revision changed that is not there yet.
    pub(super) fn restore_changed(&mut self, revision: Revision, keys: Arc<[Bytes]>) {
        self.history_bytes += changed_bytes(&keys);
        self.changes.insert(revision, keys);
    }

    /// How many versions and deletions before the current ones are kept.
    #[cfg(test)]
    pub(super) fn past_len(&self) -> usize {
        self.past.len()
    }
}

/// What a key has after `value` was given to it.
pub(super) fn next_record(
    previous: Option<&Record>,
    value: NewValue,
    revision: Revision,
    now_ms: u64,
) -> Record {
    Record {
        value: value.value,
        created: previous.map_or(revision, |previous| previous.created),
        modified: revision,
        version: previous.map_or(1, |previous| previous.version + 1),
        lease: value.lease,
        modified_ms: now_ms,
    }
}

/// Collects the items of a range up to its limits.
pub(super) struct RangeCollector {
    pub(super) result: RangeResult,
    max_items: usize,
    left_bytes: usize,
}

impl RangeCollector {
    pub(super) fn new(query: &RangeQuery, max_items: usize, max_bytes: usize) -> RangeCollector {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        RangeCollector {
            result: RangeResult::default(),
            max_items: limit.min(max_items),
            left_bytes: max_bytes,
        }
    }

    /// Adds an item, or notes that there are more; false: that is all.
    pub(super) fn add(&mut self, key: &Bytes, record: &Arc<Record>) -> bool {
        let bytes = key.len() + record.size_bytes();
        let fits = bytes <= self.left_bytes || self.result.items.is_empty();
        if self.result.items.len() >= self.max_items || !fits {
            self.result.more = true;
            return false;
        }
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        self.result.items.push((key.clone(), Arc::clone(record)));
        true
    }
}
