//! What faults can wait for, on real nodes: that nobody leads is seen between two leaders, and a leader who was out of sight is none that was
//! newly elected.

use std::sync::{Arc, Mutex, PoisonError};

use labrys_harness::db::{ClusterSignals, Db};
use labrys_harness::faults::{PlannedFaults, Signals};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::OBSERVER_ADDRESS;
use labrys_nemesis::{Fault, Happening, Resolved, Schedule, Scheduled, Target, Trigger};
use labrys_seed::Seed;
use labrys_workloads::generator::{BoxGenerator, Generator as _, Peek, Threads};

use super::Case;
use super::nemesis::{Stage, nemesis};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] = &[
    ("that_nobody_leads_is_seen_when_a_leader_dies", |identity| in_folder(identity, "nobody_leads")),
    ("a_leader_that_was_out_of_sight_is_no_new_one_and_the_next_one_is", |identity| {
        in_folder(identity, "hidden_leader")
    }),
];

pub const BODIES: &[Body] = &[("nobody_leads", nobody_leads), ("hidden_leader", hidden_leader)];

/// A run that does not end while a test lasts.
const ENDS_MS: u64 = 1_000_000_000;

impl Stage {
    /// What faults are told; the nodes are watched from the first call on.
    fn told(&self) -> Result<ClusterSignals, String> {
        self.runtime.block_on(self.db.observe()).map_err(text)?;
        Ok(self.db.signals())
    }

    fn eventually_told(
        &self,
        what: &str,
        is_it: impl Fn(&ClusterSignals) -> bool,
    ) -> Result<ClusterSignals, String> {
        let mut last = ClusterSignals::default();
        eventually(what, || {
            last = self.told().unwrap_or_default();
            is_it(&last)
        })?;
        Ok(last)
    }

    fn position(&self, signals: &ClusterSignals) -> Result<usize, String> {
        let (leader, _) = signals.leader.as_ref().ok_or("nobody leads")?;
        self.db.node_names().iter().position(|name| name == leader).ok_or(format!("no node {leader}"))
    }
}

/// An election takes longer than a look at a dead node, unless the machine is slow: not every time.
fn nobody_leads(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let mut was_seen = false;
    for _ in 0..5 {
        let before = stage.eventually_told("a leader", |signals| signals.leader.is_some())?;
        let leader = stage.position(&before)?;
        stage.runtime.block_on(stage.db.kill(leader)).map_err(text)?;
        let is_over = |signals: &ClusterSignals| signals.leader != before.leader;
        let after = stage.eventually_told("the leader is not seen to lead any more", is_over)?;
        was_seen |= after.leader.is_none();
        let next = |signals: &ClusterSignals| signals.newest_term_led > before.newest_term_led;
        stage.eventually_told("another leader", |signals| next(signals) && signals.leader.is_some())?;
        stage.runtime.block_on(stage.db.start(leader)).map_err(text)?;
        stage.recovers()?;
    }
    same("that nobody leads was seen between two leaders", was_seen, true)?;
    Ok(0)
}

/// A fault that waits for a new leader from now on, told of what the nodes say.
struct Waiting {
    generator: BoxGenerator,
    told: Arc<Mutex<ClusterSignals>>,
    looks: u64,
}

impl Waiting {
    fn new(stage: &Stage) -> Result<Waiting, String> {
        let fault = Scheduled {
            id: 1,
            at_ms: 0,
            duration_ms: 1_000,
            fault: Fault::Pause { target: Target::One },
            trigger: Some(Trigger::After(Happening::NewLeader)),
        };
        let told = Arc::new(Mutex::new(stage.told()?));
        let shared = Arc::clone(&told);
        let signals: Signals =
            Arc::new(move || shared.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let planned = PlannedFaults::new(&Schedule { faults: vec![fault] }, ENDS_MS, signals);
        let mut waiting = Waiting { generator: planned.boxed(), told, looks: 0 };
        same("it begins at once", waiting.begins(stage)?, false)?;
        Ok(waiting)
    }

    /// Whether it would begin now.
    fn begins(&mut self, stage: &Stage) -> Result<bool, String> {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = stage.told()?;
        self.looks += 1;
        // It looks every 10 ms.
        let now_ns = self.looks * 10_000_000;
        let threads = Threads::new(1, Seed(1));
        // Until the next look there is nothing to be done, or the fault's first step is, now.
        Ok(matches!(self.generator.peek(&threads.context(now_ns)), Peek::At(at_ns) if at_ns <= now_ns))
    }
}

fn hidden_leader(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set(enclosure, arguments)?;
    stage.db = stage.db.observed_from(OBSERVER_ADDRESS.into());
    let (mut process, mut client) = nemesis(&stage.setting)?;
    let before = stage.eventually_told("a leader", |signals| signals.leader.is_some())?;
    let leader = stage.position(&before)?;
    let mut began_in_sight = Waiting::new(&stage)?;
    // It does not hear the observer, whom nobody else hides from.
    let (node, observer) = (&stage.db.node_names()[leader], OBSERVER_ADDRESS.to_string());
    let hosts = labrys_harness::testbed::hosts_from(&stage.setting.testbed).map_err(text)?;
    let host = hosts.iter().find(|host| host.name() == node).ok_or("no host")?;
    let rule = |change: &str| {
        host.run("iptables", &["-w", change, "INPUT", "-s", &observer, "-j", "DROP"]).map_err(text)
    };
    rule("-I")?;
    stage.eventually_told("the leader is out of sight", |signals| signals.leader.is_none())?;
    let mut began_out_of_sight = Waiting::new(&stage)?;
    rule("-D")?;
    let back = stage.eventually_told("the leader is in sight", |signals| signals.leader.is_some())?;
    same("the same leader", (back.leader, back.newest_term_led), (before.leader, before.newest_term_led))?;
    same("a new leader for who waits since before", began_in_sight.begins(&stage)?, false)?;
    same("a new leader for who waits since meanwhile", began_out_of_sight.begins(&stage)?, false)?;

    client.apply(0, Resolved::Kill { nodes: vec![node.clone()] }).map_err(text)?;
    for waiting in [&mut began_in_sight, &mut began_out_of_sight] {
        eventually("the next leader is new", || waiting.begins(&stage).unwrap_or(false))?;
    }
    client.undo(0).map_err(text)?;
    drop(client);
    process.wait().map_err(text)?;
    stage.recovers()?;
    Ok(0)
}
