//! Orders over fake hosts.

use super::*;
use crate::commands::{CommandLine, Commands, Failpoint, FailpointCommands, Look, Order, OrderName};

/// On the fake host `count up`, `count down` and `count show` work on a number.
fn count(what: &str) -> CommandLine {
    CommandLine(vec!["count".to_owned(), what.to_owned()])
}

fn order(look: bool, undo: bool) -> Order {
    let look = look.then(|| Look { command: count("show"), pointer: Some("/count".to_owned()) });
    Order { run: count("up"), undo: undo.then(|| count("down")), look }
}

fn bench_with(order: Order) -> Bench {
    let orders = BTreeMap::from([("snapshot".to_owned(), order)]);
    bench_of(Commands { orders, ..Commands::default() })
}

fn bench_of(commands: Commands) -> Bench {
    let mut bench = bench(2);
    let with_commands = DaemonSpec { commands: Some(commands), ..daemon_spec() };
    let daemons = ["n1", "n2"].map(|node| (node.to_owned(), with_commands.clone()));
    bench.engine.set_daemons(BTreeMap::from(daemons)).unwrap();
    bench
}

fn snapshot_of(numbers: &[u8]) -> Resolved {
    Resolved::Application { nodes: nodes(numbers), order: OrderName::Snapshot }
}

#[test]
fn an_order_bites_if_what_it_changes_is_seen_to_have_changed() {
    let mut bench = bench_with(order(true, false));
    let report = bench.engine.apply(0, snapshot_of(&[1])).unwrap();
    let shows = |before: &str, after: &str| Effect::OrderShows {
        order: "snapshot".to_owned(),
        before: before.to_owned(),
        after: after.to_owned(),
    };
    assert_eq!(effects(&report, "n1")[1], shows("0", "1"));
    assert!(report.evidence.bit);
    assert_eq!(report.evidence.to_string(), "order carried out by n1");
    assert_eq!(effects(&report, "n2"), Vec::<Effect>::new(), "the other one was not asked");
    bench.engine.undo(0).unwrap();
    assert_eq!(bench.host(1).count(), 1, "what is done is done");

    bench.host(1).forget_orders();
    let report = bench.engine.apply(1, snapshot_of(&[1])).unwrap();
    assert_eq!(effects(&report, "n1")[1], shows("1", "1"));
    assert!(!report.evidence.bit, "the command succeeded, and nothing changed");
    bench.engine.undo(1).unwrap();
    bench.assert_clean();
}

#[test]
fn without_a_look_a_command_that_succeeds_is_all_that_is_known() {
    let mut bench = bench_with(order(false, false));
    let report = bench.engine.apply(0, snapshot_of(&[1, 2])).unwrap();
    assert!(report.evidence.bit);
    bench.host(1).fail_next("count up", 1);
    let report = bench.engine.apply(1, snapshot_of(&[1])).unwrap();
    assert!(!report.evidence.bit);
    assert!(matches!(effects(&report, "n1")[..], [Effect::OrderRefused { .. }]), "{report:?}");
    assert!(bench.engine.undo_all().is_ok());
    bench.assert_clean();
}

#[test]
fn an_order_that_can_be_taken_back_is_also_from_the_journal_alone() {
    let mut bench = bench_with(order(true, true));
    bench.engine.apply(0, snapshot_of(&[1, 2])).unwrap();
    assert_eq!([bench.host(1).count(), bench.host(2).count()], [1, 1]);
    bench.engine.undo(0).unwrap();
    assert_eq!([bench.host(1).count(), bench.host(2).count()], [0, 0]);

    bench.engine.apply(1, snapshot_of(&[2])).unwrap();
    bench.host(2).fail_next("count down", 1);
    assert!(bench.engine.undo(1).is_err());
    assert_eq!(bench.outstanding(), [1]);
    let Bench { hosts, engine, journal, _folder } = bench;
    drop(engine);
    heal(as_hosts(&hosts), &journal, IMPATIENT).unwrap();
    assert_eq!(hosts[1].count(), 0);
    assert!(read_journal(&journal).unwrap().outstanding.is_empty());
}

#[test]
fn an_order_that_nobody_understands_is_refused_before_anything_is_touched() {
    let mut bench = bench_with(order(true, true));
    let unknown = Resolved::Application { nodes: nodes(&[2]), order: OrderName::Compact };
    let failure = bench.engine.apply(0, unknown).unwrap_err().to_string();
    assert!(failure.contains("n2: apply: it is not known how it is given the order `compact`"), "{failure}");
    assert_eq!(bench.outstanding(), Vec::<u64>::new());
}

/// On the fake host `failpoint set`, `failpoint clear` and `failpoint list` are about places that somebody passes in a test.
fn bench_with_failpoints() -> Bench {
    let line = |words: &[&str]| CommandLine(words.iter().map(|word| (*word).to_owned()).collect());
    let failpoints = FailpointCommands {
        set: line(&["failpoint", "set", "{failpoint}", "{action}"]),
        clear: line(&["failpoint", "clear", "{failpoint}"]),
        list: Look { command: line(&["failpoint", "list"]), pointer: Some(String::new()) },
        places: vec!["sync".to_owned()],
        actions: vec!["exit".to_owned()],
    };
    bench_of(Commands { failpoints: Some(Box::new(failpoints)), ..Commands::default() })
}

fn at_sync(action: &str) -> Failpoint {
    Failpoint { at: "sync".to_owned(), action: action.to_owned() }
}

fn failpoint_of(numbers: &[u8], action: &str) -> Resolved {
    Resolved::Application { nodes: nodes(numbers), order: OrderName::Failpoint(at_sync(action)) }
}

#[test]
fn a_failpoint_bites_if_somebody_passes_it_and_is_cleared_when_the_fault_ends() {
    let mut bench = bench_with_failpoints();
    let report = bench.engine.apply(0, failpoint_of(&[1], "pause 5")).unwrap();
    assert_eq!(bench.host(1).failpoint("sync").as_deref(), Some("pause 5"));
    assert_eq!(bench.host(2).failpoint("sync"), None, "the other one was not told");
    assert!(!report.evidence.bit, "nobody has passed yet");
    bench.host(1).pass("sync");
    bench.host(1).pass("sync");
    let report = bench.engine.undo(0).unwrap();
    assert_eq!(
        effects(&report, "n1")[1],
        Effect::FailpointCleared { failpoint: at_sync("pause 5"), struck: 2 }
    );
    assert_eq!(
        (report.evidence.bit, report.evidence.to_string()),
        (true, "n1: pause 5 sync, 2 times".to_owned())
    );
    assert_eq!(bench.host(1).failpoint("sync"), None);

    bench.engine.apply(1, failpoint_of(&[1], "error")).unwrap();
    let report = bench.engine.undo(1).unwrap();
    assert!(!report.evidence.bit, "nobody has passed: {report:?}");
    bench.assert_clean();
}

#[test]
fn a_daemon_that_ended_of_a_failpoint_is_started_again_and_alive() {
    let mut bench = bench_with_failpoints();
    bench.engine.apply(0, failpoint_of(&[1, 2], "exit")).unwrap();
    bench.host(2).pass("sync");
    let report = bench.engine.undo(0).unwrap();
    assert!(
        matches!(effects(&report, "n2")[1..], [Effect::FailpointEnded { .. }, Effect::Restarted { .. }]),
        "{report:?}"
    );
    assert!(
        matches!(effects(&report, "n1")[1..], [Effect::FailpointCleared { struck: 0, .. }]),
        "{report:?}"
    );
    assert!(report.evidence.bit);
    bench.assert_clean();

    // One that another fault has killed did not end of this one.
    bench.engine.apply(1, failpoint_of(&[2], "exit")).unwrap();
    bench.engine.apply(2, Resolved::Kill { nodes: nodes(&[2]) }).unwrap();
    let report = bench.engine.undo(1).unwrap();
    assert_eq!(effects(&report, "n2")[1..], [Effect::StillKilled]);
    assert!(!report.evidence.bit);
    bench.engine.undo(2).unwrap();
    bench.assert_clean();
}

#[test]
fn when_nodes_are_over_a_failpoint_has_ended_with_them_and_nothing_is_started() {
    let mut bench = bench_with_failpoints();
    bench.engine.apply(0, failpoint_of(&[1], "pause 5")).unwrap();
    bench.host(1).crash();
    bench.engine.end_nodes();
    let undone = bench.engine.undo_all().unwrap();
    assert!(undone.iter().all(|report| !report.evidence.bit), "it did not end of the failpoint: {undone:?}");
    assert_eq!(bench.states()[0], ProcessState::Gone);
    assert!(bench.outstanding().is_empty());
}

#[test]
fn of_two_faults_at_one_place_the_last_to_end_clears_it() {
    let mut bench = bench_with_failpoints();
    bench.engine.apply(0, failpoint_of(&[1], "pause 5")).unwrap();
    bench.engine.apply(1, failpoint_of(&[1], "error")).unwrap();
    bench.engine.undo(0).unwrap();
    assert_eq!(bench.host(1).failpoint("sync").as_deref(), Some("error"));
    bench.host(1).pass("sync");
    assert!(bench.engine.undo(1).unwrap().evidence.bit);
    assert_eq!(bench.host(1).failpoint("sync"), None);
    bench.assert_clean();
}

#[test]
fn a_failpoint_is_cleared_from_the_journal_alone_and_a_daemon_that_cannot_be_told_keeps_the_fault_outstanding()
 {
    let mut bench = bench_with_failpoints();
    bench.engine.apply(0, failpoint_of(&[1, 2], "pause 5")).unwrap();
    bench.host(1).fail_next("failpoint clear", 1);
    assert!(bench.engine.undo(0).is_err());
    assert_eq!(bench.outstanding(), [0]);
    bench.host(2).pass("sync");
    let Bench { hosts, engine, journal, _folder } = bench;
    drop(engine);
    heal(as_hosts(&hosts), &journal, IMPATIENT).unwrap();
    assert_eq!([hosts[0].failpoint("sync"), hosts[1].failpoint("sync")], [None, None]);
    assert!(read_journal(&journal).unwrap().outstanding.is_empty());
}

#[test]
fn a_failpoint_of_a_daemon_that_a_pause_holds_is_cleared_when_the_pause_is_over() {
    let mut bench = bench_with_failpoints();
    bench.engine.apply(0, failpoint_of(&[1], "error")).unwrap();
    bench.engine.apply(1, Resolved::Pause { nodes: nodes(&[1]) }).unwrap();
    let failure = bench.engine.undo(0).unwrap_err().to_string();
    assert!(failure.contains("a pause holds its process"), "{failure}");
    assert_eq!(bench.outstanding(), [0, 1]);
    bench.engine.undo(1).unwrap();
    bench.engine.undo(0).unwrap();
    assert_eq!(bench.host(1).failpoint("sync"), None);
    bench.assert_clean();
}

#[test]
fn a_failpoint_is_refused_where_nobody_knows_how_it_is_set_and_does_not_bite_where_nobody_lives() {
    let mut bench = bench_with(order(true, true));
    let failure = bench.engine.apply(0, failpoint_of(&[2], "exit")).unwrap_err().to_string();
    assert!(failure.contains("n2: apply: it is not known how it is told to fail somewhere"), "{failure}");
    let undrawn = Resolved::Application { nodes: nodes(&[2]), order: OrderName::AnyFailpoint };
    let mut bench = bench_with_failpoints();
    assert!(bench.engine.apply(0, undrawn).is_err());
    bench.engine.apply(1, Resolved::Kill { nodes: nodes(&[1]) }).unwrap();
    let report = bench.engine.apply(2, failpoint_of(&[1], "exit")).unwrap();
    assert!(matches!(effects(&report, "n1")[..], [Effect::OrderRefused { .. }]), "{report:?}");
    bench.engine.undo_all().unwrap();
    assert!(!report.evidence.bit);
    bench.assert_clean();
}
