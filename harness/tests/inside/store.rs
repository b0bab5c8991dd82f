//! The reference store on the testbed.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use labrys_harness::db::{
    Db, DbError, Observation, Readiness, ReferenceStore, ReferenceStoreOptions, StoreClock,
    find_store_binary, set_up_and_start, wait_until_ready, wait_until_recovered,
};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::disks::Disks;
use labrys_harness::testbed::{NetnsTestbed, NetnsTestbedConfig};
use labrys_nemesis::DiskKind;
use labrys_seed::Seed;
use labrys_store::raft::{Defect, Defects};

use super::Case;
use super::scenario::{Body, Identity, Scenario, contains, eventually, open_folder, same, text};

pub const CASES: &[Case] = &[
    ("the_store_comes_up_loses_its_leader_and_recovers", |identity| in_folder(identity, "leader_lost")),
    ("a_paused_node_is_missed_until_it_goes_on", |identity| in_folder(identity, "paused_node")),
    ("a_node_that_dies_at_its_start_says_why", |identity| in_folder(identity, "dies_at_start")),
    ("a_node_on_a_full_disk_says_so", |identity| in_folder(identity, "disk_too_small")),
    ("a_defect_is_switched_on_in_every_node", |identity| in_folder(identity, "with_defect")),
    ("a_wiped_cluster_starts_anew", |identity| in_folder(identity, "wiped_cluster")),
];

pub const BODIES: &[Body] = &[
    ("leader_lost", |enclosure, arguments| run(enclosure, arguments, leader_lost)),
    ("paused_node", |enclosure, arguments| run(enclosure, arguments, paused_node)),
    ("dies_at_start", |enclosure, arguments| run(enclosure, arguments, dies_at_start)),
    ("disk_too_small", disk_too_small),
    ("with_defect", with_defect),
    ("wiped_cluster", |enclosure, arguments| run(enclosure, arguments, wiped_cluster)),
];

const WITHIN: Duration = Duration::from_secs(30);

/// Why these cases cannot be run.
pub fn refusal() -> Option<String> {
    find_store_binary(None).err().map(|error| error.to_string())
}

pub fn in_folder(identity: Identity, scenario: &str) -> Result<(), String> {
    in_this_folder(identity, scenario, open_folder()?.path())
}

pub fn in_this_folder(identity: Identity, scenario: &str, folder: &Path) -> Result<(), String> {
    let binary = find_store_binary(None).map_err(text)?;
    let scenario = Scenario::new(identity, scenario, &[&folder.to_string_lossy()]);
    scenario.env("LABRYS_STORE_BINARY", &binary.to_string_lossy()).succeed().map(|_| ())
}

pub fn cluster(
    enclosure: &Enclosure,
    folder: &str,
    count: usize,
    defects: Defects,
    clock_faults: bool,
) -> Result<(ReferenceStore, NetnsTestbedConfig), String> {
    let clock = clock_faults.then_some(StoreClock::Orders);
    cluster_on(enclosure, folder, count, defects, (clock, None)).map(|(db, config, _)| (db, config))
}

/// The same, with disks that can fail if it is said how their processes are started.
pub fn cluster_on(
    enclosure: &Enclosure,
    folder: &str,
    count: usize,
    defects: Defects,
    (clock, disk): (Option<StoreClock>, Option<(&[String], DiskKind)>),
) -> Result<(ReferenceStore, NetnsTestbedConfig, Option<Disks>), String> {
    let testbed = NetnsTestbed::build(enclosure, count, &Path::new(folder).join("nodes")).map_err(text)?;
    let folders = testbed.config().nodes.iter().map(|node| node.directory.clone());
    let hosts: Vec<_> = testbed.hosts().into_iter().zip(folders).collect();
    let start = |(program, kind): (&[String], DiskKind)| Disks::start(hosts.clone(), program, kind);
    let disks = disk.map(start).transpose().map_err(text)?;
    let binary = find_store_binary(None).map_err(text)?;
    let options = ReferenceStoreOptions {
        flags: Vec::new(),
        binary,
        election_timeout: Duration::from_millis(300),
        pre_vote: true,
        check_quorum: true,
        seed: Seed(7),
        defects,
        clock,
        failpoints: true,
        disk_faults: disks.is_some(),
    };
    Ok((ReferenceStore::new(hosts, &options).map_err(text)?, testbed.config().clone(), disks))
}

pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(text)
}

/// A cluster of three, and what is done with it.
fn run<Done: Future<Output = Result<(), String>>>(
    enclosure: &Enclosure,
    arguments: &[String],
    body: impl FnOnce(Arc<ReferenceStore>) -> Done,
) -> Result<u8, String> {
    let folder = arguments.first().ok_or("no folder")?;
    let db = Arc::new(cluster(enclosure, folder, 3, Defects::NONE, false)?.0);
    runtime()?.block_on(body(db)).map(|()| 0)
}

/// Observes until `enough` is seen.
async fn observe_until(
    db: &ReferenceStore,
    seen: &mut Vec<Observation>,
    what: &str,
    enough: impl Fn(&[Observation]) -> bool,
) -> Result<(), String> {
    let looking = async {
        while !enough(seen) {
            seen.extend(db.observe().await.map_err(text)?);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    tokio::time::timeout(WITHIN, looking).await.map_err(|_| format!("never seen: {what}"))?
}

fn position(db: &ReferenceStore, name: &str) -> Result<usize, String> {
    db.node_names().iter().position(|other| other == name).ok_or(format!("no node {name}"))
}

async fn the_leader(db: &ReferenceStore) -> Result<usize, String> {
    let mut seen = Vec::new();
    observe_until(db, &mut seen, "a leader", |_| !db.primaries().is_empty()).await?;
    let primaries = db.primaries();
    position(db, primaries.first().ok_or("nobody leads any more")?)
}

async fn leader_lost(db: Arc<ReferenceStore>) -> Result<(), String> {
    set_up_and_start(&*db, WITHIN).await.map_err(text)?;
    let mut seen = Vec::new();
    observe_until(&db, &mut seen, "a leader and a digest of each node", |seen| {
        let digests = seen.iter().filter(|one| matches!(one, Observation::Digest { .. })).count();
        seen.iter().any(|one| matches!(one, Observation::Leader { .. }))
            && digests >= 3
            && !db.primaries().is_empty()
    })
    .await?;
    let first = position(&db, db.primaries().first().ok_or("nobody leads any more")?)?;
    db.kill(first).await.map_err(text)?;
    let Readiness::NotYet(missing) = db.recovery().await.map_err(text)? else {
        return Err("recovered without a node".to_owned());
    };
    contains(&missing, &db.client_address(first))?;
    let killed = db.node_names()[first].clone();
    let is_another = |name: &String| *name != killed;
    observe_until(&db, &mut seen, "another leader", |_| db.primaries().first().is_some_and(is_another))
        .await?;
    observe_until(&db, &mut seen, "the end of the killed node", |seen| {
        let exit = |one: &Observation| {
            matches!(one, Observation::Exit { node, status, expected: true, .. }
                if *node == killed && status == "signal 9")
        };
        seen.iter().any(exit)
    })
    .await?;
    db.start(first).await.map_err(text)?;
    wait_until_recovered(&*db, WITHIN).await.map_err(text)?;

    seen.extend(db.final_observations().await.map_err(text)?);
    let mut terms: Vec<u64> = seen
        .iter()
        .filter_map(|one| if let Observation::Leader { term, .. } = one { Some(*term) } else { None })
        .collect();
    let leaderships = terms.len();
    terms.sort_unstable();
    terms.dedup();
    same("no term has two leaders, none is reported twice", terms.len(), leaderships)?;
    same("at least two terms had a leader", leaderships >= 2, true)?;
    same_digests(&seen)?;

    for node in 0..3 {
        db.tear_down(node).await.map_err(text)?;
        db.tear_down(node).await.map_err(text)?;
    }
    seen.extend(db.closing_observations().await.map_err(text)?);
    let orderly = |one: &&Observation| matches!(one, Observation::Exit { status, expected: true, .. } if status == "exit code 0");
    same("orderly ends, each told once", seen.iter().filter(orderly).count(), 3)
}

/// The last digests are of all nodes at one index, and equal.
fn same_digests(seen: &[Observation]) -> Result<(), String> {
    let digests: Vec<(u64, &String, &String)> = seen
        .iter()
        .filter_map(|one| match one {
            Observation::Digest { node, applied, digest } => Some((*applied, node, digest)),
            _ => None,
        })
        .collect();
    let last = digests.iter().map(|(applied, ..)| *applied).max().ok_or("no digest")?;
    let of_last: Vec<_> = digests.iter().filter(|(applied, ..)| *applied == last).collect();
    same("nodes with a digest at the last index", of_last.len(), 3)?;
    same("their digests are equal", of_last.iter().all(|(_, _, digest)| *digest == of_last[0].2), true)
}

async fn paused_node(db: Arc<ReferenceStore>) -> Result<(), String> {
    set_up_and_start(&*db, WITHIN).await.map_err(text)?;
    let follower = (the_leader(&db).await? + 1) % 3;
    db.pause(follower).await.map_err(text)?;
    let Readiness::NotYet(missing) = db.readiness().await.map_err(text)? else {
        return Err("ready without a node".to_owned());
    };
    contains(&missing, &db.client_address(follower))?;
    db.resume(follower).await.map_err(text)?;
    wait_until_recovered(&*db, WITHIN).await.map_err(text)?;
    // What stands still is ended all the same.
    db.pause(follower).await.map_err(text)?;
    db.tear_down(follower).await.map_err(text)?;
    let late = wait_until_ready(&*db, Duration::from_millis(50)).await.expect_err("one of three is gone");
    contains(&text(late), "labrys-store was not ready within")?;
    contains(&text(db.pause(follower).await.expect_err("it is gone")), "no daemon is running")
}

async fn dies_at_start(db: Arc<ReferenceStore>) -> Result<(), String> {
    let data = db.daemon_spec(1).directory.join("data");
    std::fs::write(&data, "not a folder").map_err(text)?;
    let error = set_up_and_start(&*db, WITHIN).await.expect_err("n2 has no data directory");
    let DbError::Ended { ref node, ref status, ref log, .. } = error else {
        return Err(format!("{error:?}"));
    };
    same("who", node.as_str(), "n2")?;
    same("how", status.as_str(), "exit code 4")?;
    same("its last words are shown", log.iter().any(|line| line.contains("\"fatal\"")), true)?;
    contains(&text(&error), &data.to_string_lossy())?;
    // What was found out is in the history, too.
    let mut seen = Vec::new();
    observe_until(&db, &mut seen, "the unexpected end", |seen| {
        seen.iter().any(|one| {
            matches!(one, Observation::Exit { node, expected: false, log, .. }
            if node == "n2" && !log.is_empty())
        })
    })
    .await
}

fn disk_too_small(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let folder = arguments.first().ok_or("no folder")?;
    let (db, _) = cluster(enclosure, folder, 1, Defects::NONE, false)?;
    let data = db.daemon_spec(0).directory.join("data");
    std::fs::create_dir_all(&data).map_err(text)?;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &data, Some("tmpfs"), flags, Some("size=4k,nr_inodes=64"))
        .map_err(text)?;
    // Until not a byte more fits.
    std::fs::write(data.join("ballast"), vec![0_u8; 1 << 16]).expect_err("4 KiB");
    let error = runtime()?.block_on(set_up_and_start(&db, WITHIN)).expect_err("no room");
    let DbError::Ended { ref status, .. } = error else { return Err(format!("{error:?}")) };
    same("how", status.as_str(), "exit code 6")?;
    contains(&text(&error), "No space left on device")?;
    Ok(0)
}

fn with_defect(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let folder = arguments.first().ok_or("no folder")?;
    let (db, _) = cluster(enclosure, folder, 1, Defects::NONE.with(Defect::FollowerRead), false)?;
    runtime()?.block_on(set_up_and_start(&db, WITHIN)).map_err(text)?;
    let log = &db.log_files(0)[0];
    eventually("the log says so", || {
        std::fs::read_to_string(log).is_ok_and(|log| log.contains("\"defects\":[\"follower-read\"]"))
    })?;
    Ok(0)
}

async fn wiped_cluster(db: Arc<ReferenceStore>) -> Result<(), String> {
    set_up_and_start(&*db, WITHIN).await.map_err(text)?;
    contains(&text(db.wipe(0).await.expect_err("it lives")), "cannot be removed while it lives")?;
    for node in 0..3 {
        db.kill(node).await.map_err(text)?;
        db.wipe(node).await.map_err(text)?;
        same("its data is there", db.daemon_spec(node).directory.join("data").exists(), false)?;
    }
    set_up_and_start(&*db, WITHIN).await.map_err(text)?;
    wait_until_recovered(&*db, WITHIN).await.map_err(text)
}
