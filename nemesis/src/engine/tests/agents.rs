//! Engines that act on one node each, as on the machines of a fleet.

use super::*;

fn only_on(bench: Bench, node: &str) -> Bench {
    Bench { engine: bench.engine.acting_only_on(node.to_owned()), ..bench }
}

#[test]
fn an_engine_of_one_node_leaves_the_others_to_theirs_and_knows_their_addresses() {
    let mut bench = only_on(bench(3), "n2");
    let links = [("n1", "n2"), ("n2", "n1"), ("n3", "n2")];
    let links = links.map(|(from, to)| Link { from: from.to_owned(), to: to.to_owned() }).to_vec();
    bench
        .engine
        .apply(1, Resolved::Partition { description: "halves".to_owned(), links, content_only: false })
        .unwrap();
    let (first, second) = (bench.host(1).address(), bench.host(2).address());
    assert!(!bench.host(2).receives_from(first) && !bench.host(2).receives_from(bench.host(3).address()));
    assert!(bench.host(1).receives_from(second), "that is for the engine of n1");
    bench.engine.apply(2, pause(&[1, 2])).unwrap();
    assert_eq!(bench.states(), [ProcessState::Running, ProcessState::Stopped, ProcessState::Running]);
    bench.engine.undo_all().unwrap();
    bench.assert_clean();
}

#[test]
fn what_is_settled_counts_as_undone_without_a_touch_and_for_good() {
    let mut bench = bench(2);
    bench.engine.apply(1, kill(&[1])).unwrap();
    bench.engine.apply(2, pause(&[2])).unwrap();
    bench.engine.settle(&[Family::Kill]);
    assert_eq!(bench.states(), [ProcessState::Gone, ProcessState::Stopped]);
    assert_eq!(bench.outstanding(), [2]);
    bench.engine.undo_all().unwrap();
    assert_eq!(bench.states(), [ProcessState::Gone, ProcessState::Running]);
    assert_eq!(bench.engine.undo(1).unwrap().fault_id, 1);
}

#[test]
fn when_nodes_are_over_faults_are_undone_and_nothing_is_started() {
    let mut bench = bench(2);
    bench.engine.apply(1, kill(&[1])).unwrap();
    bench.engine.apply(2, cut(&[(1, 2)])).unwrap();
    bench.host(1).fail_next("start", 100);
    bench.engine.end_nodes();
    bench.engine.undo_all().unwrap();
    assert_eq!(bench.states(), [ProcessState::Gone, ProcessState::Running]);
    assert!(bench.outstanding().is_empty() && bench.host(2).filter_lines().is_empty());
}
