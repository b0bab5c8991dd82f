//! The client library.
//!
//! - [`errors`]: the one table of what can go wrong with an attempt, and what is known then;
//! - [`logic`]: which node to ask, when to try again, what to tell the caller: a state machine without I/O;
//! - [`refusals`]: what a node that refuses says about an attempt;
//! - [`operations`]: everything that a client can do, as methods;
//! - [`interactive`]: interactive transactions;
//! - [`watch`]: watching keys;
//! - [`transport`]: that state machine on tonic;
//! - [`admin`]: changing the cluster;
//! - [`maintenance`]: what a node does with its own files when asked;
//! - [`status`]: looking at nodes.

#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod admin;
pub mod errors;
pub mod interactive;
pub mod logic;
pub mod maintenance;
pub mod operations;
pub mod refusals;
pub mod status;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod transport;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod watch;

pub use admin::{AdminError, AdminSession, Member, Members};
pub use errors::{AttemptError, ClientError};
pub use interactive::InteractiveTransaction;
pub use logic::{ClientOptions, Success, Written};
pub use maintenance::{
    Defragmented, FailpointList, FailpointOrder, FailpointStatus, HashOutcome, MaintenanceClient,
    MaintenanceError, SnapshotTaken,
};
pub use operations::{Acquired, CompareAndSet, Transacted, prefix};
pub use status::{LeaderChangeSeen, NodeStatus, StatusClient, StatusError, StorageStatus};
pub use transport::{AddressError, StoreClient};
pub use watch::{Watch, WatchEnd, WatchEvent};
