//! Steps, transactions and interactive transactions: from the state of the keys to the changes that they want.
//!
//! # Transactions at one position of the log
//!
//! All steps are carried out on an `Overlay`: the state, and over it what the transaction has written so far. If a step
//! cannot be done, the overlay is dropped, and nothing has happened. Else what it has written becomes one revision. Since
//! commands are applied one after the other, in the order of the log, and a client has its answer after that, such transactions
//! are strictly serializable: the log is the serial order, and it agrees with real time.
//!
//! # Interactive transactions
//!
//! A client reads the state of one revision, its snapshot, as long as it likes, and then commits what it wants to write.
//! `conflict` decides at the commit's place in the log, from the state alone, so that all replicas decide alike.
//!
//! - *Snapshot isolation* (Berenson et al., "A Critique of ANSI SQL Isolation Levels", SIGMOD 1995, section 4.2): the first
//!   committer wins. A commit is refused if a key that it writes was changed after its snapshot. Two transactions that read what
//!   the other writes may both commit: write skew.
//! - *Serializable*: besides, it is refused if anything that it has read was changed after its snapshot, the keys of its
//!   ranges that were not there included (optimistic concurrency control with backward validation: Kung and Robinson, TODS
//!   1981, section 3). What it has read is then the same at its commit's place in the log as in its snapshot, so it is as if all
//!   of it had happened there: the log is the serial order again. As a client begins with a linearizable read of the revision,
//!   this too agrees with real time; a transaction that only reads needs no commit, it is as if it had happened at its snapshot.
//!
//! A snapshot below the compaction mark cannot be judged, since deletions may be forgotten, and is refused.

use bytes::Bytes;
use labrys_raft::{Defect, Defects};

use super::keys::{Keys, MAX_RANGE_ITEMS, NewValue, RangeCollector, Writes, next_record};
use super::leases::Leases;
use super::locks::Locks;
use super::outcome::{Done, RECORD_BYTES, RangeResult, Record, StepProblem, StepResult};
use super::{
    Commit, Condition, Isolation, MachineOptions, Operand, RangeQuery, ReadItem, Relation, Revision, Step,
};

use std::collections::BTreeMap;
use std::sync::Arc;

/// The state as a transaction sees it, with its own writes.
pub(super) struct Overlay<'a> {
    keys: &'a Keys,
    leases: &'a Leases,
    options: &'a MachineOptions,
    now_ms: u64,
    writes: Writes,
    left_result_bytes: usize,
    left_write_bytes: usize,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(
        keys: &'a Keys,
        leases: &'a Leases,
        options: &'a MachineOptions,
        now_ms: u64,
    ) -> Overlay<'a> {
        let (left_result_bytes, left_write_bytes) = (options.max_result_bytes, options.max_revision_bytes);
        let writes = BTreeMap::new();
        Overlay { keys, leases, options, now_ms, writes, left_result_bytes, left_write_bytes }
    }

    /// What it has written.
    pub(super) fn into_writes(self) -> Writes {
        self.writes
    }

    fn get(&self, key: &Bytes) -> Option<Arc<Record>> {
        let previous = self.keys.get(key);
        match self.writes.get(key) {
            None => previous.cloned(),
            Some(written) => written.clone().map(|value| {
                let revision = self.keys.revision().next();
                Arc::new(next_record(previous.map(Arc::as_ref), value, revision, self.now_ms))
            }),
        }
    }

    /// Carries out a list; the error is the first step that cannot be done.
    pub(super) fn all(&mut self, steps: Vec<Step>) -> Result<Vec<StepResult>, (u32, StepProblem)> {
        let mut results = Vec::with_capacity(steps.len());
        for (position, step) in (0..).zip(steps) {
            results.push(self.step(step).map_err(|problem| (position, problem))?);
        }
        Ok(results)
    }

    /// Carries out a step, or leaves everything as it is.
    pub(super) fn step(&mut self, step: Step) -> Result<StepResult, StepProblem> {
        let result = match step {
            Step::Get { key } => StepResult::Value(self.get(&key)),
            Step::Range(query) => StepResult::Range(self.range(&query)),
            Step::Put { key, value, lease } => {
                if lease.is_some_and(|lease| self.leases.get(lease).is_none()) {
                    return Err(StepProblem::LeaseUnknown);
                }
                self.write(key, value, lease)?;
                StepResult::Put
            }
            Step::CompareAndSet { key, expected, value } => {
                let found = self.get(&key);
                let actual = found.as_ref().map(|record| record.value.clone());
                if actual == expected {
                    self.write(key, value, found.and_then(|record| record.lease))?;
                    StepResult::Swapped
                } else {
                    StepResult::NotSwapped { actual }
                }
            }
            Step::Delete { key } => {
                let existed = self.get(&key).is_some();
                self.change(key, None)?;
                StepResult::Deleted { existed }
            }
            Step::Append { key, suffix } => {
                let found = self.get(&key);
                let old = found.as_ref().map_or(&[][..], |record| &record.value);
                // Before anything is copied.
                self.check_write(key.len(), old.len() + suffix.len())?;
                let value = Bytes::from([old, &suffix].concat());
                let length_bytes = value.len() as u64;
                self.write(key, value, found.and_then(|record| record.lease))?;
                StepResult::Appended { length_bytes }
            }
            Step::Increment { key, by } => {
                let found = self.get(&key);
                let old = found.as_ref().map_or(Ok(0), |record| number(&record.value))?;
                let value = old.checked_add(by).ok_or(StepProblem::Overflow)?;
                self.write(key, Bytes::from(value.to_string()), found.and_then(|record| record.lease))?;
                StepResult::Incremented { value }
            }
        };
        self.account(result)
    }

    fn write(&mut self, key: Bytes, value: Bytes, lease: Option<super::LeaseId>) -> Result<(), StepProblem> {
        self.check_write(key.len(), value.len())?;
        self.change(key, Some(NewValue { value, lease }))
    }

    fn check_write(&self, key_bytes: usize, value_bytes: usize) -> Result<(), StepProblem> {
        if value_bytes > self.options.max_value_bytes {
            return Err(StepProblem::ValueTooLarge);
        }
        if write_bytes(key_bytes, value_bytes) > self.left_write_bytes {
            return Err(StepProblem::WritesTooLarge);
        }
        Ok(())
    }

    /// Counts a change against the most that a revision may be. Each counts, also one that another takes the place of: so what a
    /// transaction has a node copy is bounded as well.
    fn change(&mut self, key: Bytes, value: Option<NewValue>) -> Result<(), StepProblem> {
        let bytes = write_bytes(key.len(), value.as_ref().map_or(0, |value| value.value.len()));
        self.left_write_bytes =
            self.left_write_bytes.checked_sub(bytes).ok_or(StepProblem::WritesTooLarge)?;
        self.writes.insert(key, value);
        Ok(())
    }

    /// Counts a result against the most that an outcome may be. A range was cut to fit already.
    fn account(&mut self, result: StepResult) -> Result<StepResult, StepProblem> {
        let bytes = result.size_bytes();
        self.left_result_bytes =
            self.left_result_bytes.checked_sub(bytes).ok_or(StepProblem::ResultTooLarge)?;
        Ok(result)
    }

    /// The range as the transaction sees it: what the state has and the transaction has not written, merged with what it has.
    /// O(what the result may have and what it has written).
    fn range(&self, query: &RangeQuery) -> RangeResult {
        let below = self.keys.current_range(query).filter(|(key, _)| !self.writes.contains_key(*key));
        let mut below = below.map(|(key, record)| (key, Arc::clone(record))).peekable();
        let own = self.writes.keys().filter(|key| query.contains(key));
        let mut own = own.filter_map(|key| Some((key, self.get(key)?))).peekable();
        let mut collected = RangeCollector::new(query, MAX_RANGE_ITEMS, self.left_result_bytes);
        loop {
            let item = match (below.peek(), own.peek()) {
                (Some((left, _)), Some((right, _))) if left < right => below.next(),
                (_, Some(_)) => own.next(),
                (_, None) => below.next(),
            };
            match item {
                Some((key, record)) if collected.add(key, &record) => {}
                _ => return collected.result,
            }
        }
    }
}

/// What a change counts of the most that a revision may be.
pub(super) fn write_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    key_bytes + value_bytes + RECORD_BYTES
}

/// The number that a value is.
fn number(value: &[u8]) -> Result<i64, StepProblem> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(StepProblem::NotANumber)
}

/// Whether a condition of a transaction holds.
pub(super) fn holds(condition: &Condition, keys: &Keys, locks: &Locks, defects: Defects) -> bool {
    match condition {
        Condition::Key { key, relation, operand } => {
            let record = keys.get(key).map(Arc::as_ref);
            let revision = |of: fn(&Record) -> Revision| record.map_or(Revision(0), of);
            match operand {
                Operand::Value(value) => match record {
                    Some(record) => relation.holds(&record.value, value),
                    None => *relation == Relation::NotEqual,
                },
                Operand::Version(version) => {
                    relation.holds(&record.map_or(0, |record| record.version), version)
                }
                Operand::Created(at) => relation.holds(&revision(|record| record.created), at),
                Operand::Modified(at) => relation.holds(&revision(|record| record.modified), at),
            }
        }
        Condition::LockHeld { .. } if defects.has(Defect::LockWithoutFencing) => true,
        Condition::LockHeld { name, token } => {
            locks.holder(name).is_some_and(|holder| holder.token == *token)
        }
    }
}

impl Relation {
    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Less => left < right,
            Relation::Greater => left > right,
        }
    }
}

/// What stands against a commit, if anything; see the module's documentation.
pub(super) fn conflict(commit: &Commit, keys: &Keys, defects: Defects, max_compared: usize) -> Option<Done> {
    if let Err(problem) = keys.readable(Some(commit.snapshot)) {
        return Some(Done::Revision(problem));
    }
    if !defects.has(Defect::CommitSkipsWriteCheck) {
        for (key, _) in &commit.writes {
            if let Some(conflict) = changed_since(key, commit.snapshot, keys) {
                return Some(conflict);
            }
        }
    }
    if commit.isolation == Isolation::Serializable && !defects.has(Defect::CommitSkipsReadCheck) {
        for item in &commit.reads {
            if let ReadItem::Key(key) = item
                && let Some(conflict) = changed_since(key, commit.snapshot, keys)
            {
                return Some(conflict);
            }
        }
        return ranges_changed_since(&commit.reads, commit.snapshot, keys, max_compared);
    }
    None
}

fn changed_since(key: &Bytes, snapshot: Revision, keys: &Keys) -> Option<Done> {
    let revision = keys.last_change(key);
    (revision > snapshot).then(|| Done::Conflict { key: key.clone(), revision })
}

/// Whether any of the ranges has changed. After `max_compared` changes since the snapshot no more are looked at, so that an old
/// snapshot does not hold up the writes: the next one counts as a conflict, whether it is one or not. That is always right: a
/// transaction may be refused for nothing, it is begun again with a newer snapshot. O(changes looked at × ranges).
fn ranges_changed_since(
    reads: &[ReadItem],
    snapshot: Revision,
    keys: &Keys,
    max_compared: usize,
) -> Option<Done> {
    let ranges: Vec<&RangeQuery> = reads
        .iter()
        .filter_map(|item| match item {
            ReadItem::Range(query) => Some(query),
            ReadItem::Key(_) => None,
        })
        .collect();
    if ranges.is_empty() {
        return None;
    }
    let changes = keys
        .changed_from(snapshot.next())
        .flat_map(|(revision, changed)| changed.iter().map(move |key| (revision, key)));
    for (number, (revision, key)) in changes.enumerate() {
        if number >= max_compared || ranges.iter().any(|query| query.contains(key)) {
            return Some(Done::Conflict { key: key.clone(), revision });
        }
    }
    None
}
