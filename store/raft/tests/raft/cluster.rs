//! A cluster in one thread: nodes with simulated disks and state machines, a network that is a list of messages, and the
//! oracle that looks on. Who moves when is decided by the caller: a scenario file or a random schedule.

use std::collections::VecDeque;

use bytes::Bytes;
use labrys_raft::{
    Change, Config, Defects, Effect, Entry, Input, LogIndex, Membership, Message, Node, NodeId, ReadMode,
    Role, Snapshot, Status, Token,
};

use crate::disk::{self, Disk, SnapshotJob};
use crate::oracle::{Oracle, Property, Violation, violated};
use crate::render;
use crate::states;

/// What a node hands over to its state machine.
#[derive(Debug)]
pub enum ToApply {
    Entry(Entry, Option<Token>),
    Restore(Snapshot),
}

/// One server.
#[derive(Debug)]
pub struct Server {
    pub config: Config,
    /// `None` while it is down.
    pub node: Option<Node>,
    pub disk: Disk,
    /// Handed over by the node, not yet applied.
    pub to_apply: VecDeque<ToApply>,
    /// Index of the last thing handed over.
    handed_over: LogIndex,
    /// The state machine: what was applied.
    pub machine: Vec<Entry>,
    pub clock_ms: u64,
    /// Stopped as by SIGSTOP.
    pub paused: bool,
    /// Counts its restarts.
    life: u64,
    /// Operations of its clients.
    tokens: Vec<Token>,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    pub servers: Vec<Server>,
    pub network: Vec<Message>,
    pub oracle: Oracle,
    /// What happened, a line each, if anybody wants to know.
    pub trace: Option<Vec<String>>,
    next_token: u64,
    /// How many state machines were replaced by a snapshot that came from another node.
    pub restored: usize,
    /// If a copy of each node is to take each step as well: the states in which they ended.
    pub copies: Vec<u64>,
    pub copies_nodes: bool,
}

/// The configuration that tests begin with.
pub fn config(id: u64, voters: u64) -> Config {
    Config {
        id: NodeId(id),
        initial: Membership::of_voters((1..=voters).map(NodeId)),
        election_timeout_ms: 100,
        heartbeat_interval_ms: 20,
        max_batch_entries: 64,
        max_batch_bytes: 1 << 20,
        max_inflight_batches: 8,
        max_pending: 1000,
        kept_entries: 0,
        snapshot_chunk_bytes: 16,
        pre_vote: true,
        check_quorum: true,
        election_handicap: 0,
        lease_reads: false,
        max_clock_drift_percent: 10,
        incarnation: 0,
        seed: 1,
        defects: Defects::NONE,
    }
}

impl Cluster {
    /// Servers with these configurations, all down, with empty disks.
    pub fn new(configs: impl IntoIterator<Item = Config>) -> Cluster {
        let servers = configs.into_iter().map(|config| Server {
            config,
            node: None,
            disk: Disk::default(),
            to_apply: VecDeque::new(),
            handed_over: LogIndex(0),
            machine: Vec::new(),
            clock_ms: 0,
            paused: false,
            life: 0,
            tokens: Vec::new(),
        });
        let mut oracle = Oracle::default();
        (oracle.watches_disk, oracle.trusts_assertions) = (true, true);
        Cluster {
            servers: servers.collect(),
            network: Vec::new(),
            oracle,
            trace: None,
            next_token: 0,
            restored: 0,
            copies: Vec::new(),
            copies_nodes: false,
        }
    }

    /// The place of a node in `servers`.
    pub fn place(id: NodeId) -> usize {
        id.0 as usize - 1
    }

    /// The status of the server at `place`, if it is up.
    pub fn status(&self, place: usize) -> Option<Status> {
        self.servers[place].node.as_ref().map(Node::status)
    }

    /// Servers that are up and not paused.
    pub fn running(&self) -> Vec<usize> {
        let runs = |place: &usize| self.servers[*place].node.is_some() && !self.servers[*place].paused;
        (0..self.servers.len()).filter(runs).collect()
    }

    /// The running leader with the highest term.
    pub fn leader(&self) -> Option<usize> {
        let leads = |place: &usize| self.status(*place).is_some_and(|status| status.role == Role::Leader);
        self.running()
            .into_iter()
            .filter(leads)
            .max_by_key(|place| self.status(*place).map(|status| status.term))
    }

    /// Notes a line, if anybody listens.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    /// Starts the server at `place` from its disk. Its state machine is found as after `applied` entries, but at least as
    /// in its newest snapshot.
    pub fn start(&mut self, place: usize, applied: LogIndex) -> Result<(), Violation> {
        let server = &mut self.servers[place];
        let mut machine = server.disk.snapshots.last().map_or(Vec::new(), |(_, bytes)| decode(bytes));
        machine.extend(server.machine.iter().take(applied.0 as usize).skip(machine.len()).cloned());
        server.machine = machine;
        // A defect may label a snapshot wrongly; then the state machine believes its label.
        let label = server.disk.snapshots.last().map_or(LogIndex(0), |(snapshot, _)| snapshot.index());
        let applied = applied.max(label);
        server.handed_over = applied;
        server.life += 1;
        let config = Config { incarnation: server.life, ..server.config.clone() };
        match Node::new(config, server.disk.recovered(applied), server.clock_ms) {
            Ok(node) => server.node = Some(node),
            Err(error) => {
                return violated(Property::StartsFromItsDisk, format!("node {}: {error}", place + 1));
            }
        }
        Ok(())
    }

    /// The server at `place` is gone; what its disk keeps is the caller's affair.
    pub fn stop(&mut self, place: usize) {
        let server = &mut self.servers[place];
        server.node = None;
        server.paused = false;
        server.to_apply.clear();
        self.oracle.forgot(server.tokens.drain(..));
    }

    /// Gives inputs to the server at `place`, as one step, and carries out what it wants.
    pub fn step(&mut self, place: usize, inputs: Vec<Input>) -> Result<(), Violation> {
        let server = &mut self.servers[place];
        let Some(node) = &mut server.node else { return Ok(()) };
        let was = node.status();
        let of_copy = self.copies_nodes.then(|| states::of_copy(node, &inputs));
        let mut effects = Vec::new();
        if inputs.len() == 1 {
            inputs.into_iter().for_each(|input| node.step(input, &mut effects));
        } else {
            node.step_all(inputs, &mut effects);
        }
        if let Some(of_copy) = of_copy {
            let of_node = (effects.clone(), states::fingerprint(node));
            assert_eq!(of_copy, of_node, "a copy of node {} does something else", was.id);
            self.copies.push(of_node.1);
        }
        let id = was.id;
        if let Some(trace) = &mut self.trace {
            trace.extend(effects.iter().map(|effect| render::effect(id, effect)));
        }
        self.oracle.after_step(node, &was, server.life)?;
        for effect in effects {
            match effect {
                Effect::Persist(batch) => {
                    self.oracle.on_write(node, &was, &batch)?;
                    server.disk.write(batch);
                }
                Effect::Send(message) => {
                    self.oracle.on_send(&message, server.life, &server.disk, node)?;
                    self.network.push(message);
                }
                Effect::Apply { entries } => {
                    self.oracle.on_apply(id, server.handed_over, &entries)?;
                    server.handed_over = entries.last().map_or(server.handed_over, |(entry, _)| entry.index);
                    server
                        .to_apply
                        .extend(entries.into_iter().map(|(entry, token)| ToApply::Entry(entry, token)));
                }
                Effect::RestoreSnapshot { snapshot } => {
                    server.handed_over = snapshot.index();
                    server.to_apply.push_back(ToApply::Restore(snapshot));
                }
                Effect::ReadSnapshotChunk { to, index, offset, length } => {
                    server.disk.add_job(SnapshotJob::Read { to, index, offset, length });
                }
                Effect::WriteSnapshotChunk { snapshot, offset, data } => {
                    server.disk.add_job(SnapshotJob::Write { snapshot, offset, data });
                }
                Effect::CompactLog { up_to } => {
                    self.oracle.on_compaction(id, up_to, &server.disk)?;
                    server.disk.compact(up_to);
                }
                Effect::DropSnapshots { below } => server.disk.drop_snapshots(below),
                Effect::ReadReady { token, valid_until_ms: Some(until_ms), .. }
                    if server.clock_ms >= until_ms =>
                {
                    self.oracle.gave_up(token)?;
                    if let Some(trace) = &mut self.trace {
                        trace.push(format!("-- node {id} gives read {token} up"));
                    }
                }
                Effect::ReadReady { token, index, valid_until_ms } => {
                    let applied = LogIndex(server.machine.len() as u64);
                    self.oracle.on_read_ready(token, index, applied, valid_until_ms.is_some())?;
                }
                other => self.oracle.on_other(id, &other)?,
            }
        }
        self.check_quorum_of_commit(place, &was)
    }

    /// Time passes for one server.
    pub fn tick(&mut self, place: usize, by_ms: u64) -> Result<(), Violation> {
        let server = &mut self.servers[place];
        server.clock_ms += by_ms;
        let now_ms = server.clock_ms;
        if server.paused { Ok(()) } else { self.step(place, vec![Input::Tick { now_ms }]) }
    }

    /// The disk of a server syncs its oldest `count` batches.
    pub fn sync(&mut self, place: usize, count: usize) -> Result<(), Violation> {
        let server = &mut self.servers[place];
        match server.disk.sync(count) {
            Some(sequence) if server.node.is_some() => self.step(place, vec![Input::Persisted { sequence }]),
            _ => Ok(()),
        }
    }

    /// The disk of a server does its oldest `count` jobs with snapshots.
    pub fn work(&mut self, place: usize, count: usize) -> Result<(), Violation> {
        for _ in 0..count.min(self.servers[place].disk.jobs()) {
            match self.servers[place].disk.work() {
                Ok(Some(input)) => self.step(place, vec![input])?,
                Ok(None) => {}
                Err(what) => {
                    return violated(Property::SnapshotsAreKept, format!("node {}: {what}", place + 1));
                }
            }
        }
        Ok(())
    }

    /// The state machine of a server applies the oldest `count` entries and answers their clients.
    pub fn apply(&mut self, place: usize, count: usize) -> Result<(), Violation> {
        let server = &mut self.servers[place];
        let count = count.min(server.to_apply.len());
        let mut index = LogIndex(0);
        for _ in 0..count {
            if let Some(ToApply::Restore(snapshot)) = server.to_apply.front()
                && server.disk.is_receiving(snapshot)
            {
                break; // A defect: it is to be restored before it is there.
            }
            let Some(item) = server.to_apply.pop_front() else { break };
            match item {
                ToApply::Entry(entry, token) => {
                    if let Some(token) = token {
                        self.oracle.acknowledge(token, &entry)?;
                    }
                    index = entry.index;
                    if index.0 != server.machine.len() as u64 + 1 {
                        let what = format!(
                            "node {} applies entry {index} after {}",
                            place + 1,
                            server.machine.len()
                        );
                        return violated(Property::AppliedOnceInOrder, what);
                    }
                    server.machine.push(entry);
                }
                ToApply::Restore(snapshot) => {
                    let Some((_, bytes)) = server.disk.snapshots.iter().find(|(found, _)| *found == snapshot)
                    else {
                        let what =
                            format!("node {} cannot restore {}", place + 1, render::snapshot(&snapshot));
                        return violated(Property::SnapshotsAreKept, what);
                    };
                    index = snapshot.index();
                    server.machine = decode(bytes);
                    self.restored += 1;
                    self.oracle.on_restore(server.config.id, &server.machine)?;
                }
            }
        }
        if index.0 == 0 { Ok(()) } else { self.step(place, vec![Input::Applied { index }]) }
    }

    /// A server takes a snapshot of what it has applied, if that is more than in its newest one.
    pub fn take_snapshot(&mut self, place: usize) -> Option<Snapshot> {
        let server = &mut self.servers[place];
        let point = server.node.as_ref()?.snapshot_point()?;
        let bytes = encode(&server.machine);
        let snapshot = disk::describe(point, &bytes);
        server.disk.add_job(SnapshotJob::Store(snapshot.clone(), bytes));
        Some(snapshot)
    }

    /// A client of the server at `place` proposes a command, its token's number if `None`.
    pub fn propose(&mut self, place: usize, command: Option<Bytes>) -> Result<Token, Violation> {
        let token = self.new_token(place);
        let command = command.unwrap_or_else(|| Bytes::copy_from_slice(&token.0.to_be_bytes()));
        self.oracle.proposed(token, command.clone());
        self.step(place, vec![Input::Propose { token, command }])?;
        Ok(token)
    }

    /// An operator asks the server at `place` for a change of the membership.
    pub fn change(&mut self, place: usize, change: Change) -> Result<Token, Violation> {
        let token = self.new_token(place);
        self.oracle.change_began(token);
        self.step(place, vec![Input::ChangeMembership { token, change }])?;
        Ok(token)
    }

    /// An operator asks the server at `place` to hand leadership over.
    pub fn transfer(&mut self, place: usize, target: Option<NodeId>) -> Result<Token, Violation> {
        let token = self.new_token(place);
        self.oracle.transfer_began(token);
        self.step(place, vec![Input::TransferLeadership { token, target }])?;
        Ok(token)
    }

    /// A client of the server at `place` reads. If that is paused, the process was stopped within a step: it has looked at the
    /// clock before, and reads now.
    pub fn read(&mut self, place: usize, mode: ReadMode) -> Result<Token, Violation> {
        let token = self.new_token(place);
        self.oracle.read_began(token, mode);
        self.step(place, vec![Input::Read { token, mode }])?;
        Ok(token)
    }

    fn new_token(&mut self, place: usize) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.servers[place].tokens.push(token);
        token
    }

    /// Gives a message to its receiver; it is lost if that is down.
    pub fn deliver(&mut self, message: Message) -> Result<(), Violation> {
        self.step(Cluster::place(message.to), vec![Input::Receive(message)])
    }
}

/// The bytes of a snapshot: everything that was ever applied, so that the oracle can look at it.
fn encode(machine: &[Entry]) -> Bytes {
    Bytes::from(postcard::to_stdvec(machine).expect("entries can be encoded"))
}

fn decode(bytes: &[u8]) -> Vec<Entry> {
    postcard::from_bytes(bytes).expect("its checksum was right")
}
