//! Orders over fake hosts.

use super::*;
use crate::commands::{CommandLine, Commands, Look, Order, OrderName};

/// On the fake host `count up`, `count down` and `count show` work on a number.
fn count(what: &str) -> CommandLine {
    CommandLine(vec!["count".to_owned(), what.to_owned()])
}

fn order(look: bool, undo: bool) -> Order {
    let look = look.then(|| Look { command: count("show"), pointer: Some("/count".to_owned()) });
    Order { run: count("up"), undo: undo.then(|| count("down")), look }
}

fn bench_with(order: Order) -> Bench {
    let mut bench = bench(2);
    let commands = Commands { orders: BTreeMap::from([("snapshot".to_owned(), order)]), membership: None };
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
