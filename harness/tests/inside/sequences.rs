//! Kinds of several faults, carried out step by step on real nodes in the order of their plan: after each step it is looked, at traffic and
//! at clocks, who is hit. When the steps come is for the tests of the plan; here nothing depends on time.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use labrys_harness::db::Db;
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::LocalHost;
use labrys_nemesis::{PlanConfig, Scheduled, Target, View, plan, read_journal, resolve};
use labrys_seed::Seed;
use labrys_store::client::StatusClient;

use super::Case;
use super::nemesis::{NemesisOverSocket, Stage, WITHIN, nemesis};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] = &[
    ("a_swizzle_cuts_nodes_off_one_by_one_and_lets_them_back_one_by_one", |identity| {
        in_folder(identity, "swizzle")
    }),
    ("a_flapping_partition_keeps_the_same_nodes_apart_again_and_again", |identity| {
        in_folder(identity, "flapping")
    }),
    ("a_strobe_makes_the_same_clocks_gain_and_lose_by_turns", |identity| in_folder(identity, "strobe")),
];

pub const BODIES: &[Body] = &[("swizzle", swizzle), ("flapping", flapping), ("strobe", strobe)];

const NODES: usize = 3;

/// The first faults of a kind, as a seed plans them: those of one window at most.
fn planned(kind: &str, seed: u64) -> Result<Vec<Scheduled>, String> {
    let config = PlanConfig::new(vec![kind.parse().map_err(text)?], 8_000, 60_000, NODES);
    let faults = plan(Seed(seed), &config).faults;
    let first = faults.first().ok_or("no fault")?.clone();
    Ok(faults.into_iter().filter(|fault| fault.at_ms < first.at_ms + 3_000).take(6).collect())
}

/// The positions of the nodes that a fault is aimed at.
fn hit(fault: &Scheduled) -> Result<BTreeSet<usize>, String> {
    match fault.fault.target() {
        Some(Target::Numbers(numbers)) => Ok(numbers.iter().map(|number| number - 1).collect()),
        other => Err(format!("not aimed at numbers: {other:?}")),
    }
}

/// Applies and undoes the faults in the order of their times; after each step the active ones are looked at.
fn carry_out(
    stage: &Stage,
    client: &mut NemesisOverSocket,
    faults: &[Scheduled],
    mut look: impl FnMut(&[&Scheduled]) -> Result<(), String>,
) -> Result<(), String> {
    let nodes = stage.db.node_names();
    let view = View { nodes, ..View::default() };
    let mut steps: Vec<(u64, bool, &Scheduled)> = Vec::new();
    for fault in faults {
        steps.push((fault.at_ms, true, fault));
        steps.push((fault.at_ms + fault.duration_ms, false, fault));
    }
    steps.sort_by_key(|(at_ms, applies, fault)| (*at_ms, *applies, fault.id));
    let mut active: Vec<&Scheduled> = Vec::new();
    for (_, applies, fault) in steps {
        if applies {
            let resolved = resolve(&fault.fault, &view, &mut Seed(1).rng());
            client.apply(fault.id, resolved).map_err(text)?;
            active.push(fault);
        } else {
            client.undo(fault.id).map_err(text)?;
            active.retain(|other| other.id != fault.id);
        }
        look(&active)?;
    }
    same("faults are left", active.len(), 0)
}

/// Whether each node reaches each other one, by opening a connection to its store.
fn links_that_are_cut(stage: &Stage) -> Result<BTreeSet<(usize, usize)>, String> {
    let hosts: Vec<LocalHost> = stage
        .setting
        .testbed
        .nodes
        .iter()
        .map(|node| {
            let namespace = Path::new("/run/netns").join(&node.name);
            LocalHost::new(&node.name, node.address.into(), &namespace, &node.directory).map_err(text)
        })
        .collect::<Result<_, _>>()?;
    let mut cut = BTreeSet::new();
    for (from, host) in hosts.iter().enumerate() {
        for to in (0..NODES).filter(|to| *to != from) {
            let address: SocketAddr = stage.db.client_address(to).parse().map_err(text)?;
            // Over a link that is not cut a connection is made at the first attempt, or, on a slow machine, at one after it.
            let mut tries = [100, 400].into_iter();
            let is_cut = loop {
                let Some(patience_ms) = tries.next() else { break true };
                let patience = Duration::from_millis(patience_ms);
                let tried = host.in_network(|| TcpStream::connect_timeout(&address, patience));
                match tried.map_err(text)? {
                    Ok(_) => break false,
                    Err(error) if error.kind() == ErrorKind::TimedOut => {}
                    Err(error) => return Err(format!("n{} to n{}: {error}", from + 1, to + 1)),
                }
            };
            if is_cut {
                cut.insert((from, to));
            }
        }
    }
    Ok(cut)
}

fn all_links() -> impl Iterator<Item = (usize, usize)> {
    (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

fn close(stage: &Stage, client: NemesisOverSocket, mut process: std::process::Child) -> Result<u8, String> {
    drop(client);
    process.wait().map_err(text)?;
    stage.recovers()?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}

fn swizzle(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (process, mut client) = nemesis(&stage.setting)?;
    // Of which two nodes are cut off at least.
    let faults = planned("partition-swizzle", 1)?;
    let mut shut_off = Vec::new();
    carry_out(&stage, &mut client, &faults, |active| {
        let mut alone = BTreeSet::new();
        for fault in active {
            let nodes = hit(fault)?;
            same("nodes that one step cuts off", nodes.len(), 1)?;
            alone.extend(nodes);
        }
        let expected = all_links().filter(|(from, to)| alone.contains(from) || alone.contains(to)).collect();
        same("links that are cut", links_that_are_cut(&stage)?, expected)?;
        shut_off.push(alone.len());
        Ok(())
    })?;
    let rises = (1..=faults.len()).chain((0..faults.len()).rev()).collect();
    same("one by one", shut_off, rises)?;
    same("two nodes at least", faults.len() >= 2, true)?;
    close(&stage, client, process)
}

fn flapping(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (process, mut client) = nemesis(&stage.setting)?;
    let mut faults = planned("partition-flapping", 2)?;
    faults.truncate(3);
    let apart = hit(&faults[0])?;
    let mut seen = Vec::new();
    carry_out(&stage, &mut client, &faults, |active| {
        let is_cut = |(from, to): &(usize, usize)| apart.contains(from) != apart.contains(to);
        let expected = all_links().filter(|link| !active.is_empty() && is_cut(link)).collect();
        same("links that are cut", links_that_are_cut(&stage)?, expected)?;
        seen.push(active.len());
        Ok(())
    })?;
    same("again and again", seen, vec![1, 0, 1, 0, 1, 0])?;
    close(&stage, client, process)
}

/// A reading of a node's clock, with moments between which it was taken.
struct Reading {
    after: Instant,
    before: Instant,
    clock_ms: u64,
}

impl Stage {
    fn clock_of(&self, node: usize) -> Result<Reading, String> {
        let address = self.db.client_address(node);
        let after = Instant::now();
        let ask = async {
            let mut client = StatusClient::new(&address).map_err(text)?;
            client.status(None, WITHIN).await.map(|status| status.uptime_ms).map_err(text)
        };
        let clock_ms = self.runtime.block_on(ask)?;
        Ok(Reading { after, before: Instant::now(), clock_ms })
    }
}

/// How many milliseconds a clock has certainly gained between two readings, and how many it has certainly lost.
fn gained_and_lost_ms(first: &Reading, second: &Reading) -> (i64, i64) {
    let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let passed_ms = second.clock_ms.cast_signed() - first.clock_ms.cast_signed();
    let most_ms = milliseconds(second.before.duration_since(first.after)) + 1;
    let least_ms = milliseconds(second.after.saturating_duration_since(first.before));
    // Each reading is rounded down.
    (passed_ms - 1 - most_ms, least_ms - passed_ms - 1)
}

fn strobe(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    /// More than rounding.
    const CERTAIN_MS: i64 = 5;
    let stage = Stage::set(enclosure, arguments)?;
    let (process, mut client) = nemesis(&stage.setting)?;
    // Of which not all nodes are hit.
    let (faults, wrong) = (0..20)
        .map(|seed| {
            let faults = planned("clock-strobe", seed)?;
            let wrong = hit(&faults[0])?;
            Ok::<_, String>((faults, wrong))
        })
        .find(|planned| planned.as_ref().map_or(true, |(_, wrong)| wrong.len() < NODES))
        .ok_or("all strobes hit all nodes")??;
    let mut gains = Vec::new();
    carry_out(&stage, &mut client, &faults[..4], |active| {
        if active.is_empty() {
            return Ok(());
        }
        for node in 0..NODES {
            let first = stage.clock_of(node)?;
            let mut drift = (0, 0);
            let look = |drift: &mut (i64, i64)| {
                *drift = stage.clock_of(node).map_or((0, 0), |second| gained_and_lost_ms(&first, &second));
                drift.0.max(drift.1) > CERTAIN_MS
            };
            if wrong.contains(&node) {
                eventually("a clock goes wrong", || look(&mut drift))?;
                gains.push(drift.0 > CERTAIN_MS);
            } else {
                same("a clock that is not hit goes wrong", look(&mut drift), false)?;
            }
        }
        Ok(())
    })?;
    let turns = [true, false, true, false].into_iter().flat_map(|gains| vec![gains; wrong.len()]);
    same("it gains and loses by turns", gains, turns.collect())?;
    close(&stage, client, process)
}
