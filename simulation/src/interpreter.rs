//! The interpreter of the simulated world: the same generators as on real machines, the store's own client logic, and the records
//! that the real interpreter makes.

use labrys_history::{Draft, EventKind, Process};
use labrys_store::client::logic::{Action, Event as ClientEvent, Reply, Request, RequestId};
use labrys_workloads::Outcome;
use labrys_workloads::clients::labrys_store::{outcome_of, request_of};
use labrys_workloads::generator::{Generator, Invocation, Peek, Taken, Thread};

use crate::world::{Event, World};

/// What a generator has still to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// More.
    Something,
    /// Nothing, and nothing is under way.
    Nothing,
    /// It waits for a completion, and nothing is under way: a bug of the generator.
    Stuck,
}

impl World {
    /// Tells the generator what has been completed, and takes from it whatever is due.
    pub(crate) fn pump(&mut self, generator: &mut dyn Generator) -> Left {
        loop {
            for (thread, event) in std::mem::take(&mut self.completed) {
                self.threads.release(thread, event.kind == EventKind::Info);
                generator.update(&self.threads.context(event.time_ns), &event);
            }
            self.tell_signals();
            let context = self.threads.context(self.time_ns());
            match generator.peek(&context) {
                Peek::At(at_ns) if at_ns <= context.time_ns => {
                    if let Taken::Invoke(invocation) = generator.take(&context) {
                        self.begin(invocation);
                    }
                }
                Peek::At(at_ns) => {
                    let at_ns = at_ns + self.origin_ns;
                    if self.scheduled_ns.is_none_or(|scheduled_ns| at_ns < scheduled_ns) {
                        self.scheduled_ns = Some(at_ns);
                        self.agenda.plan(at_ns, Event::Schedule);
                    }
                    return Left::Something;
                }
                Peek::Pending if self.threads.is_idle() => return Left::Stuck,
                Peek::Pending => return Left::Something,
                Peek::Exhausted if self.threads.is_idle() => return Left::Nothing,
                Peek::Exhausted => return Left::Something,
            }
        }
    }

    pub(crate) fn begin(&mut self, invocation: Invocation) {
        let Invocation { thread, process, op } = invocation;
        self.threads.occupy(thread);
        let Thread::Client(client) = thread else { return self.begin_fault(&op) };
        let draft = Draft::new(process.clone(), EventKind::Invoke, op.f.clone(), op.value.clone());
        let event = self.record(draft.with_key(op.key.clone()));
        let request = request_of(&op);
        self.clients[client].under_way = Some((op, event));
        match request {
            Err(outcome) => self.complete(client, outcome),
            Ok(request) => self.begin_request(client, &process, request),
        }
    }

    fn begin_request(&mut self, client: usize, process: &Process, request: Request) {
        let process = process.client().unwrap_or_default();
        let (now_ms, seed, read_mode) = (self.now_ms(), self.seed().fork("workload"), self.config.read_mode);
        let timeout_ms = u64::try_from(self.config.operation_timeout.as_millis()).unwrap_or(u64::MAX);
        let logic = self.clients[client].logic_of(process, &self.addresses, read_mode, seed);
        let mut actions = Vec::new();
        logic.begin(now_ms, request, now_ms.saturating_add(timeout_ms), &mut actions);
        self.act(client, actions);
    }

    /// A client's logic looks at the time.
    pub(crate) fn client_wakes(&mut self, client: usize, generation: u64) {
        let thread = &mut self.clients[client];
        if thread.generation != generation {
            return;
        }
        thread.wakes_ms = None;
        self.tell(client, ClientEvent::Tick);
    }

    /// A reply arrives.
    pub(crate) fn replied(&mut self, client: usize, generation: u64, request: RequestId, reply: Reply) {
        if self.clients[client].generation == generation {
            self.tell(client, ClientEvent::Answer { request, reply });
        }
    }

    fn tell(&mut self, client: usize, event: ClientEvent) {
        let now_ms = self.now_ms();
        let mut actions = Vec::new();
        if let Some(logic) = &mut self.clients[client].logic {
            logic.handle(now_ms, event, &mut actions);
        }
        self.act(client, actions);
    }

    fn act(&mut self, client: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(attempt) => self.ask(client, attempt),
                // What comes on it is of no interest: the logic knows its requests by their numbers.
                Action::Abandon { .. } => {}
                Action::Complete(result) => {
                    if let Some((op, _)) = &self.clients[client].under_way {
                        let outcome = outcome_of(op, result);
                        self.complete(client, outcome);
                    }
                }
            }
        }
        self.plan_client_wake(client);
    }

    pub(crate) fn plan_client_wake(&mut self, client: usize) {
        let now_ms = self.now_ms();
        let thread = &mut self.clients[client];
        let Some(wakes_ms) = thread.logic.as_ref().and_then(|logic| logic.wake_at_ms()) else { return };
        if thread.wakes_ms.is_some_and(|planned_ms| planned_ms <= wakes_ms) {
            return;
        }
        thread.wakes_ms = Some(wakes_ms);
        let generation = thread.generation;
        // Time passes between two looks, or a client that waits for a moment within this millisecond would look for ever.
        let at_ns = wakes_ms.max(now_ms) * 1_000_000;
        self.agenda.plan(at_ns.max(self.now_ns + 1_000), Event::ClientWake { client, generation });
    }

    /// An operation ends.
    fn complete(&mut self, client: usize, outcome: Outcome) {
        let Some((_, invocation)) = self.clients[client].under_way.take() else { return };
        let (kind, value, error) = match outcome {
            Outcome::Ok(value) => (EventKind::Ok, value, None),
            Outcome::Fail { error } => (EventKind::Fail, invocation.value.clone(), Some(error)),
            Outcome::Info { error } => (EventKind::Info, invocation.value.clone(), Some(error)),
        };
        if kind == EventKind::Info {
            self.clients[client].retire();
        }
        let event = self.record(Draft::completion(&invocation, kind, value).with_error(error));
        self.completed.push((Thread::Client(client), event));
    }
}
