//! How a leader changes the membership (thesis, chapter 4).
//!
//! Rules, each at its place below: one change at a time; only after an entry of the leader's own term has committed (Ongaro,
//! raft-dev, 2015: otherwise the configurations of two leaders in a row may have majorities that do not meet); a learner gets
//! a vote only when it has everything that is committed (thesis 4.2.1); a joint configuration is left by whoever leads when
//! it is committed (thesis 4.3); a leader that is no voter any more leads until that is committed, without counting itself,
//! and then steps down (thesis 4.2.2).
//!
//! Complexity: O(members) per change, O(1) per step otherwise.

use crate::defects::Defect;
use crate::membership::{Change, ChangeRefusal, Membership};
use crate::node::{Node, PendingProposal, RoleState};
use crate::replication::Leadership;
use crate::types::{Effect, LogIndex, NodeId, Payload, RefusalReason, Token};

impl Node {
    /// An operator wants `change`.
    pub(crate) fn on_change(&mut self, token: Token, change: &Change) {
        let next = match self.next_membership(change) {
            Ok(next) => next,
            Err(reason) => return self.effects.push(Effect::Refused { token, reason }),
        };
        let is_joint = next.is_joint();
        let index = self.append_membership(next);
        match &mut self.role_state {
            RoleState::Leader(leadership) if is_joint => leadership.joint_token = Some(token),
            _ => {
                let term = self.hard_state.term;
                self.pending.push_back(PendingProposal { index, term, token });
            }
        }
    }

    /// The configuration that `change` leads to, if that may be now.
    fn next_membership(&self, change: &Change) -> Result<Membership, RefusalReason> {
        let RoleState::Leader(leadership) = &self.role_state else {
            return Err(RefusalReason::NotLeader { leader: self.leader });
        };
        if self.is_overloaded() {
            return Err(RefusalReason::Overloaded);
        }
        if let Some(to) = self.hands_over_to() {
            return Err(RefusalReason::Transferring { to });
        }
        let defects = self.config.defects;
        let in_progress = self.membership().is_joint() || self.configurations.newest_index() > self.commit;
        if in_progress && !defects.has(Defect::MembershipTwoAtOnce) {
            return Err(RefusalReason::ChangeRefused(ChangeRefusal::InProgress));
        }
        if self.commit < leadership.first_index && !defects.has(Defect::MembershipNoNoop) {
            return Err(RefusalReason::ChangeRefused(ChangeRefusal::TermNotEstablished));
        }
        let next = self.membership().changed(change, defects.has(Defect::ReaddedNodeSameId));
        let next = next.map_err(RefusalReason::ChangeRefused)?;
        for id in &next.voters {
            if !self.membership().is_voter(*id) {
                self.has_caught_up(leadership, *id).map_err(RefusalReason::ChangeRefused)?;
            }
        }
        Ok(next)
    }

    /// Whether learner `id` answers and has everything that is committed.
    fn has_caught_up(&self, leadership: &Leadership, id: NodeId) -> Result<(), ChangeRefusal> {
        let progress = leadership.progress_of(id);
        let is_current = |matched| matched >= self.commit;
        let answers = |heard_ms| self.now_ms - heard_ms < self.config.election_timeout_ms;
        if progress.is_some_and(|progress| is_current(progress.matched) && answers(progress.heard_ms)) {
            return Ok(());
        }
        let matched = progress.map_or(LogIndex(0), |progress| progress.matched);
        Err(ChangeRefusal::Lags { id, matched, commit: self.commit })
    }

    /// Appends a configuration, which is in force at once.
    pub(crate) fn append_membership(&mut self, membership: Membership) -> LogIndex {
        let index = self.log.append(self.hard_state.term, Payload::Membership(Box::new(membership)));
        self.configurations.appended(self.log.get(index));
        self.settle_membership();
        index
    }

    /// The log or the commit index has changed: puts the right configuration in force. O(1) if it is.
    pub(crate) fn settle_membership(&mut self) {
        let before = self.configurations.version();
        let at_commit = self.config.defects.has(Defect::MembershipAppliedAtCommit);
        self.configurations.settle(if at_commit { self.commit } else { LogIndex(u64::MAX) });
        if self.configurations.version() == before {
            return;
        }
        self.follow_members();
    }

    /// The leader follows whoever is a member now.
    pub(crate) fn follow_members(&mut self) {
        let until_ms = self.goodbye_until_ms();
        let RoleState::Leader(leadership) = &mut self.role_state else { return };
        let mut members = self.configurations.current().members();
        members.retain(|id| *id != self.config.id);
        let next = self.log.last_index().next();
        let index = self.configurations.current_index();
        leadership.follow(&members, index, next, (self.now_ms, until_ms));
    }

    /// Does what follows by itself from a configuration that is committed.
    pub(crate) fn continue_change(&mut self) {
        let RoleState::Leader(leadership) = &self.role_state else { return };
        let is_committed = self.configurations.newest_index() <= self.commit;
        if !is_committed || self.commit < leadership.first_index {
            return;
        }
        if self.membership().is_joint() {
            self.leave_joint();
        } else if !self.membership().is_voter(self.config.id) {
            self.retire();
        }
    }

    /// Appends the configuration after the joint one, with which the change ends.
    fn leave_joint(&mut self) {
        let entered_in = self.log.term_at(self.configurations.current_index());
        let is_own = entered_in == Some(self.hard_state.term);
        if self.config.defects.has(Defect::JointExitLost) && !is_own {
            return;
        }
        let index = self.append_membership(self.membership().after_joint());
        let term = self.hard_state.term;
        let RoleState::Leader(leadership) = &mut self.role_state else { return };
        if let Some(token) = leadership.joint_token.take() {
            self.pending.push_back(PendingProposal { index, term, token });
        }
    }

    /// Leadership is lost between entering and leaving: the next leader may leave the joint configuration, or drop it.
    pub(crate) fn refuse_joint_change(&mut self, old: &Leadership) {
        if let Some(token) = old.joint_token {
            self.effects.push(Effect::Refused { token, reason: RefusalReason::LeadershipLost });
        }
    }
}
