//! [`SshTestbed`]: nodes that are machines reached by ssh, each with an agent.
//!
//! - [`Inventory`]: the machines, as `hosts.toml` lists them.
//! - `command`: what ssh is told, and what it says when it fails, in words that help; `programs`: what is sent to a machine;
//!   `transport`: the channel to an agent.
//! - [`heal_machines`]: what `labrys heal` does; [`examine_machines`]: what `labrys doctor --hosts` does.
//!
//! One connection per machine. On the machine everything is in one folder: `bin/` with the programs, by checksum, which stay for the next run,
//! and `runs/RUN/NODE/`, which goes when the run has ended and its logs are here. The page for users is `docs/ssh.md`.

mod checkup;
mod command;
mod inventory;
mod programs;
mod transport;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use labrys_nemesis::{Host, RunTag};
use serde::{Deserialize, Serialize};

use super::TestbedError;
use super::choice::DATA_FOLDERS;
use crate::agent::protocol::{AgentSetup, Answer, Ending, MAXIMUM_LINE_BYTES, Work};
use crate::agent::{
    AgentConnection, Channel, Fleet, Lifeline, OPENS_WITHIN, RemoteHost, SILENCE_MS, Transport,
};
use programs::Program;
use transport::SshTransport;

pub use checkup::examine_machines;
pub use inventory::{Inventory, Login, Machine};

/// How long the healing of a machine may take, without a word from it: an agent may wait for the harness it had a moment ago, for what
/// has begun, and for faults that are hard to undo; then it is killed, and all that is done once more without it.
const HEALS_WITHIN: Duration = Duration::from_secs(240);

/// A node of the testbed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshNode {
    /// Its name.
    pub name: String,
    /// Where the other nodes and the clients reach it.
    pub address: IpAddr,
    /// Its folder on its machine.
    pub directory: PathBuf,
}

/// A testbed as data: what is in the nemesis's journal, and what `labrys heal` needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshTestbedConfig {
    /// The machines.
    pub inventory: Inventory,
    /// The nodes, in the order of the machines.
    pub nodes: Vec<SshNode>,
}

/// Machines that are reached by ssh, with an agent on each.
pub struct SshTestbed {
    config: SshTestbedConfig,
    hosts: Vec<RemoteHost>,
    connections: Vec<AgentConnection>,
    labrys: PathBuf,
    store: PathBuf,
}

impl SshTestbed {
    /// Connects to the first `count` machines, all at once, sends them this very program and `store`, and starts an agent on each. `run` is
    /// the name of the run's folder on the machines.
    ///
    /// # Errors
    /// What is wrong with each machine that cannot be used.
    pub fn build(
        inventory: &Inventory,
        count: usize,
        run: &str,
        run_tag: &RunTag,
        store: &Path,
    ) -> Result<SshTestbed, TestbedError> {
        let inventory = inventory.first(count);
        let runs = inventory.directory().join("runs").join(run);
        let nodes = inventory.machines.iter().map(|machine| {
            let directory = runs.join(&machine.name);
            Ok(SshNode { name: machine.name.clone(), address: machine.ip_address()?, directory })
        });
        let nodes = all(nodes.collect()).map_err(TestbedError::Machines)?;
        let read = |name: &str, path: &Path| {
            Program::read(name, path).map_err(|source| TestbedError::File { path: path.to_owned(), source })
        };
        let programs = [read("labrys", Path::new("/proc/self/exe"))?, read("labrys-store", store)?];
        let labrys = programs[0].on(inventory.directory());
        let store = programs[1].on(inventory.directory());
        let programs = Arc::new(programs.to_vec());
        let addresses: BTreeMap<String, IpAddr> =
            nodes.iter().map(|node| (node.name.clone(), node.address)).collect();
        let connect = |machine: &Machine, node: &SshNode| {
            let attach = attach_arguments(&node.directory);
            let transport = SshTransport::new(
                inventory.login(machine),
                inventory.directory().to_owned(),
                Arc::clone(&programs),
                attach,
            );
            let setup = AgentSetup {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                run_tag: run_tag.clone(),
                node: node.name.clone(),
                addresses: addresses.clone(),
                directory: node.directory.clone(),
                silence_ms: SILENCE_MS,
                real_clock: inventory.real_clock,
            };
            AgentConnection::open(setup, Box::new(transport)).map_err(|error| error.to_string())
        };
        let connections =
            all(at_once(&inventory.machines, &nodes, connect)).map_err(TestbedError::Machines)?;
        let hosts = connections.iter().zip(&nodes);
        let hosts =
            hosts.map(|(connection, node)| RemoteHost::new(connection.clone(), node.address)).collect();
        Ok(SshTestbed { config: SshTestbedConfig { inventory, nodes }, hosts, connections, labrys, store })
    }

    /// The testbed as data.
    #[must_use]
    pub fn config(&self) -> &SshTestbedConfig {
        &self.config
    }

    /// Where this very program is on the machines.
    #[must_use]
    pub fn labrys(&self) -> &Path {
        &self.labrys
    }

    /// Where the store's program is on the machines.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Its hosts, in the order of the machines.
    #[must_use]
    pub fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.iter().map(|host| Arc::new(host.clone()) as Arc<dyn Host>).collect()
    }

    /// The agents as one nemesis, with its journal at `journal`.
    ///
    /// # Errors
    /// If the journal cannot be made.
    pub fn fleet(&self, run_tag: &RunTag, journal: &Path) -> Result<Fleet, labrys_nemesis::JournalError> {
        let testbed = serde_json::json!({ "ssh": self.config });
        Fleet::new(self.connections.iter().cloned(), run_tag, journal, &testbed)
    }

    /// Copies what the nodes have written to `to/NODE/`, their data only if `with_data`; in words what could not be copied.
    #[must_use]
    pub fn collect(&self, to: &Path, with_data: bool) -> Vec<String> {
        let collect = |host: &RemoteHost, node: &SshNode| {
            let failed = |error| format!("the files of {}: {error}", node.name);
            let files = host.list_files(&node.directory).map_err(failed)?;
            let is_data = |file: &Path| DATA_FOLDERS.iter().any(|folder| file.starts_with(folder));
            let wanted = files.keys().filter(|file| with_data || !is_data(file));
            wanted.into_iter().try_for_each(|file| {
                // A machine names files of its own, and of nobody else.
                if !file.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
                    return Err(format!(
                        "the files of {}: {} is none below its folder",
                        node.name,
                        file.display()
                    ));
                }
                let copied = host.download(&node.directory.join(file), &to.join(&node.name).join(file));
                copied.map(drop).map_err(failed)
            })
        };
        at_once(&self.hosts, &self.config.nodes, collect).into_iter().filter_map(Result::err).collect()
    }

    /// Ends the agents, which end whatever they have started, and removes the nodes' folders if `remove`; in words what went wrong.
    #[must_use]
    pub fn finish(&self, remove: bool) -> Vec<String> {
        let finish = |connection: &AgentConnection, node: &SshNode| {
            let answer = connection.call(Work::Finish { remove });
            connection.close();
            match answer {
                Ok(Answer::Finished(Ending { left, .. })) if left.is_empty() => Ok(()),
                Ok(Answer::Finished(Ending { left, .. })) => {
                    Err(format!("{} is not clean: {}", node.name, left.join("; ")))
                }
                Ok(other) => Err(format!("the agent of {} answered {other:?}", node.name)),
                Err(error) => Err(format!("the agent of {}: {error}", node.name)),
            }
        };
        at_once(&self.connections, &self.config.nodes, finish).into_iter().filter_map(Result::err).collect()
    }
}

/// A run directory may come from somebody else: what its journal says of machines is looked at as a file of the user's is.
fn refuse_foreign(config: &SshTestbedConfig) -> Result<(), String> {
    config.inventory.check()?;
    let ours = config.inventory.directory();
    let is_ours = |directory: &Path| {
        let below = directory.strip_prefix(ours).map(|rest| rest.to_string_lossy().into_owned());
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+');
        below.is_ok_and(|rest| !rest.split('/').any(|part| part == "..") && rest.bytes().all(is_plain))
    };
    match config.nodes.iter().find(|node| !is_ours(&node.directory)) {
        Some(node) => Err(format!(
            "the journal says that {} has its folder at {}, which is not below {}: nobody but Labrys writes journals",
            node.name,
            node.directory.display(),
            ours.display()
        )),
        None => Ok(()),
    }
}

fn attach_arguments(directory: &Path) -> Vec<String> {
    let directory = directory.to_string_lossy().into_owned();
    ["agent", "attach", "--directory"].map(str::to_owned).into_iter().chain([directory]).collect()
}

/// Heals all machines of a run from what its journal says of them, all at once: what came of each, by node. With `force`, also if the run
/// is still under way.
///
/// # Errors
/// If this very program cannot be read, which is sent to machines that have none.
pub fn heal_machines(
    config: &SshTestbedConfig,
    force: bool,
) -> std::io::Result<Vec<(String, Result<Ending, String>)>> {
    refuse_foreign(config).map_err(std::io::Error::other)?;
    let programs = Arc::new(vec![Program::read("labrys", Path::new("/proc/self/exe"))?]);
    let heal = |machine: &Machine, node: &SshNode| {
        let directory = node.directory.to_string_lossy().into_owned();
        let words = ["agent", "heal", "--directory"].map(str::to_owned).into_iter();
        let arguments = words.chain([directory]).chain(force.then(|| "--force".to_owned())).collect();
        let inventory = &config.inventory;
        let transport = SshTransport::new(
            inventory.login(machine),
            inventory.directory().to_owned(),
            Arc::clone(&programs),
            arguments,
        );
        let lifeline = Lifeline::watched(OPENS_WITHIN).map_err(|error| error.to_string())?;
        let silent = |reason: String| {
            let silent_for = lifeline.was_silent_for();
            silent_for.map_or(reason, |silent| {
                format!("{}: nothing was heard for {} s", node.name, silent.as_secs())
            })
        };
        let Channel { reader, complaint, writer } =
            transport.open(&lifeline).map_err(|no_channel| silent(no_channel.reason))?;
        lifeline.allow(HEALS_WITHIN);
        let mut text = String::new();
        let read = reader.take(MAXIMUM_LINE_BYTES).read_to_string(&mut text);
        drop(writer);
        match serde_json::from_str(&text) {
            Ok(ending) => Ok(ending),
            Err(_) => Err(silent(read.err().map_or_else(complaint, |error| error.to_string()))),
        }
    };
    let healed = at_once(&config.inventory.machines, &config.nodes, heal);
    Ok(config.nodes.iter().map(|node| node.name.clone()).zip(healed).collect())
}

/// Does `work` for each pair, all at once; what came of it, in order.
fn at_once<A: Sync, B: Sync, T: Send>(
    first: &[A],
    second: &[B],
    work: impl Fn(&A, &B) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    std::thread::scope(|threads| {
        let work = &work;
        let pairs = first.iter().zip(second);
        let working: Vec<_> = pairs.map(|(a, b)| threads.spawn(move || work(a, b))).collect();
        let panicked = |_| Err("a thread panicked".to_owned());
        working.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    })
}

/// All of them, or all that went wrong.
fn all<T>(results: Vec<Result<T, String>>) -> Result<Vec<T>, Vec<String>> {
    let mut problems = Vec::new();
    let mut done = Vec::new();
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(done) } else { Err(problems) }
}
