//! [`Testbed`]: whichever testbed of real nodes a configuration names.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labrys_nemesis::{Host, RunTag};

use super::disks::DISK_FOLDER;
use super::{NetnsTestbed, OBSERVER_ADDRESS, SshTestbed, TestbedError};
use crate::config::{SSH, TestConfig};
use crate::isolation::Enclosure;
use crate::run_directory::RunDirectory;
use crate::runner::{DISK_PROCESS, disk_program};

/// Where a node's data is: in its folder, or on the disk that can fail.
pub(super) const DATA_FOLDERS: [&str; 2] = ["data", DISK_FOLDER];

/// A built testbed of real nodes.
pub enum Testbed {
    /// Network namespaces of this machine.
    Netns(NetnsTestbed),
    /// Other machines.
    Ssh(SshTestbed),
}

impl Testbed {
    /// Builds the one that `config` names; `store` is the store's program on this machine.
    ///
    /// # Errors
    /// As of that testbed. Network namespaces need the isolation, other machines do not.
    pub fn build(
        config: &TestConfig,
        enclosure: Option<&Enclosure>,
        directory: &RunDirectory,
        run_tag: &RunTag,
        store: &Path,
    ) -> Result<Testbed, TestbedError> {
        if config.testbed == SSH {
            let run = directory.path().file_name().unwrap_or_default().to_string_lossy();
            return SshTestbed::build(&config.hosts, config.nodes, &run, run_tag, store).map(Testbed::Ssh);
        }
        let enclosure = enclosure.ok_or(TestbedError::NotInside)?;
        NetnsTestbed::build(enclosure, config.nodes, &directory.nodes()).map(Testbed::Netns)
    }

    /// Its hosts in order, each with its node's folder there.
    #[must_use]
    pub fn hosts(&self) -> Vec<(Arc<dyn Host>, PathBuf)> {
        match self {
            Testbed::Netns(testbed) => {
                let folders = testbed.config().nodes.iter().map(|node| node.directory.clone());
                testbed.hosts().into_iter().zip(folders).collect()
            }
            Testbed::Ssh(testbed) => {
                let folders = testbed.config().nodes.iter().map(|node| node.directory.clone());
                testbed.hosts().into_iter().zip(folders).collect()
            }
        }
    }

    /// The address from which the harness observes the nodes, if it has one besides that of the clients.
    #[must_use]
    pub fn observer_address(&self) -> Option<IpAddr> {
        match self {
            Testbed::Netns(_) => Some(IpAddr::V4(OBSERVER_ADDRESS)),
            Testbed::Ssh(_) => None,
        }
    }

    /// Where the store's program, which is at `here` on this machine, is on the nodes.
    #[must_use]
    pub fn store(&self, here: PathBuf) -> PathBuf {
        match self {
            Testbed::Netns(_) => here,
            Testbed::Ssh(testbed) => testbed.store().to_owned(),
        }
    }

    /// How the process of a disk is started on the nodes: this very program.
    #[must_use]
    pub fn disk_program(&self) -> Vec<String> {
        match self {
            Testbed::Netns(_) => disk_program(),
            Testbed::Ssh(testbed) => {
                vec![testbed.labrys().to_string_lossy().into_owned(), DISK_PROCESS.to_owned()]
            }
        }
    }

    /// When the nodes have been ended: collects what they have written, with their data unless the run was valid, and leaves the machines
    /// clean; in words what went wrong, which costs no verdict.
    #[must_use]
    pub fn leave(&self, directory: &RunDirectory, was_valid: bool) -> Vec<String> {
        match self {
            Testbed::Netns(testbed) => {
                // It is here already, and worth keeping only where there is something to find in it.
                for node in testbed.config().nodes.iter().filter(|_| was_valid) {
                    for data in DATA_FOLDERS.map(|folder| node.directory.join(folder)) {
                        match std::fs::remove_dir_all(&data) {
                            Err(error) if error.kind() != ErrorKind::NotFound => {
                                tracing::warn!("{}: {error}", data.display());
                            }
                            _ => {}
                        }
                    }
                }
                Vec::new()
            }
            Testbed::Ssh(testbed) => {
                let mut problems = testbed.collect(&directory.nodes(), !was_valid);
                // What is not here is kept there.
                let remove = problems.is_empty();
                problems.extend(testbed.finish(remove));
                problems
            }
        }
    }
}
