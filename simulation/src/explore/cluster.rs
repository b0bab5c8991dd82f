//! [`Cluster`]: what each node does with each input, computed once.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::rc::Rc;

use hashbrown::HashMap;
use labrys_store::raft::{
    Config, Defects, Effect, HardState, Input, LogIndex, Membership, Message, MessageBody, Node, NodeId,
    Recovered, Role,
};
use rustc_hash::FxBuildHasher;

use super::state::MOST_NODES;
use crate::trace::label_of;

const ELECTION_TIMEOUT_MS: u64 = 1_000;

/// Something that happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Happening {
    /// Its election timeout passes.
    Timeout,
    /// This message arrives.
    Receive(u32),
    /// It is ended, and starts again.
    Restart,
}

impl fmt::Display for Happening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Happening::Timeout => "election timeout",
            Happening::Receive(_) => "a message",
            Happening::Restart => "restart",
        })
    }
}

/// What a node did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Its state then.
    pub node: u32,
    /// To whom it sent what, in order.
    pub sent: Vec<(usize, u32)>,
    /// What the core itself found broken.
    pub broken: Option<String>,
}

/// What the properties are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub leads: bool,
    role: Role,
    pub term: u8,
    pub commit: usize,
    /// The term of each entry.
    pub log: Vec<u8>,
}

impl fmt::Display for View {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Follower => "follower",
            Role::PreCandidate | Role::Candidate => "candidate",
            Role::Leader => "leader",
        };
        let log: Vec<String> = self.log.iter().map(u8::to_string).collect();
        let (term, commit) = (self.term, self.commit);
        write!(formatter, "{role} in term {term}, entries of terms [{}], {commit} committed", log.join(" "))
    }
}

struct Local {
    node: Node,
    now_ms: u64,
    view: View,
}

/// All states of nodes and all messages that have come up, each with a number.
pub(super) struct Cluster {
    nodes: usize,
    defects: Defects,
    locals: Vec<Local>,
    by_fingerprint: HashMap<(u64, u64), u32, FxBuildHasher>,
    messages: Vec<Message>,
    by_message: HashMap<Message, u32, FxBuildHasher>,
    outcomes: HashMap<(u32, Happening), Rc<Outcome>, FxBuildHasher>,
    first: [u32; MOST_NODES],
}

impl Cluster {
    /// Nodes that have just started for the first time.
    pub fn new(nodes: usize, defects: Defects) -> Result<Cluster, String> {
        let mut cluster = Cluster {
            nodes,
            defects,
            locals: Vec::new(),
            by_fingerprint: HashMap::default(),
            messages: Vec::new(),
            by_message: HashMap::default(),
            outcomes: HashMap::default(),
            first: [0; MOST_NODES],
        };
        for node in 0..nodes {
            let config = cluster.config(node as u64 + 1);
            let started = Node::new(config, Recovered::default(), 0).map_err(|error| error.to_string())?;
            cluster.first[node] = cluster.number(started, 0);
        }
        Ok(cluster)
    }

    fn config(&self, id: u64) -> Config {
        Config {
            id: NodeId(id),
            initial: Membership::of_voters((1..=self.nodes as u64).map(NodeId)),
            election_timeout_ms: ELECTION_TIMEOUT_MS,
            heartbeat_interval_ms: 100,
            max_batch_entries: 1,
            max_batch_bytes: 1 << 20,
            max_inflight_batches: 1,
            kept_entries: 1 << 20,
            snapshot_chunk_bytes: 1 << 20,
            max_pending: 16,
            pre_vote: false,
            check_quorum: false,
            election_handicap: 0,
            lease_reads: false,
            max_clock_drift_percent: 10,
            incarnation: 1,
            seed: 1,
            defects: self.defects,
        }
    }

    /// The states of the nodes in the beginning.
    pub fn start(&self) -> [u32; MOST_NODES] {
        self.first
    }

    /// How many states of nodes and how many messages there are.
    pub fn sizes(&self) -> (usize, usize) {
        (self.locals.len(), self.messages.len())
    }

    pub fn view(&self, node: u32) -> &View {
        &self.locals[node as usize].view
    }

    pub fn label(&self, message: u32) -> String {
        self.messages.get(message as usize).map(label_of).unwrap_or_default()
    }

    /// Whether a message is an answer that a node in this state, or in any later one, does nothing with.
    pub fn is_spent(&mut self, message: u32, node: u32) -> bool {
        let view = &self.locals[node as usize].view;
        let Message { term, body, .. } = &self.messages[message as usize];
        let is_late = term.0 < u64::from(view.term) || (term.0 == u64::from(view.term) && !view.leads);
        match body {
            MessageBody::AppendReply { .. } if is_late => true,
            // What votes do in their term they do once, and what is acknowledged stays so.
            MessageBody::VoteReply { .. } | MessageBody::AppendReply { outcome: Ok(_), .. } => {
                let outcome = self.step(node, Happening::Receive(message));
                outcome.node == node && outcome.sent.is_empty() && outcome.broken.is_none()
            }
            _ => false,
        }
    }

    /// What a node in this state does.
    pub fn step(&mut self, node: u32, happening: Happening) -> Rc<Outcome> {
        if let Some(known) = self.outcomes.get(&(node, happening)) {
            return Rc::clone(known);
        }
        let outcome = Rc::new(self.compute(node, happening));
        self.outcomes.insert((node, happening), Rc::clone(&outcome));
        outcome
    }

    fn compute(&mut self, node: u32, happening: Happening) -> Outcome {
        let Local { node, now_ms, .. } = &self.locals[node as usize];
        let (mut node, mut now_ms) = (node.clone(), *now_ms);
        let mut inputs = VecDeque::new();
        match happening {
            Happening::Timeout => {
                // No node waits for as long.
                now_ms += 3 * ELECTION_TIMEOUT_MS;
                inputs.push_back(Input::Tick { now_ms });
            }
            Happening::Receive(message) => {
                inputs.push_back(Input::Receive(self.messages[message as usize].clone()))
            }
            Happening::Restart => {
                let config = self.config(node.status().id.0);
                if let Ok(started) = Node::new(config, recovered(&node), now_ms) {
                    node = started;
                }
            }
        }
        let (mut sent, mut broken) = (Vec::new(), None);
        let mut effects = Vec::new();
        while let Some(input) = inputs.pop_front() {
            node.step(input, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Persist(batch) => inputs.push_back(Input::Persisted { sequence: batch.sequence }),
                    Effect::Apply { entries } => {
                        let last = entries.last().map(|(entry, _)| Input::Applied { index: entry.index });
                        inputs.extend(last);
                    }
                    Effect::Send(message) => sent.push(message),
                    Effect::InvariantBroken { what } => broken = Some(what),
                    // For logs and operators; snapshots, reads and transfers do not come up.
                    _ => {}
                }
            }
        }
        let sent = sent.into_iter().map(|message| (message.to.0 as usize - 1, self.number_message(message)));
        let sent = sent.collect();
        Outcome { node: self.number(node, now_ms), sent, broken }
    }

    fn number_message(&mut self, message: Message) -> u32 {
        let messages = &mut self.messages;
        *self.by_message.entry(message).or_insert_with_key(|message| {
            messages.push(message.clone());
            messages.len() as u32 - 1
        })
    }

    fn number(&mut self, node: Node, now_ms: u64) -> u32 {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            (salt, node.status().id).hash(&mut hasher);
            node.fingerprint(&mut hasher);
            hasher.finish()
        };
        let fingerprint = (half(1), half(2));
        let locals = &mut self.locals;
        *self.by_fingerprint.entry(fingerprint).or_insert_with(|| {
            let view = view_of(&node);
            locals.push(Local { node, now_ms, view });
            locals.len() as u32 - 1
        })
    }
}

/// What is on the disk of a node whose writes are durable at the end of each step.
fn recovered(node: &Node) -> Recovered {
    let hard_state: HardState = node.hard_state();
    let entries = (1..=node.status().last_index.0).filter_map(|index| node.entry(LogIndex(index)).cloned());
    Recovered { hard_state, entries: entries.collect(), ..Recovered::default() }
}

fn view_of(node: &Node) -> View {
    let status = node.status();
    let small = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    let terms = (1..=status.last_index.0).filter_map(|index| node.term_at(LogIndex(index)));
    View {
        leads: status.role == Role::Leader,
        role: status.role,
        term: small(status.term.0),
        commit: usize::try_from(status.commit.0).unwrap_or(usize::MAX),
        log: terms.map(|term| small(term.0)).collect(),
    }
}
