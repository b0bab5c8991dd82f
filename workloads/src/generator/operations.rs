//! The leaves: generators that make operations themselves. Each is ready whenever a thread of its scope is free.
//!
//! O(1) per operation, plus the work of the closure or iterator.

use std::iter::Peekable;
use std::sync::Arc;

use labrys_seed::{Rng, Seed};

use super::{Context, Generator, Invocation, Peek, Taken};
use crate::Op;

/// When a leaf is ready that needs nothing but a free thread.
fn when_free(context: &Context<'_>) -> Peek {
    if context.any_free() { Peek::At(context.time_ns) } else { Peek::Pending }
}

/// `op` on a free thread.
fn assign(context: &Context<'_>, op: Op) -> Taken {
    let thread = context.choose_free().expect("an operation is only taken while a thread is free");
    Taken::Invoke(Invocation { thread, process: context.process(thread), op })
}

/// No operation at all.
#[must_use]
pub fn nothing() -> Nothing {
    Nothing
}

/// See [`nothing`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Generator for Nothing {
    fn peek(&mut self, _: &Context<'_>) -> Peek {
        Peek::Exhausted
    }

    fn take(&mut self, _: &Context<'_>) -> Taken {
        unreachable!("`nothing` is always exhausted")
    }
}

/// `op`, once.
#[must_use]
pub fn once(op: Op) -> Iterated<std::iter::Once<Op>> {
    from_iter(std::iter::once(op))
}

/// `op`, for ever.
#[must_use]
pub fn repeat(op: Op) -> Repeat {
    Repeat { op }
}

/// See [`repeat`].
#[derive(Clone, Debug)]
pub struct Repeat {
    op: Op,
}

impl Generator for Repeat {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        when_free(context)
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        assign(context, self.op.clone())
    }
}

/// Whatever `make` makes, for ever. It is called once per operation taken, with the stream of `seed`.
pub fn from_fn<F>(seed: Seed, make: F) -> FromFn<F>
where
    F: FnMut(&mut Rng, &Context<'_>) -> Op + Send,
{
    FromFn { rng: seed.rng(), make }
}

/// See [`from_fn`].
pub struct FromFn<F> {
    rng: Rng,
    make: F,
}

impl<F: FnMut(&mut Rng, &Context<'_>) -> Op + Send> Generator for FromFn<F> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        when_free(context)
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let op = (self.make)(&mut self.rng, context);
        assign(context, op)
    }
}

/// The operations of an iterator, in order. It is one step ahead of what was taken.
pub fn from_iter<I>(operations: I) -> Iterated<I::IntoIter>
where
    I: IntoIterator<Item = Op>,
    I::IntoIter: Send,
{
    Iterated { operations: operations.into_iter().peekable() }
}

/// See [`from_iter`].
pub struct Iterated<I: Iterator<Item = Op>> {
    operations: Peekable<I>,
}

impl<I: Iterator<Item = Op> + Send> Generator for Iterated<I> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        if self.operations.peek().is_none() { Peek::Exhausted } else { when_free(context) }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let op = self.operations.next().expect("an operation is only taken after a peek that found it");
        assign(context, op)
    }
}

/// Tells the user `message`, once. Needs no free thread.
#[must_use]
pub fn log(message: impl Into<Arc<str>>) -> Log {
    Log { message: Some(message.into()) }
}

/// See [`log`].
#[derive(Clone, Debug)]
pub struct Log {
    message: Option<Arc<str>>,
}

impl Generator for Log {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        if self.message.is_some() { Peek::At(context.time_ns) } else { Peek::Exhausted }
    }

    fn take(&mut self, _: &Context<'_>) -> Taken {
        Taken::Log(self.message.take().expect("a message is only taken after a peek that found it"))
    }
}
