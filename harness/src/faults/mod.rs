//! The harness's side of the nemesis: a plan as a generator of operations, and the driver that carries them out through the
//! nemesis process and records what came of them.
//!
//! A planned fault is two operations of the nemesis thread, `apply` and `undo`; what is planned is symbolic, and is resolved
//! to nodes when its `apply` is carried out.

mod driver;
mod link;
mod pipe;
mod plan;
mod planned;

pub use driver::{ActiveFaults, FaultDriver, FaultError, FaultFiles, Leaders, NemesisSetup, describe};
pub use plan::{Action, PlannedFaults, Signals, Unmet};
pub use planned::{coverage, planned, unplanned_faults};
