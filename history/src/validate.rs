//! The invariants of a history, checked event by event: when a file is read, and again when an event is recorded.
//!
//! O(1) time an event; memory proportional to the open operations and to the processes that were retired.

use rustc_hash::{FxHashMap, FxHashSet};
use thiserror::Error;

use crate::{Event, EventKind, Process, Text};

/// An event that cannot follow the events before it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A completion of a process that has nothing to complete.
    #[error(
        "process {process} completes `{f}` with `{kind}`, but has no open operation; expected its `invoke` before"
    )]
    UnmatchedCompletion {
        /// The process.
        process: u64,
        /// The function of the completion.
        f: Text,
        /// `ok`, `fail` or `info`.
        kind: EventKind,
    },
    /// A completion whose function is not that of the open operation.
    #[error(
        "process {process} completes `{f}`, but its open operation is the `{open_f}` of event {open_index}; expected a \
         completion of that"
    )]
    WrongCompletion {
        /// The process.
        process: u64,
        /// The function of the completion.
        f: Text,
        /// The function of the open operation.
        open_f: Text,
        /// The index of its invocation.
        open_index: u64,
    },
    /// A process invokes an operation while another of its operations is open.
    #[error(
        "process {process} invokes `{f}` while its `{open_f}` of event {open_index} is still open; expected the completion \
         of that first"
    )]
    TwoOpenOperations {
        /// The process.
        process: u64,
        /// The function of the second operation.
        f: Text,
        /// The function of the first.
        open_f: Text,
        /// The index of the first invocation.
        open_index: u64,
    },
    /// A process goes on although nobody knows how its last operation ended.
    #[error(
        "process {process} invokes `{f}` although an operation of it ended `info`; expected a process number that was not \
         used before"
    )]
    RetiredProcess {
        /// The process.
        process: u64,
        /// The function of the new operation.
        f: Text,
    },
    /// An event earlier than the one before it.
    #[error("time goes backwards, from {previous_ns} ns to {time_ns} ns; expected events in order of time")]
    TimeBackwards {
        /// The time of the event.
        time_ns: u64,
        /// The time of the event before it.
        previous_ns: u64,
    },
    /// An index that is not greater than the one before it.
    #[error(
        "index {index} follows index {previous}; expected every event to have a greater index than the one before"
    )]
    IndexRepeated {
        /// The index of the event.
        index: u64,
        /// The index of the event before it.
        previous: u64,
    },
}

/// An operation that has begun and not ended.
#[derive(Debug)]
struct Open {
    f: Text,
    index: u64,
}

/// What must be remembered of the events so far to judge the next one.
#[derive(Debug, Default)]
pub(crate) struct Validator {
    last: Option<(u64, u64)>,
    open: FxHashMap<u64, Open>,
    retired: FxHashSet<u64>,
}

impl Validator {
    /// Takes `event` in, or says what is wrong with it and stays as it was.
    pub(crate) fn accept(&mut self, event: &Event) -> Result<(), Problem> {
        if let Some((index, time_ns)) = self.last {
            if event.index <= index {
                return Err(Problem::IndexRepeated { index: event.index, previous: index });
            }
            if event.time_ns < time_ns {
                return Err(Problem::TimeBackwards { time_ns: event.time_ns, previous_ns: time_ns });
            }
        }
        if let Process::Client(process) = event.process {
            if event.kind == EventKind::Invoke {
                self.accept_invocation(process, event)?;
            } else {
                self.accept_completion(process, event)?;
            }
        }
        self.last = Some((event.index, event.time_ns));
        Ok(())
    }

    fn accept_invocation(&mut self, process: u64, event: &Event) -> Result<(), Problem> {
        if let Some(open) = self.open.get(&process) {
            return Err(Problem::TwoOpenOperations {
                process,
                f: event.f.clone(),
                open_f: open.f.clone(),
                open_index: open.index,
            });
        }
        if self.retired.contains(&process) {
            return Err(Problem::RetiredProcess { process, f: event.f.clone() });
        }
        self.open.insert(process, Open { f: event.f.clone(), index: event.index });
        Ok(())
    }

    fn accept_completion(&mut self, process: u64, event: &Event) -> Result<(), Problem> {
        let Some(open) = self.open.get(&process) else {
            return Err(Problem::UnmatchedCompletion { process, f: event.f.clone(), kind: event.kind });
        };
        if open.f != event.f {
            return Err(Problem::WrongCompletion {
                process,
                f: event.f.clone(),
                open_f: open.f.clone(),
                open_index: open.index,
            });
        }
        self.open.remove(&process);
        if event.kind == EventKind::Info {
            self.retired.insert(process);
        }
        Ok(())
    }
}
