//! What a leader knows of one follower: where the logs agree, what is on its way, when it was last heard from.
//!
//! Two states. *Probing*: the place where the logs agree is not known (a new leader, after a rejection, after silence); the
//! leader asks with an append without entries, one at a time, until an answer names it. *Streaming*: it is known; entries
//! are sent optimistically ahead of the acknowledgements, at most a window of messages.
//!
//! No timer resends anything: every heartbeat names the place before the next entry to be sent, so a follower that lost a
//! message on the way refuses the next heartbeat, and the leader probes and streams again from where the logs agree.
//!
//! Complexity: O(1) amortised per message.

use std::collections::VecDeque;

use crate::log::Log;
use crate::queue::pop_front_if;
use crate::types::{AppendRejection, LogIndex};

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The logs agree up to here, durably at the follower.
    pub(crate) matched: LogIndex,
    /// The next entry to send.
    pub(crate) next: LogIndex,
    /// When the follower last answered in this term.
    pub(crate) heard_ms: u64,
    /// The newest round that the follower has answered.
    pub(crate) answered_round: u64,
    /// What kind of message comes next.
    state: State,
}

#[derive(Debug)]
enum State {
    /// `ask` is false while the answer to a probe is awaited.
    Probing { ask: bool },
    /// The last index of each message that is on its way, oldest first.
    Streaming { inflight: VecDeque<LogIndex> },
}

impl Progress {
    /// Nothing is known but where to ask first.
    pub(crate) fn probing(next: LogIndex, now_ms: u64) -> Progress {
        let state = State::Probing { ask: true };
        Progress { matched: LogIndex(0), next, heard_ms: now_ms, answered_round: 0, state }
    }

    /// Whether entries may be sent now.
    pub(crate) fn may_send_entries(&self, max_inflight: usize) -> bool {
        matches!(&self.state, State::Streaming { inflight } if inflight.len() < max_inflight)
    }

    /// Whether a probe should go out without waiting for a heartbeat; asking it marks it as sent.
    pub(crate) fn take_probe(&mut self) -> bool {
        match &mut self.state {
            State::Probing { ask } => std::mem::take(ask),
            State::Streaming { .. } => false,
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

    /// The logs agree up to `matched`. Returns whether that was news.
    pub(crate) fn accepted(&mut self, matched: LogIndex) -> bool {
        let is_news = matched > self.matched;
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
        }
        is_news
    }

    /// The logs differ at `rejection.rejected`. Goes back by whole terms (paper, end of section 5.3; the hint is read as
    /// etcd reads it: the follower's part above the hint cannot agree, nor can the leader's part of a higher term).
    pub(crate) fn rejected(&mut self, rejection: AppendRejection, log: &Log) {
        let is_stale = match &self.state {
            State::Probing { .. } => rejection.rejected.next() != self.next,
            State::Streaming { .. } => rejection.rejected <= self.matched,
        };
        if is_stale || rejection.rejected.0 == 0 {
            return;
        }
        let before_rejected = LogIndex(rejection.rejected.0 - 1);
        let candidate = log.last_at_or_below(rejection.hint_index, rejection.hint_term).min(before_rejected);
        self.probe_after(candidate.max(self.matched));
    }

    /// The follower was silent for too long: forget what was on its way.
    pub(crate) fn became_unreachable(&mut self) {
        if matches!(self.state, State::Streaming { .. }) {
            self.probe_after(self.matched);
        }
    }

    fn probe_after(&mut self, index: LogIndex) {
        self.next = index.next();
        self.state = State::Probing { ask: true };
    }
}
