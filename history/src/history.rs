//! [`History`]: events in order, and the view of them as operations.

use rustc_hash::FxHashMap;

use crate::validate::Validator;
use crate::{Event, EventKind, Problem, Process, Value};

/// A validated list of events, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    events: Vec<Event>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion<'h> {
    /// It happened, with this result.
    Ok {
        /// When, in nanoseconds since the start.
        time_ns: u64,
        /// The index of the completing event.
        index: u64,
        /// The result.
        value: &'h Value,
    },
    /// It did not happen.
    Fail {
        /// When, in nanoseconds since the start.
        time_ns: u64,
        /// The index of the completing event.
        index: u64,
        /// What the completion carried: for a failed compare-and-set that "compared unequal", an observation.
        value: &'h Value,
        /// The reason, if one was recorded.
        error: Option<&'h Value>,
    },
    /// It may happen at any time after its invocation, or never. Without index and time if the history ends while the
    /// operation is open.
    Info {
        /// When the client gave up, in nanoseconds since the start.
        time_ns: Option<u64>,
        /// The index of the completing event.
        index: Option<u64>,
        /// What the completion carried.
        value: &'h Value,
        /// The reason, if one was recorded.
        error: Option<&'h Value>,
    },
}

impl Completion<'_> {
    /// The index of the completing event, if there is one.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        match *self {
            Completion::Ok { index, .. } | Completion::Fail { index, .. } => Some(index),
            Completion::Info { index, .. } => index,
        }
    }

    /// When the completing event was recorded, if there is one.
    #[must_use]
    pub fn time_ns(&self) -> Option<u64> {
        match *self {
            Completion::Ok { time_ns, .. } | Completion::Fail { time_ns, .. } => Some(time_ns),
            Completion::Info { time_ns, .. } => time_ns,
        }
    }

    /// The kind of the completing event; `Info` for an operation that the history leaves open.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Completion::Ok { .. } => EventKind::Ok,
            Completion::Fail { .. } => EventKind::Fail,
            Completion::Info { .. } => EventKind::Info,
        }
    }
}

/// An invocation with its completion. Its interval `[invoke_time_ns, completion]` is closed at both ends.
///
/// Two words: everything else stays where it is, in the events. Operations are equal if all that can be asked of them is.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'h> {
    invocation: &'h Event,
    completion: Option<&'h Event>,
}

impl<'h> Operation<'h> {
    /// The operation that `invocation` begins and `completion` ends, if anything does. `None` if they are not an invocation of a client
    /// process and a completion of that process.
    #[must_use]
    pub fn new(invocation: &'h Event, completion: Option<&'h Event>) -> Option<Operation<'h>> {
        let process = invocation.process.client()?;
        let is_completion =
            |event: &Event| event.kind != EventKind::Invoke && event.process.client() == Some(process);
        let fits = invocation.kind == EventKind::Invoke && completion.is_none_or(is_completion);
        fits.then_some(Operation { invocation, completion })
    }

    /// The client process.
    #[must_use]
    pub fn process(&self) -> u64 {
        self.invocation.process.client().expect("only clients have operations")
    }

    /// The function.
    #[must_use]
    pub fn f(&self) -> &'h str {
        &self.invocation.f
    }

    /// The independent key, if the workload has them.
    #[must_use]
    pub fn key(&self) -> Option<&'h Value> {
        self.invocation.key.as_ref()
    }

    /// The argument.
    #[must_use]
    pub fn value(&self) -> &'h Value {
        &self.invocation.value
    }

    /// When it was invoked, in nanoseconds since the start.
    #[must_use]
    pub fn invoke_time_ns(&self) -> u64 {
        self.invocation.time_ns
    }

    /// The index of the invoking event: the name of the operation in every verdict and report.
    #[must_use]
    pub fn invoke_index(&self) -> u64 {
        self.invocation.index
    }

    /// How it ended.
    #[must_use]
    pub fn completion(&self) -> Completion<'h> {
        let Some(event) = self.completion else {
            return Completion::Info { time_ns: None, index: None, value: &Value::Nil, error: None };
        };
        let Event { time_ns, index, ref value, .. } = *event;
        match event.kind {
            EventKind::Ok => Completion::Ok { time_ns, index, value },
            EventKind::Fail => Completion::Fail { time_ns, index, value, error: event.error() },
            EventKind::Invoke | EventKind::Info => {
                Completion::Info { time_ns: Some(time_ns), index: Some(index), value, error: event.error() }
            }
        }
    }
}

impl PartialEq for Operation<'_> {
    fn eq(&self, other: &Self) -> bool {
        let said =
            |operation: &Self| (operation.process(), operation.invoke_time_ns(), operation.invoke_index());
        said(self) == said(other)
            && (self.f(), self.key(), self.value()) == (other.f(), other.key(), other.value())
            && self.completion() == other.completion()
    }
}

impl Eq for Operation<'_> {}

impl History {
    /// A history of events that are known to keep the invariants (see the crate's documentation): those of a recorder, or
    /// of a reader that has validated them.
    #[must_use]
    pub fn from_validated(events: Vec<Event>) -> History {
        History { events }
    }

    /// A history of events from anywhere: an error if they break one of the invariants, with the position of the event
    /// that does.
    pub fn new(events: Vec<Event>) -> Result<History, (usize, Problem)> {
        let mut validator = Validator::default();
        for (position, event) in events.iter().enumerate() {
            validator.accept(event).map_err(|problem| (position, problem))?;
        }
        Ok(History { events })
    }

    /// The events, in order.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// The event with this index: what a verdict or a report names. O(log n).
    #[must_use]
    pub fn event(&self, index: u64) -> Option<&Event> {
        let position = self.events.binary_search_by_key(&index, |event| event.index).ok()?;
        self.events.get(position)
    }

    /// All events, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The client operations in order of invocation. O(n) time; 16 bytes of memory for each.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let invocations = self.events.iter().filter(|event| is_invocation(event)).count();
        let mut operations: Vec<Operation<'_>> = Vec::with_capacity(invocations);
        let mut open: FxHashMap<u64, usize> = FxHashMap::default();
        for event in &self.events {
            let Process::Client(process) = event.process else { continue };
            if event.kind == EventKind::Invoke {
                open.insert(process, operations.len());
                operations.push(Operation { invocation: event, completion: None });
            } else if let Some(position) = open.remove(&process) {
                operations[position].completion = Some(event);
            }
        }
        operations
    }

    /// The client operations by independent key, the keys in order of their first invocation, the operations of each in
    /// order of invocation. Operations without a key come under `None`. O(n) time and memory.
    #[must_use]
    pub fn by_key(&self) -> Vec<(Option<&Value>, Vec<Operation<'_>>)> {
        let mut groups: Vec<(Option<&Value>, Vec<Operation<'_>>)> = Vec::new();
        let mut positions: FxHashMap<Option<&Value>, usize> = FxHashMap::default();
        for operation in self.operations() {
            let position = *positions.entry(operation.key()).or_insert(groups.len());
            if position == groups.len() {
                groups.push((operation.key(), Vec::new()));
            }
            groups[position].1.push(operation);
        }
        groups
    }

    /// When the last event was recorded, in nanoseconds since the start; 0 for an empty history.
    #[must_use]
    pub fn end_time_ns(&self) -> u64 {
        self.events.last().map_or(0, |event| event.time_ns)
    }

    /// Events of the process called `name` ([`Process::NEMESIS`], [`Process::OBSERVER`]), in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| matches!(&event.process, Process::Named(n) if &**n == name))
    }
}

fn is_invocation(event: &Event) -> bool {
    event.kind == EventKind::Invoke && event.process.client().is_some()
}
