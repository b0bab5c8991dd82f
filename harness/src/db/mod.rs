//! Systems under test: how they are set up, started, observed and torn down.
//!
//! - [`Db`]: the seam. Nothing in it presumes a binary of ours: a file of shell commands, or a simulator, can stand behind it.
//! - [`Processes`]: daemons on hosts, which most systems are made of.
//! - [`ReferenceStore`]: our own Raft store.
//! - [`Observation`]: what was seen of the nodes, as events of the process `observer`.
//!
//! What it is not: it applies no fault (the nemesis restarts what it killed by itself, from [`Db::daemon_spec`]), and
//! speaks no client protocol (`labrys-workloads`).

mod logs;
mod observation;
mod processes;
mod reference_store;
mod wait;

use std::path::PathBuf;

use async_trait::async_trait;
use labrys_nemesis::{DaemonSpec, HostError};
use thiserror::Error;

pub use observation::Observation;
pub use processes::{EnvironmentsFault, NodePlace, Processes};
pub(crate) use reference_store::PORT as REFERENCE_STORE_PORT;
pub use reference_store::{
    ReferenceStore, ReferenceStoreOptions, STORE_BINARY_VARIABLE, StoreClock, find_store_binary,
};
pub use wait::{set_up_and_start, wait_until_ready, wait_until_recovered};

/// What faults can wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterSignals {
    /// Who leads, most credibly, and in which term.
    pub leader: Option<(String, u64)>,
    /// The newest term in which anybody was ever known to lead; 0 if nobody's term is known.
    pub newest_term_led: u64,
    /// A follower lacks what the leader's log no longer has.
    pub snapshot_in_flight: bool,
}

/// A system under test could not be handled. Exit code 255: none of this is a verdict about the system.
#[derive(Debug, Error)]
pub enum DbError {
    /// A host failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The program is not there.
    #[error("cannot find the program `{program}`; looked for {}. {mend}", looked_for(places))]
    NoProgram {
        /// Its name.
        program: String,
        /// Where it was looked for.
        places: Vec<PathBuf>,
        /// What to do about it.
        mend: String,
    },
    /// A node's process has ended, and nobody asked it to.
    #[error("{node} ended by itself ({status}{}); the last lines of {log_file}:{}", because(*environment), indented(log))]
    Ended {
        /// The node.
        node: String,
        /// Exit code or signal.
        status: String,
        /// Why the environment is to blame for it, if it is.
        environment: Option<&'static str>,
        /// Its log.
        log_file: PathBuf,
        /// The end of it.
        log: Vec<String>,
    },
    /// What was waited for did not come.
    #[error("{db} was not {what} within {seconds:.1} s: {detail}")]
    TooLate {
        /// The system.
        db: String,
        /// `ready`, `recovered`.
        what: &'static str,
        /// How long was waited.
        seconds: f64,
        /// What was missing at the end.
        detail: String,
    },
    /// It is configured in a way that cannot be.
    #[error("{db}: {detail}")]
    Configuration {
        /// The system.
        db: String,
        /// What is wrong.
        detail: String,
    },
    /// Work in the background was cut off.
    #[error("{0}")]
    Interrupted(String),
}

fn looked_for(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn because(environment: Option<&str>) -> String {
    environment.map(|why| format!(": {why}")).unwrap_or_default()
}

fn indented(lines: &[String]) -> String {
    if lines.is_empty() {
        return " (empty)".to_owned();
    }
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

/// The answer to a question that is asked until it is yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// Not yet: what is missing.
    NotYet(String),
}

/// A system under test on the nodes of a testbed. Nodes are named by position: 0 is `n1`.
///
/// Who is to blame for the end of a node that nobody intended is for the `Db` to say, for only it knows what the system's exit
/// statuses mean: [`DbError::Ended`] and [`Observation::Exit`] have a field for the environment's fault (a full disk, a kill by
/// somebody else), which must never count against the system.
#[async_trait]
pub trait Db: Send + Sync {
    /// Its name, as in `--db`.
    fn name(&self) -> &str;

    /// The names of the nodes, by position.
    fn node_names(&self) -> Vec<String>;

    /// How its daemon on `node` is started; for the nemesis, too.
    fn daemon_spec(&self, node: usize) -> DaemonSpec;

    /// Where clients reach `node`: `10.0.0.1:7000`.
    fn client_address(&self, node: usize) -> String;

    /// The logs of `node` on its host.
    fn log_files(&self, node: usize) -> Vec<PathBuf>;

    /// Prepares `node` for its first start.
    async fn set_up(&self, node: usize) -> Result<(), DbError>;

    /// Starts the daemon on `node`. That it is ready is another question.
    async fn start(&self, node: usize) -> Result<(), DbError>;

    /// Kills it, and sees that it is gone. Not running is fine.
    async fn kill(&self, node: usize) -> Result<(), DbError>;

    /// Stops it without ending it, and sees that it stands still.
    async fn pause(&self, node: usize) -> Result<(), DbError>;

    /// Continues it. Not running is fine.
    async fn resume(&self, node: usize) -> Result<(), DbError>;

    /// Removes what it has on disk. It must not be running.
    async fn wipe(&self, node: usize) -> Result<(), DbError>;

    /// Ends it in an orderly way, or by force if it does not. Not running is fine.
    async fn tear_down(&self, node: usize) -> Result<(), DbError>;

    /// Whether clients can be let in: observed now, never supposed.
    ///
    /// # Errors
    /// If it never will be: a daemon has ended by itself.
    async fn readiness(&self) -> Result<Readiness, DbError>;

    /// Whether the system is whole again after the faults are gone: all nodes alive, agreed on who leads, and as far as each
    /// other. Says nothing about whether it is *correct*.
    ///
    /// # Errors
    /// If it never will be: a daemon has ended by itself.
    async fn recovery(&self) -> Result<Readiness, DbError>;

    /// Who believes to be primary, as far as is known at this moment without asking: the most credible first.
    fn primaries(&self) -> Vec<String>;

    /// What the cluster is doing, as far as is known at this moment without asking. Unless the system tells more, nobody's term is
    /// known, no leader is seen to be new, and no snapshot is ever seen.
    fn signals(&self) -> ClusterSignals {
        let leader = self.primaries().into_iter().next().map(|leader| (leader, 0));
        ClusterSignals { leader, ..ClusterSignals::default() }
    }

    /// What has been seen since the last call. Quick: the looking goes on in the background from the first call on.
    async fn observe(&self) -> Result<Vec<Observation>, DbError>;

    /// What only the end of the run shows while the nodes live: digests at one index; and what `observe` would return.
    async fn final_observations(&self) -> Result<Vec<Observation>, DbError>;

    /// What is to be seen when all nodes have been torn down: logs read from the beginning, and how the nodes ended, which
    /// shows crashes on the way down; and what `observe` would return.
    async fn closing_observations(&self) -> Result<Vec<Observation>, DbError>;
}
