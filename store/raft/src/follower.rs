//! The follower's side of the log: checking an append, taking its entries, acknowledging what is durable.
//!
//! Paper, Figure 2 (AppendEntries RPC, receiver implementation).
//!
//! An acknowledgement is never a message that waits: it is computed from two numbers, how far the log agrees with the
//! leader's and how far it is durable, whenever one of them has moved. So a slow disk delays acknowledgements but neither
//! heartbeats' answers nor memory's bound.
//!
//! Complexity: O(entries of the message) per append, O(log length) per rejection.

use crate::defects::Defect;
use crate::node::{Halted, Node, RoleState};
use crate::types::{AppendRejection, Entry, LogIndex, MessageBody, NodeId, Term};

/// What this node has accepted from the leader of its term.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Acceptance {
    /// The log agrees with the leader's up to here.
    matched: LogIndex,
    /// The last index acknowledged.
    acknowledged: LogIndex,
    /// The newest round that the leader announced.
    round: u64,
}

/// The place in the leader's log to which an append attaches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Previous {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
}

impl Node {
    /// An append of the present term arrived.
    pub(crate) fn on_append(
        &mut self,
        from: NodeId,
        previous: Previous,
        entries: Vec<Entry>,
        leader_commit: LogIndex,
        round: u64,
    ) -> Result<(), Halted> {
        self.recognise_leader(from)?;
        self.note_round(round);
        let (previous, entries) = self.without_compacted(previous, entries);
        let trusts = entries.is_empty() && self.config.defects.has(Defect::HeartbeatSkipsPrevCheck);
        if self.log.term_at(previous.index) != Some(previous.term) && !trusts {
            self.reject_append(from, previous, round);
            return Ok(());
        }
        let last_vouched_for = LogIndex(previous.index.0 + entries.len() as u64);
        let is_heartbeat = entries.is_empty();
        if !self.take_entries(entries)? {
            return Ok(());
        }
        self.acceptance.matched = self.acceptance.matched.max(last_vouched_for);
        let limit = if self.config.defects.has(Defect::CommitIndexNotMin) {
            self.log.last_index()
        } else {
            last_vouched_for
        };
        self.commit = self.commit.max(leader_commit.min(limit));
        self.settle_membership();
        if is_heartbeat || self.acknowledgeable_end() >= last_vouched_for {
            self.acknowledge(from);
        }
        Ok(())
    }

    /// `from` leads the present term.
    pub(crate) fn recognise_leader(&mut self, from: NodeId) -> Result<(), Halted> {
        if self.leader.is_some_and(|leader| leader != from) {
            let term = self.hard_state.term;
            let known = self.leader.unwrap_or_default();
            self.broken(format!("term {term} has two leaders, node {known} and node {from}"))?;
        }
        if self.leader != Some(from) || !matches!(self.role_state, RoleState::Follower) {
            self.become_follower(self.hard_state.term, Some(from));
        }
        self.leader_heard_ms = Some(self.now_ms);
        self.found_a_leader();
        self.was_removed = false; // Whoever is told so again, is so for good.
        self.reset_election_deadline();
        Ok(())
    }

    /// The leader announced this round.
    pub(crate) fn note_round(&mut self, round: u64) {
        self.acceptance.round = self.acceptance.round.max(round);
    }

    /// The newest round that the leader announced.
    pub(crate) fn acknowledged_round(&self) -> u64 {
        self.acceptance.round
    }

    /// Drops from an append what this log has compacted: that was committed, hence agrees.
    fn without_compacted(&self, previous: Previous, mut entries: Vec<Entry>) -> (Previous, Vec<Entry>) {
        let base = self.log.base_index();
        if previous.index >= base {
            return (previous, entries);
        }
        let covered = ((base.0 - previous.index.0) as usize).min(entries.len());
        let term = self.log.term_at(base).unwrap_or_default();
        entries.drain(..covered);
        (Previous { index: base, term }, entries)
    }

    /// Drops what conflicts with `entries` and appends what is missing (Figure 2, receiver's steps 3 and 4). False: the
    /// disk is so far behind that the message is treated as lost.
    fn take_entries(&mut self, mut entries: Vec<Entry>) -> Result<bool, Halted> {
        let cuts = self.config.defects.has(Defect::TruncateCommitted);
        let is_new = |entry: &Entry| cuts || self.log.term_at(entry.index) != Some(entry.term);
        let Some(position) = entries.iter().position(is_new) else { return Ok(true) };
        if !self.may_append_more() {
            return Ok(false);
        }
        let first_new = entries[position].index;
        if first_new <= self.log.last_index() {
            self.truncate_from(first_new)?;
        }
        self.configurations.appended(&entries[position..]);
        self.log.extend(entries.drain(position..));
        self.settle_membership();
        Ok(true)
    }

    fn truncate_from(&mut self, from: LogIndex) -> Result<(), Halted> {
        if from <= self.commit {
            self.broken(format!(
                "entry {from} conflicts with the leader's log but was committed ({})",
                self.commit
            ))?;
        }
        self.log.truncate_from(from);
        self.configurations.truncated_from(from);
        self.durability.truncated_from(from);
        self.acceptance.matched = self.acceptance.matched.min(LogIndex(from.0 - 1));
        Ok(())
    }

    /// Tells the leader where the logs may agree.
    fn reject_append(&mut self, leader: NodeId, previous: Previous, round: u64) {
        let below = previous.index.min(self.log.last_index());
        let hint_index = self.log.last_at_or_below(below, previous.term);
        let hint_term = self.log.term_at(hint_index).unwrap_or_default();
        let rejection = AppendRejection { rejected: previous.index, hint_index, hint_term };
        self.send(leader, MessageBody::AppendReply { round, outcome: Err(rejection) });
    }

    /// How far this node may say that it has the log.
    fn acknowledgeable_end(&self) -> LogIndex {
        if self.config.defects.has(Defect::FollowerAcksBeforeFsync) {
            return self.log.last_index();
        }
        self.durable_end()
    }

    /// Everything committed agrees with the log of any leader (leader completeness): tells the present one so.
    pub(crate) fn acknowledge_what_is_committed(&mut self) {
        let Some(leader) = self.leader.filter(|leader| *leader != self.config.id) else { return };
        self.acceptance.matched = self.acceptance.matched.max(self.commit);
        self.acknowledge(leader);
    }

    /// Tells the leader how far the logs agree, durably here.
    fn acknowledge(&mut self, leader: NodeId) {
        let matched = self.acceptance.matched.min(self.acknowledgeable_end());
        self.acceptance.acknowledged = matched;
        let round = self.acceptance.round;
        self.send(leader, MessageBody::AppendReply { round, outcome: Ok(matched) });
    }

    /// The disk has caught up: acknowledges what was not before.
    pub(crate) fn acknowledge_what_is_durable(&mut self) {
        let Some(leader) = self.leader else { return };
        if self.acceptance.matched.min(self.acknowledgeable_end()) > self.acceptance.acknowledged {
            self.acknowledge(leader);
        }
    }

    /// Another term or leader: nothing is known of how the logs compare.
    pub(crate) fn forget_acceptance(&mut self) {
        self.acceptance = Acceptance::default();
    }
}
