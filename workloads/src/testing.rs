//! A simulated interpreter for generators: no threads, no clients, no real time.
//!
//! For tests of generators and workloads, ours and those of users: say how long operations take and how they end, and get
//! the history that comes of it. What it is not: a simulation of a system. The one with networks, disks and faults is a
//! testbed of the harness.
//!
//! O(log threads) per operation, besides the generator.
//!
//! ```
//! use labrys_history::Value;
//! use labrys_workloads::generator::{repeat, GeneratorExt};
//! use labrys_workloads::testing::Simulation;
//! use labrys_workloads::Op;
//!
//! let reads = repeat(Op::new("read", Value::Nil)).limit(3);
//! let simulated = Simulation::new(2).run(reads);
//! assert_eq!(simulated.invocations().count(), 3);
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use labrys_history::{Event, EventKind, Process, Value};
use labrys_seed::Seed;

use crate::generator::{Generator, Invocation, Peek, Taken, Thread, Threads};
use crate::{Op, Outcome};

/// How a simulated operation goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How long after its invocation it completes.
    pub latency_ns: u64,
    /// How it ends. The nemesis's operations become `info` whatever this says.
    pub outcome: Outcome,
}

impl Reply {
    /// `ok` with the operation's own value.
    #[must_use]
    pub fn ok(op: &Op, latency_ns: u64) -> Reply {
        Reply { latency_ns, outcome: Outcome::Ok(op.value.clone()) }
    }

    /// `info` because of a time-out.
    #[must_use]
    pub fn info(latency_ns: u64) -> Reply {
        Reply { latency_ns, outcome: Outcome::Info { error: Value::keyword("timeout") } }
    }

    /// `fail` for no particular reason.
    #[must_use]
    pub fn fail(latency_ns: u64) -> Reply {
        Reply { latency_ns, outcome: Outcome::Fail { error: Value::keyword("refused") } }
    }
}

/// How a simulation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The generator was exhausted and everything had completed.
    Exhausted,
    /// The generator was pending with nothing in flight: it would wait for ever.
    Stuck,
    /// The limit of operations was reached.
    OperationLimit,
}

/// What came of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// The history.
    pub events: Vec<Event>,
    /// What the generator told the user, and when.
    pub messages: Vec<(u64, Arc<str>)>,
    /// How it ended.
    pub end: End,
}

impl Simulated {
    /// The invocations, in order; those of the nemesis are the first of each pair of events of it.
    pub fn invocations(&self) -> impl Iterator<Item = &Event> {
        let mut nemesis_open = false;
        self.events.iter().filter(move |event| match &event.process {
            Process::Client(_) => event.kind == EventKind::Invoke,
            Process::Named(_) => {
                nemesis_open = !nemesis_open;
                nemesis_open
            }
        })
    }
}

/// A simulated set of threads. By default every operation takes 1 ms and ends `ok`.
pub struct Simulation {
    client_count: usize,
    seed: Seed,
    operation_limit: u64,
    reply: Box<dyn FnMut(&Invocation) -> Reply>,
}

impl Simulation {
    /// With `client_count` client threads and a nemesis.
    #[must_use]
    pub fn new(client_count: usize) -> Simulation {
        Simulation {
            client_count,
            seed: Seed(0),
            operation_limit: 1_000_000,
            reply: Box::new(|invocation| Reply::ok(&invocation.op, 1_000_000)),
        }
    }

    /// With this seed for the choice of threads.
    #[must_use]
    pub fn seed(self, seed: Seed) -> Simulation {
        Simulation { seed, ..self }
    }

    /// Ends after so many operations (a million otherwise).
    #[must_use]
    pub fn operation_limit(self, operation_limit: u64) -> Simulation {
        Simulation { operation_limit, ..self }
    }

    /// Operations go as `reply` says.
    #[must_use]
    pub fn reply(self, reply: impl FnMut(&Invocation) -> Reply + 'static) -> Simulation {
        Simulation { reply: Box::new(reply), ..self }
    }

    /// Every operation ends `ok` after `latency_ns`.
    #[must_use]
    pub fn latency_ns(self, latency_ns: u64) -> Simulation {
        self.reply(move |invocation| Reply::ok(&invocation.op, latency_ns))
    }

    /// Runs `generator` until it is exhausted. Completions that are due come before invocations of the same moment.
    pub fn run(self, mut generator: impl Generator) -> Simulated {
        let mut run = Run::new(self);
        let end = loop {
            run.complete_due(&mut generator);
            if run.taken >= run.simulation.operation_limit {
                break End::OperationLimit;
            }
            let context = run.threads.context(run.time_ns);
            let wake_ns = match generator.peek(&context) {
                Peek::At(at_ns) if at_ns <= run.time_ns => {
                    let taken = generator.take(&context);
                    run.begin(taken);
                    continue;
                }
                Peek::At(at_ns) => Some(at_ns),
                Peek::Pending if run.in_flight.is_empty() => break End::Stuck,
                Peek::Exhausted if run.in_flight.is_empty() => break End::Exhausted,
                Peek::Pending | Peek::Exhausted => None,
            };
            run.sleep_until(wake_ns);
        };
        Simulated { events: run.events, messages: run.messages, end }
    }
}

struct Run {
    simulation: Simulation,
    time_ns: u64,
    threads: Threads,
    taken: u64,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    events: Vec<Event>,
    messages: Vec<(u64, Arc<str>)>,
}

/// In order of completion; equal times in order of invocation.
struct InFlight {
    due_ns: u64,
    number: u64,
    thread: Thread,
    completion: Event,
}

impl InFlight {
    fn rank(&self) -> (u64, u64) {
        (self.due_ns, self.number)
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for InFlight {}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Run {
    fn new(simulation: Simulation) -> Run {
        Run {
            time_ns: 0,
            threads: Threads::new(simulation.client_count, simulation.seed),
            taken: 0,
            in_flight: BinaryHeap::new(),
            events: Vec::new(),
            messages: Vec::new(),
            simulation,
        }
    }

    fn begin(&mut self, taken: Taken) {
        let invocation = match taken {
            Taken::Log(message) => return self.messages.push((self.time_ns, message)),
            Taken::Invoke(invocation) => invocation,
        };
        let reply = (self.simulation.reply)(&invocation);
        let (kind, value, error) = match reply.outcome {
            Outcome::Ok(value) => (EventKind::Ok, value, None),
            Outcome::Fail { error } => (EventKind::Fail, invocation.op.value.clone(), Some(error)),
            Outcome::Info { error } => (EventKind::Info, invocation.op.value.clone(), Some(error)),
        };
        let is_nemesis = invocation.thread == Thread::Nemesis;
        let begin_kind = if is_nemesis { EventKind::Info } else { EventKind::Invoke };
        let end_kind = if is_nemesis { EventKind::Info } else { kind };
        let event = |kind, value, error| {
            let mut event =
                Event::new(0, 0, invocation.process.clone(), kind, invocation.op.f.clone(), value);
            event.key = invocation.op.key.clone();
            event.with_error(error)
        };
        let completion = event(end_kind, value, error);
        self.record(event(begin_kind, invocation.op.value.clone(), None));
        self.threads.occupy(invocation.thread);
        self.taken += 1;
        self.in_flight.push(Reverse(InFlight {
            due_ns: self.time_ns.saturating_add(reply.latency_ns),
            number: self.taken,
            thread: invocation.thread,
            completion,
        }));
    }

    fn record(&mut self, event: Event) -> Event {
        let event = Event { index: self.events.len() as u64, time_ns: self.time_ns, ..event };
        self.events.push(event.clone());
        event
    }

    fn complete_due(&mut self, generator: &mut impl Generator) {
        while self.in_flight.peek().is_some_and(|Reverse(next)| next.due_ns <= self.time_ns) {
            let Some(Reverse(done)) = self.in_flight.pop() else { return };
            let event = self.record(done.completion);
            self.threads.release(done.thread, event.kind == EventKind::Info);
            generator.update(&self.threads.context(self.time_ns), &event);
        }
    }

    /// To the next completion or to `wake_ns`, whichever is first.
    fn sleep_until(&mut self, wake_ns: Option<u64>) {
        let due_ns = self.in_flight.peek().map(|Reverse(next)| next.due_ns);
        self.time_ns = match (due_ns, wake_ns) {
            (Some(due_ns), Some(wake_ns)) => due_ns.min(wake_ns),
            (Some(only_ns), None) | (None, Some(only_ns)) => only_ns,
            (None, None) => self.time_ns,
        };
    }
}
