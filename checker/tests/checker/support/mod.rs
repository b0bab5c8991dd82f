//! What the tests share: a small register history as data, its two readings (a [`labrys_history::History`] for the checker, and
//! a brute-force oracle that knows nothing of the checker), a generator, and a mini language.

pub mod brute_force;
pub mod generate;
pub mod mini;
pub mod object;
pub mod toy;

use labrys_checker::linearizable::{Completed, Interval};
use labrys_checker::models::RegisterCall;
use labrys_history::{Event, EventKind, History, Process, Value};

/// What was called, with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read(i64),
    Write(i64),
    Cas(i64, i64),
    /// A compare-and-set of the first with the second that failed as unequal.
    CasUnequal(i64, i64),
}

/// An operation on a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    pub key: i64,
    pub call: Call,
    pub invoked: u64,
    /// None: crashed.
    pub completed: Option<u64>,
}

/// The events of a history of `ops`, each of a process of its own, and for each operation the indices of its events.
pub fn history_of(ops: &[Op]) -> (History, Vec<(u64, Option<u64>)>) {
    // At equal times in whatever order, but an operation's invocation before its completion: (time, position, is completion).
    let mut ends: Vec<(u64, usize, bool)> = Vec::new();
    for (position, op) in ops.iter().enumerate() {
        ends.push((op.invoked, position, false));
        ends.extend(op.completed.map(|time| (time, position, true)));
    }
    ends.sort_unstable();
    let mut indices = vec![(0, None); ops.len()];
    let events = ends.iter().enumerate().map(|(index, &(time, position, is_completion))| {
        let (index, op) = (index as u64, &ops[position]);
        if is_completion {
            indices[position].1 = Some(index);
        } else {
            indices[position].0 = index;
        }
        event_of(index, time, position as u64, is_completion, op)
    });
    let events = events.collect();
    (History::from_validated(events), indices)
}

fn event_of(index: u64, time: u64, process: u64, is_completion: bool, op: &Op) -> Event {
    let pair = |a: i64, b: i64| Value::vector(vec![Value::Int(a), Value::Int(b)]);
    let (f, argument, result) = match op.call {
        Call::Read(value) => ("read", Value::Nil, Value::Int(value)),
        Call::Write(value) => ("write", Value::Int(value), Value::Int(value)),
        Call::Cas(a, b) | Call::CasUnequal(a, b) => ("cas", pair(a, b), pair(a, b)),
    };
    let (kind, value) = match (is_completion, op.call) {
        (false, _) => (EventKind::Invoke, argument),
        (true, Call::CasUnequal(..)) => (EventKind::Fail, result),
        (true, _) => (EventKind::Ok, result),
    };
    let mut event = Event::new(index, time, Process::Client(process), kind, f, value);
    event.key = Some(Value::Int(op.key));
    event
}

/// The operation as the checker's front door without histories takes it: named by its position.
pub fn interval_of(position: u64, op: &Op) -> Interval<RegisterCall> {
    Interval {
        call: match op.call {
            Call::Read(value) => RegisterCall::Read(Value::Int(value)),
            Call::Write(value) => RegisterCall::Write(Value::Int(value)),
            Call::Cas(expected, new) => {
                RegisterCall::Cas { expected: Value::Int(expected), new: Value::Int(new) }
            }
            Call::CasUnequal(expected, _) => RegisterCall::CasUnequal(Value::Int(expected)),
        },
        operation: position,
        invoked_ns: op.invoked,
        completed: op.completed.map(|time_ns| Completed { time_ns, index: 1_000 + position }),
    }
}

/// The number of random histories of a test: `default`, if the environment does not say otherwise:
/// `LABRYS_CHECKER_HISTORIES=1000000 cargo test --release -p labrys-checker …`.
#[expect(clippy::disallowed_methods, reason = "how long a test runs is no part of a verdict")]
pub fn histories(default: u64) -> u64 {
    let asked_for = std::env::var("LABRYS_CHECKER_HISTORIES");
    asked_for.map_or(default, |text| text.parse().expect("LABRYS_CHECKER_HISTORIES is a number"))
}
