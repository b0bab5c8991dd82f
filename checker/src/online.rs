//! [`Online`]: linearizability while the history grows, event by event, until the first violation.
//!
//! The breadth-first search of [`crate::linearizable`], fed in the order of time. It says the same as the search of the whole
//! history: the first violation is at the same completion.
//!
//! **When it knows.** What an operation returned is known when it completes, and until then nothing that it may have seen can be
//! judged. So a completion is judged as soon as all operations invoked before it, on any key, have ended as well and time
//! has moved on (at one instant invocations come before completions). A violation is therefore told by the slowest operation in flight later than it
//! happens, at most by a client's timeout; an operation that never ends, with no `info`, holds up everything after it.
//!
//! **What it holds.** Events from the oldest open operation on; for each key its configurations, which follow from the
//! operations in flight; and the crashed operations, which may take effect at any later time. Not the history.
//!
//! What it is not: an explanation. The offline check of the history so far has the evidence.

use std::collections::{BTreeMap, BTreeSet};

use labrys_history::{Completion, Event, EventKind, Operation, Process, Value};

use crate::budget::{Budget, Meter};
use crate::linearizable::{Completed, Interval, Resumable};
use crate::model::{Meaning, Model, ModelError};

/// The first completion that nothing explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: Option<Value>,
    /// The index of the completion, as in [`crate::verdict::NonLinearizable::prefix_end`].
    pub prefix_end: u64,
    /// The index of the invocation of its operation.
    pub operation: u64,
}

/// What is known so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// What could be judged is linearizable.
    Fine,
    /// It is not. Further events are not looked at.
    Violated(Violation),
    /// The budget ran out, or more operations are in flight than the search has room for. Further events are not looked at.
    Unknown(String),
}

/// An online check with its model's type erased: what [`crate::linearizable::JudgedByModel::online`] makes.
pub trait OnlineCheck {
    /// As [`Online::event`].
    ///
    /// # Errors
    /// As [`Online::event`].
    fn event(&mut self, event: &Event) -> Result<&Status, ModelError>;

    /// As [`Online::finish`].
    ///
    /// # Errors
    /// As [`Online::event`].
    fn finish(&mut self) -> Result<&Status, ModelError>;
}

impl<M: Model> OnlineCheck for Online<'_, M> {
    fn event(&mut self, event: &Event) -> Result<&Status, ModelError> {
        Online::event(self, event)
    }

    fn finish(&mut self) -> Result<&Status, ModelError> {
        Online::finish(self)
    }
}

/// An online check by a model. The model is used as it is: [`Model::adapted`] would need the whole history.
pub struct Online<'b, M: Model> {
    model: M,
    budget: Budget<'b>,
    /// The invocations of open operations, by process.
    open: BTreeMap<u64, Event>,
    parts: BTreeMap<Option<Value>, Resumable<M>>,
    /// The keys of the parts with completions that are not judged yet: a run of hours has hundreds of thousands of keys, and
    /// only those in use are looked at.
    waiting: BTreeSet<Option<Value>>,
    now_ns: u64,
    status: Status,
}

impl<'b, M: Model> Online<'b, M> {
    /// A check that has seen nothing. The budget's memory is for each judgement by itself.
    pub fn new(model: M, budget: Budget<'b>) -> Self {
        Online {
            model,
            budget,
            open: BTreeMap::new(),
            parts: BTreeMap::new(),
            waiting: BTreeSet::new(),
            now_ns: 0,
            status: Status::Fine,
        }
    }

    /// Takes the next event of a history, in order of time; events of processes other than clients say nothing here.
    ///
    /// # Errors
    /// If an operation means nothing to the model.
    pub fn event(&mut self, event: &Event) -> Result<&Status, ModelError> {
        if let (Process::Client(process), Status::Fine) = (&event.process, &self.status) {
            self.now_ns = self.now_ns.max(event.time_ns);
            if event.kind == EventKind::Invoke {
                self.open.insert(*process, event.clone());
            } else if let Some(invocation) = self.open.remove(process) {
                self.close(&invocation, Some(event))?;
                let oldest = self.open.values().map(|invocation| invocation.time_ns).min();
                self.judge(oldest.map_or(self.now_ns, |oldest| oldest.min(self.now_ns)));
            }
        }
        Ok(&self.status)
    }

    /// The end of the history: what is open crashed, and everything is judged.
    ///
    /// # Errors
    /// As [`Online::event`].
    pub fn finish(&mut self) -> Result<&Status, ModelError> {
        for invocation in std::mem::take(&mut self.open).into_values() {
            self.close(&invocation, None)?;
        }
        if self.status == Status::Fine {
            self.judge(u64::MAX);
        }
        Ok(&self.status)
    }

    fn close(&mut self, invocation: &Event, completion: Option<&Event>) -> Result<(), ModelError> {
        let Some(operation) = Operation::new(invocation, completion) else { return Ok(()) };
        let (call, completed) = match (self.model.meaning(&operation)?, operation.completion()) {
            (Meaning::Nothing, _) => return Ok(()),
            (
                Meaning::Completed(call),
                Completion::Ok { time_ns, index, .. } | Completion::Fail { time_ns, index, .. },
            ) => (call, Some(Completed { time_ns, index })),
            (Meaning::Completed(call) | Meaning::Crashed(call), _) => (call, None),
        };
        let interval = Interval {
            call,
            operation: operation.invoke_index(),
            invoked_ns: operation.invoke_time_ns(),
            completed,
        };
        let key = self.model.partition(&operation);
        if interval.completed.is_some() {
            self.waiting.insert(key.clone());
        }
        self.parts.entry(key).or_insert_with(|| Resumable::new(&self.model)).push(interval);
        Ok(())
    }

    /// Judges all completions before `horizon_ns`: nothing that is not known yet was invoked by then.
    fn judge(&mut self, horizon_ns: u64) {
        let mut first: Option<Violation> = None;
        let mut judged = Vec::new();
        for key in &self.waiting {
            let Some(part) = self.parts.get_mut(key) else { continue };
            match part.judge(&self.model, horizon_ns, &Meter::new(self.budget)) {
                Ok(None) if part.is_judged() => judged.push(key.clone()),
                Ok(None) => {}
                Ok(Some((operation, prefix_end))) => {
                    if first.as_ref().is_none_or(|first| prefix_end < first.prefix_end) {
                        first = Some(Violation { key: key.clone(), prefix_end, operation });
                    }
                }
                Err(reason) if first.is_none() => self.status = Status::Unknown(reason),
                Err(_) => {}
            }
        }
        for key in judged {
            self.waiting.remove(&key);
        }
        if let Some(violation) = first {
            self.status = Status::Violated(violation);
        }
    }

    /// The operations that are held because something about them is not judged yet; crashed ones stay for ever.
    pub fn held_operations(&self) -> usize {
        let distinct: BTreeSet<u64> = self.parts.values().flat_map(Resumable::operations).collect();
        self.open.len() + distinct.len()
    }
}
