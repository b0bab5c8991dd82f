//! Disk faults and power cuts on real nodes of the reference store: what they had acknowledged is there afterwards, and what ends of a
//! disk is started again.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use labrys_harness::db::{Db, Observation, wait_until_recovered};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::{disks, hosts_from};
use labrys_nemesis::{
    DiskKind, DiskTrouble, Effect, FaultReport, Patience, PowerLoss, Resolved, heal, read_journal, run_disk,
};

use super::Case;
use super::nemesis::{Setting, Stage, WITHIN, nemesis, start};
use super::scenario::{Body, Identity, eventually, open_folder, same, text};
use super::store::{in_folder, in_this_folder};

pub const CASES: &[Case] = &[
    ("all_nodes_lose_power_at_once_and_the_cluster_comes_back", |identity| {
        leaves_nothing(in_folder(identity, "all_without_power"))
    }),
    ("a_node_ends_of_its_full_disk_and_is_started_again_when_there_is_space", |identity| {
        leaves_nothing(in_folder(identity, "full_disk"))
    }),
    ("disks_are_healed_from_the_journal_alone", |identity| {
        leaves_nothing(in_folder(identity, "disk_healed"))
    }),
    ("disks_are_well_after_the_harness_was_killed", |identity| {
        leaves_nothing(in_folder(identity, "disk_of_orphans"))
    }),
];

/// On a real file system, which takes root.
pub const CASES_OF_ROOT: &[Case] = &[
    ("all_nodes_lose_power_at_once_on_ext4_and_the_cluster_comes_back", |identity| {
        on_ext4(identity, "ext4_without_power")
    }),
    ("nodes_on_ext4_are_healed_from_the_journal_alone", |identity| on_ext4(identity, "ext4_healed")),
    ("nodes_on_ext4_are_well_after_the_harness_was_killed", |identity| on_ext4(identity, "ext4_of_orphans")),
    ("when_all_is_killed_the_mounts_of_ext4_and_their_loop_devices_go_too", |identity| {
        on_ext4(identity, "ext4_left_alone")
    }),
];

/// Why they cannot be run.
pub fn refusal_of_ext4() -> Option<String> {
    let probe = "d=$(mktemp -d) && truncate -s 8M $d/image && PATH=$PATH:/usr/sbin:/sbin && mkfs.ext4 -q -F $d/image && \
        mkdir $d/mount && mount -t ext4 -o loop $d/image $d/mount && umount $d/mount && rm -r $d";
    let output = Command::new("unshare").args(["--mount", "sh", "-c", probe]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

pub const BODIES: &[Body] = &[
    ("all_without_power", all_without_power),
    ("full_disk", full_disk),
    ("disk_healed", disk_healed),
    ("disk_of_orphans", disk_of_orphans),
    ("disk_harness", disk_harness),
    ("ext4_without_power", ext4_without_power),
    ("ext4_healed", ext4_healed),
    ("ext4_of_orphans", ext4_of_orphans),
    ("ext4_harness", ext4_harness),
    ("ext4_left_alone", ext4_left_alone),
    ("disk", |_, arguments| {
        run_disk(arguments.first().ok_or("no orders")?.as_ref()).map_err(text)?;
        Ok(0)
    }),
];

/// Outside, when all is over: no file system of ours is mounted there.
fn leaves_nothing(outcome: Result<(), String>) -> Result<(), String> {
    outcome?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
    same("mounted outside", mounts.contains("labrys-disk"), false)
}

/// The same of a real file system: no loop device has a file of the test's.
fn on_ext4(identity: Identity, scenario: &str) -> Result<(), String> {
    let folder = open_folder()?;
    leaves_nothing(in_this_folder(identity, scenario, folder.path()))?;
    eventually("its loop devices are free", || loop_files(folder.path()).is_empty())
}

/// The files below a folder that are the disks of loop devices.
fn loop_files(folder: &Path) -> Vec<String> {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files =
        devices.filter_map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file).starts_with(folder)).collect()
}

fn effects(report: &FaultReport) -> Vec<&Effect> {
    report.evidence.details.iter().map(|seen| &seen.effect).collect()
}

fn of_n2(trouble: DiskTrouble) -> Resolved {
    Resolved::Disk { nodes: vec!["n2".to_owned()], trouble }
}

impl Stage {
    /// Unmounts the disks; nothing but what the nodes saw is left of them.
    fn disks_go(&mut self) -> Result<(), String> {
        for node in 0..3 {
            self.runtime.block_on(self.db.tear_down(node)).map_err(text)?;
        }
        let errors = self.disks.as_mut().ok_or("no disks")?.stop();
        same("errors", errors.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::new())?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
        same("mounted inside", mounts.contains("labrys-disk"), false)?;
        for node in &self.setting.testbed.nodes {
            same("orders", disks::order_file(&node.directory).exists(), false)?;
            let image = node.directory.join("disk.json.ext4");
            same("an image", image.exists(), false)?;
            let data = disks::mount_point(&node.directory).join("data");
            same("what the node wrote", data.join("identity.json").exists(), true)?;
        }
        let outstanding = read_journal(&self.setting.serve.journal).map_err(text)?.outstanding;
        same("outstanding faults", outstanding.len(), 0)
    }
}

fn all_without_power(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set_on_disks(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    let nodes = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
    for (id, loss) in (0..).zip([PowerLoss::Everything, PowerLoss::Torn, PowerLoss::Reordered]) {
        let report = client.apply(id, Resolved::PowerCut { nodes: nodes.clone(), loss }).map_err(text)?;
        let lost = effects(&report).into_iter().filter(|effect| matches!(effect, Effect::PowerLost { .. }));
        same("nodes without power", lost.count(), 3)?;
        client.undo(id).map_err(text)?;
        stage.recovers()?;
    }
    drop(client);
    process.wait().map_err(text)?;
    stage.disks_go()?;
    Ok(0)
}

fn full_disk(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set_on_disks(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    client.apply(0, of_n2(DiskTrouble::Full)).map_err(text)?;
    // Started anew it writes, and ends of that.
    client.apply(1, Resolved::Kill { nodes: vec!["n2".to_owned()] }).map_err(text)?;
    client.undo(1).map_err(text)?;
    let mut seen = Vec::new();
    eventually("n2 has ended of its disk", || {
        seen.extend(stage.runtime.block_on(stage.db.observe()).unwrap_or_default());
        seen.iter().any(|seen| matches!(seen, Observation::Exit { status, .. } if status == "exit code 6"))
    })?;
    for exit in seen {
        if let Observation::Exit { expected, environment, .. } = exit {
            same("a fault wanted it", (expected, environment), (true, None))?;
        }
    }
    let report = client.undo(0).map_err(text)?;
    same("it bit", report.evidence.bit, true)?;
    let restarted = effects(&report).into_iter().any(|effect| matches!(effect, Effect::Restarted { .. }));
    same("it was started again", restarted, true)?;
    stage.recovers()?;
    drop(client);
    process.wait().map_err(text)?;
    stage.disks_go()?;
    Ok(0)
}

fn disk_healed(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set_on_disks(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    let without_power =
        Resolved::PowerCut { nodes: vec!["n1".to_owned(), "n2".to_owned()], loss: PowerLoss::Torn };
    client.apply(0, without_power).map_err(text)?;
    client.apply(1, of_n2(DiskTrouble::SyncsFail)).map_err(text)?;
    // It cannot undo anything.
    process.kill().map_err(text)?;
    process.wait().map_err(text)?;
    let healed = || {
        let hosts = hosts_from(&stage.setting.testbed).map_err(text)?;
        heal(hosts, &stage.setting.serve.journal, Patience::default()).map_err(text)
    };
    same("faults undone", healed()?.len(), 2)?;
    same("faults undone, the second time", healed()?.len(), 0)?;
    stage.runtime.block_on(wait_until_recovered(&stage.db, WITHIN)).map_err(text)?;
    stage.disks_go()?;
    Ok(0)
}

/// The harness's part in [`disk_of_orphans`]: it has a nemesis break a disk, says so, and waits to be killed.
fn disk_harness(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let setting: Setting = serde_json::from_str(arguments.first().ok_or("no setting")?).map_err(text)?;
    let (_process, mut client) = nemesis(&setting)?;
    client.apply(0, of_n2(DiskTrouble::WritesFail)).map_err(text)?;
    std::fs::write(&setting.ready_file, "").map_err(text)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(1)
}

fn disk_of_orphans(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set_on_disks(enclosure, arguments)?;
    let mut harness = start("disk_harness", &stage.setting, Stdio::piped())?;
    eventually("the disk fails", || stage.setting.ready_file.exists())?;
    let probe = disks::mount_point(&stage.setting.testbed.nodes[1].directory).join("probe");
    same("a file can be made", std::fs::write(&probe, "x").is_ok(), false)?;
    harness.kill().map_err(text)?;
    harness.wait().map_err(text)?;
    eventually("the nemesis undoes it", || {
        read_journal(&stage.setting.serve.journal).is_ok_and(|journal| journal.outstanding.is_empty())
    })?;
    std::fs::write(&probe, "x").map_err(text)?;
    stage.recovers()?;
    stage.disks_go()?;
    Ok(0)
}

fn n1_to_n3() -> Vec<String> {
    ["n1", "n2", "n3"].map(str::to_owned).to_vec()
}

fn without_power() -> Resolved {
    Resolved::PowerCut { nodes: n1_to_n3(), loss: PowerLoss::Everything }
}

fn ext4_without_power(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set_on_ext4(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    for id in 0..3 {
        let report = client.apply(id, without_power()).map_err(text)?;
        let of_ext4 = effects(&report)
            .into_iter()
            .filter(|effect| matches!(effect, Effect::UnsyncedLost { disk: DiskKind::Ext4, .. }));
        same("nodes whose ext4 lost power", of_ext4.count(), 3)?;
        let lost = effects(&report).into_iter().filter(|effect| matches!(effect, Effect::PowerLost { .. }));
        same("nodes without power", lost.count(), 3)?;
        client.undo(id).map_err(text)?;
        stage.recovers()?;
    }
    for exit in stage.runtime.block_on(stage.db.observe()).map_err(text)? {
        if let Observation::Exit { expected, environment, .. } = exit {
            same("a fault wanted it", (expected, environment), (true, None))?;
        }
    }
    drop(client);
    process.wait().map_err(text)?;
    stage.disks_go()?;
    Ok(0)
}

fn ext4_healed(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set_on_ext4(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    client.apply(0, without_power()).map_err(text)?;
    // It cannot undo anything.
    process.kill().map_err(text)?;
    process.wait().map_err(text)?;
    let healed = || {
        let hosts = hosts_from(&stage.setting.testbed).map_err(text)?;
        heal(hosts, &stage.setting.serve.journal, Patience::default()).map_err(text)
    };
    same("faults undone", healed()?.len(), 1)?;
    same("faults undone, the second time", healed()?.len(), 0)?;
    stage.recovers()?;
    stage.disks_go()?;
    Ok(0)
}

/// The harness's part in [`ext4_of_orphans`].
fn ext4_harness(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let setting: Setting = serde_json::from_str(arguments.first().ok_or("no setting")?).map_err(text)?;
    let (_process, mut client) = nemesis(&setting)?;
    client.apply(0, without_power()).map_err(text)?;
    std::fs::write(&setting.ready_file, "").map_err(text)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(1)
}

fn ext4_of_orphans(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let mut stage = Stage::set_on_ext4(enclosure, arguments)?;
    let mut harness = start("ext4_harness", &stage.setting, Stdio::piped())?;
    eventually("the power is off", || stage.setting.ready_file.exists())?;
    harness.kill().map_err(text)?;
    harness.wait().map_err(text)?;
    eventually("the nemesis undoes it", || {
        read_journal(&stage.setting.serve.journal).is_ok_and(|journal| journal.outstanding.is_empty())
    })?;
    stage.recovers()?;
    stage.disks_go()?;
    Ok(0)
}

/// Everybody else is killed when this process, the harness of the isolation, ends.
fn ext4_left_alone(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set_on_ext4(enclosure, arguments)?;
    let (_process, mut client) = nemesis(&stage.setting)?;
    client.apply(0, without_power()).map_err(text)?;
    let folder = Path::new(arguments.first().ok_or("no folder")?);
    same("loop devices in use", loop_files(folder).len(), 3)?;
    std::process::exit(0);
}
