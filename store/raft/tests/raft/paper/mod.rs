//! A test per rule of the paper's Figure 2 (and of the thesis where it goes further), on one node whose peers are the test.
//!
//! Node 1 is the one under test; every test says at its end which section it is about.

mod elections;
mod leaders;
mod logs;

use bytes::Bytes;
use labrys_raft::{
    AppendRejection, Config, Effect, Entry, HardState, Input, LogIndex, Message, MessageBody, Node, NodeId,
    Payload, PersistBatch, ReadMode, Recovered, Role, Sequence, Term, Token,
};

use crate::cluster::config;

/// A node, and a disk that answers at once unless it is `slow`.
struct Solo {
    node: Node,
    slow: bool,
    /// The last batch handed out.
    written: Sequence,
    batches: Vec<PersistBatch>,
    now_ms: u64,
}

/// The terms of consecutive entries.
type Terms = &'static [u64];
/// Index and term.
type Position = (u64, u64);

/// Entries with these terms, from index `first` on.
fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(offset, term): (usize, &u64)| Entry {
        term: Term(*term),
        index: LogIndex(first + offset as u64),
        payload: Payload::Command(Bytes::copy_from_slice(&term.to_be_bytes())),
    };
    terms.iter().enumerate().map(entry).collect()
}

impl Solo {
    /// One of `voters` nodes, in `term`, with a log of these terms.
    fn new(voters: u64, term: u64, log: &[u64]) -> Solo {
        Solo::with(config(1, voters), term, log)
    }

    fn with(config: Config, term: u64, log: &[u64]) -> Solo {
        let hard_state = HardState { term: Term(term), voted_for: None };
        let recovered = Recovered { hard_state, entries: entries(1, log), ..Recovered::default() };
        let node = Node::new(config, recovered, 0).expect("a good configuration");
        Solo { node, slow: false, written: Sequence(0), batches: Vec::new(), now_ms: 0 }
    }

    /// One of three, leader of the term after `term`, elected by node 2.
    fn leader(term: u64, log: &[u64]) -> Solo {
        let mut solo = Solo::new(3, term, log);
        solo.elect();
        solo
    }

    fn elect(&mut self) -> Vec<Effect> {
        let term = self.node.status().term.0 + 1;
        self.pass(200);
        self.receive(2, term, MessageBody::PreVoteReply { granted: true });
        let effects = self.receive(2, term, MessageBody::VoteReply { granted: true });
        assert_eq!(self.node.status().role, Role::Leader);
        effects
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.node.step(input, &mut effects);
        let batch = effects.iter().find_map(|effect| match effect {
            Effect::Persist(batch) => Some(batch.clone()),
            _ => None,
        });
        if let Some(batch) = batch {
            self.written = batch.sequence;
            self.batches.push(batch);
            if !self.slow {
                effects.extend(self.persisted());
            }
        }
        effects
    }

    fn persisted(&mut self) -> Vec<Effect> {
        self.step(Input::Persisted { sequence: self.written })
    }

    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ms += ms;
        self.step(Input::Tick { now_ms: self.now_ms })
    }

    fn receive(&mut self, from: u64, term: u64, body: MessageBody) -> Vec<Effect> {
        self.step(Input::Receive(Message { from: NodeId(from), to: NodeId(1), term: Term(term), body }))
    }

    /// An append from the leader `from` of `term`.
    fn append(&mut self, from: u64, term: u64, prev: (u64, u64), terms: &[u64], commit: u64) -> Vec<Effect> {
        let body = MessageBody::Append {
            prev_index: LogIndex(prev.0),
            prev_term: Term(prev.1),
            entries: entries(prev.0 + 1, terms),
            commit: LogIndex(commit),
            round: 1,
        };
        self.receive(from, term, body)
    }

    fn acknowledge(&mut self, from: u64, matched: u64) -> Vec<Effect> {
        let term = self.node.status().term.0;
        self.receive(from, term, MessageBody::AppendReply { round: 0, outcome: Ok(LogIndex(matched)) })
    }

    fn propose(&mut self, token: u64) -> Vec<Effect> {
        self.step(Input::Propose {
            token: Token(token),
            command: Bytes::copy_from_slice(&token.to_be_bytes()),
        })
    }

    fn terms(&self) -> Vec<u64> {
        (1..).map_while(|index| self.node.entry(LogIndex(index))).map(|entry| entry.term.0).collect()
    }

    fn commit(&self) -> u64 {
        self.node.status().commit.0
    }
}

/// What is sent, by kind of body.
fn sent(effects: &[Effect]) -> Vec<&MessageBody> {
    messages(effects).into_iter().map(|message| &message.body).collect()
}

fn messages(effects: &[Effect]) -> Vec<&Message> {
    let mut found = Vec::new();
    for effect in effects {
        if let Effect::Send(message) = effect {
            found.push(message);
        }
    }
    found
}

fn granted(effects: &[Effect]) -> Option<bool> {
    sent(effects).into_iter().find_map(|body| match body {
        MessageBody::VoteReply { granted } | MessageBody::PreVoteReply { granted } => Some(*granted),
        _ => None,
    })
}

fn outcome(effects: &[Effect]) -> Option<Result<LogIndex, AppendRejection>> {
    sent(effects).into_iter().find_map(|body| match body {
        MessageBody::AppendReply { outcome, .. } => Some(*outcome),
        _ => None,
    })
}

fn vote(last_index: u64, last_term: u64) -> MessageBody {
    MessageBody::Vote { last_index: LogIndex(last_index), last_term: Term(last_term), is_transfer: false }
}

fn read(token: u64) -> Input {
    Input::Read { token: Token(token), mode: ReadMode::ReadIndex }
}
