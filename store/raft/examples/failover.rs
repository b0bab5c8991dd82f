//! How long a cluster is without a leader that can commit after its leader has died, in election timeouts.
//!
//! `cargo run --release -p labrys-raft --example failover [SEEDS]` prints the median, the 99th percentile and the greatest over
//! so many seeds (2000), for three, five and seven nodes and two settings of the timeouts. It is a simulation: messages take
//! 0.1 to 2 ms, one in a hundred up to 20 ms; a write to disk takes 1 to 8 ms, one in a hundred up to 40 ms; a node looks at the
//! clock every quarter of a heartbeat interval. The time is counted from the death, somewhere between two heartbeats, to the moment
//! in which the next leader hands over the first entry of its term. What a client needs to find that leader is not in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use labrys_raft::{
    Config, Defects, Effect, Entry, Input, Membership, Message, Node, NodeId, Recovered, Role, Sequence,
    Status,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Before this the first leader is long elected.
const SETTLED_TIMEOUTS: u64 = 10;
/// Whoever is not elected by then never is.
const PATIENCE_TIMEOUTS: u64 = 100;

/// What happens to which node.
enum Event {
    Tick(usize),
    Arrives(Box<Message>),
    Synced(usize, Sequence),
}

/// A cluster in simulated time, in microseconds.
struct Simulation {
    nodes: Vec<Option<Node>>,
    /// By time, and by the order in which they were planned.
    events: BinaryHeap<Reverse<(u64, usize)>>,
    planned: Vec<Option<Event>>,
    /// When each disk has done what it was given.
    disk_free_us: Vec<u64>,
    now_us: u64,
    tick_us: u64,
    rng: ChaCha8Rng,
    /// The highest term of which an entry was handed over by its leader.
    serves: Option<(Status, Entry)>,
}

impl Simulation {
    fn new(count: u64, election_timeout_ms: u64, heartbeat_interval_ms: u64, seed: u64) -> Simulation {
        let config = |id| Config {
            id: NodeId(id),
            initial: Membership::of_voters((1..=count).map(NodeId)),
            election_timeout_ms,
            heartbeat_interval_ms,
            max_batch_entries: 64,
            max_batch_bytes: 1 << 20,
            max_inflight_batches: 8,
            max_pending: 1000,
            kept_entries: 1000,
            snapshot_chunk_bytes: 1 << 20,
            pre_vote: true,
            check_quorum: true,
            election_handicap: 0,
            lease_reads: true,
            max_clock_drift_percent: 10,
            incarnation: 1,
            seed,
            defects: Defects::NONE,
        };
        let nodes = (1..=count)
            .map(|id| Some(Node::new(config(id), Recovered::default(), 0).expect("a good configuration")));
        let mut simulation = Simulation {
            nodes: nodes.collect(),
            events: BinaryHeap::new(),
            planned: Vec::new(),
            disk_free_us: vec![0; count as usize],
            now_us: 0,
            tick_us: heartbeat_interval_ms * 1000 / 4,
            rng: ChaCha8Rng::seed_from_u64(seed),
            serves: None,
        };
        for place in 0..count as usize {
            let first_us = simulation.rng.random_range(0..simulation.tick_us);
            simulation.plan(first_us, Event::Tick(place));
        }
        simulation
    }

    fn plan(&mut self, at_us: u64, event: Event) {
        self.events.push(Reverse((at_us, self.planned.len())));
        self.planned.push(Some(event));
    }

    /// Usually below `usual_us`, rarely up to `most_us`.
    fn some_time(&mut self, least_us: u64, usual_us: u64, most_us: u64) -> u64 {
        let limit_us = if self.rng.random_bool(0.01) { most_us } else { usual_us };
        self.rng.random_range(least_us..limit_us)
    }

    /// The next event happens.
    fn advance(&mut self) {
        let Some(Reverse((at_us, number))) = self.events.pop() else { return };
        self.now_us = at_us;
        match self.planned[number].take() {
            Some(Event::Tick(place)) => {
                self.plan(at_us + self.tick_us, Event::Tick(place));
                self.step(place, None);
            }
            Some(Event::Arrives(message)) => {
                self.step(message.to.0 as usize - 1, Some(Input::Receive(*message)));
            }
            Some(Event::Synced(place, sequence)) => self.step(place, Some(Input::Persisted { sequence })),
            None => {}
        }
    }

    fn step(&mut self, place: usize, input: Option<Input>) {
        let Some(node) = &mut self.nodes[place] else { return };
        let mut effects = Vec::new();
        node.step_all([Input::Tick { now_ms: self.now_us / 1000 }].into_iter().chain(input), &mut effects);
        let status = node.status();
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    let at_us = self.now_us + self.some_time(100, 2_000, 20_000);
                    self.plan(at_us, Event::Arrives(Box::new(message)));
                }
                Effect::Persist(batch) => {
                    let begin_us = self.now_us.max(self.disk_free_us[place]);
                    self.disk_free_us[place] = begin_us + self.some_time(1_000, 8_000, 40_000);
                    self.plan(self.disk_free_us[place], Event::Synced(place, batch.sequence));
                }
                Effect::Apply { entries } => {
                    let (last, _) = entries.into_iter().next_back().expect("never empty");
                    let index = last.index;
                    if status.role == Role::Leader && last.term == status.term {
                        self.serves = Some((status.clone(), last));
                    }
                    self.step(place, Some(Input::Applied { index }));
                }
                _ => {}
            }
        }
    }

    /// The leader dies; how many microseconds pass until another one serves. `None`: it never does.
    fn failover_us(mut self, election_timeout_ms: u64) -> Option<u64> {
        let timeout_us = election_timeout_ms * 1000;
        let death_us = SETTLED_TIMEOUTS * timeout_us + self.rng.random_range(0..timeout_us);
        while self.now_us < death_us {
            self.advance();
        }
        let (first, _) = self.serves.take()?;
        self.nodes[first.id.0 as usize - 1] = None;
        while self.now_us < death_us + PATIENCE_TIMEOUTS * timeout_us {
            self.advance();
            if let Some((status, _)) = &self.serves
                && status.term > first.term
            {
                return Some(self.now_us - death_us);
            }
        }
        None
    }
}

fn main() {
    let seeds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2000_u64);
    println!("failover in election timeouts, {seeds} seeds each");
    println!(
        "{:>5} {:>16} {:>10} {:>8} {:>8} {:>8}",
        "nodes", "election timeout", "heartbeat", "median", "p99", "max"
    );
    for (election_timeout_ms, heartbeat_interval_ms) in [(300, 50), (1000, 100)] {
        for count in [3, 5, 7] {
            let run = |seed| {
                let simulation = Simulation::new(count, election_timeout_ms, heartbeat_interval_ms, seed);
                let taken_us = simulation.failover_us(election_timeout_ms);
                taken_us.expect("a majority lives, so somebody is elected")
            };
            let mut all: Vec<u64> = (0..seeds).map(run).collect();
            all.sort_unstable();
            let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize] as f64;
            let in_timeouts = |part| at(part) / (election_timeout_ms as f64 * 1000.0);
            println!(
                "{count:>5} {election_timeout_ms:>13} ms {heartbeat_interval_ms:>7} ms {:>8.2} {:>8.2} {:>8.2}",
                in_timeouts(0.5),
                in_timeouts(0.99),
                in_timeouts(1.0)
            );
        }
    }
}
