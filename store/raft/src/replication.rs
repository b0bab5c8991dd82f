//! The leader's side of the log: proposals, appends to followers, their answers, and what is committed.
//!
//! Paper, Figure 2 ("Rules for servers, leaders") and 5.3, 5.4.2; pipelining and the leader's own disk write in parallel
//! with its sends, thesis 10.2.
//!
//! Complexity: O(n) per proposal and per answer, n the number of members; O(1) amortised per entry and follower.

use std::hash::{Hash, Hasher};

use crate::defects::Defect;
use crate::fingerprint::Clock;
use crate::lease::Lease;
use crate::node::{Halted, Node, PendingProposal, RoleState};
use crate::progress::{Progress, Rounds};
use crate::snapshot_transfer::Transfer;
use crate::types::{
    AppendRejection, Effect, LogIndex, MessageBody, NodeId, Payload, RefusalReason, Term, Token,
};

/// A node that is to hear that it is a member no more.
#[derive(Clone, Debug)]
struct Leaving {
    id: NodeId,
    /// The entry that removes it.
    index: LogIndex,
    /// When the leader has tried for long enough.
    until_ms: u64,
    /// Whoever answers this round knows it.
    told_in_round: Option<u64>,
}

/// For so many election timeouts a leader tries to tell a node that it was removed. Later it is told when it asks for votes.
const GOODBYE_ELECTION_TIMEOUTS: u64 = 10;

/// What a leader has besides what every node has.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    /// The entry with which it opened its term.
    pub(crate) first_index: LogIndex,
    /// The newest round of confirmation (see `read_index`).
    pub(crate) round: u64,
    /// When the next heartbeat is due.
    heartbeat_due_ms: u64,
    /// One for every other member, in ascending order; and for those that are on their way out.
    followers: Vec<(NodeId, Progress)>,
    /// Members no more, who should still hear of it: who knows that it was removed does not campaign.
    leaving: Vec<Leaving>,
    /// The change that ends when the joint configuration, which this leader has entered, is left.
    pub(crate) joint_token: Option<Token>,
    /// How long nobody else can lead.
    pub(crate) lease: Lease,
}

impl Leadership {
    /// Nothing is known of the followers; the first heartbeat is due at once.
    pub(crate) fn new(
        followers: impl Iterator<Item = NodeId>,
        first_index: LogIndex,
        now_ms: u64,
    ) -> Leadership {
        let followers = followers.map(|id| (id, Progress::probing(first_index, now_ms))).collect();
        Leadership {
            first_index,
            round: 0,
            heartbeat_due_ms: now_ms,
            followers,
            leaving: Vec::new(),
            joint_token: None,
            lease: Lease::default(),
        }
    }

    /// Another configuration is in force, by the entry at `index`: `members` (in ascending order) are followed; those who are
    /// none any more are told so, until `until_ms` at the latest. O(members).
    pub(crate) fn follow(
        &mut self,
        members: &[NodeId],
        index: LogIndex,
        next: LogIndex,
        (now_ms, until_ms): (u64, u64),
    ) {
        for id in members {
            if let Err(position) = self.followers.binary_search_by_key(id, |(follower, _)| *follower) {
                self.followers.insert(position, (*id, Progress::probing(next, now_ms)));
            }
        }
        self.leaving.retain(|leaving| members.binary_search(&leaving.id).is_err());
        for (id, _) in &self.followers {
            let stays = members.binary_search(id).is_ok();
            if !stays && !self.leaving.iter().any(|leaving| leaving.id == *id) {
                self.leaving.push(Leaving { id: *id, index, until_ms, told_in_round: None });
            }
        }
    }

    /// Drops those on their way out that know it, or have had time enough. Called before a round begins.
    ///
    /// A follower knows it when it knows that the entry which removes it is committed: when it has that entry, and has answered a
    /// round that began when the entry was committed and acknowledged, so that the append told it both.
    fn let_go(&mut self, now_ms: u64, commit: LogIndex) {
        let next_round = self.round + 1;
        for mut leaving in std::mem::take(&mut self.leaving) {
            let Some(progress) = self.progress_of(leaving.id) else { continue };
            if leaving.told_in_round.is_none() && leaving.index <= progress.matched.min(commit) {
                leaving.told_in_round = Some(next_round);
            }
            let knows = leaving.told_in_round.is_some_and(|round| progress.answered_round >= round);
            if knows || now_ms >= leaving.until_ms {
                self.followers.retain(|(follower, _)| *follower != leaving.id);
            } else {
                self.leaving.push(leaving);
            }
        }
    }

    /// What is known of `id`; `None` for the leader itself.
    pub(crate) fn progress_of(&self, id: NodeId) -> Option<&Progress> {
        let position = self.followers.binary_search_by_key(&id, |(follower, _)| *follower).ok()?;
        Some(&self.followers[position].1)
    }

    /// Follower number `position`.
    pub(crate) fn follower_mut(&mut self, position: usize) -> (NodeId, &mut Progress) {
        let (id, progress) = &mut self.followers[position];
        (*id, progress)
    }

    /// From where on followers need the log that are sent a snapshot and have not caught up.
    pub(crate) fn held_from(&self) -> Option<LogIndex> {
        self.followers.iter().filter_map(|(_, progress)| progress.held_from()).min()
    }

    /// The snapshots that are on their way to followers.
    pub(crate) fn transfers_mut(&mut self) -> impl Iterator<Item = &mut Transfer> {
        self.followers.iter_mut().filter_map(|(_, progress)| progress.transfer_mut())
    }

    /// The lowest index of a snapshot that is on its way to a follower.
    pub(crate) fn lowest_transfer(&self) -> Option<LogIndex> {
        self.followers.iter().filter_map(|(_, progress)| progress.transfer_index()).min()
    }

    /// See [`crate::fingerprint`].
    pub(crate) fn fingerprint(&self, clock: Clock, hasher: &mut impl Hasher) {
        let Leadership { first_index, round, heartbeat_due_ms, followers, leaving, joint_token, lease } =
            self;
        (first_index, round, clock.time_until(*heartbeat_due_ms), joint_token).hash(hasher);
        leaving.len().hash(hasher);
        for Leaving { id, index, until_ms, told_in_round } in leaving {
            (id, index, clock.time_until(*until_ms), told_in_round).hash(hasher);
        }
        followers.len().hash(hasher);
        for (id, progress) in followers {
            id.hash(hasher);
            progress.fingerprint(clock, hasher);
        }
        lease.fingerprint(clock, hasher);
    }

    pub(crate) fn progress_of_mut(&mut self, id: NodeId) -> Option<&mut Progress> {
        let position = self.followers.binary_search_by_key(&id, |(follower, _)| *follower).ok()?;
        Some(&mut self.followers[position].1)
    }
}

impl Node {
    /// How long whoever is removed now is told so.
    pub(crate) fn goodbye_until_ms(&self) -> u64 {
        let patience_ms = self.config.election_timeout_ms.saturating_mul(GOODBYE_ELECTION_TIMEOUTS);
        self.now_ms.saturating_add(patience_ms)
    }

    /// A client wants `command` in the log.
    pub(crate) fn on_propose(&mut self, token: Token, command: bytes::Bytes) {
        self.propose_payload(token, Payload::Command(command));
    }

    /// Appends `payload` for a client, if this node may.
    pub(crate) fn propose_payload(&mut self, token: Token, payload: Payload) {
        let refusal = if !matches!(self.role_state, RoleState::Leader(_)) {
            Some(RefusalReason::NotLeader { leader: self.leader })
        } else if let Some(to) = self.hands_over_to() {
            Some(RefusalReason::Transferring { to })
        } else if self.is_overloaded() {
            Some(RefusalReason::Overloaded)
        } else {
            None
        };
        if let Some(reason) = refusal {
            return self.effects.push(Effect::Refused { token, reason });
        }
        let term = self.hard_state.term;
        let index = self.log.append(term, payload);
        self.pending.push_back(PendingProposal { index, term, token });
    }

    /// Whether too much is waiting, for a majority or for this node's own disk.
    pub(crate) fn is_overloaded(&self) -> bool {
        let unwritten = self.log.last_index().0 - self.durable_end().0;
        let waiting = (self.pending.len() + self.reads.len()) as u64;
        waiting.max(unwritten) >= self.config.max_pending as u64
    }

    /// Sends every follower what it may have, and a heartbeat to those who would get nothing although one is due.
    pub(crate) fn replicate(&mut self) {
        let RoleState::Leader(leadership) = &mut self.role_state else { return };
        let heartbeat_is_due = self.now_ms >= leadership.heartbeat_due_ms;
        let begins_round = heartbeat_is_due || self.reads.wants_round_after(leadership.round);
        if heartbeat_is_due {
            leadership.heartbeat_due_ms = self.now_ms.saturating_add(self.config.heartbeat_interval_ms);
            leadership.let_go(self.now_ms, self.commit);
            for (_, progress) in &mut leadership.followers {
                if self.now_ms - progress.heard_ms >= self.config.election_timeout_ms {
                    progress.became_unreachable();
                }
            }
        }
        if begins_round {
            leadership.round += 1;
            self.reads.began(leadership.round);
            if self.config.lease_reads && self.config.check_quorum {
                leadership.lease.began(leadership.round, self.now_ms);
            }
        }
        for position in 0..leadership.followers.len() {
            self.send_appends(position, begins_round);
        }
        if begins_round {
            self.confirm_reads(); // a leader without followers is a majority
        }
    }

    /// Sends follower number `position` its next entries, as far as the window allows, or an append without any if it is
    /// due or must be probed; or a part of a snapshot if the log no longer has those entries.
    fn send_appends(&mut self, position: usize, is_due: bool) {
        let mut is_due = is_due;
        loop {
            let RoleState::Leader(leadership) = &mut self.role_state else { return };
            let (to, progress) = &mut leadership.followers[position];
            if let Some(snapshot) = &self.snapshot {
                progress.needs(snapshot, &self.log);
            }
            if progress.transfer_index().is_some() {
                return self.send_snapshot(position, is_due);
            }
            let has_more = progress.next <= self.log.last_index();
            let with_entries = has_more && progress.may_send_entries(self.config.max_inflight_batches);
            is_due |= progress.take_probe();
            if !with_entries && !is_due {
                return;
            }
            let prev_index = LogIndex(progress.next.0 - 1);
            let Some(prev_term) = self.log.term_at(prev_index) else { return };
            let mut entries = Vec::new();
            if with_entries {
                let (max_entries, max_bytes) = (self.config.max_batch_entries, self.config.max_batch_bytes);
                entries = self.log.slice(progress.next, max_entries, max_bytes);
                progress.sent_up_to(LogIndex(prev_index.0 + entries.len() as u64));
            }
            if self.config.defects.has(Defect::PartialPartitionStuckLeader) {
                progress.heard_ms = self.now_ms; // What was sent counts as heard.
            }
            let (to, round) = (*to, leadership.round);
            self.send(to, MessageBody::Append { prev_index, prev_term, entries, commit: self.commit, round });
            is_due = false;
        }
    }

    /// A follower answered an append of this term.
    pub(crate) fn on_append_reply(
        &mut self,
        from: NodeId,
        round: u64,
        outcome: Result<LogIndex, AppendRejection>,
    ) -> Result<(), Halted> {
        let last_index = self.log.last_index();
        let RoleState::Leader(leadership) = &mut self.role_state else { return Ok(()) };
        // Nobody was asked for a later one: nonsense, which must not confirm rounds to come.
        let round = round.min(leadership.round);
        let rounds = Rounds { answered: round, present: leadership.round };
        let Some(progress) = leadership.progress_of_mut(from) else { return Ok(()) };
        progress.heard(self.now_ms, round);
        match outcome {
            Ok(matched) => {
                let guesses = self.config.defects.has(Defect::StaleAppendReplyCounted);
                let matched = if guesses { LogIndex(progress.next.0 - 1) } else { matched };
                let is_news = progress.accepted(matched.min(last_index), rounds, &self.log);
                if matched > last_index {
                    self.broken(format!(
                        "node {from} acknowledges entry {matched} in a term whose leader has only {last_index}"
                    ))?;
                }
                if is_news {
                    self.advance_commit();
                }
            }
            Err(rejection) => {
                if let Some(acknowledged) = progress.rejected(rejection, rounds, &self.log) {
                    self.effects.push(Effect::FollowerLostLog { follower: from, acknowledged });
                }
            }
        }
        self.confirm_reads();
        Ok(())
    }

    /// Commits what a majority has on disk, if it is of this term; what precedes it is committed with it (paper 5.4.2).
    pub(crate) fn advance_commit(&mut self) {
        let RoleState::Leader(leadership) = &self.role_state else { return };
        let own = if self.config.defects.has(Defect::LeaderAcksBeforeFsync) {
            self.log.last_index()
        } else {
            self.durable_end()
        };
        let matched = |id| leadership.progress_of(id).map_or(LogIndex(0), |progress| progress.matched);
        let reached = self.quorum().reached(|id| if id == self.config.id { own } else { matched(id) });
        let is_of_this_term = self.log.term_at(reached) == Some(self.hard_state.term)
            || self.config.defects.has(Defect::CommitPriorTermByCount);
        if reached > self.commit && is_of_this_term {
            self.commit = reached;
            self.settle_membership();
        }
    }

    /// When a majority was last heard from; the leader hears itself now.
    pub(crate) fn majority_heard_ms(&self) -> u64 {
        let RoleState::Leader(leadership) = &self.role_state else { return self.now_ms };
        let heard_ms = |id| leadership.progress_of(id).map_or(0, |progress| progress.heard_ms);
        self.quorum().reached(|id| if id == self.config.id { self.now_ms } else { heard_ms(id) })
    }

    /// Leadership is lost: what is not committed may or may not be, some day. What is committed is still to be applied here.
    pub(crate) fn refuse_uncommitted_proposals(&mut self) {
        let committed = self.pending.partition_point(|proposal| proposal.index <= self.commit);
        for PendingProposal { token, .. } in self.pending.drain(committed..) {
            self.effects.push(Effect::Refused { token, reason: RefusalReason::LeadershipLost });
        }
    }

    /// Opens a term with an entry of its own (thesis 3.6.2 and 6.4).
    pub(crate) fn open_term(&mut self, term: Term) {
        self.log.append(term, Payload::Noop);
    }
}
