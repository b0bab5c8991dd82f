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
//! Forgetting an *established* session is always safe: its writes are refused from then on. Forgetting one that is not would have
//! a retry of its first write, on its way just then, carried out a second time. So:
//!
//! - a session that was not used for [`SessionLimits::ttl_ms`] of log time is forgotten;
//! - a new session beyond the most sessions takes the place of the one used least recently among those that are established or
//!   were not used for [`SessionLimits::first_write_ms`]; if there is none, it is refused ([`Admission::Full`]), definitely;
//! - beyond the most bytes of kept outcomes, it is *outcomes* that are forgotten, those of the sessions used least recently
//!   first, and not sessions: a retry is then told that it was carried out, and not what came of it
//!   ([`Outcome::AnswerForgotten`]).
//!
//! All of this goes by the log, the same on every node; a node's own clock would not be.
//!
//! **A write is never carried out twice** if no two attempts of a session's first write are applied further apart than
//! `first_write_ms` of log time. For the first of them makes the session known, it can be forgotten only by the first two rules
//! (`ttl_ms` is not less), and the second attempt finds it. Log time never runs faster than real time (`server/log_clock.rs`), and a
//! client's attempts end with its operation's deadline: so this fails only if an operation lasts longer than that (ten minutes), or
//! the network keeps a request for as long. The rest is the rule for established sessions, which has no exception. The property
//! test is `machine/tests/sessions.rs`.
//!
//! Costs: O(log sessions) each.

use std::cmp::Ordering;

use imbl::{OrdMap, OrdSet};
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
    /// A write has said that the client knows that the cluster knows the session.
    established: bool,
}

impl Session {
    /// Whether its outcome takes more than that it was carried out.
    fn is_large(&self) -> bool {
        self.outcome.size_bytes() > Outcome::AnswerForgotten.size_bytes()
    }
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
    /// The session is new, and there is no room for another one.
    Full,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Most sessions; at least one is kept.
    pub count: usize,
    /// Most bytes in all kept outcomes; one outcome is kept whatever its size, and that each was carried out.
    pub bytes: usize,
    /// How long a session lasts that is not used, in log time.
    pub ttl_ms: u64,
    /// How long a session lasts that is not used and not established, in log time, whatever there is besides. Not more than
    /// `ttl_ms`.
    pub first_write_ms: u64,
}

/// All sessions of the cluster. Cloning is O(1): the copies share what they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    by_id: OrdMap<SessionId, Session>,
    /// From least to most recently used. No two were used at the same index.
    by_use: OrdMap<LogIndex, SessionId>,
    /// Those of them that are established.
    established: OrdSet<LogIndex>,
    /// Those of them whose outcomes are large.
    large: OrdSet<LogIndex>,
    bytes: usize,
}

impl Sessions {
    /// Whether a write with this placement is to be carried out, at log time `now_ms`. Makes room for a new session.
    pub fn admit(&mut self, placement: &Placement, limits: &SessionLimits, now_ms: u64) -> Admission {
        if let Some(session) = self.by_id.get(&placement.session) {
            return match placement.sequence.cmp(&session.sequence) {
                Ordering::Greater => Admission::Next,
                Ordering::Equal => Admission::Repeated(session.outcome.clone()),
                Ordering::Less => Admission::Passed,
            };
        }
        if placement.established {
            Admission::Expired
        } else if self.make_room(limits, now_ms) {
            Admission::Next
        } else {
            Admission::Full
        }
    }

    /// Remembers the outcome of a write that was carried out at `index` and log time `now_ms`.
    pub fn record(&mut self, placement: &Placement, outcome: Outcome, index: LogIndex, now_ms: u64) {
        let before = self.forget(placement.session);
        let established = placement.established || before.is_some_and(|session| session.established);
        let sequence = placement.sequence;
        self.restore(
            placement.session,
            Session { sequence, outcome, used: index, used_ms: now_ms, established },
        );
    }

    /// Marks a session as used at `index`.
    pub fn touch(&mut self, id: SessionId, index: LogIndex, now_ms: u64) {
        if let Some(session) = self.forget(id) {
            self.restore(id, Session { used: index, used_ms: now_ms, ..session });
        }
    }

    /// Forgets what has expired at `now_ms`, and outcomes beyond the most bytes.
    pub fn limit(&mut self, limits: &SessionLimits, now_ms: u64) {
        while let Some(id) = self.least_recent().filter(|id| self.is_unused_for(*id, limits.ttl_ms, now_ms)) {
            self.forget(id);
        }
        while self.bytes > limits.bytes && self.large.len() > 1 {
            let oldest = self.large.get_min().and_then(|used| self.by_use.get(used)).copied();
            let Some((id, session)) = oldest.and_then(|id| Some((id, self.forget(id)?))) else { return };
            self.restore(id, Session { outcome: Outcome::AnswerForgotten, ..session });
        }
    }

    /// Makes room for one more session; false: there is none.
    fn make_room(&mut self, limits: &SessionLimits, now_ms: u64) -> bool {
        while self.len() >= limits.count.max(1) {
            let oldest =
                self.least_recent().filter(|id| self.is_unused_for(*id, limits.first_write_ms, now_ms));
            let established = || self.established.get_min().and_then(|used| self.by_use.get(used)).copied();
            let Some(id) = oldest.or_else(established) else { return false };
            self.forget(id);
        }
        true
    }

    fn least_recent(&self) -> Option<SessionId> {
        self.by_use.get_min().map(|(_, id)| *id)
    }

    fn is_unused_for(&self, id: SessionId, duration_ms: u64, now_ms: u64) -> bool {
        self.by_id.get(&id).is_some_and(|session| session.used_ms.saturating_add(duration_ms) <= now_ms)
    }

    fn forget(&mut self, id: SessionId) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        self.by_use.remove(&session.used);
        self.established.remove(&session.used);
        self.large.remove(&session.used);
        self.bytes -= session.outcome.size_bytes();
        Some(session)
    }

    /// All of them, in the order of their ids, for a snapshot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.by_id.iter()
    }

    /// Takes over a session that is not there.
    pub(super) fn restore(&mut self, id: SessionId, session: Session) {
        self.bytes += session.outcome.size_bytes();
        self.by_use.insert(session.used, id);
        if session.established {
            self.established.insert(session.used);
        }
        if session.is_large() {
            self.large.insert(session.used);
        }
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
