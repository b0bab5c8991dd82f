//! [`Worker`]: the task of one client thread.

use std::sync::Arc;
use std::time::Duration;

use labrys_history::{Draft, Event, EventKind, Process, RecordError, Value};
use labrys_workloads::generator::Thread;
use labrys_workloads::{Client, ClientFactory, Op, Outcome};
use tokio::sync::mpsc;

use super::catch::{Panicked, catch, drop_quietly};
use super::counters::{Counters, count};
use super::{Equipment, EventSink, InterpreterConfig};

/// An operation for a worker.
pub(super) struct Job {
    /// The process that the thread is now.
    pub(super) process: Process,
    /// What to do.
    pub(super) op: Op,
}

/// What a worker tells the scheduler.
pub(super) enum Report {
    /// The operation of a thread ended.
    Completed {
        /// Whose.
        thread: Thread,
        /// The completion as recorded.
        event: Event,
    },
    /// An event could not be recorded.
    Unrecorded(RecordError),
    /// The nemesis hangs or has panicked.
    NemesisFailed {
        /// In words.
        what: String,
    },
    /// A worker ended without having been told to.
    Died(Thread),
}

/// Reports the death of a worker if it is dropped before it was disarmed: otherwise the scheduler would wait for ever.
pub(super) struct Alarm {
    thread: Thread,
    report: mpsc::UnboundedSender<Report>,
    armed: bool,
}

impl Alarm {
    pub(super) fn armed(thread: Thread, report: mpsc::UnboundedSender<Report>) -> Alarm {
        Alarm { thread, report, armed: true }
    }

    pub(super) fn report(&self, report: Report) {
        // Fails only when the scheduler is gone, which does not want to know any more.
        let _ = self.report.send(report);
    }

    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.armed {
            self.report(Report::Died(self.thread));
        }
    }
}

/// The client of a process.
struct Opened {
    process: u64,
    client: Box<dyn Client>,
}

/// Carries out the operations of one thread, one at a time.
pub(super) struct Worker {
    number: usize,
    config: Arc<InterpreterConfig>,
    factory: Arc<dyn ClientFactory>,
    sink: Arc<dyn EventSink>,
    counters: Arc<Counters>,
    opened: Option<Opened>,
    /// How often in a row a client could not be opened.
    failures: u32,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        config: &Arc<InterpreterConfig>,
        equipment: &Equipment,
        counters: &Arc<Counters>,
    ) -> Worker {
        Worker {
            number,
            config: Arc::clone(config),
            factory: Arc::clone(&equipment.clients),
            sink: Arc::clone(&equipment.sink),
            counters: Arc::clone(counters),
            opened: None,
            failures: 0,
        }
    }

    /// Works until the scheduler is gone, and then closes the client.
    pub(super) async fn work(
        mut self,
        mut jobs: mpsc::UnboundedReceiver<Job>,
        report: mpsc::UnboundedSender<Report>,
    ) {
        let thread = Thread::Client(self.number);
        let mut alarm = Alarm::armed(thread, report);
        while let Some(job) = jobs.recv().await {
            alarm.report(match self.perform(job).await {
                Ok(event) => Report::Completed { thread, event },
                Err(error) => Report::Unrecorded(error),
            });
        }
        if let Some(Opened { client, .. }) = self.opened.take() {
            // A client that cannot be closed in an orderly way has been dropped.
            let _ = tokio::time::timeout(self.config.close_timeout, catch(client.close())).await;
        }
        alarm.disarm();
    }

    /// From job to recorded completion.
    async fn perform(&mut self, job: Job) -> Result<Event, RecordError> {
        let Job { process, op } = job;
        let process_number = process.client().unwrap_or(u64::MAX);
        let refused = self.open(process_number).await.err();

        let invocation = Draft::new(process, EventKind::Invoke, op.f.clone(), op.value.clone());
        let invocation = self.sink.record(invocation.with_key(op.key.clone()))?;
        count(&self.counters.invoked);
        let outcome = match &refused {
            Some(error) => Outcome::Fail { error: error.clone() },
            None => self.invoke(&op).await,
        };
        let completion = self.sink.record(completion(&invocation, op, outcome))?;

        self.count_completion(completion.kind);
        if completion.kind == EventKind::Info {
            self.abandon();
        }
        if refused.is_some() {
            self.pause().await;
        }
        Ok(completion)
    }

    /// Sees to it that there is a client of `process`; or says why there is none.
    async fn open(&mut self, process: u64) -> Result<(), Value> {
        if self.opened.as_ref().is_some_and(|opened| opened.process == process) {
            return Ok(());
        }
        self.abandon();
        let node = self.number % self.config.nodes.max(1);
        let opening = catch(self.factory.open(process, node));
        let why = match tokio::time::timeout(self.config.open_timeout, opening).await {
            Ok(Ok(Ok(client))) => {
                self.opened = Some(Opened { process, client });
                self.failures = 0;
                return Ok(());
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(Panicked(message))) => {
                count(&self.counters.panics);
                format!("panicked: {message}")
            }
            Err(_) => format!("not within {:?}", self.config.open_timeout),
        };
        count(&self.counters.open_failures);
        tracing::debug!(target: "labrys::interpreter", process, node, "cannot open a client: {why}");
        Err(Value::vector(vec![Value::keyword("cannot-open"), Value::from(why)]))
    }

    /// The client's answer, or what stands for it.
    async fn invoke(&mut self, op: &Op) -> Outcome {
        let Some(Opened { client, .. }) = &mut self.opened else {
            return Outcome::Fail { error: Value::keyword("cannot-open") };
        };
        let timeout = self.config.operation_timeout;
        let invoked = catch(client.invoke(op, timeout));
        match tokio::time::timeout(timeout + self.config.operation_grace, invoked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Panicked(message))) => {
                count(&self.counters.panics);
                let error = vec![Value::keyword("client-panicked"), Value::from(message)];
                Outcome::Info { error: Value::vector(error) }
            }
            Err(_) => {
                count(&self.counters.timeouts);
                Outcome::Info { error: Value::keyword("timeout") }
            }
        }
    }

    fn abandon(&mut self) {
        drop_quietly(self.opened.take());
    }

    /// Lets some time pass, so that a system that cannot be reached is not asked as fast as the generator can.
    async fn pause(&mut self) {
        let doubled = self.config.open_pause.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let pause: Duration = doubled.min(self.config.open_pause_maximum);
        tokio::time::sleep(pause).await;
    }

    fn count_completion(&self, kind: EventKind) {
        match kind {
            EventKind::Ok => count(&self.counters.ok),
            EventKind::Fail => count(&self.counters.fail),
            EventKind::Info | EventKind::Invoke => count(&self.counters.info),
        }
    }
}

/// The completing event: with the result if there is one, and with the argument otherwise.
fn completion(invocation: &Event, op: Op, outcome: Outcome) -> Draft {
    let (kind, value, error) = match outcome {
        Outcome::Ok(value) => (EventKind::Ok, value, None),
        Outcome::Fail { error } => (EventKind::Fail, op.value, Some(error)),
        Outcome::Info { error } => (EventKind::Info, op.value, Some(error)),
    };
    Draft::completion(invocation, kind, value).with_error(error)
}
