//! Raft without I/O: inputs in, effects out.
//!
//! [`Node::step`] takes one [`Input`] and appends [`Effect`]s to a list. It never reads a clock, a disk, a socket or a
//! global random generator: the same inputs in the same order give the same effects, on a server and in a simulator.
//!
//! Source: Diego Ongaro, *Consensus: Bridging Theory and Practice* (2014), "the thesis" in comments, and Ongaro and
//! Ousterhout, *In Search of an Understandable Consensus Algorithm* (extended version, 2014), "the paper".

#![warn(missing_docs)]

mod defects;
mod types;

pub use defects::{Defect, Defects, UnknownDefect};
pub use types::{
    AppendRejection, Config, Effect, Entry, HardState, Input, LogIndex, Message, MessageBody, NodeId,
    Payload, PersistBatch, Recovered, RefusalReason, Role, Sequence, Status, Term, Token,
};
