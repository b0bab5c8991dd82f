//! Testbeds: the machines on which the nodes of a test run.
//!
//! - [`ip`]: the one place that calls the `ip` tool.
//! - [`Testbed`]: whichever of them a configuration names.
//! - [`NetnsTestbed`]: one network namespace per node, joined by a bridge, inside the isolation.
//! - [`SshTestbed`]: machines that are reached by ssh, with an agent on each ([`crate::agent`]).
//! - [`LocalHost`]: the [`labrys_nemesis::Host`] of such a node.
//! - [`disks`]: disks under its nodes that can lose power, fill up, fail and rot.
//! - [`lifecycle`]: what a host notes of its daemon: starts, intended signals, ends.
//! - [`TestbedIdentity`]: by which a later process tells whether a testbed still exists.
//!
//! What it is not: it knows no database and applies no fault.

pub mod disks;
pub mod ip;
pub mod lifecycle;

mod choice;
mod identity;
mod local_host;
mod netns;
mod ssh;

pub use choice::Testbed;
pub use identity::{Holder, Liveness, TestbedIdentity};
pub use local_host::LocalHost;
pub use netns::{NetnsNode, NetnsTestbed, NetnsTestbedConfig, OBSERVER_ADDRESS, TestbedError, hosts_from};
pub use ssh::{
    Inventory, Login, Machine, SshNode, SshTestbed, SshTestbedConfig, examine_machines, heal_machines,
};
