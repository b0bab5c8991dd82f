//! What the state machine should do, as simply as it can be said: a list of all states that the keys were ever in, each a whole
//! map. Written from the documentation of the commands, not from their code.

use std::collections::BTreeMap;

use super::*;

type Map = BTreeMap<Bytes, Record>;

struct ReferenceLease {
    ttl_ms: u64,
    expires_ms: u64,
}

pub(super) struct Reference {
    /// The position is the revision.
    states: Vec<Map>,
    compacted: u64,
    time_ms: u64,
    leases: BTreeMap<LeaseId, ReferenceLease>,
    last_lease: u64,
    locks: BTreeMap<Bytes, LockHolder>,
    last_token: u64,
}

impl Reference {
    pub(super) fn new() -> Reference {
        Reference {
            states: vec![Map::new()],
            compacted: 0,
            time_ms: 0,
            leases: BTreeMap::new(),
            last_lease: 0,
            locks: BTreeMap::new(),
            last_token: 0,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    fn now(&self) -> &Map {
        self.states.last().unwrap()
    }

    fn readable(&self, revision: Revision) -> Result<&Map, RevisionProblem> {
        if revision.0 > self.revision() {
            return Err(RevisionProblem::Future { current: Revision(self.revision()) });
        }
        if revision.0 < self.compacted {
            return Err(RevisionProblem::Compacted { first: Revision(self.compacted) });
        }
        Ok(&self.states[usize::try_from(revision.0).unwrap()])
    }

    pub(super) fn get(&self, key: &Bytes, revision: Revision) -> Result<Option<Record>, RevisionProblem> {
        Ok(self.readable(revision)?.get(key).cloned())
    }

    pub(super) fn range(
        &self,
        query: &RangeQuery,
        revision: Revision,
    ) -> Result<(Vec<(Bytes, Record)>, bool), RevisionProblem> {
        Ok(range(self.readable(revision)?, query))
    }

    /// What a revision changed: by comparing the state with the one before.
    pub(super) fn changed(&self, revision: u64) -> Vec<(Bytes, Option<Record>)> {
        let at = usize::try_from(revision).unwrap();
        let (before, after) = (&self.states[at - 1], &self.states[at]);
        let keys: std::collections::BTreeSet<&Bytes> = before.keys().chain(after.keys()).collect();
        keys.into_iter()
            .filter(|key| before.get(*key) != after.get(*key))
            .map(|key| (key.clone(), after.get(key).cloned()))
            .collect()
    }

    /// Time passes; what has expired ends, in the order of its expiry.
    pub(super) fn advance(&mut self, time_ms: u64) {
        self.time_ms = self.time_ms.max(time_ms);
        let now_ms = self.time_ms;
        while let Some((id, _)) = self
            .leases
            .iter()
            .min_by_key(|(id, lease)| (lease.expires_ms, **id))
            .filter(|(_, lease)| lease.expires_ms <= now_ms)
        {
            self.end_lease(*id);
        }
    }

    fn end_lease(&mut self, id: LeaseId) -> bool {
        let existed = self.leases.remove(&id).is_some();
        self.locks.retain(|_, holder| holder.lease != id);
        let mut next = self.now().clone();
        next.retain(|_, record| record.lease != Some(id));
        if next.len() < self.now().len() {
            self.states.push(next);
        }
        existed
    }

    pub(super) fn apply(&mut self, operation: Operation) -> Done {
        match operation {
            Operation::Step(one) => match self.steps(vec![one]) {
                Ok(mut results) => Done::Step(results.remove(0)),
                Err((_, problem)) => Done::Step(StepResult::Problem(problem)),
            },
            Operation::Transaction(Transaction { conditions, then, otherwise }) => {
                let held = conditions.iter().all(|condition| self.holds(condition));
                match self.steps(if held { then } else { otherwise }) {
                    Ok(results) => Done::Transaction { held, results },
                    Err((step, problem)) => Done::Aborted { held, step, problem },
                }
            }
            Operation::Commit(commit) => self.commit(&commit),
            Operation::Compact { revision } if revision.0 > self.revision() => {
                Done::Revision(RevisionProblem::Future { current: Revision(self.revision()) })
            }
            Operation::Compact { revision } => {
                self.compacted = self.compacted.max(revision.0);
                Done::Compacted { first: Revision(self.compacted) }
            }
            Operation::GrantLease { ttl_ms } => {
                self.last_lease += 1;
                let lease = LeaseId(self.last_lease);
                self.leases.insert(lease, ReferenceLease { ttl_ms, expires_ms: self.time_ms + ttl_ms });
                Done::LeaseGranted { lease }
            }
            Operation::RenewLease { lease } => match self.leases.get_mut(&lease) {
                Some(lease) => {
                    lease.expires_ms = self.time_ms + lease.ttl_ms;
                    Done::LeaseRenewed { ttl_ms: lease.ttl_ms }
                }
                None => Done::LeaseUnknown,
            },
            Operation::RevokeLease { lease } if self.end_lease(lease) => Done::LeaseRevoked,
            Operation::RevokeLease { .. } => Done::LeaseUnknown,
            Operation::AcquireLock { lease, .. } if !self.leases.contains_key(&lease) => Done::LeaseUnknown,
            Operation::AcquireLock { name, lease } => match self.locks.get(&name) {
                Some(holder) if holder.lease == lease => Done::LockAcquired { token: holder.token },
                Some(holder) => Done::LockBusy { holder: *holder },
                None => {
                    self.last_token += 1;
                    let token = LockToken(self.last_token);
                    self.locks.insert(name, LockHolder { lease, token });
                    Done::LockAcquired { token }
                }
            },
            Operation::ReleaseLock { name, token } => {
                match self.locks.get(&name).is_some_and(|holder| holder.token == token) {
                    true => {
                        self.locks.remove(&name);
                        Done::LockReleased
                    }
                    false => Done::LockNotHeld,
                }
            }
        }
    }

    /// All of them on a copy of the state, which becomes the next one.
    fn steps(&mut self, steps: Vec<Step>) -> Result<Vec<StepResult>, (u32, StepProblem)> {
        let mut map = self.now().clone();
        let mut results = Vec::new();
        for (position, step) in (0..).zip(steps) {
            results.push(self.step(step, &mut map).map_err(|problem| (position, problem))?);
        }
        self.push(map);
        Ok(results)
    }

    /// A new state, unless nothing was touched. `set` marks what it touches with the new revision.
    fn push(&mut self, map: Map) {
        if map != *self.now() {
            self.states.push(map);
        }
    }

    fn set(&self, map: &mut Map, key: Bytes, value: Bytes, lease: Option<LeaseId>) {
        let before = self.now().get(&key);
        let revision = Revision(self.revision() + 1);
        let record = Record {
            value,
            created: before.map_or(revision, |record| record.created),
            modified: revision,
            version: before.map_or(0, |record| record.version) + 1,
            lease,
            modified_ms: self.time_ms,
        };
        map.insert(key, record);
    }

    fn step(&self, step: Step, map: &mut Map) -> Result<StepResult, StepProblem> {
        let lease_of = |map: &Map, key: &Bytes| map.get(key).and_then(|record| record.lease);
        Ok(match step {
            Step::Get { key } => StepResult::Value(map.get(&key).cloned().map(Into::into)),
            Step::Range(query) => {
                let (items, more) = range(map, &query);
                let items = items.into_iter().map(|(key, record)| (key, record.into())).collect();
                StepResult::Range(RangeResult { items, more })
            }
            Step::Put { lease: Some(lease), .. } if !self.leases.contains_key(&lease) => {
                return Err(StepProblem::LeaseUnknown);
            }
            Step::Put { key, value, lease } => {
                self.set(map, key, value, lease);
                StepResult::Put
            }
            Step::CompareAndSet { key, expected, value } => {
                let actual = map.get(&key).map(|record| record.value.clone());
                if actual == expected {
                    let lease = lease_of(map, &key);
                    self.set(map, key, value, lease);
                    StepResult::Swapped
                } else {
                    StepResult::NotSwapped { actual }
                }
            }
            Step::Delete { key } => StepResult::Deleted { existed: map.remove(&key).is_some() },
            Step::Append { key, suffix } => {
                let old = map.get(&key).map(|record| record.value.clone()).unwrap_or_default();
                let value = Bytes::from([&old[..], &suffix[..]].concat());
                let (lease, length_bytes) = (lease_of(map, &key), value.len() as u64);
                self.set(map, key, value, lease);
                StepResult::Appended { length_bytes }
            }
            Step::Increment { key, by } => {
                let old = match map.get(&key) {
                    None => 0,
                    Some(record) => std::str::from_utf8(&record.value)
                        .ok()
                        .and_then(|text| text.parse::<i64>().ok())
                        .ok_or(StepProblem::NotANumber)?,
                };
                let value = old.checked_add(by).ok_or(StepProblem::Overflow)?;
                let lease = lease_of(map, &key);
                self.set(map, key, Bytes::from(value.to_string()), lease);
                StepResult::Incremented { value }
            }
        })
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::LockHeld { name, token } => {
                self.locks.get(name).is_some_and(|holder| holder.token == *token)
            }
            Condition::Key { key, relation, operand } => {
                let record = self.now().get(key);
                let ordering = match operand {
                    Operand::Value(value) => match record {
                        Some(record) => record.value.cmp(value),
                        None => return *relation == Relation::NotEqual,
                    },
                    Operand::Version(version) => record.map_or(0, |record| record.version).cmp(version),
                    Operand::Created(at) => record.map_or(Revision(0), |record| record.created).cmp(at),
                    Operand::Modified(at) => record.map_or(Revision(0), |record| record.modified).cmp(at),
                };
                match relation {
                    Relation::Equal => ordering.is_eq(),
                    Relation::NotEqual => ordering.is_ne(),
                    Relation::Less => ordering.is_lt(),
                    Relation::Greater => ordering.is_gt(),
                }
            }
        }
    }

    /// The conflict that is named is checked by what it claims, not by which of several it is.
    fn commit(&mut self, commit: &Commit) -> Done {
        if let Err(problem) = self.readable(commit.snapshot) {
            return Done::Revision(problem);
        }
        let reads = match commit.isolation {
            Isolation::Snapshot => &[][..],
            Isolation::Serializable => &commit.reads[..],
        };
        for revision in commit.snapshot.0 + 1..=self.revision() {
            for (key, _) in self.changed(revision) {
                let written = commit.writes.iter().any(|(written, _)| *written == key);
                let read = reads.iter().any(|item| match item {
                    ReadItem::Key(read) => *read == key,
                    ReadItem::Range(query) => query.contains(&key),
                });
                if written || read {
                    return Done::Conflict { key, revision: Revision(revision) };
                }
            }
        }
        let mut map = self.now().clone();
        for (key, value) in &commit.writes {
            match value {
                Some(value) => {
                    let lease = self.now().get(key).and_then(|record| record.lease);
                    self.set(&mut map, key.clone(), value.clone(), lease);
                }
                None => {
                    map.remove(key);
                }
            }
        }
        self.push(map);
        Done::Committed
    }
}

fn range(map: &Map, query: &RangeQuery) -> (Vec<(Bytes, Record)>, bool) {
    let inside: Vec<(Bytes, Record)> = map
        .iter()
        .filter(|(key, _)| query.contains(key))
        .map(|(key, record)| (key.clone(), record.clone()))
        .collect();
    let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
    (inside.iter().take(limit).cloned().collect(), inside.len() > limit)
}
