//! The reference Raft key-value store: what the harness is calibrated on, and what people may read to learn.
//!
//! - [`disk`]: the few things that the store asks of a disk, on a real one and on a simulated one that loses, tears and fails;
//! - [`wal`]: the log on disk, written against that trait;
//! - [`snapshots`]: the state machine in files, written against it as well;
//! - [`machine`]: the replicated state machine: keys, values, client sessions, a digest per applied index;
//! - [`server`]: [`server::Replica`] joins the Raft core and the state machine without any I/O; around it a loop, a disk
//!   thread, links to the peers and the gRPC services;
//! - [`client`]: [`client::logic`] decides, without any I/O, which node to ask, when to retry and what is known at the end;
//!   around it a transport on tonic;
//! - [`ctl`]: that client on the command line;
//! - [`security`]: TLS and the token, for both;
//! - [`api`]: the generated gRPC types;
//! - [`options`], [`exit`], [`logging`]: the binary's flags, exit codes and log lines.
//!
//! Everything that decides something is free of clocks, sockets and threads, so that a simulator can drive it.

#![warn(missing_docs)]

pub mod api;
pub mod client;
pub mod ctl;
pub mod disk;
pub mod exit;
pub mod logging;
pub mod machine;
pub mod options;
pub mod security;
pub mod server;
pub mod snapshots;
pub mod wal;

pub use labrys_raft as raft;
