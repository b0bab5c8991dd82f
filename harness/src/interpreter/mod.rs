//! The interpreter: asks a generator for operations, carries them out with clients, and records what happened.
//!
//! The only part that knows threads, clocks and clients at once. What it is not: it chooses no operation (generators do), no
//! fault (the nemesis behind [`NemesisDriver`] does), and judges nothing.
//!
//! One task, the *scheduler* ([`Interpreter::run`]), owns the generator and the book-keeping of threads. Every thread of work is
//! a task of its own, a *worker*, which owns the client of its current process. The scheduler gives a free worker an operation;
//! the worker records the invocation, calls the client, records the completion, and tells the scheduler. So
//!
//! - an invocation is stamped, under the lock of the sink, immediately before the client is called: nothing of it can have
//!   reached the system before;
//! - a completion is stamped immediately after the client has answered, by the same task, whatever other clients and the
//!   scheduler are doing: a slow one cannot delay another's timestamps;
//! - what a thread waits for (opening a client) lies outside of the operation's interval.
//!
//! How operations end, besides what a client says:
//!
//! | what happened | completion | error | afterwards |
//! | --- | --- | --- | --- |
//! | no client could be opened (or not in time) | `fail` | `[:cannot-open "why"]` | a pause, longer each time |
//! | no answer in time | `info` | `:timeout` | the client is dropped, the process retired |
//! | the client panicked | `info` | `[:client-panicked "message"]` | the client is dropped, the process retired |
//! | the client said `info` | `info` | the client's | the client is dropped, the process retired |
//!
//! The nemesis is a worker, too, with a [`NemesisDriver`] instead of a client; its operations are recorded as pairs of
//! `info` events. A nemesis that panics, or hangs beyond its time-out, ends the run with an error: which faults are applied is
//! not known any more.
//!
//! O(1) per operation besides generator, sink and client. What it costs is in `PERFORMANCE.md` beside this file.

mod catch;
mod counters;
mod nemesis;
mod sink;
mod stop;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use labrys_history::{Clock, EventKind, RecordError};
use labrys_seed::Seed;
use labrys_workloads::ClientFactory;
use labrys_workloads::generator::{Generator, Invocation, Peek, Taken, Thread, Threads};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use counters::{Counters, Counts};
pub use nemesis::{NemesisDriver, NoNemesis};
pub use sink::{EventSink, MemorySink};
pub use stop::Stop;

use nemesis::NemesisWorker;
use worker::{Job, Report, Worker};

/// How operations are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterpreterConfig {
    /// Number of client threads.
    pub client_threads: usize,
    /// Number of nodes. Thread t is bound to node t modulo this.
    pub nodes: usize,
    /// What a client is given for an operation.
    pub operation_timeout: Duration,
    /// After so much more a client that did not end by itself is abandoned.
    pub operation_grace: Duration,
    /// What the opening of a client may take.
    pub open_timeout: Duration,
    /// What an orderly end of a client may take.
    pub close_timeout: Duration,
    /// The pause of a thread after its client could not be opened; doubled each further time in a row.
    pub open_pause: Duration,
    /// The longest such pause.
    pub open_pause_maximum: Duration,
    /// After this an operation of the nemesis is given up. It must not happen: a nemesis has deadlines of its own.
    pub nemesis_timeout: Duration,
    /// Decides which of several free threads gets an operation.
    pub seed: Seed,
}

impl Default for InterpreterConfig {
    fn default() -> InterpreterConfig {
        InterpreterConfig {
            client_threads: 10,
            nodes: 5,
            operation_timeout: Duration::from_secs(1),
            operation_grace: Duration::from_millis(250),
            open_timeout: Duration::from_secs(1),
            close_timeout: Duration::from_secs(1),
            open_pause: Duration::from_millis(10),
            open_pause_maximum: Duration::from_millis(500),
            nemesis_timeout: Duration::from_secs(60),
            seed: Seed(0),
        }
    }
}

/// What the interpreter works with.
#[derive(Clone)]
pub struct Equipment {
    /// Opens clients.
    pub clients: Arc<dyn ClientFactory>,
    /// Carries out the operations of the nemesis thread.
    pub nemesis: Arc<dyn NemesisDriver>,
    /// Records events.
    pub sink: Arc<dyn EventSink>,
    /// The clock of the sink: generators are told its time.
    pub clock: Arc<dyn Clock>,
}

/// Why a run could not go on. Never the system's fault.
#[derive(Debug, Error)]
pub enum InterpreterError {
    /// An event could not be recorded.
    #[error("the history cannot be recorded: {0}")]
    Record(#[from] RecordError),
    /// The generator waits for a completion, and nothing is in flight.
    #[error("the generator is stuck: it waits for a completion, but no operation is in flight")]
    Stuck,
    /// An operation of the nemesis did not come to its end.
    #[error("the nemesis failed: {what}")]
    Nemesis {
        /// In which way.
        what: String,
    },
    /// A worker ended without having been told to: a bug of the interpreter or the sink.
    #[error("the worker of {thread:?} died; this is a bug")]
    WorkerDied {
        /// Its thread.
        thread: Thread,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The generator was exhausted.
    Exhausted,
    /// It was stopped.
    Stopped,
}

/// Workers with their clients, and the scheduler's book-keeping. Several generators can be run one after the other; process
/// numbers and clients go on.
pub struct Interpreter {
    clock: Arc<dyn Clock>,
    threads: Threads,
    counters: Arc<Counters>,
    clients: Vec<Hand>,
    nemesis: Hand,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Reports that were received together and not looked at yet, the next one last.
    batch: Vec<Report>,
}

/// The scheduler's end of a worker.
struct Hand {
    jobs: mpsc::UnboundedSender<Job>,
    task: JoinHandle<()>,
}

/// How many reports are received at once.
const BATCH: usize = 64;

impl Interpreter {
    /// Starts the workers, on the current tokio runtime. No client is opened yet.
    #[must_use]
    pub fn new(config: &InterpreterConfig, equipment: Equipment) -> Interpreter {
        let counters = Arc::new(Counters::default());
        let (report, reports) = mpsc::unbounded_channel();
        let config = Arc::new(config.clone());
        let clients = (0..config.client_threads).map(|number| {
            let (jobs, inbox) = mpsc::unbounded_channel();
            let worker = Worker::new(number, &config, &equipment, &counters);
            let task = tokio::spawn(worker.work(inbox, report.clone()));
            Hand { jobs, task }
        });
        let clients = clients.collect();
        let (jobs, inbox) = mpsc::unbounded_channel();
        let nemesis = NemesisWorker::new(&config, &equipment, &counters);
        let task = tokio::spawn(nemesis.work(inbox, report));
        Interpreter {
            clock: equipment.clock,
            threads: Threads::new(config.client_threads, config.seed.fork("threads")),
            counters,
            clients,
            nemesis: Hand { jobs, task },
            reports,
            batch: Vec::with_capacity(BATCH),
        }
    }

    /// What has happened so far, live.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Carries out what `generator` proposes until it is exhausted or `stop` is given, and then waits for the operations in
    /// flight, which their time-outs bound. Faster in a spawned task than inside `block_on`, which is a thread more.
    ///
    /// # Errors
    /// If an event cannot be recorded, the nemesis fails, or the generator waits for nothing. Operations may be in flight then.
    pub async fn run(
        &mut self,
        generator: &mut dyn Generator,
        stop: &Stop,
    ) -> Result<RunEnd, InterpreterError> {
        let end = self.schedule(generator, stop).await?;
        while !self.threads.is_idle() {
            self.receive().await?;
            self.settle(generator)?;
        }
        Ok(end)
    }

    /// Closes the clients, in an orderly way where they are well.
    pub async fn close(self) {
        let Interpreter { clients, nemesis, .. } = self;
        let hands = clients.into_iter().chain([nemesis]);
        let tasks: Vec<JoinHandle<()>> = hands.map(|hand| hand.task).collect();
        for task in tasks {
            // A worker that died has said so in its last report.
            let _ = task.await;
        }
    }

    async fn schedule(
        &mut self,
        generator: &mut dyn Generator,
        stop: &Stop,
    ) -> Result<RunEnd, InterpreterError> {
        loop {
            self.settle(generator)?;
            if stop.is_given() {
                return Ok(RunEnd::Stopped);
            }
            let context = self.threads.context(self.clock.now_ns());
            match generator.peek(&context) {
                Peek::At(at_ns) if at_ns <= context.time_ns => match generator.take(&context) {
                    Taken::Invoke(invocation) => self.begin(invocation),
                    Taken::Log(message) => tracing::info!(target: "labrys::generator", "{message}"),
                },
                Peek::At(at_ns) => self.wait_until(at_ns, stop).await?,
                Peek::Pending if self.threads.is_idle() => return Err(InterpreterError::Stuck),
                Peek::Pending => self.wait_for_completion(stop).await?,
                Peek::Exhausted => return Ok(RunEnd::Exhausted),
            }
        }
    }

    fn begin(&mut self, invocation: Invocation) {
        let Invocation { thread, process, op } = invocation;
        self.threads.occupy(thread);
        let hand = match thread {
            Thread::Client(number) => &self.clients[number],
            Thread::Nemesis => &self.nemesis,
        };
        // Fails if the worker has died, whose last report tells so.
        let _ = hand.jobs.send(Job { process, op });
    }

    /// Takes the reports that are there already into account.
    fn settle(&mut self, generator: &mut dyn Generator) -> Result<(), InterpreterError> {
        loop {
            while let Some(report) = self.batch.pop() {
                self.completed(generator, report)?;
            }
            match self.reports.try_recv() {
                Ok(report) => self.batch.push(report),
                Err(_) => return Ok(()),
            }
        }
    }

    fn completed(&mut self, generator: &mut dyn Generator, report: Report) -> Result<(), InterpreterError> {
        let (thread, event) = match report {
            Report::Completed { thread, event } => (thread, event),
            Report::Unrecorded(error) => return Err(error.into()),
            Report::NemesisFailed { what } => return Err(InterpreterError::Nemesis { what }),
            Report::Died(thread) => return Err(InterpreterError::WorkerDied { thread }),
        };
        self.threads.release(thread, event.kind == EventKind::Info);
        generator.update(&self.threads.context(event.time_ns), &event);
        Ok(())
    }

    /// Waits for at least one report.
    async fn receive(&mut self) -> Result<(), InterpreterError> {
        if self.batch.is_empty() {
            self.reports.recv_many(&mut self.batch, BATCH).await;
            self.batch.reverse();
        }
        Ok(())
    }

    async fn wait_for_completion(&mut self, stop: &Stop) -> Result<(), InterpreterError> {
        tokio::select! {
            biased;
            received = self.receive() => received,
            () = stop.given() => Ok(()),
        }
    }

    async fn wait_until(&mut self, at_ns: u64, stop: &Stop) -> Result<(), InterpreterError> {
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.clock.now_ns()));
        tokio::select! {
            biased;
            received = self.receive() => received,
            () = stop.given() => Ok(()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}
