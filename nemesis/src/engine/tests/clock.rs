//! Clock faults over fake hosts.

use super::*;

#[test]
fn a_slow_clock_is_seen_to_lose_time_and_keeps_what_it_lost_when_it_is_right_again() {
    let mut bench = bench(2);
    let report = bench.engine.apply(0, wrong_clocks(&[1], ClockChange::DriftPercent(-50))).unwrap();
    let [Effect::ClockWrong { from_us: 0, to_us, within_us }] = effects(&report, "n1")[..] else {
        panic!("{report:?}")
    };
    assert_eq!(to_us * 2, -within_us.cast_signed());
    assert!(report.evidence.bit);
    assert_eq!(bench.host(1).clock().1, 500);
    assert_eq!(bench.host(2).clock(), (0, 1000), "the other one's clock is right");
    let report = bench.engine.undo(0).unwrap();
    let (lost_ms, rate) = bench.host(1).clock();
    assert!(lost_ms < 0 && rate == 1000, "{lost_ms} {rate}");
    assert_eq!(effects(&report, "n1").last(), Some(&Effect::ClockRight { offset_us: lost_ms * 1000 }));
    bench.assert_clean();
}

#[test]
fn a_leap_is_made_once_and_the_rate_of_another_fault_stays() {
    let mut bench = bench(1);
    bench.engine.apply(0, wrong_clocks(&[1], ClockChange::Freeze)).unwrap();
    let before = bench.host(1).clock().0;
    let report = bench.engine.apply(1, wrong_clocks(&[1], ClockChange::JumpMs(3_000))).unwrap();
    let [Effect::ClockWrong { from_us, to_us, within_us: 0 }] = effects(&report, "n1")[..] else {
        panic!("{report:?}")
    };
    assert_eq!(to_us - from_us, 3_000_000);
    assert!(bench.host(1).clock().0 > before + 2_000);
    bench.engine.apply(2, wrong_clocks(&[1], ClockChange::DriftPercent(4))).unwrap();
    assert_eq!(bench.host(1).clock().1, 0, "it is frozen still: that is furthest from right");
    let report = bench.engine.undo(0).unwrap();
    assert!(matches!(effects(&report, "n1").last(), Some(Effect::ClockStillWrong { .. })), "{report:?}");
    assert_eq!(bench.host(1).clock().1, 1040);
    bench.engine.undo(1).unwrap();
    bench.engine.undo(2).unwrap();
    bench.assert_clean();
}

#[test]
fn a_fault_that_another_one_takes_further_from_right_has_no_bite_until_it_rules_alone() {
    let mut bench = bench(1);
    assert!(bench.engine.apply(0, wrong_clocks(&[1], ClockChange::DriftPercent(80))).unwrap().evidence.bit);
    let report = bench.engine.apply(1, wrong_clocks(&[1], ClockChange::DriftPercent(5))).unwrap();
    let [Effect::ClockStillWrong { offset_us }] = effects(&report, "n1")[..] else { panic!("{report:?}") };
    assert!(offset_us > 0 && !report.evidence.bit, "what the first one does is none of its doing");
    assert!(!bench.engine.undo(1).unwrap().evidence.bit);
    assert_eq!(bench.host(1).clock().1, 1800);
    // Of two that ask for the same, each does it.
    assert!(bench.engine.apply(2, wrong_clocks(&[1], ClockChange::DriftPercent(80))).unwrap().evidence.bit);
    bench.engine.undo_all().unwrap();
    bench.assert_clean();
}

#[test]
fn a_leap_that_a_process_finds_when_it_begins_is_not_made_and_no_bite() {
    let mut bench = bench(1);
    bench.host(1).begin_to_read_clock_orders();
    let report = bench.engine.apply(0, wrong_clocks(&[1], ClockChange::JumpMs(500))).unwrap();
    assert_eq!(effects(&report, "n1"), [Effect::ClockUnread]);
    assert!(!report.evidence.bit);
    assert_eq!(bench.host(1).clock().0, 0, "it was not made");
    let report = bench.engine.apply(1, wrong_clocks(&[1], ClockChange::JumpMs(300))).unwrap();
    assert!(report.evidence.bit, "{report:?}");
    assert_eq!(bench.host(1).clock().0, 300, "nor is it made up for by the next order");
    bench.engine.undo_all().unwrap();
    bench.assert_clean();
}

#[test]
fn a_clock_that_does_not_do_as_it_was_told_is_a_failure_and_not_evidence() {
    for change in [ClockChange::Freeze, ClockChange::DriftPercent(-1), ClockChange::JumpMs(1)] {
        let mut bench = bench(1);
        bench.host(1).be_deaf_to_clock_orders();
        let failure = bench.engine.apply(0, wrong_clocks(&[1], change)).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("its clock gained") || text.contains("its clock leapt by 0 ns"), "{text}");
        assert_eq!(bench.outstanding(), Vec::<u64>::new(), "the order was taken back");
    }
}

#[test]
fn the_clock_of_a_dead_or_stopped_process_is_ordered_and_not_read_and_that_is_no_bite() {
    let mut bench = bench(2);
    bench.host(1).crash();
    bench.engine.apply(0, pause(&[2])).unwrap();
    let report = bench.engine.apply(1, wrong_clocks(&[1, 2], ClockChange::Freeze)).unwrap();
    assert_eq!(effects(&report, "n1"), [Effect::ClockUnread]);
    assert_eq!(effects(&report, "n2"), [Effect::ClockUnread]);
    assert!(!report.evidence.bit);
    assert_eq!(bench.host(1).ordered_rate_permille(), 0, "as the next process will find it");
    bench.engine.undo(1).unwrap();
    assert_eq!(bench.host(1).ordered_rate_permille(), 1000);
    assert_eq!(bench.host(2).ordered_rate_permille(), 1000);
}

#[test]
fn a_daemon_without_a_clock_to_order_about_is_refused_before_anything_is_touched() {
    let mut bench = bench(2);
    let plain = DaemonSpec { clock: None, ..daemon_spec() };
    bench.engine.set_daemons(BTreeMap::from([("n2".to_owned(), plain)])).unwrap();
    let failure = bench.engine.apply(0, wrong_clocks(&[1, 2], ClockChange::Freeze)).unwrap_err();
    assert!(failure.to_string().contains("n2: apply: its daemon was not started with a clock"), "{failure}");
    assert_eq!(bench.host(1).clock(), (0, 1000));
    assert_eq!(bench.outstanding(), Vec::<u64>::new());
}

#[test]
fn a_clock_is_healed_from_the_journal_alone_and_healing_twice_is_healing_once() {
    let mut bench = bench(2);
    bench.engine.apply(0, wrong_clocks(&[1, 2], ClockChange::DriftPercent(-90))).unwrap();
    let Bench { hosts, engine, journal, _folder } = bench;
    drop(engine);
    heal(as_hosts(&hosts), &journal, IMPATIENT).unwrap();
    assert!(hosts.iter().all(|host| host.clock().1 == 1000));
    assert_eq!(heal(as_hosts(&hosts), &journal, IMPATIENT).unwrap(), Vec::new());
}
