//! Generators that end another one: after a number of operations, a time, a number of processes, or a success.
//!
//! O(1) per operation; [`ProcessLimit`] and [`UntilOk`] O(log n) in the processes that they remember.

use std::collections::BTreeSet;
use std::time::Duration;

use labrys_history::{Event, EventKind, Process};

use super::{Context, Generator, Peek, Taken, Thread};

/// See [`GeneratorExt::limit`](super::GeneratorExt::limit). Messages of [`log`](super::log) do not count.
pub struct Limit<G> {
    inner: G,
    remaining: u64,
}

impl<G> Limit<G> {
    pub(super) fn new(inner: G, operations: u64) -> Self {
        Limit { inner, remaining: operations }
    }
}

impl<G: Generator> Generator for Limit<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        if self.remaining == 0 { Peek::Exhausted } else { self.inner.peek(context) }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let taken = self.inner.take(context);
        if matches!(taken, Taken::Invoke(_)) {
            self.remaining -= 1;
        }
        taken
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}

/// See [`GeneratorExt::time_limit`](super::GeneratorExt::time_limit). The end is exclusive. Exhausted as soon as it is
/// known that the next operation would be too late, which can be before the time is over.
pub struct TimeLimit<G> {
    inner: G,
    duration_ns: u64,
    end_ns: Option<u64>,
    over: bool,
}

impl<G> TimeLimit<G> {
    pub(super) fn new(inner: G, duration: Duration) -> Self {
        TimeLimit { inner, duration_ns: nanoseconds(duration), end_ns: None, over: false }
    }
}

impl<G: Generator> Generator for TimeLimit<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        let end_ns = *self.end_ns.get_or_insert(context.time_ns.saturating_add(self.duration_ns));
        self.over = self.over || context.time_ns >= end_ns;
        if self.over {
            return Peek::Exhausted;
        }
        match self.inner.peek(context) {
            Peek::At(at_ns) if at_ns >= end_ns => {
                self.over = true;
                Peek::Exhausted
            }
            answer => answer,
        }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.inner.take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}

/// A duration as the generators count it; 584 years at most.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// See [`GeneratorExt::process_limit`](super::GeneratorExt::process_limit).
///
/// Exhausted as soon as the *possible* processes (those that the free and busy threads of the scope are now, with those
/// that took part) are too many: so the bound holds whichever thread would have been next. Counting starts when this
/// generator is first asked.
pub struct ProcessLimit<G> {
    inner: G,
    maximum: usize,
    seen: BTreeSet<Process>,
    /// As many processes had been retired when `seen` was completed.
    retired: Option<u64>,
}

impl<G> ProcessLimit<G> {
    pub(super) fn new(inner: G, processes: usize) -> Self {
        ProcessLimit { inner, maximum: processes, seen: BTreeSet::new(), retired: None }
    }
}

impl<G: Generator> Generator for ProcessLimit<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        let retired = Some(context.threads().retired());
        if self.retired != retired {
            self.seen.extend(context.scope().clients().map(|number| context.process(Thread::Client(number))));
            self.retired = retired;
        }
        if self.seen.len() > self.maximum { Peek::Exhausted } else { self.inner.peek(context) }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.inner.take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}

/// See [`GeneratorExt::until_ok`](super::GeneratorExt::until_ok). With several free threads, several operations can be in
/// flight at once. Operations of the nemesis never end `ok`.
pub struct UntilOk<G> {
    inner: G,
    in_flight: BTreeSet<Process>,
    done: bool,
}

impl<G> UntilOk<G> {
    pub(super) fn new(inner: G) -> Self {
        UntilOk { inner, in_flight: BTreeSet::new(), done: false }
    }
}

impl<G: Generator> Generator for UntilOk<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        if self.done { Peek::Exhausted } else { self.inner.peek(context) }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let taken = self.inner.take(context);
        if let Taken::Invoke(invocation) = &taken {
            self.in_flight.insert(invocation.process.clone());
        }
        taken
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        if self.in_flight.remove(&event.process) && event.kind == EventKind::Ok {
            self.done = true;
        }
        self.inner.update(context, event);
    }
}
