//! [`World`]: machines, links, clients and time, in one thread.
//!
//! Everything that happens is an `Event` on one agenda; handling one plans others. All randomness comes from named sub-streams of
//! the run's seed, and nothing is asked of the real world, so a run is a function of its configuration.
//!
//! A node is the code of the server without its threads: what the node loop, the disk thread and the snapshot thread do is done
//! here, in the order of the agenda. A process can be ended or stopped between any two things that a step of it wants done, and in
//! the middle of a write.

use std::collections::{BTreeMap, BTreeSet};

use labrys_harness::config::TestConfig;
use labrys_harness::db::Observation;
use labrys_history::{Draft, Event as Recorded};
use labrys_nemesis::{PowerLoss, Schedule};
use labrys_seed::{Rng, Seed};
use labrys_store::client::AttemptError;
use labrys_store::client::logic::{Attempt, AttemptBody, Reply, RequestId, Success, Written};
use labrys_store::client::refusals::{from_not_leader, from_refusal};
use labrys_store::disk::SimulatedDisk;
use labrys_store::machine::Command;
use labrys_store::raft::{Message, NodeId, Role};
use labrys_store::server::answers::{Answered, Declined, is_swap, translate};
use labrys_store::server::{
    Answer, ClientRequest, ReplicaInput, ReplicaOutput, ServerOptions, SnapshotEvent, SnapshotJob,
};
use labrys_workloads::generator::{Thread, Threads};
use rand::Rng as _;

use crate::clients::ClientThread;
use crate::clock::NodeClock;
use crate::environment::{Environment, duration_ns};
use crate::faults::Nemesis;
use crate::network::{Network, size_bytes};
use crate::node::{Asker, Death, SimulatedNode};
use crate::oracles::Oracles;
use crate::queue::Agenda;
use crate::trace::Trace;

/// What happens. Of a process: only if it is still the one that it was planned for.
#[derive(Debug)]
pub(crate) enum Event {
    /// A process is started.
    Start { node: usize, life: u64 },
    /// It looks at the time.
    Tick { node: usize, life: u64 },
    /// It looks at its inbox.
    Wake { node: usize, life: u64 },
    /// Its disk has written.
    Written { node: usize, life: u64 },
    /// A piece of work with its snapshot files is done.
    Worked { node: usize, life: u64 },
    /// A message arrives.
    Arrive { message: Message, number: u64 },
    /// A client's request arrives.
    Ask { node: usize, asker: Asker, attempt: Attempt },
    /// A reply arrives at a client.
    Reply { client: usize, generation: u64, request: RequestId, reply: Reply },
    /// A client looks at the time.
    ClientWake { client: usize, generation: u64 },
    /// The generator is asked.
    Schedule,
    /// A fault strikes, if it has not found a better moment before.
    Strike { fault: u64, node: usize },
    /// The nemesis has done what it was asked.
    NemesisDone,
}

/// A fault that waits for a step into whose middle it can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    Kill,
    PowerCut,
    Pause,
}

/// How often the store's rare paths were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// A node came to lead.
    pub elections: u64,
    /// A node took over a snapshot of another.
    pub snapshots_installed: u64,
    /// A node took a snapshot of its own.
    pub snapshots_taken: u64,
    /// A node was to forget a part of its log.
    pub compactions: u64,
    /// An answer under a lease came when the lease was over.
    pub leases_over: u64,
    /// A process was ended or stopped in the middle of a step.
    pub struck_within_a_step: u64,
}

/// A run under way.
pub struct World {
    pub(crate) config: TestConfig,
    pub(crate) environment: Environment,
    pub(crate) now_ns: u64,
    /// When the history begins.
    pub(crate) origin_ns: u64,
    pub(crate) agenda: Agenda<Event>,
    /// What stopped processes will see when they go on.
    held: BTreeMap<usize, Vec<Event>>,
    pub(crate) nodes: Vec<SimulatedNode>,
    /// Which faults want to strike into the next step of a node.
    pub(crate) strikes: BTreeMap<usize, Vec<(u64, Strike)>>,
    pub(crate) network: Network,
    pub(crate) rng: Rng,
    pub(crate) clients: Vec<ClientThread>,
    pub(crate) addresses: Vec<String>,
    pub(crate) threads: Threads,
    pub(crate) nemesis: Nemesis,
    pub(crate) history: Vec<Recorded>,
    pub(crate) oracles: Oracles,
    /// Processes that ended by themselves.
    pub(crate) deaths: Vec<(usize, Death)>,
    /// What is drawn afterwards, if anything.
    pub trace: Trace,
    /// How often the rare paths were taken.
    pub(crate) marks: Marks,
    /// How many events have been handled.
    pub(crate) handled: u64,
    pub(crate) scheduled_ns: Option<u64>,
    /// What happens is the same every time: of a disk's unfinished work nothing is left.
    pub(crate) is_exact: bool,
    /// Messages of links, from sender to receiver, that wait until they are released.
    pub(crate) held_links: BTreeMap<(usize, usize), Vec<(Message, u64)>>,
    /// Clients whose next reply is lost.
    pub(crate) lost_replies: BTreeSet<usize>,
    /// Operations that have ended, and of which the generator does not know yet.
    pub(crate) completed: Vec<(Thread, Recorded)>,
}

const MILLISECOND: u64 = 1_000_000;

impl World {
    /// A world in which nothing runs yet.
    pub(crate) fn new(
        config: &TestConfig,
        environment: &Environment,
        options: impl Fn(u64) -> ServerOptions,
        schedule: &Schedule,
    ) -> World {
        let seed = config.seed.fork("simulation");
        let mut rng = seed.fork("world").rng();
        let nodes: Vec<SimulatedNode> = (1..=config.nodes as u64)
            .map(|id| {
                let clock = NodeClock::starting_at(rng.random_range(0..3_600_000 * MILLISECOND));
                SimulatedNode::new(options(id), clock)
            })
            .collect();
        World {
            environment: environment.clone(),
            now_ns: 0,
            origin_ns: u64::MAX,
            agenda: Agenda::default(),
            held: BTreeMap::new(),
            strikes: BTreeMap::new(),
            network: Network::new(environment, seed.fork("network").rng()),
            rng,
            clients: (0..config.threads()).map(ClientThread::new).collect(),
            addresses: nodes.iter().map(|node| address_of(node.id())).collect(),
            threads: Threads::new(config.threads(), config.seed.fork("interpreter").fork("threads")),
            nemesis: Nemesis::new(schedule, config.seed.fork("nemesis")),
            history: Vec::new(),
            oracles: Oracles::default(),
            deaths: Vec::new(),
            trace: Trace::default(),
            handled: 0,
            marks: Marks::default(),
            scheduled_ns: None,
            is_exact: false,
            held_links: BTreeMap::new(),
            lost_replies: BTreeSet::new(),
            completed: Vec::new(),
            nodes,
            config: config.clone(),
        }
    }

    /// Nanoseconds since the beginning of the history; 0 before it.
    pub(crate) fn time_ns(&self) -> u64 {
        self.now_ns.saturating_sub(self.origin_ns)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ns / MILLISECOND
    }

    pub(crate) fn plan_in(&mut self, after_ns: u64, event: Event) {
        self.agenda.plan(self.now_ns + after_ns, event);
    }

    pub(crate) fn record(&mut self, draft: Draft) -> Recorded {
        let event = draft.at(self.history.len() as u64, self.time_ns());
        self.history.push(event.clone());
        event
    }

    pub(crate) fn seed(&self) -> Seed {
        self.config.seed
    }

    /// Handles the next event; false: nothing will ever happen again.
    pub(crate) fn advance(&mut self) -> bool {
        let Some((at_ns, event)) = self.agenda.take() else { return false };
        self.now_ns = self.now_ns.max(at_ns);
        self.handled += 1;
        match event {
            Event::Ask { node, asker, attempt } => self.asked(node, asker, attempt),
            Event::Reply { client, generation, request, reply } => {
                self.replied(client, generation, request, reply);
            }
            Event::ClientWake { client, generation } => self.client_wakes(client, generation),
            Event::Schedule => {
                self.scheduled_ns = None;
            }
            Event::Strike { fault, node } => self.strike_now(fault, node),
            Event::NemesisDone => self.nemesis_done(),
            Event::Start { node, life } => self.start_now(node, life),
            event => self.of_process(event),
        }
        true
    }

    /// What is done by a process waits while it is stopped.
    fn of_process(&mut self, event: Event) {
        let (node, life) = match &event {
            Event::Tick { node, life }
            | Event::Wake { node, life }
            | Event::Written { node, life }
            | Event::Worked { node, life } => (*node, *life),
            Event::Arrive { message, .. } => {
                let node = position(message.to);
                (node, self.nodes[node].lives)
            }
            _ => return,
        };
        let machine = &self.nodes[node];
        if machine.process.is_none() || machine.lives != life {
            return;
        }
        if !machine.stopped_by.is_empty() {
            self.held.entry(node).or_default().push(event);
            return;
        }
        match event {
            Event::Tick { .. } => {
                self.plan_tick(node);
                self.step(node);
            }
            Event::Wake { .. } => self.step(node),
            Event::Written { .. } => self.written(node),
            Event::Worked { .. } => self.worked(node),
            Event::Arrive { message, number } => {
                self.trace.arrived(number, self.now_ns);
                self.put_in(node, ReplicaInput::Receive(message));
            }
            _ => {}
        }
    }

    /// Starts a process on a node, a little later.
    pub(crate) fn start(&mut self, node: usize) {
        let after_ns = duration_ns(self.environment.start_ms, MILLISECOND, &mut self.rng);
        let life = self.nodes[node].lives;
        self.plan_in(after_ns, Event::Start { node, life });
    }

    fn start_now(&mut self, node: usize, life: u64) {
        let machine = &mut self.nodes[node];
        if machine.process.is_some() || machine.lives != life || !machine.down_by.is_empty() {
            return;
        }
        match machine.start(self.now_ns) {
            Ok(()) => {
                self.network.reset(node);
                let machine = &self.nodes[node];
                if let Some(process) = &machine.process {
                    self.oracles.started(self.now_ns, node, &process.replica);
                    self.oracles.stepped(self.now_ns, node, &process.replica);
                }
                self.trace.mark(self.now_ns, node, "starts");
                self.plan_tick(node);
            }
            Err(death) => self.died(node, death),
        }
    }

    fn plan_tick(&mut self, node: usize) {
        let life = self.nodes[node].lives;
        self.plan_in(self.tick_ns(), Event::Tick { node, life });
    }

    /// As the server's loop: a quarter of the heartbeat interval.
    fn tick_ns(&self) -> u64 {
        (self.heartbeat_ms() / 4).max(1) * MILLISECOND
    }

    pub(crate) fn heartbeat_ms(&self) -> u64 {
        heartbeat_ms(&self.config)
    }

    pub(crate) fn election_timeout_ns(&self) -> u64 {
        u64::try_from(self.config.election_timeout.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Something arrives at a process, which will look at it soon.
    pub(crate) fn put_in(&mut self, node: usize, input: ReplicaInput) {
        if let Some(process) = &mut self.nodes[node].process {
            process.inbox.push(input);
            self.wake(node);
        }
    }

    /// A process looks at what has arrived, and at its clock.
    pub(crate) fn wake(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        let life = machine.lives;
        let Some(process) = machine.process.as_mut().filter(|process| !process.is_awake) else { return };
        process.is_awake = true;
        let after_ns = duration_ns(self.environment.wake_up_us, 1_000, &mut self.rng);
        self.plan_in(after_ns, Event::Wake { node, life });
    }

    fn step(&mut self, node: usize) {
        match self.nodes[node].step(self.now_ns) {
            Err(death) => self.died(node, death),
            Ok(outputs) => {
                if let Some(process) = &self.nodes[node].process {
                    self.oracles.stepped(self.now_ns, node, &process.replica);
                }
                self.carry_out(node, outputs);
            }
        }
    }

    /// Carries out what a step wants done; a fault that waited for such a moment strikes somewhere in between.
    fn carry_out(&mut self, node: usize, outputs: Vec<ReplicaOutput>) {
        let strikes = if outputs.is_empty() { None } else { self.strikes.remove(&node) };
        let Some(strikes) = strikes else {
            outputs.into_iter().for_each(|output| self.do_output(node, output));
            return;
        };
        let done = if self.is_exact { 0 } else { self.rng.random_range(0..=outputs.len()) };
        self.marks.struck_within_a_step += u64::from(done < outputs.len());
        let mut outputs = outputs.into_iter();
        outputs.by_ref().take(done).for_each(|output| self.do_output(node, output));
        if let Some(process) = &mut self.nodes[node].process {
            process.rest = outputs.collect();
        }
        for (fault, strike) in strikes {
            self.strike(fault, node, strike);
        }
        if self.nodes[node].is_running() {
            self.go_on(node);
        }
    }

    /// What a process was stopped in the middle of.
    fn go_on(&mut self, node: usize) {
        let rest = self.nodes[node].process.as_mut().map(|process| std::mem::take(&mut process.rest));
        self.carry_out(node, rest.unwrap_or_default());
    }

    /// A process goes on after a stop. What has arrived meanwhile is in its queue when it first looks, as in the server.
    pub(crate) fn resume(&mut self, node: usize) {
        self.go_on(node);
        let held = self.held.remove(&node).unwrap_or_default();
        let (looks, arrivals): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|event| matches!(event, Event::Tick { .. } | Event::Wake { .. }));
        for event in arrivals.into_iter().chain(looks) {
            self.plan_in(0, event);
        }
    }

    fn do_output(&mut self, node: usize, output: ReplicaOutput) {
        let now_ns = self.now_ns;
        let life = self.nodes[node].lives;
        let Some(process) = &mut self.nodes[node].process else { return };
        match output {
            ReplicaOutput::Persist(batch) => {
                self.oracles.persisting(now_ns, node, &process.replica, &batch);
                if process.persist(batch) {
                    self.plan_write(node);
                }
            }
            ReplicaOutput::CompactLog { up_to } => {
                self.marks.compactions += 1;
                process.compact(up_to);
            }
            ReplicaOutput::Snapshot(job) => {
                self.marks.snapshots_taken += u64::from(matches!(job, SnapshotJob::Take { .. }));
                process.jobs.push_back(job);
                if process.jobs.len() == 1 {
                    self.plan_work(node, life);
                }
            }
            ReplicaOutput::Send(message) => {
                self.oracles.sending(now_ns, node, &message);
                self.send(node, message);
            }
            ReplicaOutput::Answer { token, answer } => match process.waiting.remove(&token) {
                Some(asker) => self.answer(node, asker, answer),
                None => self.trace.answered(now_ns, node, &answer),
            },
            ReplicaOutput::AnswerUnderLease { token, answer, valid_until_ms } => {
                let is_valid = self.nodes[node].process_ms(now_ns) < valid_until_ms;
                self.marks.leases_over += u64::from(!is_valid);
                let process = self.nodes[node].process.as_mut();
                if let Some(asker) = process.and_then(|process| process.waiting.remove(&token)) {
                    self.answer(node, asker, if is_valid { answer } else { Answer::lease_is_over() });
                }
            }
            ReplicaOutput::RoleChanged { term, role, .. } => {
                if role == Role::Leader {
                    self.marks.elections += 1;
                    self.trace.mark(now_ns, node, &format!("leads term {term}"));
                    let name = self.nodes[node].name.clone();
                    self.record(Observation::Leader { node: name, term: term.0 }.draft());
                }
            }
            ReplicaOutput::InvariantBroken { what } => self.invariant_broken(node, what),
            ReplicaOutput::SnapshotInstalled { .. } => self.marks.snapshots_installed += 1,
            ReplicaOutput::RemovedFromCluster
            | ReplicaOutput::MembershipChanged { .. }
            | ReplicaOutput::FollowerLostLog { .. } => {}
        }
    }

    fn invariant_broken(&mut self, node: usize, what: String) {
        let name = self.nodes[node].name.clone();
        self.record(Observation::Invariant { node: name, what: what.clone() }.draft());
        // As the server does: with a defect switched on it goes on.
        if self.config.defect.is_empty() {
            self.died(node, Death::Invariant(what));
        }
    }

    fn send(&mut self, node: usize, message: Message) {
        let to = position(message.to);
        if to >= self.nodes.len() {
            return;
        }
        let number = self.trace.sent(self.now_ns, node, to, &message);
        if let Some(held) = self.held_links.get_mut(&(node, to)) {
            return held.push((message, number));
        }
        self.transmit(node, to, message, number);
    }

    /// The messages of a link that have waited go on, and later ones do not wait.
    pub(crate) fn release_link(&mut self, from: usize, to: usize) {
        for (message, number) in self.held_links.remove(&(from, to)).unwrap_or_default() {
            self.transmit(from, to, message, number);
        }
    }

    fn transmit(&mut self, node: usize, to: usize, message: Message, number: u64) {
        let arrivals = self.network.deliver(self.now_ns, node, to, size_bytes(&message));
        let mut message = Some(message);
        for (copy, at_ns) in arrivals.iter().enumerate() {
            let copied = if copy + 1 == arrivals.len() { message.take() } else { message.clone() };
            if let Some(message) = copied {
                self.agenda.plan(*at_ns, Event::Arrive { message, number });
            }
        }
    }

    fn plan_write(&mut self, node: usize) {
        let life = self.nodes[node].lives;
        let takes_ns = duration_ns(self.environment.log_write_us, 1_000, &mut self.rng);
        let takes_ns = takes_ns + self.nodes[node].slow_sync_ns;
        self.plan_in(takes_ns, Event::Written { node, life });
    }

    fn written(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        match process.end_write() {
            Err(death) => self.died(node, death),
            Ok(sequence) => {
                let again = process.next_write();
                if let Some(sequence) = sequence {
                    self.oracles.durable(node, sequence);
                }
                self.wake(node);
                if again {
                    self.plan_write(node);
                }
            }
        }
    }

    fn plan_work(&mut self, node: usize, life: u64) {
        let takes_ns = duration_ns(self.environment.snapshot_us, 1_000, &mut self.rng);
        self.plan_in(takes_ns, Event::Worked { node, life });
    }

    fn worked(&mut self, node: usize) {
        let id = self.nodes[node].id();
        let life = self.nodes[node].lives;
        let Some(process) = &mut self.nodes[node].process else { return };
        match process.end_job(id) {
            Err(death) => self.died(node, death),
            Ok(event) => {
                let again = !process.jobs.is_empty();
                if let Some(event) = event {
                    if let SnapshotEvent::Taken(snapshot) | SnapshotEvent::Received(snapshot, _) = &event {
                        self.oracles.snapshot_durable(node, snapshot.index());
                    }
                    self.put_in(node, ReplicaInput::Snapshot(event));
                }
                if again {
                    self.plan_work(node, life);
                }
            }
        }
    }

    /// A client's request arrives at a machine.
    fn asked(&mut self, node: usize, asker: Asker, attempt: Attempt) {
        if self.nodes[node].process.is_none() {
            let detail = format!("nobody listens on {}", self.addresses[node]);
            self.reply(node, asker, Reply::Failed { error: AttemptError::CannotConnect, detail });
            return;
        }
        if !self.nodes[node].stopped_by.is_empty() {
            self.held.entry(node).or_default().push(Event::Ask { node, asker, attempt });
            return;
        }
        let request = match attempt.body {
            AttemptBody::Read { query, mode } => ClientRequest::Read(query, mode),
            AttemptBody::Write { placement, operation } => {
                ClientRequest::Write(Command { placement, operation })
            }
        };
        if let Some(process) = &mut self.nodes[node].process {
            process.ask(asker, request);
            self.wake(node);
        }
    }

    fn answer(&mut self, node: usize, asker: Asker, answer: Answer) {
        let reply = match translate(answer, address_of).map(|answered| answered.of_write(asker.is_swap)) {
            Ok(Answered::Reading(reading)) => Reply::Ok(Success::Read(reading)),
            Ok(Answered::Done { index, revision, done }) => {
                self.oracles.acknowledged(self.now_ns, node, index);
                Reply::Ok(Success::Written(Written { index: index.0, revision, done }))
            }
            Ok(other) => Reply::Failed { error: AttemptError::ForeignReply, detail: format!("{other:?}") },
            Err(Declined::NotLeader(not_leader)) => from_not_leader(not_leader),
            Err(Declined::Refused(refused)) => from_refusal(refused),
        };
        self.reply(node, asker, reply);
    }

    fn reply(&mut self, node: usize, asker: Asker, reply: Reply) {
        let clients = self.nodes.len();
        if self.lost_replies.remove(&asker.client) || self.network.loses(node, clients) {
            return self.trace.replied((self.now_ns, None), node, asker.client, &reply);
        }
        let after_ns = self.network.latency_ns();
        self.trace.replied((self.now_ns, Some(self.now_ns + after_ns)), node, asker.client, &reply);
        let Asker { client, generation, request, .. } = asker;
        self.plan_in(after_ns, Event::Reply { client, generation, request, reply });
    }

    /// A client sends a request.
    pub(crate) fn ask(&mut self, client: usize, attempt: Attempt) {
        let is_swap = match &attempt.body {
            AttemptBody::Write { operation, .. } => is_swap(operation),
            AttemptBody::Read { .. } => false,
        };
        let generation = self.clients[client].generation;
        let asker = Asker { client, generation, request: attempt.request, is_swap };
        let clients = self.nodes.len();
        if self.network.loses(clients, attempt.node) {
            return self.trace.asked(self.now_ns, None, client, attempt.node);
        }
        let after_ns = self.network.latency_ns();
        self.trace.asked(self.now_ns, Some(self.now_ns + after_ns), client, attempt.node);
        self.plan_in(after_ns, Event::Ask { node: attempt.node, asker, attempt });
    }

    /// The process on a node is ended; those who waited for it learn that their connection is gone.
    pub(crate) fn kill(&mut self, node: usize, power: Option<PowerLoss>) {
        let (rng, is_exact) = (&mut self.rng, self.is_exact);
        let mut choose = |limit: u64| if is_exact { 0 } else { rng.random_range(0..=limit) };
        let askers = self.nodes[node].kill(&mut choose);
        if let Some(loss) = power {
            // Of what was on its way, everything or nothing as often as a part: with equal chances for every length, a write that has
            // its length but not all its blocks would hardly ever be seen.
            self.nodes[node].disk.lose_power(&mut |limit| match loss {
                PowerLoss::Everything => 0,
                // The disk asks so of each block of a prefix, of which 0 is a hole.
                PowerLoss::Torn if limit == SimulatedDisk::HOLE_LIMIT => limit,
                PowerLoss::Torn | PowerLoss::Reordered => match choose(3) {
                    0 => 0,
                    1 => limit,
                    _ => choose(limit),
                },
            });
        }
        self.held.remove(&node);
        self.strikes.remove(&node);
        for asker in askers {
            let detail = format!("{} closed the connection", self.addresses[node]);
            self.reply(node, asker, Reply::Failed { error: AttemptError::ConnectionLost, detail });
        }
    }

    fn died(&mut self, node: usize, death: Death) {
        let (status, may_be_meant) = match &death {
            Death::Disk(_) => ("disk failure", true),
            Death::NotStarted(_) => ("does not start", true),
            Death::Panicked(_) => ("panic", false),
            Death::Invariant(_) => ("broken invariant", false),
        };
        let (Death::Disk(what) | Death::NotStarted(what) | Death::Panicked(what) | Death::Invariant(what)) =
            &death;
        let is_fault = may_be_meant && self.nemesis.breaks_disk_of(node);
        let exit = Observation::Exit {
            node: self.nodes[node].name.clone(),
            status: status.to_owned(),
            // The fault meant it.
            expected: is_fault,
            environment: None,
            log: vec![what.clone()],
        };
        self.record(exit.draft());
        self.trace.mark(self.now_ns, node, "dies");
        self.nemesis.saw_death(node, is_fault);
        self.kill(node, None);
        self.deaths.push((node, death));
    }

    /// Whether it makes no sense to go on.
    pub(crate) fn is_violated(&self) -> bool {
        !self.oracles.violations.is_empty()
    }

    /// Those that believe to lead, the newest first.
    pub(crate) fn leaders(&self) -> Vec<String> {
        let mut leaders: Vec<(u64, &str)> = Vec::new();
        for node in self.nodes.iter() {
            let status = node.process.as_ref().map(|process| process.replica.raft_status());
            leaders.extend(
                status
                    .filter(|status| status.role == Role::Leader)
                    .map(|status| (status.term.0, node.name.as_str())),
            );
        }
        leaders.sort_by(|one, other| other.cmp(one));
        leaders.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}

/// As the harness starts real nodes: a sixth of the election timeout.
pub(crate) fn heartbeat_ms(config: &TestConfig) -> u64 {
    u64::try_from(config.election_timeout.as_millis() / 6).unwrap_or(50).max(1)
}

/// The position of a node in the cluster.
pub(crate) fn position(node: NodeId) -> usize {
    usize::try_from(node.0.saturating_sub(1)).unwrap_or(usize::MAX)
}

/// Where clients reach a node.
pub(crate) fn address_of(node: NodeId) -> String {
    format!("n{}:7000", node.0)
}
