//! Telling the states of a node apart, for whoever explores what a cluster can do (a model checker, a simulator).
//!
//! Two nodes with equal configurations and equal fingerprints give equal effects for equal inputs from there on, if the
//! clocks of their drivers differ by as much as the clocks of the two nodes: times are taken relative to the node's own clock,
//! and how long ago something was is cut off where it makes no difference any more. Tokens, rounds and the numbers of batches
//! are part of the state, because messages on their way and the driver name them.
//!
//! Every structure is taken apart field by field, so that the compiler names what is forgotten here.
//!
//! Complexity: O(length of the log + members + what waits).

use std::hash::{Hash, Hasher};

use crate::defects::Defect;
use crate::node::{Node, RoleState};

/// Where a node's clock stands.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    now_ms: u64,
    /// Whatever is older than this is just old.
    horizon_ms: u64,
}

impl Clock {
    /// How long ago that was, as far as it matters.
    pub(crate) fn age_of(self, then_ms: u64) -> u64 {
        self.now_ms.saturating_sub(then_ms).min(self.horizon_ms)
    }

    /// How long it is until then; 0 if it is past.
    pub(crate) fn time_until(self, then_ms: u64) -> u64 {
        then_ms.saturating_sub(self.now_ms)
    }
}

impl Node {
    /// Feeds everything that decides about what this node will do to `hasher`, between two steps. Its [`crate::Config`] is not
    /// part of it.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        let Node {
            config,
            configurations,
            now_ms,
            hard_state,
            role_state,
            leader,
            leader_heard_ms,
            election_deadline_ms,
            luck_ppm,
            log,
            durability,
            acceptance,
            snapshot,
            incoming,
            snapshots_needed_from,
            commit,
            handed_to_apply,
            applied,
            pending,
            reads,
            follower_reads,
            transfer,
            fruitless_campaigns,
            was_removed,
            effects,
            announced,
            announced_membership,
            halted,
        } = self;
        assert!(effects.is_empty(), "what a step has to say is given to the driver at its end");
        // All ages are compared with the election timeout; only this defect looks further back.
        let timeouts = if config.defects.has(Defect::LeaseReadClockSkew) { 4 } else { 1 };
        let clock =
            Clock { now_ms: *now_ms, horizon_ms: config.election_timeout_ms.saturating_mul(timeouts) };
        configurations.fingerprint(hasher);
        (announced, *announced_membership == configurations.version(), halted).hash(hasher);
        (hard_state, leader, leader_heard_ms.map(|heard_ms| clock.age_of(heard_ms))).hash(hasher);
        (clock.time_until(*election_deadline_ms), luck_ppm, fruitless_campaigns, was_removed).hash(hasher);
        log.fingerprint(hasher);
        (durability, acceptance).hash(hasher);
        (snapshot, incoming, snapshots_needed_from).hash(hasher);
        (commit, handed_to_apply, applied, pending, reads).hash(hasher);
        follower_reads.fingerprint(clock, hasher);
        transfer.is_some().hash(hasher);
        let patience_ms = self.patience_with_successor_ms();
        transfer.iter().for_each(|transfer| transfer.fingerprint(clock, patience_ms, hasher));
        role_state.fingerprint(clock, hasher);
    }
}

impl RoleState {
    fn fingerprint(&self, clock: Clock, hasher: &mut impl Hasher) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            RoleState::Follower => {}
            RoleState::PreCandidate { granted_by } | RoleState::Candidate { granted_by } => {
                granted_by.hash(hasher);
            }
            RoleState::Leader(leadership) => leadership.fingerprint(clock, hasher),
        }
    }
}
