//! `labrys-store ctl`: a client on the command line, for people and scripts.
//!
//! Each verb prints one JSON object on stdout (a watch one a line) that says what the store answered. That the store answered
//! is success (exit code 0), also when the answer is no: a condition that did not hold, a lock that is another's. When it did not, one
//! line on stderr says why, and the exit code whether the operation is known not to have happened: see [`crate::exit`].
//!
//! - [`data`]: the verbs of the data model;
//! - [`members`]: members of the cluster, and who leads it;
//! - [`nodes`]: what is asked of each node by itself;
//! - [`txn`]: the conditions and steps of a transaction as text;
//! - `show`: answers as JSON.
//!
//! Another verb is one variant of [`Verb`], and its method where it belongs.

pub mod data;
pub mod members;
pub mod nodes;
mod show;
pub mod txn;

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use labrys_raft::ReadMode;
use serde_json::Value;
use thiserror::Error;

use crate::client::{AddressError, AdminError, ClientError, ClientOptions, StoreClient, WatchEnd};
use crate::exit::Exit;
use crate::security::{Security, SecurityError, SecurityFiles};

/// The arguments of `ctl`.
#[derive(Debug, Args)]
pub struct CtlArguments {
    /// The nodes to ask; the client finds the leader among them.
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', required = true)]
    pub endpoints: Vec<String>,
    /// How long an operation may take.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub timeout_ms: u64,
    /// Where each node is asked by itself (status, snapshot, defrag, hash-at-revision, failpoint), ask the endpoints only, not all members; for
    /// the members (members list), not the leader.
    #[arg(long)]
    pub only: bool,
    /// What the nodes ask of a client, and a client of them.
    #[command(flatten)]
    pub security: SecurityFiles,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The data model's.
    #[command(flatten)]
    Data(data::DataVerb),
    /// Members and leadership.
    #[command(flatten)]
    Cluster(members::ClusterVerb),
    /// Each node's own.
    #[command(flatten)]
    Nodes(nodes::NodesVerb),
}

/// A verb was not carried out.
#[derive(Debug, Error)]
pub enum CtlError {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The files for TLS or the token are of no use.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// An address makes no sense.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The store did not do it, as far as is known.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster was not changed, as far as is known.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The watch ended.
    #[error(transparent)]
    Watch(#[from] WatchEnd),
    /// Not all nodes have answered as they should. What they did answer was printed.
    #[error("{0}")]
    Nodes(String),
    /// The nodes' states differ where they must not. What they are was printed.
    #[error("{0}")]
    Differ(String),
    /// The answer cannot be printed.
    #[error("cannot print the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl From<&CtlError> for Exit {
    fn from(error: &CtlError) -> Exit {
        match error {
            CtlError::Usage(_) | CtlError::Security(_) | CtlError::Address(_) => Exit::Usage,
            CtlError::Client(ClientError { definite: true, .. }) => Exit::DidNotHappen,
            CtlError::Client(ClientError { definite: false, .. }) => Exit::MayHaveHappened,
            CtlError::Admin(AdminError { definite: true, .. }) => Exit::DidNotHappen,
            CtlError::Admin(AdminError { definite: false, .. }) => Exit::MayHaveHappened,
            CtlError::Differ(_) => Exit::Differ,
            CtlError::Nodes(_) | CtlError::Watch(_) | CtlError::Output(_) => Exit::Other,
        }
    }
}

/// Where and how long to ask.
pub(crate) struct Session<'a> {
    endpoints: &'a [String],
    /// Other members are not asked.
    only: bool,
    timeout: Duration,
    security: Security,
    /// Where answers go.
    out: &'a mut dyn Write,
}

impl Session<'_> {
    fn client(&self, read_mode: ReadMode) -> Result<StoreClient, AddressError> {
        let options =
            ClientOptions { security: self.security.clone(), read_mode, ..ClientOptions::default() };
        StoreClient::connect(self.endpoints.to_vec(), 0, options)
    }

    /// One answer, as one line.
    fn print(&mut self, answer: &Value) -> Result<(), CtlError> {
        writeln!(self.out, "{answer}")?;
        self.out.flush()?;
        Ok(())
    }
}

/// Carries out a verb; what the store answers goes to `out`.
///
/// # Errors
///
/// See [`CtlError`].
pub async fn run(arguments: CtlArguments, out: &mut dyn Write) -> Result<(), CtlError> {
    let timeout = Duration::from_millis(arguments.timeout_ms);
    let security = Security::load(&arguments.security)?;
    let mut session =
        Session { endpoints: &arguments.endpoints, only: arguments.only, timeout, security, out };
    match arguments.verb {
        Verb::Data(verb) => verb.run(&mut session).await,
        Verb::Cluster(verb) => verb.run(&mut session).await,
        Verb::Nodes(verb) => verb.run(&mut session).await,
    }
}
