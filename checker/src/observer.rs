//! The conventions for what the harness itself saw: events of the process `observer`, of kind `info`, and those of the
//! nemesis. The harness writes them, the checkers in [`crate::invariants`] read them.
//!
//! | `f` | value | says |
//! | --- | --- | --- |
//! | `leader` | `{"node": "n1", "term": 5}` | node n1 is leader of term 5 (it said so itself) |
//! | `digest` | `{"node": "n1", "applied": 123, "digest": "9f86…"}` | n1's state has that digest after the entry with index 123 |
//! | `exit` | `{"node": "n1", "status": "exit 101", "expected": false, "log": ["…"]}` | n1's process ended; `expected` if the harness ended it; the last lines of its log. With `"environment": "its disk is full"` the environment was to blame, not the node |
//! | `recovery` | `{"recovered": true, "what": "…", "after_ms": 812}` | whether the system came back when all faults were undone, in words, and how long it took if it did |
//! | `final-reads` | `{"recovered": true}` | from here on clients only read what is there, after a recovery or without one |
//! | `invariant` | `{"node": "n1", "what": "…"}` | n1's log says that an invariant of its own is broken |
//! | `fault-never-came` | `{"fault": 3, "kind": "kill", "waited-for": "…"}` | a fault that waited for an event, in words, which never came |
//! | `clock` | `{"node": "n1", "offset-us": -1200}` | how far n1's clock is ahead of the machine's, as it reads them itself |
//!
//! Events of the observer with other functions are for other readers and are passed over. One with these functions and
//! another shape is an error of whoever wrote the history, not a violation.
//!
//! Nemesis events come in pairs around the work of applying or undoing a fault:
//! `{"fault": 3, "action": "apply" | "undo", "phase": "invoke" | "complete", "bit": true, …}`; the `fault` is whatever names it
//! within the run, and `bit`, at the end of a step, whether the fault has been seen to have an effect so far (a pause shows
//! when it is applied, a partition by the packets that it has dropped when it is undone). An event without a phase counts as both, one with an
//! error (the fault could not be applied) as neither.

use labrys_history::{Event, History, Process, Value};

use crate::check::CheckError;

/// A node's leadership, as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderSeen {
    /// Index of the event.
    pub event: u64,
    /// The node.
    pub node: String,
    /// The term.
    pub term: i64,
}

/// A replica's digest, as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestSeen {
    /// Index of the event.
    pub event: u64,
    /// The node.
    pub node: String,
    /// The log index that the state is after.
    pub applied: i64,
    /// The digest.
    pub digest: String,
}

/// The end of a node's process, as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitSeen {
    /// Index of the event.
    pub event: u64,
    /// The node.
    pub node: String,
    /// `exit 101`, `signal 6`.
    pub status: String,
    /// Whether the harness ended it.
    pub expected: bool,
    /// Why the environment is to blame for it, if it is.
    pub environment: Option<String>,
    /// The last lines of its log.
    pub log: Vec<String>,
}

/// A node's complaint about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvariantSeen {
    /// Index of the event.
    pub event: u64,
    /// The node.
    pub node: String,
    /// What it says.
    pub what: String,
}

/// Whether the system came back, as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySeen {
    /// Index of the event.
    pub event: u64,
    /// Whether it did.
    pub recovered: bool,
    /// The same in words: what was missing, if it did not.
    pub what: String,
    /// How long it took.
    pub after_ms: Option<i64>,
}

/// The beginning of the final operations, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalPhaseSeen {
    /// Index of the event.
    pub event: u64,
    /// Whether the system had recovered by then.
    pub recovered: bool,
}

/// What the nemesis did to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// It applied it.
    Apply,
    /// It undid it.
    Undo,
}

/// A step of the nemesis, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSeen {
    /// Index of the event.
    pub event: u64,
    /// When.
    pub time_ns: u64,
    /// The fault's name.
    pub fault: Value,
    /// What kind of fault it is: the function of the event.
    pub kind: String,
    /// What was done.
    pub action: FaultAction,
    /// Whether this is (also) the beginning of doing it.
    pub begins: bool,
    /// Whether this is (also) the end of doing it.
    pub ends: bool,
    /// Whether the fault had been seen to have an effect; `None` if the event does not say.
    pub bit: Option<bool>,
}

/// All leaderships seen.
///
/// # Errors
/// [`CheckError::Convention`], as for the others here.
pub fn leaders(history: &History) -> Result<Vec<LeaderSeen>, CheckError> {
    let expected = "{node: string, term: integer}";
    observed(history, "leader", expected, |event| {
        Some(LeaderSeen {
            event: event.index,
            node: text(event, "node")?,
            term: event.value.get("term")?.as_int()?,
        })
    })
}

/// All digests seen.
///
/// # Errors
/// [`CheckError::Convention`].
pub fn digests(history: &History) -> Result<Vec<DigestSeen>, CheckError> {
    let expected = "{node: string, applied: integer, digest: string}";
    observed(history, "digest", expected, |event| {
        Some(DigestSeen {
            event: event.index,
            node: text(event, "node")?,
            applied: event.value.get("applied")?.as_int()?,
            digest: text(event, "digest")?,
        })
    })
}

/// All exits seen.
///
/// # Errors
/// [`CheckError::Convention`].
pub fn exits(history: &History) -> Result<Vec<ExitSeen>, CheckError> {
    let expected = "{node: string, status: string, expected: boolean, log: [string]}";
    observed(history, "exit", expected, |event| {
        let Some(Value::Bool(is_expected)) = event.value.get("expected") else { return None };
        let log = match event.value.get("log") {
            None => &[],
            Some(lines) => lines.as_sequence()?,
        };
        Some(ExitSeen {
            event: event.index,
            node: text(event, "node")?,
            status: text(event, "status")?,
            expected: *is_expected,
            environment: text(event, "environment"),
            log: log.iter().map(|line| line.as_text().map(str::to_owned)).collect::<Option<_>>()?,
        })
    })
}

/// All complaints seen.
///
/// # Errors
/// [`CheckError::Convention`].
pub fn invariants(history: &History) -> Result<Vec<InvariantSeen>, CheckError> {
    observed(history, "invariant", "{node: string, what: string}", |event| {
        Some(InvariantSeen { event: event.index, node: text(event, "node")?, what: text(event, "what")? })
    })
}

/// All that was seen of recovery: one, or none if the run was cut short.
///
/// # Errors
/// [`CheckError::Convention`].
pub fn recoveries(history: &History) -> Result<Vec<RecoverySeen>, CheckError> {
    observed(history, "recovery", "{recovered: boolean, what: string}", |event| {
        let Some(Value::Bool(recovered)) = event.value.get("recovered") else { return None };
        Some(RecoverySeen {
            event: event.index,
            recovered: *recovered,
            what: text(event, "what")?,
            after_ms: event.value.get("after_ms").and_then(Value::as_int),
        })
    })
}

/// The beginnings of final operations: one, or none if the run was cut short or its workload has no such operations.
///
/// # Errors
/// [`CheckError::Convention`].
pub fn final_phases(history: &History) -> Result<Vec<FinalPhaseSeen>, CheckError> {
    observed(history, "final-reads", "{recovered: boolean}", |event| {
        let Some(Value::Bool(recovered)) = event.value.get("recovered") else { return None };
        Some(FinalPhaseSeen { event: event.index, recovered: *recovered })
    })
}

/// All steps of the nemesis that are about a fault. Its other events, phases of other names, and steps that failed are
/// passed over.
#[must_use]
pub fn faults(history: &History) -> Vec<FaultSeen> {
    history.named(Process::NEMESIS).filter_map(fault).collect()
}

fn fault(event: &Event) -> Option<FaultSeen> {
    let action = match event.value.get("action")?.as_text()? {
        "apply" => FaultAction::Apply,
        "undo" => FaultAction::Undo,
        _ => return None,
    };
    if event.error().is_some() {
        return None;
    }
    let (begins, ends) = match event.value.get("phase").map(Value::as_text) {
        None => (true, true),
        Some(Some("invoke")) => (true, false),
        Some(Some("complete")) => (false, true),
        Some(_) => return None,
    };
    let fault = event.value.get("fault")?.clone();
    let bit = match event.value.get("bit") {
        Some(Value::Bool(bit)) => Some(*bit),
        _ => None,
    };
    let kind = event.f.to_string();
    Some(FaultSeen { event: event.index, time_ns: event.time_ns, fault, kind, action, begins, ends, bit })
}

fn observed<T>(
    history: &History,
    f: &str,
    expected: &'static str,
    read: impl Fn(&Event) -> Option<T>,
) -> Result<Vec<T>, CheckError> {
    history
        .named(Process::OBSERVER)
        .filter(|event| &*event.f == f)
        .map(|event| {
            read(event).ok_or_else(|| CheckError::Convention {
                event: event.index,
                process: Process::OBSERVER,
                f: f.to_owned(),
                expected,
                found: event.value.to_string(),
            })
        })
        .collect()
}

fn text(event: &Event, name: &str) -> Option<String> {
    event.value.get(name)?.as_text().map(str::to_owned)
}
