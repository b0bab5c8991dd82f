//! Network faults over fake hosts, as far as they are rules; what they do to packets is for `tests/real`.

use super::*;
use crate::evidence::Mechanism;
use crate::fake::fake_host_version_6;

#[test]
fn the_links_of_a_node_in_trouble_are_hit_in_both_directions_and_those_between_others_are_not() {
    let mut bench = bench(3);
    let report = bench.engine.apply(0, lossy(&[1])).unwrap();
    let by_rule = |from: &str| Effect::LinkTroubled { from: from.to_owned(), by: Mechanism::Statistic };
    assert_eq!(effects(&report, "n1"), [by_rule("n2"), by_rule("n3")]);
    assert_eq!(effects(&report, "n2"), [by_rule("n1")]);
    assert!(!report.evidence.bit, "no packet has been dropped yet");
    let hears = |bench: &Bench, to: usize, from: usize| {
        let from = bench.host(from).address();
        bench.host(to).receives_from(from)
    };
    assert!(!hears(&bench, 1, 2) && !hears(&bench, 2, 1) && !hears(&bench, 3, 1));
    assert!(hears(&bench, 2, 3) && hears(&bench, 3, 2));
    let report = bench.engine.undo(0).unwrap();
    assert_eq!(report.evidence.packets_dropped(), 3);
    assert!(hears(&bench, 1, 2) && hears(&bench, 2, 1));
    bench.assert_clean();
}

#[test]
fn a_partition_and_a_lossy_link_are_undone_each_by_itself() {
    let mut bench = bench(2);
    bench.engine.apply(0, cut(&[(1, 2)])).unwrap();
    bench.engine.apply(1, lossy(&[2])).unwrap();
    bench.engine.undo(0).unwrap();
    assert!(!bench.host(2).receives_from(bench.host(1).address()));
    bench.engine.apply(2, cut(&[(1, 2)])).unwrap();
    bench.engine.undo(1).unwrap();
    assert!(!bench.host(2).receives_from(bench.host(1).address()));
    assert!(bench.host(1).receives_from(bench.host(2).address()));
    bench.engine.undo(2).unwrap();
    bench.assert_clean();
}

#[test]
fn messages_are_not_made_late_by_a_nemesis_that_does_not_know_how() {
    for trouble in [
        LinkTrouble { delay_ms: 1, ..LinkTrouble::default() },
        LinkTrouble { reorder_permille: 1, ..LinkTrouble::default() },
    ] {
        let mut bench = bench(2);
        let late = Resolved::Network { nodes: nodes(&[1]), trouble };
        let failure = bench.engine.apply(0, late).unwrap_err();
        assert!(failure.to_string().contains("n1: apply: packets cannot be made late here"), "{failure}");
        assert!(bench.host(1).filter_lines().is_empty() && bench.outstanding().is_empty());
    }
}

#[test]
fn loss_that_could_not_be_made_on_one_node_is_undone_on_the_others() {
    let mut bench = bench(3);
    bench.host(3).fail_next("iptables-restore", 1);
    let failure = bench.engine.apply(0, lossy(&[1])).unwrap_err();
    assert!(failure.to_string().contains("what was done of it has been undone"), "{failure}");
    bench.assert_clean();
}

#[test]
fn what_the_rules_of_one_part_have_counted_is_kept_though_those_of_another_cannot_be_taken_away_yet() {
    for fault in [cut(&[(1, 2), (3, 2)]), lossy(&[2])] {
        let folder = tempfile::tempdir().unwrap();
        let hosts = vec![fake_host(1), fake_host(2), fake_host_version_6(3)];
        let mut engine = engine_on(&hosts, &folder.path().join("journal.jsonl"));
        engine.apply(0, fault).unwrap();
        let heard = |from: usize| hosts[1].receives_from(hosts[from].address());
        assert!(!heard(0) && !heard(2) && !heard(2));
        hosts[1].fail_next("ip6tables-restore", 1);
        let failure = engine.undo(0).unwrap_err();
        assert_eq!(failure.faults[0].evidence.packets_dropped(), 1, "of version 4");
        assert!(heard(0) && !heard(2));
        assert_eq!(engine.undo(0).unwrap().evidence.packets_dropped(), 1 + 3);
        assert!(heard(2) && hosts.iter().all(|host| host.filter_lines().is_empty()));
    }
}
