//! Real nodes that run short of what the machine gives them. What they still do is asked as clients ask.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use labrys_harness::db::{Db, Observation};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::hosts_from;
use labrys_nemesis::{
    CommandLine, Effect, LimitMechanism, Order, OrderName, ProcessIdentity, ProcessState, Resolved,
    ResourceTrouble, read_journal,
};
use labrys_store::client::StatusClient;

use super::Case;
use super::nemesis::{Setting, Stage, nemesis, start};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] = &[
    ("a_node_without_descriptors_takes_no_new_connection_until_it_has_some_again", |identity| {
        in_folder(identity, "no_descriptors")
    }),
    (
        "nodes_have_what_they_were_short_of_and_orders_are_taken_back_after_the_harness_was_killed",
        |identity| in_folder(identity, "short_orphans"),
    ),
    ("a_node_that_ended_for_want_of_memory_has_not_crashed_and_is_started_again", |identity| {
        in_folder(identity, "no_memory")
    }),
];

pub const BODIES: &[Body] = &[
    ("no_descriptors", no_descriptors),
    ("short_orphans", short_orphans),
    ("short_harness", short_harness),
    ("no_memory", no_memory),
];

/// Of n2.
fn descriptors() -> Resolved {
    Resolved::Resource { nodes: vec!["n2".to_owned()], trouble: ResourceTrouble::Descriptors }
}

impl Stage {
    /// Whether `n2` answers on a new connection.
    fn answers(&self) -> bool {
        let address = self.db.client_address(1);
        let ask = async {
            let mut client = StatusClient::new(&address).ok()?;
            client.status(None, Duration::from_millis(500)).await.ok()
        };
        self.runtime.block_on(ask).is_some()
    }
}

fn no_descriptors(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    same("it answers", stage.answers(), true)?;
    let report = client.apply(0, descriptors()).map_err(text)?;
    same("it bit", report.evidence.bit, true)?;
    let limits = report.evidence.details.iter().find_map(|seen| match seen.effect {
        Effect::DescriptorsLimited { limit, usual, .. } => Some((limit, usual)),
        _ => None,
    });
    let (limit, usual) = limits.ok_or("nobody read its limits")?;
    same("it may have fewer open", limit < usual, true)?;
    // Descriptors below the highest that were free are used up by connections that say nothing.
    let address = stage.db.client_address(1);
    let mut silent = Vec::new();
    for _ in 0..=limit {
        silent.extend(TcpStream::connect(&address).ok());
    }
    eventually("it answers nobody any more", || !stage.answers())?;
    client.apply(1, descriptors()).map_err(text)?;
    client.undo(0).map_err(text)?;
    same("the other fault holds it", stage.answers(), false)?;
    client.undo(1).map_err(text)?;
    eventually("it answers again", || stage.answers())?;
    drop((silent, client));
    process.wait().map_err(text)?;
    stage.recovers()?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}

/// The control groups that were made for a process; other tests have theirs at the same time.
fn groups_below(folder: &Path, process: ProcessIdentity) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_ours = name == format!("labrys-inside-n2-{}-{}", process.pid, process.start_ticks);
            if is_ours { found.push(name) } else { found.extend(groups_below(&entry.path(), process)) }
        }
    }
    found
}

fn of_n2(trouble: ResourceTrouble) -> Resolved {
    Resolved::Resource { nodes: vec!["n2".to_owned()], trouble }
}

/// The harness's part in [`short_orphans`]: it has a nemesis take things from n2, says how, and waits to be killed.
fn short_harness(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let setting: Setting = serde_json::from_str(arguments.first().ok_or("no setting")?).map_err(text)?;
    let (_process, mut client) = nemesis(&setting)?;
    let report = client.apply(0, of_n2(ResourceTrouble::ProcessorPercent(2))).map_err(text)?;
    let by = report.evidence.details.iter().find_map(|seen| match seen.effect {
        Effect::ProcessorLimited { by, .. } => Some(by),
        _ => None,
    });
    client.apply(1, descriptors()).map_err(text)?;
    client.apply(2, of_n2(ResourceTrouble::MemoryMarginKib(1 << 20))).map_err(text)?;
    let order = OrderName::Command("raise".to_owned());
    client.apply(3, Resolved::Application { nodes: vec!["n1".to_owned()], order }).map_err(text)?;
    let draft = setting.ready_file.with_extension("draft");
    std::fs::write(&draft, serde_json::to_vec(&by).map_err(text)?).map_err(text)?;
    std::fs::rename(draft, &setting.ready_file).map_err(text)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(1)
}

fn short_orphans(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set(enclosure, arguments)?;
    let flag = Path::new(&arguments[0]).join("flag");
    let line = |words: [&str; 3]| {
        let words = words.iter().filter(|word| !word.is_empty()).map(|word| (*word).to_owned());
        CommandLine(words.collect())
    };
    let place = flag.to_string_lossy();
    let raise =
        Order { run: line(["touch", &place, ""]), undo: Some(line(["rm", "-f", &place])), look: None };
    let first = stage.setting.serve.daemons.get_mut("n1").ok_or("no n1")?;
    first.commands.get_or_insert_default().orders.insert("raise".to_owned(), raise);
    let host = hosts_from(&stage.setting.testbed).map_err(text)?.swap_remove(1);
    let process = host.daemon().map_err(text)?.ok_or("no daemon")?;
    let limits = || std::fs::read_to_string(format!("/proc/{}/limits", process.pid)).map_err(text);
    let groups = || std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).map_err(text);
    let before = (limits()?, groups()?);

    let mut harness = start("short_harness", &stage.setting, Stdio::piped())?;
    eventually("n2 is short of everything", || stage.setting.ready_file.exists())?;
    let by: Option<LimitMechanism> =
        serde_json::from_slice(&std::fs::read(&stage.setting.ready_file).map_err(text)?).map_err(text)?;
    if enclosure.has_user_namespace() {
        same("what takes no privilege", by, Some(LimitMechanism::Signals))?;
    }
    same("n1 was given an order", flag.exists(), true)?;
    same(
        "it is limited",
        limits()? != before.0 && (by == Some(LimitMechanism::Signals)) == (groups()? == before.1),
        true,
    )?;
    harness.kill().map_err(text)?;
    harness.wait().map_err(text)?;
    eventually("the nemesis undoes it", || {
        read_journal(&stage.setting.serve.journal).is_ok_and(|journal| journal.outstanding.is_empty())
    })?;
    same("limits and control groups", (limits()?, groups()?), before)?;
    same("control groups", groups_below(Path::new("/sys/fs/cgroup"), process), Vec::new())?;
    same("it runs", host.process_state(process).map_err(text)?, ProcessState::Running)?;
    same("the order was taken back", flag.exists(), false)?;
    let left: BTreeMap<String, u64> = std::fs::read_dir(host_folder(&stage))
        .map_err(text)?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?.len())))
        .filter(|(name, _)| name.starts_with("processor-") && !name.ends_with(".log"))
        .collect();
    same("orders", left, BTreeMap::new())?;
    stage.recovers()?;
    Ok(0)
}

fn host_folder(stage: &Stage) -> std::path::PathBuf {
    stage.setting.testbed.nodes[1].directory.clone()
}

fn no_memory(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    let host = hosts_from(&stage.setting.testbed).map_err(text)?.swap_remove(1);
    let daemon = host.daemon().map_err(text)?.ok_or("no daemon")?;
    let report = client.apply(0, of_n2(ResourceTrouble::MemoryMarginKib(64))).map_err(text)?;
    same(&format!("it is limited: {report:?}"), report.failures.len(), 0)?;
    // Connections take memory.
    let address = stage.db.client_address(1);
    let mut connections = Vec::new();
    eventually("n2 has ended of it", || {
        connections.extend((0..50).filter_map(|_| TcpStream::connect(&address).ok()));
        let _ = stage.answers();
        host.process_state(daemon).is_ok_and(|state| state == ProcessState::Gone)
    })?;
    drop(connections);
    let report = client.undo(0).map_err(text)?;
    same("it bit", report.evidence.bit, true)?;
    same("control groups", groups_below(Path::new("/sys/fs/cgroup"), daemon), Vec::new())?;
    let mut seen = Vec::new();
    eventually("its end is noticed", || {
        seen.extend(stage.runtime.block_on(stage.db.observe()).unwrap_or_default());
        seen.iter().any(|seen| matches!(seen, Observation::Exit { .. }))
    })?;
    for exit in seen {
        if let Observation::Exit { status, expected, environment, .. } = exit {
            same(&format!("a fault wanted it: {status}"), (expected, environment), (true, None))?;
        }
    }
    drop(client);
    process.wait().map_err(text)?;
    stage.recovers()?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}
