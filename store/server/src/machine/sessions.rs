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
//! What is left: a write of a session that was never established, retried, while between its two attempts so many other
//! sessions wrote (65,536 by default) that this one was forgotten. The attempts of an operation end with its deadline, so it
//! would take that many new clients within one operation's time. Expiry by log time, with snapshots, will close even that.
//!
//! Forgetting goes by log index (least recently used), the same on every node; a clock would not be.

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

/// All sessions of the cluster. Cloning is O(1): the copies share what they have in common.
#[derive(Clone, Debug)]
pub struct Sessions {
    by_id: OrdMap<SessionId, Session>,
    /// From least to most recently used. No two were used at the same index.
    by_use: OrdMap<LogIndex, SessionId>,
    limit: usize,
}

impl Sessions {
    /// At most `limit` sessions, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Sessions {
        Sessions { by_id: OrdMap::new(), by_use: OrdMap::new(), limit: limit.max(1) }
    }

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

    /// Remembers the outcome of a write that was carried out at `index`, and forgets another session if there are too many.
    pub fn record(&mut self, placement: &Placement, outcome: Outcome, index: LogIndex) {
        let session = Session { sequence: placement.sequence, outcome, used: index };
        if let Some(previous) = self.by_id.insert(placement.session, session) {
            self.by_use.remove(&previous.used);
        }
        self.by_use.insert(index, placement.session);
        if self.by_id.len() > self.limit
            && let Some((used, oldest)) = self.by_use.get_min().copied()
        {
            self.by_use.remove(&used);
            self.by_id.remove(&oldest);
        }
    }

    /// Marks a session as used at `index`.
    pub fn touch(&mut self, id: SessionId, index: LogIndex) {
        if let Some(session) = self.by_id.get_mut(&id) {
            self.by_use.remove(&session.used);
            session.used = index;
            self.by_use.insert(index, id);
        }
    }

    /// All of them, in the order of their ids, for a snapshot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.by_id.iter()
    }

    /// Takes over a session from a snapshot.
    pub(super) fn restore(&mut self, id: SessionId, session: Session) {
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
