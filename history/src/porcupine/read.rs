//! Reading Porcupine's operations: parsing them, and putting their calls and returns in order.

use rustc_hash::FxHashMap;

use super::parts::{OPERATION, Parts, PartsSeed};
use crate::json::objects::{self, Objects};
use crate::names::Names;
use crate::syntax::SyntaxError;
use crate::{Details, Event, EventKind, Process};

/// A call or a return, and where its operation begins in the file.
pub(crate) struct Placed {
    pub(crate) offset: usize,
    pub(crate) event: Event,
    /// The order of the operations, the call of each before its return.
    rank: usize,
}

/// What was read.
pub(crate) struct Read {
    /// In order of time.
    pub(crate) events: Vec<Placed>,
    /// Operations that overlap another of their client, and where the first of them is: they were given clients of their
    /// own. (Porcupine's clients are for pictures only; many programs leave all of them 0.)
    pub(crate) overlapping: u64,
    pub(crate) first_overlapping: usize,
}

/// A return that never came: how Go programs write it, there being no infinity.
const NEVER: u64 = i64::MAX as u64;

/// Reads the operations of `text`, which begins at `offset`. O(n log n): they may stand in any order.
pub(crate) fn read(text: &str, offset: usize) -> Result<Read, SyntaxError> {
    let mut objects = Objects::new(text, offset, OPERATION);
    let mut names = Names::default();
    let mut operations: Vec<(usize, Parts)> = Vec::new();
    while let Some(object) = objects.next_object() {
        let (offset, object) = object?;
        operations.push((offset, objects::parse(PartsSeed(&mut names), object, offset)?));
    }
    operations.sort_by_key(|(offset, parts)| (parts.call_ns, parts.return_ns, parts.ours.index, *offset));
    let mut clients = Clients::new(&operations);
    let mut events = Vec::with_capacity(2 * operations.len());
    let mut all_indexed = true;
    for (offset, parts) in operations {
        all_indexed &= parts.ours.index.is_some();
        let process = clients.process(&parts, offset);
        let (invocation, completion) = events_of(parts, process);
        all_indexed &= completion.as_ref().is_none_or(|(_, indexed)| *indexed);
        let rank = events.len();
        events.push(Placed { offset, event: invocation, rank });
        events.extend(completion.map(|(event, _)| Placed { offset, event, rank: rank + 1 }));
    }
    in_order(&mut events, all_indexed);
    let Clients { overlapping, first_overlapping, .. } = clients;
    Ok(Read { events, overlapping, first_overlapping })
}

/// Sorts by time, and at one instant by our indices, if they agree with the times. Otherwise events of one instant are in the
/// order of their operations, so that a client's return comes before its next call; and all are numbered.
fn in_order(events: &mut [Placed], all_indexed: bool) {
    if all_indexed {
        events.sort_by_key(|placed| (placed.event.time_ns, placed.event.index));
        if events.is_sorted_by(|a, b| a.event.index < b.event.index) {
            return;
        }
    }
    events.sort_by_key(|placed| (placed.event.time_ns, placed.rank));
    for (index, placed) in (0..).zip(events) {
        placed.event.index = index;
    }
}

/// The invocation and, if there is one, the completion with whether its index is known.
fn events_of(parts: Parts, process: u64) -> (Event, Option<(Event, bool)>) {
    let Parts { input, call_ns, output, return_ns, ours, .. } = parts;
    let f = input.f.unwrap_or_else(|| "".into());
    let mut invocation = Event::new(
        ours.index.unwrap_or_default(),
        call_ns,
        Process::Client(process),
        EventKind::Invoke,
        f,
        input.value,
    );
    invocation.key = input.key;
    invocation.details = Details::new(ours.error, ours.extra);
    let never = output.kind.is_none() && return_ns == NEVER;
    if never || ours.completed_index == Some(None) {
        return (invocation, None);
    }
    let kind = output.kind.unwrap_or(EventKind::Ok);
    let index = ours.completed_index.flatten();
    // When a client gave up is in our metadata only.
    let time_ns = ours.completed_time_ns.filter(|time_ns| kind == EventKind::Info && *time_ns >= call_ns);
    let completion = Event {
        index: index.unwrap_or_default(),
        time_ns: time_ns.unwrap_or(return_ns),
        process: invocation.process.clone(),
        kind,
        f: invocation.f.clone(),
        key: match ours.completed_key {
            Some(key) => key.into_iter().next(),
            None => invocation.key.clone(),
        },
        value: output.value,
        details: Details::new(output.error, ours.completed_extra),
    };
    (invocation, Some((completion, index.is_some())))
}

/// Which clients are free to act.
struct Clients {
    /// When the client was free again; never after an operation of which nobody knows.
    free_ns: FxHashMap<u64, Option<u64>>,
    next: Option<u64>,
    overlapping: u64,
    first_overlapping: usize,
}

impl Clients {
    fn new(operations: &[(usize, Parts)]) -> Clients {
        let greatest = operations.iter().map(|(_, parts)| parts.client).max();
        Clients {
            free_ns: FxHashMap::default(),
            next: greatest.map_or(Some(0), |greatest| greatest.checked_add(1)),
            overlapping: 0,
            first_overlapping: 0,
        }
    }

    /// The client of the operation if it is free, or a new one. Operations come in order of their calls.
    fn process(&mut self, parts: &Parts, offset: usize) -> u64 {
        let never_returns = parts.output.kind == Some(EventKind::Info) || parts.return_ns == NEVER;
        let free_again_ns = (!never_returns).then_some(parts.return_ns);
        let is_free = match self.free_ns.get(&parts.client) {
            None => true,
            Some(free_ns) => free_ns.is_some_and(|free_ns| free_ns <= parts.call_ns),
        };
        if let (false, Some(new)) = (is_free, self.next) {
            if self.overlapping == 0 {
                self.first_overlapping = offset;
            }
            self.overlapping += 1;
            self.next = new.checked_add(1);
            return new;
        }
        self.free_ns.insert(parts.client, free_again_ns);
        parts.client
    }
}
