//! The shared vocabulary of Labrys: what a client did to a system, and when.
//!
//! A *history* is a list of [`Event`]s. A client operation is a pair of them: an *invocation* and a *completion* (`ok`,
//! `fail` or `info`) of the same process. The names and their meaning are Jepsen's.
//!
//! This crate knows no model, no store and no fault: it reads, writes and validates.
//!
//! Invariants of a [`History`], checked when one is read and kept by the recorder:
//! - times never decrease in the order of events;
//! - a process has at most one open operation;
//! - a completion belongs to an open invocation of the same process;
//! - a client process whose operation ended `info` never acts again.

#![warn(missing_docs)]

mod clock;
#[cfg(feature = "parquet")]
mod columnar;
mod detect;
mod edn;
mod event;
mod foreign;
mod format;
mod history;
mod items;
mod jepsen_log;
mod json;
mod names;
mod porcupine;
mod read;
mod recorder;
mod syntax;
mod text;
mod validate;
mod value;
mod write;

pub use clock::{Clock, ManualClock, MonotonicClock};
pub use event::{Details, Draft, Event, EventKind, Process};
pub use format::Format;
pub use history::{Completion, History, Operation};
pub use items::Items;
pub use read::{Location, ReadError, ReadOptions, ReadReport, Warning, read_bytes, read_history, read_value};
pub use recorder::{RecordError, Recorder, Recording, Sink};
pub use text::Text;
pub use validate::Problem;
pub use value::{MAX_DEPTH, Value};
pub use write::{WriteError, write_edn, write_history, write_json_lines};
