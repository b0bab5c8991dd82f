//! Whether a testbed still exists, asked later and from outside, for `labrys heal`.
//!
//! A testbed lives exactly as long as the PID 1 of its PID namespace: the kernel ends all else with it, and then takes the
//! networks away. A PID 1 is told apart from every other process by the boot, the inode of its PID namespace and its start
//! time; the inode alone would not do, since the kernel uses inode numbers again.

use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::isolation::namespace_inode;
use crate::process;

/// Which testbed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestbedIdentity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The inode of its PID namespace.
    pub pid_namespace: u64,
    /// Field 22 of `/proc/1/stat` inside: when its init started.
    pub init_start_ticks: u64,
    /// The inodes of its network namespaces: the switch's, then the nodes'.
    pub network_namespaces: Vec<u64>,
}

/// A process in a testbed, by its number outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number here.
    pub pid: i32,
    /// Its program's name.
    pub name: String,
}

/// Whether a testbed exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "liveness", rename_all = "kebab-case")]
pub enum Liveness {
    /// The kernel has taken everything away.
    Gone,
    /// It exists.
    Alive {
        /// Its PID 1: when that ends, so does everything.
        init: Holder,
        /// The others in it that this user may see.
        others: Vec<Holder>,
    },
}

impl TestbedIdentity {
    /// That of the testbed around this process, with the given network namespaces of the nodes.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn of_this_testbed(node_namespaces: &[u64]) -> std::io::Result<TestbedIdentity> {
        let no_init = || std::io::Error::other("/proc/1/stat cannot be read");
        let mut network_namespaces = vec![namespace_inode(Path::new("/proc/self/ns/net"))?];
        network_namespaces.extend_from_slice(node_namespaces);
        Ok(TestbedIdentity {
            boot_id: boot_id()?,
            pid_namespace: namespace_inode(Path::new("/proc/self/ns/pid"))?,
            init_start_ticks: process::start_ticks(1).ok_or_else(no_init)?,
            network_namespaces,
        })
    }

    /// Whether it exists, seen from any PID namespace around it. O(number of processes).
    ///
    /// # Errors
    /// If `/proc` cannot be listed. A process that this user may not look at is not of a testbed of this user.
    pub fn liveness(&self) -> std::io::Result<Liveness> {
        if boot_id()? != self.boot_id {
            return Ok(Liveness::Gone);
        }
        let mut init = None;
        let mut others = Vec::new();
        for pid in all_processes()? {
            let folder = format!("/proc/{pid}");
            let inode = namespace_inode(&Path::new(&folder).join("ns/pid"));
            if !inode.is_ok_and(|inode| inode == self.pid_namespace) {
                continue;
            }
            let name = std::fs::read_to_string(format!("{folder}/comm")).unwrap_or_default();
            let holder = Holder { pid, name: name.trim().to_owned() };
            if self.is_init(pid) {
                init = Some(holder);
            } else {
                others.push(holder);
            }
        }
        // Without the very init that was noted, the inode belongs to somebody else by now.
        Ok(init.map_or(Liveness::Gone, |init| Liveness::Alive { init, others }))
    }

    /// Ends the testbed by killing its init, if it exists; may be called any number of times. Returns whether it did exist.
    ///
    /// # Errors
    /// If `/proc` cannot be listed or the signal is not permitted.
    pub fn end(&self) -> std::io::Result<bool> {
        let Liveness::Alive { init, .. } = self.liveness()? else { return Ok(false) };
        let Some(pid) = Pid::from_raw(init.pid) else { return Ok(false) };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        // Looked at again with the handle in hand: from here on the number cannot come to mean another process.
        if !self.is_init(init.pid) {
            return Ok(false);
        }
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn is_init(&self, pid: i32) -> bool {
        let is_first = std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.and_then(|numbers| numbers.split_ascii_whitespace().last()) == Some("1")
        });
        let lives = process::state_and_start(pid)
            .is_some_and(|(state, start)| state != 'Z' && start == self.init_start_ticks);
        is_first && lives
    }
}

fn boot_id() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// In ascending order.
fn all_processes() -> std::io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}
