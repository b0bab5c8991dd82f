//! Why the isolation could not be entered, and how to mend it.

use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why the isolation could not be entered. Exit code 255.
#[derive(Debug, Error)]
pub enum IsolationError {
    /// The kernel would not make the namespaces.
    #[error("cannot make the namespaces that the test runs in ({errno}): {why}. {mend}")]
    Namespaces {
        /// What the kernel said.
        errno: Errno,
        /// The most likely reason.
        why: String,
        /// What to do about it.
        mend: String,
    },
    /// The namespaces are there, but could not be furnished.
    #[error("cannot set up the namespaces that the test runs in: {stage}: {detail}")]
    SetUp {
        /// Where it stopped.
        stage: Stage,
        /// What the system said, and what to do about it where that is known.
        detail: String,
    },
    /// A fork of a process with threads is not safe.
    #[error("the isolation must be entered before any thread is started; there are {count}")]
    Threads {
        /// How many there are.
        count: usize,
    },
    /// The environment claims that this process is inside.
    #[error("the environment variable {name} is set, but this process is not inside: {detail}. Unset it", name = super::MARKER_VARIABLE)]
    FalseMarker {
        /// What contradicts it.
        detail: String,
    },
    /// `/proc` could not be read.
    #[error("cannot read {path}: {source}")]
    Proc {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another system call failed.
    #[error("cannot enter the isolation: {call}: {errno}")]
    System {
        /// Which.
        call: &'static str,
        /// How.
        errno: Errno,
    },
}

/// The steps of init, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Mapping root inside to the user outside.
    MapUser,
    /// Making the mounts private.
    PrivateMounts,
    /// Mounting `/proc`.
    MountProc,
    /// Mounting an empty `/run`.
    MountRun,
    /// Mounting an empty `/dev/shm`.
    MountSharedMemory,
    /// Setting the loopback device up.
    Loopback,
    /// Starting the harness.
    StartHarness,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Stage::MapUser => "mapping the user",
            Stage::PrivateMounts => "making the mounts private",
            Stage::MountProc => "mounting /proc",
            Stage::MountRun => "mounting /run",
            Stage::MountSharedMemory => "mounting /dev/shm",
            Stage::Loopback => "setting the loopback device up",
            Stage::StartHarness => "starting the harness",
        })
    }
}

/// What this machine says about user namespaces; `None` where it does not know the setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// `user.max_net_namespaces`.
    pub max_net_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone` (Debian's and Arch's kernels).
    pub unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu's, from 23.10).
    pub apparmor_restrict_unprivileged_userns: Option<u64>,
}

const OR_ROOT: &str = "or run labrys as root";

impl Facts {
    /// Reads them.
    #[must_use]
    pub fn of_this_machine() -> Facts {
        let read = |name: &str| -> Option<u64> {
            std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
        };
        Facts {
            max_user_namespaces: read("user/max_user_namespaces"),
            max_net_namespaces: read("user/max_net_namespaces"),
            unprivileged_userns_clone: read("kernel/unprivileged_userns_clone"),
            apparmor_restrict_unprivileged_userns: read("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// The most likely reason for `errno` from `clone(CLONE_NEWUSER | …)`, and what to do about it.
    pub(super) fn diagnose(&self, errno: Errno, privileged: bool) -> (String, String) {
        if self.max_user_namespaces == Some(0) && !privileged {
            return forbidden_by("user.max_user_namespaces", 0, 10_000);
        }
        if self.max_net_namespaces == Some(0) {
            return forbidden_by("user.max_net_namespaces", 0, 10_000);
        }
        if self.unprivileged_userns_clone == Some(0) && !privileged {
            return forbidden_by("kernel.unprivileged_userns_clone", 0, 1);
        }
        if self.apparmor_restrict_unprivileged_userns == Some(1) && !privileged {
            return forbidden_by("kernel.apparmor_restrict_unprivileged_userns", 1, 0);
        }
        match errno {
            Errno::ENOSPC | Errno::EUSERS => (
                "the limit on the number or the depth of namespaces is reached".to_owned(),
                format!("Raise `sysctl user.max_user_namespaces` and its siblings, {OR_ROOT}"),
            ),
            Errno::EINVAL => (
                "this kernel was built without some of the namespaces (user, mount, net, PID, UTS, IPC)".to_owned(),
                "Use a kernel that has CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS".to_owned(),
            ),
            Errno::EPERM => (
                "a security policy forbids it, such as a container's seccomp filter, or the process is in a chroot"
                    .to_owned(),
                "In a container allow it (docker run --privileged, or --security-opt seccomp=unconfined --security-opt \
                 systempaths=unconfined), or run labrys as root on the machine itself"
                    .to_owned(),
            ),
            _ => ("the system refused".to_owned(), "`labrys doctor` says more".to_owned()),
        }
    }
}

fn forbidden_by(setting: &str, value: u64, wanted: u64) -> (String, String) {
    let why = format!("{setting} is {value} on this machine, which forbids them to ordinary users");
    (why, format!("Allow them with `sudo sysctl -w {setting}={wanted}`, {OR_ROOT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_user_namespaces_is_named_with_the_command_that_allows_them() {
        let ubuntu = Facts { apparmor_restrict_unprivileged_userns: Some(1), ..Facts::default() };
        let (why, mend) = ubuntu.diagnose(Errno::EPERM, false);
        assert!(why.contains("kernel.apparmor_restrict_unprivileged_userns is 1"), "{why}");
        assert!(mend.contains("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"), "{mend}");

        let debian = Facts { unprivileged_userns_clone: Some(0), ..Facts::default() };
        assert!(debian.diagnose(Errno::EPERM, false).1.contains("kernel.unprivileged_userns_clone=1"));

        let limited = Facts { max_user_namespaces: Some(0), ..Facts::default() };
        assert!(limited.diagnose(Errno::ENOSPC, false).1.contains("user.max_user_namespaces=10000"));
    }

    #[test]
    fn settings_about_ordinary_users_are_not_blamed_when_root_is_refused() {
        let facts = Facts {
            max_user_namespaces: Some(0),
            apparmor_restrict_unprivileged_userns: Some(1),
            ..Facts::default()
        };
        let (why, _) = facts.diagnose(Errno::EPERM, true);
        assert!(why.contains("security policy"), "{why}");
    }
}
