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

use crate::fault::{Fault, Link, PartitionShape, Resolved, Target};

/// What is known of the cluster at the moment of a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes, in the order in which people list them.
    pub nodes: Vec<String>,
    /// Those that believe to lead, none or several while the cluster is in disorder. Names that are no nodes are ignored.
    pub leaders: Vec<String>,
}

/// Decides whom a fault hits.
///
/// - No majority short of everybody exists below three nodes: [`Target::Majority`] is then everybody. The smallest
///   "minority" is one node, also where that is half of the cluster or all of it.
/// - [`Target::Leader`] is one of the known leaders, by chance if several believe to lead; if none does, any node.
/// - [`Target::Followers`] is everybody but the known leaders; if there are none, everybody but one random node.
/// - [`Target::Named`] keeps the names that are nodes, [`Target::Numbers`] the numbers that nodes have.
/// - Nobody apart from everybody, or everybody from nobody, cuts nothing.
/// - A bridge and a ring of majorities cut nothing below three nodes: halves take their place.
/// - A ring of three nodes is a bridge: each node sees a majority and no two the same one. From four nodes on each node
///   talks, in both directions, to as few of its neighbours on a random ring as make a majority; where parity forbids
///   exactly a majority on both sides (7, 11, 15 … nodes), to one more.
/// - A single node has no links: nothing is cut.
#[must_use]
pub fn resolve(fault: &Fault, view: &View, rng: &mut Rng) -> Resolved {
    match fault {
        Fault::Partition { shape: PartitionShape::Links(links) } => {
            let known = |link: &&Link| view.nodes.contains(&link.from) && view.nodes.contains(&link.to);
            let links: Vec<Link> = links.iter().filter(known).cloned().collect();
            let words = links.iter().map(|link| format!("{} -x-> {}", link.from, link.to));
            Resolved::Partition { description: words.collect::<Vec<_>>().join(", "), links }
        }
        Fault::Partition { shape } => {
            let cut = cut(shape, view, rng);
            let links = cut.links(&view.nodes);
            Resolved::Partition { description: cut.description(&view.nodes), links }
        }
        Fault::Pause { target } => Resolved::Pause { nodes: hit(target, view, rng) },
        Fault::Kill { target } => Resolved::Kill { nodes: hit(target, view, rng) },
        Fault::PowerCut { target } => Resolved::PowerCut { nodes: hit(target, view, rng) },
        Fault::Network { target, trouble } => {
            Resolved::Network { nodes: hit(target, view, rng), trouble: *trouble }
        }
        Fault::Clock { target, change } => Resolved::Clock { nodes: hit(target, view, rng), change: *change },
        Fault::Disk { target, trouble } => {
            Resolved::Disk { nodes: hit(target, view, rng), trouble: *trouble }
        }
    }
}

/// The names of the nodes that are hit.
fn hit(target: &Target, view: &View, rng: &mut Rng) -> Vec<String> {
    names(&targets(target, view, rng), &view.nodes)
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
        PartitionShape::Bridge | PartitionShape::MajoritiesRing if count == 2 => split(&order, 1),
        PartitionShape::Bridge => bridge(&order),
        PartitionShape::MajoritiesRing if count == 3 => bridge(&order),
        PartitionShape::MajoritiesRing => Cut::Ring(order, ring_distances(count)),
        PartitionShape::OneWay => match split(&order, rng.random_range(1..count)) {
            Cut::Sides(from, to) => Cut::OneWay(from, to),
            other => other,
        },
        PartitionShape::Links(_) => Cut::Nothing, // Needs no view.
    }
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
    let leaders: Vec<usize> =
        (0..count).filter(|position| view.leaders.contains(&view.nodes[*position])).collect();
    match target {
        Target::One => some(1, count, rng),
        Target::Minority => some(rng.random_range(1..=largest_minority(count)), count, rng),
        Target::Majority if count < 3 => (0..count).collect(),
        Target::Majority => some(rng.random_range(count / 2 + 1..count), count, rng),
        Target::All => (0..count).collect(),
        Target::Leader => match leaders.choose(rng) {
            Some(leader) => Positions::from([*leader]),
            None => some(1, count, rng),
        },
        Target::Followers if leaders.is_empty() => some(count - 1, count, rng),
        Target::Followers => (0..count).filter(|position| !leaders.contains(position)).collect(),
        Target::Named(named) => {
            (0..count).filter(|position| named.contains(&view.nodes[*position])).collect()
        }
        Target::Numbers(numbers) => (0..count).filter(|position| numbers.contains(&(position + 1))).collect(),
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
mod tests {
    use labrys_seed::Seed;
    use proptest::prelude::*;

    use super::*;

    const SIZES: [usize; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 11];

    fn view(count: usize, leaders: &[&str]) -> View {
        View {
            nodes: (1..=count).map(|number| format!("n{number}")).collect(),
            leaders: leaders.iter().map(ToString::to_string).collect(),
        }
    }

    fn links_of(shape: PartitionShape, view: &View, seed: u64) -> BTreeSet<Link> {
        let Resolved::Partition { links, .. } =
            resolve(&Fault::Partition { shape }, view, &mut Seed(seed).rng())
        else {
            panic!("a partition is resolved to links")
        };
        assert!(links.is_sorted(), "{links:?}");
        let set: BTreeSet<Link> = links.iter().cloned().collect();
        assert_eq!(set.len(), links.len(), "a link twice: {links:?}");
        assert!(set.iter().all(|link| link.from != link.to), "{links:?}");
        set
    }

    fn nodes_of(target: Target, view: &View, seed: u64) -> Vec<String> {
        let mut rng = Seed(seed).rng();
        let Resolved::Kill { nodes } = resolve(&Fault::Kill { target: target.clone() }, view, &mut rng)
        else {
            panic!("a kill is resolved to nodes")
        };
        let paused = resolve(&Fault::Pause { target }, view, &mut Seed(seed).rng());
        assert_eq!(paused, Resolved::Pause { nodes: nodes.clone() });
        assert!(nodes.iter().all(|node| view.nodes.contains(node)));
        nodes
    }

    /// Whom `node` hears, itself included.
    fn heard_by(node: &str, view: &View, cut: &BTreeSet<Link>) -> BTreeSet<String> {
        let hears = |from: &&String| !cut.contains(&Link { from: (*from).clone(), to: node.to_owned() });
        view.nodes.iter().filter(hears).cloned().collect()
    }

    fn is_symmetric(cut: &BTreeSet<Link>) -> bool {
        cut.iter().all(|link| cut.contains(&Link { from: link.to.clone(), to: link.from.clone() }))
    }

    /// The sizes of the groups within which everybody hears everybody, ascending; panics if the cut is not such a partition.
    fn group_sizes(view: &View, cut: &BTreeSet<Link>) -> Vec<usize> {
        assert!(is_symmetric(cut));
        let groups: BTreeSet<BTreeSet<String>> = view.nodes.iter().map(|n| heard_by(n, view, cut)).collect();
        let mut sizes: Vec<usize> = groups.iter().map(BTreeSet::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), view.nodes.len(), "groups overlap: {groups:?}");
        sizes.sort_unstable();
        sizes
    }

    proptest! {
        #[test]
        fn halves_are_disjoint_cover_everybody_and_differ_by_at_most_one(
            seed in any::<u64>(), count in proptest::sample::select(&SIZES[..])
        ) {
            let view = view(count, &[]);
            let sizes = group_sizes(&view, &links_of(PartitionShape::Halves, &view, seed));
            let expected = if count == 1 { vec![1] } else { vec![count / 2, count.div_ceil(2)] };
            // Equal halves are two groups of the same size.
            prop_assert_eq!(sizes, expected);
        }

        #[test]
        fn one_isolates_exactly_one_node(seed in any::<u64>(), count in proptest::sample::select(&SIZES[1..])) {
            let view = view(count, &[]);
            prop_assert_eq!(group_sizes(&view, &links_of(PartitionShape::One, &view, seed)), vec![1, count - 1]);
        }

        #[test]
        fn the_minority_is_less_than_half_and_more_than_one_where_possible(
            seed in any::<u64>(), count in proptest::sample::select(&SIZES[2..])
        ) {
            let view = view(count, &[]);
            let sizes = group_sizes(&view, &links_of(PartitionShape::MajorityMinority, &view, seed));
            prop_assert_eq!(sizes.len(), 2);
            prop_assert!(sizes[0] * 2 < count, "{:?}", sizes);
            prop_assert!(sizes[0] >= if count >= 5 { 2 } else { 1 }, "{:?}", sizes);
        }

        #[test]
        fn the_leader_is_alone(seed in any::<u64>(), count in proptest::sample::select(&SIZES[1..])) {
            let view = view(count, &["n2", "stranger"]);
            let cut = links_of(PartitionShape::Leader, &view, seed);
            prop_assert_eq!(heard_by("n2", &view, &cut), BTreeSet::from(["n2".to_owned()]));
            prop_assert_eq!(group_sizes(&view, &cut), vec![1, count - 1]);
        }

        #[test]
        fn a_bridge_hears_everybody_and_the_two_sides_only_themselves_and_it(
            seed in any::<u64>(), count in proptest::sample::select(&SIZES[2..])
        ) {
            let view = view(count, &[]);
            let cut = links_of(PartitionShape::Bridge, &view, seed);
            prop_assert!(is_symmetric(&cut));
            let heard: Vec<BTreeSet<String>> = view.nodes.iter().map(|n| heard_by(n, &view, &cut)).collect();
            prop_assert_eq!(heard.iter().filter(|h| h.len() == count).count(), 1);
            let sides: BTreeSet<&BTreeSet<String>> = heard.iter().filter(|h| h.len() < count).collect();
            prop_assert_eq!(sides.len(), 2);
            // Both sides contain the bridge, hence the one more.
            prop_assert_eq!(sides.iter().map(|side| side.len()).sum::<usize>(), count + 1);
            let (smaller, larger) = (sides.iter().map(|s| s.len()).min(), sides.iter().map(|s| s.len()).max());
            prop_assert!(larger.unwrap() - smaller.unwrap() <= 1);
        }

        #[test]
        fn in_a_ring_of_majorities_everybody_sees_a_majority_and_no_two_the_same_one(
            seed in any::<u64>(), count in 3..24_usize
        ) {
            let view = view(count, &[]);
            let cut = links_of(PartitionShape::MajoritiesRing, &view, seed);
            prop_assert!(is_symmetric(&cut), "connections need both directions");
            let majority = count / 2 + 1;
            let heard: Vec<BTreeSet<String>> = view.nodes.iter().map(|n| heard_by(n, &view, &cut)).collect();
            prop_assert!(heard.iter().all(|h| h.len() >= majority));
            prop_assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), count, "{:?}", heard);
            // As small as parity allows: an odd number of nodes with an odd number of neighbours each does not exist.
            let impossible = count % 2 == 1 && (majority - 1) % 2 == 1;
            let largest = heard.iter().map(BTreeSet::len).max().unwrap();
            prop_assert_eq!(largest, if impossible { majority + 1 } else { majority });
        }

        #[test]
        fn two_nodes_are_cut_from_each_other_by_every_symmetric_shape(seed in any::<u64>()) {
            let view = view(2, &[]);
            for shape in [PartitionShape::Bridge, PartitionShape::MajoritiesRing, PartitionShape::MajorityMinority] {
                prop_assert_eq!(links_of(shape, &view, seed).len(), 2);
            }
        }

        #[test]
        fn one_way_cuts_only_one_direction_from_one_side_to_all_others(
            seed in any::<u64>(), count in proptest::sample::select(&SIZES[1..])
        ) {
            let view = view(count, &[]);
            let cut = links_of(PartitionShape::OneWay, &view, seed);
            let from: BTreeSet<&String> = cut.iter().map(|link| &link.from).collect();
            let to: BTreeSet<&String> = cut.iter().map(|link| &link.to).collect();
            prop_assert!(from.is_disjoint(&to));
            prop_assert_eq!(from.len() + to.len(), count);
            prop_assert_eq!(cut.len(), from.len() * to.len());
        }

        #[test]
        fn targets_have_the_sizes_that_their_names_promise(seed in any::<u64>(), count in 1..12_usize) {
            let view = view(count, &["n1"]);
            prop_assert_eq!(nodes_of(Target::One, &view, seed).len(), 1);
            prop_assert_eq!(&nodes_of(Target::All, &view, seed), &view.nodes);
            prop_assert_eq!(nodes_of(Target::Leader, &view, seed), vec!["n1".to_owned()]);
            prop_assert_eq!(nodes_of(Target::Followers, &view, seed), view.nodes[1..].to_vec());
            let minority = nodes_of(Target::Minority, &view, seed).len();
            prop_assert!(minority >= 1 && (minority * 2 < count || (count <= 2 && minority == 1)));
            let majority = nodes_of(Target::Majority, &view, seed).len();
            prop_assert!(majority * 2 > count && (majority < count || count <= 2));
        }

        #[test]
        fn without_a_known_leader_some_node_stands_for_it(seed in any::<u64>(), count in 1..8_usize) {
            let view = view(count, &["not-a-node"]);
            prop_assert_eq!(nodes_of(Target::Leader, &view, seed).len(), 1);
            prop_assert_eq!(nodes_of(Target::Followers, &view, seed).len(), count - 1);
            let cut = links_of(PartitionShape::Leader, &view, seed);
            prop_assert_eq!(cut.len(), 2 * (count - 1));
        }
    }

    #[test]
    fn a_single_node_has_no_links_and_no_nodes_have_no_targets() {
        for count in [0, 1] {
            let view = view(count, &[]);
            for shape in [
                PartitionShape::Halves,
                PartitionShape::One,
                PartitionShape::MajorityMinority,
                PartitionShape::Leader,
                PartitionShape::Bridge,
                PartitionShape::MajoritiesRing,
                PartitionShape::OneWay,
            ] {
                assert!(links_of(shape, &view, 1).is_empty());
            }
        }
        let nobody = View::default();
        for target in
            [Target::One, Target::Minority, Target::Majority, Target::All, Target::Leader, Target::Followers]
        {
            assert!(nodes_of(target, &nobody, 1).is_empty());
        }
    }

    #[test]
    fn every_node_is_hit_and_every_leader_chosen_sooner_or_later() {
        let view = view(5, &["n2", "n4"]);
        let hit = |target: &Target| -> BTreeSet<String> {
            (0..100).flat_map(|seed| nodes_of(target.clone(), &view, seed)).collect()
        };
        assert_eq!(hit(&Target::One).len(), 5);
        assert_eq!(hit(&Target::Leader), BTreeSet::from(["n2".to_owned(), "n4".to_owned()]));
        assert_eq!(nodes_of(Target::Followers, &view, 1), ["n1", "n3", "n5"]);
    }

    #[test]
    fn names_keep_the_order_of_the_view_and_strangers_are_left_out() {
        let view = view(11, &[]);
        let named = Target::Named(vec!["n10".to_owned(), "n2".to_owned(), "n99".to_owned()]);
        assert_eq!(nodes_of(named, &view, 1), ["n2", "n10"]);
    }

    #[test]
    fn descriptions_say_who_is_cut_from_whom() {
        let view = view(3, &["n2"]);
        let describe = |shape| resolve(&Fault::Partition { shape }, &view, &mut Seed(5).rng()).to_string();
        assert_eq!(describe(PartitionShape::Leader), "partition n2 | n1 n3");
        assert!(describe(PartitionShape::OneWay).contains(" -x-> "));
        assert!(describe(PartitionShape::Bridge).contains(" bridged by "));
    }
}
