//! The seam between the Raft core and whatever drives it: a server with real disks and sockets, or a simulator.
//!
//! [`Input`]s go in, [`Effect`]s come out; everything else here is what they are made of.

mod config;
mod effect;
mod input;
mod message;
mod numbers;
mod read_mode;
mod status;
mod storage;

pub use config::Config;
pub use effect::{Effect, RefusalReason};
pub use input::Input;
pub use message::{AppendRejection, Message, MessageBody, Wanted};
pub use numbers::{LogIndex, NodeId, Sequence, Term, Token};
pub use read_mode::ReadMode;
pub use status::{Role, Status};
pub use storage::{Entry, HardState, Payload, PersistBatch, Recovered, Snapshot, SnapshotPoint};
