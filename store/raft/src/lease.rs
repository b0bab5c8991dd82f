//! The leader's lease: how long nobody else can lead (thesis 6.4.1).
//!
//! A voter that hears from a leader disregards requests for votes for an election timeout of its own clock. If a majority has
//! answered a round that began at `s` of the leader's clock, each of them heard from the leader at `s` or later, so until
//! `s + election timeout / drift bound` no majority can have elected another leader, and nothing can have been committed that
//! the leader does not know. The argument needs, and the code keeps:
//!
//! - clocks whose rates differ by at most the bound; jumps of the wall clock do not matter, clocks are monotonic;
//! - that a voter counts from a reading of its clock that is *not before* the message arrived (the duty at
//!   [`crate::Input::Tick`]), and the leader from one that is not after it was sent (the last tick);
//! - that readings are whole milliseconds, rounded down: a voter may count from a reading that is up to one too low, so a lease is
//!   one shorter;
//! - that a voter which restarts keeps its promise: it votes for nobody for an election timeout (`Node::new`);
//! - that no candidate is exempt: a transfer of leadership makes one, so it ends the lease, for the rest of the term, since
//!   the request to take over may arrive late (`transfer`);
//! - that the answer is looked at again after the state machine was read (the duty at [`crate::Effect::ReadReady`]).
//!
//! A lease answers only reads that need not wait for the state machine; others go the way of ReadIndex.
//!
//! Complexity: O(1) amortised per round. Bounds: one number per round of the last election timeout, because a leader that
//! nobody answers steps down.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::defects::Defect;
use crate::fingerprint::Clock;
use crate::node::{Node, RoleState};
use crate::queue::pop_front_if;

/// What a leader remembers of its rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// Rounds that no majority has answered yet, and when they began, oldest first.
    begun: VecDeque<(u64, u64)>,
    /// When the newest round began that a majority has answered.
    confirmed_start_ms: Option<u64>,
    /// There is none any more in this term.
    ended: bool,
}

impl Lease {
    /// Round `round` begins at `now_ms`.
    pub(crate) fn began(&mut self, round: u64, now_ms: u64) {
        self.begun.push_back((round, now_ms));
    }

    /// A majority has answered `round` or later ones.
    pub(crate) fn confirmed(&mut self, round: u64) {
        while let Some((_, started_ms)) = pop_front_if(&mut self.begun, |(begun, _)| *begun <= round) {
            self.confirmed_start_ms = Some(started_ms);
        }
    }

    /// Leadership is being handed over.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// See [`crate::fingerprint`].
    pub(crate) fn fingerprint(&self, clock: Clock, hasher: &mut impl Hasher) {
        let Lease { begun, confirmed_start_ms, ended } = self;
        begun.len().hash(hasher);
        begun.iter().for_each(|(round, start_ms)| (round, clock.age_of(*start_ms)).hash(hasher));
        (confirmed_start_ms.map(|start_ms| clock.age_of(start_ms)), ended).hash(hasher);
    }
}

impl Node {
    /// Whether this cluster has leases at all.
    pub(crate) fn has_leases(&self) -> bool {
        self.config.lease_reads && self.config.check_quorum
    }

    /// Until when this leader's lease is valid by its own clock; `None`: it has none now.
    pub(crate) fn lease_until_ms(&self) -> Option<u64> {
        let RoleState::Leader(leadership) = &self.role_state else { return None };
        let start_ms = leadership.lease.confirmed_start_ms?;
        if !self.has_leases() || leadership.lease.ended {
            return None;
        }
        let timeout_ms = self.config.election_timeout_ms;
        let until_ms = if self.config.defects.has(Defect::LeaseReadClockSkew) {
            start_ms.saturating_add(4 * timeout_ms) // A clock of its own makes of it.
        } else {
            start_ms
                .saturating_add(timeout_ms * 100 / self.config.max_clock_drift_percent.saturating_add(100))
                .saturating_sub(1) // A voter's clock may have read up to one millisecond less than it was.
        };
        (self.now_ms < until_ms).then_some(until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_start_of_the_newest_round_that_a_majority_answered() {
        let mut lease = Lease::default();
        for (round, now_ms) in [(1, 10), (2, 30), (3, 50)] {
            lease.began(round, now_ms);
        }
        lease.confirmed(0);
        assert_eq!(lease.confirmed_start_ms, None);
        lease.confirmed(2);
        assert_eq!((lease.confirmed_start_ms, lease.begun.len()), (Some(30), 1));
        lease.confirmed(1);
        assert_eq!(lease.confirmed_start_ms, Some(30), "it never goes back");
    }
}
