//! The engine over fake hosts: every fault, overlapping ones, and every way in which they can fail.

mod agents;
mod application;
mod clock;
mod network;
mod overlaps;

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::evidence::Effect;
use crate::fake::{FakeHost, as_hosts, daemon_spec, fake_host};
use crate::fault::{ClockChange, Link, LinkTrouble};
use crate::heal::{HealError, heal};
use crate::host::{ProcessState, Signal};
use crate::journal::read_journal;

/// Patience without waiting.
const IMPATIENT: Patience =
    Patience { settle_ms: 0, poll_ms: 0, undo_attempts: 3, retry_ms: 0, undo_ms: 60_000 };

struct Bench {
    hosts: Vec<Arc<FakeHost>>,
    engine: Engine,
    journal: PathBuf,
    _folder: TempDir,
}

fn bench(nodes: u8) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.jsonl");
    let hosts: Vec<_> = (1..=nodes).map(fake_host).collect();
    let engine = engine_on(&hosts, &journal);
    Bench { hosts, engine, journal, _folder: folder }
}

fn engine_on(hosts: &[Arc<FakeHost>], path: &std::path::Path) -> Engine {
    let tag: RunTag = "test".parse().unwrap();
    let journal = Journal::open(path, &tag, &serde_json::json!({"kind": "fake"})).unwrap();
    let mut engine = Engine::new(tag, as_hosts(hosts), IMPATIENT, journal);
    engine.set_daemons(hosts.iter().map(|host| (host.name().to_owned(), daemon_spec())).collect()).unwrap();
    engine
}

impl Bench {
    fn host(&self, number: usize) -> &FakeHost {
        &self.hosts[number - 1]
    }

    fn states(&self) -> Vec<ProcessState> {
        self.hosts.iter().map(|host| host.daemon_state()).collect()
    }

    /// No rule, no stopped and no dead process, nothing in the journal.
    fn assert_clean(&self) {
        for host in &self.hosts {
            assert_eq!(host.filter_lines(), Vec::<String>::new(), "{}", host.name());
            assert_eq!(host.daemon_state(), ProcessState::Running, "{}", host.name());
        }
        assert!(read_journal(&self.journal).unwrap().outstanding.is_empty());
        assert!(self.engine.status().active.is_empty());
    }

    fn outstanding(&self) -> Vec<u64> {
        read_journal(&self.journal).unwrap().outstanding.into_keys().collect()
    }
}

fn nodes(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| format!("n{number}")).collect()
}

fn pause(numbers: &[u8]) -> Resolved {
    Resolved::Pause { nodes: nodes(numbers) }
}

fn kill(numbers: &[u8]) -> Resolved {
    Resolved::Kill { nodes: nodes(numbers) }
}

fn cut(links: &[(u8, u8)]) -> Resolved {
    let links = links.iter().map(|(from, to)| Link { from: format!("n{from}"), to: format!("n{to}") });
    Resolved::Partition { description: "some links".to_owned(), links: links.collect(), content_only: false }
}

fn wrong_clocks(numbers: &[u8], change: ClockChange) -> Resolved {
    Resolved::Clock { nodes: nodes(numbers), change }
}

/// Everything on the links of these nodes is lost.
fn lossy(numbers: &[u8]) -> Resolved {
    let trouble = LinkTrouble { loss_permille: 1000, ..LinkTrouble::default() };
    Resolved::Network { nodes: nodes(numbers), trouble }
}

fn effects(report: &FaultReport, node: &str) -> Vec<Effect> {
    let on_node = report.evidence.details.iter().filter(|seen| seen.node == node);
    on_node.map(|seen| seen.effect.clone()).collect()
}

#[test]
fn what_could_not_be_undone_is_tried_again_in_a_shorter_time_and_others_are_undone_meanwhile() {
    let mut bench = bench(2);
    bench.engine.patience.settle_ms = 8;
    bench.engine.apply(0, pause(&[1])).unwrap();
    bench.engine.apply(1, pause(&[2])).unwrap();
    bench.host(1).be_deaf_to(Signal::Continue);
    let mut undo = |fault_id| bench.engine.answer(RequestBody::Undo { fault_id });
    let waited = |failure: Failure| failure.faults[0].failures.last().map(ToString::to_string);
    let first = waited(undo(0).unwrap_err()).unwrap();
    undo(1).unwrap();
    let second = waited(undo(0).unwrap_err()).unwrap();
    assert!(first.ends_with("after 8 ms"), "{first}");
    assert!(second.ends_with("after 2 ms"), "{second}");
    bench.host(1).repair();
    bench.engine.answer(RequestBody::Undo { fault_id: 0 }).unwrap();
    bench.assert_clean();
}

#[test]
fn a_partition_drops_packets_in_the_cut_direction_only_and_proves_it_by_its_counters() {
    let mut bench = bench(3);
    let report = bench.engine.apply(0, cut(&[(1, 2), (1, 3)])).unwrap();
    assert!(!report.evidence.bit, "no packet has been dropped yet");
    assert!(!bench.host(2).receives_from(bench.host(1).address()));
    assert!(!bench.host(2).receives_from(bench.host(1).address()));
    assert!(bench.host(1).receives_from(bench.host(2).address()));
    assert!(bench.host(2).receives_from(bench.host(3).address()));
    let report = bench.engine.undo(0).unwrap();
    assert!(report.evidence.bit);
    assert_eq!(report.evidence.packets_dropped(), 2);
    let quiet = Effect::PacketsDropped { from: "n1".to_owned(), packets: 0, bytes: 0 };
    assert!(effects(&report, "n3").contains(&quiet));
    assert!(bench.host(2).receives_from(bench.host(1).address()));
    bench.assert_clean();
}

#[test]
fn overlapping_partitions_take_away_their_own_rules_and_the_last_one_the_chain() {
    let mut bench = bench(3);
    bench.host(2).insert_foreign_rule("-p tcp -j ACCEPT");
    bench.engine.apply(0, cut(&[(1, 2), (3, 2)])).unwrap();
    assert!(!bench.host(2).receives_from(bench.host(1).address()));
    bench.engine.apply(1, cut(&[(1, 2)])).unwrap();
    let report = bench.engine.undo(0).unwrap();
    assert_eq!(
        report.evidence.packets_dropped(),
        1,
        "the second partition must not reset the counters of the first"
    );
    assert!(!bench.host(2).receives_from(bench.host(1).address()));
    assert!(bench.host(2).receives_from(bench.host(3).address()));
    let report = bench.engine.undo(1).unwrap();
    assert_eq!(report.evidence.packets_dropped(), 1);
    assert_eq!(bench.host(2).filter_lines(), ["[0:0] -A INPUT -p tcp -j ACCEPT"]);
}

#[test]
fn a_partition_costs_two_commands_per_node_to_apply_and_one_to_verify() {
    let mut bench = bench(5);
    bench.engine.apply(0, cut(&[(1, 5), (2, 5), (3, 5), (4, 5)])).unwrap();
    let commands = bench.host(5).done().iter().filter(|done| done.contains("tables")).count();
    assert_eq!(commands, 3);
}

#[test]
fn a_node_with_an_address_of_version_6_is_cut_off_by_the_other_tool() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = [crate::fake::fake_host_version_6(1), fake_host(2)];
    let mut engine = engine_on(&hosts, &folder.path().join("journal"));
    engine.apply(0, cut(&[(1, 2), (2, 1)])).unwrap();
    assert!(!hosts[1].receives_from(hosts[0].address()));
    assert!(!hosts[0].receives_from(hosts[1].address()));
    assert!(engine.undo(0).unwrap().evidence.bit);
    assert!(hosts.iter().all(|host| host.filter_lines().is_empty()));
}

#[test]
fn a_pause_stops_the_process_and_its_end_continues_it() {
    let mut bench = bench(2);
    let report = bench.engine.apply(0, pause(&[2])).unwrap();
    assert!(report.evidence.bit);
    assert_eq!(bench.states(), [ProcessState::Running, ProcessState::Stopped]);
    let report = bench.engine.undo(0).unwrap();
    assert!(
        effects(&report, "n2")
            .iter()
            .any(|effect| matches!(effect, Effect::PauseEnded { found: ProcessState::Stopped, .. }))
    );
    bench.assert_clean();
}

#[test]
fn a_process_continues_only_when_the_last_pause_that_holds_it_ends() {
    let mut bench = bench(2);
    bench.engine.apply(0, pause(&[1, 2])).unwrap();
    bench.engine.apply(1, pause(&[1])).unwrap();
    let report = bench.engine.undo(0).unwrap();
    assert!(effects(&report, "n1").iter().any(|effect| matches!(effect, Effect::StillPaused { .. })));
    assert_eq!(bench.states(), [ProcessState::Stopped, ProcessState::Running]);
    bench.engine.undo(1).unwrap();
    bench.assert_clean();
}

#[test]
fn a_paused_node_can_be_killed_and_runs_when_it_is_started_again_during_the_pause() {
    let mut bench = bench(1);
    bench.engine.apply(0, pause(&[1])).unwrap();
    assert!(bench.engine.apply(1, kill(&[1])).unwrap().evidence.bit);
    bench.engine.undo(1).unwrap();
    assert_eq!(bench.states(), [ProcessState::Running], "the pause was of the process that died");
    // A pause of the new process does not wait for the old one to end.
    bench.engine.apply(2, pause(&[1])).unwrap();
    bench.engine.undo(2).unwrap();
    assert_eq!(bench.states(), [ProcessState::Running]);
    let report = bench.engine.undo(0).unwrap();
    assert!(
        effects(&report, "n1")
            .iter()
            .any(|effect| matches!(effect, Effect::PauseEnded { found: ProcessState::Gone, .. }))
    );
    bench.assert_clean();
}

#[test]
fn a_pause_of_a_dead_node_does_not_bite_and_leaves_it_to_the_kill() {
    let mut bench = bench(2);
    bench.engine.apply(0, kill(&[1])).unwrap();
    let report = bench.engine.apply(1, pause(&[1])).unwrap();
    assert!(!report.evidence.bit);
    assert_eq!(effects(&report, "n1"), [Effect::NoProcess]);
    bench.engine.undo(0).unwrap();
    bench.engine.undo(1).unwrap();
    bench.assert_clean();
}

#[test]
fn a_node_stays_down_until_the_last_kill_that_holds_it_ends() {
    let mut bench = bench(2);
    assert!(bench.engine.apply(0, kill(&[1, 2])).unwrap().evidence.bit);
    let second = bench.engine.apply(1, kill(&[1])).unwrap();
    assert!(!second.evidence.bit, "it found nobody to kill");
    let report = bench.engine.undo(0).unwrap();
    assert!(effects(&report, "n1").contains(&Effect::StillKilled));
    assert_eq!(bench.states(), [ProcessState::Gone, ProcessState::Running]);
    bench.engine.undo(1).unwrap();
    bench.assert_clean();
}

#[test]
fn a_daemon_that_somebody_else_has_started_is_left_alone() {
    let mut bench = bench(1);
    bench.engine.apply(0, kill(&[1])).unwrap();
    let process = bench.host(1).start_daemon(&daemon_spec()).unwrap();
    let report = bench.engine.undo(0).unwrap();
    assert!(effects(&report, "n1").contains(&Effect::AlreadyRunning { process }));
    bench.assert_clean();
}

#[test]
fn a_kill_without_a_way_back_is_refused_before_anything_dies() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = [fake_host(1), fake_host(2)];
    let tag: RunTag = "test".parse().unwrap();
    let path = folder.path().join("journal");
    let journal = Journal::open(&path, &tag, &serde_json::Value::Null).unwrap();
    let mut engine = Engine::new(tag, as_hosts(&hosts), IMPATIENT, journal);
    engine.set_daemons(BTreeMap::from([("n1".to_owned(), daemon_spec())])).unwrap();
    let failure = engine.apply(0, kill(&[1, 2])).unwrap_err();
    assert!(failure.to_string().contains("n2: apply: it is not known how to start its daemon"), "{failure}");
    assert_eq!(hosts[0].daemon_state(), ProcessState::Running);
    assert!(read_journal(&path).unwrap().outstanding.is_empty());
}

#[test]
fn an_intent_is_on_the_disk_before_any_host_is_touched() {
    for fault in [cut(&[(1, 2)]), pause(&[2]), kill(&[2])] {
        let mut bench = bench(2);
        let journal = bench.journal.clone();
        let expected = fault.clone();
        bench.host(2).watch(move |what| {
            let outstanding = read_journal(&journal).unwrap().outstanding;
            assert_eq!(outstanding.get(&7).map(|o| &o.resolved), Some(&expected), "before {what}");
        });
        bench.engine.apply(7, fault).unwrap();
        assert!(bench.host(2).done().len() > 1, "the witness was called");
    }
}

#[test]
fn a_fault_that_fails_on_one_host_is_undone_on_the_others_and_the_failure_names_the_host() {
    for (fault, what) in [
        (cut(&[(1, 2), (1, 3), (1, 4)]), "iptables-restore"),
        (cut(&[(1, 2), (1, 3), (1, 4)]), "iptables-save"),
        (pause(&[2, 3, 4]), "signal Stop"),
        (kill(&[2, 3, 4]), "signal Kill"),
    ] {
        let mut bench = bench(4);
        bench.host(3).fail_next(what, 1);
        let failure = bench.engine.apply(0, fault).unwrap_err();
        assert!(failure.to_string().contains("n3: apply: "), "{failure}");
        assert_eq!(failure.left_behind, [0_u64; 0], "{failure}");
        bench.assert_clean();
    }
}

#[test]
fn a_fault_that_has_no_effect_is_an_error_and_not_a_fault() {
    let mut bench = bench(2);
    bench.host(1).be_deaf_to(Signal::Stop);
    let failure = bench.engine.apply(0, pause(&[1, 2])).unwrap_err();
    assert!(failure.to_string().contains("n1: verify: process 100 has not stopped"), "{failure}");
    bench.host(1).be_deaf_to(Signal::Kill);
    let failure = bench.engine.apply(1, kill(&[1])).unwrap_err();
    assert!(failure.to_string().contains("n1: apply: process 100 is not gone"), "{failure}");
    bench.assert_clean();
}

#[test]
fn what_cannot_be_undone_stays_active_and_journalled_until_it_can() {
    let mut bench = bench(3);
    bench.engine.apply(0, cut(&[(1, 2), (1, 3)])).unwrap();
    bench.engine.apply(1, pause(&[1, 2])).unwrap();
    bench.host(2).fail_next("iptables", u32::MAX);
    bench.host(2).be_deaf_to(Signal::Continue);
    let failure = bench.engine.undo(0).unwrap_err();
    assert!(failure.to_string().contains("n2: undo: "), "{failure}");
    assert_eq!(failure.left_behind, [0]);
    let failure = bench.engine.undo_all().unwrap_err();
    assert_eq!(failure.left_behind, [0, 1]);
    assert!(failure.to_string().contains("n2: verify undone: process 100 is still stopped"), "{failure}");
    assert_eq!(bench.outstanding(), [0, 1]);
    assert_eq!(bench.host(3).filter_lines(), Vec::<String>::new(), "the other hosts are clean nevertheless");
    bench.host(2).repair();
    assert_eq!(bench.engine.undo_all().unwrap().len(), 2);
    bench.assert_clean();
}

#[test]
fn undoing_everything_outlasts_failures_that_pass() {
    let mut bench = bench(2);
    bench.engine.apply(0, cut(&[(1, 2)])).unwrap();
    bench.host(2).fail_next("iptables-restore", 2);
    bench.engine.undo_all().unwrap();
    bench.assert_clean();
}

#[test]
fn a_daemon_that_dies_as_soon_as_it_is_started_is_reported() {
    let mut bench = bench(1);
    bench.engine.apply(0, kill(&[1])).unwrap();
    bench.host(1).bear_dead_daemons();
    let failure = bench.engine.undo(0).unwrap_err();
    assert!(failure.to_string().contains("n1: verify undone: the daemon died"), "{failure}");
    bench.host(1).repair();
    bench.engine.undo(0).unwrap();
    bench.assert_clean();
}

#[test]
fn ids_are_used_once_and_undoing_twice_is_no_error() {
    let mut bench = bench(2);
    bench.engine.apply(0, pause(&[1])).unwrap();
    assert!(bench.engine.apply(0, pause(&[2])).is_err());
    bench.engine.undo(0).unwrap();
    bench.engine.undo(0).unwrap();
    assert!(bench.engine.apply(0, pause(&[2])).is_err());
    assert!(bench.engine.undo(9).unwrap_err().to_string().contains("never applied"));
    bench.assert_clean();
}

#[test]
fn nodes_that_do_not_exist_are_refused_without_touching_those_that_do() {
    let mut bench = bench(2);
    for fault in [pause(&[1, 9]), kill(&[1, 9]), cut(&[(1, 2), (9, 1)]), cut(&[(1, 9)])] {
        let failure = bench.engine.apply(0, fault).unwrap_err();
        assert!(failure.to_string().contains("n9: apply: there is no such node"), "{failure}");
        bench.assert_clean();
    }
}

/// A file that refuses to be written, in place of a full disk.
fn unwritable() -> std::fs::File {
    std::fs::File::open("/dev/null").unwrap()
}

#[test]
fn without_a_journal_nothing_is_applied() {
    let mut bench = bench(2);
    let touched_before = bench.host(1).done().len();
    bench.engine.journal.get_mut().unwrap().replace_file_for_test(unwritable());
    let failure = bench.engine.apply(0, pause(&[1])).unwrap_err();
    assert!(failure.to_string().contains("could not be journalled"), "{failure}");
    assert_eq!(bench.host(1).done().len(), touched_before);
    assert!(bench.engine.status().active.is_empty());
}

#[test]
fn a_journal_that_fills_up_later_does_not_keep_faults_from_being_undone() {
    let mut bench = bench(2);
    bench.engine.apply(0, cut(&[(1, 2)])).unwrap();
    bench.engine.apply(1, pause(&[1])).unwrap();
    bench.engine.journal.get_mut().unwrap().replace_file_for_test(unwritable());
    let reports = bench.engine.undo_all().unwrap();
    assert!(reports.iter().all(|report| report.failures.iter().any(|failure| failure.node == "journal")));
    assert!(bench.host(2).filter_lines().is_empty());
    assert_eq!(bench.states(), [ProcessState::Running, ProcessState::Running]);
}

#[test]
fn the_journal_alone_is_enough_to_heal_and_healing_twice_changes_nothing() {
    let mut bench = bench(3);
    bench.engine.apply(0, cut(&[(1, 2), (2, 1)])).unwrap();
    bench.engine.apply(1, pause(&[1, 3])).unwrap();
    bench.engine.apply(2, kill(&[2])).unwrap();
    let Bench { hosts, engine, journal, _folder } = bench;
    assert!(matches!(
        heal(as_hosts(&hosts), &journal, IMPATIENT),
        Err(HealError::Journal(JournalError::InUse { .. }))
    ));
    drop(engine);
    assert_eq!(heal(as_hosts(&hosts), &journal, IMPATIENT).unwrap().len(), 3);
    let touched: Vec<usize> = hosts.iter().map(|host| host.done().len()).collect();
    assert_eq!(heal(as_hosts(&hosts), &journal, IMPATIENT).unwrap(), []);
    assert_eq!(hosts.iter().map(|host| host.done().len()).collect::<Vec<_>>(), touched);
    let engine = engine_on(&hosts, &journal);
    Bench { hosts, engine, journal, _folder }.assert_clean();
}

#[test]
fn a_nemesis_that_died_between_intent_and_effect_or_between_effect_and_evidence_is_healed() {
    // Whatever was done of the fault when it died: nothing, or all of it; the journal has the intent alone.
    for was_done in [false, true] {
        for fault in [cut(&[(1, 2)]), pause(&[2]), kill(&[2])] {
            let bench = bench(2);
            let Bench { hosts, engine, journal, _folder } = bench;
            drop(engine);
            if was_done {
                // By another engine with a journal of its own, whose entries are lost.
                let elsewhere = tempfile::tempdir().unwrap();
                engine_on(&hosts, &elsewhere.path().join("lost")).apply(5, fault.clone()).unwrap();
            }
            let (mut writer, _) = Journal::open_existing(&journal).unwrap();
            writer.append(&Entry::Intent { fault_id: 5, resolved: fault }).unwrap();
            drop(writer);
            heal(as_hosts(&hosts), &journal, IMPATIENT).unwrap();
            let engine = engine_on(&hosts, &journal);
            Bench { hosts, engine, journal, _folder }.assert_clean();
        }
    }
}
