//! What tests of faults on real nodes of the reference store share: three nodes, and a nemesis in a process of its own.

use std::io::BufReader;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use labrys_harness::db::{Db, ReferenceStore, StoreClock, set_up_and_start, wait_until_recovered};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::disks::Disks;
use labrys_harness::testbed::{NetnsTestbedConfig, hosts_from};
use labrys_nemesis::{
    DiskKind, NemesisClient, Patience, ServeConfig, hold_packets, outlive_the_terminal, serve, starve,
};
use labrys_store::raft::Defects;
use serde::{Deserialize, Serialize};

use super::scenario::{Body, FLAG, text};
use super::store::{cluster_on, runtime};

pub const BODIES: &[Body] = &[("nemesis", serve_faults), ("packets", packets), ("processor", processor)];

pub const WITHIN: Duration = Duration::from_secs(30);

/// What a nemesis needs.
#[derive(Clone, Serialize, Deserialize)]
pub struct Setting {
    pub testbed: NetnsTestbedConfig,
    pub serve: ServeConfig,
    pub ready_file: PathBuf,
}

/// Three running nodes, and what a nemesis of theirs needs.
pub struct Stage {
    pub db: ReferenceStore,
    pub setting: Setting,
    pub runtime: tokio::runtime::Runtime,
    /// Those that can fail, if there are any.
    pub disks: Option<Disks>,
}

pub type NemesisOverSocket = NemesisClient<BufReader<UnixStream>, UnixStream>;

impl Stage {
    pub fn set(enclosure: &Enclosure, arguments: &[String]) -> Result<Stage, String> {
        Stage::set_with(enclosure, arguments, (StoreClock::Orders, None))
    }

    /// The same, with clocks that something else moves.
    pub fn set_with_clock(
        enclosure: &Enclosure,
        arguments: &[String],
        clock: StoreClock,
    ) -> Result<Stage, String> {
        Stage::set_with(enclosure, arguments, (clock, None))
    }

    /// The same, on disks that can fail.
    pub fn set_on_disks(enclosure: &Enclosure, arguments: &[String]) -> Result<Stage, String> {
        let disk = (&again_as("disk")[..], DiskKind::Fuse);
        Stage::set_with(enclosure, arguments, (StoreClock::Orders, Some(disk)))
    }

    /// The same, on real file systems that can lose power.
    pub fn set_on_ext4(enclosure: &Enclosure, arguments: &[String]) -> Result<Stage, String> {
        let disk = (&again_as("disk")[..], DiskKind::Ext4);
        Stage::set_with(enclosure, arguments, (StoreClock::Orders, Some(disk)))
    }

    fn set_with(
        enclosure: &Enclosure,
        arguments: &[String],
        (clock, disk): (StoreClock, Option<(&[String], DiskKind)>),
    ) -> Result<Stage, String> {
        let folder = Path::new(arguments.first().ok_or("no folder")?);
        let place = folder.to_string_lossy();
        let (db, testbed, disks) = cluster_on(enclosure, &place, 3, Defects::NONE, (Some(clock), disk))?;
        let runtime = runtime()?;
        runtime.block_on(set_up_and_start(&db, WITHIN)).map_err(text)?;
        let names = db.node_names();
        let serve = ServeConfig {
            run_tag: "inside".parse().map_err(text)?,
            journal: folder.join("journal.jsonl"),
            testbed: serde_json::Value::Null,
            daemons: names.into_iter().enumerate().map(|(node, name)| (name, db.daemon_spec(node))).collect(),
            packet_program: again_as("packets"),
            processor_program: again_as("processor"),
            patience: Patience::default(),
        };
        let setting = Setting { testbed, serve, ready_file: folder.join("ready") };
        Ok(Stage { db, setting, runtime, disks })
    }

    pub fn recovers(&self) -> Result<(), String> {
        self.runtime.block_on(wait_until_recovered(&self.db, WITHIN)).map_err(text).map(drop)
    }
}

/// How this program is started to do something else.
fn again_as(scenario: &str) -> Vec<String> {
    vec![format!("/proc/{}/exe", std::process::id()), FLAG.to_owned(), scenario.to_owned()]
}

/// A nemesis that ends when the client is dropped: a process of its own.
pub fn nemesis(setting: &Setting) -> Result<(Child, NemesisOverSocket), String> {
    let (ours, theirs) = UnixStream::pair().map_err(text)?;
    let child = start("nemesis", setting, Stdio::from(OwnedFd::from(theirs)))?;
    Ok((child, NemesisClient::new(BufReader::new(ours.try_clone().map_err(text)?), ours)))
}

pub fn start(scenario: &str, setting: &Setting, stdin: Stdio) -> Result<Child, String> {
    let setting = serde_json::to_string(setting).map_err(text)?;
    let mut command = Command::new("/proc/self/exe");
    command.args([FLAG, scenario, &setting]).stdin(stdin).spawn().map_err(text)
}

fn serve_faults(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let setting: Setting = serde_json::from_str(arguments.first().ok_or("no setting")?).map_err(text)?;
    outlive_the_terminal().map_err(text)?;
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(text)?);
    let hosts = hosts_from(&setting.testbed).map_err(text)?;
    serve(setting.serve, hosts, socket.try_clone().map_err(text)?, socket).map_err(text)?;
    Ok(0)
}

fn packets(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    hold_packets(Path::new(arguments.first().ok_or("no orders")?)).map_err(text)?;
    Ok(0)
}

fn processor(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    starve(Path::new(arguments.first().ok_or("no orders")?)).map_err(text)?;
    Ok(0)
}
