//! Random schedules: a network that loses, duplicates and reorders, partitions in both directions or one, crashes that lose
//! what was not synced, pauses, clock jumps, snapshots and compaction; then everything is healed, and the cluster must elect, commit and agree.
//!
//! A schedule is a function of its seed. By default 10,000 are run; `LABRYS_RAFT_SCHEDULES` says how many instead.

use labrys_raft::{Config, Defects, Input, LogIndex, Membership, NodeId};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cluster::{Cluster, config};
use crate::disk::Loss;
use crate::operators::adapt_to_operators;
use crate::oracle::{Property, Succeeded, Violation, violated};

/// How many steps the stormy part has.
const STEPS: usize = 1500;
/// After healing, everything must be well within this many election timeouts.
const PATIENCE_ELECTION_TIMEOUTS: u64 = 40;

/// Without time passing, whatever there is to say must be said within this many round trips.
const MOST_ROUND_TRIPS: usize = 5000;

/// What a schedule is made of.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Deliver,
    Tick,
    Sync,
    Apply,
    Propose,
    Read,
    ReadAsleep,
    Change,
    Transfer,
    Cut,
    Reconnect,
    Crash,
    Start,
    Pause,
    Resume,
    JumpClock,
    TakeSnapshot,
}

/// What is to be different from a correct cluster under a full watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    pub defects: Defects,
    /// See [`crate::oracle::Oracle::watches_disk`].
    pub ignores_disk: bool,
    /// What the disk of node 1 loses of what it says is durable.
    pub first_disk_loses: Option<Loss>,
    /// Much is proposed, many snapshots are taken, nothing of what they contain is kept, and followers fall behind.
    pub compacts: bool,
    /// Keep a trace.
    pub traces: bool,
    /// See [`Cluster::copies_nodes`].
    pub copies_nodes: bool,
}

/// What a schedule came to, so that a test can insist that schedules exercise something.
#[derive(Clone, Debug, Default)]
pub struct Exercised {
    pub schedules: usize,
    pub terms: usize,
    pub acknowledged: usize,
    pub reads: usize,
    pub crashes: usize,
    pub dropped: usize,
    pub snapshots: usize,
    pub restored: usize,
    pub changes: usize,
    pub transfers: usize,
    pub succeeded: Succeeded,
}

impl Exercised {
    /// Sums up.
    pub fn add(&mut self, other: Exercised) {
        self.schedules += other.schedules;
        self.terms += other.terms;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.crashes += other.crashes;
        self.dropped += other.dropped;
        self.snapshots += other.snapshots;
        self.restored += other.restored;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.succeeded.add(other.succeeded);
    }
}

/// One run of a schedule.
pub struct Simulation {
    pub rng: ChaCha8Rng,
    pub cluster: Cluster,
    /// `cut[from][to]`: nothing gets through in this direction.
    cut: Vec<Vec<bool>>,
    weights: Vec<(Action, u32)>,
    loss: f64,
    duplication: f64,
    reorders: bool,
    pub exercised: Exercised,
}

impl Simulation {
    /// Cluster and weather of a seed.
    pub fn new(seed: u64, setting: Setting) -> Simulation {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = *[1, 2, 3, 3, 3, 4, 5, 5].choose(&mut rng).expect("not empty");
        let mut template = random_config(&mut rng, count);
        template.defects = setting.defects;
        let mut weights = random_weights(&mut rng);
        if setting.compacts {
            (template.kept_entries, template.max_pending) = (0, 200);
            weights.extend([(Action::Propose, 60), (Action::TakeSnapshot, 60)]);
            weights.extend([(Action::Cut, 4), (Action::Reconnect, 4)]);
        }
        let spare = adapt_to_operators(&mut rng, &mut template, &weights);
        let configs = (1..=count + spare).map(|id| {
            let initial = if id <= count { template.initial.clone() } else { Membership::default() };
            Config { id: NodeId(id), seed: seed ^ id, initial, ..template.clone() }
        });
        let mut cluster = Cluster::new(configs);
        let count = count + spare;
        cluster.oracle.watches_disk = !setting.ignores_disk;
        cluster.oracle.trusts_assertions = setting.defects.is_empty();
        cluster.trace = setting.traces.then(Vec::new);
        cluster.copies_nodes = setting.copies_nodes;
        cluster.servers[0].disk.loses = setting.first_disk_loses;
        for place in 0..cluster.servers.len() {
            cluster.servers[place].clock_ms = rng.random_range(0..1000);
            cluster.start(place, LogIndex(0)).expect("an empty disk is recoverable");
        }
        Simulation {
            cut: vec![vec![false; count as usize]; count as usize],
            weights,
            loss: *[0.0, 0.02, 0.1, 0.3].choose(&mut rng).expect("not empty"),
            duplication: *[0.0, 0.02, 0.1].choose(&mut rng).expect("not empty"),
            reorders: rng.random_bool(0.6),
            exercised: Exercised { schedules: 1, ..Exercised::default() },
            rng,
            cluster,
        }
    }

    /// The whole schedule: the storm, then the calm.
    pub fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            let (action, _) =
                *self.weights.choose_weighted(&mut self.rng, |(_, weight)| *weight).expect("weights");
            self.act(action)?;
        }
        self.heal()?;
        let statuses = (0..self.cluster.servers.len()).filter_map(|place| self.cluster.status(place));
        self.exercised.terms = statuses.map(|status| status.term.0 as usize).max().unwrap_or(0);
        self.exercised.succeeded = self.cluster.oracle.succeeded.clone();
        self.exercised.restored = self.cluster.restored;
        self.exercised.acknowledged = self.cluster.oracle.acknowledged.len();
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Deliver => self.deliver(),
            Action::Tick => self.tick(),
            Action::Sync => self.on_random_server(|simulation, place| {
                let count = simulation.rng.random_range(1..=4);
                let jobs = simulation.rng.random_range(0..=2);
                simulation.cluster.sync(place, count)?;
                simulation.cluster.work(place, jobs)
            }),
            Action::Apply => self.on_random_server(|simulation, place| {
                let count = simulation.rng.random_range(1..=8);
                simulation.cluster.apply(place, count)
            }),
            Action::Propose => {
                self.on_client_server(|simulation, place| simulation.cluster.propose(place, None).map(drop))
            }
            Action::Read => self.on_client_server(|simulation, place| {
                simulation.exercised.reads += 1;
                simulation.read(place)
            }),
            Action::ReadAsleep => self.read_asleep(),
            Action::Change => self.change(),
            Action::Transfer => self.transfer(),
            Action::Cut => {
                self.cut_something();
                Ok(())
            }
            Action::Reconnect => {
                self.cut.iter_mut().for_each(|row| row.fill(false));
                self.cluster.note(|| "-- all links are whole".to_owned());
                Ok(())
            }
            Action::Crash => self.crash(),
            Action::Start => self.start_one(),
            Action::Pause => self.on_random_server(|simulation, place| {
                simulation.cluster.servers[place].paused = true;
                simulation.cluster.note(|| format!("-- node {} is paused", place + 1));
                Ok(())
            }),
            Action::Resume => self.resume_one(),
            Action::JumpClock => self.on_random_server(|simulation, place| {
                let by_ms = simulation.rng.random_range(1..400);
                simulation.cluster.note(|| format!("-- clock of node {} jumps by {by_ms}", place + 1));
                simulation.cluster.tick(place, by_ms)
            }),
            Action::TakeSnapshot => self.on_random_server(|simulation, place| {
                simulation.exercised.snapshots +=
                    usize::from(simulation.cluster.take_snapshot(place).is_some());
                Ok(())
            }),
        }
    }

    pub fn on_random_server(
        &mut self,
        action: impl FnOnce(&mut Simulation, usize) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let place = self.cluster.running().choose(&mut self.rng).copied();
        place.map_or(Ok(()), |place| action(self, place))
    }

    /// Clients mostly know a leader, not always the newest.
    pub fn on_client_server(
        &mut self,
        action: impl FnOnce(&mut Simulation, usize) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let running = self.cluster.running();
        let leads = |place: &usize| {
            self.cluster.status(*place).is_some_and(|status| status.role == labrys_raft::Role::Leader)
        };
        let leaders: Vec<usize> = running.iter().copied().filter(leads).collect();
        let from = if leaders.is_empty() || self.rng.random_bool(0.05) { running } else { leaders };
        let place = from.choose(&mut self.rng).copied();
        place.map_or(Ok(()), |place| action(self, place))
    }

    /// One to three messages arrive, some of them as one step of their receiver.
    fn deliver(&mut self) -> Result<(), Violation> {
        let mut together = Vec::new();
        let mut receiver = None;
        for _ in 0..self.rng.random_range(1..=3) {
            let Some(message) = self.take_message() else { break };
            if receiver.is_some_and(|to| to != message.to) {
                let inputs = std::mem::take(&mut together);
                self.cluster.step(receiver.map_or(0, Cluster::place), inputs)?;
            }
            receiver = Some(message.to);
            together.push(Input::Receive(message));
        }
        match receiver {
            Some(to) if !together.is_empty() => self.cluster.step(Cluster::place(to), together),
            _ => Ok(()),
        }
    }

    /// Takes a message off the network, unless it is lost now.
    fn take_message(&mut self) -> Option<labrys_raft::Message> {
        if self.cluster.network.is_empty() {
            return None;
        }
        let last = self.cluster.network.len() - 1;
        let position = if self.reorders { self.rng.random_range(0..=last) } else { 0 };
        let message = if self.rng.random_bool(self.duplication) {
            self.cluster.network[position].clone()
        } else {
            self.cluster.network.remove(position)
        };
        let (from, to) = (Cluster::place(message.from), Cluster::place(message.to));
        let is_lost = self.cut[from][to] || self.rng.random_bool(self.loss);
        if is_lost {
            self.exercised.dropped += 1;
        }
        (!is_lost && !self.cluster.servers[to].paused).then_some(message)
    }

    fn tick(&mut self) -> Result<(), Violation> {
        let by_ms = self.rng.random_range(1..20);
        for place in 0..self.cluster.servers.len() {
            // Clocks run at slightly different rates.
            let drift_ms = u64::from(self.rng.random_bool(0.1));
            self.cluster.tick(place, by_ms + drift_ms)?;
        }
        Ok(())
    }

    fn cut_something(&mut self) {
        let count = self.cut.len();
        let one = self.rng.random_range(0..count);
        let kind = self.rng.random_range(0..4);
        let side: Vec<bool> = (0..count).map(|_| self.rng.random_bool(0.5)).collect();
        for from in 0..count {
            for to in 0..count {
                self.cut[from][to] |= match kind {
                    0 => from == one || to == one,
                    1 => side[from] != side[to],
                    2 => from == one,
                    _ => to == one,
                };
            }
        }
        self.cluster.note(|| format!("-- links are cut, kind {kind} around node {}", one + 1));
    }

    fn crash(&mut self) -> Result<(), Violation> {
        let up: Vec<usize> = (0..self.cluster.servers.len())
            .filter(|place| self.cluster.servers[*place].node.is_some())
            .collect();
        let Some(place) = up.choose(&mut self.rng).copied() else { return Ok(()) };
        self.exercised.crashes += 1;
        self.cluster.stop(place);
        self.cluster.servers[place].disk.crash(&mut self.rng);
        self.cluster.note(|| format!("-- node {} crashes", place + 1));
        if self.rng.random_bool(0.5) { self.start(place) } else { Ok(()) }
    }

    fn start_one(&mut self) -> Result<(), Violation> {
        let down = |place: &usize| self.cluster.servers[*place].node.is_none();
        let down: Vec<usize> = (0..self.cluster.servers.len()).filter(down).collect();
        down.choose(&mut self.rng).copied().map_or(Ok(()), |place| self.start(place))
    }

    /// Starts a server. Its state machine has either to be filled anew or kept a part of what it had applied.
    fn start(&mut self, place: usize) -> Result<(), Violation> {
        let server = &self.cluster.servers[place];
        let (least, most) = server.disk.applicable(&server.machine);
        let applied =
            if self.rng.random_bool(0.5) { least.0 } else { self.rng.random_range(least.0..=most.0) };
        self.cluster.note(|| format!("-- node {} starts", place + 1));
        self.cluster.start(place, LogIndex(applied))
    }

    fn resume_one(&mut self) -> Result<(), Violation> {
        let paused: Vec<usize> =
            (0..self.cluster.servers.len()).filter(|place| self.cluster.servers[*place].paused).collect();
        let Some(place) = paused.choose(&mut self.rng).copied() else { return Ok(()) };
        self.cluster.servers[place].paused = false;
        self.cluster.note(|| format!("-- node {} resumes", place + 1));
        self.cluster.tick(place, 0)
    }

    /// Everything is repaired: the cluster must elect, commit something new everywhere, and end every operation.
    fn heal(&mut self) -> Result<(), Violation> {
        self.cluster.note(|| "-- everything is healed".to_owned());
        self.cut.iter_mut().for_each(|row| row.fill(false));
        for place in 0..self.cluster.servers.len() {
            self.cluster.servers[place].paused = false;
            if self.cluster.servers[place].node.is_none() {
                self.start(place)?;
            }
        }
        let mut proposed = None;
        let rounds = PATIENCE_ELECTION_TIMEOUTS * self.cluster.servers[0].config.election_timeout_ms / 5;
        for _ in 0..rounds {
            for place in 0..self.cluster.servers.len() {
                self.cluster.tick(place, 5)?;
            }
            self.settle()?;
            proposed = match (self.cluster.leader(), proposed) {
                (Some(leader), None) => Some(self.cluster.propose(leader, None)?),
                // The leader lost its office with the proposal: another one takes its place.
                (_, Some(token)) if !self.is_open_or_acknowledged(token) => None,
                (_, other) => other,
            };
            let has_ended = self.cluster.oracle.open_operations().next().is_none();
            if has_ended && proposed.is_some_and(|token| self.is_everywhere(token)) {
                return self.check_the_end();
            }
        }
        if proposed.is_some_and(|token| self.is_everywhere(token)) {
            return self.check_the_end();
        }
        violated(
            Property::Liveness,
            format!("after healing, nothing is committed everywhere: {:?}", self.summary()),
        )
    }

    /// Delivers, syncs and applies until nothing moves.
    fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..MOST_ROUND_TRIPS {
            let mut moved = false;
            for place in 0..self.cluster.servers.len() {
                let server = &self.cluster.servers[place];
                moved |= server.disk.unsynced() + server.disk.jobs() + server.to_apply.len() > 0;
                self.cluster.sync(place, usize::MAX)?;
                self.cluster.work(place, usize::MAX)?;
                self.cluster.apply(place, usize::MAX)?;
            }
            for message in std::mem::take(&mut self.cluster.network) {
                moved = true;
                self.cluster.deliver(message)?;
            }
            if !moved {
                return Ok(());
            }
        }
        violated(
            Property::Liveness,
            format!("without time passing, messages never end: {:?}", self.summary()),
        )
    }

    fn is_open_or_acknowledged(&self, token: labrys_raft::Token) -> bool {
        let oracle = &self.cluster.oracle;
        oracle.acknowledged.contains_key(&token) || oracle.open_operations().any(|open| open == token)
    }

    fn is_everywhere(&self, token: labrys_raft::Token) -> bool {
        let Some(index) = self.cluster.oracle.acknowledged.get(&token) else { return false };
        self.present_members().all(|place| self.cluster.servers[place].machine.len() as u64 >= index.0)
    }

    fn check_the_end(&self) -> Result<(), Violation> {
        let oracle = &self.cluster.oracle;
        if let Some(token) = oracle.open_operations().next() {
            return violated(
                Property::TokensEndOnce,
                format!("{token} never ends, though nothing crashed since"),
            );
        }
        let members: Vec<usize> = self.present_members().collect();
        let servers = self.cluster.servers.iter().enumerate();
        let machines = servers.map(|(place, server)| (server.machine.as_slice(), members.contains(&place)));
        oracle.check_machines(machines)
    }

    fn summary(&self) -> Vec<String> {
        let statuses = (0..self.cluster.servers.len()).filter_map(|place| self.cluster.status(place));
        statuses.map(|status| crate::render::status(&status)).collect()
    }
}

/// Timeouts, windows and switches, drawn anew for each schedule.
fn random_config(rng: &mut ChaCha8Rng, count: u64) -> Config {
    Config {
        max_batch_entries: rng.random_range(1..=4),
        max_batch_bytes: *[8, 24, 4096].choose(rng).expect("not empty"),
        max_inflight_batches: rng.random_range(1..=6),
        max_pending: *[3, 20, 200].choose(rng).expect("not empty"),
        kept_entries: *[0, 2, 10].choose(rng).expect("not empty"),
        snapshot_chunk_bytes: *[24, 100, 1000].choose(rng).expect("not empty"),
        pre_vote: rng.random_bool(0.7),
        check_quorum: rng.random_bool(0.7),
        ..config(1, count)
    }
}

/// How often each thing happens; half of the kinds of trouble are left out, so that schedules differ in kind.
fn random_weights(rng: &mut ChaCha8Rng) -> Vec<(Action, u32)> {
    let mut weights = vec![
        (Action::Deliver, 300),
        (Action::Tick, rng.random_range(20..120)),
        (Action::Sync, rng.random_range(10..200)),
        (Action::Apply, rng.random_range(20..100)),
        (Action::Propose, rng.random_range(10..60)),
        (Action::Read, rng.random_range(5..30)),
    ];
    let mut trouble = |actions: &[(Action, u32)]| {
        if rng.random_bool(0.5) {
            weights.extend(actions);
        }
    };
    trouble(&[(Action::Cut, 5), (Action::Reconnect, 5)]);
    trouble(&[(Action::Crash, 5), (Action::Start, 10)]);
    trouble(&[(Action::Pause, 4), (Action::Resume, 8), (Action::ReadAsleep, 8)]);
    trouble(&[(Action::Change, 12), (Action::Transfer, 3)]);
    trouble(&[(Action::JumpClock, 6), (Action::JumpClock, 6)]);
    trouble(&[(Action::TakeSnapshot, 10), (Action::TakeSnapshot, 40)]);
    weights
}

/// Runs the schedule of `seed`.
pub fn run(seed: u64, setting: Setting) -> Result<Exercised, Violation> {
    let mut simulation = Simulation::new(seed, setting);
    simulation.run()?;
    Ok(simulation.exercised)
}

/// The last lines of the trace of a schedule that fails, for the message of the test.
pub fn explain(seed: u64, setting: Setting) -> String {
    let mut simulation = Simulation::new(seed, Setting { traces: true, ..setting });
    let violation = simulation.run().err();
    let trace = simulation.cluster.trace.unwrap_or_default();
    let shown = trace.len().saturating_sub(80);
    let violation = violation.map_or("nothing".to_owned(), |violation| violation.to_string());
    format!("seed {seed}: {violation}\n{}", trace[shown..].join("\n"))
}
