use std::collections::BTreeSet;

use labrys_seed::Seed;

use super::*;
use crate::fault::Fault;

fn window(node_count: usize) -> Window {
    Window { node_count, duration_ms: 5_000 }
}

#[test]
fn every_name_is_unique_and_parses_to_its_own_row() {
    let names: BTreeSet<_> = FaultKind::all().map(FaultKind::name).collect();
    assert_eq!(names.len(), TABLE.len() + sequences::TABLE.len());
    for kind in FaultKind::all() {
        assert_eq!(kind.name().parse::<FaultKind>().unwrap(), kind);
        let json = serde_json::to_string(&kind).unwrap();
        assert_eq!(serde_json::from_str::<FaultKind>(&json).unwrap(), kind);
    }
}

#[test]
fn a_name_begins_with_the_family_that_it_generates() {
    let mut rng = Seed(1).rng();
    for kind in FaultKind::all().filter(|kind| kind.name() != "none") {
        let parts = kind.generate(&mut rng, window(5));
        assert!(!parts.is_empty(), "five nodes have every fault, but {kind}");
        for part in parts {
            assert_eq!(kind.family(), Some(part.fault.family()), "{kind}: {part:?}");
        }
    }
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
    let error = parse_fault_kinds("partition,partitoin").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`partitoin`"), "{text}");
    for kind in FaultKind::all() {
        assert!(text.contains(kind.name()), "{text}");
    }
    assert!(parse_fault_kinds("").is_err());
}

#[test]
fn a_list_keeps_its_order_ignores_none_and_spaces_and_repetitions() {
    let kinds = parse_fault_kinds("kill-all, partition,none,kill-all").unwrap();
    assert_eq!(kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(), ["kill-all", "partition"]);
    assert_eq!(parse_fault_kinds("none").unwrap(), []);
}

#[test]
fn partition_chooses_every_shape_and_pause_and_kill_every_target() {
    let mut rng = Seed(2).rng();
    let mut seen = BTreeSet::new();
    for kind in parse_fault_kinds("partition,pause,kill").unwrap() {
        for _ in 0..200 {
            let [part] = &kind.generate(&mut rng, window(5))[..] else { panic!("{kind} is one fault") };
            assert_eq!((part.offset_ms, part.duration_ms), (0, window(5).duration_ms));
            seen.insert(format!("{:?}", part.fault));
        }
    }
    assert_eq!(seen.len(), 7 + 6 + 6, "{seen:?}");
}

#[test]
fn a_single_node_is_never_partitioned_and_no_nodes_have_no_faults() {
    let mut rng = Seed(3).rng();
    for kind in FaultKind::all() {
        let parts = kind.generate(&mut rng, window(1));
        let cuts_nodes =
            |part: &Part| matches!(&part.fault, Fault::Partition { shape } if !shape.is_of_clients());
        assert!(!parts.iter().any(cuts_nodes), "{kind}");
        assert_eq!(kind.generate(&mut rng, window(0)), []);
    }
}
