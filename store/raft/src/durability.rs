//! What is on disk, and which messages wait for it.
//!
//! The ordering duties of Raft live here and nowhere else: a message of a term leaves only when that term and the vote in
//! it are durable (paper, Figure 2: "updated on stable storage before responding to RPCs"), and the durable end of the log
//! is the only thing that an acknowledgement is computed from. The leader's own appends do not wait (thesis 10.2.1); the
//! leader counts itself by the same durable end.
//!
//! # Bounds
//!
//! All withheld messages belong to the present term, and there is at most one of a kind to each node. The list of
//! unwritten batches is bounded by its users: a leader refuses proposals, a follower loses appends (see
//! [`Node::may_append_more`]).
//!
//! Complexity: O(1) amortised per batch, O(unwritten batches) per truncation.

use std::collections::VecDeque;
use std::mem;

use crate::node::{Halted, Node, RoleState};
use crate::queue::pop_front_if;
use crate::types::{Effect, LogIndex, Message, MessageBody, NodeId, PersistBatch, Sequence, Term};

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Durability {
    /// The last batch handed out.
    handed_out: Sequence,
    /// The last batch known to be durable.
    persisted: Sequence,
    /// Batches that are neither: number, and the last index that the log keeps from them and those before.
    unwritten: VecDeque<(Sequence, LogIndex)>,
    /// The last entry of the present log that is durable, and all before it are.
    log_end: LogIndex,
    /// The hard state changed and is in no batch yet.
    hard_state_dirty: bool,
    /// The batch with the present hard state.
    hard_state_in: Sequence,
    /// Messages that wait for the hard state.
    withheld: Vec<Message>,
}

impl Durability {
    /// Everything up to `log_end` was found on disk.
    pub(crate) fn recovered(log_end: LogIndex) -> Durability {
        Durability {
            handed_out: Sequence(0),
            persisted: Sequence(0),
            unwritten: VecDeque::new(),
            log_end,
            hard_state_dirty: false,
            hard_state_in: Sequence(0),
            withheld: Vec::new(),
        }
    }

    /// The last entry up to which the present log is durable.
    pub(crate) fn log_end(&self) -> LogIndex {
        self.log_end
    }

    /// Batches that were handed out and are not durable yet.
    pub(crate) fn unwritten_batches(&self) -> usize {
        self.unwritten.len()
    }

    /// Whether the present term and vote are durable.
    pub(crate) fn hard_state_is_durable(&self) -> bool {
        !self.hard_state_dirty && self.hard_state_in <= self.persisted
    }

    /// The log was cut: what is on disk from `from` on no longer counts.
    pub(crate) fn truncated_from(&mut self, from: LogIndex) {
        let kept = LogIndex(from.0 - 1);
        self.log_end = self.log_end.min(kept);
        for (_, last) in &mut self.unwritten {
            *last = kept.min(*last);
        }
    }

    /// A durable snapshot has taken the place of the whole log.
    pub(crate) fn reset(&mut self, index: LogIndex) {
        self.log_end = index;
        for (_, last) in &mut self.unwritten {
            *last = index;
        }
    }

    /// The term changed: answers and requests of the old one are worth nothing any more.
    pub(crate) fn forget_withheld(&mut self) {
        self.withheld.clear();
    }

    /// Keeps a message until the hard state is durable, in place of an earlier one of its kind.
    fn withhold(&mut self, message: Message) {
        let same_kind = |other: &Message| {
            other.to == message.to && mem::discriminant(&other.body) == mem::discriminant(&message.body)
        };
        match self.withheld.iter_mut().find(|other| same_kind(other)) {
            Some(earlier) => *earlier = message,
            None => self.withheld.push(message),
        }
    }
}

impl Node {
    /// The term or the vote changed: it goes into the next batch, and everything promised in this term waits for that.
    pub(crate) fn hard_state_changed(&mut self) {
        self.durability.hard_state_dirty = true;
    }

    /// Whether the present term and vote are durable.
    pub(crate) fn hard_state_is_durable(&self) -> bool {
        self.durability.hard_state_is_durable()
    }

    /// Sends a message of the present term, now or when the term and the vote are durable.
    pub(crate) fn send(&mut self, to: NodeId, body: MessageBody) {
        let message = Message { from: self.config.id, to, term: self.hard_state.term, body };
        if self.durability.hard_state_is_durable() {
            self.effects.push(Effect::Send(message));
        } else {
            self.durability.withhold(message);
        }
    }

    /// Sends a message of a trial round, which promises nothing and therefore waits for nothing.
    pub(crate) fn send_trial(&mut self, to: NodeId, term: Term, body: MessageBody) {
        self.effects.push(Effect::Send(Message { from: self.config.id, to, term, body }));
    }

    /// Whether the disk keeps up well enough for more entries to be taken.
    pub(crate) fn may_append_more(&self) -> bool {
        self.durability.unwritten_batches() < 4 * self.config.max_inflight_batches
    }

    /// Puts whatever changed since the last batch into a new one.
    pub(crate) fn hand_out_batch(&mut self) {
        let sequence = self.durability.handed_out.next();
        let hard_state = mem::take(&mut self.durability.hard_state_dirty).then_some(self.hard_state);
        let mut batch = PersistBatch {
            sequence,
            reset_after: None,
            truncate_from: None,
            entries: Vec::new(),
            hard_state,
        };
        self.log.hand_out(&mut batch);
        let changes_log =
            batch.reset_after.is_some() || batch.truncate_from.is_some() || !batch.entries.is_empty();
        if !changes_log && hard_state.is_none() {
            return;
        }
        if hard_state.is_some() {
            self.durability.hard_state_in = sequence;
        }
        self.durability.handed_out = sequence;
        self.durability.unwritten.push_back((sequence, self.log.last_index()));
        self.effects.push(Effect::Persist(batch));
    }

    /// Everything up to and including batch `sequence` is durable.
    pub(crate) fn on_persisted(&mut self, sequence: Sequence) -> Result<(), Halted> {
        if sequence > self.durability.handed_out {
            return self.broken(format!(
                "the driver says that batch {sequence} is durable, but the last one handed out was {}",
                self.durability.handed_out
            ));
        }
        let hard_state_was_durable = self.durability.hard_state_is_durable();
        self.durability.persisted = self.durability.persisted.max(sequence);
        while let Some((_, last)) =
            pop_front_if(&mut self.durability.unwritten, |(number, _)| *number <= sequence)
        {
            self.durability.log_end = last;
        }
        if !hard_state_was_durable && self.durability.hard_state_is_durable() {
            self.effects.extend(mem::take(&mut self.durability.withheld).into_iter().map(Effect::Send));
            self.own_vote_is_durable();
        }
        match self.role_state {
            RoleState::Leader(_) => self.advance_commit(),
            _ => self.acknowledge_what_is_durable(),
        }
        Ok(())
    }
}
