//! Our own format: JSON Lines, one [`Event`] a line.
//!
//! ```json
//! {"index":0,"time_ns":123,"process":3,"kind":"invoke","f":"cas","key":7,"value":[1,2]}
//! {"index":1,"time_ns":456,"process":"nemesis","kind":"info","f":"start-partition","value":null}
//! ```
//!
//! `key` and `error` are left out where there is none; a missing `value` is null. Any other field is one of
//! [`Event::extra`](crate::Event::extra). If the name of one of those is a field of ours or begins with `$`, all of them
//! are written as `"$extra":[[name,value],…]` instead.
//!
//! A [`Value`](crate::Value) that JSON can say is written as such. What only EDN can say is an object with a single
//! field whose name begins with `$`, so that nothing is lost:
//!
//! | value | JSON |
//! | --- | --- |
//! | keyword, symbol, character | `{"$keyword":"timed-out"}`, `{"$symbol":"x"}`, `{"$char":"a"}` |
//! | list, set | `{"$list":[…]}`, `{"$set":[…]}` |
//! | map with keys that are no strings, or that begin with `$` | `{"$map":[[key,value],…]}` |
//! | tagged literal | `{"$tagged":["inst","2026-11-21"]}` |
//! | integer beyond 64 bits | `{"$integer":"123456789012345678901234567890"}` |
//! | what JSON calls no number | `{"$float":"NaN"}`, `"Infinity"`, `"-Infinity"` |
//!
//! Two things are not kept: the payload of a NaN, and the digits of a *plain* JSON number that needs more than 64 bits
//! (other programs' JSON; it becomes a float).
//!
//! The implementations of serde's traits are written by hand: a derived `flatten` would build a tree of every line first.
//! They need a self-describing format. Linear in the length of the text; recursion is bounded by [`MAX_DEPTH`].

mod event;
pub(crate) mod jepsen;
pub(crate) mod lines;
mod message;
pub(crate) mod objects;
mod value;

pub(crate) use event::{CountSeed, EventSeed, ExtraSeed};
pub(crate) use value::ValueSeed;

use crate::{Event, MAX_DEPTH};

/// Appends `event` and a newline to `buffer`. On an error the buffer is as it was.
pub(crate) fn write_line(buffer: &mut Vec<u8>, event: &Event) -> Result<(), serde_json::Error> {
    let before = buffer.len();
    match serde_json::to_writer(&mut *buffer, event) {
        Ok(()) => {
            buffer.push(b'\n');
            Ok(())
        }
        Err(error) => {
            buffer.truncate(before);
            Err(error)
        }
    }
}

/// What is said of a value that is nested too deeply.
pub(crate) fn too_deep() -> String {
    format!("expected a value nested at most {MAX_DEPTH} deep")
}
