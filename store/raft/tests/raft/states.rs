//! A node can be copied, and its states can be told apart: what an exhaustive exploration of a cluster needs.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use labrys_raft::{Config, Effect, Input, LogIndex, Message, MessageBody, Node, NodeId, ReadMode, Recovered};
use labrys_raft::{Sequence, Term, Token};

use crate::cluster::config;
use crate::simulation::{Setting, Simulation};

/// A number for the state of a node.
pub fn fingerprint(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.fingerprint(&mut hasher);
    hasher.finish()
}

fn new(now_ms: u64) -> Node {
    let config = Config { lease_reads: true, ..config(1, 3) };
    Node::new(config, Recovered::default(), now_ms).expect("a good configuration")
}

fn receive(from: u64, term: u64, body: MessageBody) -> Input {
    Input::Receive(Message { from: NodeId(from), to: NodeId(1), term: Term(term), body })
}

/// From the start to a leader with an entry, a read under its lease, and a transfer under way.
fn inputs(start_ms: u64) -> Vec<Input> {
    let tick = |ms| Input::Tick { now_ms: start_ms + ms };
    vec![
        tick(1),
        tick(200),
        receive(2, 1, MessageBody::PreVoteReply { granted: true }),
        Input::Persisted { sequence: Sequence(1) },
        receive(2, 1, MessageBody::VoteReply { granted: true }),
        Input::Persisted { sequence: Sequence(2) },
        receive(2, 1, MessageBody::AppendReply { round: 1, outcome: Ok(LogIndex(0)) }),
        receive(2, 1, MessageBody::AppendReply { round: 1, outcome: Ok(LogIndex(1)) }),
        Input::Applied { index: LogIndex(1) },
        tick(210),
        Input::Read { token: Token(1), mode: ReadMode::ReadIndex },
        Input::TransferLeadership { token: Token(2), target: Some(NodeId(3)) },
        tick(230),
        tick(430),
    ]
}

#[test]
fn every_input_that_changes_something_changes_the_fingerprint() {
    let mut node = new(0);
    let mut seen = BTreeSet::from([fingerprint(&node)]);
    for input in inputs(0) {
        let what = format!("{input:?}");
        node.step(input, &mut Vec::new());
        assert!(seen.insert(fingerprint(&node)), "{what}");
    }
}

#[test]
fn the_same_history_at_another_time_of_the_clock_is_the_same_state() {
    let (mut early, mut late) = (new(0), new(1_000_000));
    for (at_first, later) in inputs(0).into_iter().zip(inputs(1_000_000)) {
        early.step(at_first, &mut Vec::new());
        late.step(later, &mut Vec::new());
        assert_eq!(fingerprint(&early), fingerprint(&late));
    }
}

#[test]
fn what_was_long_ago_is_the_same_state_however_long() {
    let of_silence = |ms: u64| {
        let mut node = new(0);
        inputs(0).into_iter().take(9).for_each(|input| node.step(input, &mut Vec::new()));
        // A leader that nobody answers steps down; its deadline passes, and it campaigns in vain.
        node.step(Input::Tick { now_ms: 200 + ms }, &mut Vec::new());
        (node.status().role, fingerprint(&node))
    };
    assert_eq!(of_silence(1000), of_silence(5000));
    assert_ne!(of_silence(50), of_silence(1000));
}

/// A copy does what the node itself does: nothing that decides is outside of what is copied or hashed.
#[test]
fn a_copy_does_the_same_as_the_node_and_ends_in_the_same_state() {
    let (mut steps, mut states) = (0, BTreeSet::new());
    for seed in 0..40 {
        let mut simulation = Simulation::new(seed, Setting { copies_nodes: true, ..Setting::default() });
        simulation.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        steps += simulation.cluster.copies.len();
        states.extend(simulation.cluster.copies);
    }
    assert!(steps > 10_000 && states.len() > steps / 4, "{steps} steps, {} states", states.len());
}

/// Steps a copy of `node` and says where that leads to.
pub fn of_copy(node: &Node, inputs: &[Input]) -> (Vec<Effect>, u64) {
    let (mut copy, mut effects) = (node.clone(), Vec::new());
    copy.step_all(inputs.to_vec(), &mut effects);
    (effects, fingerprint(&copy))
}
