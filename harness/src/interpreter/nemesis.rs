//! The nemesis thread: its operations are begun and ended like those of clients, but are no operations on the system.

use std::sync::Arc;

use async_trait::async_trait;
use labrys_history::{Draft, Event, EventKind, Process, RecordError, Value};
use labrys_workloads::Op;
use labrys_workloads::generator::Thread;
use tokio::sync::mpsc;

use super::catch::{Panicked, catch};
use super::counters::{Counters, count};
use super::worker::{Alarm, Job, Report};
use super::{Equipment, EventSink, InterpreterConfig};

/// Carries out what the generator wants of the nemesis. What blocks belongs on a thread of its own
/// (`tokio::task::spawn_blocking`).
#[async_trait]
pub trait NemesisDriver: Send + Sync {
    /// Carries out `op`; what the history is to say of it, and the error if there was one.
    async fn invoke(&self, op: &Op) -> (Value, Option<Value>);
}

/// A nemesis that can do nothing, for runs without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNemesis;

#[async_trait]
impl NemesisDriver for NoNemesis {
    async fn invoke(&self, op: &Op) -> (Value, Option<Value>) {
        (op.value.clone(), Some(Value::keyword("no-nemesis")))
    }
}

/// The task of the nemesis thread.
pub(super) struct NemesisWorker {
    config: Arc<InterpreterConfig>,
    driver: Arc<dyn NemesisDriver>,
    sink: Arc<dyn EventSink>,
    counters: Arc<Counters>,
}

impl NemesisWorker {
    pub(super) fn new(
        config: &Arc<InterpreterConfig>,
        equipment: &Equipment,
        counters: &Arc<Counters>,
    ) -> NemesisWorker {
        NemesisWorker {
            config: Arc::clone(config),
            driver: Arc::clone(&equipment.nemesis),
            sink: Arc::clone(&equipment.sink),
            counters: Arc::clone(counters),
        }
    }

    /// Works until the scheduler is gone.
    pub(super) async fn work(
        self,
        mut jobs: mpsc::UnboundedReceiver<Job>,
        report: mpsc::UnboundedSender<Report>,
    ) {
        let mut alarm = Alarm::armed(Thread::Nemesis, report);
        while let Some(job) = jobs.recv().await {
            alarm.report(match self.perform(&job.op).await {
                Ok((_, Some(what))) => Report::NemesisFailed { what },
                Ok((event, None)) => Report::Completed { thread: Thread::Nemesis, event },
                Err(error) => Report::Unrecorded(error),
            });
        }
        alarm.disarm();
    }

    /// The last event of an operation, and why there can be no further one, if so: nobody knows what a driver that hangs or has
    /// panicked still does.
    async fn perform(&self, op: &Op) -> Result<(Event, Option<String>), RecordError> {
        self.record(op, op.value.clone(), None)?;
        let timeout = self.config.nemesis_timeout;
        let (value, error, failure) = match tokio::time::timeout(timeout, catch(self.driver.invoke(op))).await
        {
            Ok(Ok((value, error))) => (value, error, None),
            Ok(Err(Panicked(message))) => {
                let failure = format!("it panicked: {message}");
                let error = Value::vector(vec![Value::keyword("nemesis-panicked"), Value::from(message)]);
                (op.value.clone(), Some(error), Some(failure))
            }
            Err(_) => {
                let failure = format!("it did not come to an end within {} s", timeout.as_secs());
                (op.value.clone(), Some(Value::keyword("timeout")), Some(failure))
            }
        };
        count(&self.counters.nemesis);
        Ok((self.record(op, value, error)?, failure))
    }

    fn record(&self, op: &Op, value: Value, error: Option<Value>) -> Result<Event, RecordError> {
        let draft = Draft::new(Process::nemesis(), EventKind::Info, op.f.clone(), value);
        self.sink.record(draft.with_key(op.key.clone()).with_error(error))
    }
}
