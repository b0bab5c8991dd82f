//! [`NetnsTestbed`]: nodes `n1` … `nN`, each a network namespace, joined by a bridge in the harness's own.
//!
//! ```text
//!   harness 10.0.0.254 (clients) and 10.0.0.253 (observer) on the bridge `labrys` (the switch's namespace)
//!      ├── to-n1 ═══ eth0 10.0.0.1 (namespace n1)
//!      ├── to-n2 ═══ eth0 10.0.0.2 (namespace n2)
//!      …
//! ```
//!
//! Built only inside the isolation: [`NetnsTestbed::build`] asks for an [`Enclosure`] and compares the network namespace
//! with the host's once more. There is no tearing down: the kernel does that when the isolation ends.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labrys_nemesis::{CLIENTS, Host, HostError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ip::{self, Endpoint, IpError};
use super::{LocalHost, TestbedIdentity};
use crate::isolation::{Enclosure, namespace_inode};

/// How many nodes fit: their numbers are the last byte of their addresses, and .253 and .254 are the harness's.
pub const MAXIMUM_NODES: usize = 250;

/// Where the harness is, and with it the clients: what it sends comes from there, unless it says otherwise.
const HARNESS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

/// From where the harness observes the nodes, whatever becomes of clients' links.
pub const OBSERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 253);

/// Nobody listens there: an answer of "refused" proves that packets go both ways.
const DISCARD_PORT: u16 = 9;

/// How long a new network may take until everybody is heard by everybody. It takes milliseconds.
const REACHABLE_WITHIN: Duration = Duration::from_secs(10);

/// A testbed could not be built.
#[derive(Debug, Error)]
pub enum TestbedError {
    /// The process is in the host's network namespace.
    #[error("refusing to configure a network outside the isolation")]
    NotInside,
    /// Too few or too many nodes.
    #[error("a testbed has 1 to {MAXIMUM_NODES} nodes, not {count}")]
    NodeCount {
        /// What was asked for.
        count: usize,
    },
    /// The `ip` tool failed.
    #[error(transparent)]
    Ip(#[from] IpError),
    /// A node's host failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// `/proc` or `/run/netns` could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A node is not heard.
    #[error("{from} does not reach {to} after {seconds} s: {detail}", seconds = REACHABLE_WITHIN.as_secs())]
    Unreachable {
        /// Who tried.
        from: String,
        /// Whom.
        to: String,
        /// What the last try ended with.
        detail: String,
    },
    /// Machines that cannot be used, with what is wrong with each.
    #[error("{}", .0.join("\n"))]
    Machines(Vec<String>),
    /// The configuration is of another testbed.
    #[error("this configuration is of another testbed than the one around this process: {detail}")]
    AnotherTestbed {
        /// What differs.
        detail: String,
    },
}

/// A node of the testbed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsNode {
    /// `n1`; also the name of its network namespace.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where its host keeps its notes, and by convention its data and logs.
    pub directory: PathBuf,
}

impl NetnsNode {
    fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

/// A built testbed as data, from which another process inside makes the same hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsTestbedConfig {
    /// Which testbed it is.
    pub identity: TestbedIdentity,
    /// The harness's address on the bridge.
    pub harness_address: Ipv4Addr,
    /// The nodes, `n1` first.
    pub nodes: Vec<NetnsNode>,
}

/// A built testbed.
#[derive(Clone, Debug)]
pub struct NetnsTestbed {
    config: NetnsTestbedConfig,
    hosts: Vec<LocalHost>,
}

impl NetnsTestbed {
    /// Builds a testbed of `count` nodes, whose folders are `nodes_directory/n1` and so on, and waits until each of them
    /// and the harness reach each node.
    ///
    /// # Errors
    /// Outside the isolation, and whenever a step fails; what was built until then ends with the isolation.
    pub fn build(
        enclosure: &Enclosure,
        count: usize,
        nodes_directory: &Path,
    ) -> Result<NetnsTestbed, TestbedError> {
        let here = inode(Path::new("/proc/self/ns/net"))?;
        if here == enclosure.outside().network || here != enclosure.inside().network {
            return Err(TestbedError::NotInside);
        }
        if count == 0 || count > MAXIMUM_NODES {
            return Err(TestbedError::NodeCount { count });
        }
        // Daemons are started in folders of their own.
        let nodes_directory = std::path::absolute(nodes_directory)
            .map_err(|source| TestbedError::File { path: nodes_directory.to_owned(), source })?;
        let nodes = nodes_of(count, &nodes_directory);
        let endpoints: Vec<Endpoint> =
            nodes.iter().map(|node| Endpoint { node: node.name.clone(), address: node.address }).collect();
        keep_ipv6_quiet();
        ip::build_switch(&[HARNESS_ADDRESS, OBSERVER_ADDRESS], &endpoints)?;

        let inodes: Result<Vec<u64>, _> = nodes.iter().map(|node| inode(&node.namespace())).collect();
        let identity = TestbedIdentity::of_this_testbed(&inodes?)
            .map_err(|source| TestbedError::File { path: "/proc".into(), source })?;
        let config = NetnsTestbedConfig { identity, harness_address: HARNESS_ADDRESS, nodes };
        let hosts = local_hosts(&config)?;
        hosts.iter().try_for_each(|host| host.in_network(keep_ipv6_quiet))?;
        ip::set_nodes_up(&endpoints)?;
        let testbed = NetnsTestbed { config, hosts };
        testbed.wait_until_reachable()?;
        Ok(testbed)
    }

    /// The testbed as data.
    #[must_use]
    pub fn config(&self) -> &NetnsTestbedConfig {
        &self.config
    }

    /// Its hosts, `n1` first.
    #[must_use]
    pub fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.iter().map(|host| Arc::new(host.clone()) as Arc<dyn Host>).collect()
    }

    /// Everybody must be heard by everybody before the first fault, or that fault would be credited with too much.
    fn wait_until_reachable(&self) -> Result<(), TestbedError> {
        let deadline = Instant::now() + REACHABLE_WITHIN;
        let reach_all = |from: &str| -> Result<(), TestbedError> {
            self.config
                .nodes
                .iter()
                .filter(|node| node.name != from)
                .try_for_each(|node| reach(from, node, deadline))
        };
        reach_all("the harness")?;
        self.hosts.iter().try_for_each(|host| host.in_network(|| reach_all(host.name()))?)
    }
}

/// The hosts of a testbed, for another process inside it such as the nemesis: those of the nodes, and one called [`CLIENTS`], which
/// is the harness's own network, for faults of clients' links.
///
/// # Errors
/// If this process is not in that testbed.
pub fn hosts_from(config: &NetnsTestbedConfig) -> Result<Vec<Arc<dyn Host>>, TestbedError> {
    let inodes: Result<Vec<u64>, _> = config.nodes.iter().map(|node| inode(&node.namespace())).collect();
    let around = inodes.and_then(|inodes| {
        TestbedIdentity::of_this_testbed(&inodes)
            .map_err(|source| TestbedError::File { path: "/proc".into(), source })
    });
    match around {
        Ok(identity) if identity == config.identity => {}
        Ok(_) => {
            let detail = "its boot, PID namespace or network namespaces are others".to_owned();
            return Err(TestbedError::AnotherTestbed { detail });
        }
        Err(error) => return Err(TestbedError::AnotherTestbed { detail: error.to_string() }),
    }
    let mut hosts = local_hosts(config)?;
    hosts.push(clients_host(config)?);
    Ok(hosts.into_iter().map(|host| Arc::new(host) as Arc<dyn Host>).collect())
}

/// Beside the nodes' folders it has one of its own, which stays empty: no daemon of the testbed runs there.
fn clients_host(config: &NetnsTestbedConfig) -> Result<LocalHost, TestbedError> {
    let nodes = config.nodes.first().and_then(|node| node.directory.parent()).unwrap_or(Path::new("."));
    let directory = nodes.with_file_name(CLIENTS);
    let address = IpAddr::V4(config.harness_address);
    Ok(LocalHost::new(CLIENTS, address, Path::new("/proc/self/ns/net"), &directory)?)
}

fn local_hosts(config: &NetnsTestbedConfig) -> Result<Vec<LocalHost>, TestbedError> {
    let host = |node: &NetnsNode| {
        LocalHost::new(&node.name, IpAddr::V4(node.address), &node.namespace(), &node.directory)
    };
    Ok(config.nodes.iter().map(host).collect::<Result<_, HostError>>()?)
}

fn nodes_of(count: usize, nodes_directory: &Path) -> Vec<NetnsNode> {
    let numbers = (1..=u8::MAX).take(count.min(MAXIMUM_NODES));
    let node = |number: u8| {
        let name = format!("n{number}");
        let directory = nodes_directory.join(&name);
        NetnsNode { name, address: Ipv4Addr::new(10, 0, 0, number), directory }
    };
    numbers.map(node).collect()
}

/// One try after another until `node` answers: what is new takes a moment.
fn reach(from: &str, node: &NetnsNode, deadline: Instant) -> Result<(), TestbedError> {
    const TRY_FOR: Duration = Duration::from_millis(500);
    const BETWEEN_TRIES: Duration = Duration::from_millis(2);
    loop {
        let target = SocketAddr::from((node.address, DISCARD_PORT));
        let detail = match TcpStream::connect_timeout(&target, TRY_FOR) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(TestbedError::Unreachable { from: from.to_owned(), to: node.name.clone(), detail });
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}

/// Devices set up here from now on give themselves no IPv6 address, whose neighbour discovery would be noise among the packets
/// that faults are counted by. A kernel without IPv6 has no such file, and no need of it.
fn keep_ipv6_quiet() {
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
}

fn inode(path: &Path) -> Result<u64, TestbedError> {
    namespace_inode(path).map_err(|source| TestbedError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_numbered_from_one_and_their_numbers_are_in_their_addresses() {
        let nodes = nodes_of(3, Path::new("/tmp/run/nodes"));
        let summary: Vec<String> = nodes
            .iter()
            .map(|node| format!("{} {} {}", node.name, node.address, node.directory.display()))
            .collect();
        assert_eq!(
            summary,
            [
                "n1 10.0.0.1 /tmp/run/nodes/n1",
                "n2 10.0.0.2 /tmp/run/nodes/n2",
                "n3 10.0.0.3 /tmp/run/nodes/n3"
            ]
        );
    }
}
