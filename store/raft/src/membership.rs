//! Who belongs to the cluster: the configuration, and the changes of it (thesis, chapter 4). Which one is in force:
//! `configurations`.
//!
//! A configuration is the payload of an entry and holds everything, so that nobody needs an earlier one to understand it. It
//! is in force from the moment in which its entry is in the log, committed or not, and no longer when that entry is dropped
//! (thesis 4.1); after a restart it is found in the log again. Two kinds of change:
//!
//! - of one member at a time: majorities of two configurations that differ in one voter always share a node (thesis 4.1);
//! - of any number, by way of a *joint* configuration: until it is left, everything needs a majority of the old voters and
//!   a majority of the new ones (thesis 4.3). The leader leaves it by itself as soon as it is committed.
//!
//! # Ids are never used twice
//!
//! [`Membership::last_id`] only grows, and a new member needs an id above it. A node that comes back with an emptied disk
//! under an old id would be taken for what it was: an acknowledgement of its earlier self, late on the way, would count for
//! entries that it no longer has. Under a new id it begins as a learner, without a vote, with nothing said in its name.
//!
//! Complexity: a change costs O(members); asking costs O(log members).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::{LogIndex, NodeId};

/// A configuration of the cluster. All lists are in ascending order, without duplicates.
///
/// Without voters it is that of a node which does not know its cluster yet: it votes for nobody, never campaigns, and waits
/// for a leader's appends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Of these a majority has to agree.
    pub voters: Vec<NodeId>,
    /// In a joint configuration: the voters before, of whom a majority has to agree as well. Otherwise empty.
    pub outgoing: Vec<NodeId>,
    /// Receive the log and have no vote.
    pub learners: Vec<NodeId>,
    /// Those of `outgoing` that become learners when the joint configuration is left.
    pub learners_next: Vec<NodeId>,
    /// The highest id that ever was a member's.
    pub last_id: NodeId,
    /// Where members are reached, as far as it was told: opaque here, for the driver and its clients.
    pub addresses: BTreeMap<NodeId, String>,
}

/// A change of the configuration that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new member that receives the log and has no vote. Its id must be above [`Membership::last_id`].
    AddLearner {
        /// Its id.
        id: NodeId,
        /// Where it is reached.
        address: String,
    },
    /// A learner gets a vote. Refused while it lags.
    Promote {
        /// Which.
        id: NodeId,
    },
    /// A member, voter or learner, is one no more.
    Remove {
        /// Which.
        id: NodeId,
    },
    /// Several of these at once, by way of a joint configuration. The change ends when that has been left.
    Joint {
        /// Learners that get a vote; refused while one lags.
        promote: Vec<NodeId>,
        /// Members that are none any more.
        remove: Vec<NodeId>,
        /// Voters that become learners.
        demote: Vec<NodeId>,
    },
}

/// Why a change was refused; nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChangeRefusal {
    /// One at a time.
    #[error("another change of the membership is not finished")]
    InProgress,
    /// Two leaders in a row could otherwise count by configurations whose majorities do not meet (Ongaro, raft-dev, 2015).
    #[error("the leader has not committed an entry of its term yet")]
    TermNotEstablished,
    /// Ids are never used twice.
    #[error("id {id} is or may have been in use: a new member needs one above {last}")]
    IdUsed {
        /// The id asked for.
        id: NodeId,
        /// The highest one that ever was a member's.
        last: NodeId,
    },
    /// There is no such member.
    #[error("node {id} is not a member")]
    NotAMember {
        /// Which.
        id: NodeId,
    },
    /// Only a learner can be promoted.
    #[error("node {id} is not a learner")]
    NotALearner {
        /// Which.
        id: NodeId,
    },
    /// Only a voter can be demoted or lead.
    #[error("node {id} is not a voter")]
    NotAVoter {
        /// Which.
        id: NodeId,
    },
    /// With its vote the cluster would wait for it.
    #[error("node {id} lags: it has {matched} of {commit} committed entries, or does not answer")]
    Lags {
        /// Which.
        id: NodeId,
        /// The last entry that it has acknowledged.
        matched: LogIndex,
        /// The last one committed.
        commit: LogIndex,
    },
    /// A cluster without voters is none.
    #[error("at least one voter must remain")]
    NoVoterLeft,
    /// Nothing would change, or a node is to become two things.
    #[error("the change names no node, or one node twice")]
    Ambiguous,
}

impl Membership {
    /// The configuration with these voters and nobody else.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        let mut voters: Vec<NodeId> = voters.into_iter().collect();
        voters.sort_unstable();
        voters.dedup();
        let last_id = voters.last().copied().unwrap_or_default();
        Membership { voters, last_id, ..Membership::default() }
    }

    /// The same, with the places where members are reached; those of others are left out.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = (NodeId, String)>) -> Membership {
        self.addresses = addresses.into_iter().filter(|(id, _)| self.contains(*id)).collect();
        self
    }

    /// Whether it is that of a node that does not know its cluster.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether it is on the way from one set of voters to another.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` has a vote, in either half of a joint configuration.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.binary_search(&id).is_ok() || self.outgoing.binary_search(&id).is_ok()
    }

    /// Whether `id` receives the log without a vote.
    #[must_use]
    pub fn is_learner(&self, id: NodeId) -> bool {
        self.learners.binary_search(&id).is_ok()
    }

    /// Whether `id` receives the log.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.is_learner(id)
    }

    /// All members, in ascending order.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let mut members = [&self.voters[..], &self.outgoing, &self.learners].concat();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// All that have a vote, in ascending order.
    #[must_use]
    pub fn all_voters(&self) -> Vec<NodeId> {
        let mut voters = [&self.voters[..], &self.outgoing].concat();
        voters.sort_unstable();
        voters.dedup();
        voters
    }

    /// What is wrong with it, if anything: for what comes from outside.
    ///
    /// # Errors
    ///
    /// In words.
    pub fn check(&self) -> Result<(), &'static str> {
        let lists = [&self.voters, &self.outgoing, &self.learners, &self.learners_next];
        if lists.iter().any(|list| list.first() == Some(&NodeId(0))) {
            return Err("node id 0 is not allowed");
        }
        if !lists.iter().all(|list| list.is_sorted_by(|a, b| a < b)) {
            return Err("the members must be in ascending order without duplicates");
        }
        if self.voters.is_empty() && !self.members().is_empty() {
            return Err("a configuration with members needs voters");
        }
        if self.learners.iter().any(|id| self.is_voter(*id)) {
            return Err("a learner has no vote");
        }
        if !self.learners_next.iter().all(|id| self.outgoing.contains(id) && !self.voters.contains(id)) {
            return Err("only an outgoing voter can be about to become a learner");
        }
        if self.members().last().is_some_and(|id| *id > self.last_id) {
            return Err("a member's id is above the highest that ever was in use");
        }
        Ok(())
    }

    /// The configuration that `change` leads to, joint if it is a joint one. `reuses_ids` leaves out the rule that ids are
    /// never used twice (a defect).
    pub(crate) fn changed(&self, change: &Change, reuses_ids: bool) -> Result<Membership, ChangeRefusal> {
        match change {
            Change::AddLearner { id, address } => self.with_learner(*id, address, reuses_ids),
            Change::Promote { id } => {
                let mut next = self.clone();
                next.promote(*id)?;
                Ok(next.tidied())
            }
            Change::Remove { id } => {
                let mut next = self.clone();
                next.remove(*id)?;
                next.has_voters()?;
                Ok(next.tidied())
            }
            Change::Joint { promote, remove, demote } => self.joint(promote, remove, demote),
        }
    }

    fn with_learner(&self, id: NodeId, address: &str, reuses_ids: bool) -> Result<Membership, ChangeRefusal> {
        let is_used = id <= self.last_id && !reuses_ids;
        if id.0 == 0 || is_used || self.contains(id) {
            return Err(ChangeRefusal::IdUsed { id, last: self.last_id });
        }
        let mut next = self.clone();
        insert(&mut next.learners, id);
        next.last_id = next.last_id.max(id);
        next.addresses.insert(id, address.to_owned());
        Ok(next)
    }

    fn joint(
        &self,
        promote: &[NodeId],
        remove: &[NodeId],
        demote: &[NodeId],
    ) -> Result<Membership, ChangeRefusal> {
        let mut named = [promote, remove, demote].concat();
        let count = named.len();
        named.sort_unstable();
        named.dedup();
        if named.is_empty() || named.len() < count {
            return Err(ChangeRefusal::Ambiguous);
        }
        let mut next = self.clone();
        promote.iter().try_for_each(|id| next.promote(*id))?;
        remove.iter().try_for_each(|id| next.remove(*id))?;
        for id in demote {
            if !take(&mut next.voters, *id) {
                return Err(ChangeRefusal::NotAVoter { id: *id });
            }
            insert(&mut next.learners_next, *id);
        }
        next.has_voters()?;
        next.outgoing.clone_from(&self.voters);
        Ok(next.tidied())
    }

    /// The configuration after this joint one.
    pub(crate) fn after_joint(&self) -> Membership {
        let mut next = self.clone();
        next.outgoing.clear();
        for id in std::mem::take(&mut next.learners_next) {
            insert(&mut next.learners, id);
        }
        next.tidied()
    }

    fn promote(&mut self, id: NodeId) -> Result<(), ChangeRefusal> {
        if !take(&mut self.learners, id) {
            return Err(ChangeRefusal::NotALearner { id });
        }
        insert(&mut self.voters, id);
        Ok(())
    }

    fn remove(&mut self, id: NodeId) -> Result<(), ChangeRefusal> {
        let was_member = take(&mut self.learners, id) || take(&mut self.voters, id);
        if was_member { Ok(()) } else { Err(ChangeRefusal::NotAMember { id }) }
    }

    fn has_voters(&self) -> Result<(), ChangeRefusal> {
        if self.voters.is_empty() { Err(ChangeRefusal::NoVoterLeft) } else { Ok(()) }
    }

    /// Without the addresses of those who are no members.
    fn tidied(mut self) -> Membership {
        let members = self.members();
        self.addresses.retain(|id, _| members.binary_search(id).is_ok());
        self
    }
}

impl fmt::Display for Membership {
    /// `voters 1 2 3`, then `outgoing …`, `learners …`, `learners next …` as far as there are any.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("voters", &self.voters),
            (", outgoing", &self.outgoing),
            (", learners", &self.learners),
            (", learners next", &self.learners_next),
        ];
        if self.is_empty() {
            return formatter.write_str("nobody");
        }
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            formatter.write_str(name)?;
            list.iter().try_for_each(|id| write!(formatter, " {id}"))?;
        }
        Ok(())
    }
}

fn insert(list: &mut Vec<NodeId>, id: NodeId) {
    if let Err(position) = list.binary_search(&id) {
        list.insert(position, id);
    }
}

/// Takes `id` out; whether it was there.
fn take(list: &mut Vec<NodeId>, id: NodeId) -> bool {
    list.binary_search(&id).map(|position| list.remove(position)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn of(voters: &[u64]) -> Membership {
        Membership::of_voters(ids(voters))
    }

    fn changed(membership: &Membership, change: Change) -> Result<String, ChangeRefusal> {
        let next = membership.changed(&change, false)?;
        assert_eq!(next.check(), Ok(()), "{next}");
        Ok(next.to_string())
    }

    #[test]
    fn a_learner_needs_an_id_that_was_never_used() {
        let membership = of(&[1, 2, 5]);
        let add = |id| Change::AddLearner { id: NodeId(id), address: "x:1".to_owned() };
        for id in [0, 2, 3, 5] {
            let refusal = ChangeRefusal::IdUsed { id: NodeId(id), last: NodeId(5) };
            assert_eq!(changed(&membership, add(id)), Err(refusal));
        }
        assert_eq!(changed(&membership, add(6)), Ok("voters 1 2 5, learners 6".to_owned()));
        let six = membership.changed(&add(6), false).unwrap();
        let without = six.changed(&Change::Remove { id: NodeId(6) }, false).unwrap();
        assert_eq!((without.last_id, without.addresses.len()), (NodeId(6), 0), "its id is gone for good");
    }

    #[test]
    fn one_voter_more_or_one_less_is_a_change_of_its_own() {
        let mut membership = of(&[1, 2]);
        insert(&mut membership.learners, NodeId(3));
        membership.last_id = NodeId(3);
        let promote = |id| Change::Promote { id: NodeId(id) };
        assert_eq!(changed(&membership, promote(3)), Ok("voters 1 2 3".to_owned()));
        assert_eq!(changed(&membership, promote(2)), Err(ChangeRefusal::NotALearner { id: NodeId(2) }));
        let remove = |id| Change::Remove { id: NodeId(id) };
        assert_eq!(changed(&membership, remove(1)), Ok("voters 2, learners 3".to_owned()));
        assert_eq!(changed(&membership, remove(4)), Err(ChangeRefusal::NotAMember { id: NodeId(4) }));
        assert_eq!(changed(&of(&[1]), remove(1)), Err(ChangeRefusal::NoVoterLeft));
    }

    #[test]
    fn a_joint_change_keeps_the_old_voters_beside_the_new_and_then_lets_them_go() {
        let mut membership = of(&[1, 2, 3]);
        membership.learners = ids(&[4, 5]);
        membership.last_id = NodeId(5);
        let joint = |promote: &[u64], remove: &[u64], demote: &[u64]| Change::Joint {
            promote: ids(promote),
            remove: ids(remove),
            demote: ids(demote),
        };
        let change = joint(&[4, 5], &[1], &[2]);
        let during = "voters 3 4 5, outgoing 1 2 3, learners next 2".to_owned();
        assert_eq!(changed(&membership, change.clone()), Ok(during));
        let after = membership.changed(&change, false).unwrap().after_joint();
        assert_eq!((after.to_string(), after.check()), ("voters 3 4 5, learners 2".to_owned(), Ok(())));
        for nonsense in [joint(&[], &[], &[]), joint(&[4], &[4], &[]), joint(&[4, 4], &[], &[])] {
            assert_eq!(changed(&membership, nonsense), Err(ChangeRefusal::Ambiguous));
        }
        let nobody = joint(&[], &[1, 2], &[3]);
        assert_eq!(changed(&membership, nobody), Err(ChangeRefusal::NoVoterLeft));
    }

    #[test]
    fn a_configuration_that_makes_no_sense_is_told_from_one_that_does() {
        let good = of(&[1, 2, 3]);
        let bad = [
            Membership { voters: ids(&[0, 1]), ..good.clone() },
            Membership { voters: ids(&[2, 1]), ..good.clone() },
            Membership { voters: Vec::new(), learners: ids(&[1]), ..good.clone() },
            Membership { learners: ids(&[2]), ..good.clone() },
            Membership { learners_next: ids(&[2]), ..good.clone() },
            Membership { last_id: NodeId(2), ..good.clone() },
        ];
        assert_eq!((good.check(), Membership::default().check()), (Ok(()), Ok(())));
        bad.iter().for_each(|membership| assert!(membership.check().is_err(), "{membership:?}"));
    }
}
