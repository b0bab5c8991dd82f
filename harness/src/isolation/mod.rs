//! Isolation: the process re-executes itself in namespaces of its own, so that nothing it does can be left behind.
//!
//! Three processes, of which the user sees one:
//!
//! ```text
//! supervisor   what the user started; stays outside, forwards signals, relays the exit code
//!   └─ init    PID 1 of new user, mount, network, PID, UTS and IPC namespaces; reaps orphans, forwards signals
//!        └─ harness   /proc/self/exe again, with the same arguments: here `enter` says `Inside`
//! ```
//!
//! Whichever of them dies, in whatever way, takes the others along: init asks for SIGKILL at the supervisor's death
//! (`PR_SET_PDEATHSIG`) and ends when the harness does, and when the PID 1 of a PID namespace ends the kernel kills
//! everything else in it (`pid_namespaces(7)`) and then drops the mounts, links, addresses and packet filter rules that
//! nobody refers to any more. A process that is privileged already skips the user namespace.
//!
//! Init and the harness are a process group of their own, so that Ctrl-C reaches the supervisor only, and the harness once,
//! through the chain. Ctrl-Z stops the supervisor only: a test whose clock is stopped would be worth nothing.
//!
//! What it is not: a sandbox. The file system and the terminal are the host's, and the code inside is trusted.

mod error;
mod init;
mod namespaces;
mod supervisor;

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use error::{Facts, IsolationError, Stage};
pub use init::{ORPHANS_FILE, OrphanExit};
pub use namespaces::{Namespaces, namespace_inode};

/// The environment variable by which the harness knows that it is inside; holds a `Marker` as JSON.
pub const MARKER_VARIABLE: &str = "LABRYS_ISOLATION";

/// How to enter.
#[derive(Clone, Debug, Default)]
pub struct IsolationOptions {
    /// The arguments of the harness; those of this process if `None`.
    pub arguments: Option<Vec<OsString>>,
}

/// What [`enter`] found or did.
#[derive(Debug)]
pub enum Entered {
    /// This process is the harness, inside.
    Inside(Enclosure),
    /// This process is the supervisor, and the harness has come to its end.
    Finished {
        /// What to exit with.
        exit_code: u8,
        /// One sentence for the user if the harness did not end by itself.
        message: Option<String>,
        /// Somebody asked for an early end: a signal was passed on to the harness.
        was_asked_to_end: bool,
    },
}

/// What the supervisor tells the harness about the world outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    supervisor_pid: i32,
    user_namespace: bool,
    outside: Namespaces,
}

/// Proof that this process is inside: whoever configures networks or mounts asks for it, and only this module makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclosure {
    marker: Marker,
    inside: Namespaces,
}

impl Enclosure {
    /// The namespaces of the supervisor, which must never be changed.
    #[must_use]
    pub fn outside(&self) -> &Namespaces {
        &self.marker.outside
    }

    /// The namespaces that this process was in when it entered.
    #[must_use]
    pub fn inside(&self) -> &Namespaces {
        &self.inside
    }

    /// The supervisor, by its number outside.
    #[must_use]
    pub fn supervisor_pid(&self) -> i32 {
        self.marker.supervisor_pid
    }

    /// Whether there is a user namespace of our own, that is, whether the user was not privileged.
    #[must_use]
    pub fn has_user_namespace(&self) -> bool {
        self.marker.user_namespace
    }
}

/// Enters the isolation: outside, starts init and the harness and stays until they end; inside, says so.
///
/// To be called first thing in `main`, before any thread is started.
///
/// # Errors
/// If the namespaces cannot be made, or the process has threads already. Nothing is left behind.
pub fn enter(options: &IsolationOptions) -> Result<Entered, IsolationError> {
    if let Some(enclosure) = enclosure()? {
        return Ok(Entered::Inside(enclosure));
    }
    supervisor::run(options)
}

/// The isolation that this process is in, if it is: also for processes that the harness started, like the nemesis.
///
/// # Errors
/// If the environment claims that it is, and the namespaces say that it is not.
pub fn enclosure() -> Result<Option<Enclosure>, IsolationError> {
    let Some(text) = std::env::var_os(MARKER_VARIABLE) else { return Ok(None) };
    let parsed = text.to_str().and_then(|text| serde_json::from_str::<Marker>(text).ok());
    let Some(marker) = parsed else {
        return Err(IsolationError::FalseMarker { detail: "it is not what a supervisor writes".to_owned() });
    };
    let inside = Namespaces::of_this_process()?;
    for (what, mine, outer) in [
        ("network", inside.network, marker.outside.network),
        ("mount", inside.mount, marker.outside.mount),
        ("PID", inside.pid, marker.outside.pid),
    ] {
        if mine == outer {
            let detail = format!("the {what} namespace is still the one outside");
            return Err(IsolationError::FalseMarker { detail });
        }
    }
    Ok(Some(Enclosure { marker, inside }))
}

/// Whether this process may make namespaces and configure networks as it is: `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
///
/// # Errors
/// If `/proc/self/status` cannot be read.
pub fn is_privileged() -> Result<bool, IsolationError> {
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    let effective = namespaces::status_mask(Path::new("/proc/self/status"), "CapEff")?;
    Ok(effective & (1 << NET_ADMIN) != 0 && effective & (1 << SYS_ADMIN) != 0)
}
