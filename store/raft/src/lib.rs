//! Raft without I/O: inputs in, effects out.
//!
//! [`Node::step`] takes one [`Input`] and appends [`Effect`]s to a list. It never reads a clock, a disk, a socket or a
//! global random generator: the same inputs in the same order give the same effects, on a server and in a simulator.
//!
//! What this crate is not: a server, a log on disk, a state machine, a client protocol. `PAPER.md` says which rule stands
//! where, and what deviates.
//!
//! Source: Diego Ongaro, *Consensus: Bridging Theory and Practice* (2014), "the thesis" in comments, and Ongaro and
//! Ousterhout, *In Search of an Understandable Consensus Algorithm* (extended version, 2014), "the paper".
//!
//! # Map
//!
//! - `types`: what goes in and comes out
//! - `receive`: whether a message makes sense, and what its term says
//! - `node`: the state, the entry points, the order in which a step is finished
//! - `election`: timeouts, pre-vote, votes, changes of role
//! - `replication`: the leader's side of the log; `progress`: what it knows of one follower
//! - `follower`: the follower's side of the log
//! - `snapshot`: snapshots in the place of the log's beginning, and its compaction; `install`: sending and receiving them;
//!   `snapshot_transfer`: what a leader knows of one on its way
//! - `durability`: what is on disk, and which messages wait for it
//! - `transfer`: handing leadership over
//! - `read_index`: linearizable reads; `follower_read`: the same at a follower; `lease`: without asking; `apply`: handing committed entries to the state machine
//! - `membership`: a configuration and its changes; `configurations`: which one is in force; `reconfiguration`: how a leader changes them
//! - `log`, `quorum`: the two data structures
//! - `fingerprint`: telling the states of a node apart, for explorations
//!
//! # Complexity
//!
//! With n members: a proposal costs O(n) for its messages, an acknowledgement O(n log n) for the majority, a back-up step
//! O(log length); each amortised per message, whatever the length of the log. Payloads are shared ([`bytes::Bytes`]).

#![warn(missing_docs)]

mod apply;
mod configurations;
mod defects;
mod durability;
mod election;
mod error;
mod fingerprint;
mod follower;
mod follower_read;
mod install;
mod lease;
mod log;
mod membership;
mod node;
mod progress;
mod queue;
mod quorum;
mod read_index;
mod receive;
mod reconfiguration;
mod replication;
mod snapshot;
mod snapshot_transfer;
mod transfer;
mod types;

pub use defects::{Defect, Defects, UnknownDefect};
pub use error::StartError;
pub use membership::{Change, ChangeRefusal, Membership};
pub use node::Node;
pub use types::{
    AppendRejection, Config, Effect, Entry, HardState, Input, LogIndex, Message, MessageBody, NodeId,
    Payload, PersistBatch, ReadMode, Recovered, RefusalReason, Role, Sequence, Snapshot, SnapshotPoint,
    Status, Term, Token, Wanted,
};
