//! A register whose writes are linearizable and whose reads may be stale, but never go back in time within a session: what
//! a store promises that reads from any replica and remembers how far a client has seen (ZooKeeper's single system image).
//!
//! A session is a process. The register has had a row of values, one after the other; each session has seen it up to one of
//! them. Reading gives that one or any later one, up to the present one.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `read` | `ok v` | `v` is one of the values from the last that this session has seen to the present one, and is seen by it from then on |
//! | `read` | `fail`, `info`, `ok nil` where nil cannot be | nothing: nobody saw an answer |
//! | `write v` | `ok` | it holds `v` from then on, and this session has seen that |
//! | `write v` | `fail` | nothing: it did not happen |
//! | `cas [a b]` | `ok` | its present value was `a`, and is `b` from then on; this session has seen that |
//! | `cas [a b]` | `fail` with the error `precondition-failed` | its present value was something else than `a`, and this session has seen it |
//! | `cas [a b]` | `fail` otherwise | nothing |
//! | `write`, `cas` | `info` | the same as `ok` at some later time, or nothing |
//!
//! `r` and `w` are read as `read` and `write`. The initial value is nil unless given. Nil can be read if it is that or is written.
//!
//! **A value that was written more than once**: a read of it may have seen any of the writes from the last seen one on. Here it is the
//! earliest: whatever a session may read after it has seen a later one, it may read after the earlier one too.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::register::PRECONDITION_FAILED;
use super::shape;
use crate::model::{Meaning, Model, ModelError};
use crate::persistent::{Chain, Entries};

const NAME: &str = "session-register";

/// What a session calls, with the result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionCall {
    /// The process.
    pub session: u64,
    /// What it does.
    pub does: SessionAction,
}

/// What a session does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionAction {
    /// A read that returned this.
    Read(Value),
    /// A write of this.
    Write(Value),
    /// A compare-and-set of the first, which was there, with the second.
    Cas(Value, Value),
    /// A compare-and-set that found something else than this.
    CasUnequal(Value),
}

/// The values that there were, and how far each session has seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    values: Chain<Value>,
    /// By session the position of the last value that it has seen; a session that is not here has seen the first.
    seen: Entries<u64, usize>,
}

impl Versions {
    fn present(&self) -> &Value {
        self.values.last().expect("there is the initial value")
    }

    fn seen_by(&self, session: u64) -> usize {
        self.seen.get(&session).copied().unwrap_or(0)
    }

    /// `session` has seen the value at `position`.
    fn with_seen(mut self, session: u64, position: usize) -> Versions {
        if position > 0 {
            self.seen = self.seen.with(session, position);
        }
        self
    }

    fn with_value(&self, session: u64, value: &Value) -> Versions {
        let written = Versions { values: self.values.with(value.clone()), seen: self.seen.clone() };
        written.with_seen(session, self.values.len())
    }
}

/// Why the register refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionRefusal {
    /// A read of a value that the session cannot read any more, or not yet.
    Read {
        /// What was read.
        read: Value,
        /// How many values this session may read.
        readable: usize,
        /// The oldest of them.
        oldest: Value,
        /// The present value.
        present: Value,
    },
    /// A compare-and-set succeeded against the wrong value.
    Cas {
        /// What it compared with.
        expected: Value,
        /// The present value.
        present: Value,
    },
    /// A compare-and-set failed though the value is the expected one.
    CasUnequal(Value),
}

impl fmt::Display for SessionRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionRefusal::Read { read, readable: 1, present, .. } => {
                write!(
                    formatter,
                    "read {read}, but the session has seen {present}, which is the present value"
                )
            }
            SessionRefusal::Read { read, readable, oldest, present } => write!(
                formatter,
                "read {read}, which is not among the {readable} values from {oldest}, which the session has seen, to {present}"
            ),
            SessionRefusal::Cas { expected, present } => {
                write!(formatter, "compared equal to {expected}, but the register holds {present}")
            }
            SessionRefusal::CasUnequal(expected) => {
                write!(formatter, "compared unequal to {expected}, but the register holds {expected}")
            }
        }
    }
}

/// The model `session-register`.
#[derive(Clone, Debug)]
pub struct SessionRegister {
    initial: Value,
    /// Whether a read of nil is an observation.
    nil_is_answer: bool,
}

impl SessionRegister {
    /// A register that holds `initial`, which all sessions have seen.
    #[must_use]
    pub fn new(initial: Value) -> SessionRegister {
        SessionRegister { initial, nil_is_answer: true }
    }
}

fn cas_meaning(operation: &Operation) -> Result<Meaning<SessionAction>, ModelError> {
    let Some([expected, new]) = operation.value().as_sequence() else {
        return Err(shape::wrong_argument(NAME, operation, "a pair [expected new]"));
    };
    Ok(match operation.completion() {
        Completion::Fail { error, .. } if shape::is_text(error, PRECONDITION_FAILED) => {
            Meaning::Completed(SessionAction::CasUnequal(expected.clone()))
        }
        completion => shape::of_update(completion, SessionAction::Cas(expected.clone(), new.clone())),
    })
}

fn writes_nil(operation: &Operation) -> bool {
    match operation.f() {
        "write" | "w" => operation.value().is_nil(),
        "cas" => matches!(operation.value().as_sequence(), Some([_, Value::Nil])),
        _ => false,
    }
}

impl Model for SessionRegister {
    type State = Versions;
    type Call = SessionCall;
    type Refusal = SessionRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> Versions {
        Versions { values: Chain::new().with(self.initial.clone()), seen: Entries::new() }
    }

    fn adapted(&self, operations: &[Operation]) -> Option<SessionRegister> {
        let nil_is_answer = self.initial.is_nil() || operations.iter().any(writes_nil);
        Some(SessionRegister { initial: self.initial.clone(), nil_is_answer })
    }

    fn conventions(&self) -> Vec<(&'static str, &'static str)> {
        vec![("convention.read-nil", if self.nil_is_answer { "nothing there" } else { "not known" })]
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<SessionCall>, ModelError> {
        let meaning = match (operation.f(), operation.completion()) {
            ("read" | "r", Completion::Ok { value, .. }) if self.nil_is_answer || !value.is_nil() => {
                Meaning::Completed(SessionAction::Read(value.clone()))
            }
            ("read" | "r", _) => Meaning::Nothing,
            ("write" | "w", completion) => {
                shape::of_update(completion, SessionAction::Write(operation.value().clone()))
            }
            ("cas", _) => cas_meaning(operation)?,
            _ => return Err(shape::unknown_function(NAME, operation, "read, write, cas")),
        };
        let call = |does| SessionCall { session: operation.process(), does };
        Ok(match meaning {
            Meaning::Completed(does) => Meaning::Completed(call(does)),
            Meaning::Crashed(does) => Meaning::Crashed(call(does)),
            Meaning::Nothing => Meaning::Nothing,
        })
    }

    fn step(&self, versions: &Versions, call: &SessionCall) -> Result<Versions, SessionRefusal> {
        let (session, present) = (call.session, versions.present());
        match &call.does {
            SessionAction::Write(value) => Ok(versions.with_value(session, value)),
            SessionAction::Cas(expected, new) if expected == present => Ok(versions.with_value(session, new)),
            SessionAction::Cas(expected, _) => {
                Err(SessionRefusal::Cas { expected: expected.clone(), present: present.clone() })
            }
            SessionAction::CasUnequal(expected) if expected != present => {
                Ok(versions.clone().with_seen(session, versions.values.len() - 1))
            }
            SessionAction::CasUnequal(expected) => Err(SessionRefusal::CasUnequal(expected.clone())),
            SessionAction::Read(value) => read(versions, session, value),
        }
    }

    fn heap_bytes(&self, versions: &Versions) -> usize {
        versions.values.own_bytes() + versions.seen.own_bytes()
    }

    fn describe_call(&self, call: &SessionCall) -> String {
        let session = call.session;
        match &call.does {
            SessionAction::Read(value) => format!("read by {session} → {value}"),
            SessionAction::Write(value) => format!("write {value} by {session}"),
            SessionAction::Cas(expected, new) => format!("cas {expected} → {new} by {session}"),
            SessionAction::CasUnequal(expected) => format!("cas {expected} by {session} → unequal"),
        }
    }

    fn describe_state(&self, versions: &Versions) -> String {
        let seen = versions.seen.iter().map(|(session, position)| format!("{session}: {position}"));
        let values = shape::list_in_words(versions.values.forwards());
        format!("register was {values}, seen up to {}", shape::list_in_words(seen))
    }
}

/// A read takes the earliest value that it can be. O(number of values that the session may read).
fn read(versions: &Versions, session: u64, value: &Value) -> Result<Versions, SessionRefusal> {
    let (seen, length) = (versions.seen_by(session), versions.values.len());
    let readable = versions.values.backwards().take(length - seen);
    match readable.enumerate().filter(|(_, there)| *there == value).last() {
        Some((back, _)) => Ok(versions.clone().with_seen(session, length - 1 - back)),
        None => {
            let oldest = versions.values.backwards().nth(length - 1 - seen).cloned().unwrap_or_default();
            let (read, present) = (value.clone(), versions.present().clone());
            Err(SessionRefusal::Read { read, readable: length - seen, oldest, present })
        }
    }
}
