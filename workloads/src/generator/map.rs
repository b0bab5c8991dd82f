//! Operations changed on their way.

use labrys_history::Event;

use super::{Context, Generator, Peek, Taken};
use crate::Op;

/// See [`GeneratorExt::map`](super::GeneratorExt::map). Completions reach the inner generator as they are, with the changed
/// operation's function and key.
pub struct Map<G, F> {
    inner: G,
    change: F,
}

impl<G, F> Map<G, F> {
    pub(super) fn new(inner: G, change: F) -> Self {
        Map { inner, change }
    }
}

impl<G: Generator, F: FnMut(Op) -> Op + Send> Generator for Map<G, F> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        self.inner.peek(context)
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        match self.inner.take(context) {
            Taken::Invoke(mut invocation) => {
                invocation.op = (self.change)(invocation.op);
                Taken::Invoke(invocation)
            }
            message => message,
        }
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}
