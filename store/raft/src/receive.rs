//! A message arrives: whether it makes sense, what its term says, and whom it concerns.
//!
//! Complexity: O(entries of the message), plus what its own rules cost.

use crate::defects::Defect;
use crate::follower::Previous;
use crate::install::Chunk;
use crate::membership::Membership;
use crate::node::{Halted, INDEX_LIMIT, Node};
use crate::types::{AppendRejection, Entry, LogIndex, Message, MessageBody, NodeId, Payload, Term, Wanted};

/// Terms from here on are taken for nonsense: no cluster gets there, and adding to them must never overflow.
const TERM_LIMIT: Term = Term(1 << 62);

impl Node {
    /// A message arrived: the rules about terms that all messages share, then the message's own (paper 5.1).
    pub(crate) fn on_message(&mut self, message: Message) -> Result<(), Halted> {
        if !self.makes_sense(&message) {
            return Ok(());
        }
        let Message { from, term, body, .. } = message;
        match body {
            MessageBody::Removed => {
                self.on_removed();
                return Ok(());
            }
            MessageBody::PreVote { .. } | MessageBody::Vote { .. } if self.tells_removed(from) => {
                return Ok(());
            }
            MessageBody::PreVote { last_index, last_term } => {
                self.on_pre_vote(from, term, last_index, last_term);
                return Ok(());
            }
            MessageBody::PreVoteReply { granted: true } => {
                self.on_pre_vote_granted(from, term);
                return Ok(());
            }
            MessageBody::Vote { is_transfer, .. } if self.disregards_vote(from, term, is_transfer) => {
                return Ok(());
            }
            _ => {}
        }
        if term > self.hard_state.term {
            self.later_term(term);
        }
        let counts_stale_vote = matches!(body, MessageBody::VoteReply { granted: true })
            && self.config.defects.has(Defect::StaleVoteCounted);
        if term < self.hard_state.term && !counts_stale_vote {
            self.answer_outdated(from, &body);
            return Ok(());
        }
        match body {
            MessageBody::Vote { last_index, last_term, .. } => self.on_vote(from, last_index, last_term),
            MessageBody::TimeoutNow => self.on_timeout_now(from),
            MessageBody::ReadIndex { incarnation, request } => self.on_read_index(from, incarnation, request),
            MessageBody::ReadIndexReply { incarnation, request, index } => {
                self.on_read_index_reply(incarnation, request, index);
            }
            MessageBody::VoteReply { granted: true } => self.on_vote_granted(from),
            MessageBody::VoteReply { granted: false } => self.on_vote_refused(),
            MessageBody::Append { prev_index, prev_term, entries, commit, round } => {
                let previous = Previous { index: prev_index, term: prev_term };
                return self.on_append(from, previous, entries, commit, round);
            }
            MessageBody::AppendReply { round, outcome } => return self.on_append_reply(from, round, outcome),
            MessageBody::InstallSnapshot { snapshot, offset, data, round } => {
                return self.on_install_snapshot(from, Chunk { snapshot, offset, data }, round);
            }
            MessageBody::SnapshotReply { round, index, wanted } => {
                self.on_snapshot_reply(from, round, index, wanted);
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets the sender of a request of an old term know that it is old. The answer is of the present term, which the sender
    /// may come to lead; so it must not carry the old leadership's round, which would confirm the new one's of that number.
    fn answer_outdated(&mut self, from: NodeId, body: &MessageBody) {
        match body {
            MessageBody::Vote { .. } => self.send(from, MessageBody::VoteReply { granted: false }),
            MessageBody::Append { prev_index, .. } => {
                let rejection =
                    AppendRejection { rejected: *prev_index, hint_index: LogIndex(0), hint_term: Term(0) };
                self.send(from, MessageBody::AppendReply { round: 0, outcome: Err(rejection) });
            }
            MessageBody::InstallSnapshot { snapshot, .. } => {
                let (index, wanted) = (snapshot.index(), Wanted::Nothing);
                self.send(from, MessageBody::SnapshotReply { round: 0, index, wanted });
            }
            _ => {}
        }
    }

    /// Whether a message can have come from a node of this cluster; anything else is ignored. The sender need not be a
    /// member as far as this node knows: it may be one by a configuration that has not arrived here (thesis 4.2.2). Votes
    /// and acknowledgements count for members only.
    fn makes_sense(&self, message: &Message) -> bool {
        let is_another = message.from != self.config.id && message.from.0 != 0;
        if !is_another || message.to != self.config.id || message.term >= TERM_LIMIT {
            return false;
        }
        match &message.body {
            MessageBody::Append { prev_index, prev_term, entries, .. } => {
                let mut before = (*prev_index, *prev_term);
                let follows = |entry: &Entry| {
                    let fits = entry.index == before.0.next() && entry.term >= before.1;
                    before = (entry.index, entry.term);
                    fits
                };
                *prev_index < INDEX_LIMIT
                    && *prev_term <= message.term
                    && entries.iter().all(follows)
                    && entries.iter().all(holds_sense)
                    && entries.last().is_none_or(|entry| entry.term <= message.term)
            }
            MessageBody::AppendReply { outcome: Err(rejection), .. } => {
                rejection.rejected < INDEX_LIMIT && rejection.hint_index < INDEX_LIMIT
            }
            MessageBody::AppendReply { outcome: Ok(matched), .. } => *matched < INDEX_LIMIT,
            MessageBody::InstallSnapshot { snapshot, offset, data, .. } => {
                let is_old = snapshot.index() < INDEX_LIMIT && snapshot.term() <= message.term;
                is_old
                    && Chunk::makes_sense(snapshot, *offset, data)
                    && is_configuration(&snapshot.point.membership)
            }
            MessageBody::ReadIndexReply { index, .. } => *index < INDEX_LIMIT,
            _ => true,
        }
    }
}

/// Whether an entry's payload is one that a leader can have appended.
fn holds_sense(entry: &Entry) -> bool {
    match &entry.payload {
        Payload::Membership(membership) => is_configuration(membership),
        Payload::Noop | Payload::Command(_) => true,
    }
}

/// Whether it is one that a cluster can have.
fn is_configuration(membership: &Membership) -> bool {
    !membership.is_empty() && membership.check().is_ok()
}
