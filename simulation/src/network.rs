//! [`Network`]: when messages arrive, if they do.

use std::collections::{BTreeMap, BTreeSet};

use labrys_nemesis::LinkTrouble;
use labrys_seed::Rng;
use rand::Rng as _;

use crate::environment::{Environment, duration_ns};

/// What a fault does to messages.
#[derive(Clone, Debug)]
enum Trouble {
    /// Nothing arrives over these links.
    Cut(BTreeSet<(usize, usize)>),
    /// What comes from or goes to these nodes is in trouble.
    Nodes(BTreeSet<usize>, LinkTrouble),
}

/// How many messages of each link, from sender to receiver.
pub type Hits = BTreeMap<(usize, usize), u64>;

/// The links between the nodes. A link keeps its messages in order, as a stream does, unless a fault says otherwise.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    message_us: (u64, u64),
    /// When the last message of each link arrives.
    last_ns: BTreeMap<(usize, usize), u64>,
    faults: BTreeMap<u64, Trouble>,
    /// How many messages each fault has hit, by sender and receiver.
    hit: BTreeMap<u64, Hits>,
}

impl Network {
    /// Without faults.
    #[must_use]
    pub fn new(environment: &Environment, rng: Rng) -> Network {
        Network {
            rng,
            message_us: environment.message_us,
            last_ns: BTreeMap::new(),
            faults: BTreeMap::new(),
            hit: BTreeMap::new(),
        }
    }

    /// The links of fault `id` are cut, from sender to receiver.
    pub fn cut(&mut self, id: u64, links: BTreeSet<(usize, usize)>) {
        self.faults.insert(id, Trouble::Cut(links));
    }

    /// Messages from and to these nodes get into trouble.
    pub fn trouble(&mut self, id: u64, nodes: BTreeSet<usize>, trouble: LinkTrouble) {
        self.faults.insert(id, Trouble::Nodes(nodes, trouble));
    }

    /// Ends a fault: how many messages it hit.
    pub fn mend(&mut self, id: u64) -> Hits {
        self.faults.remove(&id);
        self.hit.remove(&id).unwrap_or_default()
    }

    /// The time from one machine to another when nothing is wrong.
    pub fn latency_ns(&mut self) -> u64 {
        duration_ns(self.message_us, 1_000, &mut self.rng)
    }

    /// When a message that is sent now arrives: never, once, or twice.
    pub fn deliver(&mut self, now_ns: u64, from: usize, to: usize) -> Vec<u64> {
        let mut arrives_ns = now_ns + self.latency_ns();
        let (mut copies, mut overtaken) = (1, false);
        let Network { rng, faults, hit, .. } = self;
        for (id, fault) in faults.iter() {
            let mut count = || *hit.entry(*id).or_default().entry((from, to)).or_default() += 1;
            match fault {
                Trouble::Cut(links) => {
                    if links.contains(&(from, to)) {
                        count();
                        copies = 0;
                    }
                }
                Trouble::Nodes(nodes, trouble) if nodes.contains(&from) || nodes.contains(&to) => {
                    let mut happens = |permille: u16| permille > 0 && rng.random_range(0..1000) < permille;
                    let (lost, doubled) =
                        (happens(trouble.loss_permille), happens(trouble.duplicate_permille));
                    let late = happens(trouble.reorder_permille);
                    if lost || doubled || late || trouble.delay_ms > 0 {
                        count();
                    }
                    copies = if lost { 0 } else { copies * (1 + u32::from(doubled)) };
                    overtaken |= late || doubled;
                    let delay_ns = trouble.delay_ms * 1_000_000;
                    arrives_ns += delay_ns + if delay_ns > 0 { rng.random_range(0..=delay_ns) } else { 0 };
                    if late {
                        arrives_ns += rng.random_range(0..=200_000_000);
                    }
                }
                Trouble::Nodes(..) => {}
            }
        }
        let last_ns = self.last_ns.entry((from, to)).or_default();
        if !overtaken && copies > 0 {
            arrives_ns = arrives_ns.max(*last_ns + 1);
            *last_ns = arrives_ns;
        }
        (0..copies)
            .map(
                |copy| {
                    if copy == 0 { arrives_ns } else { arrives_ns + self.rng.random_range(0..=100_000_000) }
                },
            )
            .collect()
    }

    /// The streams from and to a node are gone: what is sent from now on belongs to new ones.
    pub fn reset(&mut self, node: usize) {
        self.last_ns.retain(|(from, to), _| *from != node && *to != node);
    }
}

#[cfg(test)]
mod tests {
    use labrys_seed::Seed;

    use super::*;

    fn network() -> Network {
        Network::new(&Environment::default(), Seed(1).rng())
    }

    #[test]
    fn without_faults_every_message_arrives_once_and_in_order() {
        let mut network = network();
        let mut last_ns = 0;
        for now_ns in (0..1_000).map(|step| step * 10_000) {
            let [arrives_ns] = network.deliver(now_ns, 0, 1)[..] else { panic!("once") };
            assert!(arrives_ns > last_ns && arrives_ns > now_ns);
            last_ns = arrives_ns;
        }
    }

    #[test]
    fn a_cut_hits_its_direction_only_and_counts_what_it_takes() {
        let mut network = network();
        network.cut(7, BTreeSet::from([(0, 1)]));
        assert!(network.deliver(0, 0, 1).is_empty());
        assert_eq!(network.deliver(0, 1, 0).len(), 1);
        assert_eq!(network.mend(7), Hits::from([((0, 1), 1)]));
        assert_eq!(network.deliver(0, 0, 1).len(), 1);
    }

    #[test]
    fn trouble_loses_doubles_and_lets_overtake() {
        let mut network = network();
        let trouble =
            LinkTrouble { loss_permille: 200, duplicate_permille: 200, reorder_permille: 200, delay_ms: 0 };
        network.trouble(1, BTreeSet::from([0]), trouble);
        let arrivals: Vec<Vec<u64>> =
            (0..1_000).map(|step| network.deliver(step * 1_000_000, 0, 1)).collect();
        let of_length = |length| arrivals.iter().filter(|copies| copies.len() == length).count();
        assert!((150..250).contains(&of_length(0)), "{}", of_length(0));
        assert!((100..220).contains(&of_length(2)), "{}", of_length(2));
        let firsts: Vec<u64> = arrivals.iter().filter_map(|copies| copies.first().copied()).collect();
        assert!(firsts.windows(2).filter(|pair| pair[0] > pair[1]).count() > 50);
        assert!(network.mend(1)[&(0, 1)] > 400);
    }
}
