//! Faults as data, plans that choose them from a seed, injectors that apply and undo them, and the process that undoes
//! them when everything else has died.
//!
//! A [`Fault`] names its targets symbolically ("the leader"). It is *resolved* to nodes and links at the moment it is
//! applied, journalled, applied, verified to have bitten, and later undone and verified to be gone.

#![warn(missing_docs)]

mod fault;
mod host;

pub use fault::{Fault, Link, PartitionShape, Resolved, Schedule, Scheduled, Target};
pub use host::{CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal};
