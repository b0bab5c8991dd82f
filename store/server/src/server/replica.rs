//! The Raft core and the state machine, joined: requests, messages and "durable now" go in; batches for the disk, messages
//! and answers come out. No clock, no disk, no socket, no thread: the server and a simulator run the same code.
//!
//! The duties of [`labrys_raft::Effect`]'s driver that need no I/O are done here: committed entries are applied in order and
//! at once, proposals and reads are answered when their effect says so. What is left to the caller: carry out the outputs
//! in order, and give [`ReplicaInput::Persisted`] after a batch is durable and not before.

mod applying;
mod defects;
#[cfg(test)]
mod disk_tests;
mod interface;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use labrys_raft::{
    Config, Defect, Defects, Effect, HardState, Input, LogIndex, Membership, Node, Recovered, RefusalReason,
    Role, StartError, Status, Term, Token,
};

use super::log_clock::LogClock;
use crate::api::RefusalCode;
use crate::machine::{
    Body, ChangeBatch, Command, LeaseId, Machine, MachineOptions, Operation, Query, RangeQuery, Revision,
    Stamped, Step,
};

use defects::early_answer;
pub use interface::{Answer, ClientRequest, ReplicaInput, ReplicaOutput, ReplicaStatus};
use snapshots::Snapshots;
pub use snapshots::{SnapshotEvent, SnapshotJob, SnapshotPolicy};

/// One server's part in the cluster, without its I/O.
#[derive(Debug)]
pub struct Replica {
    node: Node,
    machine: Machine,
    defects: Defects,
    /// What the reads that wait want.
    reads: BTreeMap<Token, Query>,
    now_ms: u64,
    clock: LogClock,
    /// The tick that was proposed and is not applied yet.
    tick: Option<Token>,
    ticks: u64,
    effects: Vec<Effect>,
    inputs: Vec<Input>,
    /// Puts of this step that are to be answered early (a defect).
    early: Vec<Token>,
    /// The state as if all proposals had taken effect (a defect).
    optimistic: Option<Machine>,
    /// Leases seen to be expired, whose revocation has not been applied yet (a defect).
    overdue: Vec<LeaseId>,
    snapshots: Snapshots,
}

impl Replica {
    /// A replica that starts with an empty state machine from what was durable, at `now_ms`.
    pub fn new(
        config: Config,
        recovered: Recovered,
        options: MachineOptions,
        now_ms: u64,
    ) -> Result<Replica, StartError> {
        let machine = Machine::new(options, config.defects);
        Replica::restored(config, recovered, machine, SnapshotPolicy::default(), now_ms)
    }

    /// A replica that starts with `machine`, which was applied up to the newest snapshot of what was durable, at `now_ms`.
    pub fn restored(
        config: Config,
        recovered: Recovered,
        machine: Machine,
        policy: SnapshotPolicy,
        now_ms: u64,
    ) -> Result<Replica, StartError> {
        let defects = config.defects;
        let snapshots = Snapshots::new(policy, recovered.snapshot.as_ref());
        let mut clock = LogClock::default();
        clock.applied(now_ms, machine.time_ms(), false);
        Ok(Replica {
            node: Node::new(config, recovered, now_ms)?,
            machine,
            defects,
            reads: BTreeMap::new(),
            now_ms,
            clock,
            tick: None,
            ticks: 0,
            effects: Vec::new(),
            inputs: Vec::new(),
            early: Vec::new(),
            optimistic: None,
            overdue: Vec::new(),
            snapshots,
        })
    }

    /// Handles a batch of inputs, in order, as one step. What follows is appended to `outputs`.
    pub fn handle(
        &mut self,
        inputs: impl IntoIterator<Item = ReplicaInput>,
        outputs: &mut Vec<ReplicaOutput>,
    ) {
        for input in inputs {
            match input {
                ReplicaInput::Tick { now_ms } => {
                    self.now_ms = now_ms;
                    self.inputs.push(Input::Tick { now_ms });
                }
                ReplicaInput::Receive(message) => self.inputs.push(Input::Receive(message)),
                ReplicaInput::Persisted { sequence } => self.inputs.push(Input::Persisted { sequence }),
                ReplicaInput::Snapshot(event) => self.on_snapshot_event(event, outputs),
                ReplicaInput::Request { token, request: ClientRequest::Change(change) } => {
                    self.inputs.push(Input::ChangeMembership { token, change });
                }
                ReplicaInput::Request { token, request: ClientRequest::Transfer(target) } => {
                    self.inputs.push(Input::TransferLeadership { token, target });
                }
                ReplicaInput::Request { token, request: ClientRequest::Read(query, mode) } => {
                    match self.optimistic.as_ref().filter(|_| self.leads()) {
                        Some(machine) => {
                            let answer = Answer::Reading(machine.read(&query));
                            outputs.push(ReplicaOutput::Answer { token, answer });
                        }
                        None => {
                            self.reads.insert(token, query);
                            self.inputs.push(Input::Read { token, mode });
                        }
                    }
                }
                ReplicaInput::Request { token, request: ClientRequest::Write(command) } => {
                    self.propose(token, command, outputs);
                }
            }
        }
        self.propose_tick();
        while !self.inputs.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            self.node.step_all(self.inputs.drain(..), &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect, outputs);
            }
            self.effects = effects;
        }
        for token in self.early.drain(..) {
            outputs.push(early_answer(token));
        }
        self.take_snapshot_if_due(outputs);
    }

    fn leads(&self) -> bool {
        self.node.status().role == Role::Leader
    }

    fn propose(&mut self, token: Token, mut command: Command, outputs: &mut Vec<ReplicaOutput>) {
        if self.defects.has(Defect::CasEvaluatedAtPropose) && self.leads() {
            match self.evaluate_now(command.operation) {
                Ok(operation) => command.operation = operation,
                Err(outcome) => {
                    return outputs.push(ReplicaOutput::Answer { token, answer: Answer::Outcome(outcome) });
                }
            }
        }
        let is_put = matches!(command.operation, Operation::Step(Step::Put { .. }));
        match self.stamped(Body::Client(command)).encode() {
            Ok(bytes) => {
                if self.defects.has(Defect::AsyncReplicationAck) && is_put {
                    self.early.push(token);
                }
                if self.defects.has(Defect::TxnReadUncommitted) && self.leads() {
                    self.apply_optimistically(bytes.clone());
                }
                self.inputs.push(Input::Propose { token, command: bytes });
            }
            Err(_) => outputs.push(ReplicaOutput::Answer {
                token,
                answer: Answer::Refused {
                    definite: true,
                    code: RefusalCode::Malformed,
                    message: "the command cannot be encoded",
                },
            }),
        }
    }

    fn stamped(&self, body: Body) -> Stamped {
        Stamped { time_ms: self.clock.stamp_ms(self.now_ms), body }
    }

    /// If a lease has expired, by the time with which this node would stamp a command, the leader proposes one that carries
    /// nothing else, so that leases end when no client writes. One at a time.
    fn propose_tick(&mut self) {
        let stamp_ms = self.clock.stamp_ms(self.now_ms);
        let due = self.machine.next_expiry().filter(|(expires_ms, _)| *expires_ms <= stamp_ms);
        let is_due = due.is_some() || !self.overdue.is_empty();
        if !is_due || self.tick.is_some() || !self.leads() {
            return;
        }
        if self.defects.has(Defect::LeaseRevokedByOldLeader) {
            self.overdue.extend(due.map(|(_, lease)| lease));
        }
        if let Ok(command) = self.stamped(Body::Tick { revoked: self.overdue.clone() }).encode() {
            // From the far end, so that it is never one of the driver's.
            let token = Token(u64::MAX - self.ticks);
            self.ticks += 1;
            self.tick = Some(token);
            self.inputs.push(Input::Propose { token, command });
        }
    }

    fn carry_out(&mut self, effect: Effect, outputs: &mut Vec<ReplicaOutput>) {
        match effect {
            Effect::Persist(batch) => outputs.push(ReplicaOutput::Persist(batch)),
            Effect::Send(message) => outputs.push(ReplicaOutput::Send(message)),
            Effect::Apply { entries } => self.apply(entries, outputs),
            effect @ (Effect::RestoreSnapshot { .. }
            | Effect::ReadSnapshotChunk { .. }
            | Effect::WriteSnapshotChunk { .. }
            | Effect::CompactLog { .. }
            | Effect::DropSnapshots { .. }) => self.carry_out_snapshot(effect, outputs),
            Effect::ReadReady { token, valid_until_ms, .. } => {
                if let Some(query) = self.reads.remove(&token) {
                    let answer = Answer::Reading(self.machine.read(&query));
                    outputs.push(match valid_until_ms {
                        None => ReplicaOutput::Answer { token, answer },
                        Some(valid_until_ms) => {
                            ReplicaOutput::AnswerUnderLease { token, answer, valid_until_ms }
                        }
                    });
                }
            }
            Effect::TransferDone { token, leader } => {
                outputs.push(ReplicaOutput::Answer { token, answer: Answer::Transferred { leader } });
            }
            Effect::MembershipChanged { membership, .. } => {
                outputs.push(ReplicaOutput::MembershipChanged { membership });
            }
            Effect::Refused { token, .. } if self.tick == Some(token) => self.tick = None,
            Effect::Refused { token, reason } => {
                let is_read = self.reads.remove(&token).is_some();
                self.early.retain(|early| *early != token);
                outputs.push(ReplicaOutput::Answer { token, answer: self.refusal(reason, is_read) });
            }
            Effect::RoleChanged { term, role, leader } => {
                outputs.push(ReplicaOutput::RoleChanged { term, role, leader });
            }
            Effect::InvariantBroken { what } => outputs.push(ReplicaOutput::InvariantBroken { what }),
            Effect::RemovedFromCluster => outputs.push(ReplicaOutput::RemovedFromCluster),
            Effect::FollowerLostLog { follower, acknowledged } => {
                outputs.push(ReplicaOutput::FollowerLostLog { follower, acknowledged });
            }
        }
    }

    /// Where a watch begins that wants everything from a revision on, or everything from now on.
    #[must_use]
    pub fn watch_from(&self, asked: Option<Revision>) -> Revision {
        match asked {
            Some(revision) if !self.defects.has(Defect::WatchGapOnReconnect) => revision,
            _ => self.machine.revision().next(),
        }
    }

    /// What was applied here since a revision; see [`Machine::changes`].
    ///
    /// # Errors
    ///
    /// If it is compacted: the first revision that is not.
    pub fn changes(
        &self,
        from: Revision,
        range: &RangeQuery,
        max_revisions: usize,
        max_bytes: usize,
    ) -> Result<ChangeBatch, Revision> {
        self.machine.changes(from, range, max_revisions, max_bytes)
    }

    /// The latest revision applied here.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.machine.revision()
    }

    fn refusal(&self, reason: RefusalReason, is_read: bool) -> Answer {
        let (code, message) = match reason {
            RefusalReason::NotLeader { leader } => return Answer::NotLeader { leader },
            RefusalReason::ChangeRefused(refusal) => return Answer::ChangeRefused(refusal),
            RefusalReason::Transferring { .. } => {
                (RefusalCode::Transferring, "leadership is being handed over")
            }
            RefusalReason::TransferGivenUp => {
                (RefusalCode::TransferGivenUp, "leadership was not taken over in time")
            }
            RefusalReason::Overloaded => (RefusalCode::Overloaded, "too many requests are waiting"),
            RefusalReason::Superseded => {
                (RefusalCode::Superseded, "another entry was committed in its place")
            }
            RefusalReason::LeadershipLost => {
                (RefusalCode::LeadershipLost, "leadership was lost while it waited")
            }
        };
        let definite = is_read || reason.is_definite() || self.defects.has(Defect::StepdownKeepsPending);
        Answer::Refused { definite, code, message }
    }

    /// A look at Raft's part.
    #[must_use]
    pub fn raft_status(&self) -> Status {
        self.node.status()
    }

    /// The term of an entry of the log; `None` if the log does not have it.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.node.term_at(index)
    }

    /// Term and vote, durable or on their way to the disk.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.node.hard_state()
    }

    /// The configuration in force.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.node.membership()
    }

    /// The digest of everything applied up to and including `index`; `None` if that is in the future or forgotten.
    #[must_use]
    pub fn digest(&self, index: LogIndex) -> Option<u64> {
        self.machine.digest(index)
    }

    /// A look at it; with the digest at an index, if one is given.
    #[must_use]
    pub fn status(&self, digest_at_index: Option<LogIndex>) -> ReplicaStatus {
        ReplicaStatus {
            raft: self.node.status(),
            membership: self.node.membership().clone(),
            membership_index: self.node.membership_index(),
            digest: self.machine.digest(self.machine.applied()).unwrap_or_default(),
            digest_at_index: digest_at_index.and_then(|index| self.machine.digest(index)),
            first_digest: self.machine.first_digest(),
            snapshot_bytes: self.snapshot_bytes(),
            key_count: self.machine.key_count(),
            session_count: self.machine.session_count(),
            state_bytes: self.machine.state_bytes(),
            history_bytes: self.machine.history_bytes(),
        }
    }
}
