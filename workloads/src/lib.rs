//! What clients do: generators (pure), the [`Client`] trait with the clients of each system, and workloads, which are a
//! generator, a client and the checkers that judge the history.
//!
//! Knows nothing of faults and hosts.

#![warn(missing_docs)]

pub mod client;

pub use client::{Client, ClientFactory, Op, OpenError, Outcome};
