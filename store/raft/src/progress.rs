//! What a leader knows of one follower: where the logs agree, what is on its way, when it was last heard from.
//!
//! Three states. *Probing*: the place where the logs agree is not known (a new leader, after a rejection, after silence); the
//! leader asks with an append without entries, one at a time, until an answer names it. *Streaming*: it is known; entries
//! are sent optimistically ahead of the acknowledgements, at most a window of messages. *Installing*: what the follower needs
//! next is no longer in the log; it is sent a snapshot (`snapshot_transfer`), until it acknowledges anything that the log still has.
//! That need not be this snapshot: an earlier leader's may have arrived (etcd-io/raft, pull request 110, tells what comes of
//! insisting).
//!
//! No timer resends anything: every heartbeat names the place before the next entry to be sent, so a follower that lost a
//! message on the way refuses the next heartbeat, and the leader probes and streams again from where the logs agree.
//!
//! # Followers that lose what they acknowledged
//!
//! Raft forbids it, and a disk that is emptied or replaced does it all the same. A rejection at or below `matched` is either
//! old news, delayed on the way, or its proof; rounds tell which. An append is never sent from before `matched`, so one that
//! was sent in a later round than the one in which `matched` was learnt, and is refused there, was refused by a log that is
//! shorter than it was. (A refusal for being of an old term names round 0 and proves nothing.) Then `matched` counts for nothing any more, neither for commits (it would make a majority of copies
//! that are not there) nor as the place from which to send (the follower would refuse it for ever), and neither does anything
//! that was acknowledged up to that round. What this does not mend is in `docs/decisions/004-lost-logs.md`.
//!
//! Complexity: O(1) amortised per message.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::fingerprint::Clock;
use crate::log::Log;
use crate::queue::pop_front_if;
use crate::snapshot_transfer::Transfer;
use crate::types::{AppendRejection, LogIndex, Snapshot};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The logs agree up to here, durably at the follower.
    pub(crate) matched: LogIndex,
    /// The next entry to send.
    pub(crate) next: LogIndex,
    /// When the follower last answered in this term.
    pub(crate) heard_ms: u64,
    /// The newest round that the follower has answered.
    pub(crate) answered_round: u64,
    /// The leader's round when `matched` was learnt.
    matched_in_round: u64,
    /// Acknowledgements of earlier rounds come from a log that is lost.
    trusted_from_round: u64,
    /// What kind of message comes next.
    state: State,
    /// It was sent a snapshot and has not caught up since: what it needs next stays in the log.
    is_catching_up: bool,
}

/// When an answer was asked for, and when it is handled, counted in the leader's rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    /// The round of the append that is answered.
    pub(crate) answered: u64,
    /// The leader's round now.
    pub(crate) present: u64,
}

#[derive(Clone, Debug, Hash)]
enum State {
    /// `ask` is false while the answer to a probe is awaited.
    Probing { ask: bool },
    /// The last index of each message that is on its way, oldest first.
    Streaming { inflight: VecDeque<LogIndex> },
    /// A snapshot is on its way.
    Installing(Transfer),
}

impl Progress {
    /// Nothing is known but where to ask first.
    pub(crate) fn probing(next: LogIndex, now_ms: u64) -> Progress {
        let state = State::Probing { ask: true };
        Progress {
            matched: LogIndex(0),
            next,
            heard_ms: now_ms,
            answered_round: 0,
            matched_in_round: 0,
            trusted_from_round: 0,
            state,
            is_catching_up: false,
        }
    }

    /// Whether entries may be sent now.
    pub(crate) fn may_send_entries(&self, max_inflight: usize) -> bool {
        matches!(&self.state, State::Streaming { inflight } if inflight.len() < max_inflight)
    }

    /// Whether a probe should go out without waiting for a heartbeat; asking it marks it as sent.
    pub(crate) fn take_probe(&mut self) -> bool {
        match &mut self.state {
            State::Probing { ask } => std::mem::take(ask),
            State::Streaming { .. } | State::Installing(_) => false,
        }
    }

    /// The snapshot that is on its way.
    pub(crate) fn transfer_mut(&mut self) -> Option<&mut Transfer> {
        match &mut self.state {
            State::Installing(transfer) => Some(transfer),
            _ => None,
        }
    }

    /// The index of the snapshot that is on its way.
    pub(crate) fn transfer_index(&self) -> Option<LogIndex> {
        match &self.state {
            State::Installing(transfer) => Some(transfer.snapshot.index()),
            _ => None,
        }
    }

    /// From where on the log is to be kept for this follower: what follows the snapshot that it is being sent, or was, until it has
    /// caught up. Otherwise the next snapshot, taken while this one was on its way, would be the next thing that it needs, and
    /// under load so for ever.
    pub(crate) fn held_from(&self) -> Option<LogIndex> {
        match &self.state {
            State::Installing(transfer) => Some(transfer.snapshot.index()),
            _ => self.is_catching_up.then_some(self.matched),
        }
    }

    /// Begins to send `snapshot` if the log no longer has what the follower needs next, also instead of one that cannot be read.
    pub(crate) fn needs(&mut self, snapshot: &Snapshot, log: &Log) {
        let is_missing = log.term_at(LogIndex(self.next.0 - 1)).is_none();
        let is_free = match &self.state {
            State::Installing(transfer) => transfer.is_replaced_by(snapshot),
            State::Probing { .. } | State::Streaming { .. } => true,
        };
        if is_missing && is_free {
            self.state = State::Installing(Transfer::new(snapshot.clone()));
        }
    }

    /// Entries up to `last` were sent.
    pub(crate) fn sent_up_to(&mut self, last: LogIndex) {
        self.next = last.next();
        if let State::Streaming { inflight } = &mut self.state {
            inflight.push_back(last);
        }
    }

    /// The follower answered something.
    pub(crate) fn heard(&mut self, now_ms: u64, round: u64) {
        self.heard_ms = self.heard_ms.max(now_ms);
        self.answered_round = self.answered_round.max(round);
    }

    /// The logs agree up to `matched`, says the answer to an append of `rounds.answered`. Returns whether that was news.
    pub(crate) fn accepted(&mut self, matched: LogIndex, rounds: Rounds, log: &Log) -> bool {
        if rounds.answered < self.trusted_from_round {
            return false;
        }
        let is_news = matched > self.matched;
        if is_news {
            self.matched_in_round = rounds.present;
        }
        self.matched = self.matched.max(matched);
        match &mut self.state {
            State::Probing { .. } => {
                self.next = self.matched.next();
                self.state = State::Streaming { inflight: VecDeque::new() };
            }
            State::Streaming { inflight } => {
                while pop_front_if(inflight, |last| *last <= matched).is_some() {}
                self.next = self.next.max(self.matched.next());
            }
            State::Installing(_) if log.term_at(self.matched).is_some() => {
                self.next = self.matched.next();
                self.is_catching_up = true;
                self.state = State::Streaming { inflight: VecDeque::new() };
            }
            // It has all of the snapshot, and the log has gone beyond it meanwhile: a newer one is needed.
            State::Installing(transfer) if self.matched >= transfer.snapshot.index() => {
                self.probe_after(self.matched);
            }
            State::Installing(_) => {}
        }
        self.is_catching_up &= self.matched < log.last_index();
        is_news
    }

    /// The logs differ at `rejection.rejected`. Goes back by whole terms (paper, end of section 5.3; the hint is read as
    /// etcd reads it: the follower's part above the hint cannot agree, nor can the leader's part of a higher term).
    ///
    /// Returns what was acknowledged before, if this proves that the follower has lost it; see the module.
    pub(crate) fn rejected(
        &mut self,
        rejection: AppendRejection,
        rounds: Rounds,
        log: &Log,
    ) -> Option<LogIndex> {
        if rejection.rejected.0 == 0 {
            return None;
        }
        let lost = (rejection.rejected <= self.matched).then_some(self.matched);
        let is_stale = match &self.state {
            _ if lost.is_some() => rounds.answered <= self.matched_in_round,
            State::Probing { .. } => rejection.rejected.next() != self.next,
            State::Streaming { .. } => false,
            // What it is about was sent before the snapshot.
            State::Installing(_) => true,
        };
        if is_stale {
            return None;
        }
        if lost.is_some() {
            self.matched = LogIndex(0);
            self.trusted_from_round = rounds.present + 1;
            self.is_catching_up = false;
        }
        let before_rejected = LogIndex(rejection.rejected.0 - 1);
        let candidate = if rejection.hint_index < log.base_index() {
            rejection.hint_index // which is gone from the log: a snapshot will be sent
        } else {
            log.last_at_or_below(rejection.hint_index, rejection.hint_term)
        };
        self.probe_after(candidate.min(before_rejected).max(self.matched));
        lost
    }

    /// The follower was silent for too long: forget what was on its way.
    pub(crate) fn became_unreachable(&mut self) {
        self.is_catching_up = false;
        if !matches!(self.state, State::Probing { .. }) {
            self.probe_after(self.matched);
        }
    }

    /// See [`crate::fingerprint`].
    pub(crate) fn fingerprint(&self, clock: Clock, hasher: &mut impl Hasher) {
        let Progress {
            matched,
            next,
            heard_ms,
            answered_round,
            matched_in_round,
            trusted_from_round,
            state,
            is_catching_up,
        } = self;
        (matched, next, clock.age_of(*heard_ms)).hash(hasher);
        (answered_round, matched_in_round, trusted_from_round, state, is_catching_up).hash(hasher);
    }

    fn probe_after(&mut self, index: LogIndex) {
        self.next = index.next();
        self.state = State::Probing { ask: true };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Membership;
    use crate::types::{Entry, NodeId, Payload, SnapshotPoint, Term};

    fn in_round(answered: u64, present: u64) -> Rounds {
        Rounds { answered, present }
    }

    fn refusal_at(index: u64) -> AppendRejection {
        AppendRejection { rejected: LogIndex(index), hint_index: LogIndex(0), hint_term: Term(0) }
    }

    #[test]
    fn only_a_refusal_of_a_later_round_proves_a_loss_and_then_older_acknowledgements_are_worth_nothing() {
        let entry = |index| Entry { term: Term(1), index: LogIndex(index), payload: Payload::Noop };
        let log = Log::recovered(None, (1..=9).map(entry).collect());
        for is_probing in [false, true] {
            let mut progress = Progress::probing(LogIndex(6), 0);
            assert!(progress.accepted(LogIndex(5), in_round(1, 3), &log));
            if is_probing {
                progress.became_unreachable();
            }
            for delayed in 1..=3 {
                assert_eq!(progress.rejected(refusal_at(5), in_round(delayed, 4), &log), None);
            }
            assert_eq!((progress.matched, progress.next), (LogIndex(5), LogIndex(6)));
            assert_eq!(progress.rejected(refusal_at(5), in_round(4, 6), &log), Some(LogIndex(5)));
            assert_eq!((progress.matched, progress.next), (LogIndex(0), LogIndex(1)));
            assert!(
                !progress.accepted(LogIndex(5), in_round(6, 7), &log),
                "this may be from before the loss"
            );
            assert!(progress.accepted(LogIndex(2), in_round(7, 7), &log));
            assert_eq!(progress.matched, LogIndex(2));
        }
    }

    #[test]
    fn a_follower_that_has_all_of_a_snapshot_beyond_which_the_log_has_gone_needs_the_newer_one() {
        let membership = Membership::of_voters([NodeId(1), NodeId(2)]);
        let snapshot = |index| Snapshot {
            point: SnapshotPoint { index: LogIndex(index), term: Term(1), membership: membership.clone() },
            length_bytes: 1,
            checksum: 0,
        };
        let mut progress = Progress::probing(LogIndex(1), 0);
        let log = Log::recovered(Some(&snapshot(5)), Vec::new());
        progress.needs(&snapshot(5), &log);
        assert_eq!(progress.transfer_index(), Some(LogIndex(5)));
        let gone_on = Log::recovered(Some(&snapshot(9)), Vec::new());
        progress.needs(&snapshot(9), &gone_on);
        assert_eq!(progress.transfer_index(), Some(LogIndex(5)), "the one that is on its way will do");
        let mut other = Progress::probing(LogIndex(1), 0);
        other.needs(&snapshot(5), &log);
        other.transfer_mut().unwrap().give_up();
        other.needs(&snapshot(9), &gone_on);
        assert_eq!(other.transfer_index(), Some(LogIndex(9)), "one that cannot be read will not");
        assert!(progress.accepted(LogIndex(5), in_round(1, 1), &gone_on));
        progress.needs(&snapshot(9), &gone_on);
        assert_eq!(progress.transfer_index(), Some(LogIndex(9)));
    }
}
