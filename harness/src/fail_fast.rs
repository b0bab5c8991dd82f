//! [`FailFast`]: a recorder that judges what it records, and stops the run at the first violation.
//!
//! The judging is the checker's [`online`](labrys_checker::online) search, in a thread of its own: whoever records waits for
//! the recording only. That thread may lag behind, by a million events at most; then, or when the search's budget runs
//! out, it gives up, and the run goes on to its end as if nobody had looked.
//!
//! What it is not: a verdict. The history so far is judged as a whole afterwards, with evidence, by all checkers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use labrys_checker::linearizable::JudgedByModel;
use labrys_checker::online::{Status, Violation};
use labrys_checker::{Budget, models};
use labrys_history::{Draft, Event, RecordError};
use labrys_workloads::workload::Checks;

use crate::interpreter::{EventSink, Stop};
use crate::runner::RunError;

/// The judge is given up when so many events wait for it: it would stop the run too late to be of use, and they take memory.
const MOST_BEHIND: usize = 1_000_000;

/// What the judge came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It saw no violation among what was complete.
    Fine,
    /// It saw one, and stopped the run.
    Violated(Violation),
    /// It gave up, for this reason, and the run went on without it.
    GaveUp(String),
}

/// Records with another sink, and judges.
pub struct FailFast {
    sink: Arc<dyn EventSink>,
    /// Under one lock with the recording, so that events arrive in the order of their indices. `None`: nobody listens (any more).
    judge: Mutex<Option<Sender<Event>>>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Ending>>>,
}

/// What the recording threads and the judging one both know.
#[derive(Debug, Default)]
struct Shared {
    /// Events that wait; one more than [`MOST_BEHIND`] when they became too many.
    behind: AtomicUsize,
    /// Nobody is interested any more.
    is_over: AtomicBool,
}

/// The judge's means.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// What each step of the search may take.
    pub time_limit: Duration,
    /// What it may hold.
    pub memory_limit_bytes: usize,
}

impl FailFast {
    /// Records with `sink`, and gives `stop` when what is recorded violates `checks`.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn start(
        sink: Arc<dyn EventSink>,
        checks: &Checks,
        means: Means,
        stop: Stop,
    ) -> Result<Arc<FailFast>, RunError> {
        let model = models::find(checks.model, Some(checks.initial.clone()))
            .map_err(|error| RunError::Check(error.into()))?;
        let (sender, events) = channel();
        let shared = Arc::new(Shared::default());
        let its_share = Arc::clone(&shared);
        let thread = std::thread::spawn(move || follow(model, &events, &its_share, means, &stop));
        let judge = Mutex::new(Some(sender));
        Ok(Arc::new(FailFast { sink, judge, shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Ends the judging at once, when the clients are done: what waits is left to the check of the whole history. What it came
    /// to; a second time: fine.
    pub fn finish(&self) -> Ending {
        self.shared.is_over.store(true, Ordering::Relaxed);
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            None => Ending::Fine,
            Some(Ok(ending)) => ending,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl EventSink for FailFast {
    fn record(&self, draft: Draft) -> Result<Event, RecordError> {
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        let event = self.sink.record(draft)?;
        if let Some(sender) = &*judge {
            let is_heard = self.shared.behind.fetch_add(1, Ordering::Relaxed) < MOST_BEHIND
                && sender.send(event.clone()).is_ok();
            if !is_heard {
                *judge = None;
            }
        }
        Ok(event)
    }
}

/// The judging thread: until a violation, the end of the events, or the end of its means.
fn follow(
    model: Box<dyn JudgedByModel>,
    events: &Receiver<Event>,
    shared: &Shared,
    means: Means,
    stop: &Stop,
) -> Ending {
    let started = Instant::now();
    let nanoseconds = || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let step_began_ns = AtomicU64::new(0);
    let clock = || Duration::from_nanos(nanoseconds() - step_began_ns.load(Ordering::Relaxed));
    let budget = Budget { cancelled: Some(&shared.is_over), ..Budget::unlimited() };
    let budget = budget.with_memory_limit_bytes(means.memory_limit_bytes);
    let mut online = model.online(budget.with_time_limit(&clock, means.time_limit));
    for event in events {
        if shared.is_over.load(Ordering::Relaxed) {
            break;
        }
        if shared.behind.fetch_sub(1, Ordering::Relaxed) > MOST_BEHIND {
            return Ending::GaveUp(format!("it fell behind by {MOST_BEHIND} events"));
        }
        step_began_ns.store(nanoseconds(), Ordering::Relaxed);
        match online.event(&event) {
            Ok(Status::Fine) => {}
            Ok(Status::Violated(violation)) => {
                stop.give();
                return Ending::Violated(violation.clone());
            }
            Ok(Status::Unknown(_)) if shared.is_over.load(Ordering::Relaxed) => break,
            Ok(Status::Unknown(reason)) => return Ending::GaveUp(reason.clone()),
            // The check of the whole history will say the same, as an error.
            Err(error) => return Ending::GaveUp(error.to_string()),
        }
    }
    Ending::Fine
}

#[cfg(test)]
mod tests {
    use labrys_history::{EventKind, MonotonicClock, Process, Value};

    use super::*;
    use crate::interpreter::MemorySink;

    const MEANS: Means = Means { time_limit: Duration::from_secs(60), memory_limit_bytes: 1 << 30 };

    fn judging(means: Means, stop: &Stop) -> Arc<FailFast> {
        let sink = Arc::new(MemorySink::new(Arc::new(MonotonicClock::start())));
        let checks = Checks { model: "cas-register", initial: Value::Nil, independent_keys: true };
        FailFast::start(sink, &checks, means, stop.clone()).expect("a known model")
    }

    /// A whole operation of process 0 on key 1.
    fn operate(sink: &FailFast, f: &str, invoked: Value, value: Value) {
        for (kind, value) in [(EventKind::Invoke, invoked), (EventKind::Ok, value)] {
            let draft = Draft::new(Process::Client(0), kind, f, value).with_key(Some(Value::Int(1)));
            sink.record(draft).expect("memory takes everything");
        }
    }

    #[tokio::test]
    async fn the_first_violation_stops_the_run_and_is_named() {
        let stop = Stop::new();
        let sink = judging(MEANS, &stop);
        operate(&sink, "write", Value::Int(1), Value::Int(1));
        operate(&sink, "read", Value::Nil, Value::Int(2));
        // Time moves on; nothing is judged before it does.
        operate(&sink, "read", Value::Nil, Value::Int(1));
        stop.given().await;
        let expected = Violation { key: Some(Value::Int(1)), prefix_end: 3, operation: 2 };
        assert_eq!(sink.finish(), Ending::Violated(expected));
        operate(&sink, "read", Value::Nil, Value::Int(1));
        assert_eq!(sink.finish(), Ending::Fine, "nobody looks any more");
    }

    #[tokio::test]
    async fn what_is_linearizable_stops_nothing() {
        let stop = Stop::new();
        let sink = judging(MEANS, &stop);
        for value in 0..1000 {
            operate(&sink, "write", Value::Int(value), Value::Int(value));
            operate(&sink, "read", Value::Nil, Value::Int(value));
        }
        assert_eq!(sink.finish(), Ending::Fine);
        assert!(!stop.is_given());
    }

    #[tokio::test]
    async fn a_budget_that_runs_out_ends_the_judging_and_not_the_run() {
        let stop = Stop::new();
        let sink = judging(Means { memory_limit_bytes: 0, ..MEANS }, &stop);
        let has_ended = || sink.thread.lock().unwrap().as_ref().is_none_or(JoinHandle::is_finished);
        while !has_ended() {
            operate(&sink, "write", Value::Int(1), Value::Int(1));
            tokio::task::yield_now().await;
        }
        match sink.finish() {
            Ending::GaveUp(reason) => assert!(reason.contains("memory limit"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert!(!stop.is_given());
    }
}
