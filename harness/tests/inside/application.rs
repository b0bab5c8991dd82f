//! Orders to real nodes of the reference store. What they do is asked as operators ask.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use labrys_harness::db::{Db, Observation};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::hosts_from;
use labrys_nemesis::{
    CommandLine, Effect, Failpoint, Order, OrderName, Patience, ProcessState, Resolved, heal, read_journal,
};

use super::Case;
use super::nemesis::{Setting, Stage, WITHIN, nemesis, start};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;
use labrys_store::client::{NodeStatus, StatusClient};

pub const CASES: &[Case] = &[
    ("nodes_do_what_they_are_ordered_to", |identity| in_folder(identity, "ordered")),
    ("nodes_stand_still_and_end_at_their_failpoints", |identity| in_folder(identity, "failpoints")),
    ("failpoints_are_cleared_though_the_harness_is_killed", |identity| {
        in_folder(identity, "failpoint_orphans")
    }),
];

pub const BODIES: &[Body] = &[
    ("ordered", ordered),
    ("failpoints", failpoints),
    ("failpoint_orphans", failpoint_orphans),
    ("failpoint_harness", failpoint_harness),
];

impl Stage {
    pub fn status_of(&self, node: usize) -> Result<NodeStatus, String> {
        let address = self.db.client_address(node);
        let ask = async {
            let mut client = StatusClient::new(&address).map_err(text)?;
            client.status(None, WITHIN).await.map_err(text)
        };
        self.runtime.block_on(ask)
    }

    /// A place in a node, as the node lists it.
    fn failpoint(&self, node: usize, at: &str) -> Result<serde_json::Value, String> {
        let listed = self.ctl(node, &["--only", "failpoint", "list"])?;
        let points = listed["nodes"][0]["answer"]["failpoints"].as_array().cloned().unwrap_or_default();
        points.into_iter().find(|point| point["name"] == at).ok_or_else(|| format!("no {at}: {listed}"))
    }

    /// Whether nothing is to happen anywhere in any node.
    fn is_clear(&self) -> Result<bool, String> {
        let of = |node: usize| -> Result<bool, String> {
            let listed = self.ctl(node, &["--only", "failpoint", "list"])?;
            let points = listed["nodes"][0]["answer"]["failpoints"].as_array().cloned();
            let points = points.ok_or_else(|| listed.to_string())?;
            Ok(points.iter().all(|point| point["action"].is_null()))
        };
        (0..3).try_fold(true, |is_clear, node| Ok(is_clear && of(node)?))
    }

    /// Whether a verb of `labrys-store ctl` on a node of its own fails.
    fn ctl_fails(&self, node: usize, verb: &[&str]) -> Result<bool, String> {
        let hosts = hosts_from(&self.setting.testbed).map_err(text)?;
        let program = self.db.daemon_spec(node).program;
        let address = self.db.client_address(node);
        let words = [&["ctl", "--endpoints", &address], verb].concat();
        Ok(hosts[node].run(&program.to_string_lossy(), &words).is_err())
    }

    /// What `labrys-store ctl` prints that is run on a node of its own.
    pub fn ctl(&self, node: usize, verb: &[&str]) -> Result<serde_json::Value, String> {
        let hosts = hosts_from(&self.setting.testbed).map_err(text)?;
        let program = self.db.daemon_spec(node).program;
        let address = self.db.client_address(node);
        let words = [&["ctl", "--endpoints", &address, "--timeout-ms", "8000"], verb].concat();
        let output = hosts[node].run(&program.to_string_lossy(), &words).map_err(text)?;
        serde_json::from_str(&output.stdout).map_err(text)
    }
}

fn of_n2(order: OrderName) -> Resolved {
    Resolved::Application { nodes: vec!["n2".to_owned()], order }
}

fn ordered(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    let snapshots = || -> Result<Vec<u64>, String> {
        (0..3).map(|node| stage.status_of(node).map(|status| status.storage.snapshot_index)).collect()
    };
    for value in ["1", "2"] {
        stage.ctl(1, &["put", "x", value])?;
    }
    eventually("n2 has applied them", || stage.status_of(1).is_ok_and(|status| status.key_count == 1))?;

    let report = client.apply(0, of_n2(OrderName::Snapshot)).map_err(text)?;
    same(&format!("it bit: {:?}", report.evidence), report.evidence.bit, true)?;
    let taken = snapshots()?;
    same(
        "n2 has a snapshot, and only n2",
        taken.iter().map(|index| *index > 0).collect(),
        vec![false, true, false],
    )?;

    same("nothing is compacted", stage.ctl(1, &["get", "x"])?["compacted"].clone(), 0.into())?;
    let report = client.apply(2, of_n2(OrderName::Compact)).map_err(text)?;
    same("there is too little to compact", report.evidence.bit, false)?;
    client
        .set_daemons([("n2".to_owned(), daemon_with_own_orders(&stage, Path::new(&arguments[0])))].into())
        .map_err(text)?;
    let report = client.apply(3, of_n2(OrderName::Compact)).map_err(text)?;
    same("it bit", report.evidence.bit, true)?;
    same("the first state is forgotten", stage.ctl(0, &["get", "x"])?["compacted"].clone(), 2.into())?;

    let flag = Path::new(&arguments[0]).join("flag");
    let report = client.apply(4, of_n2(OrderName::Command("raise".to_owned()))).map_err(text)?;
    same("a command of the user's was run", (report.evidence.bit, flag.exists()), (true, true))?;
    client.undo(4).map_err(text)?;
    same("and taken back", flag.exists(), false)?;

    client.apply(5, Resolved::Kill { nodes: vec!["n2".to_owned()] }).map_err(text)?;
    let report = client.apply(6, of_n2(OrderName::Defrag)).map_err(text)?;
    let refused =
        report.evidence.details.iter().any(|seen| matches!(seen.effect, Effect::OrderRefused { .. }));
    same("nobody obeyed", (refused, report.evidence.bit), (true, false))?;
    client.undo_all().map_err(text)?;
    drop(client);
    process.wait().map_err(text)?;
    stage.recovers()?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}

fn failpoint(node: &str, at: &str, action: &str) -> Resolved {
    let failpoint = Failpoint { at: at.to_owned(), action: action.to_owned() };
    Resolved::Application { nodes: vec![node.to_owned()], order: OrderName::Failpoint(failpoint) }
}

/// n2 stands still where it is told to, and answers nobody; n3 ends where it is told to, and comes back. That it did is taken for no crash.
fn failpoints(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    stage.ctl(1, &["put", "x", "1"])?;
    let report = client.apply(0, failpoint("n2", "before-step", "pause 600000")).map_err(text)?;
    same(&format!("it is set: {report:?}"), report.failures.len(), 0)?;
    same("it is not known to bite yet", report.evidence.bit, false)?;
    eventually("somebody stands still there", || {
        stage.failpoint(1, "before-step").is_ok_and(|point| point["struck"] == 1)
    })?;
    let asked = ["--timeout-ms", "300", "--only", "get", "x", "--read-mode", "local"];
    same("n2 answers a client", stage.ctl_fails(1, &asked)?, true)?;
    let patiently = ["--only", "get", "x", "--read-mode", "local"];
    let others = [stage.ctl_fails(0, &patiently)?, stage.ctl_fails(2, &patiently)?];
    same("n1 answers, and n3", others, [false, false])?;
    let report = client.undo(0).map_err(text)?;
    same(&format!("it bit: {}", report.evidence), report.evidence.bit, true)?;
    same("n2 does not answer", stage.ctl_fails(1, &patiently)?, false)?;

    let host = hosts_from(&stage.setting.testbed).map_err(text)?.swap_remove(2);
    for (fault, action) in [(1, "exit"), (2, "error")] {
        let daemon = host.daemon().map_err(text)?.ok_or("no daemon")?;
        client.apply(fault, failpoint("n3", "after-wal-sync", action)).map_err(text)?;
        eventually("n3 ends of it", || {
            let _ = stage.ctl(0, &["put", "x", action]);
            host.process_state(daemon).is_ok_and(|state| state == ProcessState::Gone)
        })?;
        let report = client.undo(fault).map_err(text)?;
        let is_told =
            |seen: &Effect| matches!(seen, Effect::FailpointEnded { process, .. } if *process == daemon);
        let seen = report.evidence.details.iter().any(|seen| is_told(&seen.effect));
        same(&format!("it bit: {}", report.evidence), (seen, report.evidence.bit), (true, true))?;
        stage.recovers()?;
    }
    let mut ends = Vec::new();
    eventually("its ends are noticed", || {
        ends.extend(stage.runtime.block_on(stage.db.observe()).unwrap_or_default());
        ends.retain(|seen| matches!(seen, Observation::Exit { .. }));
        ends.len() == 2
    })?;
    for end in ends {
        if let Observation::Exit { status, expected, environment, .. } = end {
            same(&format!("a fault wanted it: {status}"), (expected, environment), (true, None))?;
        }
    }
    same("nothing is set any more", stage.is_clear()?, true)?;
    drop(client);
    process.wait().map_err(text)?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}

/// The harness's part in [`failpoint_orphans`]: it has a nemesis stop two nodes, says so, and waits to be killed.
fn failpoint_harness(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let setting: Setting = serde_json::from_str(arguments.first().ok_or("no setting")?).map_err(text)?;
    let (_process, mut client) = nemesis(&setting)?;
    client.apply(0, failpoint("n1", "before-wal-sync", "pause 600000")).map_err(text)?;
    client.apply(1, failpoint("n2", "before-intake", "exit")).map_err(text)?;
    std::fs::write(&setting.ready_file, "").map_err(text)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(1)
}

fn failpoint_orphans(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let mut harness = start("failpoint_harness", &stage.setting, Stdio::piped())?;
    eventually("both are told", || stage.setting.ready_file.exists())?;
    let set = stage.failpoint(0, "before-wal-sync")?;
    same("n1 is told", set["action"].as_str(), Some("pause 600000"))?;
    harness.kill().map_err(text)?;
    harness.wait().map_err(text)?;
    eventually("the nemesis undoes it", || {
        read_journal(&stage.setting.serve.journal).is_ok_and(|journal| journal.outstanding.is_empty())
    })?;
    stage.recovers()?;
    same("nothing is set any more", stage.is_clear()?, true)?;

    // The same from the journal alone, when the nemesis itself is dead.
    let (mut process, mut client) = nemesis(&stage.setting)?;
    client.apply(7, failpoint("n1", "before-intake", "pause 600000")).map_err(text)?;
    process.kill().map_err(text)?;
    process.wait().map_err(text)?;
    drop(client);
    same("n1 is still told", stage.is_clear()?, false)?;
    let hosts = hosts_from(&stage.setting.testbed).map_err(text)?;
    let report = heal(hosts, &stage.setting.serve.journal, Patience::default()).map_err(text)?;
    same(&format!("healed: {report:?}"), stage.is_clear()?, true)?;
    stage.recovers()?;
    Ok(0)
}

/// One state before the latest is kept, and `raise` makes a file.
fn daemon_with_own_orders(stage: &Stage, folder: &Path) -> labrys_nemesis::DaemonSpec {
    let mut daemon = stage.db.daemon_spec(1);
    let commands = daemon.commands.get_or_insert_default();
    if let Some(compact) = commands.orders.get_mut("compact") {
        compact.run.0.iter_mut().filter(|word| *word == "100").for_each(|word| *word = "0".to_owned());
    }
    let line = |words: &[&str]| CommandLine(words.iter().map(|word| (*word).to_owned()).collect());
    let flag = folder.join("flag");
    let flag = flag.to_string_lossy();
    let raise = Order { run: line(&["touch", &flag]), undo: Some(line(&["rm", "-f", &flag])), look: None };
    commands.orders.insert("raise".to_owned(), raise);
    daemon
}
