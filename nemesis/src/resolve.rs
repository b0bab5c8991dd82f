//! Resolution: a fault with symbolic targets and a view of the cluster in, the nodes and directed links that it hits out.
//!
//! Pure; all randomness comes from the stream handed in. O(n²) for n nodes, which is the size of the answer.
//!
//! What cannot be had in a small cluster is replaced by what comes nearest, so that a resolved fault does something
//! wherever it can: see [`resolve`].

use std::collections::BTreeSet;

use labrys_seed::Rng;
use rand::Rng as _;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::commands::{Failpoint, OrderName};
use crate::fault::{CLIENTS, Fault, Link, PartitionShape, Resolved, Target};
use crate::target::{Operator, Quantity};

/// What is known of the cluster at the moment of a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes, in the order in which people list them.
    pub nodes: Vec<String>,
    /// Those that believe to lead, none or several while the cluster is in disorder. Names that are no nodes are ignored.
    pub leaders: Vec<String>,
    /// The names of the user's own commands.
    pub commands: Vec<String>,
    /// What can be had to happen at named places in the nodes' processes.
    pub failpoints: Vec<Failpoint>,
    /// Those whose disks have rotted in this run, or who have begun on other data, by faults before this one.
    pub rotten: Vec<String>,
}

/// Decides whom a fault hits.
///
/// - No majority short of everybody exists below three nodes: [`Target::Majority`] is then everybody. The smallest
///   "minority" is one node, also where that is half of the cluster or all of it.
/// - [`Target::Leader`] is one of the known leaders, by chance if several believe to lead; if none does, any node.
/// - [`Target::Followers`] is everybody but the known leaders; if there are none, everybody but one random node.
///   [`Target::NotLeader`] is everybody but the one that [`Target::Leader`] is. The two differ where several believe to lead: an
///   old leader that has not heard of the new one is no follower, but may be not *the* leader. [`Target::Primaries`] are all
///   known leaders; if there are none, any node.
/// - Where `leader` and `not-leader` stand in one target, the leader is the same in both. What else is random (`one`, a
///   minority) is drawn for each part of a target by itself: `leader + one` may be the leader alone, `leader + one of followers`
///   is two nodes. A combination may be nobody: `leader & followers`.
/// - [`Target::Named`] keeps the names that are nodes, [`Target::Numbers`] the numbers that nodes have.
/// - Nobody apart from everybody, or everybody from nobody, cuts nothing.
/// - A bridge and a ring of majorities cut nothing below three nodes: halves take their place.
/// - A ring of three nodes is a bridge: each node sees a majority and no two the same one. From four nodes on each node
///   talks, in both directions, to as few of its neighbours on a random ring as make a majority; where parity forbids
///   exactly a majority on both sides (7, 11, 15 … nodes), to one more.
/// - [`OrderName::AnyCommand`] is one of the user's commands, and stays itself, which nobody understands, where there is none.
/// - [`OrderName::AnyFailpoint`] is one of those that the system has, in the same way.
/// - A single node has no links: nothing is cut.
/// - Rot, and restarts on other data, keep a quorum of good copies: over the whole run they hit a minority at most (one node, where there is none), unless nodes are
///   named or a majority or all are asked for. Whoever would be one too many is spared, and those that were hit already are hit again instead.
#[must_use]
pub fn resolve(fault: &Fault, view: &View, rng: &mut Rng) -> Resolved {
    match fault {
        Fault::Partition {
            shape: shape @ (PartitionShape::Links(links) | PartitionShape::MuffledLinks(links)),
        } => {
            let is_there = |name: &String| view.nodes.contains(name) || name == CLIENTS;
            let known = |link: &&Link| is_there(&link.from) && is_there(&link.to);
            let links: Vec<Link> = links.iter().filter(known).cloned().collect();
            let words = links.iter().map(|link| format!("{} -x-> {}", link.from, link.to));
            let description = words.collect::<Vec<_>>().join(", ");
            let content_only = matches!(shape, PartitionShape::MuffledLinks(_));
            Resolved::Partition { description, links, content_only }
        }
        Fault::Partition { shape } => {
            let cut = cut(shape, view, rng);
            let links = cut.links(&view.nodes);
            let content_only = matches!(shape, PartitionShape::Muffled(_));
            Resolved::Partition { description: cut.description(&view.nodes), links, content_only }
        }
        Fault::Pause { target } => Resolved::Pause { nodes: hit(target, view, rng) },
        Fault::Kill { target } => Resolved::Kill { nodes: hit(target, view, rng) },
        Fault::PowerCut { target, loss } => Resolved::PowerCut { nodes: hit(target, view, rng), loss: *loss },
        Fault::Network { target, trouble } => {
            Resolved::Network { nodes: hit(target, view, rng), trouble: *trouble }
        }
        Fault::Clock { target, change } => Resolved::Clock { nodes: hit(target, view, rng), change: *change },
        Fault::Disk { target, trouble } => {
            let hit = hit(target, view, rng);
            let nodes = if trouble.is_rot() { spare_a_quorum(target, hit, view) } else { hit };
            Resolved::Disk { nodes, trouble: *trouble }
        }
        Fault::Membership { target, change } => {
            Resolved::Membership { nodes: hit(target, view, rng), change: *change }
        }
        Fault::Resource { target, trouble } => {
            Resolved::Resource { nodes: hit(target, view, rng), trouble: *trouble }
        }
        Fault::Restart { target, data } => {
            let nodes = spare_a_quorum(target, hit(target, view, rng), view);
            Resolved::Restart { nodes, data: *data }
        }
        Fault::Application { target, order } => {
            let nodes = hit(target, view, rng);
            let order = match order {
                OrderName::AnyCommand => view.commands.choose(rng).cloned().map(OrderName::Command),
                OrderName::AnyFailpoint => view.failpoints.choose(rng).cloned().map(OrderName::Failpoint),
                _ => None,
            }
            .unwrap_or_else(|| order.clone());
            Resolved::Application { nodes, order }
        }
    }
}

/// The names of the nodes that are hit.
fn hit(target: &Target, view: &View, rng: &mut Rng) -> Vec<String> {
    names(&targets(target, view, rng), &view.nodes)
}

/// Of the nodes that are to rot, those that may: see [`resolve`]. After TigerBeetle's fault atlas, which keeps for each block a replica
/// that has it intact; here the block is the whole disk.
fn spare_a_quorum(target: &Target, hit: Vec<String>, view: &View) -> Vec<String> {
    if matches!(target, Target::Named(_) | Target::Majority | Target::All) {
        return hit;
    }
    let mut rotten: BTreeSet<&String> = view.rotten.iter().filter(|node| view.nodes.contains(node)).collect();
    let most = largest_minority(view.nodes.len());
    let mut nodes = Vec::new();
    for node in &hit {
        if rotten.contains(node) || rotten.len() < most {
            rotten.insert(node);
            nodes.push(node.clone());
        }
    }
    if nodes.is_empty() && matches!(target, Target::One | Target::Minority) {
        nodes.extend(rotten.into_iter().take(hit.len()).cloned());
    }
    nodes
}

/// Positions of nodes in the view, in its order.
type Positions = BTreeSet<usize>;

/// Who is cut off from whom.
enum Cut {
    /// Nobody from anybody.
    Nothing,
    /// Two sides that do not hear each other.
    Sides(Positions, Positions),
    /// Two sides, and a node that hears and is heard by both.
    Bridge(Positions, usize, Positions),
    /// Nodes in the order of a ring, each hearing only those at these distances on it, and itself.
    Ring(Vec<usize>, BTreeSet<usize>),
    /// What the first side sends to the second one is lost.
    OneWay(Positions, Positions),
    /// What clients send to these, and what these send to clients, is lost.
    Clients { requests: Positions, replies: Positions },
}

impl Cut {
    fn links(&self, nodes: &[String]) -> Vec<Link> {
        let mut links = BTreeSet::new();
        let mut add = |from: usize, to: usize| {
            links.insert(Link { from: nodes[from].clone(), to: nodes[to].clone() });
        };
        match self {
            Cut::Nothing => {}
            Cut::Sides(left, right) | Cut::Bridge(left, _, right) => pairs(left, right, |one, other| {
                add(one, other);
                add(other, one);
            }),
            Cut::OneWay(left, right) => pairs(left, right, add),
            Cut::Clients { requests, replies } => {
                let name = |position: &usize| nodes[*position].clone();
                links.extend(requests.iter().map(|to| Link { from: CLIENTS.to_owned(), to: name(to) }));
                links.extend(replies.iter().map(|from| Link { from: name(from), to: CLIENTS.to_owned() }));
            }
            Cut::Ring(ring, distances) => {
                for (from, from_node) in ring.iter().enumerate() {
                    for (to, to_node) in ring.iter().enumerate() {
                        let distance = from.abs_diff(to).min(ring.len() - from.abs_diff(to));
                        if distance > 0 && !distances.contains(&distance) {
                            add(*from_node, *to_node);
                        }
                    }
                }
            }
        }
        links.into_iter().collect()
    }

    fn description(&self, nodes: &[String]) -> String {
        let side = |positions: &Positions| names(positions, nodes).join(" ");
        match self {
            Cut::Nothing => "nothing to cut".to_owned(),
            Cut::Sides(left, right) => format!("{} | {}", side(left), side(right)),
            Cut::Bridge(left, bridge, right) => {
                format!("{} | {} bridged by {}", side(left), side(right), nodes[*bridge])
            }
            Cut::OneWay(left, right) => format!("{} -x-> {}", side(left), side(right)),
            Cut::Clients { requests, replies } => match (requests.is_empty(), replies.is_empty()) {
                (true, true) => "nothing to cut".to_owned(),
                (false, true) => format!("{CLIENTS} -x-> {}", side(requests)),
                (true, false) => format!("{} -x-> {CLIENTS}", side(replies)),
                (false, false) => format!("{CLIENTS} | {}", side(requests)),
            },
            Cut::Ring(ring, distances) => {
                let order: Vec<&str> = ring.iter().map(|position| nodes[*position].as_str()).collect();
                let reach: Vec<String> = distances.iter().map(ToString::to_string).collect();
                format!("ring {}, hearing at distance {}", order.join(" "), reach.join(" "))
            }
        }
    }
}

fn pairs(left: &Positions, right: &Positions, mut visit: impl FnMut(usize, usize)) {
    for one in left {
        for other in right {
            visit(*one, *other);
        }
    }
}

fn cut(shape: &PartitionShape, view: &View, rng: &mut Rng) -> Cut {
    let count = view.nodes.len();
    if let Some(cut) = clients_cut(shape, view, rng) {
        return cut;
    }
    if count < 2 {
        return Cut::Nothing;
    }
    let order = shuffled(count, rng);
    match shape {
        PartitionShape::Halves => split(&order, count / 2),
        PartitionShape::One => split(&order, 1),
        PartitionShape::MajorityMinority => {
            let largest = largest_minority(count);
            split(&order, rng.random_range(largest.min(2)..=largest))
        }
        PartitionShape::Leader => apart(&Target::Leader, view, rng),
        PartitionShape::Apart(target) => apart(target, view, rng),
        PartitionShape::Deaf(target) | PartitionShape::Muffled(target) => {
            one_way(apart(target, view, rng), true)
        }
        PartitionShape::Mute(target) => one_way(apart(target, view, rng), false),
        PartitionShape::MinorityThird => split(&order, (count.div_ceil(3) - 1).max(1)),
        PartitionShape::LeaderMinority => leader_with_minority(order, view, rng),
        PartitionShape::Bridge | PartitionShape::MajoritiesRing if count == 2 => split(&order, 1),
        PartitionShape::Bridge => bridge(&order),
        PartitionShape::MajoritiesRing if count == 3 => bridge(&order),
        PartitionShape::MajoritiesRing => Cut::Ring(order, ring_distances(count)),
        PartitionShape::OneWay => one_way(split(&order, rng.random_range(1..count)), false),
        // Need no view, or are none between nodes.
        PartitionShape::Links(_)
        | PartitionShape::MuffledLinks(_)
        | PartitionShape::ClientRequests(_)
        | PartitionShape::ClientReplies(_)
        | PartitionShape::ClientLinks(_) => Cut::Nothing,
    }
}

fn clients_cut(shape: &PartitionShape, view: &View, rng: &mut Rng) -> Option<Cut> {
    let (requests, replies) = match shape {
        PartitionShape::ClientRequests(_) => (true, false),
        PartitionShape::ClientReplies(_) => (false, true),
        PartitionShape::ClientLinks(_) => (true, true),
        _ => return None,
    };
    let hit = targets(shape.target()?, view, rng);
    let if_so = |is_cut: bool| if is_cut { hit.clone() } else { Positions::new() };
    Some(Cut::Clients { requests: if_so(requests), replies: if_so(replies) })
}

/// Of two sides that do not hear each other only one does not: the first one if `first_is_deaf`, else the second.
fn one_way(cut: Cut, first_is_deaf: bool) -> Cut {
    match cut {
        Cut::Sides(first, second) if first_is_deaf => Cut::OneWay(second, first),
        Cut::Sides(first, second) => Cut::OneWay(first, second),
        other => other,
    }
}

fn leader_with_minority(mut order: Vec<usize>, view: &View, rng: &mut Rng) -> Cut {
    let leader = targets(&Target::Leader, view, rng);
    order.sort_by_key(|position| !leader.contains(position));
    let largest = largest_minority(order.len());
    split(&order, rng.random_range(largest.min(2)..=largest))
}

/// Those that are aimed at on one side, the others on the other.
fn apart(target: &Target, view: &View, rng: &mut Rng) -> Cut {
    let apart = targets(target, view, rng);
    let rest: Positions = (0..view.nodes.len()).filter(|position| !apart.contains(position)).collect();
    if apart.is_empty() || rest.is_empty() { Cut::Nothing } else { Cut::Sides(apart, rest) }
}

/// The first `at` of the order on one side, the others on the other.
fn split(order: &[usize], at: usize) -> Cut {
    let (left, right) = order.split_at(at);
    Cut::Sides(left.iter().copied().collect(), right.iter().copied().collect())
}

/// The first node of the order is the bridge.
fn bridge(order: &[usize]) -> Cut {
    let (left, right) = order[1..].split_at((order.len() - 1) / 2);
    Cut::Bridge(left.iter().copied().collect(), order[0], right.iter().copied().collect())
}

/// At which distances on a ring of `count >= 4` nodes a node hears others, so that with itself it hears a majority, as small
/// a one as links that work in both directions allow, and never the same one as another node.
///
/// An odd number of others cannot be spread evenly to both sides: with an even `count` the node opposite makes up for it,
/// with an odd one the next node on both sides does.
fn ring_distances(count: usize) -> BTreeSet<usize> {
    let others = count / 2;
    let mut distances: BTreeSet<usize> = (1..=others / 2).collect();
    if others % 2 == 1 {
        distances.insert(if count.is_multiple_of(2) { count / 2 } else { others / 2 + 1 });
    }
    distances
}

/// At least one.
fn largest_minority(count: usize) -> usize {
    (count.saturating_sub(1) / 2).max(1)
}

fn targets(target: &Target, view: &View, rng: &mut Rng) -> Positions {
    let count = view.nodes.len();
    if count == 0 {
        return Positions::new();
    }
    let leaders = (0..count).filter(|position| view.leaders.contains(&view.nodes[*position])).collect();
    Choice { nodes: &view.nodes, leaders, leader: None, rng }.of(target)
}

/// The choice of the nodes of one target.
struct Choice<'a> {
    nodes: &'a [String],
    /// Those that are known.
    leaders: Vec<usize>,
    /// The one that was chosen, for the whole target.
    leader: Option<usize>,
    rng: &'a mut Rng,
}

impl Choice<'_> {
    fn of(&mut self, target: &Target) -> Positions {
        let count = self.nodes.len();
        match target {
            Target::One => some(1, count, self.rng),
            Target::Minority => {
                let how_many = self.rng.random_range(1..=largest_minority(count));
                some(how_many, count, self.rng)
            }
            Target::Majority if count < 3 => (0..count).collect(),
            Target::Majority => {
                let how_many = self.rng.random_range(count / 2 + 1..count);
                some(how_many, count, self.rng)
            }
            Target::All => (0..count).collect(),
            Target::Leader => Positions::from([self.leader()]),
            Target::NotLeader => {
                let leader = self.leader();
                (0..count).filter(|position| *position != leader).collect()
            }
            Target::Primaries if self.leaders.is_empty() => some(1, count, self.rng),
            Target::Primaries => self.leaders.iter().copied().collect(),
            Target::Followers if self.leaders.is_empty() => some(count - 1, count, self.rng),
            Target::Followers => (0..count).filter(|position| !self.leaders.contains(position)).collect(),
            Target::Named(named) => {
                (0..count).filter(|position| named.contains(&self.nodes[*position])).collect()
            }
            Target::Numbers(numbers) => {
                (0..count).filter(|position| numbers.contains(&(position + 1))).collect()
            }
            Target::Of(quantity, of) => {
                let of = self.of(of);
                self.some_of(*quantity, of)
            }
            Target::Combined(first, operator, second) => {
                let (first, second) = (self.of(first), self.of(second));
                match operator {
                    Operator::Union => &first | &second,
                    Operator::Intersection => &first & &second,
                    Operator::Without => &first - &second,
                }
            }
        }
    }

    /// Always the same one.
    fn leader(&mut self) -> usize {
        if let Some(leader) = self.leader {
            return leader;
        }
        let leader = match self.leaders.choose(self.rng) {
            Some(leader) => *leader,
            None => some(1, self.nodes.len(), self.rng).first().copied().unwrap_or(0),
        };
        self.leader = Some(leader);
        leader
    }

    fn some_of(&mut self, quantity: Quantity, of: Positions) -> Positions {
        let count = self.nodes.len();
        let how_many = match quantity {
            _ if of.is_empty() => return of,
            Quantity::One => 1,
            Quantity::Minority => self.rng.random_range(1..=largest_minority(count).min(of.len())),
            Quantity::Majority => {
                let smallest = (count / 2 + 1).min(of.len());
                // Not all of the cluster, unless it has no smaller majority.
                self.rng.random_range(smallest..=of.len().min(count - 1).max(smallest))
            }
            Quantity::All => of.len(),
        };
        let mut order: Vec<usize> = of.into_iter().collect();
        order.shuffle(self.rng);
        order.into_iter().take(how_many).collect()
    }
}

/// `how_many` random positions out of `count`.
fn some(how_many: usize, count: usize, rng: &mut Rng) -> Positions {
    shuffled(count, rng).into_iter().take(how_many).collect()
}

fn shuffled(count: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(rng);
    order
}

fn names(positions: &Positions, nodes: &[String]) -> Vec<String> {
    positions.iter().map(|position| nodes[*position].clone()).collect()
}

#[cfg(test)]
mod tests;
