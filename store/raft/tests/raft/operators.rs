//! What operators and readers add to the random schedules: changes of the membership, transfers of leadership, reads of all
//! kinds; and the check that what a leader commits is on the disks of a quorum of its configuration.

use labrys_raft::{Change, Config, Membership, NodeId, ReadMode, Status};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::cluster::Cluster;
use crate::oracle::{Property, Violation, violated};
use crate::simulation::{Action, Simulation};

/// Makes `config` fit to what a schedule of these `weights` contains; returns how many nodes stand by to be added.
pub fn adapt_to_operators(rng: &mut ChaCha8Rng, config: &mut Config, weights: &[(Action, u32)]) -> u64 {
    let has = |wanted: fn(&Action) -> bool| weights.iter().any(|(action, _)| wanted(action));
    // A clock that jumps keeps no bound on its drift.
    config.lease_reads = !has(|action| matches!(action, Action::JumpClock)) && rng.random_bool(0.7);
    config.election_handicap = u64::from(rng.random_bool(0.1));
    if !has(|action| matches!(action, Action::Change)) {
        return 0;
    }
    // Without it removed nodes do disrupt.
    config.check_quorum = true;
    rng.random_range(1..=3)
}

impl Simulation {
    /// A read of any kind; those that a follower can answer go to any node.
    pub fn read(&mut self, leader: usize) -> Result<(), Violation> {
        let modes =
            [ReadMode::Log, ReadMode::ReadIndex, ReadMode::Follower, ReadMode::Lease, ReadMode::Local];
        let mode = *modes.choose(&mut self.rng).expect("not empty");
        if matches!(mode, ReadMode::Follower | ReadMode::Local) {
            return self.on_random_server(|simulation, place| simulation.cluster.read(place, mode).map(drop));
        }
        self.cluster.read(leader, mode).map(drop)
    }

    /// A process that was stopped within a step goes on with it: it has looked at the clock and now reads.
    pub fn read_asleep(&mut self) -> Result<(), Violation> {
        let servers = &self.cluster.servers;
        let asleep: Vec<usize> = (0..servers.len())
            .filter(|place| servers[*place].paused && servers[*place].node.is_some())
            .collect();
        let Some(place) = asleep.choose(&mut self.rng).copied() else { return Ok(()) };
        self.exercised.reads += 1;
        self.cluster.note(|| format!("-- node {} reads, having been stopped within a step", place + 1));
        self.cluster.read(place, ReadMode::Lease).map(drop)
    }

    /// An operator asks, mostly the leader, for something that mostly makes sense.
    pub fn change(&mut self) -> Result<(), Violation> {
        self.on_client_server(|simulation, place| {
            let Some(node) = &simulation.cluster.servers[place].node else { return Ok(()) };
            let membership = node.membership().clone();
            let change = simulation.random_change(&membership);
            simulation.exercised.changes += 1;
            simulation.cluster.note(|| format!("-- an operator asks node {} for {change:?}", place + 1));
            simulation.cluster.change(place, change).map(drop)
        })
    }

    fn random_change(&mut self, membership: &Membership) -> Change {
        let rng = &mut self.rng;
        let mut some = |list: &[NodeId]| {
            let count = rng.random_range(0..=list.len().min(2));
            list.choose_multiple(rng, count).copied().collect::<Vec<_>>()
        };
        let (promote, gone) = (some(&membership.learners), some(&membership.voters));
        let anybody = membership.members().choose(rng).copied().unwrap_or(NodeId(1));
        let learner = membership.learners.choose(rng).copied();
        let is_there = membership.last_id.0 < self.cluster.servers.len() as u64;
        match (rng.random_range(0..8), learner) {
            (0..=2, _) if is_there || rng.random_bool(0.1) => {
                let is_new = is_there && rng.random_bool(0.9);
                let id = if is_new { membership.last_id.next() } else { anybody };
                Change::AddLearner { id, address: format!("host-{id}") }
            }
            (0..=4, Some(id)) => Change::Promote { id },
            (0..=4, None) => Change::Joint { promote, remove: Vec::new(), demote: vec![anybody] },
            (5, _) if membership.voters.len() > 1 => Change::Remove { id: anybody },
            (6, _) => Change::Joint { promote, remove: gone, demote: Vec::new() },
            _ => Change::Joint { promote, remove: Vec::new(), demote: gone },
        }
    }

    /// An operator wants another leader, this one or any.
    pub fn transfer(&mut self) -> Result<(), Violation> {
        self.on_client_server(|simulation, place| {
            let count = simulation.cluster.servers.len() as u64;
            let target = NodeId(simulation.rng.random_range(1..=count));
            let target = simulation.rng.random_bool(0.8).then_some(target);
            simulation.exercised.transfers += 1;
            simulation.cluster.note(|| format!("-- node {} is to hand over to {target:?}", place + 1));
            simulation.cluster.transfer(place, target).map(drop)
        })
    }

    /// The places of the members of the present leader's configuration that exist; all, if nobody leads.
    pub fn present_members(&self) -> impl Iterator<Item = usize> + '_ {
        let leader = self.cluster.leader().and_then(|place| self.cluster.servers[place].node.as_ref());
        let members = leader.map(|node| node.membership().members());
        let count = self.cluster.servers.len();
        (0..count).filter(move |place| {
            members.as_ref().is_none_or(|members| members.contains(&self.cluster.servers[*place].config.id))
        })
    }
}

impl Cluster {
    /// What the leader at `place` has committed in a step since it `was` so is on the disks of a quorum of the configuration by
    /// which it was counted. That is the newest in its log before the step: a step counts first, and appends the configuration
    /// after a joint one then; and it does not commit what it appends.
    pub fn check_quorum_of_commit(&self, place: usize, was: &Status) -> Result<(), Violation> {
        let Some(node) = &self.servers[place].node else { return Ok(()) };
        let status = node.status();
        let lies = |place: usize| self.servers[place].disk.loses.is_some();
        let is_blind =
            !self.oracle.watches_disk || self.oracle.has_lost_logs || (0..self.servers.len()).any(lies);
        if status.commit <= was.commit || status.role != labrys_raft::Role::Leader || is_blind {
            return Ok(());
        }
        let term = node.entry(status.commit).map(|entry| entry.term);
        let has_it = |id: NodeId| {
            let server = self.servers.get(Cluster::place(id));
            server
                .is_some_and(|server| server.disk.term_at(status.commit).map_or(true, |found| found == term))
        };
        let counted_by = node.membership_at(was.last_index);
        match half_without_majority(counted_by, has_it) {
            None => Ok(()),
            Some(half) => violated(
                Property::CommittedByQuorum,
                format!(
                    "node {} commits entry {} without a majority of {half:?} on disk",
                    status.id, status.commit
                ),
            ),
        }
    }
}

/// The half of a configuration of which no majority has something; the only one, unless it is joint.
fn half_without_majority(membership: &Membership, has_it: impl Fn(NodeId) -> bool) -> Option<&[NodeId]> {
    let halves = [&membership.voters[..], &membership.outgoing].into_iter().filter(|half| !half.is_empty());
    let lacks_majority = |half: &&[NodeId]| half.iter().filter(|id| has_it(**id)).count() <= half.len() / 2;
    halves.into_iter().find(lacks_majority)
}

#[test]
fn the_oracle_asks_for_a_majority_of_each_half_of_a_joint_configuration() {
    let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let joint = Membership { outgoing: ids(&[1, 2, 3]), ..Membership::of_voters(ids(&[3, 4, 5])) };
    let lacking = |have: &[u64]| half_without_majority(&joint, |id| have.contains(&id.0)).map(<[_]>::to_vec);
    assert_eq!(lacking(&[3, 4, 5]), Some(ids(&[1, 2, 3])));
    assert_eq!(lacking(&[1, 2, 3]), Some(ids(&[3, 4, 5])));
    assert_eq!(lacking(&[2, 3, 4]), None);
}
