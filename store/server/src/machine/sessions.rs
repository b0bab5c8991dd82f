//! Client sessions: why an operation that was sent twice is carried out once (thesis 6.3).
//!
//! Each write carries its session and its number in it. A client has one operation at a time, so it is enough to keep the
//! last number and its outcome: the same number again is a retry and gets the kept outcome; a lower one is a late
//! duplicate of an operation that the client has done with, and is refused.
//!
//! # Why a session needs no opening
//!
//! The client draws the id at random from 2^128, so two sessions never collide, and the first write of a session opens it.
//! What the thesis gets from opening a session through the log is that a *forgotten* session is told from a *new* one; here
//! the client says which it is. As soon as it has had one reply that proves that the cluster knows the session, it marks its
//! writes `established`, and an established write of an unknown session is refused rather than carried out a second time.
//!
//! # Forgetting
//!
//! A session that was not used for [`SessionLimits::ttl_ms`] of log time is forgotten; so is, beyond the most sessions or the
//! most bytes of kept outcomes, the one that was used least recently. All of this goes by the log, the same on every node; a
//! node's own clock would not be.
//!
//! What is left: a write of a session that was never established, retried, while between its two attempts so many other
//! sessions wrote (65,536 by default) that this one was forgotten. The attempts of an operation end with its deadline, so it
//! would take that many new clients within one operation's time.
//!
//! Costs: O(log sessions) each.

use imbl::OrdMap;
use labrys_raft::LogIndex;
use serde::{Deserialize, Serialize};

use super::{Outcome, Placement, SessionId};

/// What is remembered of a session; part of the format of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    sequence: u64,
    outcome: Outcome,
    used: LogIndex,
    used_ms: u64,
}

/// What is to be done with a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new: carry it out.
    Next,
    /// It is a retry of the last one: this was its outcome.
    Repeated(Outcome),
    /// A later one has been carried out.
    Passed,
    /// The session was forgotten.
    Expired,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Most sessions; at least one is kept.
    pub count: usize,
    /// Most bytes in all kept outcomes; one outcome is kept whatever its size.
    pub bytes: usize,
    /// How long a session lasts that is not used, in log time.
    pub ttl_ms: u64,
}

/// All sessions of the cluster. Cloning is O(1): the copies share what they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    by_id: OrdMap<SessionId, Session>,
    /// From least to most recently used. No two were used at the same index.
    by_use: OrdMap<LogIndex, SessionId>,
    bytes: usize,
}

impl Sessions {
    /// Whether a write with this placement is to be carried out.
    #[must_use]
    pub fn admit(&self, placement: &Placement) -> Admission {
        match self.by_id.get(&placement.session) {
            None if placement.established => Admission::Expired,
            None => Admission::Next,
            Some(session) if placement.sequence > session.sequence => Admission::Next,
            Some(session) if placement.sequence == session.sequence => {
                Admission::Repeated(session.outcome.clone())
            }
            Some(_) => Admission::Passed,
        }
    }

    /// Remembers the outcome of a write that was carried out at `index` and log time `now_ms`.
    pub fn record(&mut self, placement: &Placement, outcome: Outcome, index: LogIndex, now_ms: u64) {
        self.forget(placement.session);
        self.bytes += outcome.size_bytes();
        let session = Session { sequence: placement.sequence, outcome, used: index, used_ms: now_ms };
        self.by_id.insert(placement.session, session);
        self.by_use.insert(index, placement.session);
    }

    /// Marks a session as used at `index`.
    pub fn touch(&mut self, id: SessionId, index: LogIndex, now_ms: u64) {
        if let Some(session) = self.by_id.get_mut(&id) {
            self.by_use.remove(&session.used);
            session.used = index;
            session.used_ms = now_ms;
            self.by_use.insert(index, id);
        }
    }

    /// Forgets what is beyond the limits at `now_ms`.
    pub fn limit(&mut self, limits: &SessionLimits, now_ms: u64) {
        while let Some((_, id)) = self.by_use.get_min().copied() {
            let used_ms = self.by_id.get(&id).map_or(0, |session| session.used_ms);
            let expired = used_ms.saturating_add(limits.ttl_ms) <= now_ms;
            let too_many = self.len() > limits.count || self.bytes > limits.bytes;
            if !(expired || too_many && self.len() > 1) {
                return;
            }
            self.forget(id);
        }
    }

    fn forget(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.remove(&id) {
            self.by_use.remove(&session.used);
            self.bytes -= session.outcome.size_bytes();
        }
    }

    /// All of them, in the order of their ids, for a snapshot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.by_id.iter()
    }

    /// Takes over a session from a snapshot.
    pub(super) fn restore(&mut self, id: SessionId, session: Session) {
        self.bytes += session.outcome.size_bytes();
        self.by_use.insert(session.used, id);
        self.by_id.insert(id, session);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
