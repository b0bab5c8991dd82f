//! [`Nemesis`]: applies and undoes the faults of a schedule to the simulated world, with the records and the evidence that the real
//! nemesis gives.
//!
//! What ends or stops a process strikes either at once or, as often, into the middle of the process's next step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use labrys_harness::db::ClusterSignals;
use labrys_harness::faults::{Action, Signals, describe};
use labrys_history::{Draft, EventKind, Process as Actor, Value};
use labrys_nemesis::{
    CLIENTS, ClockChange, DiskTrouble, Effect, Evidence, FaultReport, InjectedFault, Link, Observation,
    PowerLoss, ProcessIdentity, Resolved, Schedule, Scheduled, View, resolve,
};
use labrys_seed::{Rng, Seed};
use labrys_store::disk::{FailureKind, Rotten};
use labrys_store::raft::Role;
use labrys_workloads::Op;
use labrys_workloads::generator::Thread;
use rand::Rng as _;

use crate::network::Hits;
use crate::world::{Event, Strike, World};

/// What is planned, applied and done.
#[derive(Debug)]
pub(crate) struct Nemesis {
    planned: BTreeMap<u64, Scheduled>,
    /// What the cluster is doing, if there is a fault that waits for something.
    signals: Option<Arc<Mutex<ClusterSignals>>>,
    rng: Rng,
    active: BTreeMap<u64, InjectedFault>,
    /// What is over, in the order in which it ended.
    finished: Vec<InjectedFault>,
    /// What has gone wrong on disks, by fault and node.
    rotten: BTreeMap<(u64, usize), Rotten>,
    under_way: Option<(u64, Action, Op)>,
}

/// The longest time until a fault strikes, and until the nemesis knows it.
const STRIKES_WITHIN_NS: u64 = 5_000_000;
const KNOWS_AFTER_NS: u64 = 6_000_000;

/// The unit in which files go wrong.
const CHUNK_BYTES: usize = 64;

impl Nemesis {
    pub fn new(schedule: &Schedule, seed: Seed) -> Nemesis {
        Nemesis {
            planned: schedule.faults.iter().map(|fault| (fault.id, fault.clone())).collect(),
            signals: schedule.faults.iter().any(|fault| fault.trigger.is_some()).then(Arc::default),
            rng: seed.fork("fault-targets").rng(),
            active: BTreeMap::new(),
            finished: Vec::new(),
            rotten: BTreeMap::new(),
            under_way: None,
        }
    }

    /// Everything that was applied: what is over in the order in which it ended, then what was not undone when the run ended.
    pub fn into_injected(self) -> Vec<InjectedFault> {
        self.finished.into_iter().chain(self.active.into_values()).collect()
    }

    /// What faults can wait for, as the world last told it.
    pub fn signals(&self) -> Signals {
        let shared = self.signals.clone();
        let now =
            |shared: &Mutex<ClusterSignals>| shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Arc::new(move || shared.as_deref().map(now).unwrap_or_default())
    }

    /// What was planned.
    pub fn schedule(&self) -> Schedule {
        Schedule { faults: self.planned.values().cloned().collect() }
    }

    fn note(&mut self, id: u64, node: &str, effect: Effect) {
        if let Some(fault) = self.active.get_mut(&id) {
            fault.evidence.extend([Observation { node: node.to_owned(), effect }]);
        }
    }

    /// Whether a fault makes the disk of a node fail.
    pub fn breaks_disk_of(&self, node: usize) -> bool {
        let name = format!("n{}", node + 1);
        self.active.values().any(|fault| match &fault.resolved {
            Resolved::Disk { nodes, trouble } => {
                nodes.contains(&name) && !matches!(trouble, DiskTrouble::SlowSyncMs(_))
            }
            _ => false,
        })
    }

    /// The nodes whose disks have rotted so far.
    fn rotten(&self) -> Vec<String> {
        let faults = self.active.values().chain(&self.finished);
        let nodes: BTreeSet<&str> = faults.flat_map(|fault| fault.resolved.rots()).collect();
        nodes.into_iter().map(str::to_owned).collect()
    }

    /// What a loss of power leaves.
    fn power_loss(&self, id: u64) -> PowerLoss {
        match self.active.get(&id).map(|fault| &fault.resolved) {
            Some(Resolved::PowerCut { loss, .. }) => *loss,
            _ => PowerLoss::default(),
        }
    }

    /// A process ended by itself; `is_fault`: as a fault wanted.
    pub fn saw_death(&mut self, node: usize, is_fault: bool) {
        let name = format!("n{}", node + 1);
        let of_disk = |fault: &InjectedFault| matches!(&fault.resolved, Resolved::Disk { nodes, .. } if nodes.contains(&name));
        let ids: Vec<u64> =
            self.active.values().filter(|fault| is_fault && of_disk(fault)).map(|fault| fault.id).collect();
        for id in ids {
            self.note(id, &name, Effect::DiskTroubled { operations: 1 });
        }
    }
}

impl World {
    /// What the cluster is doing is told to the faults that wait for it.
    pub(crate) fn tell_signals(&self) {
        let Some(shared) = &self.nemesis.signals else { return };
        let statuses = || {
            self.nodes
                .iter()
                .filter_map(|node| Some((node.name.as_str(), node.process.as_ref()?.replica.raft_status())))
        };
        let leading = statuses()
            .filter(|(_, status)| status.role == Role::Leader)
            .max_by_key(|(_, status)| status.term);
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let newest_term_led = shared.newest_term_led;
        *shared = ClusterSignals { newest_term_led, ..ClusterSignals::default() };
        if let Some((name, leader)) = leading {
            shared.leader = Some((name.to_owned(), leader.term.0));
            shared.newest_term_led = newest_term_led.max(leader.term.0);
            shared.snapshot_in_flight =
                statuses().any(|(_, status)| status.last_index.next() < leader.first_index);
        }
    }

    /// Begins an operation of the nemesis thread.
    pub(crate) fn begin_fault(&mut self, op: &Op) {
        let draft = Draft::new(Actor::nemesis(), EventKind::Info, op.f.clone(), op.value.clone());
        self.record(draft);
        let id = op.value.get("fault").and_then(Value::as_int).and_then(|id| u64::try_from(id).ok());
        let action = op.value.get("action").and_then(Value::as_text).and_then(Action::named);
        let (Some(id), Some(action)) = (id, action) else {
            unreachable!("the nemesis thread gets steps of a plan only: {}", op.value)
        };
        match action {
            Action::Apply => self.apply(id),
            Action::Undo => self.undo(id),
        }
        self.nemesis.under_way = Some((id, action, op.clone()));
        self.plan_in(KNOWS_AFTER_NS, Event::NemesisDone);
    }

    /// The nemesis knows what became of what it was asked.
    pub(crate) fn nemesis_done(&mut self) {
        let Some((id, action, op)) = self.nemesis.under_way.take() else { return };
        let event = self.record_done(id, action, &op);
        self.completed.push((Thread::Nemesis, event));
    }

    fn record_done(&mut self, id: u64, action: Action, op: &Op) -> labrys_history::Event {
        if action == Action::Apply {
            let now_ms = self.time_ns() / 1_000_000;
            if let Some(fault) = self.nemesis.active.get_mut(&id) {
                fault.applied_at_ms = Some(now_ms);
                fault.bit = fault.evidence.bit;
            }
        }
        let finished = || self.nemesis.finished.iter().rev().find(|fault| fault.id == id);
        let value = self.nemesis.active.get(&id).or_else(finished).map(|fault| {
            let report = FaultReport { fault_id: id, evidence: fault.evidence.clone(), failures: Vec::new() };
            describe(id, action, &fault.resolved, Some(&report))
        });
        self.record(Draft::new(Actor::nemesis(), EventKind::Info, op.f.clone(), value.unwrap_or(Value::Nil)))
    }

    fn apply(&mut self, id: u64) {
        let Some(planned) = self.nemesis.planned.get(&id).cloned() else { return };
        let nodes = self.nodes.iter().map(|node| node.name.clone()).collect();
        let view = View { nodes, leaders: self.leaders(), rotten: self.nemesis.rotten(), ..View::default() };
        let resolved = resolve(&planned.fault, &view, &mut self.nemesis.rng);
        let injected = InjectedFault {
            id,
            planned: Some(planned),
            resolved: resolved.clone(),
            applied_at_ms: None,
            undone_at_ms: None,
            bit: false,
            evidence: Evidence::default(),
            errors: Vec::new(),
        };
        self.nemesis.active.insert(id, injected);
        let hit: Vec<usize> =
            resolved.nodes().into_iter().filter_map(|name| self.position_of(name)).collect();
        for node in &hit {
            self.trace.mark(self.now_ns, *node, &resolved.family().to_string());
        }
        match &resolved {
            Resolved::Partition { links, .. } => {
                let links = links.iter().filter_map(|link| self.link_of(link)).collect();
                self.network.cut(id, links);
            }
            Resolved::Network { trouble, .. } => {
                self.network.trouble(id, hit.into_iter().collect(), *trouble);
            }
            Resolved::Pause { .. } => hit.into_iter().for_each(|node| self.aim(id, node, Strike::Pause)),
            Resolved::Kill { .. } => hit.into_iter().for_each(|node| self.aim(id, node, Strike::Kill)),
            Resolved::PowerCut { .. } => {
                hit.into_iter().for_each(|node| self.aim(id, node, Strike::PowerCut))
            }
            Resolved::Clock { change, .. } => {
                hit.into_iter().for_each(|node| self.change_clock(id, node, *change))
            }
            Resolved::Disk { trouble, .. } => {
                hit.into_iter().for_each(|node| self.trouble_disk(id, node, *trouble))
            }
            Resolved::Application { .. }
            | Resolved::Membership { .. }
            | Resolved::Resource { .. }
            | Resolved::Restart { .. } => {
                unreachable!("refused where the configuration is checked")
            }
        }
    }

    fn position_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The clients come behind the nodes.
    fn link_of(&self, link: &Link) -> Option<(usize, usize)> {
        let end = |name: &str| if name == CLIENTS { Some(self.nodes.len()) } else { self.position_of(name) };
        Some((end(&link.from)?, end(&link.to)?))
    }

    fn name_of(&self, end: usize) -> String {
        self.nodes.get(end).map_or_else(|| CLIENTS.to_owned(), |node| node.name.clone())
    }

    /// Strikes at once, or into the next step.
    fn aim(&mut self, id: u64, node: usize, strike: Strike) {
        if !self.nodes[node].is_running() || self.rng.random() {
            return self.strike(id, node, strike);
        }
        self.strikes.entry(node).or_default().push((id, strike));
        let after_ns = self.rng.random_range(0..=STRIKES_WITHIN_NS);
        self.plan_in(after_ns, Event::Strike { fault: id, node });
    }

    /// No better moment has come.
    pub(crate) fn strike_now(&mut self, id: u64, node: usize) {
        let Some(waiting) = self.strikes.get_mut(&node) else { return };
        let Some(position) = waiting.iter().position(|(fault, _)| *fault == id) else { return };
        let (_, strike) = waiting.remove(position);
        self.strike(id, node, strike);
    }

    pub(crate) fn strike(&mut self, id: u64, node: usize, strike: Strike) {
        let machine = &mut self.nodes[node];
        let name = machine.name.clone();
        let process =
            ProcessIdentity { pid: i32::try_from(node + 1).unwrap_or(i32::MAX), start_ticks: machine.lives };
        let is_alive = machine.process.is_some();
        let effect = match strike {
            _ if !is_alive => Effect::NoProcess,
            Strike::Pause => Effect::ProcessStopped { process },
            Strike::Kill => Effect::ProcessKilled { process },
            Strike::PowerCut => Effect::PowerLost { process },
        };
        match strike {
            Strike::Pause => {
                if is_alive {
                    machine.stopped_by.insert(id);
                }
            }
            Strike::Kill | Strike::PowerCut => {
                machine.down_by.insert(id);
                let power = (strike == Strike::PowerCut).then(|| self.nemesis.power_loss(id));
                self.kill(node, power);
            }
        }
        self.nemesis.note(id, &name, effect);
    }

    fn change_clock(&mut self, id: u64, node: usize, change: ClockChange) {
        let now_ns = self.now_ns;
        self.observe_clock(node);
        let clock = &mut self.nodes[node].clock;
        match change {
            ClockChange::DriftPercent(percent) => clock.drift(now_ns, percent),
            ClockChange::JumpMs(ms) => clock.jump(now_ns, ms.saturating_mul(1_000_000)),
            ClockChange::Freeze => clock.drift(now_ns, -100),
        }
        let name = self.nodes[node].name.clone();
        self.nemesis.note(id, &name, Effect::ClockChanged);
        self.observe_clock(node);
    }

    /// Between two changes a clock runs straight: to see it at each of them is to see all of it.
    fn observe_clock(&mut self, node: usize) {
        let node = &self.nodes[node];
        let offset_us = node.clock.offset_us(self.now_ns);
        let seen = labrys_harness::db::Observation::Clock { node: node.name.clone(), offset_us };
        self.record(seen.draft());
    }

    fn trouble_disk(&mut self, id: u64, node: usize, trouble: DiskTrouble) {
        let machine = &mut self.nodes[node];
        match trouble {
            DiskTrouble::SlowSyncMs(ms) => machine.slow_sync_ns = ms.saturating_mul(1_000_000),
            DiskTrouble::Full | DiskTrouble::WritesFail | DiskTrouble::SyncsFail => {
                machine.failing.insert(id, trouble);
                return machine.fail_as_told();
            }
            DiskTrouble::SyncFails => return machine.disk.fail_next_sync(FailureKind::InputOutput),
            // Refused with the configuration.
            DiskTrouble::ReadsFail | DiskTrouble::NextReadFails | DiskTrouble::NextWriteFails => return,
            DiskTrouble::FlipBit
            | DiskTrouble::Truncate
            | DiskTrouble::StaleChunk
            | DiskTrouble::SwapChunks => {
                let Some(rotten) = self.rot(node, trouble) else { return };
                let mut others = self.nemesis.rotten.iter().filter(|((_, other), _)| *other == node);
                if others.any(|(_, other)| rotten.overlaps(other)) {
                    return self.nodes[node].disk.put_right(&rotten);
                }
                self.nemesis.rotten.insert((id, node), rotten);
                self.oracles.rots(node);
            }
        }
        let name = self.nodes[node].name.clone();
        self.nemesis.note(id, &name, Effect::DiskTroubled { operations: 1 });
    }

    /// Makes a part of a file go wrong, where that could be told from what a crash leaves; `None` if there was nothing that could.
    fn rot(&mut self, node: usize, trouble: DiskTrouble) -> Option<Rotten> {
        let unit = if trouble == DiskTrouble::FlipBit { 1 } else { 2 * CHUNK_BYTES };
        let files = self.nodes[node].disk.settled_files();
        let large: Vec<_> = files.into_iter().filter(|(_, settled)| *settled >= unit).collect();
        if large.is_empty() {
            return None;
        }
        let (name, settled) = &large[self.rng.random_range(0..large.len())];
        if trouble == DiskTrouble::FlipBit {
            let (offset, bit) = (self.rng.random_range(0..*settled), self.rng.random_range(0..8_u8));
            return self.nodes[node].disk.rot(name, |bytes| bytes[offset] ^= 1 << bit);
        }
        let chunks = settled / CHUNK_BYTES;
        let (one, other) = (self.rng.random_range(0..chunks), self.rng.random_range(0..chunks));
        self.nodes[node].disk.rot(name, |bytes| {
            let at = |chunk: usize| chunk * CHUNK_BYTES..(chunk + 1) * CHUNK_BYTES;
            match trouble {
                DiskTrouble::Truncate => bytes.truncate(one * CHUNK_BYTES),
                // Files are only appended to: before it was written a chunk was nothing.
                DiskTrouble::StaleChunk => bytes[at(one)].fill(0),
                _ => {
                    let (first, second) = (bytes[at(one)].to_vec(), bytes[at(other)].to_vec());
                    bytes[at(one)].copy_from_slice(&second);
                    bytes[at(other)].copy_from_slice(&first);
                }
            }
        })
    }

    fn undo(&mut self, id: u64) {
        let Some(resolved) = self.nemesis.active.get(&id).map(|fault| fault.resolved.clone()) else { return };
        let hits = self.network.mend(id);
        self.note_hits(id, &resolved, &hits);
        let hit: BTreeSet<usize> =
            resolved.nodes().into_iter().filter_map(|name| self.position_of(name)).collect();
        for node in hit {
            self.undo_on(id, node, &resolved);
        }
        if let Some(mut fault) = self.nemesis.active.remove(&id) {
            fault.undone_at_ms = Some(self.time_ns() / 1_000_000);
            fault.bit = fault.evidence.bit;
            self.nemesis.finished.push(fault);
        }
    }

    fn note_hits(&mut self, id: u64, resolved: &Resolved, hits: &Hits) {
        for ((from, to), messages) in hits {
            let (from, to) = (self.name_of(*from), self.name_of(*to));
            let effect = match resolved {
                Resolved::Partition { .. } => Effect::PacketsDropped { from, packets: *messages, bytes: 0 },
                _ => Effect::MessagesTroubled { messages: *messages },
            };
            self.nemesis.note(id, &to, effect);
        }
    }

    fn undo_on(&mut self, id: u64, node: usize, resolved: &Resolved) {
        self.trace.mark(self.now_ns, node, &format!("end of {}", resolved.family()));
        if let Some(waiting) = self.strikes.get_mut(&node) {
            waiting.retain(|(fault, _)| *fault != id);
        }
        let now_ns = self.now_ns;
        let machine = &mut self.nodes[node];
        match resolved {
            Resolved::Partition { .. }
            | Resolved::Network { .. }
            | Resolved::Application { .. }
            | Resolved::Membership { .. }
            | Resolved::Resource { .. }
            | Resolved::Restart { .. } => {}
            Resolved::Pause { .. } => {
                if machine.stopped_by.remove(&id) && machine.stopped_by.is_empty() {
                    self.resume(node);
                }
            }
            Resolved::Kill { .. } | Resolved::PowerCut { .. } => {
                machine.down_by.remove(&id);
                self.start_if_down(node);
            }
            Resolved::Clock { change, .. } => {
                self.observe_clock(node);
                let machine = &mut self.nodes[node];
                if !matches!(change, ClockChange::JumpMs(_)) {
                    machine.clock.drift(now_ns, 0);
                }
            }
            Resolved::Disk { trouble, .. } => {
                match trouble {
                    DiskTrouble::SlowSyncMs(_) => machine.slow_sync_ns = 0,
                    trouble if trouble.is_rot() => {
                        if let Some(rotten) = self.nemesis.rotten.remove(&(id, node)) {
                            machine.disk.put_right(&rotten);
                        }
                    }
                    _ => {
                        machine.failing.remove(&id);
                        machine.fail_as_told();
                    }
                }
                self.start_if_down(node);
            }
        }
    }

    pub(crate) fn start_if_down(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        if machine.down_by.is_empty() && machine.process.is_none() {
            // A machine that comes up again has no stopped process.
            machine.stopped_by.clear();
            self.start(node);
        }
    }

    /// Undoes whatever is applied, with its records, and starts what is down.
    pub(crate) fn heal(&mut self) {
        let ids: Vec<u64> = self.nemesis.active.keys().copied().collect();
        for id in ids {
            let Some(family) = self.nemesis.active.get(&id).map(|fault| fault.resolved.family()) else {
                continue;
            };
            let fields = [
                ("fault", Value::Int(i64::try_from(id).unwrap_or(i64::MAX))),
                ("action", Value::from(Action::Undo.name())),
                ("phase", Value::from("invoke")),
            ];
            let fields = fields.into_iter().map(|(name, value)| (Value::from(name), value));
            let op = Op { f: family.to_string().into(), key: None, value: Value::Map(fields.collect()) };
            self.record(Draft::new(Actor::nemesis(), EventKind::Info, op.f.clone(), op.value.clone()));
            self.undo(id);
            self.record_done(id, Action::Undo, &op);
        }
        for node in 0..self.nodes.len() {
            self.start_if_down(node);
        }
    }
}
