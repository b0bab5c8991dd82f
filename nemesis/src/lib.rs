//! Faults as data, plans that choose them from a seed, injectors that apply and undo them, and the process that undoes
//! them when everything else has died.
//!
//! A [`Fault`] names its targets symbolically ("the leader"). It is *resolved* to nodes and links at the moment it is
//! applied, journalled, applied, verified to have bitten, and later undone and verified to be gone.

#![warn(missing_docs)]

mod evidence;
mod fault;
mod host;
mod kinds;
mod lines;
mod planner;
mod protocol;
mod record;
mod resolve;

pub use evidence::{Effect, Evidence, NodeFailure, Observation, Step};
pub use fault::{Fault, Link, PartitionShape, Resolved, Schedule, Scheduled, Target};
pub use host::{CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal};
pub use kinds::{Family, FaultKind, UnknownFaultKind, parse_fault_kinds};
pub use planner::{MINIMUM_INTERVAL_MS, PlanConfig, plan};
pub use protocol::{
    ActiveFault, Failure, FaultReport, Outcome, Reply, Request, RequestBody, Response, Status,
};
pub use record::{InjectedFault, RecordError, ScheduleWriter, read_schedule};
pub use resolve::{View, resolve};
