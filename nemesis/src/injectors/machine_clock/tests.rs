//! The engine over a machine whose clock is in memory, moved by the very commands that a real one is moved by.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::engine::Engine;
use crate::fault::Resolved;
use crate::host::{CommandOutput, DaemonSpec, HostError, ProcessIdentity, ProcessState, Signal};
use crate::journal::{Journal, read_journal};
use crate::machine_clock::carry_out;
use crate::machine_clock::fake::FakeMachine;
use crate::poll::Patience;

/// The node `n1`, of which there is nothing but a clock.
struct ClockHost {
    folder: TempDir,
    machine: Mutex<FakeMachine>,
}

impl ClockHost {
    fn new() -> Arc<ClockHost> {
        Arc::new(ClockHost { folder: tempfile::tempdir().unwrap(), machine: Mutex::new(FakeMachine::new()) })
    }

    fn engine(self: &Arc<Self>) -> Engine {
        let journal = self.journal();
        let tag = "clock".parse().unwrap();
        let opened = Journal::open(&journal, &tag, &serde_json::Value::Null).unwrap();
        Engine::new(tag, vec![Arc::clone(self) as Arc<dyn Host>], PATIENCE, opened)
            .with_clock_program(vec!["move-clock".to_owned(), "here".to_owned()])
    }

    fn journal(&self) -> std::path::PathBuf {
        self.folder.path().join("journal.jsonl")
    }

    /// How far the clock is ahead of the raw one, its tick, and whether its services run.
    fn clock(&self) -> (i64, i64, bool) {
        let machine = self.machine.lock().unwrap();
        (machine.offset_ns(), machine.tick_us, machine.running.len() == 2)
    }
}

const PATIENCE: Patience =
    Patience { settle_ms: 5_000, poll_ms: 0, undo_attempts: 3, retry_ms: 0, undo_ms: 60_000 };

impl Host for ClockHost {
    fn name(&self) -> &str {
        "n1"
    }

    fn address(&self) -> IpAddr {
        IpAddr::from([10, 0, 0, 1])
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        assert_eq!((program, args[0]), ("move-clock", "here"));
        let words: Vec<String> = args[1..].iter().map(|word| (*word).to_owned()).collect();
        match carry_out(self.folder.path(), &mut *self.machine.lock().unwrap(), &words) {
            Ok(stdout) => Ok(CommandOutput { stdout, stderr: String::new() }),
            Err(error) => Err(HostError::Command {
                host: "n1".to_owned(),
                command: words.join(" "),
                detail: error.to_string(),
            }),
        }
    }

    fn start_daemon(&self, _: &DaemonSpec) -> Result<ProcessIdentity, HostError> {
        unreachable!("no clock fault starts anything")
    }

    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError> {
        Ok(None)
    }

    fn process_state(&self, _: ProcessIdentity) -> Result<ProcessState, HostError> {
        Ok(ProcessState::Gone)
    }

    fn signal(&self, _: ProcessIdentity, _: Signal) -> Result<(), HostError> {
        unreachable!("no clock fault signals anybody")
    }

    fn read_file(&self, _: &Path) -> Result<Vec<u8>, HostError> {
        unreachable!("it is the command that reads")
    }

    fn write_file(&self, _: &Path, _: &[u8]) -> Result<(), HostError> {
        unreachable!("it is the command that writes")
    }
}

fn fault(change: ClockChange) -> Resolved {
    Resolved::Clock { nodes: vec!["n1".to_owned()], change }
}

#[test]
fn leaps_add_up_the_worst_rate_holds_and_the_last_one_puts_the_clock_right() {
    let host = ClockHost::new();
    let right = host.clock();
    let mut engine = host.engine();
    let leap = engine.apply(1, fault(ClockChange::JumpMs(5_000))).unwrap();
    assert!(leap.evidence.bit, "{leap:?}");
    assert_eq!(host.clock(), (right.0 + 5_000_000_000, 10_000, false));
    let drift = engine.apply(2, fault(ClockChange::DriftPercent(-4))).unwrap();
    assert!(drift.evidence.bit, "{drift:?}");
    // A slighter one in the same direction changes nothing, and is no bite.
    let slighter = engine.apply(3, fault(ClockChange::DriftPercent(-1))).unwrap();
    assert!(!slighter.evidence.bit, "{slighter:?}");
    assert_eq!(host.clock().1, 9_600);
    engine.undo(2).unwrap();
    assert_eq!((host.clock().1, host.clock().2), (9_900, false));
    engine.undo(1).unwrap();
    assert!(host.clock().0 < right.0, "what it has lost stays as long as somebody holds it");
    let last = engine.undo(3).unwrap();
    assert_eq!(host.clock(), right);
    assert!(last.evidence.details.iter().any(|seen| seen.effect == Effect::ClockRight { offset_us: 0 }));
}

#[test]
fn what_a_dead_nemesis_left_is_put_right_from_its_journal() {
    let host = ClockHost::new();
    let right = host.clock();
    let mut engine = host.engine();
    engine.apply(1, fault(ClockChange::JumpMs(250))).unwrap();
    engine.apply(2, fault(ClockChange::DriftPercent(10))).unwrap();
    drop(engine);
    assert_ne!(host.clock(), right);
    let mut next = host.engine();
    next.undo_all().unwrap();
    assert_eq!(host.clock(), right);
    assert_eq!(read_journal(&host.journal()).unwrap().outstanding.len(), 0);
}

#[test]
fn a_clock_that_somebody_else_puts_right_is_no_fault_that_has_been_verified() {
    let host = ClockHost::new();
    let mut engine = host.engine();
    // A machine of which the tick is set and has no effect: a service that is not known to us steers the clock.
    host.machine.lock().unwrap().is_steered = true;
    let failure = engine.apply(1, fault(ClockChange::DriftPercent(5))).unwrap_err();
    assert!(failure.to_string().contains("which is not 5 percent of that"), "{failure}");
    assert_eq!(failure.left_behind, [1; 0]);
}

#[test]
fn what_no_machine_can_do_is_not_begun() {
    let host = ClockHost::new();
    let right = host.clock();
    let mut engine = host.engine();
    for change in [ClockChange::Freeze, ClockChange::DriftPercent(11), ClockChange::DriftPercent(-50)] {
        let failure = engine.apply(1, fault(change)).unwrap_err();
        assert!(failure.to_string().contains("a machine's own clock can"), "{failure}");
        assert_eq!(failure.left_behind, [1; 0]);
    }
    assert_eq!(host.clock(), right);
    assert_eq!(host.machine.lock().unwrap().done, Vec::<String>::new());
}
