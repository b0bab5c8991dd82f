//! Whatever overlaps, in any order: random faults, crashes, failures and successors.

use proptest::prelude::*;

use super::*;

/// What a random test does.
#[derive(Clone, Debug)]
enum Action {
    Apply(Resolved),
    /// The active fault at this position, modulo how many there are.
    Undo(usize),
    Crash(usize),
    /// The nemesis dies and another one takes over.
    Succeed,
    FailOnce(usize, &'static str),
}

fn any_change() -> impl Strategy<Value = ClockChange> {
    prop_oneof![
        (-120_i32..=50).prop_map(ClockChange::DriftPercent),
        (0..9_000_u64).prop_map(ClockChange::JumpMs),
        Just(ClockChange::Freeze)
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    let some_nodes = || proptest::sample::subsequence(vec![1_u8, 2, 3], 1..=3);
    let link = (1..=3_u8, 1..=3_u8).prop_filter("no link to itself", |(from, to)| from != to);
    let links = proptest::collection::btree_set(link, 1..5);
    let what = proptest::sample::select(vec!["iptables-restore", "iptables-save", "signal", "start", "mv"]);
    prop_oneof![
        3 => links.prop_map(|links| Action::Apply(cut(&links.into_iter().collect::<Vec<_>>()))),
        3 => some_nodes().prop_map(|nodes| Action::Apply(pause(&nodes))),
        3 => some_nodes().prop_map(|nodes| Action::Apply(kill(&nodes))),
        2 => some_nodes().prop_map(|nodes| Action::Apply(lossy(&nodes))),
        3 => (some_nodes(), any_change()).prop_map(|(nodes, change)| Action::Apply(wrong_clocks(&nodes, change))),
        6 => any::<usize>().prop_map(Action::Undo),
        1 => (1..=3_usize).prop_map(Action::Crash),
        1 => Just(Action::Succeed),
        2 => (1..=3_usize, what).prop_map(|(node, what)| Action::FailOnce(node, what)),
    ]
}

/// What must hold between any two actions: links are cut, processes stopped, nodes down and clocks
/// wrong exactly as the active faults say.
fn assert_hosts_match_the_active_faults(bench: &Bench) {
    let active = bench.engine.status().active;
    for (receiver, host) in bench.hosts.iter().enumerate().map(|(at, host)| (format!("n{}", at + 1), host)) {
        for sender in &bench.hosts {
            let link = Link { from: sender.name().to_owned(), to: receiver.clone() };
            let is_cut = active.iter().any(|fault| match &fault.resolved {
                Resolved::Partition { links, .. } => links.contains(&link),
                Resolved::Network { nodes, .. } => {
                    link.from != link.to && (nodes.contains(&link.from) || nodes.contains(&link.to))
                }
                _ => false,
            });
            assert_eq!(host.receives_from(sender.address()), !is_cut, "{link:?} with {active:?}");
        }
        let has_a_wrong_clock = active.iter().any(|fault| match &fault.resolved {
            Resolved::Clock { nodes, change } if nodes.contains(&receiver) => {
                !matches!(change, ClockChange::JumpMs(_) | ClockChange::DriftPercent(0))
            }
            _ => false,
        });
        assert_eq!(host.ordered_rate_permille() != 1000, has_a_wrong_clock, "{receiver} with {active:?}");
        let (state, daemon) = (host.daemon_state(), host.daemon().unwrap().unwrap());
        let stopped = Effect::ProcessStopped { process: daemon };
        let holds_process = |fault: &ActiveFault| effects(&fault.report, &receiver).contains(&stopped);
        if state != ProcessState::Gone {
            let is_held = active.iter().any(holds_process);
            assert_eq!(state == ProcessState::Stopped, is_held, "{receiver} is {state:?} with {active:?}");
        }
        let holds_node = |fault: &ActiveFault| matches!(&fault.resolved, Resolved::Kill { nodes } if nodes.contains(&receiver));
        if active.iter().any(holds_node) {
            assert_eq!(state, ProcessState::Gone, "{receiver} is up with {active:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_overlaps_crashes_or_fails_once_in_the_end_nothing_is_left(
        actions in proptest::collection::vec(any_action(), 0..24)
    ) {
        let mut bench = bench(3);
        let mut next_id = 0;
        let mut suspects = BTreeSet::new();
        for action in actions {
            match action {
                Action::Apply(resolved) => {
                    let _ = bench.engine.apply(next_id, resolved);
                    next_id += 1;
                }
                Action::Undo(at) => {
                    let active = bench.engine.status().active;
                    if let Some(fault) = active.get(at % active.len().max(1)) {
                        let _ = bench.engine.undo(fault.report.fault_id);
                    }
                }
                Action::Crash(node) => bench.host(node).crash(),
                Action::FailOnce(node, what) => bench.host(node).fail_next(what, 1),
                Action::Succeed => {
                    let Bench { hosts, engine, journal, _folder } = bench;
                    drop(engine);
                    let engine = engine_on(&hosts, &journal);
                    bench = Bench { hosts, engine, journal, _folder };
                }
            }
            prop_assert_eq!(
                bench.outstanding(),
                bench.engine.status().active.iter().map(|f| f.report.fault_id).collect::<Vec<_>>()
            );
            // A failure may have left a fault half undone; a successor does not know of the failure.
            let active = bench.engine.status().active;
            let half_done = active.iter().filter(|fault| !fault.report.failures.is_empty());
            suspects.extend(half_done.map(|fault| fault.report.fault_id));
            let is_whole = active.iter().all(|fault| !suspects.contains(&fault.report.fault_id));
            if is_whole {
                assert_hosts_match_the_active_faults(&bench);
            }
        }
        for host in &bench.hosts {
            host.repair();
        }
        bench.engine.undo_all().unwrap();
        for host in &bench.hosts {
            prop_assert_eq!(host.filter_lines(), Vec::<String>::new());
            prop_assert_ne!(host.daemon_state(), ProcessState::Stopped);
            prop_assert_eq!(host.ordered_rate_permille(), 1000);
        }
        prop_assert!(bench.outstanding().is_empty());
    }
}
