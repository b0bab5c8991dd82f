use labrys_seed::Seed;
use proptest::prelude::*;

use super::*;
use crate::fault::{DiskTrouble, RestartData};

const SIZES: [usize; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 11];

fn view(count: usize, leaders: &[&str]) -> View {
    View {
        nodes: (1..=count).map(|number| format!("n{number}")).collect(),
        leaders: leaders.iter().map(ToString::to_string).collect(),
        ..View::default()
    }
}

fn links_of(shape: PartitionShape, view: &View, seed: u64) -> BTreeSet<Link> {
    let Resolved::Partition { links, .. } = resolve(&Fault::Partition { shape }, view, &mut Seed(seed).rng())
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
    let Resolved::Kill { nodes } = resolve(&Fault::Kill { target: target.clone() }, view, &mut rng) else {
        panic!("a kill is resolved to nodes")
    };
    let paused = resolve(&Fault::Pause { target }, view, &mut Seed(seed).rng());
    assert_eq!(paused, Resolved::Pause { nodes: nodes.clone() });
    assert!(nodes.iter().all(|node| view.nodes.contains(node)));
    nodes
}

#[test]
fn any_failpoint_is_one_of_the_systems_and_stays_itself_where_there_is_none() {
    let fault = Fault::Application { target: Target::All, order: OrderName::AnyFailpoint };
    let order = |view: &View, seed| match resolve(&fault, view, &mut Seed(seed).rng()) {
        Resolved::Application { order, .. } => order,
        other => panic!("{other}"),
    };
    let failpoint = |at: &str| Failpoint { at: at.to_owned(), action: "exit".to_owned() };
    let known = View { failpoints: vec![failpoint("a"), failpoint("b")], ..view(3, &[]) };
    let drawn: BTreeSet<String> = (0..20).map(|seed| order(&known, seed).to_string()).collect();
    assert_eq!(drawn, ["exit a", "exit b"].map(str::to_owned).into());
    assert_eq!(order(&view(3, &[]), 1), OrderName::AnyFailpoint);
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
    fn a_third_is_less_than_a_third_where_there_is_one(
        seed in any::<u64>(), count in proptest::sample::select(&SIZES[1..])
    ) {
        let view = view(count, &[]);
        let sizes = group_sizes(&view, &links_of(PartitionShape::MinorityThird, &view, seed));
        prop_assert_eq!(sizes.len(), 2);
        prop_assert!(sizes[0] * 3 < count || (sizes[0] == 1 && count <= 3), "{:?}", sizes);
        prop_assert!((sizes[0] + 1) * 3 >= count, "{:?}", sizes);
    }

    #[test]
    fn the_leader_with_a_minority_is_no_majority(
        seed in any::<u64>(), count in proptest::sample::select(&SIZES[1..])
    ) {
        let view = view(count, &["n2"]);
        let cut = links_of(PartitionShape::LeaderMinority, &view, seed);
        let side = heard_by("n2", &view, &cut);
        prop_assert!(side.len() * 2 < count || count == 2, "{side:?}");
        prop_assert_eq!(side.len() >= 2, count >= 5, "{:?}", side);
        prop_assert_eq!(group_sizes(&view, &cut).iter().sum::<usize>(), count);
    }

    #[test]
    fn who_is_aimed_at_is_apart_deaf_or_mute(seed in any::<u64>(), count in proptest::sample::select(&SIZES[2..])) {
        let view = view(count, &["n2"]);
        let pair = || "leader + n1".parse::<Target>().unwrap();
        let cut = links_of(PartitionShape::Apart(pair()), &view, seed);
        prop_assert_eq!(heard_by("n2", &view, &cut), BTreeSet::from(["n1".to_owned(), "n2".to_owned()]));
        prop_assert!(is_symmetric(&cut));
        let deaf = links_of(PartitionShape::Deaf(pair()), &view, seed);
        prop_assert_eq!(heard_by("n2", &view, &deaf).len(), 2);
        prop_assert_eq!(heard_by("n3", &view, &deaf).len(), count);
        let mute = links_of(PartitionShape::Mute(pair()), &view, seed);
        prop_assert_eq!(heard_by("n1", &view, &mute).len(), count);
        prop_assert_eq!(heard_by("n3", &view, &mute).len(), count - 2);
        prop_assert!(deaf.is_disjoint(&mute));
        prop_assert_eq!(deaf.union(&mute).cloned().collect::<BTreeSet<_>>(), cut);
    }

    #[test]
    fn client_links_are_cut_in_the_named_directions_of_the_nodes_aimed_at(
        seed in any::<u64>(), count in 1..9_usize
    ) {
        let view = view(count, &["n1"]);
        let link = |from: &str, to: &str| Link { from: from.to_owned(), to: to.to_owned() };
        let requests = links_of(PartitionShape::ClientRequests(Target::Leader), &view, seed);
        prop_assert_eq!(&requests, &BTreeSet::from([link(CLIENTS, "n1")]));
        let replies = links_of(PartitionShape::ClientReplies(Target::Leader), &view, seed);
        prop_assert_eq!(&replies, &BTreeSet::from([link("n1", CLIENTS)]));
        let both = links_of(PartitionShape::ClientLinks(Target::All), &view, seed);
        prop_assert_eq!(both.len(), 2 * count);
        prop_assert!(both.iter().all(|link| (link.from == CLIENTS) != (link.to == CLIENTS)));
    }

    #[test]
    fn combinations_are_those_of_sets_and_the_leader_is_the_same_throughout(
        seed in any::<u64>(), count in 3..9_usize
    ) {
        let view = view(count, &["n1", "n2"]);
        let nodes = |text: &str| nodes_of(text.parse().unwrap(), &view, seed);
        prop_assert!(nodes("leader & not-leader").is_empty());
        prop_assert_eq!(&nodes("leader + not-leader"), &view.nodes);
        prop_assert_eq!(nodes("not-leader").len(), count - 1);
        prop_assert_eq!(nodes("followers").len(), count - 2);
        prop_assert_eq!(nodes("primaries"), vec!["n1".to_owned(), "n2".to_owned()]);
        let two = nodes("leader + one of followers");
        prop_assert!(two.len() == 2 && two.iter().any(|node| node != "n1" && node != "n2"), "{two:?}");
        prop_assert!(!nodes("all without n3").contains(&"n3".to_owned()));
        let minority = nodes("minority of not-leader");
        prop_assert!(!minority.is_empty() && minority.len() * 2 < count, "{minority:?}");
        let majority = nodes("majority of (all without n1)");
        prop_assert!(majority.len() * 2 > count && majority.len() < count, "{majority:?}");
        prop_assert_eq!(nodes("#3 + #99"), vec!["n3".to_owned()]);
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
fn a_ring_of_majorities_is_heard_by_so_many_for_every_usual_size() {
    for (count, heard) in [(3, 2), (4, 3), (5, 3), (6, 4), (7, 5), (8, 5), (9, 5)] {
        let view = view(count, &[]);
        let cut = links_of(PartitionShape::MajoritiesRing, &view, 1);
        let mut sizes: Vec<usize> = view.nodes.iter().map(|n| heard_by(n, &view, &cut).len()).collect();
        sizes.sort_unstable();
        // Of three nodes one must hear both others, as links work in both directions.
        let expected = if count == 3 { vec![2, 2, 3] } else { vec![heard; count] };
        assert_eq!(sizes, expected, "{count} nodes");
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
            PartitionShape::MinorityThird,
            PartitionShape::LeaderMinority,
            PartitionShape::Apart(Target::One),
            PartitionShape::Mute(Target::All),
            PartitionShape::Muffled(Target::All),
        ] {
            assert!(links_of(shape, &view, 1).is_empty());
        }
    }
    let nobody = View::default();
    for target in ["one", "minority", "majority", "all", "leader", "followers", "not-leader", "one of leader"]
    {
        assert!(nodes_of(target.parse().unwrap(), &nobody, 1).is_empty());
    }
}

#[test]
fn rot_never_gets_at_a_majority_in_one_run_unless_that_was_asked_for() {
    let rot = |target: Target, view: &View, seed: u64| {
        // What a node loses by one of them counts for the other as well.
        let fault = match seed % 2 {
            0 => Fault::Disk { target, trouble: DiskTrouble::FlipBit },
            _ => Fault::Restart { target, data: RestartData::Old },
        };
        let resolved = resolve(&fault, view, &mut Seed(seed).rng());
        resolved.rots().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for target in [Target::One, Target::Minority, Target::Leader, Target::Followers] {
        let mut view = view(5, &["n3"]);
        let mut rotten = BTreeSet::new();
        for seed in 0..50 {
            rotten.extend(rot(target.clone(), &view, seed));
            view.rotten = rotten.iter().cloned().collect();
            assert!(rotten.len() <= 2, "{target:?} {rotten:?}");
            assert!(target == Target::Leader || !rot(target.clone(), &view, seed).is_empty());
        }
        assert_eq!(rotten.len(), if target == Target::Leader { 1 } else { 2 }, "{target:?}");
    }
    assert_eq!(rot(Target::All, &view(3, &[]), 1).len(), 3);
    let slow = Fault::Disk { target: Target::Followers, trouble: DiskTrouble::SlowSyncMs(5) };
    assert_eq!(resolve(&slow, &view(3, &["n1"]), &mut Seed(1).rng()).nodes().len(), 2);
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
    let leader = || Target::Leader;
    assert_eq!(describe(PartitionShape::ClientRequests(leader())), "partition clients -x-> n2");
    assert_eq!(describe(PartitionShape::ClientReplies(leader())), "partition n2 -x-> clients");
    assert_eq!(describe(PartitionShape::ClientLinks(leader())), "partition clients | n2");
}
