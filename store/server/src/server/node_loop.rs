//! The node's thread: inputs from one bounded queue, in batches; outputs carried out in order.
//!
//! Every batch begins with the time, so a node that slept (a pause, a suspended machine, a starved thread) learns of it
//! before it handles anything that arrived meanwhile, and steps down or refuses instead of answering from the past.
//! When the queue is full, client requests are refused (definitely: nothing was proposed) and peers' messages are dropped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use labrys_raft::{LogIndex, Message, NodeId, Role, Sequence, Term, Token};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use super::addresses::Addresses;
use super::disk_thread::DiskQueue;
use super::health::LeaderKnown;
use super::links::Link;
use super::replica::{
    Answer, ClientRequest, Replica, ReplicaInput, ReplicaOutput, ReplicaStatus, SnapshotEvent, SnapshotJob,
};
use crate::api::RefusalCode;
use crate::machine::{ChangeBatch, RangeQuery, Revision};

/// Most inputs that wait.
const QUEUE_INPUTS: usize = 8192;
/// Most inputs handled as one step.
const BATCH_INPUTS: usize = 512;
/// How long a watch waits that finds the queue full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);
/// How many changes of the leader are remembered.
const KEPT_LEADER_CHANGES: usize = 32;

/// A change of the leader, as this node saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// The term.
    pub term: Term,
    /// The leader; `None`: none known.
    pub leader: Option<NodeId>,
    /// When, since the node started.
    pub uptime: Duration,
}

/// What the status call tells.
#[derive(Clone, Debug)]
pub struct LoopStatus {
    /// The replica's part.
    pub replica: ReplicaStatus,
    /// Time since the start.
    pub uptime: Duration,
    /// The latest changes of the leader, oldest first.
    pub leader_changes: Vec<LeaderChange>,
    /// What the loop has counted.
    pub counters: LoopCounters,
}

/// What the loop counts since its start, and what waits in it.
#[derive(Clone, Debug, Default)]
pub struct LoopCounters {
    /// Changes of the leader.
    pub leader_changes: u64,
    /// Writes handed to Raft.
    pub writes: u64,
    /// Reads handed to Raft.
    pub reads: u64,
    /// Requests that are taken and not answered.
    pub waiting: usize,
    /// Batches that wait for the disk.
    pub disk_queue: usize,
    /// Messages that wait for each peer's link.
    pub link_queues: Vec<(NodeId, usize)>,
}

enum LoopInput {
    Client { request: ClientRequest, deadline: Option<Instant>, reply: oneshot::Sender<Answer> },
    Peer(Vec<Message>),
    Status { digest_at_index: Option<LogIndex>, reply: oneshot::Sender<LoopStatus> },
    WatchFrom { asked: Option<Revision>, reply: oneshot::Sender<Revision> },
    Changes(AskedChanges),
    Snapshot(SnapshotEvent),
    Wake,
    Stop,
}

struct AskedChanges {
    from: Revision,
    range: RangeQuery,
    max_revisions: usize,
    max_bytes: usize,
    reply: oneshot::Sender<Result<ChangeBatch, Revision>>,
}

/// The far end of the queue: what services, links and the disk thread hold.
#[derive(Clone)]
pub struct NodeHandle {
    queue: SyncSender<LoopInput>,
    revisions: watch::Receiver<Revision>,
    leader_known: LeaderKnown,
}

impl NodeHandle {
    /// Hands a request over and waits for its answer. A request whose deadline has passed when the loop comes to it is not
    /// proposed.
    pub async fn request(&self, request: ClientRequest, deadline: Option<Instant>) -> Answer {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(LoopInput::Client { request, deadline, reply }) {
            Ok(()) => answer.await.unwrap_or(Answer::Refused {
                definite: false,
                code: RefusalCode::ShuttingDown,
                message: "the node shut down while the request waited",
            }),
            Err(TrySendError::Full(_)) => Answer::Refused {
                definite: true,
                code: RefusalCode::Overloaded,
                message: "the node's queue is full",
            },
            Err(TrySendError::Disconnected(_)) => Answer::Refused {
                definite: true,
                code: RefusalCode::ShuttingDown,
                message: "the node is shutting down",
            },
        }
    }

    /// Hands messages of a peer over, or drops them. False: the node is shutting down.
    #[must_use]
    pub fn deliver(&self, messages: Vec<Message>) -> bool {
        !matches!(self.queue.try_send(LoopInput::Peer(messages)), Err(TrySendError::Disconnected(_)))
    }

    /// A look at the node; `None` if it is too busy or shutting down.
    pub async fn status(&self, digest_at_index: Option<LogIndex>) -> Option<LoopStatus> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(LoopInput::Status { digest_at_index, reply }).ok()?;
        answer.await.ok()
    }

    /// The latest revision applied, as it grows. Closed when the loop has ended.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revisions.clone()
    }

    /// Whether a leader is known. Closed when the loop has ended.
    #[must_use]
    pub fn leader_known(&self) -> LeaderKnown {
        self.leader_known.clone()
    }

    /// Where a watch begins; `None` if the node is shutting down.
    pub async fn watch_from(&self, asked: Option<Revision>) -> Option<Revision> {
        self.ask(|reply| LoopInput::WatchFrom { asked, reply }).await
    }

    /// What has changed since a revision, see [`Replica::changes`]; `None` if the node is shutting down.
    pub async fn changes(
        &self,
        from: Revision,
        range: RangeQuery,
        max_revisions: usize,
        max_bytes: usize,
    ) -> Option<Result<ChangeBatch, Revision>> {
        let asked = |reply| AskedChanges { from, range: range.clone(), max_revisions, max_bytes, reply };
        self.ask(|reply| LoopInput::Changes(asked(reply))).await
    }

    /// Asks for something that can wait: while the queue is full, again after a moment.
    async fn ask<T>(&self, input: impl Fn(oneshot::Sender<T>) -> LoopInput) -> Option<T> {
        loop {
            let (reply, answer) = oneshot::channel();
            match self.queue.try_send(input(reply)) {
                Ok(()) => return answer.await.ok(),
                Err(TrySendError::Full(_)) => tokio::time::sleep(FULL_QUEUE_PAUSE).await,
                Err(TrySendError::Disconnected(_)) => return None,
            }
        }
    }

    /// Tells the loop what came of something done with snapshot files; waits until there is room.
    pub(super) fn snapshot_event(&self, event: SnapshotEvent) {
        let _ = self.queue.send(LoopInput::Snapshot(event));
    }

    /// Makes the loop look at what is durable. If the queue is full, it is awake anyway.
    pub(super) fn wake(&self) {
        let _ = self.queue.try_send(LoopInput::Wake);
    }

    /// Ends the loop, after what waits already.
    pub(super) fn stop(&self) {
        let _ = self.queue.send(LoopInput::Stop);
    }
}

/// How the loop ended.
#[derive(Debug, PartialEq, Eq)]
pub enum LoopEnd {
    /// As asked.
    Stopped,
    /// An invariant of Raft was broken, without a defect to excuse it.
    InvariantBroken {
        /// What.
        what: String,
    },
}

/// Begins a link to a node at an address, if that makes sense.
pub type Connect = Box<dyn Fn(NodeId, &str) -> Option<Link> + Send>;

/// What the loop works with.
pub struct NodeLoop {
    id: NodeId,
    replica: Replica,
    queue: Receiver<LoopInput>,
    disk: Arc<DiskQueue>,
    addresses: Addresses,
    connect: Connect,
    snapshots: Sender<SnapshotJob>,
    links: BTreeMap<NodeId, Link>,
    tick_interval: Duration,
    has_defects: bool,
    started: Instant,
    persisted: Sequence,
    next_token: u64,
    waiting: HashMap<Token, oneshot::Sender<Answer>>,
    revisions: watch::Sender<Revision>,
    leader_known: watch::Sender<bool>,
    counters: LoopCounters,
    known_leader: Option<(Term, Option<NodeId>)>,
    leader_changes: VecDeque<LeaderChange>,
    inputs: Vec<ReplicaInput>,
    outputs: Vec<ReplicaOutput>,
}

/// What the loop is made of.
pub struct NodeLoopParts {
    /// This node.
    pub id: NodeId,
    /// All that decides. Its clock must read 0 at `started`.
    pub replica: Replica,
    /// Where batches go.
    pub disk: Arc<DiskQueue>,
    /// Where the nodes are.
    pub addresses: Addresses,
    /// Begins a link to a node at an address, if that makes sense.
    pub connect: Connect,
    /// Where work with snapshot files goes.
    pub snapshots: Sender<SnapshotJob>,
    /// The longest time between two ticks.
    pub tick_interval: Duration,
    /// Whether a broken invariant is only reported.
    pub has_defects: bool,
    /// The zero of the clock.
    pub started: Instant,
}

impl NodeLoop {
    /// A loop and the handle to it.
    #[must_use]
    pub fn new(parts: NodeLoopParts) -> (NodeLoop, NodeHandle) {
        let (sender, queue) = sync_channel(QUEUE_INPUTS);
        let (revisions, seen_revisions) = watch::channel(parts.replica.revision());
        let (leader_known, seen_leader_known) = watch::channel(false);
        let node_loop = NodeLoop {
            id: parts.id,
            replica: parts.replica,
            queue,
            disk: parts.disk,
            addresses: parts.addresses,
            connect: parts.connect,
            links: BTreeMap::new(),
            snapshots: parts.snapshots,
            tick_interval: parts.tick_interval,
            has_defects: parts.has_defects,
            started: parts.started,
            persisted: Sequence(0),
            next_token: 1,
            waiting: HashMap::new(),
            revisions,
            leader_known,
            counters: LoopCounters::default(),
            known_leader: None,
            leader_changes: VecDeque::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        (node_loop, NodeHandle { queue: sender, revisions: seen_revisions, leader_known: seen_leader_known })
    }

    /// The body of the thread.
    pub fn run(mut self) -> LoopEnd {
        self.connect_all();
        let mut next_tick = Instant::now();
        loop {
            let first = self.queue.recv_timeout(next_tick.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            next_tick = now + self.tick_interval;
            self.inputs.push(ReplicaInput::Tick { now_ms: 0 });
            let persisted = self.disk.persisted();
            if persisted > self.persisted {
                self.persisted = persisted;
                self.inputs.push(ReplicaInput::Persisted { sequence: persisted });
            }
            let mut stop = matches!(first, Err(RecvTimeoutError::Disconnected));
            let mut next = first.ok();
            while let Some(input) = next.take() {
                stop |= self.take(input, now);
                if !stop && self.inputs.len() < BATCH_INPUTS {
                    next = self.queue.try_recv().ok();
                }
            }
            // The time is read when everything is there, so that it covers a pause before that, and what a follower promises
            // is counted from a time after the message arrived.
            self.inputs[0] = ReplicaInput::Tick { now_ms: self.now_ms() };
            let mut inputs = std::mem::take(&mut self.inputs);
            self.replica.handle(inputs.drain(..), &mut self.outputs);
            self.inputs = inputs;
            self.revisions.send_if_modified(|revision| {
                std::mem::replace(revision, self.replica.revision()) != self.replica.revision()
            });
            if let Some(end) = self.carry_out() {
                return end;
            }
            if stop {
                // Those that wait learn it from their senders' end.
                return LoopEnd::Stopped;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes one input into the batch, which began at `now`; true: the end has been asked for.
    fn take(&mut self, input: LoopInput, now: Instant) -> bool {
        match input {
            LoopInput::Client { deadline, reply, .. } if deadline.is_some_and(has_passed) => {
                let _ = reply.send(Answer::Refused {
                    definite: true,
                    code: RefusalCode::DeadlineExpired,
                    message: "its deadline had passed when the node came to it",
                });
            }
            // The client has hung up.
            LoopInput::Client { reply, .. } if reply.is_closed() => {}
            LoopInput::Client { request, reply, .. } => {
                let token = Token(self.next_token);
                self.next_token += 1;
                self.waiting.insert(token, reply);
                match &request {
                    ClientRequest::Read(..) => self.counters.reads += 1,
                    ClientRequest::Write(_) => self.counters.writes += 1,
                    _ => {}
                }
                self.inputs.push(ReplicaInput::Request { token, request });
            }
            LoopInput::Peer(messages) => self.inputs.extend(messages.into_iter().map(ReplicaInput::Receive)),
            LoopInput::Status { digest_at_index, reply } => {
                let _ = reply.send(LoopStatus {
                    replica: self.replica.status(digest_at_index),
                    uptime: now - self.started,
                    leader_changes: self.leader_changes.iter().copied().collect(),
                    counters: LoopCounters {
                        waiting: self.waiting.len(),
                        disk_queue: self.disk.waiting(),
                        link_queues: self.links.iter().map(|(peer, link)| (*peer, link.waiting())).collect(),
                        ..self.counters.clone()
                    },
                });
            }
            LoopInput::WatchFrom { asked, reply } => {
                let _ = reply.send(self.replica.watch_from(asked));
            }
            LoopInput::Changes(AskedChanges { from, range, max_revisions, max_bytes, reply }) => {
                let _ = reply.send(self.replica.changes(from, &range, max_revisions, max_bytes));
            }
            LoopInput::Snapshot(event) => self.inputs.push(ReplicaInput::Snapshot(event)),
            LoopInput::Wake => {}
            LoopInput::Stop => return true,
        }
        false
    }

    /// Nobody waits if the client has hung up, or after an early answer.
    fn answer(&mut self, token: Token, answer: Answer) {
        if let Some(reply) = self.waiting.remove(&token) {
            let _ = reply.send(answer);
        }
    }

    /// Begins links to all nodes with a known address, before there is anything to send: what is sent while a link has no
    /// connection yet is lost.
    fn connect_all(&mut self) {
        for (node, address) in self.addresses.all() {
            if node != self.id && !self.links.contains_key(&node) {
                self.links.extend((self.connect)(node, &address).map(|link| (node, link)));
            }
        }
    }

    /// Sends a message over the link to its receiver; a node that is not known yet may have introduced itself.
    fn send(&mut self, message: Message) {
        if !self.links.contains_key(&message.to) {
            self.connect_all();
        }
        if let Some(link) = self.links.get(&message.to) {
            link.send(message);
        }
    }

    fn carry_out(&mut self) -> Option<LoopEnd> {
        let mut outputs = std::mem::take(&mut self.outputs);
        let mut end = None;
        for output in outputs.drain(..) {
            match output {
                ReplicaOutput::Persist(batch) => self.disk.push(batch),
                ReplicaOutput::CompactLog { up_to } => self.disk.compact(up_to),
                // Its thread ends before this one only by a failure, which has been reported.
                ReplicaOutput::Snapshot(job) => drop(self.snapshots.send(job)),
                ReplicaOutput::SnapshotInstalled { index, length_bytes } => info!(
                    event = "snapshot_installed",
                    node = self.id.0,
                    index = index.0,
                    bytes = length_bytes,
                    "took over a snapshot of another node"
                ),
                ReplicaOutput::Send(message) => self.send(message),
                ReplicaOutput::MembershipChanged { membership } => {
                    let (node, configuration) = (self.id.0, membership.to_string());
                    info!(event = "membership", node, configuration, "another configuration is in force");
                    self.addresses.learn_members(&membership);
                    self.connect_all();
                }
                ReplicaOutput::AnswerUnderLease { token, answer, valid_until_ms } => {
                    // Only now: the process may have been stopped between its last look at the clock and the read.
                    let is_valid = self.now_ms() < valid_until_ms;
                    self.answer(token, if is_valid { answer } else { lease_is_over() });
                }
                ReplicaOutput::Answer { token, answer } => self.answer(token, answer),
                ReplicaOutput::RoleChanged { term, role, leader } => self.role_changed(term, role, leader),
                ReplicaOutput::FollowerLostLog { follower, acknowledged } => error!(
                    event = "follower_lost_log",
                    node = self.id.0,
                    follower = follower.0,
                    acknowledged = acknowledged.0,
                    "a follower no longer has what it acknowledged: was its data directory emptied? It is sent \
                     everything anew, but what it helped to commit or to elect is no longer safe"
                ),
                ReplicaOutput::InvariantBroken { what } => {
                    let fatal = !self.has_defects;
                    error!(
                        event = "invariant_broken",
                        node = self.id.0,
                        fatal,
                        what,
                        "an invariant of Raft is broken"
                    );
                    if fatal {
                        end = Some(LoopEnd::InvariantBroken { what });
                    }
                }
            }
        }
        self.outputs = outputs;
        end
    }

    fn role_changed(&mut self, term: Term, role: Role, leader: Option<NodeId>) {
        let node = self.id.0;
        if role == Role::Leader {
            info!(event = "leader", node, term = term.0, "became leader");
        } else {
            let leader = leader.map(|leader| leader.0);
            info!(
                event = "role",
                node,
                term = term.0,
                role = role_name(role),
                leader,
                "changed role, term or leader"
            );
        }
        if self.known_leader != Some((term, leader)) {
            self.known_leader = Some((term, leader));
            self.leader_known.send_replace(leader.is_some());
            self.counters.leader_changes += 1;
            if self.leader_changes.len() == KEPT_LEADER_CHANGES {
                self.leader_changes.pop_front();
            }
            self.leader_changes.push_back(LeaderChange { term, leader, uptime: self.started.elapsed() });
        }
    }
}

fn lease_is_over() -> Answer {
    Answer::Refused {
        definite: true,
        code: RefusalCode::LeaseOver,
        message: "the lease was over when the answer was there",
    }
}

/// Read anew for each request: those that arrive while a batch is being collected may be later than its beginning.
fn has_passed(deadline: Instant) -> bool {
    deadline <= Instant::now()
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}
