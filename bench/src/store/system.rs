//! [`Cluster`]: the nodes of one system on the testbed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use labrys_harness::db::{
    Db, NodePlace, Processes, ReferenceStore, ReferenceStoreOptions, find_store_binary,
};
use labrys_harness::testbed::NetnsTestbed;
use labrys_nemesis::{DaemonSpec, Host};
use labrys_seed::Seed;
use labrys_store::client::StatusClient;
use labrys_store::raft::{Defects, Role};

use super::connection::etcd_status;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Ours.
    LabrysStore,
    /// etcd, if it is installed.
    Etcd,
}

impl System {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            System::LabrysStore => "labrys-store",
            System::Etcd => "etcd",
        }
    }
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub(super) struct ClusterOptions {
    pub nodes: usize,
    pub election_timeout: Duration,
    /// Under which the nodes' folders are made.
    pub directory: PathBuf,
}

/// How long a cluster may take to elect its first leader, and a status to come.
const READY_WITHIN: Duration = Duration::from_secs(60);
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The program of etcd, if there is one.
#[must_use]
pub(super) fn find_etcd() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("etcd")).find(|program| program.is_file())
}

/// A running cluster; killed when dropped.
pub(super) struct Cluster {
    pub system: System,
    processes: Processes,
    addresses: Vec<String>,
}

impl Cluster {
    /// Starts the nodes on the first machines of the testbed, with empty folders, and waits for a leader.
    pub async fn start(
        system: System,
        testbed: &NetnsTestbed,
        options: &ClusterOptions,
    ) -> anyhow::Result<Cluster> {
        let hosts: Vec<Arc<dyn Host>> = testbed.hosts().into_iter().take(options.nodes).collect();
        let folder = |host: &Arc<dyn Host>| options.directory.join(system.name()).join(host.name());
        for host in &hosts {
            let folder = folder(host);
            if folder.exists() {
                std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
            }
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let (specs, addresses) = match system {
            System::LabrysStore => store_specs(&hosts, folder, options)?,
            System::Etcd => etcd_specs(&hosts, folder, options)?,
        };
        let places = hosts.iter().zip(specs).map(|(host, spec)| NodePlace {
            host: Arc::clone(host),
            directory: folder(host),
            data_directory: folder(host).join("data"),
            spec,
        });
        let cluster = Cluster { system, processes: Processes::new(places.collect(), |_| None), addresses };
        for node in 0..options.nodes {
            cluster.processes.start(node)?;
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    /// Where clients reach the nodes.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The leader, as soon as there is one.
    ///
    /// # Errors
    /// If a node has ended, or there is none for a minute.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let began = Instant::now();
        while began.elapsed() < READY_WITHIN {
            for node in 0..self.addresses.len() {
                if self.leads(node).await {
                    return Ok(node);
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        for node in 0..self.addresses.len() {
            self.processes.refuse_dead(node)?;
        }
        bail!("{} has no leader after {} s", self.system.name(), READY_WITHIN.as_secs())
    }

    async fn leads(&self, node: usize) -> bool {
        self.status(node).await.is_some_and(|(leads, _)| leads)
    }

    /// Whether `node` has applied what `leader` has.
    pub async fn has_caught_up(&self, node: usize, leader: usize) -> bool {
        match (self.status(leader).await, self.status(node).await) {
            (Some((_, goal)), Some((_, applied))) => applied >= goal,
            _ => false,
        }
    }

    /// Whether a node leads, and how far it has applied the log; `None` if it does not say.
    async fn status(&self, node: usize) -> Option<(bool, u64)> {
        let address = &self.addresses[node];
        match self.system {
            System::LabrysStore => {
                let status = StatusClient::new(address).ok()?.status(None, STATUS_TIMEOUT).await.ok()?;
                Some((status.role == Role::Leader, status.applied_index))
            }
            System::Etcd => tokio::time::timeout(STATUS_TIMEOUT, etcd_status(address)).await.ok()?.ok(),
        }
    }

    /// Kills a node, as a crash would, and sees that it is gone.
    pub fn kill(&self, node: usize) -> anyhow::Result<()> {
        Ok(self.processes.kill(node)?)
    }

    /// Starts a node again.
    pub fn restart(&self, node: usize) -> anyhow::Result<()> {
        Ok(self.processes.start(node)?)
    }

    /// Bytes that all nodes have had written to the disk since they started.
    pub fn written_bytes(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for place in self.processes.nodes() {
            let Some(daemon) = place.host.daemon()? else { continue };
            let file = PathBuf::from(format!("/proc/{}/io", daemon.pid));
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
            sum += line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.addresses.len() {
            // What cannot be killed ends with the isolation.
            let _ = self.processes.kill(node);
        }
    }
}

type Specs = (Vec<DaemonSpec>, Vec<String>);

fn store_specs(
    hosts: &[Arc<dyn Host>],
    folder: impl Fn(&Arc<dyn Host>) -> PathBuf,
    options: &ClusterOptions,
) -> anyhow::Result<Specs> {
    let store_options = ReferenceStoreOptions {
        binary: find_store_binary(None)?,
        election_timeout: options.election_timeout,
        pre_vote: true,
        check_quorum: true,
        flags: Vec::new(),
        seed: Seed(1),
        defects: Defects::default(),
        clock: None,
        failpoints: false,
        disk_faults: false,
    };
    let places = hosts.iter().map(|host| (Arc::clone(host), folder(host))).collect();
    let store = ReferenceStore::new(places, &store_options)?;
    let nodes = 0..hosts.len();
    Ok((
        nodes.clone().map(|node| store.daemon_spec(node)).collect(),
        nodes.map(|node| store.client_address(node)).collect(),
    ))
}

fn etcd_specs(
    hosts: &[Arc<dyn Host>],
    folder: impl Fn(&Arc<dyn Host>) -> PathBuf,
    options: &ClusterOptions,
) -> anyhow::Result<Specs> {
    let program = find_etcd().context("etcd is not installed (Debian: apt-get install etcd-server)")?;
    let peer = |host: &Arc<dyn Host>| format!("http://{}:2380", host.address());
    let members: Vec<String> = hosts.iter().map(|host| format!("{}={}", host.name(), peer(host))).collect();
    let spec = |host: &Arc<dyn Host>| etcd_spec(&program, host, &folder(host), &members.join(","), options);
    let addresses = hosts.iter().map(|host| format!("{}:2379", host.address()));
    Ok((hosts.iter().map(spec).collect(), addresses.collect()))
}

fn etcd_spec(
    program: &Path,
    host: &Arc<dyn Host>,
    folder: &Path,
    members: &str,
    options: &ClusterOptions,
) -> DaemonSpec {
    let address = host.address();
    let election_timeout_ms = options.election_timeout.as_millis();
    let data = folder.join("data");
    let args = [
        ("name", host.name().to_owned()),
        ("data-dir", data.display().to_string()),
        ("listen-client-urls", format!("http://{address}:2379")),
        ("advertise-client-urls", format!("http://{address}:2379")),
        ("listen-peer-urls", format!("http://{address}:2380")),
        ("initial-advertise-peer-urls", format!("http://{address}:2380")),
        ("initial-cluster", members.to_owned()),
        ("initial-cluster-state", "new".to_owned()),
        ("election-timeout", election_timeout_ms.to_string()),
        ("heartbeat-interval", (election_timeout_ms / 10).max(1).to_string()),
        // So that it never has to refuse writes for want of room while it is measured.
        ("quota-backend-bytes", (8_u64 << 30).to_string()),
        ("log-level", "warn".to_owned()),
    ];
    DaemonSpec {
        program: program.to_owned(),
        args: args.into_iter().map(|(name, value)| format!("--{name}={value}")).collect(),
        env: vec![("ETCD_UNSUPPORTED_ARCH".to_owned(), std::env::consts::ARCH.to_owned())],
        directory: folder.to_owned(),
        log_file: folder.join("etcd.log"),
        clock: None,
        commands: None,
        data_directory: None,
        disk_file: None,
    }
}
