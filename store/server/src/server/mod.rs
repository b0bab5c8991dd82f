//! A node as a program: the Raft core and the state machine, joined, and everything with clocks, disks and sockets.
//!
//! ```text
//!   gRPC services ──requests──►┌───────────┐──batches──► disk thread (one frame, one fdatasync per group)
//!   peers' streams ─messages──►│ node loop │◄─durable────────┘
//!             ◄───answers──────└───────────┘──messages──► one link per peer
//! ```
//!
//! - [`replica`]: all that decides; no I/O. The node loop hands it inputs and carries out its outputs;
//! - [`log_clock`]: with what time the leader stamps commands;
//! - [`node_loop`]: one thread, one bounded queue;
//! - [`disk_thread`]: group commit; [`snapshot_thread`]: snapshot files, beside it;
//! - [`answers`]: what an answer of the replica means to a client;
//! - [`addresses`]: where the nodes are reached;
//! - [`clock`]: what a node counts its promises by, and how testers make it run wrong;
//! - [`cluster`]: which cluster a node belongs to;
//! - [`limits`]: how much a node takes on at a time;
//! - [`failpoints`]: places at which testers make a node pause, fail or end;
//! - [`health`], [`metrics`]: what a node tells its operators;
//! - [`links`]: messages to the peers, which may be lost;
//! - [`services`]: gRPC in, gRPC out;
//! - [`data_dir`]: whose directory it is, and that only one process uses it;
//! - [`run`]: puts these together and takes them apart.

pub mod addresses;
pub mod answers;
pub mod clock;
pub mod cluster;
mod connections;
pub mod data_dir;
pub mod disk_thread;
pub mod failpoints;
pub mod health;
pub mod limits;
pub mod links;
pub mod log_clock;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod metrics;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod node_loop;
pub mod replica;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod run;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod services;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod snapshot_thread;

pub use limits::Limits;
pub use replica::{
    Answer, ClientRequest, Replica, ReplicaInput, ReplicaOutput, ReplicaStatus, SnapshotEvent, SnapshotJob,
    SnapshotPolicy,
};
pub use run::{Batching, Fatal, Restored, Server, ServerOptions, StartError, restore};
