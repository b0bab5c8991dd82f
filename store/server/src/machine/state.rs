//! The replicated state, and what each command does to it. A function of the state and the log alone; what a replica knows
//! besides, [`Surroundings`], is looked at by defects only.

use bytes::Bytes;
use labrys_raft::{Defect, Defects, LogIndex};

use super::keys::{Keys, Writes};
use super::leases::Leases;
use super::locks::Locks;
use super::outcome::{Done, RevisionProblem, StepResult};
use super::transaction::{self, Overlay};
use super::{
    Admission, Body, Command, Commit, LeaseId, MachineOptions, Operation, Outcome, Revision, Sessions,
    Stamped, Transaction,
};

/// How many changes are swept for each applied entry; see [`Keys::sweep`]. More than an entry makes, but for transactions.
const SWEEP_PER_ENTRY: usize = 64;

/// Most keys that one revision deletes when their lease ends: so that no revision is large.
const ENDED_KEYS_PER_REVISION: usize = 1024;

/// What a command would write does not fit into the state any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoSpace;

/// What a replica knows besides the log. A correct machine never looks at it: replicas would differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// The replica's own clock.
    pub clock_ms: u64,
    /// The entry was proposed by this replica, in this life.
    pub proposed_here: bool,
}

/// What a machine is told when it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) options: MachineOptions,
    pub(super) defects: Defects,
    pub(super) surroundings: Surroundings,
}

/// Everything that is replicated. A clone is O(1) and shares everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) applied: LogIndex,
    /// Log time: the largest stamp so far.
    pub(super) time_ms: u64,
    pub(super) keys: Keys,
    pub(super) leases: Leases,
    pub(super) locks: Locks,
    pub(super) sessions: Sessions,
    /// Changes that a defect has put off.
    pub(super) put_off: Writes,
}

impl State {
    /// The clock that expiry goes by: log time, but for a defect.
    fn clock_ms(&self, setting: &Setting, own_clock: Defect) -> u64 {
        if setting.defects.has(own_clock) { setting.surroundings.clock_ms } else { self.time_ms }
    }

    /// Applies the command in the entry at `index`; `None`: it is the leader's own.
    pub(super) fn apply(&mut self, bytes: &[u8], index: LogIndex, setting: &Setting) -> Option<Outcome> {
        let Ok(Stamped { time_ms, body }) = Stamped::decode(bytes) else {
            return Some(Outcome::Malformed);
        };
        self.time_ms = self.time_ms.max(time_ms);
        let put_off = std::mem::take(&mut self.put_off);
        self.expire_leases(setting);
        self.sessions.limit(&setting.options.sessions, self.clock_ms(setting, Defect::DedupExpiryClock));
        let outcome = match body {
            Body::Client(command) => Some(self.once(command, index, setting)),
            Body::Tick { revoked } => {
                for lease in revoked {
                    self.end_lease(lease, setting);
                }
                None
            }
        };
        self.commit(put_off, setting);
        self.compact_old(setting);
        outcome
    }

    /// Carries a command out unless it was before.
    fn once(&mut self, command: Command, index: LogIndex, setting: &Setting) -> Outcome {
        let now_ms = self.clock_ms(setting, Defect::DedupExpiryClock);
        let remembers =
            setting.surroundings.proposed_here || !setting.defects.has(Defect::DedupNotReplicated);
        match self.sessions.admit(&command.placement, &setting.options.sessions, now_ms) {
            Admission::Next => {}
            // A retry of what is already done gets the first answer and changes nothing (thesis 6.3).
            Admission::Repeated(_) if setting.defects.has(Defect::NoRequestDeduplication) => {}
            Admission::Repeated(outcome) => {
                self.sessions.touch(command.placement.session, index, now_ms);
                return outcome;
            }
            Admission::Passed => return Outcome::SequencePassed,
            Admission::Expired if setting.defects.has(Defect::DedupNotReplicated) => {}
            Admission::Expired => return Outcome::SessionExpired,
            Admission::Full => return Outcome::TooManySessions,
        }
        let outcome = match self.carry_out(command.operation, setting) {
            Ok(done) => Outcome::Done { index, revision: self.keys.revision(), done },
            Err(NoSpace) => Outcome::NoSpace,
        };
        if remembers {
            self.sessions.record(&command.placement, outcome.clone(), index, now_ms);
            self.sessions.limit(&setting.options.sessions, now_ms);
        }
        outcome
    }

    fn carry_out(&mut self, operation: Operation, setting: &Setting) -> Result<Done, NoSpace> {
        Ok(match operation {
            Operation::Step(step) => {
                let mut overlay = self.overlay(setting);
                match overlay.step(step) {
                    Ok(result) => {
                        let writes = overlay.into_writes();
                        self.commit_if_room(writes, setting)?;
                        Done::Step(result)
                    }
                    Err(problem) => Done::Step(StepResult::Problem(problem)),
                }
            }
            Operation::Transaction(transaction) => self.transact(transaction, setting)?,
            Operation::Commit(commit) => self.end_interactive(commit, setting)?,
            Operation::Compact { revision } => match self.keys.readable(Some(revision)) {
                Err(problem @ RevisionProblem::Future { .. }) => Done::Revision(problem),
                Ok(_) | Err(RevisionProblem::Compacted { .. }) => {
                    self.keys.compact(revision);
                    Done::Compacted { first: self.keys.compacted() }
                }
            },
            Operation::GrantLease { .. } if self.leases.len() >= setting.options.max_leases => {
                Done::TooManyLeases
            }
            Operation::GrantLease { ttl_ms } => {
                let now_ms = self.clock_ms(setting, Defect::TtlWallClock);
                Done::LeaseGranted { lease: self.leases.grant(ttl_ms, now_ms) }
            }
            Operation::RenewLease { lease } => {
                let now_ms = self.clock_ms(setting, Defect::TtlWallClock);
                match self.leases.renew(lease, now_ms) {
                    Some(ttl_ms) => Done::LeaseRenewed { ttl_ms },
                    None => Done::LeaseUnknown,
                }
            }
            Operation::RevokeLease { lease } => {
                if self.end_lease(lease, setting) {
                    Done::LeaseRevoked
                } else {
                    Done::LeaseUnknown
                }
            }
            Operation::AcquireLock { name, lease } => {
                let locks_bytes = self.locks.bytes_with(&name);
                if locks_bytes > self.locks.bytes() {
                    self.check_room(self.keys.current_bytes() + locks_bytes, setting)?;
                }
                self.acquire(&name, lease)
            }
            Operation::ReleaseLock { name, token } => match self.locks.release(&name, token) {
                Some(holder) => {
                    if let Some(lease) = self.leases.get_mut(holder.lease) {
                        lease.locks.remove(&name);
                    }
                    Done::LockReleased
                }
                None => Done::LockNotHeld,
            },
        })
    }

    /// About how many bytes the latest state takes; what the quota is about.
    pub(super) fn size_bytes(&self) -> u64 {
        self.keys.current_bytes() + self.locks.bytes()
    }

    /// Whether the state may have so many bytes: it may if it does not grow, or stays within the quota.
    fn check_room(&self, after_bytes: u64, setting: &Setting) -> Result<(), NoSpace> {
        let may = after_bytes <= self.size_bytes() || after_bytes <= setting.options.max_state_bytes;
        if may { Ok(()) } else { Err(NoSpace) }
    }

    /// As [`State::commit`], if there is room.
    fn commit_if_room(&mut self, writes: Writes, setting: &Setting) -> Result<(), NoSpace> {
        self.check_room(self.keys.current_bytes_with(&writes) + self.locks.bytes(), setting)?;
        self.commit(writes, setting);
        Ok(())
    }

    fn overlay<'a>(&'a self, setting: &'a Setting) -> Overlay<'a> {
        Overlay::new(&self.keys, &self.leases, &setting.options, self.time_ms)
    }

    fn transact(&mut self, transaction: Transaction, setting: &Setting) -> Result<Done, NoSpace> {
        let Transaction { conditions, then, otherwise } = transaction;
        let held = conditions
            .iter()
            .all(|condition| transaction::holds(condition, &self.keys, &self.locks, setting.defects));
        let mut overlay = self.overlay(setting);
        Ok(match overlay.all(if held { then } else { otherwise }) {
            Ok(results) => {
                let writes = overlay.into_writes();
                self.commit_if_room(writes, setting)?;
                Done::Transaction { held, results }
            }
            Err((step, problem)) => Done::Aborted { held, step, problem },
        })
    }

    fn end_interactive(&mut self, commit: Commit, setting: &Setting) -> Result<Done, NoSpace> {
        if let Some(conflict) =
            transaction::conflict(&commit, &self.keys, setting.defects, setting.options.max_compared_changes)
        {
            return Ok(conflict);
        }
        let mut writes = Writes::new();
        for (key, value) in commit.writes {
            // A key keeps its lease, as in the steps that do not name one.
            let lease = self.keys.get(&key).and_then(|record| record.lease);
            writes.insert(key, value.map(|value| super::keys::NewValue { value, lease }));
        }
        self.commit_if_room(writes, setting)?;
        Ok(Done::Committed)
    }

    /// Makes changes take effect together, as one revision.
    fn commit(&mut self, mut writes: Writes, setting: &Setting) {
        if setting.defects.has(Defect::TxnNotAtomic)
            && let Some(second) = writes.keys().nth(1).cloned()
        {
            self.put_off.append(&mut writes.split_off(&second));
        }
        for (key, value) in &writes {
            let before = self.keys.get(key).and_then(|record| record.lease);
            self.leases.reattach(key, before, value.as_ref().and_then(|value| value.lease));
        }
        // Time belongs to the state only as the log tells it.
        let now_ms = self.clock_ms(setting, Defect::NondeterministicApply);
        self.keys.commit(writes, now_ms);
    }

    fn acquire(&mut self, name: &Bytes, lease: LeaseId) -> Done {
        let Some(holding) = self.leases.get_mut(lease) else { return Done::LeaseUnknown };
        match self.locks.acquire(name, lease) {
            Ok(token) => {
                holding.locks.insert(name.clone());
                Done::LockAcquired { token }
            }
            Err(holder) => Done::LockBusy { holder },
        }
    }

    fn expire_leases(&mut self, setting: &Setting) {
        let now_ms = self.clock_ms(setting, Defect::TtlWallClock);
        while let Some(lease) = self.leases.expired(now_ms) {
            self.end_lease(lease, setting);
        }
    }

    /// Deletes a lease's keys, as few revisions, and frees its locks. False: there is no such lease.
    fn end_lease(&mut self, id: LeaseId, setting: &Setting) -> bool {
        let Some(lease) = self.leases.remove(id) else { return false };
        for name in &lease.locks {
            self.locks.free(name);
        }
        let (mut writes, mut bytes) = (Writes::new(), 0);
        for key in lease.keys {
            let key_bytes = transaction::write_bytes(key.len(), 0);
            if writes.len() == ENDED_KEYS_PER_REVISION
                || bytes + key_bytes > setting.options.max_revision_bytes
            {
                self.commit(std::mem::take(&mut writes), setting);
                bytes = 0;
            }
            bytes += key_bytes;
            writes.insert(key, None);
        }
        self.commit(writes, setting);
        true
    }

    /// Bounds the history, and drops some of what cannot be read any more.
    fn compact_old(&mut self, setting: &Setting) {
        let oldest = self.keys.revision().0.saturating_sub(setting.options.retained_revisions);
        self.keys.compact(Revision(oldest));
        self.keys.sweep(SWEEP_PER_ENTRY);
        self.keys.bound_history(setting.options.max_history_bytes);
    }
}
