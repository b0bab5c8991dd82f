//! Generators: what to do next, as pure state machines.
//!
//! A generator decides which operation is done next, by which thread and when. It has no clock, no threads and no
//! clients: the interpreter (the real one of the harness, the simulator's, or [`crate::testing`]) has them, and tells the
//! generator through a [`Context`] what time it is and which threads are free, and through [`Generator::update`] how
//! operations ended. Same seed and same completions (contents and times), same operations.
//!
//! The idea, and most names, are those of Jepsen's generators, which are immutable values: asking for an operation gives
//! the operation *and* the generator's next state, and whoever does not like the operation drops both. That is elegant and
//! expensive, and in Rust it would mean that every generator can be cloned.
//!
//! # Asking and taking
//!
//! Combinators such as [`any`], [`reserve`] and [`concurrent_keys`] ask several children and use one of them. What happens
//! to the proposals of the others? If a child had to produce an operation in order to answer, an unused one would either be
//! lost (its random draw consumed, its turn in a sequence gone) or kept until its time and thread are stale. So a child is
//! asked for *when*, and never for *what*:
//!
//! - [`Generator::peek`] says at which time the next operation could be invoked, were the context to stay as it is. It
//!   commits to nothing: asking again, with the same or a later context, is always allowed, any number of times, and does
//!   not change what will be taken. There is no proposal, so none can be lost or become stale.
//! - [`Generator::take`] produces the operation, draws what is random about its content, assigns it to a thread that is free
//!   *now*, and advances. It may be called only if a peek with the same context was the last call to the generator and said
//!   that it is ready at that context's time.
//!
//! What must be decided in order to answer `peek` (which child of a [`mix`] is next, how long the gap of a
//! [`stagger`](GeneratorExt::stagger) is) is drawn once per operation taken and kept until the next take; hence how
//! often an interpreter asks does not influence anything. The price: a generator cannot refuse an operation for its
//! content after it has seen it (no `filter`).
//!
//! # Rules
//!
//! - `Exhausted` is final.
//! - `Pending` means "not before another completion"; something that only waits for a time says so with `At`. An
//!   interpreter with nothing in flight may treat `Pending` as an error: nothing could ever change it.
//! - `peek` is cheap: it is called at least once per operation.
//! - Completions reach every generator that could have taken the operation, invocations none: who took it knows.
//!
//! # Table
//!
//! | file | generators |
//! | --- | --- |
//! | [`operations`] | [`once`], [`repeat`], [`from_fn`], [`from_iter`], [`log`], [`nothing`] |
//! | [`choice`] | [`mix`], [`mix_weighted`], [`any`] |
//! | [`order`] | [`sequence`], [`phases`], [`synchronize`](GeneratorExt::synchronize), [`cycle`] |
//! | [`bounds`] | [`limit`](GeneratorExt::limit), [`time_limit`](GeneratorExt::time_limit), [`process_limit`](GeneratorExt::process_limit), [`until_ok`](GeneratorExt::until_ok) |
//! | [`pace`] | [`stagger`](GeneratorExt::stagger), [`delay`](GeneratorExt::delay) |
//! | [`threads`] | [`on_threads`](GeneratorExt::on_threads), [`clients`], [`nemesis`], [`reserve`], [`each_thread`] |
//! | [`independent`] | [`concurrent_keys`], [`sequential_keys`] |
//! | [`map`] | [`map`](GeneratorExt::map) |

pub mod bounds;
pub mod choice;
mod context;
pub mod independent;
pub mod map;
pub mod operations;
pub mod order;
pub mod pace;
pub mod threads;

use std::sync::Arc;
use std::time::Duration;

use labrys_history::{Event, Process};
use labrys_seed::Seed;

pub use choice::{any, mix, mix_weighted};
pub use context::{Context, Thread, ThreadSet, Threads};
pub use independent::{concurrent_keys, sequential_keys};
pub use operations::{from_fn, from_iter, log, nothing, once, repeat};
pub use order::{cycle, phases, sequence};
pub use pace::Gaps;
pub use threads::{clients, each_thread, nemesis, reserve};

use crate::Op;

/// The answer of [`Generator::peek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// The next operation can be invoked at this time, in nanoseconds since the start; never before the context's time.
    At(u64),
    /// Not before another operation has completed.
    Pending,
    /// Never again.
    Exhausted,
}

/// What a generator gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Invoke this.
    Invoke(Invocation),
    /// Tell the user this. No operation, occupies no thread, is not part of the history.
    Log(Arc<str>),
}

/// An operation that a thread is to carry out now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The thread, which was free.
    pub thread: Thread,
    /// The process that the thread is at the moment.
    pub process: Process,
    /// What to do.
    pub op: Op,
}

/// What to do next. See the [module](self) for the rules.
pub trait Generator: Send {
    /// When the next operation could be invoked, if nothing but the time changed. Commits to nothing.
    fn peek(&mut self, context: &Context<'_>) -> Peek;

    /// The operation. Only right after `peek` said [`Peek::At`] a time that is not after the time of the same context;
    /// otherwise it may panic.
    fn take(&mut self, context: &Context<'_>) -> Taken;

    /// An operation completed. `context` already has its thread free and, after an `info`, its new process.
    fn update(&mut self, context: &Context<'_>, event: &Event) {
        let _ = (context, event);
    }
}

/// Any generator.
pub type BoxGenerator = Box<dyn Generator>;

impl<G: Generator + ?Sized> Generator for Box<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        (**self).peek(context)
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        (**self).take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        (**self).update(context, event);
    }
}

impl<G: Generator + ?Sized> Generator for &mut G {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        (**self).peek(context)
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        (**self).take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        (**self).update(context, event);
    }
}

/// The combinators of one generator, as methods.
pub trait GeneratorExt: Generator + Sized + 'static {
    /// Boxed, for the combinators of several generators.
    fn boxed(self) -> BoxGenerator {
        Box::new(self)
    }

    /// At most `operations` operations.
    fn limit(self, operations: u64) -> bounds::Limit<Self> {
        bounds::Limit::new(self, operations)
    }

    /// Operations only within `duration` of the first time that this generator is asked.
    fn time_limit(self, duration: Duration) -> bounds::TimeLimit<Self> {
        bounds::TimeLimit::new(self, duration)
    }

    /// Operations of at most `processes` different processes: bounds how many can end `info`, each of which makes the
    /// search for a linearization harder.
    fn process_limit(self, processes: usize) -> bounds::ProcessLimit<Self> {
        bounds::ProcessLimit::new(self, processes)
    }

    /// Until one of its operations ended `ok`.
    fn until_ok(self) -> bounds::UntilOk<Self> {
        bounds::UntilOk::new(self)
    }

    /// At random times, one operation per `mean` on average, over all threads together.
    fn stagger(self, mean: Duration, gaps: Gaps, seed: Seed) -> pace::Stagger<Self> {
        pace::Stagger::new(self, mean, gaps, seed)
    }

    /// Never two operations less than `gap` apart, over all threads together. The first one is at once.
    fn delay(self, gap: Duration) -> pace::Delay<Self> {
        pace::Delay::new(self, gap)
    }

    /// Begins when all threads of its scope are free at the same time.
    fn synchronize(self) -> order::Synchronize<Self> {
        order::Synchronize::new(self)
    }

    /// On the threads that `belongs` says only.
    fn on_threads(self, belongs: impl Fn(Thread) -> bool + Send + 'static) -> threads::OnThreads<Self> {
        threads::OnThreads::new(self, Box::new(belongs))
    }

    /// Every operation changed by `change`.
    fn map<F: FnMut(Op) -> Op + Send>(self, change: F) -> map::Map<Self, F> {
        map::Map::new(self, change)
    }
}

impl<G: Generator + 'static> GeneratorExt for G {}
