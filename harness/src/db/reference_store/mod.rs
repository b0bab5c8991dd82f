//! The reference store on a testbed.
//!
//! The nodes are asked for their status by a task each ([`watcher`]), so that a node which is paused or cut off does not
//! delay the others' answers; who leads is always known without asking. What short looks miss, the logs have: they are read
//! once more at the end.

mod agreement;
mod offset;
mod orders;
mod watcher;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use labrys_nemesis::{ClockMeans, DaemonSpec, Host, Libfaketime};
use labrys_seed::Seed;
use labrys_store::client::{AddressError, NodeStatus, StatusClient};
use labrys_store::exit::Exit;
use labrys_store::raft::{Defect, Defects};
use tokio::task::JoinSet;

use super::{ClusterSignals, Db, DbError, NodePlace, Observation, Processes, Readiness, logs};
use crate::testbed::disks;
use watcher::Watcher;

/// The name in `--db`.
pub const NAME: &str = "labrys-store";

/// The environment variable that names the program.
pub const STORE_BINARY_VARIABLE: &str = "LABRYS_STORE_BINARY";

/// On every node, which has an address of its own.
pub(crate) const PORT: u16 = 7000;

/// A node that does not answer for so long is taken for one that does not answer.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);

/// How the store is run.
#[derive(Clone, Debug)]
pub struct ReferenceStoreOptions {
    /// The program, from [`find_store_binary`].
    pub binary: PathBuf,
    /// A follower that hears nothing for once to twice this time campaigns.
    pub election_timeout: Duration,
    /// Whether candidates ask in a trial round first.
    pub pre_vote: bool,
    /// Whether a leader that hears no majority steps down.
    pub check_quorum: bool,
    /// Further flags, `NAME=VALUE` without dashes.
    pub flags: Vec<String>,
    /// Of the nodes' random choices.
    pub seed: Seed,
    /// Bugs to switch on.
    pub defects: Defects,
    /// By what the nodes' clocks can be made to run wrong, which clock faults need; `None`: by nothing.
    pub clock: Option<StoreClock>,
    /// Whether the nodes take orders for their failpoints, which such faults need.
    pub failpoints: bool,
    /// Whether the nodes' data is on disks that can fail ([`crate::testbed::disks`]), which disk faults and power cuts need.
    pub disk_faults: bool,
}

/// What moves the clocks of the store's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreClock {
    /// They take orders.
    Orders,
    /// They count by the wall clock, under the library at this place.
    Libfaketime(PathBuf),
}

/// Finds the program `labrys-store`: the one given, else the one that the environment names, else the one beside this
/// program.
///
/// # Errors
/// If it is in none of these places.
pub fn find_store_binary(given: Option<&Path>) -> Result<PathBuf, DbError> {
    let named =
        given.map(Path::to_owned).or_else(|| std::env::var_os(STORE_BINARY_VARIABLE).map(PathBuf::from));
    let places = match named {
        Some(place) => vec![place],
        None => beside_this_program(),
    };
    // Absolute, since daemons are started in folders of their own.
    let found = places.iter().filter(|place| place.is_file()).find_map(|place| place.canonicalize().ok());
    found.ok_or_else(|| DbError::NoProgram {
        program: NAME.to_owned(),
        places,
        mend: format!("Build it with `cargo build -p labrys-store`, or name it in {STORE_BINARY_VARIABLE}"),
    })
}

/// Programs are in the profile's folder, tests one or two folders below.
fn beside_this_program() -> Vec<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().skip(1).take(3).map(|folder| folder.join(NAME)).collect()
}

/// The reference store on the nodes of a testbed.
pub struct ReferenceStore {
    processes: Arc<Processes>,
    addresses: Vec<String>,
    /// From where the nodes are asked for their status.
    observer_address: Option<IpAddr>,
    /// Whether their clocks are observed.
    observes_clocks: bool,
    watcher: Mutex<Option<Watcher>>,
    /// Leaderships and broken invariants are reported once, whoever saw them first.
    reported: Mutex<BTreeSet<Observation>>,
}

impl ReferenceStore {
    /// On `hosts`, each with its folder.
    ///
    /// # Errors
    /// If there are no hosts.
    pub fn new(
        hosts: Vec<(Arc<dyn Host>, PathBuf)>,
        options: &ReferenceStoreOptions,
    ) -> Result<ReferenceStore, DbError> {
        if hosts.is_empty() {
            let detail = "a cluster needs a node".to_owned();
            return Err(DbError::Configuration { db: NAME.to_owned(), detail });
        }
        let addresses: Vec<String> = hosts
            .iter()
            .map(|(host, _)| std::net::SocketAddr::new(host.address(), PORT).to_string())
            .collect();
        let places = hosts.into_iter().enumerate().map(|(node, (host, directory))| {
            let spec = daemon_spec(node, &directory, &addresses, options);
            NodePlace { host, data_directory: data_directory(&directory, options), directory, spec }
        });
        let processes = Arc::new(
            Processes::new(places.collect(), environments_fault)
                .ending_by_disks(ends_by_its_disk)
                .ending_by_order(ends_by_order),
        );
        Ok(ReferenceStore {
            processes,
            addresses,
            observer_address: None,
            observes_clocks: options.clock.is_some(),
            watcher: Mutex::default(),
            reported: Mutex::default(),
        })
    }

    /// The same, observed from this address of the harness's machine, which is not that of the clients: their links may be cut.
    #[must_use]
    pub fn observed_from(self, address: IpAddr) -> ReferenceStore {
        ReferenceStore { observer_address: Some(address), ..self }
    }

    /// The watcher, which is started when it is first asked.
    fn with_watcher<T>(&self, ask: impl FnOnce(&Watcher) -> T) -> T {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        ask(watcher.get_or_insert_with(|| {
            let (names, addresses) = (&self.node_names(), &self.addresses);
            Watcher::start(&self.processes, names, addresses, self.observer_address, self.observes_clocks)
        }))
    }

    /// Runs something that blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Processes) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let processes = Arc::clone(&self.processes);
        let joined = tokio::task::spawn_blocking(move || work(&processes)).await;
        joined.unwrap_or_else(|error| Err(DbError::Interrupted(error.to_string())))
    }

    /// Asks all nodes at once, on new connections: what comes is of this moment.
    async fn ask_all(&self, digest_at_index: Option<u64>) -> Vec<Result<NodeStatus, String>> {
        let mut asking = JoinSet::new();
        for (node, address) in self.addresses.iter().cloned().enumerate() {
            let observer_address = self.observer_address;
            asking.spawn(async move {
                let answer = match status_client(&address, observer_address) {
                    Ok(mut client) => client
                        .status(digest_at_index, STATUS_TIMEOUT)
                        .await
                        .map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                (node, answer)
            });
        }
        let mut answers = vec![Err("not asked".to_owned()); self.addresses.len()];
        while let Some(joined) = asking.join_next().await {
            if let Ok((node, answer)) = joined {
                answers[node] = answer;
            }
        }
        answers
    }

    async fn refuse_dead(&self) -> Result<(), DbError> {
        self.blocking(|processes| {
            (0..processes.nodes().len()).try_for_each(|node| processes.refuse_dead(node))
        })
        .await
    }

    /// Leaves out what has been reported before. Ends of daemons may look alike; the watcher tells them apart.
    fn new_among(&self, observations: Vec<Observation>) -> Vec<Observation> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |observation: &Observation| {
            // Clocks may read the same again.
            matches!(observation, Observation::Exit { .. } | Observation::Clock { .. })
                || reported.insert(observation.clone())
        };
        observations.into_iter().filter(is_new).collect()
    }

    /// The digests of all nodes that answer at the highest index that all of these have applied.
    async fn final_digests(&self) -> Vec<Observation> {
        let applied = self.ask_all(None).await.into_iter().flatten().map(|status| status.applied_index).min();
        let Some(index) = applied else { return Vec::new() };
        let answers = self.ask_all(Some(index)).await;
        let digests = answers.into_iter().enumerate().filter_map(|(node, answer)| {
            let digest = answer.ok()?.digest_at_index?;
            Some(watcher::digest(&self.node_names()[node], index, digest))
        });
        digests.collect()
    }
}

/// Asks the node at `address`, from that of the observer if it has one of its own.
fn status_client(address: &str, observer_address: Option<IpAddr>) -> Result<StatusClient, AddressError> {
    let client = StatusClient::new(address)?;
    Ok(match observer_address {
        Some(own) => client.from_address(own),
        None => client,
    })
}

/// What the store says by its exit status ([`labrys_store::exit`]) of which it is not the cause.
fn environments_fault(exit_code: i32) -> Option<&'static str> {
    let is = |exit: Exit| exit_code == exit as i32;
    [
        (Exit::Success, "somebody else told it to end"),
        (Exit::Usage, "it was started with options that make no sense to it"),
        (Exit::Listen, "it cannot listen on its address"),
        (Exit::DataDir, "its data directory cannot be used"),
        (Exit::DiskFull, "its disk is full"),
        (Exit::DiskFailed, "its disk failed"),
        (Exit::System, "the operating system refused what it needs"),
    ]
    .into_iter()
    .find_map(|(exit, why)| is(exit).then_some(why))
}

/// Whether an exit status may be that of a node which rightly does not go on with a disk in trouble: also with a damaged log.
fn ends_by_its_disk(exit_code: i32) -> bool {
    [Exit::DataDir, Exit::Corrupt, Exit::DiskFull, Exit::DiskFailed]
        .iter()
        .any(|exit| exit_code == *exit as i32)
}

/// Whether an exit status says that the node has ended because an order to it said so.
fn ends_by_order(exit_code: i32) -> bool {
    exit_code == Exit::Failpoint as i32
}

fn data_directory(directory: &Path, options: &ReferenceStoreOptions) -> PathBuf {
    if options.disk_faults { disks::mount_point(directory).join("data") } else { directory.join("data") }
}

fn daemon_spec(
    node: usize,
    directory: &Path,
    addresses: &[String],
    options: &ReferenceStoreOptions,
) -> DaemonSpec {
    let address = &addresses[node];
    let peers: Vec<String> =
        addresses.iter().enumerate().map(|(peer, address)| format!("{}={address}", peer + 1)).collect();
    let election_timeout_ms = options.election_timeout.as_millis();
    let as_member = |id: &str, peers: &str| ["--id", id, "--peers", peers].map(str::to_owned).to_vec();
    let mut common = vec![
        "--listen".to_owned(),
        address.clone(),
        "--data-dir".to_owned(),
        data_directory(directory, options).to_string_lossy().into_owned(),
        "--election-timeout-ms".to_owned(),
        election_timeout_ms.to_string(),
        "--heartbeat-interval-ms".to_owned(),
        // As in the store's own defaults, 300 and 50.
        (election_timeout_ms / 6).max(1).to_string(),
        "--pre-vote".to_owned(),
        options.pre_vote.to_string(),
        "--check-quorum".to_owned(),
        options.check_quorum.to_string(),
        "--seed".to_owned(),
        options.seed.fork("labrys-store").fork_index(node as u64).to_string(),
    ];
    common.extend(options.flags.iter().map(|flag| format!("--{flag}")));
    common.extend(
        options.defects.iter().flat_map(|defect: Defect| ["--defect".to_owned(), defect.name().to_owned()]),
    );
    let clock = options.clock.as_ref().map(|clock| clock_means(node, directory, clock));
    common.extend(clock.iter().flat_map(|means| match means {
        ClockMeans::Orders(file) => vec!["--clock-file".to_owned(), file.to_string_lossy().into_owned()],
        ClockMeans::Libfaketime(_) => vec!["--wall-clock".to_owned()],
    }));
    common.extend(options.failpoints.then(|| "--failpoints".to_owned()));
    let permissions = [
        (!options.defects.is_empty()).then_some(labrys_store::options::DEFECTS_VARIABLE),
        clock.is_some().then_some(labrys_store::options::CLOCK_FAULTS_VARIABLE),
        options.failpoints.then_some(labrys_store::options::FAILPOINTS_VARIABLE),
    ];
    let env =
        permissions.into_iter().flatten().map(|variable| (variable.to_owned(), "1".to_owned())).collect();
    let joiner = [as_member("{id}", &format!("{{id}}={address}")), vec!["--join".to_owned()], common.clone()];
    let membership =
        orders::membership(options, address, joiner.concat(), data_directory(directory, options));
    DaemonSpec {
        program: options.binary.clone(),
        args: [as_member(&(node + 1).to_string(), &peers.join(",")), common].concat(),
        env,
        directory: directory.to_owned(),
        log_file: directory.join("labrys-store.log"),
        clock,
        commands: Some(orders::commands(options, address, membership)),
        data_directory: Some(data_directory(directory, options)),
        disk_file: options.disk_faults.then(|| disks::order_file(directory)),
    }
}

fn clock_means(node: usize, directory: &Path, clock: &StoreClock) -> ClockMeans {
    match clock {
        StoreClock::Orders => ClockMeans::Orders(directory.join("clock.json")),
        StoreClock::Libfaketime(library) => ClockMeans::Libfaketime(Box::new(Libfaketime {
            library: library.clone(),
            file: directory.join("faketime"),
            // The run has a `/dev/shm` to itself.
            shared: format!("labrys-n{}", node + 1),
        })),
    }
}

#[async_trait]
impl Db for ReferenceStore {
    fn name(&self) -> &str {
        NAME
    }

    fn node_names(&self) -> Vec<String> {
        self.processes.nodes().iter().map(|place| place.host.name().to_owned()).collect()
    }

    fn daemon_spec(&self, node: usize) -> DaemonSpec {
        self.processes.nodes()[node].spec.clone()
    }

    fn client_address(&self, node: usize) -> String {
        self.addresses[node].clone()
    }

    fn log_files(&self, node: usize) -> Vec<PathBuf> {
        vec![self.processes.nodes()[node].spec.log_file.clone()]
    }

    async fn set_up(&self, _node: usize) -> Result<(), DbError> {
        // It makes its folders itself.
        Ok(())
    }

    async fn start(&self, node: usize) -> Result<(), DbError> {
        self.blocking(move |processes| processes.start(node)).await
    }

    async fn kill(&self, node: usize) -> Result<(), DbError> {
        self.blocking(move |processes| processes.kill(node)).await
    }

    async fn pause(&self, node: usize) -> Result<(), DbError> {
        self.blocking(move |processes| processes.pause(node)).await
    }

    async fn resume(&self, node: usize) -> Result<(), DbError> {
        self.blocking(move |processes| processes.resume(node)).await
    }

    async fn wipe(&self, node: usize) -> Result<(), DbError> {
        self.blocking(move |processes| processes.wipe(node)).await
    }

    async fn tear_down(&self, node: usize) -> Result<(), DbError> {
        self.blocking(move |processes| processes.tear_down(node)).await
    }

    async fn readiness(&self) -> Result<Readiness, DbError> {
        self.refuse_dead().await?;
        Ok(agreement::is_ready(&self.ask_all(None).await))
    }

    async fn recovery(&self) -> Result<Readiness, DbError> {
        self.blocking(Processes::start_those_ended_by_faults).await?;
        self.refuse_dead().await?;
        Ok(agreement::is_whole(&self.ask_all(None).await))
    }

    fn primaries(&self) -> Vec<String> {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.as_ref().map_or_else(Vec::new, |watcher| watcher.primaries(&self.node_names()))
    }

    fn signals(&self) -> ClusterSignals {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.as_ref().map_or_else(ClusterSignals::default, |watcher| watcher.signals(&self.node_names()))
    }

    async fn observe(&self) -> Result<Vec<Observation>, DbError> {
        let seen = self.with_watcher(|watcher| watcher.take_seen())?;
        Ok(self.new_among(seen))
    }

    async fn final_observations(&self) -> Result<Vec<Observation>, DbError> {
        let mut found = self.final_digests().await;
        found.extend(self.with_watcher(|watcher| watcher.take_seen())?);
        Ok(self.new_among(found))
    }

    async fn closing_observations(&self) -> Result<Vec<Observation>, DbError> {
        let looked = self.blocking(|processes| {
            let nodes = 0..processes.nodes().len();
            let look = |node: usize| {
                let name = processes.nodes()[node].host.name();
                Ok((
                    logs::observations(name, &processes.log(node)?),
                    watcher::exits_with_log(processes, node)?,
                ))
            };
            nodes.map(look).collect::<Result<Vec<_>, DbError>>()
        });
        let mut found = Vec::new();
        for (node, (from_log, exits)) in looked.await?.into_iter().enumerate() {
            found.extend(from_log);
            self.with_watcher(|watcher| watcher.note_exits(node, exits));
        }
        found.extend(self.with_watcher(|watcher| watcher.take_seen())?);
        Ok(self.new_among(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_exit_statuses_are_told_from_the_stores_own_failures() {
        use Exit::{Corrupt, DataDir, DiskFailed, DiskFull, InvariantBroken, Listen, Other, Panicked};
        for exit in [Exit::Success, Exit::Usage, Listen, DataDir, DiskFull, DiskFailed, Exit::System] {
            assert!(environments_fault(exit as i32).is_some(), "{exit:?}");
        }
        for exit in [Other, Corrupt, InvariantBroken, Panicked] {
            assert_eq!(environments_fault(exit as i32), None, "{exit:?}");
        }
        assert_eq!(environments_fault(101), None);
    }
}
