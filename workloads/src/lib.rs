//! What clients do: generators (pure), the [`Client`] trait with the clients of each system, and workloads, which are a
//! generator, a client and the name of the model that judges the history.
//!
//! Knows nothing of faults and hosts. A nemesis operation is an operation like any other here: what its value means is
//! the affair of whoever gave it to the generator.
//!
//! - [`generator`]: what to do next, as state machines without clock, threads or clients;
//! - [`testing`]: a simulated clock and simulated clients for generators, for our tests and those of users;
//! - [`client`]: the seam to any system; [`clients`]: the systems that we have clients of;
//! - [`workload`]: the table of workloads by name, which are [`register`] and [`lease`].

#![warn(missing_docs)]

pub mod client;
pub mod clients;
pub mod generator;
pub mod lease;
pub mod register;
pub mod testing;
pub mod workload;

pub use client::{Client, ClientFactory, Op, OpenError, Outcome};
pub use generator::{BoxGenerator, Generator, GeneratorExt};
pub use workload::{Checks, NAMES as WORKLOADS, Workload, WorkloadError, WorkloadOptions, WrittenValues};
