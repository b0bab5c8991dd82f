//! Orders to real nodes of the reference store. What they do is asked as operators ask.

use std::path::Path;

use labrys_harness::db::Db;
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::hosts_from;
use labrys_nemesis::{CommandLine, Effect, Order, OrderName, Resolved, read_journal};

use super::Case;
use super::nemesis::{Stage, WITHIN, nemesis};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;
use labrys_store::client::{NodeStatus, StatusClient};

pub const CASES: &[Case] =
    &[("nodes_do_what_they_are_ordered_to", |identity| in_folder(identity, "ordered"))];

pub const BODIES: &[Body] = &[("ordered", ordered)];

impl Stage {
    pub fn status_of(&self, node: usize) -> Result<NodeStatus, String> {
        let address = self.db.client_address(node);
        let ask = async {
            let mut client = StatusClient::new(&address).map_err(text)?;
            client.status(None, WITHIN).await.map_err(text)
        };
        self.runtime.block_on(ask)
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
