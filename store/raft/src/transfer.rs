//! Handing leadership over (thesis 3.10).
//!
//! The leader stops appending, waits until its target has the whole log, and tells it to campaign at once. The target's
//! request for votes is heeded although the leader lives. Three ends: the target leads; another node does, or nobody is known
//! to; or nothing has happened within an election timeout, and the leader serves again.
//!
//! Nothing but availability hangs on all this, save one thing: a target that campaigns is exempt from the promise on which
//! the leader's lease rests, so the lease ends with the beginning of a transfer (see `lease`).
//!
//! Complexity: O(members) to choose a target, O(1) per step otherwise.

use std::hash::{Hash, Hasher};

use crate::defects::Defect;
use crate::fingerprint::Clock;
use crate::membership::ChangeRefusal;
use crate::node::{Node, RoleState};
use crate::types::{Effect, MessageBody, NodeId, RefusalReason, Term, Token};

/// A transfer that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    token: Token,
    target: NodeId,
    /// In which this node leads, or led.
    term: Term,
    deadline_ms: u64,
    /// The target has been told to campaign.
    told: bool,
}

impl Transfer {
    /// See [`crate::fingerprint`].
    pub(crate) fn fingerprint(&self, clock: Clock, patience_ms: u64, hasher: &mut impl Hasher) {
        let Transfer { token, target, term, deadline_ms, told } = self;
        let given_up_ms = deadline_ms.saturating_add(patience_ms);
        (token, target, term, clock.time_until(given_up_ms), told).hash(hasher);
    }
}

impl Node {
    /// An operator wants `target` to lead.
    pub(crate) fn on_transfer(&mut self, token: Token, target: Option<NodeId>) {
        match self.target_of_transfer(target) {
            Err(reason) => self.effects.push(Effect::Refused { token, reason }),
            Ok(leader) if leader == self.config.id => {
                self.effects.push(Effect::TransferDone { token, leader });
            }
            Ok(target) => {
                let deadline_ms = self.now_ms.saturating_add(self.config.election_timeout_ms);
                let term = self.hard_state.term;
                self.transfer = Some(Transfer { token, target, term, deadline_ms, told: false });
                if let RoleState::Leader(leadership) = &mut self.role_state
                    && !self.config.defects.has(Defect::LeadershipTransferKeepsServing)
                {
                    leadership.lease.end();
                }
            }
        }
    }

    fn target_of_transfer(&self, target: Option<NodeId>) -> Result<NodeId, RefusalReason> {
        if !matches!(self.role_state, RoleState::Leader(_)) {
            return Err(RefusalReason::NotLeader { leader: self.leader });
        }
        if let Some(transfer) = &self.transfer {
            return Err(RefusalReason::Transferring { to: transfer.target });
        }
        let target = target.or_else(|| self.best_successor());
        let target = target.ok_or(RefusalReason::ChangeRefused(ChangeRefusal::NoVoterLeft))?;
        if self.membership().voters.binary_search(&target).is_err() {
            return Err(RefusalReason::ChangeRefused(ChangeRefusal::NotAVoter { id: target }));
        }
        Ok(target)
    }

    /// The other voter that has most of the log, of those that answer.
    fn best_successor(&self) -> Option<NodeId> {
        let RoleState::Leader(leadership) = &self.role_state else { return None };
        let others = self.membership().voters.iter().filter(|id| **id != self.config.id);
        let answers = others.filter_map(|id| {
            let progress = leadership.progress_of(*id)?;
            let silent_ms = self.now_ms - progress.heard_ms;
            (silent_ms < self.config.election_timeout_ms).then_some((progress.matched, *id))
        });
        answers.max_by_key(|(matched, id)| (*matched, std::cmp::Reverse(*id))).map(|(_, id)| id)
    }

    /// To whom leadership is being handed over, if it is: nothing is appended meanwhile.
    pub(crate) fn hands_over_to(&self) -> Option<NodeId> {
        if self.config.defects.has(Defect::LeadershipTransferKeepsServing) {
            return None;
        }
        let transfer = self.transfer.as_ref().filter(|transfer| transfer.term == self.hard_state.term);
        transfer.map(|transfer| transfer.target)
    }

    /// Tells the target once it has everything; ends the transfer when it is decided.
    pub(crate) fn continue_transfer(&mut self) {
        let Some(transfer) = &self.transfer else { return };
        let is_later = self.hard_state.term > transfer.term;
        let patience_ms = self.patience_with_successor_ms();
        match (&self.role_state, self.leader) {
            (_, Some(leader)) if is_later => self.end_transfer(leader),
            (RoleState::Leader(leadership), _) if self.now_ms < transfer.deadline_ms => {
                let target = transfer.target;
                let has_all = leadership
                    .progress_of(target)
                    .is_some_and(|progress| progress.matched == self.log.last_index());
                if has_all && !transfer.told {
                    self.transfer.iter_mut().for_each(|transfer| transfer.told = true);
                    self.send(target, MessageBody::TimeoutNow);
                }
            }
            (RoleState::Leader(_), _) => self.give_transfer_up(RefusalReason::TransferGivenUp),
            // An election is on its way; whoever wins it will be heard of, or nobody ever will.
            _ if self.now_ms < transfer.deadline_ms.saturating_add(patience_ms) => {}
            _ => self.give_transfer_up(RefusalReason::LeadershipLost),
        }
    }

    /// How long after its deadline a transfer may still succeed, if this node does not lead any more.
    pub(crate) fn patience_with_successor_ms(&self) -> u64 {
        2 * self.config.election_timeout_ms
    }

    fn end_transfer(&mut self, leader: NodeId) {
        match self.transfer.take() {
            Some(Transfer { token, target, .. }) if target == leader => {
                self.effects.push(Effect::TransferDone { token, leader });
            }
            Some(Transfer { token, .. }) => {
                self.effects.push(Effect::Refused { token, reason: RefusalReason::LeadershipLost });
            }
            None => {}
        }
    }

    fn give_transfer_up(&mut self, reason: RefusalReason) {
        if let Some(Transfer { token, .. }) = self.transfer.take() {
            self.effects.push(Effect::Refused { token, reason });
        }
    }

    /// The leader wants this node to take over.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId) {
        let may_campaign = self.membership().is_voter(self.config.id) && self.hard_state_is_durable();
        if self.leader == Some(from) && may_campaign {
            self.reset_election_deadline();
            self.become_candidate(true);
        }
    }

    /// A leader that is a voter no more goes: whoever can take over is told at once, so that nobody waits for a timeout.
    pub(crate) fn retire(&mut self) {
        if let Some(successor) = self.best_successor() {
            self.send(successor, MessageBody::TimeoutNow);
        }
        self.become_follower(self.hard_state.term, None);
    }
}
