//! What is to be done next so that the members are those that are wanted. Pure: what was seen of the cluster goes in, one step comes
//! out.
//!
//! Nothing is remembered between two steps. A change whose outcome nobody told (no answer in time, the nemesis died) is resolved
//! by looking: the next step follows from what the cluster says then, whoever made it so. A change that is under way, joint or not committed
//! yet, is waited for.
//!
//! A node that was removed comes back as a new member, under an id above all that ever were, on an empty disk, first
//! without a vote (`docs/decisions/004`): its process is started anew as that member, then it is added, then it gets its vote. Which
//! member a process is, it says itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What a command prints that lists the members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Who says so.
    pub node: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// The members.
    pub members: Vec<Member>,
    /// A change of several members at once is under way.
    pub joint: bool,
    /// Where in the log this is written.
    pub index: u64,
    /// Whether that is committed.
    pub committed: bool,
    /// Ids up to this one are used up.
    pub last_id: u64,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Where it is reached.
    pub address: String,
    /// `voter`, `learner`, or something in between.
    pub role: String,
}

/// What a node is, or is to be, to the cluster. In order: the more, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// No member.
    Out,
    /// A member without a vote.
    Learner,
    /// A member with a vote.
    Voter,
}

/// A node that is, or was, or is to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Where it is reached, as members are listed.
    pub address: String,
    /// What it is to be.
    pub wanted: Standing,
    /// Which member its process says to be; `None` if it does not say.
    pub identity: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: all is as it is wanted.
    Settled,
    /// Nothing yet.
    Wait(String),
    /// The node's process is to begin anew, empty, as this member.
    Start { node: String, id: u64 },
    /// The node is to become a member without a vote.
    Add { node: String, id: u64 },
    /// The members' votes are to be changed.
    Change(Change),
}

/// Members, by id, that get a vote, lose it, or are members no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub promote: Vec<u64>,
    pub remove: Vec<u64>,
    pub demote: Vec<u64>,
}

impl Change {
    pub(super) fn len(&self) -> usize {
        self.promote.len() + self.remove.len() + self.demote.len()
    }
}

impl Members {
    pub(super) fn member_at(&self, address: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.address == address)
    }

    pub(super) fn standing_at(&self, address: &str) -> Standing {
        match self.member_at(address).map(|member| member.role.as_str()) {
            None => Standing::Out,
            Some("voter") => Standing::Voter,
            Some(_) => Standing::Learner,
        }
    }
}

/// The next step. Those who are to go, go first: who comes back needs the votes of a cluster that works.
pub(super) fn next(members: &Members, nodes: &BTreeMap<String, Node>) -> Step {
    if members.joint || !members.committed {
        return Step::Wait(format!("a change at index {} is under way", members.index));
    }
    let mut change = Change::default();
    let mut newcomers = Vec::new();
    for (name, node) in nodes {
        let is = members.standing_at(&node.address);
        match (members.member_at(&node.address), node.wanted) {
            (None, Standing::Out) => {}
            (None, _) => newcomers.push((name, node)),
            (Some(member), Standing::Out) => change.remove.push(member.id),
            (Some(member), Standing::Learner) if is == Standing::Voter => change.demote.push(member.id),
            (Some(member), Standing::Voter) if is == Standing::Learner => match node.identity {
                Some(id) if id == member.id => change.promote.push(member.id),
                Some(_) => return Step::Start { node: name.clone(), id: member.id },
                None => {
                    return Step::Wait(format!("{name} does not say that it is member {}", member.id));
                }
            },
            (Some(_), _) => {}
        }
    }
    if change.len() > 0 {
        return Step::Change(change);
    }
    let Some((name, node)) = newcomers.first() else { return Step::Settled };
    let fresh = members.last_id + 1;
    match node.identity {
        Some(id) if id == fresh => Step::Add { node: (*name).clone(), id: fresh },
        _ => Step::Start { node: (*name).clone(), id: fresh },
    }
}

/// The first of those who say that they lead who did not when that was looked at before. `leading`: those who have said so since the first
/// look, without a break; whoever has ceased to, and leads again, is new.
pub(super) fn new_among(leading: &mut BTreeSet<String>, leaders: Vec<String>) -> Option<String> {
    leading.retain(|leader| leaders.contains(leader));
    leaders.into_iter().find(|leader| !leading.contains(leader))
}

#[cfg(test)]
mod tests {
    use labrys_seed::Seed;
    use proptest::prelude::*;
    use rand::Rng as _;

    use super::*;

    /// A cluster that does what it is told, and sometimes does not say so, or does not do it and does not say so either.
    struct Cluster {
        members: Members,
        nodes: BTreeMap<String, Node>,
    }

    fn address(number: u64) -> String {
        format!("10.0.0.{number}:7000")
    }

    fn cluster(count: u64) -> Cluster {
        let member = |id| Member { id, address: address(id), role: "voter".to_owned() };
        let members = Members {
            node: 1,
            leader: Some(1),
            members: (1..=count).map(member).collect(),
            joint: false,
            index: 1,
            committed: true,
            last_id: count,
        };
        let node = |id| {
            (format!("n{id}"), Node { address: address(id), wanted: Standing::Voter, identity: Some(id) })
        };
        Cluster { members, nodes: (1..=count).map(node).collect() }
    }

    impl Cluster {
        fn want(&mut self, node: &str, wanted: Standing) {
            self.nodes.get_mut(node).unwrap().wanted = wanted;
        }

        fn standing(&self, node: &str) -> Standing {
            self.members.standing_at(&self.nodes[node].address)
        }

        fn obey(&mut self, step: &Step) {
            match step {
                Step::Settled | Step::Wait(_) => {}
                Step::Start { node, id } => self.nodes.get_mut(node).unwrap().identity = Some(*id),
                Step::Add { node, id } => {
                    assert!(*id > self.members.last_id, "an id is used again");
                    let address = self.nodes[node].address.clone();
                    self.members.members.push(Member { id: *id, address, role: "learner".to_owned() });
                    self.members.last_id = *id;
                }
                Step::Change(change) => {
                    self.members.members.retain(|member| !change.remove.contains(&member.id));
                    for member in &mut self.members.members {
                        if change.promote.contains(&member.id) {
                            let identities = self.nodes.values().map(|node| node.identity);
                            assert!(
                                identities.into_iter().any(|id| id == Some(member.id)),
                                "a vote for nobody"
                            );
                            member.role = "voter".to_owned();
                        }
                        if change.demote.contains(&member.id) {
                            member.role = "learner".to_owned();
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_node_that_was_removed_comes_back_as_another_member_on_an_empty_disk() {
        let mut cluster = cluster(3);
        cluster.want("n2", Standing::Out);
        let remove = Change { remove: vec![2], ..Change::default() };
        assert_eq!(next(&cluster.members, &cluster.nodes), Step::Change(remove.clone()));
        cluster.obey(&Step::Change(remove));
        assert_eq!(next(&cluster.members, &cluster.nodes), Step::Settled);
        cluster.want("n2", Standing::Voter);
        let steps = [
            Step::Start { node: "n2".to_owned(), id: 4 },
            Step::Add { node: "n2".to_owned(), id: 4 },
            Step::Change(Change { promote: vec![4], ..Change::default() }),
            Step::Settled,
        ];
        for step in steps {
            assert_eq!(next(&cluster.members, &cluster.nodes), step);
            cluster.obey(&step);
        }
    }

    #[test]
    fn what_is_under_way_is_waited_for_and_so_is_a_member_that_does_not_answer() {
        let mut cluster = cluster(3);
        cluster.want("n2", Standing::Learner);
        for (joint, committed) in [(true, true), (false, false)] {
            let members = Members { joint, committed, ..cluster.members.clone() };
            assert!(matches!(next(&members, &cluster.nodes), Step::Wait(_)));
        }
        let demote = Step::Change(Change { demote: vec![2], ..Change::default() });
        assert_eq!(next(&cluster.members, &cluster.nodes), demote);
        cluster.obey(&demote);
        cluster.want("n2", Standing::Voter);
        cluster.nodes.get_mut("n2").unwrap().identity = None;
        assert!(matches!(next(&cluster.members, &cluster.nodes), Step::Wait(_)));
    }

    #[test]
    fn a_leader_that_was_one_before_is_not_new_however_stale_unless_it_has_ceased_to_lead() {
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut leading: BTreeSet<String> = named(&["n1", "n3"]).into_iter().collect();
        assert_eq!(new_among(&mut leading, named(&["n1", "n3"])), None);
        assert_eq!(new_among(&mut leading, named(&["n1"])), None);
        assert_eq!(new_among(&mut leading.clone(), named(&["n2", "n1"])), Some("n2".to_owned()));
        assert_eq!(new_among(&mut leading, named(&["n1", "n3"])), Some("n3".to_owned()));
    }

    proptest! {
        #[test]
        fn whatever_is_wanted_is_reached_though_half_of_the_outcomes_are_unknown(
            seed in any::<u64>(), wishes in prop::collection::vec((1..=5_u64, 0..3_u8), 1..8)
        ) {
            let mut rng = Seed(seed).rng();
            let mut cluster = cluster(5);
            for (number, standing) in wishes {
                let wanted = [Standing::Out, Standing::Learner, Standing::Voter][usize::from(standing)];
                cluster.want(&format!("n{number}"), wanted);
                // From time to time it is given up and something else is wanted.
                for _ in 0..rng.random_range(0..60) {
                    let step = next(&cluster.members, &cluster.nodes);
                    if rng.random() {
                        cluster.obey(&step);
                    }
                }
            }
            let mut steps = 0;
            loop {
                let step = next(&cluster.members, &cluster.nodes);
                if step == Step::Settled {
                    break;
                }
                cluster.obey(&step);
                steps += 1;
                prop_assert!(steps < 50, "{step:?}");
            }
            for (name, node) in &cluster.nodes {
                // A learner that is to be nothing more is left as it is, and so is a voter that came back.
                prop_assert_eq!(cluster.standing(name), node.wanted, "{}", name);
            }
        }
    }
}
