//! The node's thread: inputs from one bounded queue, in batches; outputs carried out in order.
//!
//! Every batch begins with the time, so a node that slept (a pause, a suspended machine, a starved thread) learns of it
//! before it handles anything that arrived meanwhile, and steps down or refuses instead of answering from the past.
//! When the queue is full, client requests are refused (definitely: nothing was proposed) and peers' messages are dropped.

mod handle;
mod status;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, sync_channel};
use std::time::{Duration, Instant};

use labrys_raft::{Defect, Defects, LogIndex, Message, MessageBody, NodeId, Role, Sequence, Term, Token};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::addresses::Addresses;
use super::clock::Clock;
use super::disk_thread::DiskQueue;
use super::failpoints::{self, Failpoints, Point, Reached};
use super::links::Link;
use super::replica::{Answer, ClientRequest, Replica, ReplicaInput, ReplicaOutput, SnapshotJob};
use crate::api::RefusalCode;
use crate::machine::Revision;

pub use handle::NodeHandle;
use handle::{AskedChanges, LoopInput, Reply};
pub use status::{LeaderChange, LoopCounters, LoopStatus};

/// Most inputs that wait.
const QUEUE_INPUTS: usize = 8192;
/// Most inputs handled as one step.
const BATCH_INPUTS: usize = 512;
/// How many changes of the leader are remembered.
const KEPT_LEADER_CHANGES: usize = 32;

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
    /// An order said so.
    Failpoint(Reached),
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
    defects: Defects,
    clock: Clock,
    failpoints: Option<Arc<Failpoints>>,
    persisted: Sequence,
    next_token: u64,
    waiting: HashMap<Token, Reply>,
    revisions: watch::Sender<Revision>,
    leader_known: watch::Sender<bool>,
    snapshot_index: watch::Sender<LogIndex>,
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
    /// All that decides. Its clock must read 0 when `clock` was started.
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
    /// Bugs switched on. If there are any, a broken invariant is only reported.
    pub defects: Defects,
    /// The clock.
    pub clock: Clock,
    /// What this thread passes, if there is any of it.
    pub failpoints: Option<Arc<Failpoints>>,
}

impl NodeLoop {
    /// A loop and the handle to it.
    #[must_use]
    pub fn new(parts: NodeLoopParts) -> (NodeLoop, NodeHandle) {
        let (sender, queue) = sync_channel(QUEUE_INPUTS);
        let (revisions, seen_revisions) = watch::channel(parts.replica.revision());
        let (leader_known, seen_leader_known) = watch::channel(false);
        let (snapshot_index, seen_snapshot_index) = watch::channel(parts.replica.raft_status().snapshot);
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
            defects: parts.defects,
            clock: parts.clock,
            failpoints: parts.failpoints,
            persisted: Sequence(0),
            next_token: 1,
            waiting: HashMap::new(),
            revisions,
            leader_known,
            snapshot_index,
            counters: LoopCounters::default(),
            known_leader: None,
            leader_changes: VecDeque::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let handle = NodeHandle {
            queue: sender,
            revisions: seen_revisions,
            leader_known: seen_leader_known,
            snapshot_index: seen_snapshot_index,
        };
        (node_loop, handle)
    }

    /// The body of the thread.
    pub fn run(mut self) -> LoopEnd {
        self.connect_all();
        let mut next_tick = Instant::now();
        loop {
            let first = self.queue.recv_timeout(next_tick.saturating_duration_since(Instant::now()));
            next_tick = Instant::now() + self.tick_interval;
            // With the defect everything counts by this reading, a follower's promises included.
            let awake_ms = self.defects.has(Defect::LeaseReadAfterPause).then(|| self.now_ms());
            if let Err(reached) = self.pass(Point::BeforeIntake) {
                return LoopEnd::Failpoint(reached);
            }
            self.inputs.push(ReplicaInput::Tick { now_ms: 0 });
            let persisted = self.disk.persisted();
            if persisted > self.persisted {
                self.persisted = persisted;
                self.inputs.push(ReplicaInput::Persisted { sequence: persisted });
            }
            let mut stop = matches!(first, Err(RecvTimeoutError::Disconnected));
            let mut next = first.ok();
            let mut has_yielded = false;
            while let Some(input) = next.take() {
                stop |= self.take(input);
                if stop || self.inputs.len() >= BATCH_INPUTS {
                    break;
                }
                next = self.queue.try_recv().ok();
                // Whoever woke this thread has more on its way, if there is load: a turn for it makes one batch of what would be
                // several (`OPTIMIZATIONS.md`). On an idle machine it costs nothing.
                if next.is_none() && !has_yielded {
                    has_yielded = true;
                    std::thread::yield_now();
                    next = self.queue.try_recv().ok();
                }
            }
            // The time is read when everything is there, so that it covers a pause before that, and what a follower promises
            // is counted from a time after the message arrived.
            self.inputs[0] = ReplicaInput::Tick { now_ms: awake_ms.unwrap_or_else(|| self.now_ms()) };
            if let Err(reached) = self.pass(Point::BeforeStep) {
                return LoopEnd::Failpoint(reached);
            }
            let mut inputs = std::mem::take(&mut self.inputs);
            self.replica.handle(inputs.drain(..), &mut self.outputs);
            self.inputs = inputs;
            self.revisions.send_if_modified(|revision| {
                std::mem::replace(revision, self.replica.revision()) != self.replica.revision()
            });
            if let Some(end) = self.carry_out() {
                return end;
            }
            // After what follows from it is on its way.
            let snapshot = self.replica.raft_status().snapshot;
            self.snapshot_index.send_if_modified(|index| std::mem::replace(index, snapshot) != snapshot);
            if stop {
                // Those that wait learn it from their senders' end.
                return LoopEnd::Stopped;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.elapsed_ms()
    }

    fn pass(&self, point: Point) -> Result<(), Reached> {
        failpoints::pass(self.failpoints.as_deref(), point)
    }

    /// Takes one input into the batch; true: the end has been asked for.
    fn take(&mut self, input: LoopInput) -> bool {
        match input {
            LoopInput::Client { deadline, reply, .. } if deadline.is_some_and(has_passed) => {
                reply.send(Answer::Refused {
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
                    uptime: self.clock.elapsed(),
                    leader_changes: self.leader_changes.iter().copied().collect(),
                    counters: LoopCounters {
                        waiting: self.waiting.len(),
                        disk_queue: self.disk.waiting(),
                        link_queues: self.links.iter().map(|(peer, link)| (*peer, link.waiting())).collect(),
                        ..self.counters.clone()
                    },
                    log_bytes: self.disk.log_bytes(),
                });
            }
            LoopInput::WatchFrom { asked, reply } => {
                let _ = reply.send(self.replica.watch_from(asked));
            }
            LoopInput::Changes(AskedChanges { from, range, max_revisions, max_bytes, reply }) => {
                let _ = reply.send(self.replica.changes(from, &range, max_revisions, max_bytes));
            }
            LoopInput::TakeSnapshot { reply } => drop(reply.send(self.replica.ask_for_snapshot())),
            LoopInput::Frozen { reply } => drop(reply.send(self.replica.frozen())),
            LoopInput::Snapshot(event) => self.inputs.push(ReplicaInput::Snapshot(event)),
            LoopInput::Wake => {}
            LoopInput::Stop => return true,
        }
        false
    }

    /// Nobody waits if the client has hung up, or after an early answer.
    fn answer(&mut self, token: Token, answer: Answer) {
        if let Some(reply) = self.waiting.remove(&token) {
            reply.send(answer);
        }
    }

    /// The answer of a client's read or write, or a refusal in its place if an order says so.
    fn pass_before(&self, answer: Answer) -> Answer {
        let (point, definite) = match answer {
            Answer::Reading(_) => (Point::BeforeReadAnswer, true),
            Answer::Outcome(_) => (Point::BeforeWriteAnswer, false),
            _ => return answer,
        };
        match self.pass(point) {
            Ok(()) => answer,
            Err(_) => Answer::Refused {
                definite,
                code: RefusalCode::Unspecified,
                message: "an order says that this failpoint fails",
            },
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
        let point = match message.body {
            MessageBody::VoteReply { .. } => Some(Point::BeforeVoteReply),
            MessageBody::AppendReply { .. } => Some(Point::BeforeAppendReply),
            _ => None,
        };
        if point.is_some_and(|point| self.pass(point).is_err()) {
            return; // As if it were lost on the way.
        }
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
                    let answer = self.pass_before(answer);
                    // Only now: the process may have been stopped between its last look at the clock and the read.
                    let is_valid = self.now_ms() < valid_until_ms;
                    self.answer(token, if is_valid { answer } else { Answer::lease_is_over() });
                }
                ReplicaOutput::Answer { token, answer } => {
                    let answer = self.pass_before(answer);
                    self.answer(token, answer);
                }
                ReplicaOutput::RoleChanged { term, role, leader } => self.role_changed(term, role, leader),
                ReplicaOutput::RemovedFromCluster => warn!(
                    "this node is a member of the cluster no more: it can be stopped and its data directory deleted"
                ),
                ReplicaOutput::FollowerLostLog { follower, acknowledged } => error!(
                    event = "follower_lost_log",
                    node = self.id.0,
                    follower = follower.0,
                    acknowledged = acknowledged.0,
                    "a follower no longer has what it acknowledged: was its data directory emptied? It is sent \
                     everything anew, but what it helped to commit or to elect is no longer safe"
                ),
                ReplicaOutput::InvariantBroken { what } => {
                    let fatal = self.defects.is_empty();
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
            self.leader_changes.push_back(LeaderChange { term, leader, uptime: self.clock.elapsed() });
        }
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
