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
use crate::types::{Effect, LogIndex, RefusalReason, Token};

/// A read that waits.
#[derive(Debug)]
struct WaitingRead {
    token: Token,
    /// What must be applied before it is answered.
    index: LogIndex,
    /// What must be confirmed before it is answered.
    round: u64,
}

/// The reads that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ReadQueue {
    waiting: VecDeque<WaitingRead>,
    /// A majority has confirmed this round.
    confirmed: u64,
    /// The newest round that began for the sake of a read.
    begun: u64,
}

impl ReadQueue {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a round should begin now: some read waits for one after `round`, and none is on its way for an earlier read.
    pub(crate) fn wants_round_after(&self, round: u64) -> bool {
        let newest_waits = self.waiting.back().is_some_and(|read| read.round > round);
        newest_waits && self.begun <= self.confirmed
    }

    /// Round `round` began: every read that waits now waits for it or an earlier one.
    pub(crate) fn began(&mut self, round: u64) {
        if self.waiting.back().is_some_and(|read| read.round == round) {
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
    pub(crate) fn on_read(&mut self, token: Token) {
        if self.config.defects.has(Defect::FollowerRead) {
            return self.effects.push(Effect::ReadReady { token, index: self.applied });
        }
        let RoleState::Leader(leadership) = &self.role_state else {
            let reason = RefusalReason::NotLeader { leader: self.leader };
            return self.effects.push(Effect::Refused { token, reason });
        };
        if self.config.defects.has(Defect::LocalLeaderRead) {
            return self.effects.push(Effect::ReadReady { token, index: self.applied });
        }
        if self.pending.len() + self.reads.len() >= self.config.max_pending {
            return self.effects.push(Effect::Refused { token, reason: RefusalReason::Overloaded });
        }
        let index = self.commit.max(leadership.first_index);
        let round = leadership.round + 1;
        self.reads.waiting.push_back(WaitingRead { token, index, round });
    }

    /// Notes the newest round that a majority has answered.
    pub(crate) fn confirm_reads(&mut self) {
        let RoleState::Leader(leadership) = &self.role_state else { return };
        let own = leadership.round;
        let answered = |id| leadership.progress_of(id).map_or(0, |progress| progress.answered_round);
        let round = self.quorum().reached(|id| if id == self.config.id { own } else { answered(id) });
        self.reads.confirm(round);
    }

    /// Answers the reads that have nothing left to wait for.
    pub(crate) fn answer_reads(&mut self) {
        let (confirmed, applied) = (self.reads.confirmed, self.applied);
        let is_ready = |read: &WaitingRead| read.round <= confirmed && read.index <= applied;
        while let Some(read) = pop_front_if(&mut self.reads.waiting, is_ready) {
            self.effects.push(Effect::ReadReady { token: read.token, index: read.index });
        }
    }

    /// Leadership is lost: no read can be answered any more.
    pub(crate) fn refuse_reads(&mut self) {
        for read in std::mem::take(&mut self.reads).waiting {
            self.effects.push(Effect::Refused { token: read.token, reason: RefusalReason::LeadershipLost });
        }
    }
}
