//! Whole nodes but for sockets and threads (replica, log, snapshot files) on simulated disks, in random schedules: the network
//! loses and reorders, processes die, power fails with any part of what was not synced kept, and every few entries a snapshot
//! is taken.
//!
//! Three clients, each with a session and a key of its own, increment it, one operation at a time, and send each again under
//! the same number until it is answered. Every answer must be the next number: one acknowledged increment that is lost, or one
//! that is carried out twice, shows in the next answer. All nodes must have one digest at each index.
//!
//! A schedule is a function of its seed. `LABRYS_STORE_SCHEDULES` says how many are run (60 by default).

use std::collections::VecDeque;

use bytes::Bytes;
use labrys_raft::{Membership, Message, NodeId, PersistBatch, Status};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::disk::SimulatedDisk;
use crate::machine::{Done, Outcome, Placement, SessionId, StepResult};
use crate::server::snapshot_thread::SnapshotThread;
use crate::snapshots::SnapshotStore;
use crate::wal::{Wal, WalOptions};

const NODES: usize = 3;
const STEPS: usize = 2500;
/// After healing, each client must get an answer within so many rounds of 5 ms.
const PATIENCE: usize = 1000;

/// A node that runs.
struct Life {
    replica: Replica,
    wal: Wal,
    store: SnapshotStore,
    batches: Vec<PersistBatch>,
    compact_up_to: LogIndex,
    jobs: VecDeque<SnapshotJob>,
}

struct Host {
    disk: SimulatedDisk,
    /// `None` while it is down.
    life: Option<Life>,
}

#[derive(Default)]
struct Client {
    acknowledged: u64,
    waits_for: Option<(Token, usize)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Exercised {
    acknowledged: u64,
    power_losses: usize,
    deaths: usize,
    taken: usize,
    installed: usize,
}

struct Schedule {
    rng: ChaCha8Rng,
    hosts: Vec<Host>,
    defects: Defects,
    network: Vec<Message>,
    clients: Vec<Client>,
    now_ms: u64,
    next_token: u64,
    digests: BTreeMap<LogIndex, u64>,
    /// Nothing goes wrong any more.
    is_calm: bool,
    exercised: Exercised,
}

fn config(id: u64, defects: Defects) -> Config {
    Config {
        id: NodeId(id),
        initial: Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]),
        election_timeout_ms: 100,
        heartbeat_interval_ms: 20,
        max_batch_entries: 8,
        max_batch_bytes: 1 << 20,
        max_inflight_batches: 8,
        kept_entries: 2,
        snapshot_chunk_bytes: 200,
        max_pending: 64,
        pre_vote: true,
        check_quorum: true,
        election_handicap: 0,
        lease_reads: false,
        max_clock_drift_percent: 10,
        incarnation: id,
        seed: id,
        defects,
    }
}

impl Host {
    fn start(&mut self, id: u64, defects: Defects, now_ms: u64) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("node {id} does not start: {error}");
        let disk = || Box::new(self.disk.clone());
        let options = WalOptions { segment_bytes: 400, defects };
        let opened = Wal::open(disk(), NodeId(id), options).map_err(|error| failed(&error))?;
        let mut recovered = opened.recovered;
        let machine_options = MachineOptions::default();
        let mut store =
            SnapshotStore::open(disk(), machine_options, defects).map_err(|error| failed(&error))?;
        let found = store.find_newest(&recovered.entries).map_err(|error| failed(&error))?;
        let mut machine = Machine::new(machine_options, defects);
        if let Some((snapshot, restored)) = found.newest {
            recovered.applied = snapshot.index();
            (recovered.snapshot, machine) = (Some(snapshot), restored);
        }
        let policy = SnapshotPolicy { entries: 6, bytes: u64::MAX };
        let replica = Replica::restored(config(id, defects), recovered, machine, policy, now_ms);
        let replica = replica.map_err(|error| failed(&error))?;
        let (batches, jobs, compact_up_to) = (Vec::new(), VecDeque::new(), LogIndex(0));
        self.life = Some(Life { replica, wal: opened.wal, store, batches, compact_up_to, jobs });
        Ok(())
    }
}

impl Schedule {
    fn new(seed: u64, defects: Defects) -> Schedule {
        let hosts = (0..NODES).map(|_| Host { disk: SimulatedDisk::new(), life: None }).collect();
        let mut schedule = Schedule {
            rng: ChaCha8Rng::seed_from_u64(seed),
            hosts,
            defects,
            network: Vec::new(),
            clients: (0..3).map(|_| Client::default()).collect(),
            now_ms: 0,
            next_token: 1,
            digests: BTreeMap::new(),
            is_calm: false,
            exercised: Exercised::default(),
        };
        for place in 0..NODES {
            schedule.start(place).expect("an empty disk is recoverable");
        }
        schedule
    }

    fn start(&mut self, place: usize) -> Result<(), String> {
        self.hosts[place].start(place as u64 + 1, self.defects, self.now_ms)
    }

    fn run(&mut self) -> Result<Exercised, String> {
        for _ in 0..STEPS {
            self.act()?;
        }
        self.heal()?;
        Ok(self.exercised)
    }

    fn act(&mut self) -> Result<(), String> {
        let place = self.rng.random_range(0..NODES);
        match self.rng.random_range(0..1000) {
            0..420 => self.deliver(),
            420..520 => self.tick(),
            520..700 => self.sync(place),
            700..850 => self.work(place),
            850..985 => self.ask(place),
            985..990 => {
                self.stop(place);
                Ok(())
            }
            _ if self.hosts[place].life.is_none() => self.start(place),
            _ => Ok(()),
        }
    }

    /// A process dies, or the power goes, perhaps in the middle of something that it does with its disk.
    fn stop(&mut self, place: usize) {
        let Some(mut life) = self.hosts[place].life.take() else { return };
        if self.rng.random_bool(0.7) {
            self.hosts[place].disk.kill_process_after(self.rng.random_range(0..6));
            let _ = life.wal.write(&life.batches).and_then(|()| life.wal.compact(life.compact_up_to));
            let id = NodeId(place as u64 + 1);
            for job in life.jobs.drain(..) {
                let _ = SnapshotThread::work(&mut life.store, id, job, &|| true);
            }
        }
        drop(life);
        if self.rng.random_bool(0.5) {
            self.exercised.deaths += 1;
            self.hosts[place].disk.start_process();
            return;
        }
        self.exercised.power_losses += 1;
        let rng = &mut self.rng;
        self.hosts[place].disk.lose_power(&mut |limit| rng.random_range(0..=limit));
    }

    fn deliver(&mut self) -> Result<(), String> {
        if self.network.is_empty() {
            return Ok(());
        }
        let position = self.rng.random_range(0..self.network.len());
        let message = self.network.remove(position);
        if !self.is_calm && self.rng.random_bool(0.1) {
            return Ok(());
        }
        let place = message.to.0 as usize - 1;
        self.step(place, vec![ReplicaInput::Receive(message)])
    }

    fn tick(&mut self) -> Result<(), String> {
        self.now_ms += self.rng.random_range(1..12);
        let now_ms = self.now_ms;
        (0..NODES).try_for_each(|place| self.step(place, vec![ReplicaInput::Tick { now_ms }]))
    }

    fn step(&mut self, place: usize, inputs: Vec<ReplicaInput>) -> Result<(), String> {
        let Some(life) = &mut self.hosts[place].life else { return Ok(()) };
        let mut outputs = Vec::new();
        life.replica.handle(inputs, &mut outputs);
        let status = life.replica.status(None);
        let known = *self.digests.entry(status.raft.applied).or_insert(status.digest);
        if known != status.digest {
            let index = status.raft.applied;
            return Err(format!(
                "node {} has another digest at {index}: {:x} and {known:x}",
                place + 1,
                status.digest
            ));
        }
        for output in outputs {
            match output {
                ReplicaOutput::Persist(batch) => life.batches.push(batch),
                ReplicaOutput::CompactLog { up_to } => life.compact_up_to = up_to,
                ReplicaOutput::Snapshot(job) => life.jobs.push_back(job),
                ReplicaOutput::SnapshotInstalled { .. } => self.exercised.installed += 1,
                ReplicaOutput::Send(message) => self.network.push(message),
                ReplicaOutput::Answer { token, answer } => answered(&mut self.clients, token, answer)?,
                ReplicaOutput::RoleChanged { .. }
                | ReplicaOutput::MembershipChanged { .. }
                | ReplicaOutput::AnswerUnderLease { .. } => {}
                ReplicaOutput::RemovedFromCluster => return Err("nobody removes a node here".to_owned()),
                ReplicaOutput::InvariantBroken { what } => return Err(what),
                ReplicaOutput::FollowerLostLog { follower, .. } => {
                    return Err(format!("node {follower} lost its log"));
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self, place: usize) -> Result<(), String> {
        let Some(life) = &mut self.hosts[place].life else { return Ok(()) };
        let group = std::mem::take(&mut life.batches);
        let Some(last) = group.last() else { return Ok(()) };
        life.wal.write(&group).map_err(|error| error.to_string())?;
        life.wal.compact(life.compact_up_to).map_err(|error| error.to_string())?;
        let sequence = last.sequence;
        self.step(place, vec![ReplicaInput::Persisted { sequence }])
    }

    fn work(&mut self, place: usize) -> Result<(), String> {
        let Some(life) = &mut self.hosts[place].life else { return Ok(()) };
        let Some(job) = life.jobs.pop_front() else { return Ok(()) };
        let event = SnapshotThread::work(&mut life.store, NodeId(place as u64 + 1), job, &|| true);
        let Some(event) = event.map_err(|error| error.to_string())? else { return Ok(()) };
        self.exercised.taken += usize::from(matches!(event, SnapshotEvent::Taken(_)));
        self.step(place, vec![ReplicaInput::Snapshot(event)])
    }

    /// A client begins an operation, or tries again if it has waited for a while.
    fn ask(&mut self, place: usize) -> Result<(), String> {
        let number = self.rng.random_range(0..self.clients.len());
        let gives_up = self.rng.random_bool(0.1);
        let client = &mut self.clients[number];
        if self.hosts[place].life.is_none() || (client.waits_for.is_some() && !gives_up) {
            return Ok(());
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        client.waits_for = Some((token, number));
        let established = client.acknowledged > 0;
        let placement =
            Placement { session: SessionId(number as u128), sequence: client.acknowledged + 1, established };
        let step = Step::Increment { key: Bytes::from(number.to_string()), by: 1 };
        let request = ClientRequest::Write(Command { placement, operation: Operation::Step(step) });
        self.step(place, vec![ReplicaInput::Request { token, request }])
    }

    /// Everything works from now on: every client gets an answer, and all nodes come to the same.
    fn heal(&mut self) -> Result<(), String> {
        self.is_calm = true;
        for place in 0..NODES {
            if self.hosts[place].life.is_none() {
                self.start(place)?;
            }
        }
        let before: Vec<u64> = self.clients.iter().map(|client| client.acknowledged).collect();
        for _ in 0..PATIENCE {
            self.tick()?;
            let answered =
                self.clients.iter().zip(&before).all(|(client, before)| client.acknowledged > *before);
            for place in 0..NODES {
                if !answered {
                    self.ask(place)?;
                }
                while !self.network.is_empty() || self.has_work(place) {
                    self.sync(place)?;
                    self.work(place)?;
                    self.deliver()?;
                }
            }
            let answered =
                self.clients.iter().zip(&before).all(|(client, before)| client.acknowledged > *before);
            let applied: Vec<LogIndex> = self.lives().map(|life| life.replica.machine.applied()).collect();
            if answered && applied.iter().all(|index| *index == applied[0]) {
                self.exercised.acknowledged = self.clients.iter().map(|client| client.acknowledged).sum();
                return Ok(());
            }
        }
        let statuses: Vec<Status> = self.lives().map(|life| life.replica.status(None).raft).collect();
        Err(format!("the healed cluster does not get on: {statuses:?}"))
    }

    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.hosts.iter().filter_map(|host| host.life.as_ref())
    }

    fn has_work(&self, place: usize) -> bool {
        let has_some = |life: &Life| !life.batches.is_empty() || !life.jobs.is_empty();
        self.hosts[place].life.as_ref().is_some_and(has_some)
    }
}

/// A client gets an answer, if it still waits for that.
fn answered(clients: &mut [Client], token: Token, answer: Answer) -> Result<(), String> {
    let waits = |client: &&mut Client| client.waits_for.is_some_and(|(awaited, _)| awaited == token);
    let Some(client) = clients.iter_mut().find(waits) else { return Ok(()) };
    client.waits_for = None;
    match answer {
        Answer::Outcome(Outcome::Done { done: Done::Step(StepResult::Incremented { value }), .. }) => {
            client.acknowledged += 1;
            let expected = i64::try_from(client.acknowledged).unwrap_or(i64::MAX);
            if value == expected { Ok(()) } else { Err(format!("the counter is {value}, not {expected}")) }
        }
        Answer::NotLeader { .. } | Answer::Refused { .. } => Ok(()),
        other => Err(format!("an increment is answered with {other:?}")),
    }
}

/// How many schedules to run.
#[allow(clippy::disallowed_methods, reason = "a test may be told how long to search")]
fn schedules() -> u64 {
    std::env::var("LABRYS_STORE_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn whole_nodes_lose_nothing_and_do_nothing_twice_whatever_their_disks_lose() {
    let mut total = Exercised::default();
    for seed in 0..schedules() {
        let done =
            Schedule::new(seed, Defects::NONE).run().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        total.acknowledged += done.acknowledged;
        total.power_losses += done.power_losses;
        total.deaths += done.deaths;
        total.taken += done.taken;
        total.installed += done.installed;
    }
    println!("{total:?}");
    let schedules = schedules();
    assert!(total.acknowledged > 10 * schedules, "too little is done: {total:?}");
    assert!(total.power_losses.min(total.deaths) as u64 > schedules, "too little trouble: {total:?}");
    assert!(total.taken as u64 > schedules && total.installed as u64 * 10 > schedules, "{total:?}");
}

/// What the first schedule that notices `defect` says.
fn noticed(defect: Defect) -> Option<(u64, String)> {
    let run = |seed| Schedule::new(seed, Defects::NONE.with(defect)).run().err().map(|what| (seed, what));
    (0..400).find_map(run)
}

#[test]
fn defects_of_disks_and_snapshots_are_noticed() {
    let cases = [
        // What is lost may be the write that began a session: its next one is answered as one of a session that is not known.
        (
            Defect::FollowerAcksBeforeFsync,
            &["digest", "counter", "lost its log", "conflicts", "SessionExpired"][..],
        ),
        (
            Defect::LeaderAcksBeforeFsync,
            &["digest", "counter", "lost its log", "conflicts", "SessionExpired"],
        ),
        (Defect::NoDirFsync, &["does not start", "lost its log", "digest", "counter", "conflicts"]),
        (Defect::CompactionDropsLiveEntries, &["does not start", "does not get on", "lost its log"]),
        (Defect::SnapshotNotAtomicFile, &["does not start", "does not get on"]),
        (Defect::AppliedIndexNonatomic, &["digest", "counter"]),
        (Defect::SnapshotIndexOffByOne, &["digest", "counter"]),
        (Defect::DedupLostInSnapshot, &["digest", "counter", "SessionExpired"]),
    ];
    for (defect, expected) in cases {
        let found = noticed(defect);
        println!("{defect}: {found:?}");
        let fits = |(_, what): &(u64, String)| expected.iter().any(|words| what.contains(words));
        assert!(found.as_ref().is_some_and(fits), "{defect}: {found:?}");
    }
}
