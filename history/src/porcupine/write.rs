//! Writing a history as Porcupine's operations.

use std::io::{self, Write};

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::OURS;
use crate::write::{CHUNK_BYTES, WriteError};
use crate::{Event, EventKind, Format, History, Process, Value};

/// The greatest number that Go's `int` and `int64` have.
const GO_MAX: u64 = i64::MAX as u64;

/// Writes the operations of `history`, in order of invocation, one a line; gives the number of events that are part of
/// none, which are not written.
pub(crate) fn write(out: &mut dyn Write, history: &History) -> Result<u64, WriteError> {
    let events = history.events();
    let end_ns = history.end_time_ns().saturating_add(1).min(GO_MAX);
    let mut written_events = 0;
    let mut buffer = b"[".to_vec();
    let mut separator = "\n";
    for (client, invocation, completion) in operations(events) {
        check(client, invocation, completion)?;
        written_events += 1 + u64::from(completion.is_some());
        buffer.extend_from_slice(separator.as_bytes());
        let operation = Operation { client, invocation, completion, end_ns };
        serde_json::to_writer(&mut buffer, &operation).map_err(io::Error::from)?;
        separator = ",\n";
        if buffer.len() >= CHUNK_BYTES {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(b"\n]\n");
    out.write_all(&buffer)?;
    out.flush()?;
    Ok(events.len() as u64 - written_events)
}

/// Each invocation with its client and completion, in order of invocation.
fn operations(events: &[Event]) -> Vec<(u64, &Event, Option<&Event>)> {
    let mut operations = Vec::with_capacity(events.len() / 2);
    let mut open: FxHashMap<u64, usize> = FxHashMap::default();
    for event in events {
        let Process::Client(client) = event.process else { continue };
        if event.kind == EventKind::Invoke {
            open.insert(client, operations.len());
            operations.push((client, event, None));
        } else if let Some(position) = open.remove(&client) {
            operations[position].2 = Some(event);
        }
    }
    operations
}

/// Fails for numbers that Go cannot read.
fn check(client: u64, invocation: &Event, completion: Option<&Event>) -> Result<(), WriteError> {
    let latest_ns = completion.map_or(invocation.time_ns, |completion| completion.time_ns);
    let (what, number) = if client > GO_MAX { ("process", client) } else { ("time", latest_ns) };
    if number > GO_MAX {
        let index = invocation.index;
        let message = format!("event {index}: the {what} {number} is beyond 2^63 - 1, Go's greatest number");
        return Err(WriteError::CannotSay { format: Format::Porcupine, message });
    }
    Ok(())
}

struct Operation<'a> {
    client: u64,
    invocation: &'a Event,
    completion: Option<&'a Event>,
    /// Behind the last event of the history.
    end_ns: u64,
}

impl Serialize for Operation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.completion.filter(|completion| completion.kind != EventKind::Info);
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("ClientId", &self.client)?;
        map.serialize_entry("Input", &Input(self.invocation))?;
        map.serialize_entry("Call", &self.invocation.time_ns)?;
        map.serialize_entry("Output", &Output(self.completion))?;
        map.serialize_entry("Return", &known.map_or(self.end_ns, |completion| completion.time_ns))?;
        map.serialize_entry("Metadata", &Metadata(self))?;
        map.end()
    }
}

struct Input<'a>(&'a Event);

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("f", &*self.0.f)?;
        if let Some(key) = &self.0.key {
            map.serialize_entry("key", key)?;
        }
        map.serialize_entry("value", &self.0.value)?;
        map.end()
    }
}

struct Output<'a>(Option<&'a Event>);

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.0.map_or(EventKind::Info, |completion| completion.kind))?;
        map.serialize_entry("value", self.0.map_or(&Value::Nil, |completion| &completion.value))?;
        if let Some(error) = self.0.and_then(|completion| completion.error()) {
            map.serialize_entry("error", error)?;
        }
        map.end()
    }
}

/// `{"labrys":{…}}`: what Porcupine has no word for.
struct Metadata<'a>(&'a Operation<'a>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(OURS, &Ours(self.0))?;
        map.end()
    }
}

struct Ours<'a>(&'a Operation<'a>);

impl Serialize for Ours<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Operation { invocation, completion, .. } = *self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &invocation.index)?;
        map.serialize_entry("completed_index", &completion.map(|completion| completion.index))?;
        if let Some(error) = invocation.error() {
            map.serialize_entry("error", error)?;
        }
        if !invocation.extra().is_empty() {
            map.serialize_entry("extra", invocation.extra())?;
        }
        if let Some(completion) = completion {
            if completion.kind == EventKind::Info {
                map.serialize_entry("completed_time_ns", &completion.time_ns)?;
            }
            if completion.key != invocation.key {
                map.serialize_entry("completed_key", completion.key.as_slice())?;
            }
            if !completion.extra().is_empty() {
                map.serialize_entry("completed_extra", completion.extra())?;
            }
        }
        map.end()
    }
}
