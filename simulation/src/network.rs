//! [`Network`]: when messages arrive, if they do.

use std::collections::{BTreeMap, BTreeSet};

use labrys_nemesis::{LinkTrouble, MOST_BACKLOG_MS};
use labrys_seed::Rng;
use labrys_store::raft::{Message, MessageBody, Payload};
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

impl Trouble {
    fn cuts(&self, from: usize, to: usize) -> bool {
        matches!(self, Trouble::Cut(links) if links.contains(&(from, to)))
    }
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
    /// By fault and receiver: when the narrow line to it is free again.
    lines_ns: BTreeMap<(u64, usize), u64>,
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
            lines_ns: BTreeMap::new(),
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
        self.lines_ns.retain(|(fault, _), _| *fault != id);
        self.hit.remove(&id).unwrap_or_default()
    }

    /// The time from one machine to another when nothing is wrong.
    pub fn latency_ns(&mut self) -> u64 {
        duration_ns(self.message_us, 1_000, &mut self.rng)
    }

    /// Whether what is sent over a link now is lost because a fault has cut it. For links of clients, over which nothing else befalls
    /// what is sent.
    pub fn loses(&mut self, from: usize, to: usize) -> bool {
        let Network { faults, hit, .. } = self;
        let mut is_lost = false;
        for (id, _) in faults.iter().filter(|(_, fault)| fault.cuts(from, to)) {
            *hit.entry(*id).or_default().entry((from, to)).or_default() += 1;
            is_lost = true;
        }
        is_lost
    }

    /// When a message of so many bytes that is sent now arrives: never, once, or twice.
    pub fn deliver(&mut self, now_ns: u64, from: usize, to: usize, bytes: u64) -> Vec<u64> {
        let mut way =
            Way { arrives_ns: now_ns + self.latency_ns(), copies: 1, overtaken: false, reset: false };
        let Network { rng, faults, hit, lines_ns, .. } = self;
        for (id, fault) in faults.iter() {
            let is_hit = match fault {
                Trouble::Cut(links) => way.cut(links.contains(&(from, to))),
                Trouble::Nodes(nodes, trouble) if nodes.contains(&from) || nodes.contains(&to) => {
                    let line_ns = lines_ns.entry((*id, to)).or_default();
                    way.trouble(*trouble, rng) | way.narrow(trouble.bandwidth_kbit, line_ns, now_ns, bytes)
                }
                Trouble::Nodes(..) => false,
            };
            if is_hit {
                *hit.entry(*id).or_default().entry((from, to)).or_default() += 1;
            }
        }
        let Way { mut arrives_ns, copies, overtaken, reset } = way;
        if reset {
            // What is sent from now on belongs to another stream.
            self.last_ns.remove(&(from, to));
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

/// What becomes of a message on its way.
#[derive(Clone, Copy, Debug)]
struct Way {
    arrives_ns: u64,
    copies: u32,
    overtaken: bool,
    /// Its stream ends.
    reset: bool,
}

impl Way {
    fn cut(&mut self, is_cut: bool) -> bool {
        if is_cut {
            self.copies = 0;
        }
        is_cut
    }

    /// Whether something happened to it.
    fn trouble(&mut self, trouble: LinkTrouble, rng: &mut Rng) -> bool {
        let mut happens = |permille: u16| permille > 0 && rng.random_range(0..1000) < permille;
        let (lost, doubled) = (happens(trouble.loss_permille), happens(trouble.duplicate_permille));
        let late = happens(trouble.reorder_permille);
        // The receiver's kernel drops what is corrupted; a message that is answered by a reset does not arrive, either.
        let (corrupted, reset) = (happens(trouble.corrupt_permille), happens(trouble.reset_permille));
        self.copies = if lost || corrupted || reset { 0 } else { self.copies * (1 + u32::from(doubled)) };
        self.reset |= reset;
        self.overtaken |= late || doubled;
        let delay_ns = trouble.delay_ms * 1_000_000;
        self.arrives_ns += delay_ns + if delay_ns > 0 { rng.random_range(0..=delay_ns) } else { 0 };
        if late {
            self.arrives_ns += rng.random_range(0..=200_000_000);
        }
        lost || corrupted || reset || doubled || late || delay_ns > 0
    }

    /// Passes a line of so many bits a second that is free at `line_ns`, as the process of a real fault has it.
    fn narrow(&mut self, bandwidth_kbit: u64, line_ns: &mut u64, now_ns: u64, bytes: u64) -> bool {
        if bandwidth_kbit == 0 {
            return false;
        }
        let begins_ns = now_ns.max(*line_ns);
        if begins_ns - now_ns > MOST_BACKLOG_MS * 1_000_000 {
            self.copies = 0;
        } else {
            *line_ns = begins_ns + bytes.saturating_mul(8_000_000) / bandwidth_kbit;
            self.arrives_ns += *line_ns - now_ns;
        }
        true
    }
}

/// About how many bytes a message has on a real line, with what carries it.
pub fn size_bytes(message: &Message) -> u64 {
    const REST: u64 = 200;
    const PER_ENTRY: u64 = 24;
    let payload = |payload: &Payload| match payload {
        Payload::Command(command) => command.len() as u64,
        Payload::Noop | Payload::Membership(_) => 0,
    };
    REST + match &message.body {
        MessageBody::Append { entries, .. } => {
            entries.iter().map(|entry| PER_ENTRY + payload(&entry.payload)).sum()
        }
        MessageBody::InstallSnapshot { data, .. } => data.len() as u64,
        _ => 0,
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
            let [arrives_ns] = network.deliver(now_ns, 0, 1, 200)[..] else { panic!("once") };
            assert!(arrives_ns > last_ns && arrives_ns > now_ns);
            last_ns = arrives_ns;
        }
    }

    #[test]
    fn a_cut_hits_its_direction_only_and_counts_what_it_takes() {
        let mut network = network();
        network.cut(7, BTreeSet::from([(0, 1)]));
        assert!(network.deliver(0, 0, 1, 200).is_empty());
        assert_eq!(network.deliver(0, 1, 0, 200).len(), 1);
        assert_eq!(network.mend(7), Hits::from([((0, 1), 1)]));
        assert_eq!(network.deliver(0, 0, 1, 200).len(), 1);
    }

    #[test]
    fn a_link_of_clients_loses_what_is_sent_in_its_direction_and_counts_it() {
        let mut network = network();
        network.cut(7, BTreeSet::from([(5, 0)]));
        assert!(network.loses(5, 0));
        assert!(!network.loses(0, 5) && !network.loses(5, 1));
        assert_eq!(network.mend(7), Hits::from([((5, 0), 1)]));
        assert!(!network.loses(5, 0));
    }

    #[test]
    fn trouble_loses_doubles_and_lets_overtake() {
        let mut network = network();
        let trouble = LinkTrouble {
            loss_permille: 200,
            duplicate_permille: 200,
            reorder_permille: 200,
            ..LinkTrouble::default()
        };
        network.trouble(1, BTreeSet::from([0]), trouble);
        let arrivals: Vec<Vec<u64>> =
            (0..1_000).map(|step| network.deliver(step * 1_000_000, 0, 1, 200)).collect();
        let of_length = |length| arrivals.iter().filter(|copies| copies.len() == length).count();
        assert!((150..250).contains(&of_length(0)), "{}", of_length(0));
        assert!((100..220).contains(&of_length(2)), "{}", of_length(2));
        let firsts: Vec<u64> = arrivals.iter().filter_map(|copies| copies.first().copied()).collect();
        assert!(firsts.windows(2).filter(|pair| pair[0] > pair[1]).count() > 50);
        assert!(network.mend(1)[&(0, 1)] > 400);
    }

    #[test]
    fn what_is_corrupted_or_reset_does_not_arrive_and_a_narrow_line_makes_wait_and_then_loses() {
        for trouble in [
            LinkTrouble { corrupt_permille: 1000, ..LinkTrouble::default() },
            LinkTrouble { reset_permille: 1000, ..LinkTrouble::default() },
        ] {
            let mut network = network();
            network.trouble(1, BTreeSet::from([0]), trouble);
            assert!(network.deliver(0, 0, 1, 200).is_empty());
            assert_eq!(network.deliver(0, 1, 2, 200).len(), 1);
            assert_eq!(network.mend(1), Hits::from([((0, 1), 1)]));
        }
        let mut network = network();
        network.trouble(1, BTreeSet::from([1]), LinkTrouble { bandwidth_kbit: 80, ..LinkTrouble::default() });
        // 1,000 bytes take a tenth of a second; half a second is the longest wait.
        let arrivals: Vec<usize> = (0..10).map(|_| network.deliver(0, 0, 1, 1_000).len()).collect();
        assert_eq!(arrivals, [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
        let [arrives_ns] = network.deliver(10_000_000_000, 0, 1, 1_000)[..] else { panic!("once") };
        assert!(arrives_ns >= 10_100_000_000);
    }
}
