//! The `ip` tool (iproute2), called here and nowhere else.
//!
//! A testbed takes one call for the switch and all links, and one per node for what is inside its namespace, all of the
//! latter at once; each reads its commands from standard input (`ip -batch -`).

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use thiserror::Error;

/// The name of the device in a node's namespace, and of no other.
pub const NODE_DEVICE: &str = "eth0";

/// The name of the bridge in the switch's namespace, where the harness has its address.
pub const BRIDGE: &str = "labrys";

/// All addresses of a testbed are in one network of this size.
const PREFIX_LENGTH: u8 = 24;

/// `ip` did not do as it was told.
#[derive(Debug, Error)]
pub enum IpError {
    /// It is not installed.
    #[error("the program `ip` is missing: install the package iproute2 (`sudo apt-get install iproute2`)")]
    Missing,
    /// It could not be started or spoken to.
    #[error("the program `ip` cannot be run: {0}")]
    Run(std::io::Error),
    /// It refused.
    #[error("`ip {arguments}` failed: {detail}; its commands were:\n{script}")]
    Failed {
        /// The command line.
        arguments: String,
        /// What it printed.
        detail: String,
        /// What it had read.
        script: String,
    },
}

/// A node's end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node, whose name is also its namespace's.
    pub node: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Sets the loopback device of this process's network namespace up.
///
/// # Errors
/// If `ip` is missing or refuses.
pub fn set_loopback_up() -> Result<(), IpError> {
    finish(start(None, "link set dev lo up\n".to_owned())?)
}

/// Makes the namespaces, the bridge with the switch's addresses (the first is that from which it sends), and a link from the bridge to each node, whose end is still down.
/// In this process's network namespace: the caller sees to it that this is not the host's.
///
/// # Errors
/// If `ip` is missing or refuses. What it had done until then stays.
pub fn build_switch(switch_addresses: &[Ipv4Addr], endpoints: &[Endpoint]) -> Result<(), IpError> {
    finish(start(None, switch_script(switch_addresses, endpoints))?)
}

/// Gives each node its address and sets its devices up, in all nodes at once.
///
/// # Errors
/// If `ip` is missing or refuses. What it had done until then stays.
pub fn set_nodes_up(endpoints: &[Endpoint]) -> Result<(), IpError> {
    let running: Result<Vec<_>, _> =
        endpoints.iter().map(|endpoint| start(Some(&endpoint.node), node_script(endpoint))).collect();
    running?.into_iter().try_for_each(finish)
}

/// Everything that can be done from the switch: both ends of each link are made at once, the far one in its namespace.
///
/// The bridge forwards at once: no spanning tree, and no snooping for multicast that nobody sends.
fn switch_script(switch_addresses: &[Ipv4Addr], endpoints: &[Endpoint]) -> String {
    let mut script = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(script, "{text}");
    };
    line(format_args!("link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"));
    for address in switch_addresses {
        line(format_args!("address add {address}/{PREFIX_LENGTH} dev {BRIDGE}"));
    }
    for Endpoint { node, .. } in endpoints {
        line(format_args!("netns add {node}"));
        line(format_args!("link add to-{node} type veth peer name {NODE_DEVICE} netns {node}"));
        line(format_args!("link set dev to-{node} master {BRIDGE} up"));
    }
    line(format_args!("link set dev {BRIDGE} up"));
    script
}

fn node_script(endpoint: &Endpoint) -> String {
    let address = endpoint.address;
    format!(
        "link set dev lo up\n\
         address add {address}/{PREFIX_LENGTH} dev {NODE_DEVICE}\n\
         link set dev {NODE_DEVICE} up\n"
    )
}

/// An `ip` at work.
struct Running {
    child: Child,
    arguments: String,
    script: String,
}

fn start(namespace: Option<&str>, script: String) -> Result<Running, IpError> {
    let mut arguments: Vec<&str> = namespace.map_or_else(Vec::new, |name| vec!["-netns", name]);
    arguments.extend(["-batch", "-"]);
    let mut command = Command::new("ip");
    command.args(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Init calls this, too, and its path may lack the system folders.
    command.env("PATH", crate::process::path_with_system_folders());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => IpError::Missing,
        _ => IpError::Run(error),
    })?;
    if let Some(mut input) = child.stdin.take() {
        // A script is far smaller than a pipe; if `ip` ends without reading, its own error says more than EPIPE.
        match input.write_all(script.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(IpError::Run(error)),
            _ => {}
        }
    }
    Ok(Running { child, arguments: arguments.join(" "), script })
}

fn finish(running: Running) -> Result<(), IpError> {
    let output = running.child.wait_with_output().map_err(IpError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    let detail = format!("{} ({})", printed.trim(), output.status);
    Err(IpError::Failed { arguments: running.arguments, detail, script: running.script })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_built_in_one_batch_with_the_far_ends_in_their_namespaces() {
        let endpoints = [
            Endpoint { node: "n1".to_owned(), address: Ipv4Addr::new(10, 0, 0, 1) },
            Endpoint { node: "n2".to_owned(), address: Ipv4Addr::new(10, 0, 0, 2) },
        ];
        let script = switch_script(&[Ipv4Addr::new(10, 0, 0, 254), Ipv4Addr::new(10, 0, 0, 253)], &endpoints);
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!(
            lines,
            [
                "link add labrys type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                "address add 10.0.0.254/24 dev labrys",
                "address add 10.0.0.253/24 dev labrys",
                "netns add n1",
                "link add to-n1 type veth peer name eth0 netns n1",
                "link set dev to-n1 master labrys up",
                "netns add n2",
                "link add to-n2 type veth peer name eth0 netns n2",
                "link set dev to-n2 master labrys up",
                "link set dev labrys up",
            ]
        );
    }
}
