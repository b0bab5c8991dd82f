//! Trials of progress, after all faults are undone: safety always, liveness once the network is good (Dwork, Lynch and Stockmeyer,
//! J. ACM 1988). A store that does not pass one is *unavailable*.

use std::cell::Cell;
use std::collections::BTreeSet;

use labrys_history::{Draft, EventKind, Process, Value};
use labrys_store::client::logic::{Action, Request};
use labrys_store::machine::Operation;
use labrys_store::raft::{ReadMode, Role};
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};

use crate::clients::ClientThread;
use crate::run::{Ended, wait};
use crate::world::World;

/// A node that sends, but hears no other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deaf {
    /// The leader, whose heartbeats keep the others quiet: they must come to another leader, and a write must come through.
    Leader,
    /// A follower, which campaigns and campaigns: the others must keep their leader all the same.
    Follower,
}

/// How many election timeouts there are for some progress.
const PATIENT_ELECTION_TIMEOUTS: u64 = 40;
/// How many election timeouts a leader must lead without interruption.
const STABLE_ELECTION_TIMEOUTS: u64 = 10;
/// What is done to a node while there is a trial, among the faults of the schedule.
const TRIAL_FAULT: u64 = u64::MAX;
const SECOND_NS: u64 = 1_000_000_000;

fn patience_ns(world: &World) -> u64 {
    PATIENT_ELECTION_TIMEOUTS * world.election_timeout_ns() + 5 * SECOND_NS
}

/// Only a random majority stays alive. One write of a client of its own must come through.
pub(crate) fn core_makes_progress(world: &mut World) -> Option<Ended> {
    let count = world.nodes.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut world.rng);
    let (core, others) = order.split_at(count / 2 + 1);
    let mut core = core.to_vec();
    core.sort_unstable();
    for node in others {
        world.leave_dead(*node);
    }
    let names: Vec<String> = core.iter().map(|node| world.nodes[*node].name.clone()).collect();
    record(world, "core", Value::Vector(names.iter().map(|name| Value::from(name.as_str())).collect()));
    let complaint = format!("{} alone make no progress", names.join(" "));
    world.begin_probe();
    let ended = wait(world, patience_ns(world), &complaint, World::probe_is_done);
    if ended.is_none() {
        for node in others {
            world.revive(*node);
        }
    }
    ended
}

/// From one node of a cluster that is whole nothing reaches any more; it is deaf, not dumb.
pub(crate) fn go_on_without(world: &mut World, deaf: Deaf, recovery_ns: u64) -> Option<Ended> {
    if let Some(ended) = wait(world, recovery_ns, "the cluster does not recover", World::is_whole) {
        return Some(ended);
    }
    let node = world.first_of(deaf)?;
    let name = world.nodes[node].name.clone();
    let others = (0..world.nodes.len()).filter(|other| *other != node);
    world.network.cut(TRIAL_FAULT, others.map(|other| (other, node)).collect::<BTreeSet<_>>());
    record(world, "deaf", Value::from(name.as_str()));
    let ended = match deaf {
        Deaf::Leader => {
            let complaint = format!("no progress since {name}, which leads, hears nobody");
            world.begin_probe();
            wait(world, patience_ns(world), &complaint, World::probe_is_done)
        }
        Deaf::Follower => {
            let complaint = format!("no leader leads for long since {name}, a follower, hears nobody");
            let stable_ns = STABLE_ELECTION_TIMEOUTS * world.election_timeout_ns();
            let (since_ns, seen) = (Cell::new(world.now_ns), Cell::new(world.newest_leader()));
            wait(world, patience_ns(world), &complaint, |world| {
                let leader = world.newest_leader();
                if leader.is_none() || leader != seen.replace(leader) {
                    since_ns.set(world.now_ns);
                }
                world.now_ns - since_ns.get() >= stable_ns
            })
        }
    };
    world.network.mend(TRIAL_FAULT);
    ended
}

fn record(world: &mut World, f: &str, value: Value) {
    world.record(Draft::new(Process::observer(), EventKind::Info, f.to_owned(), value));
}

impl World {
    /// The leader of the latest term, and that term.
    fn newest_leader(&self) -> Option<(u64, usize)> {
        let statuses = self.nodes.iter().enumerate().filter_map(|(position, node)| {
            let status = node.process.as_ref()?.replica.raft_status();
            (status.role == Role::Leader).then_some((status.term.0, position))
        });
        statuses.max()
    }

    fn first_of(&mut self, deaf: Deaf) -> Option<usize> {
        let (_, leader) = self.newest_leader()?;
        let followers: Vec<usize> = (0..self.nodes.len()).filter(|node| *node != leader).collect();
        match deaf {
            Deaf::Leader => Some(leader),
            Deaf::Follower => followers.choose(&mut self.rng).copied(),
        }
    }

    fn leave_dead(&mut self, node: usize) {
        self.nodes[node].down_by.insert(TRIAL_FAULT);
        self.kill(node, None);
    }

    fn revive(&mut self, node: usize) {
        self.nodes[node].down_by.remove(&TRIAL_FAULT);
        self.start(node);
    }

    /// A client that is not in the history writes one key that is not in the workload.
    fn begin_probe(&mut self) {
        let probe = self.clients.len();
        self.clients.push(ClientThread::new(probe));
        let (now_ms, seed) = (self.now_ms(), self.seed().fork("probe").fork_index(probe as u64));
        let mut actions = Vec::new();
        let logic = self.clients[probe].logic_of(u64::MAX, &self.addresses, ReadMode::ReadIndex, seed);
        let request = Request::Write(Operation::put("labrys-probe", "alive"));
        logic.begin(now_ms, request, u64::MAX, &mut actions);
        for action in actions {
            if let Action::Send(attempt) = action {
                self.ask(probe, attempt);
            }
        }
        self.plan_client_wake(probe);
    }

    fn probe_is_done(&self) -> bool {
        self.clients
            .last()
            .and_then(|probe| probe.logic.as_ref())
            .is_some_and(|logic| logic.wake_at_ms().is_none())
    }
}
