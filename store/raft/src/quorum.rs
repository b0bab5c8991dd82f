//! Majorities: who has to agree, and what a majority has reached.
//!
//! The one place that knows what a quorum is: more than half of the voters (thesis 3.1), and in a joint configuration
//! also more than half of those before (thesis 4.3). Whoever is not a voter is not asked, a leader that is being removed
//! included (thesis 4.2.2).
//!
//! Complexity: O(n) to count, O(n) expected to select, n the number of voters.

use smallvec::SmallVec;

use crate::membership::Membership;
use crate::types::NodeId;

/// The quorums of a configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quorum<'a> {
    pub(crate) membership: &'a Membership,
    /// A defect: half is enough.
    pub(crate) half_is_enough: bool,
}

impl Quorum<'_> {
    /// The sets of voters of each of which a quorum is needed.
    fn halves(&self) -> impl Iterator<Item = &[NodeId]> {
        [&self.membership.voters[..], &self.membership.outgoing].into_iter().filter(|half| !half.is_empty())
    }

    /// How many of `voters` make a quorum.
    fn size(&self, voters: &[NodeId]) -> usize {
        if self.half_is_enough { (voters.len() / 2).max(1) } else { voters.len() / 2 + 1 }
    }

    /// Whether those for whom `agrees` holds are a quorum. Never, if there are no voters.
    pub(crate) fn agrees(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        let has_quorum = |half: &[NodeId]| half.iter().filter(|id| agrees(**id)).count() >= self.size(half);
        !self.membership.is_empty() && self.halves().all(has_quorum)
    }

    /// The largest value that a quorum has reached, given what each voter has reached; the least, if there are no voters.
    pub(crate) fn reached<T: Ord + Copy + Default>(&self, value_of: impl Fn(NodeId) -> T) -> T {
        let reached_by = |half: &[NodeId]| {
            let mut values: SmallVec<[T; 9]> = half.iter().map(|id| value_of(*id)).collect();
            let (_, reached, _) = values.select_nth_unstable_by(self.size(half) - 1, |a, b| b.cmp(a));
            *reached
        };
        self.halves().map(reached_by).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(voters: &[u64], outgoing: &[u64]) -> Membership {
        let outgoing = outgoing.iter().copied().map(NodeId).collect();
        Membership { outgoing, ..Membership::of_voters(voters.iter().copied().map(NodeId)) }
    }

    fn agree(membership: &Membership, ids: &[u64]) -> bool {
        Quorum { membership, half_is_enough: false }.agrees(|id| ids.contains(&id.0))
    }

    #[test]
    fn more_than_half_are_a_quorum() {
        for (count, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            let membership = membership(&(1..=count).collect::<Vec<_>>(), &[]);
            assert!(agree(&membership, &(1..=needed).collect::<Vec<_>>()), "{needed} of {count}");
            assert!(!agree(&membership, &(1..needed).collect::<Vec<_>>()), "fewer than {needed} of {count}");
        }
        assert!(!agree(&Membership::default(), &[1, 2, 3]), "nobody is never a quorum");
    }

    #[test]
    fn a_joint_configuration_needs_a_majority_of_each_half() {
        let joint = membership(&[3, 4, 5], &[1, 2, 3]);
        assert!(agree(&joint, &[2, 3, 4]));
        assert!(!agree(&joint, &[3, 4, 5]), "only one of the old voters");
        assert!(!agree(&joint, &[1, 2, 3]), "only one of the new voters");
        let values = [9, 8, 3, 7, 1];
        let quorum = Quorum { membership: &joint, half_is_enough: false };
        assert_eq!(quorum.reached(|id| values[id.0 as usize - 1]), 3);
    }

    #[test]
    fn a_value_is_reached_when_a_quorum_has_at_least_it() {
        let values = [7, 3, 9, 1, 5];
        for (count, expected) in [(5, 5), (4, 3), (2, 3), (1, 7)] {
            let membership = membership(&(1..=count).collect::<Vec<_>>(), &[]);
            let quorum = Quorum { membership: &membership, half_is_enough: false };
            assert_eq!(quorum.reached(|id| values[id.0 as usize - 1]), expected);
        }
    }
}
