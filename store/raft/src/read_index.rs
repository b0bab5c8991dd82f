//! Linearizable reads without writing to the log: ReadIndex (thesis 6.4).
//!
//! A read arrives and notes (1) the commit index, but at least the index of the entry with which this leader opened its
//! term: before that is committed, the leader does not know what earlier leaders committed; (2) the number of a *round*
//! that begins after its arrival. Every append carries the number of the newest round, every answer returns it; when a
//! majority has answered that round or a later one, no newer leader can have committed anything before the read arrived.
//! The read is answered once its round is confirmed and the state machine has applied its index.
//!
//! Rounds are batched: while one is on its way, all reads that arrive wait for the next, which begins when the first is
//! confirmed, or with the next heartbeat if its messages were lost. A retry is a new read with a round of its own.
//!
//! Complexity: O(1) amortised per read: both the indexes and the rounds never fall along the queue.

use std::collections::VecDeque;

use crate::defects::Defect;
use crate::node::{Node, RoleState};
use crate::queue::pop_front_if;
use crate::types::{Effect, LogIndex, MessageBody, NodeId, Payload, ReadMode, RefusalReason, Token};

/// A read that waits.
#[derive(Clone, Debug, Hash)]
struct WaitingRead {
    token: Token,
    /// What must be applied before it is answered.
    index: LogIndex,
    /// What must be confirmed before it is answered.
    round: u64,
}

/// A follower's request that waits. It does not wait for this node's state machine.
#[derive(Clone, Debug, Hash)]
struct WaitingRequest {
    from: NodeId,
    incarnation: u64,
    request: u64,
    index: LogIndex,
    round: u64,
}

/// The reads that wait, oldest first.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct ReadQueue {
    waiting: VecDeque<WaitingRead>,
    requests: VecDeque<WaitingRequest>,
    /// The newest round that a read waits for.
    wanted: u64,
    /// A majority has confirmed this round.
    confirmed: u64,
    /// The newest round that began for the sake of a read.
    begun: u64,
}

impl ReadQueue {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.requests.len()
    }

    /// Whether a round should begin now: some read waits for one after `round`, and none is on its way for an earlier read.
    pub(crate) fn wants_round_after(&self, round: u64) -> bool {
        self.wanted > round && self.begun <= self.confirmed
    }

    /// Round `round` began: every read that waits now waits for it or an earlier one.
    pub(crate) fn began(&mut self, round: u64) {
        if self.wanted == round {
            self.begun = round;
        }
    }

    /// A majority has answered `round` or later ones.
    pub(crate) fn confirm(&mut self, round: u64) {
        self.confirmed = self.confirmed.max(round);
    }
}

impl Node {
    /// A client wants to read.
    pub(crate) fn on_read(&mut self, token: Token, mode: ReadMode) {
        let is_leader = matches!(self.role_state, RoleState::Leader(_));
        let defects = self.config.defects;
        let reads_at_once = mode == ReadMode::Local
            || defects.has(Defect::FollowerRead)
            || (defects.has(Defect::LocalLeaderRead) && is_leader);
        match mode {
            _ if reads_at_once => self.read_ready(token, self.applied, None),
            ReadMode::Log => self.propose_payload(token, Payload::Noop),
            ReadMode::Follower if !is_leader => self.on_follower_read(token),
            ReadMode::Lease => self.on_lease_read(token),
            _ => self.confirm_then_read(token),
        }
    }

    fn read_ready(&mut self, token: Token, index: LogIndex, valid_until_ms: Option<u64>) {
        self.effects.push(Effect::ReadReady { token, index, valid_until_ms });
    }

    /// Under a lease that is valid now; what makes it valid after the state machine was read is the driver's duty.
    fn on_lease_read(&mut self, token: Token) {
        let index = self.index_to_wait_for();
        match self.lease_until_ms() {
            Some(_) if self.config.defects.has(Defect::LeaseReadAfterPause) && index <= self.applied => {
                self.read_ready(token, index, None);
            }
            Some(until_ms) if index <= self.applied => self.read_ready(token, index, Some(until_ms)),
            _ => self.confirm_then_read(token),
        }
    }

    /// Whether no more reads are taken.
    pub(crate) fn reads_are_overloaded(&self) -> bool {
        let waiting = self.pending.len() + self.reads.len() + self.follower_reads.len();
        waiting >= self.config.max_pending
    }

    fn confirm_then_read(&mut self, token: Token) {
        let Some(round) = self.round_to_wait_for() else {
            let reason = RefusalReason::NotLeader { leader: self.leader };
            return self.effects.push(Effect::Refused { token, reason });
        };
        if self.reads_are_overloaded() {
            return self.effects.push(Effect::Refused { token, reason: RefusalReason::Overloaded });
        }
        let index = self.index_to_wait_for();
        self.reads.wanted = self.reads.wanted.max(round);
        self.reads.waiting.push_back(WaitingRead { token, index, round });
    }

    /// A follower has reads. If too many wait, it is not answered, and asks again.
    pub(crate) fn on_read_index(&mut self, from: NodeId, incarnation: u64, request: u64) {
        let Some(round) = self.round_to_wait_for() else { return };
        if self.reads_are_overloaded() {
            return;
        }
        let index = self.index_to_wait_for();
        self.reads.wanted = self.reads.wanted.max(round);
        self.reads.requests.push_back(WaitingRequest { from, incarnation, request, index, round });
    }

    /// Everything that may be committed now: the commit index; but until an entry of this leader's term is committed, it does
    /// not know what earlier leaders have committed.
    fn index_to_wait_for(&self) -> LogIndex {
        let RoleState::Leader(leadership) = &self.role_state else { return self.commit };
        if self.config.defects.has(Defect::ReadIndexNoCurrentTermCommit) {
            return self.commit;
        }
        self.commit.max(leadership.first_index)
    }

    /// A round that begins after now; `None`: this node does not lead.
    fn round_to_wait_for(&self) -> Option<u64> {
        let RoleState::Leader(leadership) = &self.role_state else { return None };
        if self.config.defects.has(Defect::ReadIndexReuseOnRetry) {
            return Some(leadership.round); // Whatever is on its way, or has come back.
        }
        Some(leadership.round + 1)
    }

    /// Notes the newest round that a majority has answered.
    pub(crate) fn confirm_reads(&mut self) {
        let RoleState::Leader(leadership) = &self.role_state else { return };
        let own = leadership.round;
        let answered = |id| leadership.progress_of(id).map_or(0, |progress| progress.answered_round);
        let round = self.quorum().reached(|id| if id == self.config.id { own } else { answered(id) });
        self.reads.confirm(round);
        if let RoleState::Leader(leadership) = &mut self.role_state {
            leadership.lease.confirmed(round);
        }
    }

    /// Answers the reads that have nothing left to wait for.
    pub(crate) fn answer_reads(&mut self) {
        let (confirmed, applied) = (self.reads.confirmed, self.applied);
        let hurries = self.config.defects.has(Defect::ReadIndexNotWaitingApply);
        let is_ready = |read: &WaitingRead| read.round <= confirmed && (hurries || read.index <= applied);
        while let Some(read) = pop_front_if(&mut self.reads.waiting, is_ready) {
            self.read_ready(read.token, read.index, None);
        }
        let is_confirmed = |request: &WaitingRequest| request.round <= confirmed;
        while let Some(request) = pop_front_if(&mut self.reads.requests, is_confirmed) {
            let WaitingRequest { from, incarnation, request, index, .. } = request;
            self.send(from, MessageBody::ReadIndexReply { incarnation, request, index });
        }
    }

    /// Leadership is lost: no read can be answered any more.
    pub(crate) fn refuse_reads(&mut self) {
        for read in std::mem::take(&mut self.reads).waiting {
            self.effects.push(Effect::Refused { token: read.token, reason: RefusalReason::LeadershipLost });
        }
    }
}
