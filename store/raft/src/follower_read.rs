//! Linearizable reads at a follower: it asks the leader for an index, waits until its own state machine is that far, and answers
//! itself (thesis 6.4, last paragraph).
//!
//! Requests are batched: while one is on its way, reads that arrive wait for the next. A request without an answer after a
//! heartbeat interval is followed by a new one, with a new number; a read is answered by the answer to any request that was
//! sent after it arrived, and by no other. Numbers begin anew with each life of a node, so they are told apart by the life
//! ([`crate::Config::incarnation`]).
//!
//! Complexity: O(1) amortised per read. Bounds: as for all reads (`max_pending`).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::defects::Defect;
use crate::fingerprint::Clock;
use crate::node::{Node, RoleState};
use crate::queue::pop_front_if;
use crate::types::{Effect, LogIndex, MessageBody, NodeId, RefusalReason, Term, Token};

/// A read that waits here.
#[derive(Clone, Debug, Hash)]
struct ForwardedRead {
    token: Token,
    /// The first request that was sent after it arrived.
    first_request: u64,
    /// What must be applied before it is answered, once the leader has said it.
    index: Option<LogIndex>,
}

/// The reads of this node's own clients, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct FollowerReads {
    waiting: VecDeque<ForwardedRead>,
    /// The last request sent.
    request: u64,
    /// When it was sent, while its answer is awaited.
    sent_ms: Option<u64>,
    /// Whom the reads are meant for.
    leader: Option<(Term, NodeId)>,
}

impl FollowerReads {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// See [`crate::fingerprint`].
    pub(crate) fn fingerprint(&self, clock: Clock, hasher: &mut impl Hasher) {
        let FollowerReads { waiting, request, sent_ms, leader } = self;
        (waiting, request, sent_ms.map(|sent_ms| clock.age_of(sent_ms)), leader).hash(hasher);
    }
}

impl Node {
    /// A client of this follower wants to read.
    pub(crate) fn on_follower_read(&mut self, token: Token) {
        let Some(leader) = self.leader else {
            let reason = RefusalReason::NotLeader { leader: None };
            return self.effects.push(Effect::Refused { token, reason });
        };
        if self.reads_are_overloaded() {
            return self.effects.push(Effect::Refused { token, reason: RefusalReason::Overloaded });
        }
        self.refuse_reads_of_another_leader();
        self.follower_reads.leader = Some((self.hard_state.term, leader));
        let first_request = self.follower_reads.request + 1;
        self.follower_reads.waiting.push_back(ForwardedRead { token, first_request, index: None });
    }

    /// Sends the leader a request, if reads wait for one.
    pub(crate) fn ask_leader(&mut self) {
        self.refuse_reads_of_another_leader();
        let (Some(leader), RoleState::Follower) = (self.leader, &self.role_state) else { return };
        let reads = &mut self.follower_reads;
        let patience_ms = self.config.heartbeat_interval_ms;
        let is_lost = reads.sent_ms.is_some_and(|sent_ms| self.now_ms - sent_ms >= patience_ms);
        let has_open = reads.waiting.back().is_some_and(|read| read.index.is_none());
        if !has_open || (reads.sent_ms.is_some() && !is_lost) {
            return;
        }
        reads.request += 1;
        reads.sent_ms = Some(self.now_ms);
        let body = MessageBody::ReadIndex { incarnation: self.config.incarnation, request: reads.request };
        self.send(leader, body);
    }

    /// The leader says how far the state machine must be for the reads before `request`.
    pub(crate) fn on_read_index_reply(&mut self, incarnation: u64, request: u64, index: LogIndex) {
        if incarnation != self.config.incarnation {
            return; // It was asked for in an earlier life.
        }
        let reads = &mut self.follower_reads;
        if request == reads.request {
            reads.sent_ms = None;
        }
        let covered = reads.waiting.iter_mut().take_while(|read| read.first_request <= request);
        covered.for_each(|read| read.index = read.index.or(Some(index)));
    }

    /// Answers the reads for which the state machine is far enough. O(1) amortised.
    pub(crate) fn answer_follower_reads(&mut self) {
        let applied = self.applied;
        let hurries = self.config.defects.has(Defect::ReadIndexNotWaitingApply);
        let waits_for_nothing =
            |read: &ForwardedRead| read.index.is_some_and(|index| hurries || index <= applied);
        while let Some(read) = pop_front_if(&mut self.follower_reads.waiting, waits_for_nothing) {
            let index = read.index.unwrap_or_default();
            self.effects.push(Effect::ReadReady { token: read.token, index, valid_until_ms: None });
        }
    }

    /// Reads whose leader is the leader no more are not answered: those without an index will get none, and a node that is a
    /// member no more may never apply the others'.
    fn refuse_reads_of_another_leader(&mut self) {
        let present = self.leader.map(|leader| (self.hard_state.term, leader));
        if self.follower_reads.leader.is_none() || self.follower_reads.leader == present {
            return;
        }
        self.follower_reads.leader = None;
        self.follower_reads.sent_ms = None;
        for read in self.follower_reads.waiting.drain(..) {
            self.effects.push(Effect::Refused { token: read.token, reason: RefusalReason::LeadershipLost });
        }
    }
}
