//! [`Event`]: one line of a history.

use std::fmt;
use std::sync::Arc;

use crate::{Text, Value};

/// Who acts: a logical client process, or one of the harness's own actors.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    /// A client process. A number is never used again after an operation of it ended `info`.
    Client(u64),
    /// An actor that is not a client of the system: [`Process::NEMESIS`] breaks it, [`Process::OBSERVER`] watches it.
    Named(Text),
}

impl Process {
    /// The name of the process whose events are faults applied and undone.
    pub const NEMESIS: &'static str = "nemesis";
    /// The name of the process whose events are what the harness saw of the nodes: leaders, terms, digests, exits.
    pub const OBSERVER: &'static str = "observer";

    /// The nemesis.
    #[must_use]
    pub fn nemesis() -> Process {
        Process::Named(Self::NEMESIS.into())
    }

    /// The observer.
    #[must_use]
    pub fn observer() -> Process {
        Process::Named(Self::OBSERVER.into())
    }

    /// The number of a client process.
    #[must_use]
    pub fn client(&self) -> Option<u64> {
        if let Process::Client(number) = self { Some(*number) } else { None }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Client(number) => write!(formatter, "{number}"),
            Process::Named(name) => formatter.write_str(name),
        }
    }
}

/// What an event says of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// The operation begins: nothing of it can have reached the system before.
    Invoke,
    /// It happened.
    Ok,
    /// It definitely did not happen, and never will.
    Fail,
    /// Nobody knows: it may have happened, may happen at any later time, or never. Events of named processes, which are
    /// no operations on the system, are all `info`.
    Info,
}

impl EventKind {
    /// The word in a history file: `invoke`, `ok`, `fail`, `info`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Invoke => "invoke",
            EventKind::Ok => "ok",
            EventKind::Fail => "fail",
            EventKind::Info => "info",
        }
    }

    /// The kind with that word in a history file.
    #[must_use]
    pub fn named(name: &str) -> Option<EventKind> {
        Some(match name {
            "invoke" => EventKind::Invoke,
            "ok" => EventKind::Ok,
            "fail" => EventKind::Fail,
            "info" => EventKind::Info,
            _ => return None,
        })
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One event of a history. Histories have millions of them: what few of them have is in [`Details`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the history, from 0, without gaps in what the recorder writes.
    pub index: u64,
    /// Nanoseconds since the start of the run, by a monotonic clock.
    pub time_ns: u64,
    /// Who.
    pub process: Process,
    /// Invocation or completion.
    pub kind: EventKind,
    /// The function: `read`, `write`, `cas`, …
    pub f: Text,
    /// The independent key that the operation is on, where the workload has such keys.
    pub key: Option<Value>,
    /// Argument in an invocation, result in a completion. A `cas` has `[expected new]`; a read is invoked with nil.
    pub value: Value,
    /// Its error and further fields, if it has any.
    pub details: Details,
}

impl Event {
    /// An event without key, error or further fields.
    pub fn new(
        index: u64,
        time_ns: u64,
        process: Process,
        kind: EventKind,
        f: impl Into<Text>,
        value: Value,
    ) -> Event {
        Event { index, time_ns, process, kind, f: f.into(), key: None, value, details: Details::default() }
    }

    /// Why it failed, or why nobody knows.
    #[must_use]
    pub fn error(&self) -> Option<&Value> {
        self.details.error()
    }

    /// Whatever else the file said about the event, kept for writing it again; by name.
    #[must_use]
    pub fn extra(&self) -> &[(Text, Value)] {
        self.details.extra()
    }

    /// The same with this error.
    #[must_use]
    pub fn with_error(mut self, error: Option<Value>) -> Event {
        self.details = Details::new(error, self.extra().to_vec());
        self
    }
}

/// What few events have. One word; nothing else if there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(Option<Arc<Filled>>);

#[derive(Debug, PartialEq, Eq)]
struct Filled {
    error: Option<Value>,
    extra: Vec<(Text, Value)>,
}

impl Details {
    /// Why an event failed, or why nobody knows; and whatever else a file says about it, by name.
    #[must_use]
    pub fn new(error: Option<Value>, extra: Vec<(Text, Value)>) -> Details {
        let is_empty = error.is_none() && extra.is_empty();
        Details((!is_empty).then(|| Arc::new(Filled { error, extra })))
    }

    /// Why it failed, or why nobody knows.
    #[must_use]
    pub fn error(&self) -> Option<&Value> {
        self.0.as_ref()?.error.as_ref()
    }

    /// Whatever else the file said, by name.
    #[must_use]
    pub fn extra(&self) -> &[(Text, Value)] {
        self.0.as_ref().map_or(&[], |details| &details.extra)
    }
}

/// An event to be recorded: everything but index and time, which are the recorder's to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who.
    pub process: Process,
    /// Invocation or completion.
    pub kind: EventKind,
    /// The function.
    pub f: Text,
    /// The independent key, where the workload has such keys.
    pub key: Option<Value>,
    /// Argument or result.
    pub value: Value,
    /// Why it failed, or why nobody knows.
    pub error: Option<Value>,
    /// Further fields, by name.
    pub extra: Vec<(Text, Value)>,
}

impl Draft {
    /// A draft without key, error or further fields.
    pub fn new(process: Process, kind: EventKind, f: impl Into<Text>, value: Value) -> Draft {
        Draft { process, kind, f: f.into(), key: None, value, error: None, extra: Vec::new() }
    }

    /// The invocation of `f` by the client process number `process`.
    pub fn invoke(process: u64, f: impl Into<Text>, value: Value) -> Draft {
        Draft::new(Process::Client(process), EventKind::Invoke, f, value)
    }

    /// A completion of what `invocation` began: same process, function and key.
    #[must_use]
    pub fn completion(invocation: &Event, kind: EventKind, value: Value) -> Draft {
        let mut draft = Draft::new(invocation.process.clone(), kind, invocation.f.clone(), value);
        draft.key = invocation.key.clone();
        draft
    }

    /// The same with an independent key.
    #[must_use]
    pub fn with_key(mut self, key: Option<Value>) -> Draft {
        self.key = key;
        self
    }

    /// The same with an error.
    #[must_use]
    pub fn with_error(mut self, error: Option<Value>) -> Draft {
        self.error = error;
        self
    }

    /// The same with one further field.
    #[must_use]
    pub fn with_extra(mut self, name: impl Into<Text>, value: Value) -> Draft {
        self.extra.push((name.into(), value));
        self
    }

    /// The event that this is at that position and time.
    #[must_use]
    pub fn at(self, index: u64, time_ns: u64) -> Event {
        let Draft { process, kind, f, key, value, error, extra } = self;
        Event { index, time_ns, process, kind, f, key, value, details: Details::new(error, extra) }
    }
}
