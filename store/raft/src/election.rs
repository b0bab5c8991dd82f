//! Elections: timeouts, the trial round, votes, and every change of role.
//!
//! Paper 5.2 and 5.4.1; pre-vote, thesis 9.6; disregarding requests while a leader lives, thesis 4.2.3; check-quorum, thesis
//! 6.2. Priorities are handicaps: a node that should lead only if no other can waits longer before it campaigns.
//!
//! Complexity: O(n) per message, n the number of members.

use std::mem;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::defects::Defect;
use crate::membership::Membership;
use crate::node::{Node, RoleState};
use crate::replication::Leadership;
use crate::types::{Effect, HardState, LogIndex, MessageBody, NodeId, Term};

/// With the defect `unclean-election`: after so many fruitless campaigns a node leads all the same.
const PATIENT_CAMPAIGNS: u32 = 3;
/// So many fruitless campaigns in a row are repeated soon: rivals are what most likely stood in the way.
const QUICK_CAMPAIGNS: u32 = 3;
/// Luck is drawn in parts of this.
const MILLION: u32 = 1_000_000;
/// Of the generator; numbers of different blocks are independent.
const WORDS_PER_BLOCK: u128 = 16;

impl Node {
    /// Time has passed.
    pub(crate) fn on_tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if matches!(self.role_state, RoleState::Leader(_)) && self.leader.is_none() {
            self.become_follower(self.hard_state.term, None); // Only `heartbeat-term-race` gets here.
        } else if matches!(self.role_state, RoleState::Leader(_)) {
            self.check_quorum();
        } else if self.now_ms >= self.election_deadline_ms {
            self.campaign();
        }
    }

    /// A leader that a majority has not answered for an election timeout of its own clock may long have been replaced.
    fn check_quorum(&mut self) {
        let silent_ms = self.now_ms - self.majority_heard_ms();
        let checks = self.config.check_quorum && !self.config.defects.has(Defect::NoCheckQuorum);
        if checks && silent_ms >= self.config.election_timeout_ms {
            self.become_follower(self.hard_state.term, None);
        }
    }

    /// The election timeout has passed without a leader or a granted vote.
    fn campaign(&mut self) {
        let has_no_vote = self.was_removed || !self.may_be_needed_as_leader();
        if has_no_vote && !self.config.defects.has(Defect::RemovedNodeDisrupts) {
            // A learner, one that was removed, or one that does not know its cluster yet: it only knows no leader any more.
            self.reset_election_deadline();
            return self.become_follower(self.hard_state.term, None);
        }
        if !self.durability.hard_state_is_durable() {
            // A node whose disk is stuck could not vote for itself; it would only fill its queue with terms.
            return self.reset_election_deadline();
        }
        self.fruitless_campaigns += 1;
        self.draw_luck();
        self.reset_election_deadline();
        if self.config.defects.has(Defect::UncleanElection) && self.fruitless_campaigns > PATIENT_CAMPAIGNS {
            return self.promote_itself();
        }
        let tries_first = self.config.pre_vote && !self.config.defects.has(Defect::NoPrevoteLivelock);
        if tries_first { self.become_pre_candidate() } else { self.become_candidate(false) }
    }

    /// Whether this node has a vote; or had one before the configuration that is in its log, but not known to be committed:
    /// it may be the only one with that entry, which nobody else can then commit (thesis 4.2.2).
    fn may_be_needed_as_leader(&self) -> bool {
        let id = self.config.id;
        self.membership().is_voter(id) || self.configurations.at(self.commit).is_voter(id)
    }

    /// A defect: leads without having been elected, of a cluster of its own.
    fn promote_itself(&mut self) {
        self.become_candidate(false);
        self.become_leader();
        let alone =
            Membership { last_id: self.membership().last_id, ..Membership::of_voters([self.config.id]) };
        self.append_membership(alone);
    }

    /// Asks whether an election would be won, in the present term.
    fn become_pre_candidate(&mut self) {
        self.leader = None;
        self.retry_soon();
        let own = self.membership().is_voter(self.config.id).then_some(self.config.id);
        let granted_by = own.into_iter().collect();
        self.role_state = RoleState::PreCandidate { granted_by };
        let (last_index, last_term) = (self.log.last_index(), self.log.last_term());
        for to in self.other_voters() {
            self.send_trial(to, self.hard_state.term.next(), MessageBody::PreVote { last_index, last_term });
        }
        self.campaign_if_trial_is_won();
    }

    /// Asks for votes in a new term. The requests leave, and the own vote counts, when both are durable.
    pub(crate) fn become_candidate(&mut self, is_transfer: bool) {
        self.leader = None;
        self.forget_acceptance();
        self.set_hard_state(HardState { term: self.hard_state.term.next(), voted_for: Some(self.config.id) });
        self.role_state = RoleState::Candidate { granted_by: Vec::new() };
        self.reset_election_deadline();
        let (last_index, last_term) = (self.log.last_index(), self.log.last_term());
        for to in self.other_voters() {
            self.send(to, MessageBody::Vote { last_index, last_term, is_transfer });
        }
        if self.durability.hard_state_is_durable() {
            self.own_vote_is_durable();
        }
    }

    /// Leads the present term.
    fn become_leader(&mut self) {
        let first_index = self.log.last_index().next();
        // Whom the leader before has removed may not know it yet.
        let known = self.configurations.present_and_former_members();
        let others = known.into_iter().filter(|id| *id != self.config.id);
        let leadership = Leadership::new(others, first_index, self.now_ms);
        self.role_state = RoleState::Leader(leadership);
        self.follow_members();
        self.leader = Some(self.config.id);
        self.found_a_leader();
        self.open_term(self.hard_state.term);
    }

    /// Follows in `term`, which is the present one or a later one.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.hard_state.term {
            self.set_hard_state(HardState { term, voted_for: None });
        }
        self.forget_acceptance();
        self.leader = leader;
        if let RoleState::Leader(old) = mem::replace(&mut self.role_state, RoleState::Follower) {
            self.refuse_uncommitted_proposals();
            self.refuse_joint_change(&old);
            self.refuse_reads();
            self.reset_election_deadline();
        }
    }

    /// Replaces term and vote.
    fn set_hard_state(&mut self, hard_state: HardState) {
        if hard_state.term > self.hard_state.term {
            self.durability.forget_withheld();
        }
        self.hard_state = hard_state;
        self.hard_state_changed();
        self.draw_luck();
    }

    /// Draws how lucky this node is with its waiting times until the next draw.
    ///
    /// It is a function of the seed, the node, the term and the number of fruitless campaigns, and not the next number of a
    /// generator: what a node will do is all in its state, of which how often it was reset is no part.
    pub(crate) fn draw_luck(&mut self) {
        let node = self.config.id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed ^ node);
        rng.set_stream(self.hard_state.term.0);
        rng.set_word_pos(u128::from(self.fruitless_campaigns) * WORDS_PER_BLOCK);
        self.luck_ppm = rng.random_range(0..MILLION);
    }

    /// A random part of `range_ms`, as drawn.
    fn random_part_of(&self, range_ms: u64) -> u64 {
        (u128::from(range_ms) * u128::from(self.luck_ppm) / u128::from(MILLION)) as u64
    }

    /// Whatever made campaigns fruitless is over.
    pub(crate) fn found_a_leader(&mut self) {
        if mem::take(&mut self.fruitless_campaigns) > 0 {
            self.draw_luck();
        }
    }

    /// Waits for a leader, again: an election timeout, a random part of a quarter of it, and the handicap. The part is of twice
    /// as much after each campaign that did not find a leader, up to a whole timeout, as in the paper.
    ///
    /// Nothing but time hangs on the upper bound. The lower one is what leases and check-quorum count on (see `lease`).
    pub(crate) fn reset_election_deadline(&mut self) {
        let timeout_ms = self.config.election_timeout_ms;
        let doubled = 1_u64.checked_shl(self.fruitless_campaigns).unwrap_or(u64::MAX);
        let spread_ms = (timeout_ms / 4).saturating_mul(doubled).clamp(1, timeout_ms);
        let handicap_ms = timeout_ms.saturating_mul(self.config.election_handicap);
        let wait_ms = timeout_ms.saturating_add(self.random_part_of(spread_ms)).saturating_add(handicap_ms);
        self.election_deadline_ms = self.now_ms.saturating_add(wait_ms);
    }

    /// Waits only as long as a campaign should take: half a heartbeat interval to a whole one. After some fruitless ones it is not rivals
    /// that stand in the way, and this node waits like everybody else. Never later than it would have campaigned anyway.
    fn retry_soon(&mut self) {
        if !self.config.pre_vote || self.fruitless_campaigns > QUICK_CAMPAIGNS {
            return;
        }
        let interval_ms = self.config.heartbeat_interval_ms;
        let least_ms = interval_ms.div_ceil(2);
        let wait_ms = least_ms + self.random_part_of(least_ms);
        let soon_ms = self.now_ms.saturating_add(wait_ms);
        self.election_deadline_ms = self.election_deadline_ms.min(soon_ms);
    }

    /// Whether this node leads or has heard from a leader within the least election timeout.
    pub(crate) fn has_live_leader(&self) -> bool {
        let heard_lately = |heard_ms: u64| self.now_ms - heard_ms < self.config.election_timeout_ms;
        let is_leader = matches!(self.role_state, RoleState::Leader(_));
        is_leader || self.leader_heard_ms.is_some_and(heard_lately)
    }

    /// Whether a request for a vote is not even looked at. Within the least election timeout of hearing from a leader requests
    /// are disregarded (thesis 4.2.3), so that nobody who cannot hear it, or was removed, takes its followers away, and so
    /// that it can have a lease; unless the leader itself has asked the candidate to take over.
    pub(crate) fn disregards_vote(&self, from: NodeId, term: Term, is_transfer: bool) -> bool {
        let is_news = term > self.hard_state.term
            || (term == self.hard_state.term && self.hard_state.voted_for.is_none());
        let heeds_strangers = self.config.defects.has(Defect::RemovedNodeDisrupts);
        let is_heeded = is_transfer || (heeds_strangers && !self.membership().contains(from));
        is_news && !is_heeded && self.config.check_quorum && self.has_live_leader()
    }

    /// Somebody is in a later term: so is this node now, and leads no more.
    pub(crate) fn later_term(&mut self, term: Term) {
        let is_leader = matches!(self.role_state, RoleState::Leader(_));
        if is_leader && self.config.defects.has(Defect::HeartbeatTermRace) {
            // The part that appends goes on until the next tick, in a term that it has not been elected for.
            self.set_hard_state(HardState { term, voted_for: None });
            self.leader = None;
            return;
        }
        self.become_follower(term, None);
    }

    /// Whether a candidate's log is at least as up to date as this one (paper 5.4.1).
    fn is_up_to_date(&self, last_index: LogIndex, last_term: Term) -> bool {
        if self.config.defects.has(Defect::ElectionNoLogCheck) {
            return true;
        }
        if self.config.defects.has(Defect::ElectionCompareLengthOnly) {
            return last_index >= self.log.last_index();
        }
        (last_term, last_index) >= (self.log.last_term(), self.log.last_index())
    }

    /// Tells a candidate that it was removed, if it was by a configuration that is committed: no later one has it again, because
    /// ids are never used twice, and nobody needs its vote or its log (see `may_be_needed_as_leader`). Whether it was; then its
    /// request is not looked at any further.
    ///
    /// With trial rounds and check-quorum a removed node does no harm (thesis 4.2.3), but it would ask for ever. It may have been
    /// cut off while it was removed, and the leader does not try for ever to tell it.
    pub(crate) fn tells_removed(&mut self, from: NodeId) -> bool {
        let committed = self.configurations.at(self.commit);
        let is_removed = !committed.is_empty() && from <= committed.last_id && !committed.contains(from);
        if !is_removed || self.config.defects.has(Defect::RemovedNodeDisrupts) {
            return false;
        }
        self.send(from, MessageBody::Removed);
        true
    }

    /// This node is a member no more, says one that knows.
    pub(crate) fn on_removed(&mut self) {
        if matches!(self.role_state, RoleState::Leader(_)) || mem::replace(&mut self.was_removed, true) {
            return;
        }
        self.become_follower(self.hard_state.term, None);
        self.effects.push(Effect::RemovedFromCluster);
    }

    /// `from` asks whether it would be elected in `term`.
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, term: Term, last_index: LogIndex, last_term: Term) {
        let is_later = term > self.hard_state.term;
        let may_vote = is_later && !self.membership().is_empty() && !self.has_live_leader();
        let granted = may_vote && self.is_up_to_date(last_index, last_term);
        if granted && self.gives_way_to(from, last_index, last_term) {
            self.become_follower(self.hard_state.term, None);
            self.retry_soon();
        }
        // A grant names the term that it is for; a refusal names this node's, so that a candidate left behind catches up.
        let reply_term = if granted { term } else { self.hard_state.term };
        self.send_trial(from, reply_term, MessageBody::PreVoteReply { granted });
    }

    /// Whether this node tries to be elected as well, and `rival`, who would get its vote, comes first: by its log, or by its id
    /// if the logs are alike.
    ///
    /// Two candidates would take each other's votes away, and all would have to wait once more. One of two that only try
    /// withdraws, as soon as it hears of the other; the other hears of it as well and goes on. (The paper's authors had rivals
    /// of a lower rank give way too, and gave it up: section 5.2, last paragraph. There a node refused others its vote. Here
    /// nobody refuses anything, and one that withdrew in vain tries again soon.)
    fn gives_way_to(&self, rival: NodeId, last_index: LogIndex, last_term: Term) -> bool {
        let own = (self.log.last_term(), self.log.last_index(), self.config.id);
        matches!(self.role_state, RoleState::PreCandidate { .. }) && (last_term, last_index, rival) > own
    }

    /// `from` would vote for this node in `term`.
    pub(crate) fn on_pre_vote_granted(&mut self, from: NodeId, term: Term) {
        let expected = self.hard_state.term.next();
        let has_vote = self.membership().is_voter(from);
        let RoleState::PreCandidate { granted_by } = &mut self.role_state else { return };
        if term == expected && has_vote && !granted_by.contains(&from) {
            granted_by.push(from);
            self.campaign_if_trial_is_won();
        }
    }

    fn campaign_if_trial_is_won(&mut self) {
        let RoleState::PreCandidate { granted_by } = &self.role_state else { return };
        if self.quorum().agrees(|id| granted_by.contains(&id)) {
            self.become_candidate(false);
        }
    }

    /// `from` asks for a vote in the present term.
    pub(crate) fn on_vote(&mut self, from: NodeId, last_index: LogIndex, last_term: Term) {
        let is_free = self.hard_state.voted_for.is_none_or(|candidate| candidate == from);
        // Who knows no configuration has no vote in any; its disk may have been emptied, and with it the vote that it gave.
        let may_vote = is_free && !self.membership().is_empty();
        let granted = may_vote && self.is_up_to_date(last_index, last_term);
        if granted {
            if self.hard_state.voted_for.is_none() {
                self.set_hard_state(HardState { voted_for: Some(from), ..self.hard_state });
            }
            if matches!(self.role_state, RoleState::PreCandidate { .. }) {
                self.become_follower(self.hard_state.term, None);
            }
            self.reset_election_deadline();
        }
        self.send(from, MessageBody::VoteReply { granted });
    }

    /// `from` voted for this node in the present term.
    pub(crate) fn on_vote_granted(&mut self, from: NodeId) {
        let has_vote = self.membership().is_voter(from);
        let RoleState::Candidate { granted_by } = &mut self.role_state else { return };
        if has_vote && !granted_by.contains(&from) {
            granted_by.push(from);
        }
        let RoleState::Candidate { granted_by } = &self.role_state else { return };
        if self.quorum().agrees(|id| granted_by.contains(&id)) {
            self.become_leader();
        }
    }

    /// `from` has voted for another node in the present term, or its log is ahead: this campaign may be lost.
    pub(crate) fn on_vote_refused(&mut self) {
        if matches!(self.role_state, RoleState::Candidate { .. }) {
            self.retry_soon();
        }
    }

    /// The term and this node's vote in it are on disk: if the vote was for itself, it counts from now on.
    pub(crate) fn own_vote_is_durable(&mut self) {
        self.on_vote_granted(self.config.id);
    }
}
