//! Majorities: who has to agree, and what a majority has reached.
//!
//! The one place that knows what a quorum is (thesis 3.1), so that joint configurations can later be two of these.
//!
//! Complexity: O(n) to count, O(n) expected to select, n the number of voters.

use smallvec::SmallVec;

use crate::types::NodeId;

/// The voters, of which more than half are a quorum.
#[derive(Clone, Debug)]
pub(crate) struct Voters {
    ids: Vec<NodeId>,
}

impl Voters {
    /// `ids` in ascending order, not empty.
    pub(crate) fn new(ids: Vec<NodeId>) -> Voters {
        Voters { ids }
    }

    /// Whether `id` is a voter.
    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// All but `id`.
    pub(crate) fn others(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.ids.iter().copied().filter(move |other| *other != id)
    }

    /// How many make a quorum.
    pub(crate) fn quorum_size(&self) -> usize {
        self.ids.len() / 2 + 1
    }

    /// Whether those for whom `agrees` holds are a quorum.
    pub(crate) fn is_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.ids.iter().filter(|id| agrees(**id)).count() >= self.quorum_size()
    }

    /// The largest value that a quorum has reached, given what each voter has reached.
    pub(crate) fn reached<T: Ord + Copy>(&self, value_of: impl Fn(NodeId) -> T) -> T {
        let mut values: SmallVec<[T; 9]> = self.ids.iter().map(|id| value_of(*id)).collect();
        let quorum_size = self.quorum_size();
        let (_, reached, _) = values.select_nth_unstable_by(quorum_size - 1, |a, b| b.cmp(a));
        *reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(count: u64) -> Voters {
        Voters::new((1..=count).map(NodeId).collect())
    }

    #[test]
    fn more_than_half_are_a_quorum() {
        let sizes: Vec<usize> = (1..=7).map(|count| voters(count).quorum_size()).collect();
        assert_eq!(sizes, [1, 2, 2, 3, 3, 4, 4]);
        assert!(voters(4).is_quorum(|id| id.0 <= 3));
        assert!(!voters(4).is_quorum(|id| id.0 <= 2));
    }

    #[test]
    fn a_value_is_reached_when_a_quorum_has_at_least_it() {
        let values = [7, 3, 9, 1, 5];
        assert_eq!(voters(5).reached(|id| values[id.0 as usize - 1]), 5);
        assert_eq!(voters(4).reached(|id| values[id.0 as usize - 1]), 3);
        assert_eq!(voters(2).reached(|id| values[id.0 as usize - 1]), 3);
        assert_eq!(voters(1).reached(|id| values[id.0 as usize - 1]), 7);
    }
}
