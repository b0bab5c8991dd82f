//! Clock faults on real nodes of the reference store. What a node's clock reads is asked as clients ask: its uptime, which it counts
//! with the clock that its leases hang on.

use std::io::Read as _;
use std::process::Stdio;

use labrys_harness::db::{Db, StoreClock, wait_until_ready};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::hosts_from;
use labrys_nemesis::{
    ClockChange, ClockMeans, Effect, FaultReport, Patience, Resolved, find_libfaketime, heal, read_journal,
};
use labrys_store::client::StatusClient;

use super::Case;
use super::nemesis::{Setting, Stage, WITHIN, nemesis, start};
use super::scenario::{Body, contains, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] = &[
    ("a_clock_goes_wrong_and_right_again", |identity| in_folder(identity, "wrong_clock")),
    ("a_node_that_is_started_again_has_the_wrong_clock_still", |identity| {
        in_folder(identity, "wrong_clock_after_restart")
    }),
    ("clocks_are_right_after_the_harness_was_killed", |identity| in_folder(identity, "clock_of_orphans")),
    ("clocks_are_healed_from_the_journal_alone", |identity| in_folder(identity, "clock_healed")),
    ("a_node_under_libfaketime_goes_wrong_and_right_again", |identity| {
        in_folder(identity, "faketime")?;
        same("what is left in shared memory", left_in_shared_memory()?, Vec::new())
    }),
    ("a_node_under_libfaketime_is_healed_after_the_harness_was_killed", |identity| {
        in_folder(identity, "faketime_of_orphans")
    }),
];

pub const BODIES: &[Body] = &[
    ("wrong_clock", wrong_clock),
    ("wrong_clock_after_restart", wrong_clock_after_restart),
    ("clock_of_orphans", clock_of_orphans),
    ("clock_healed", clock_healed),
    ("faketime", faketime),
    ("faketime_of_orphans", faketime_of_orphans),
    ("clock_harness", clock_harness),
];

/// An hour: no test takes so long, so only a leap explains it.
const LEAP_MS: u64 = 3_600_000;

impl Stage {
    /// What the clock of `n2` reads.
    fn reading_ms(&self) -> Result<u64, String> {
        let address = self.db.client_address(1);
        let ask = async {
            let mut client = StatusClient::new(&address).map_err(text)?;
            client.status(None, WITHIN).await.map(|status| status.uptime_ms).map_err(text)
        };
        self.runtime.block_on(ask)
    }

    /// Nothing but orders for clocks that are right is left.
    fn assert_clean(&self) -> Result<(), String> {
        for node in 0..3 {
            let (file, right) = match self.db.daemon_spec(node).clock.ok_or("no clock")? {
                ClockMeans::Orders(file) => (file, "\"rate_permille\":1000,\"jumps_ms\":{}"),
                ClockMeans::Libfaketime(means) => (means.file, "\"rate_permille\":1000,\"leaps\":{}"),
            };
            if file.exists() {
                contains(&std::fs::read_to_string(&file).map_err(text)?, right)?;
            }
        }
        let outstanding = read_journal(&self.setting.serve.journal).map_err(text)?.outstanding;
        same("outstanding faults", outstanding.len(), 0)
    }
}

fn of_n2(change: ClockChange) -> Resolved {
    Resolved::Clock { nodes: vec!["n2".to_owned()], change }
}

fn effects(report: &FaultReport) -> Vec<&Effect> {
    report.evidence.details.iter().map(|seen| &seen.effect).collect()
}

fn wrong_clock(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    leaps_stands_and_drifts(&Stage::set(enclosure, arguments)?)
}

/// Nodes whose clocks are moved by libfaketime; `None`, and a line that says so, where there is none.
fn under_libfaketime(enclosure: &Enclosure, arguments: &[String]) -> Result<Option<Stage>, String> {
    let Ok(library) = find_libfaketime() else {
        eprintln!("skipped: there is no libfaketime here (apt-get install faketime)");
        return Ok(None);
    };
    Stage::set_with_clock(enclosure, arguments, StoreClock::Libfaketime(library)).map(Some)
}

/// What the nodes' processes share, by the machine's own `/dev/shm`: theirs is another one.
fn left_in_shared_memory() -> Result<Vec<String>, String> {
    let names =
        std::fs::read_dir("/dev/shm").map_err(text)?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<Result<Vec<_>, _>>().map_err(text)?;
    let names = names.into_iter().map(|name| name.to_string_lossy().into_owned());
    Ok(names.filter(|name| name.contains("labrys-n") || name.contains("faketime_")).collect())
}

fn faketime(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    under_libfaketime(enclosure, arguments)?.map_or(Ok(0), |stage| leaps_stands_and_drifts(&stage))
}

fn leaps_stands_and_drifts(stage: &Stage) -> Result<u8, String> {
    let (mut process, mut client) = nemesis(&stage.setting)?;

    let report = client.apply(0, of_n2(ClockChange::JumpMs(LEAP_MS))).map_err(text)?;
    same("an hour at one moment", leap_us(&report), Some(3_600_000_000))?;
    same("it is an hour ahead", stage.reading_ms()? >= LEAP_MS, true)?;
    client.undo(0).map_err(text)?;
    same("it never runs back", stage.reading_ms()? >= LEAP_MS, true)?;

    let report = client.apply(1, of_n2(ClockChange::Freeze)).map_err(text)?;
    same("it bit", report.evidence.bit, true)?;
    let frozen_at = stage.reading_ms()?;
    eventually("another node's clock goes on", || stage.other_node_goes_on())?;
    same("it stands still", stage.reading_ms()?, frozen_at)?;
    let report = client.undo(1).map_err(text)?;
    same("it is right", matches!(effects(&report).last(), Some(Effect::ClockRight { .. })), true)?;
    eventually("it goes on", || stage.reading_ms().is_ok_and(|reading| reading > frozen_at))?;

    let report = client.apply(2, of_n2(ClockChange::DriftPercent(-50))).map_err(text)?;
    let lost = effects(&report).into_iter().find_map(|effect| match effect {
        Effect::ClockWrong { from_us, to_us, within_us } => Some((from_us - to_us, within_us.cast_signed())),
        _ => None,
    });
    let (lost_us, within_us) = lost.ok_or("its clock was not read")?;
    same("half of the time is lost", (lost_us * 2 - within_us).abs() <= 4, true)?;
    same("something was watched", within_us >= 10_000, true)?;
    client.undo(2).map_err(text)?;

    drop(client);
    process.wait().map_err(text)?;
    stage.recovers()?;
    stage.assert_clean()?;
    Ok(0)
}

impl Stage {
    /// Whether the clock of `n1` reads more than it did when it was asked first.
    fn other_node_goes_on(&self) -> bool {
        let address = self.db.client_address(0);
        let ask = async {
            let mut client = StatusClient::new(&address).ok()?;
            let first = client.status(None, WITHIN).await.ok()?.uptime_ms;
            let second = client.status(None, WITHIN).await.ok()?.uptime_ms;
            Some(second > first)
        };
        self.runtime.block_on(ask).unwrap_or(false)
    }
}

fn leap_us(report: &FaultReport) -> Option<i64> {
    effects(report).into_iter().find_map(|effect| match effect {
        Effect::ClockWrong { from_us, to_us, within_us: 0 } => Some(to_us - from_us),
        _ => None,
    })
}

fn wrong_clock_after_restart(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    client.apply(0, of_n2(ClockChange::JumpMs(LEAP_MS))).map_err(text)?;
    client.apply(1, Resolved::Kill { nodes: vec!["n2".to_owned()] }).map_err(text)?;
    let report = client.apply(2, of_n2(ClockChange::Freeze)).map_err(text)?;
    same("nobody read it", effects(&report), vec![&Effect::ClockUnread])?;
    same("and it did not bite", report.evidence.bit, false)?;
    client.undo(1).map_err(text)?;
    eventually("it serves", || stage.reading_ms().is_ok())?;
    let reading = stage.reading_ms()?;
    same("the leap was its predecessor's", reading < LEAP_MS, true)?;
    eventually("another node's clock goes on", || stage.other_node_goes_on())?;
    same("it stands still from the beginning", stage.reading_ms()?, reading)?;
    client.undo_all().map_err(text)?;
    drop(client);
    process.wait().map_err(text)?;
    stage.recovers()?;
    stage.assert_clean()?;
    Ok(0)
}

/// The harness's part in [`clock_of_orphans`]: it has a nemesis freeze a clock, says so, and waits to be killed.
fn clock_harness(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let setting: Setting = serde_json::from_str(arguments.first().ok_or("no setting")?).map_err(text)?;
    let (_process, mut client) = nemesis(&setting)?;
    client.apply(0, of_n2(ClockChange::Freeze)).map_err(text)?;
    std::fs::write(&setting.ready_file, "").map_err(text)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(1)
}

fn clock_of_orphans(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    frozen_by_a_harness_that_is_killed(&Stage::set(enclosure, arguments)?)
}

fn faketime_of_orphans(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = under_libfaketime(enclosure, arguments)?;
    stage.map_or(Ok(0), |stage| frozen_by_a_harness_that_is_killed(&stage))
}

fn frozen_by_a_harness_that_is_killed(stage: &Stage) -> Result<u8, String> {
    let mut harness = start("clock_harness", &stage.setting, Stdio::piped())?;
    eventually("the clock is frozen", || stage.setting.ready_file.exists())?;
    let frozen_at = stage.reading_ms()?;
    eventually("another node's clock goes on", || stage.other_node_goes_on())?;
    same("it stands still", stage.reading_ms()?, frozen_at)?;
    harness.kill().map_err(text)?;
    harness.wait().map_err(text)?;
    eventually("the nemesis undoes it", || {
        read_journal(&stage.setting.serve.journal).is_ok_and(|journal| journal.outstanding.is_empty())
    })?;
    eventually("it goes on", || stage.reading_ms().is_ok_and(|reading| reading > frozen_at))?;
    stage.recovers()?;
    stage.assert_clean()?;
    Ok(0)
}

fn clock_healed(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    client.apply(0, of_n2(ClockChange::Freeze)).map_err(text)?;
    // It cannot undo anything.
    process.kill().map_err(text)?;
    process.wait().map_err(text)?;
    let frozen_at = stage.reading_ms()?;
    eventually("another node's clock goes on", || stage.other_node_goes_on())?;
    same("it stands still", stage.reading_ms()?, frozen_at)?;
    let healed = || {
        let hosts = hosts_from(&stage.setting.testbed).map_err(text)?;
        heal(hosts, &stage.setting.serve.journal, Patience::default()).map_err(text)
    };
    same("faults undone", healed()?.len(), 1)?;
    eventually("it goes on", || stage.reading_ms().is_ok_and(|reading| reading > frozen_at))?;
    same("faults undone, the second time", healed()?.len(), 0)?;
    stage.runtime.block_on(wait_until_ready(&stage.db, WITHIN)).map_err(text)?;
    stage.assert_clean()?;
    Ok(0)
}
