//! On a machine in memory.

use super::fake::FakeMachine;
use super::*;

const LEAP: Order = Order { ahead_ms: 5_000, drift_percent: 0 };

#[test]
fn a_clock_is_held_wrong_without_its_keepers_and_put_right_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = FakeMachine::new();
    let (offset_ns, keepers) = (machine.offset_ns(), machine.running.clone());
    let (before, after) = hold(folder.path(), &mut machine, LEAP).unwrap();
    assert_eq!((before.off_ns, after.off_ns), (Some(0), Some(5_000_000_000)));
    assert_eq!(machine.running, Vec::<String>::new());
    // Two faults, of which one is taken back.
    let both = Order { ahead_ms: 7_000, drift_percent: -4 };
    let (_, after) = hold(folder.path(), &mut machine, both).unwrap();
    // A reading, at the rate: a millisecond less four percent.
    assert_eq!(after.off_ns, Some(7_000_000_000 - 40_000));
    machine.pass(1_000_000_000);
    let drifted = look(folder.path(), &machine).unwrap();
    assert_eq!(drifted.off_ns, Some(7_000_000_000 - 40_000_000 - 80_000));
    let (before, after) = hold(folder.path(), &mut machine, Order { drift_percent: -4, ..LEAP }).unwrap();
    assert_eq!(after.off_ns.unwrap() - before.off_ns.unwrap(), -2_000_000_000 - 40_000);
    // What it lost is made up for when it is put right.
    restore(folder.path(), &mut machine).unwrap().expect("it was held");
    assert_eq!((machine.offset_ns(), machine.tick_us), (offset_ns, 10_000));
    assert_eq!(machine.running, keepers);
    assert_eq!(look(folder.path(), &machine).unwrap().off_ns, None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no note is left");
}

#[test]
fn a_clock_that_nobody_holds_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = FakeMachine::new();
    assert_eq!(restore(folder.path(), &mut machine).unwrap(), None);
    assert_eq!(machine.done, Vec::<String>::new());
}

/// Whoever holds a clock may die after any step, and so may whoever puts it right.
#[test]
fn whatever_was_interrupted_is_put_right_from_the_note_alone() {
    let order = Order { ahead_ms: 3_000, drift_percent: 5 };
    let (mut held, mut restored) = (0, 0);
    for fails_after in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = FakeMachine::new();
        let (offset_ns, mut keepers) = (machine.offset_ns(), machine.running.clone());
        machine.fails_after = fails_after;
        let is_held = hold(folder.path(), &mut machine, order).is_ok();
        let is_restored = is_held && restore(folder.path(), &mut machine).is_ok();
        (held, restored) = (held + usize::from(is_held), restored + usize::from(is_restored));
        machine.pass(1_000_000_000);
        machine.fails_after = usize::MAX;
        restore(folder.path(), &mut machine).unwrap();
        assert_eq!((machine.offset_ns(), machine.tick_us), (offset_ns, 10_000), "after {fails_after}");
        keepers.sort();
        machine.running.sort();
        assert_eq!(machine.running, keepers, "after {fails_after}");
        if is_restored {
            break;
        }
    }
    // Two services, a leap and a rate; then a rate, a leap and two services again.
    assert_eq!((held, restored), (5, 1));
}

#[test]
fn what_cannot_be_noted_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = FakeMachine::new();
    let missing = folder.path().join("missing");
    hold(&missing, &mut machine, LEAP).unwrap_err();
    let too_fast = hold(folder.path(), &mut machine, Order { ahead_ms: 0, drift_percent: 11 });
    assert!(too_fast.unwrap_err().to_string().contains("10 percent"));
    assert_eq!(machine.done, Vec::<String>::new());
}

#[test]
fn after_a_boot_only_the_services_are_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = FakeMachine::new();
    hold(folder.path(), &mut machine, LEAP).unwrap();
    machine.boot = "second".to_owned();
    assert!(hold(folder.path(), &mut machine, LEAP).is_err(), "its note is of another boot");
    machine.done.clear();
    assert_eq!(restore(folder.path(), &mut machine).unwrap(), Some(0));
    assert_eq!(machine.done, ["chrony true", "systemd-timesyncd true"]);
}
