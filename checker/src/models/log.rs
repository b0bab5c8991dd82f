//! A log of records with offsets, as a partition of Kafka's: `send` and `poll`. Offsets are 0, 1, 2, … without gaps.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `send v` | `ok o`, or `ok [o v]` | `v` was appended, and its offset is `o` |
//! | `send v` | `ok nil`, `ok v` with a `v` that is no number | `v` was appended; nobody saw the offset |
//! | `send v` | `fail` | nothing: it did not happen |
//! | `send v` | `info` | it may be appended at some later time; nobody saw the offset |
//! | `poll o`, `poll` | `ok [[o v] …]` | from offset `o` (or 0) on, the log had these; there may be more behind them |
//! | `poll o` | `ok []` | the log had nothing from `o` on |
//! | `poll` | `fail`, `info`, `ok nil` | nothing: nobody saw an answer |
//!
//! The initial records are a vector or list of values; none unless given. A log for each topic and partition has a key.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use super::shape::{self, WrongInitial};
use crate::model::{Meaning, Model, ModelError};
use crate::persistent::Chain;

const NAME: &str = "log";

/// A call on a log, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogCall {
    /// This was appended, at this offset or one that nobody saw.
    Send(Value, Option<u64>),
    /// From this offset on there were these records, with their offsets.
    Poll(u64, Vec<(u64, Value)>),
}

/// Why a log refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRefusal {
    /// A record was sent to another offset than the next.
    Sent {
        /// The offset.
        offset: u64,
        /// The next one.
        next: u64,
    },
    /// Something else is at that offset.
    Polled {
        /// The offset.
        offset: u64,
        /// What was polled.
        polled: Value,
        /// What is there.
        holds: Value,
    },
    /// The log is not that long.
    Beyond {
        /// The offset that was polled.
        offset: u64,
        /// The offset of the next record.
        next: u64,
    },
    /// Nothing was polled.
    Empty {
        /// From where.
        from: u64,
        /// The offset of the next record.
        next: u64,
    },
    /// A record was left out or comes out of order.
    Skipped {
        /// The offset that is due.
        expected: u64,
        /// The one that was polled.
        offset: u64,
    },
}

impl fmt::Display for LogRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogRefusal::Sent { offset, next } => {
                write!(formatter, "sent to offset {offset}, but the next offset of the log is {next}")
            }
            LogRefusal::Polled { offset, polled, holds } => {
                write!(formatter, "polled {polled} at offset {offset}, but the log has {holds} there")
            }
            LogRefusal::Beyond { offset, next } => {
                write!(formatter, "polled offset {offset}, but the next offset of the log is {next}")
            }
            LogRefusal::Empty { from, next } => {
                write!(
                    formatter,
                    "polled nothing from offset {from} on, but the next offset of the log is {next}"
                )
            }
            LogRefusal::Skipped { expected, offset } => {
                write!(formatter, "polled offset {offset} where {expected} was due")
            }
        }
    }
}

/// The model `log`.
#[derive(Clone, Debug, Default)]
pub struct Log {
    initial: Chain<Value>,
}

impl Log {
    /// A log of these, from offset 0.
    #[must_use]
    pub fn new(records: &[Value]) -> Log {
        Log { initial: records.iter().cloned().collect() }
    }

    /// A log with the initial records of the command line.
    ///
    /// # Errors
    /// If they are no vector or list.
    pub fn with_initial(initial: &Value) -> Result<Log, WrongInitial> {
        match initial.as_sequence() {
            None if initial.is_nil() => Ok(Log::default()),
            Some(records) => Ok(Log::new(records)),
            None => Err(WrongInitial::new("records, such as [1 2]", initial)),
        }
    }
}

fn offset(value: &Value) -> Option<u64> {
    value.as_int().and_then(|offset| u64::try_from(offset).ok())
}

fn send_meaning(operation: &Operation) -> Meaning<LogCall> {
    let sent = |offset| LogCall::Send(operation.value().clone(), offset);
    match operation.completion() {
        Completion::Ok { value, .. } => {
            let offset = match value.as_sequence() {
                Some([at, record]) if *record == *operation.value() => offset(at),
                _ => offset(value),
            };
            Meaning::Completed(sent(offset))
        }
        completion => shape::of_update(completion, sent(None)),
    }
}

fn poll_meaning(operation: &Operation) -> Result<Meaning<LogCall>, ModelError> {
    let from = if operation.value().is_nil() { Some(0) } else { offset(operation.value()) };
    let from = from.ok_or_else(|| shape::wrong_argument(NAME, operation, "an offset or nothing"))?;
    let Completion::Ok { value, .. } = operation.completion() else { return Ok(Meaning::Nothing) };
    if value.is_nil() {
        return Ok(Meaning::Nothing);
    }
    let record = |record: &Value| match record.as_sequence() {
        Some([at, value]) => Some((offset(at)?, value.clone())),
        _ => None,
    };
    let records = value.as_sequence().and_then(|records| records.iter().map(record).collect());
    match records {
        Some(records) => Ok(Meaning::Completed(LogCall::Poll(from, records))),
        None => Err(shape::wrong_result(NAME, operation, "records [[offset value] …]", value)),
    }
}

/// What is wrong with a poll, if something is. O(length of the log behind `from`).
fn difference(log: &Chain<Value>, from: u64, polled: &[(u64, Value)]) -> Option<LogRefusal> {
    let next = log.len() as u64;
    if polled.is_empty() {
        return (from < next).then_some(LogRefusal::Empty { from, next });
    }
    if let Some((expected, &(offset, _))) =
        (from..).zip(polled).find(|&(expected, &(offset, _))| offset != expected)
    {
        return Some(LogRefusal::Skipped { expected, offset });
    }
    let last = polled[polled.len() - 1].0;
    if last >= next {
        return Some(LogRefusal::Beyond { offset: last.max(next), next });
    }
    let there = log.backwards().skip((next - 1 - last) as usize);
    let wrong = polled.iter().rev().zip(there).find(|((_, polled), there)| polled != *there);
    wrong.map(|((offset, polled), holds)| LogRefusal::Polled {
        offset: *offset,
        polled: polled.clone(),
        holds: holds.clone(),
    })
}

impl Model for Log {
    type State = Chain<Value>;
    type Call = LogCall;
    type Refusal = LogRefusal;

    fn name(&self) -> &str {
        NAME
    }

    fn init(&self) -> Chain<Value> {
        self.initial.clone()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<LogCall>, ModelError> {
        match operation.f() {
            "send" => Ok(send_meaning(operation)),
            "poll" => poll_meaning(operation),
            _ => Err(shape::unknown_function(NAME, operation, "send, poll")),
        }
    }

    fn step(&self, log: &Chain<Value>, call: &LogCall) -> Result<Chain<Value>, LogRefusal> {
        let next = log.len() as u64;
        match call {
            LogCall::Send(_, Some(offset)) if *offset != next => {
                Err(LogRefusal::Sent { offset: *offset, next })
            }
            LogCall::Send(value, _) => Ok(log.with(value.clone())),
            LogCall::Poll(from, records) => {
                difference(log, *from, records).map_or_else(|| Ok(log.clone()), Err)
            }
        }
    }

    fn is_pure(&self, call: &LogCall) -> bool {
        matches!(call, LogCall::Poll(..))
    }

    fn heap_bytes(&self, log: &Chain<Value>) -> usize {
        log.own_bytes()
    }

    fn describe_call(&self, call: &LogCall) -> String {
        match call {
            LogCall::Send(value, Some(offset)) => format!("send {value} → offset {offset}"),
            LogCall::Send(value, None) => format!("send {value} → unknown offset"),
            LogCall::Poll(from, records) => {
                let values = records.iter().map(|(offset, value)| format!("{offset}: {value}"));
                format!("poll from {from} → {}", shape::list_in_words(values))
            }
        }
    }

    fn describe_state(&self, log: &Chain<Value>) -> String {
        format!("log = {}", shape::list_in_words(log.forwards()))
    }
}
