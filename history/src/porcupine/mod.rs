//! Porcupine-style JSON: what Go's `encoding/json` makes of a `[]porcupine.Operation`, and reads into one.
//!
//! ```json
//! [
//! {"ClientId":0,"Input":{"f":"read","key":7,"value":null},"Call":1200,"Output":{"kind":"ok","value":3},"Return":5400}
//! ]
//! ```
//!
//! `Operation` is defined in `model.go` of <https://github.com/anishathalye/porcupine>: a call with its return, and the
//! interval between them is closed. What is in `Input` and `Output` is the user's; ours are as above, in the notation of our
//! JSON Lines, so that structures with fields `F`, `Key`, `Value`, `Kind` and `Error` take them (Go does not mind the case).
//!
//! What Porcupine has no word for stands where it does no harm:
//! - an operation that failed has the output `{"kind":"fail",…}`: a step of the model accepts it and changes nothing;
//! - one of which nobody knows has `{"kind":"info",…}` and returns one nanosecond after the end of the history: a step
//!   accepts it with and without its effect;
//! - indices, further fields and the time at which a client gave up are in `Metadata`, which Porcupine does not look at.
//!
//! Lost are the events of named processes (nemesis, observer), which are no operations; a time, an index or a process beyond
//! 2^63 - 1 cannot be written. When a file is read, times alone say what came before what: at one instant calls come
//! before returns, but for those of one client, and but for the order of our own indices where all operations have them.

mod metadata;
mod parts;
mod payload;
mod read;
mod write;

pub(crate) use read::{Placed, read};
pub(crate) use write::write;

/// The field of the metadata that is ours.
const OURS: &str = "labrys";
