//! Runs a test: the isolation it runs in, the testbed of nodes, the databases on it, the interpreter that drives clients,
//! and the run directory that keeps what was seen.
//!
//! - [`isolation`]: the process re-executes itself in namespaces of its own, so that the kernel cleans up after it.
//! - [`testbed`]: the nodes as machines, with a [`labrys_nemesis::Host`] for each; [`agent`]: what acts for us on other machines.
//! - [`db`]: systems under test: how they are set up, started, observed and torn down.
//! - [`interpreter`]: carries out what generators propose, and records it.
//! - [`config`], [`campaigns`]: what a test is, and the tests that the harness is itself tested with.
//! - [`faults`]: the harness's side of the nemesis.
//! - [`run_directory`]: where a run keeps its files.
//! - [`doctor`]: what this machine can do; [`memory`]: how much memory it leaves us.
//!
//! - [`observer`]: records what is seen of the nodes; [`fail_fast`]: judges while it is recorded.
//! - [`runner`]: one test from the testbed to the verdict; [`progress`]: what a person wants to know meanwhile.
//!
//! What it is not: it decides no verdict (`labrys-checker`) and draws nothing (`labrys-reports`, `labrys-cli`).

#![warn(missing_docs)]

pub mod agent;
pub mod campaigns;
pub mod config;
pub mod db;
pub mod doctor;
pub mod fail_fast;
pub mod faults;
pub mod interpreter;
pub mod isolation;
pub mod memory;
pub mod observer;
pub mod progress;
pub mod run_directory;
pub mod runner;
pub mod testbed;

mod process;
