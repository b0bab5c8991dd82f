//! The same store, workloads, generators, schedules of faults and checkers as on real machines, with network, disks and clocks
//! simulated in one thread, from one seed. A run is a function of its configuration: the same history, byte for byte, on any
//! machine.
//!
//! - [`mod@run`]: the phases of a run, and what comes of it;
//! - [`world`]: time, machines, links and clients; [`queue`]: what will happen;
//! - [`node`]: a machine and the process on it; [`clock`], [`network`], [`environment`]: what it stands on;
//! - [`clients`], `interpreter`: generators and the store's client logic;
//! - `faults`: the nemesis;
//! - [`scenario`]: exact steps in the place of generators and faults;
//! - [`explore`]: every order in which things can happen to a tiny cluster, instead of one;
//! - [`oracles`]: what must hold at every step;
//! - [`failure`]: in which way a run failed; [`mod@shrink`]: the smallest run that fails in the same way; [`schedule_file`]: a run as a
//!   file that a person can read, commit and replay; [`gate`]: which of the store's defects are found;
//! - [`trials`]: what must make progress once all faults are undone;
//! - [`trace`]: what passed between the nodes, for a picture.
//!
//! What it is not: a second implementation of anything. The replica, the log, the snapshot files, the client's logic, the
//! generators, the resolution of targets and the checkers are those that real runs use.

#![warn(missing_docs)]

pub mod clients;
pub mod clock;
pub mod environment;
pub mod explore;
pub mod failure;
mod faults;
pub mod gate;
mod interpreter;
pub mod network;
pub mod node;
pub mod oracles;
pub mod queue;
pub mod run;
pub mod scenario;
pub mod schedule_file;
pub mod shrink;
pub mod trace;
pub mod trials;
pub mod world;

pub use environment::Environment;
pub use run::{Ended, Simulated, SimulationConfig, SimulationError, run};
