//! One generator after the other.
//!
//! O(1) per operation, amortised over the generators that are skipped because they are exhausted.

use std::collections::VecDeque;

use labrys_history::Event;

use super::{BoxGenerator, Context, Generator, GeneratorExt, Peek, Taken};

/// Each generator as soon as the one before it is exhausted, even while its last operations are still in flight.
#[must_use]
pub fn sequence(children: Vec<BoxGenerator>) -> Sequence {
    Sequence { children: children.into() }
}

/// Each generator when the one before it is exhausted *and* all threads of the scope are free.
#[must_use]
pub fn phases(children: Vec<BoxGenerator>) -> Sequence {
    sequence(children.into_iter().map(|child| child.synchronize().boxed()).collect())
}

/// See [`sequence`] and [`phases`].
pub struct Sequence {
    children: VecDeque<BoxGenerator>,
}

impl Generator for Sequence {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        while let Some(child) = self.children.front_mut() {
            match child.peek(context) {
                Peek::Exhausted => drop(self.children.pop_front()),
                answer => return answer,
            }
        }
        Peek::Exhausted
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.children
            .front_mut()
            .expect("an operation is only taken after a peek that found it")
            .take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        if let Some(child) = self.children.front_mut() {
            child.update(context, event);
        }
    }
}

/// See [`GeneratorExt::synchronize`].
pub struct Synchronize<G> {
    inner: G,
    begun: bool,
}

impl<G> Synchronize<G> {
    pub(super) fn new(inner: G) -> Self {
        Synchronize { inner, begun: false }
    }
}

impl<G: Generator> Generator for Synchronize<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        self.begun = self.begun || context.all_free();
        if self.begun { self.inner.peek(context) } else { Peek::Pending }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.inner.take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}

/// `make(0)`, then `make(1)`, and so on, each as soon as the one before it is exhausted. Ends, instead of turning for ever,
/// at the first that is exhausted before it gave anything.
pub fn cycle<F, G>(make: F) -> Cycle<F, G>
where
    F: FnMut(u64) -> G + Send,
    G: Generator,
{
    Cycle { make, round: 0, current: None, ended: false }
}

/// See [`cycle`].
pub struct Cycle<F, G> {
    make: F,
    round: u64,
    current: Option<G>,
    ended: bool,
}

impl<F, G> Generator for Cycle<F, G>
where
    F: FnMut(u64) -> G + Send,
    G: Generator,
{
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        if self.ended {
            return Peek::Exhausted;
        }
        if let Some(current) = &mut self.current {
            match current.peek(context) {
                Peek::Exhausted => self.current = None,
                answer => return answer,
            }
        }
        let mut fresh = (self.make)(self.round);
        let answer = fresh.peek(context);
        self.round += 1;
        self.ended = answer == Peek::Exhausted;
        self.current = Some(fresh);
        answer
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.current.as_mut().expect("an operation is only taken after a peek that found it").take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        if let Some(current) = &mut self.current {
            current.update(context, event);
        }
    }
}
