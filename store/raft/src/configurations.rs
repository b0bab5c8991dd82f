//! The configurations that a log holds, and which one is in force (thesis 4.1): the newest in the log, committed or not.
//!
//! Complexity: O(log configurations) to ask, O(entries) to take in what was appended.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use crate::membership::Membership;
use crate::types::{Entry, LogIndex, NodeId, Payload};

/// The configurations that a log holds, and which one is in force.
#[derive(Clone, Debug)]
pub(crate) struct Configurations {
    /// By the index of their entry, ascending; the first is the one from before the entries that are kept.
    known: Vec<(LogIndex, Membership)>,
    /// The position of the one in force.
    in_force: usize,
    /// Counts how often another one came into force.
    version: u64,
}

impl Configurations {
    /// `first` was in force at `base`; what follows is in `entries`.
    pub(crate) fn recovered<'a>(
        base: LogIndex,
        first: Membership,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Configurations {
        let mut configurations = Configurations { known: vec![(base, first)], in_force: 0, version: 0 };
        configurations.appended(entries);
        configurations.settle(LogIndex(u64::MAX));
        configurations
    }

    /// The one in force.
    pub(crate) fn current(&self) -> &Membership {
        &self.known[self.in_force].1
    }

    /// All who are members of it or of one before it that is still known, in ascending order.
    pub(crate) fn present_and_former_members(&self) -> Vec<NodeId> {
        let known = self.known[..=self.in_force].iter();
        let members: BTreeSet<NodeId> = known.flat_map(|(_, membership)| membership.members()).collect();
        members.into_iter().collect()
    }

    /// Where its entry is.
    pub(crate) fn current_index(&self) -> LogIndex {
        self.known[self.in_force].0
    }

    /// Where the entry of the newest one is, in force or not.
    pub(crate) fn newest_index(&self) -> LogIndex {
        self.known.last().map_or(LogIndex(0), |(index, _)| *index)
    }

    /// Another number whenever another one is in force.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The one in force for whoever has the log up to `index` only. `index` is not below the last call of `forget_before`.
    pub(crate) fn at(&self, index: LogIndex) -> &Membership {
        let after = self.known.partition_point(|(known, _)| *known <= index);
        &self.known[after.saturating_sub(1)].1
    }

    /// Entries were appended. O(entries).
    pub(crate) fn appended<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) {
        for entry in entries {
            if let Payload::Membership(membership) = &entry.payload {
                self.known.push((entry.index, Membership::clone(membership)));
            }
        }
    }

    /// The log was cut: what was in force before `from` is again.
    pub(crate) fn truncated_from(&mut self, from: LogIndex) {
        let kept = self.known.partition_point(|(index, _)| *index < from).max(1);
        self.known.truncate(kept);
        if self.in_force >= kept {
            (self.in_force, self.version) = (kept - 1, self.version + 1);
        }
    }

    /// A snapshot has taken the place of the log up to `index`, where `membership` is in force.
    pub(crate) fn reset(&mut self, index: LogIndex, membership: Membership) {
        self.version += u64::from(*self.current() != membership);
        (self.known, self.in_force) = (vec![(index, membership)], 0);
    }

    /// Puts the newest one whose entry is not after `limit` in force.
    pub(crate) fn settle(&mut self, limit: LogIndex) {
        let after = self.known.partition_point(|(index, _)| *index <= limit);
        if self.in_force != after.saturating_sub(1) {
            (self.in_force, self.version) = (after.saturating_sub(1), self.version + 1);
        }
    }

    /// See [`crate::fingerprint`]. How often something changed is of no consequence.
    pub(crate) fn fingerprint(&self, hasher: &mut impl Hasher) {
        let Configurations { known, in_force, version: _ } = self;
        (known, in_force).hash(hasher);
    }

    /// Nobody will ask what was in force before `index` any more, which is applied.
    pub(crate) fn forget_before(&mut self, index: LogIndex) {
        let after = self.known.partition_point(|(known, _)| *known <= index);
        let dropped = after.saturating_sub(1).min(self.in_force);
        self.known.drain(..dropped);
        self.in_force -= dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    fn of(voters: &[u64]) -> Membership {
        Membership::of_voters(voters.iter().copied().map(NodeId))
    }

    #[test]
    fn the_configuration_in_force_follows_the_log_back_and_forth() {
        let entry = |index, membership: Membership| Entry {
            term: Term(1),
            index: LogIndex(index),
            payload: Payload::Membership(Box::new(membership)),
        };
        let (second, fourth) = (entry(2, of(&[1, 2, 3])), entry(4, of(&[2, 3])));
        let mut configurations = Configurations::recovered(LogIndex(0), of(&[1, 2]), [&second, &fourth]);
        assert_eq!(configurations.current(), &of(&[2, 3]));
        assert_eq!(configurations.at(LogIndex(3)), &of(&[1, 2, 3]));
        assert_eq!(configurations.at(LogIndex(1)), &of(&[1, 2]));
        configurations.truncated_from(LogIndex(4));
        assert_eq!(
            (configurations.current(), configurations.current_index()),
            (&of(&[1, 2, 3]), LogIndex(2))
        );
        configurations.appended([&fourth]);
        configurations.settle(LogIndex(3));
        assert_eq!(configurations.current(), &of(&[1, 2, 3]));
        configurations.settle(LogIndex(4));
        configurations.forget_before(LogIndex(3));
        assert_eq!((configurations.current(), configurations.known.len()), (&of(&[2, 3]), 2));
        configurations.truncated_from(LogIndex(4));
        assert_eq!(configurations.current(), &of(&[1, 2, 3]));
    }
}
