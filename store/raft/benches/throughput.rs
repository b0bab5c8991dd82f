//! How fast the core is by itself: three nodes in memory, a disk and a network that take no time.
//!
//! `cargo bench -p labrys-raft`. Each line: proposals handed in as one step, proposals a second through all three nodes
//! (appended, sent, "persisted", acknowledged, committed and handed over on each), and the same for reads.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::time::Instant;

use bytes::Bytes;
use labrys_raft::{
    Config, Defects, Effect, Input, Membership, Message, Node, NodeId, ReadMode, Recovered, Role, Token,
};

/// Three nodes and what is on its way between them.
struct Cluster {
    nodes: Vec<Node>,
    waiting: Vec<Vec<Input>>,
    effects: Vec<Effect>,
    handed_over: u64,
    reads: u64,
}

impl Cluster {
    /// Node 1 leads.
    fn new() -> Cluster {
        let nodes =
            (1..=3).map(|id| Node::new(config(id), Recovered::default(), 0).expect("a good configuration"));
        let waiting = vec![Vec::new(); 3];
        let mut cluster =
            Cluster { nodes: nodes.collect(), waiting, effects: Vec::new(), handed_over: 0, reads: 0 };
        cluster.waiting[0].push(Input::Tick { now_ms: 200 });
        cluster.settle();
        assert_eq!(cluster.nodes[0].status().role, Role::Leader);
        cluster
    }

    /// Steps until nothing is on its way.
    fn settle(&mut self) {
        while let Some(place) = self.waiting.iter().position(|inputs| !inputs.is_empty()) {
            let inputs = std::mem::take(&mut self.waiting[place]);
            self.nodes[place].step_all(inputs, &mut self.effects);
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Persist(batch) => {
                        self.waiting[place].push(Input::Persisted { sequence: batch.sequence })
                    }
                    Effect::Send(message) => self.waiting[place_of(&message)].push(Input::Receive(message)),
                    Effect::Apply { entries } => {
                        self.handed_over += entries.len() as u64;
                        let index = entries[entries.len() - 1].0.index;
                        self.waiting[place].push(Input::Applied { index });
                    }
                    Effect::ReadReady { .. } => self.reads += 1,
                    Effect::Refused { reason, .. } => panic!("refused: {reason:?}"),
                    Effect::RoleChanged { .. } => {}
                    other @ (Effect::RestoreSnapshot { .. }
                    | Effect::ReadSnapshotChunk { .. }
                    | Effect::WriteSnapshotChunk { .. }
                    | Effect::CompactLog { .. }
                    | Effect::DropSnapshots { .. }) => panic!("nobody took a snapshot: {other:?}"),
                    Effect::InvariantBroken { what } => panic!("{what}"),
                    Effect::FollowerLostLog { follower, .. } => panic!("node {follower} lost its log"),
                    Effect::MembershipChanged { .. }
                    | Effect::TransferDone { .. }
                    | Effect::RemovedFromCluster => {
                        panic!("nobody asked for a change")
                    }
                }
            }
        }
    }
}

fn place_of(message: &Message) -> usize {
    message.to.0 as usize - 1
}

fn config(id: u64) -> Config {
    Config {
        id: NodeId(id),
        initial: Membership::of_voters((1..=3).map(NodeId)),
        election_timeout_ms: 100,
        heartbeat_interval_ms: 20,
        max_batch_entries: 1024,
        max_batch_bytes: 1 << 20,
        max_inflight_batches: 64,
        max_pending: 100_000,
        kept_entries: 1000,
        snapshot_chunk_bytes: 1 << 20,
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

fn main() {
    let total: u64 = 409_600;
    let command = Bytes::from(vec![7_u8; 256]);
    for at_once in [1, 16, 256] {
        let mut cluster = Cluster::new();
        let begin = Instant::now();
        for first in (0..total).step_by(at_once as usize) {
            let proposal = |token| Input::Propose { token: Token(token), command: command.clone() };
            cluster.waiting[0].extend((first..first + at_once).map(proposal));
            cluster.settle();
        }
        let per_second = total as f64 / begin.elapsed().as_secs_f64();
        assert!(cluster.handed_over > total, "the leader alone hands over all of them");
        println!("{at_once:>4} proposals at once: {per_second:>10.0} proposals/s");
    }
    for at_once in [1, 16, 256] {
        let mut cluster = Cluster::new();
        let begin = Instant::now();
        for first in (0..total).step_by(at_once as usize) {
            cluster.waiting[0].extend(
                (first..first + at_once)
                    .map(|token| Input::Read { token: Token(token), mode: ReadMode::ReadIndex }),
            );
            cluster.settle();
        }
        let per_second = total as f64 / begin.elapsed().as_secs_f64();
        assert_eq!(cluster.reads, total);
        println!("{at_once:>4} reads at once:     {per_second:>10.0} reads/s");
    }
}
