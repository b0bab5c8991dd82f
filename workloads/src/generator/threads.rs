//! Who: generators that give parts of the threads to other generators.
//!
//! O(parts) per peek; parts without a free thread are skipped.

use labrys_history::Event;

use super::choice::Soonest;
use super::{BoxGenerator, Context, Generator, GeneratorExt, Peek, Taken, Thread, ThreadSet};

/// `inner` on the client threads only.
pub fn clients<G: Generator + 'static>(inner: G) -> OnThreads<G> {
    inner.on_threads(|thread| matches!(thread, Thread::Client(_)))
}

/// `inner` on the nemesis only.
pub fn nemesis<G: Generator + 'static>(inner: G) -> OnThreads<G> {
    inner.on_threads(|thread| thread == Thread::Nemesis)
}

/// See [`GeneratorExt::on_threads`].
pub struct OnThreads<G> {
    inner: G,
    belongs: Box<dyn Fn(Thread) -> bool + Send>,
    set: Option<ThreadSet>,
}

impl<G> OnThreads<G> {
    pub(super) fn new(inner: G, belongs: Box<dyn Fn(Thread) -> bool + Send>) -> Self {
        OnThreads { inner, belongs, set: None }
    }
}

/// The threads of the run for which `belongs` holds, computed once.
fn members<'s>(
    set: &'s mut Option<ThreadSet>,
    belongs: &(dyn Fn(Thread) -> bool + Send),
    context: &Context<'_>,
) -> &'s ThreadSet {
    set.get_or_insert_with(|| {
        let all = ThreadSet::all(context.threads().client_count());
        all.iter().filter(|thread| belongs(*thread)).collect()
    })
}

impl<G: Generator> Generator for OnThreads<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        self.inner.peek(&context.restricted(members(&mut self.set, &self.belongs, context)))
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.inner.take(&context.restricted(members(&mut self.set, &self.belongs, context)))
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        let set = members(&mut self.set, &self.belongs, context);
        if context.thread_of(event).is_some_and(|thread| set.contains(thread)) {
            self.inner.update(&context.restricted(set), event);
        }
    }
}

/// Gives the first `n` client threads of the scope to the first generator, the next to the second, and so on; the
/// remaining ones to `rest`. Use it so that a slow kind of operation cannot occupy all threads.
///
/// Where there are fewer threads than were asked for, the later parts get fewer or none (and those without a thread are
/// as good as exhausted). The nemesis belongs to nobody.
#[must_use]
pub fn reserve(parts: Vec<(usize, BoxGenerator)>, rest: BoxGenerator) -> Reserve {
    let parts = parts.into_iter().map(|(count, child)| (Some(count), child));
    let parts = parts.chain([(None, rest)]);
    Reserve {
        parts: parts.map(|(count, child)| Part { count, threads: ThreadSet::new(), child }).collect(),
        split: false,
        chosen: None,
    }
}

/// See [`reserve`].
pub struct Reserve {
    parts: Vec<Part>,
    split: bool,
    chosen: Option<usize>,
}

struct Part {
    /// How many threads it wants; all that are left if `None`.
    count: Option<usize>,
    threads: ThreadSet,
    child: BoxGenerator,
}

impl Reserve {
    fn split(&mut self, context: &Context<'_>) {
        if self.split {
            return;
        }
        let mut threads = context.scope().clients().map(Thread::Client);
        for part in &mut self.parts {
            part.threads = threads.by_ref().take(part.count.unwrap_or(usize::MAX)).collect();
        }
        self.parts.retain(|part| !part.threads.is_empty());
        self.split = true;
    }
}

impl Generator for Reserve {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        self.split(context);
        let mut soonest = Soonest::new(context);
        self.parts.retain_mut(|part| {
            let inner = context.restricted(&part.threads);
            soonest.offer(part.child.peek(&inner), part.threads.len() as u64)
        });
        self.chosen = soonest.chosen();
        soonest.answer()
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let chosen = self.chosen.take().expect("an operation is only taken after a peek that found it");
        let part = &mut self.parts[chosen];
        part.child.take(&context.restricted(&part.threads))
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        let Some(thread) = context.thread_of(event) else { return };
        for part in self.parts.iter_mut().filter(|part| part.threads.contains(thread)) {
            part.child.update(&context.restricted(&part.threads), event);
        }
    }
}

/// For every thread of the scope (the nemesis included, where it is in it) a generator of its own.
pub fn each_thread<F>(make: F) -> EachThread<F>
where
    F: FnMut(Thread) -> BoxGenerator + Send,
{
    EachThread { make, parts: None, chosen: None }
}

/// See [`each_thread`].
pub struct EachThread<F> {
    make: F,
    parts: Option<Vec<(Thread, ThreadSet, BoxGenerator)>>,
    chosen: Option<usize>,
}

impl<F: FnMut(Thread) -> BoxGenerator + Send> Generator for EachThread<F> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        let make = &mut self.make;
        let parts = self.parts.get_or_insert_with(|| {
            let threads = context.scope().iter();
            threads.map(|thread| (thread, ThreadSet::from_iter([thread]), make(thread))).collect()
        });
        let mut soonest = Soonest::new(context);
        parts.retain_mut(|(_, set, child)| soonest.offer(child.peek(&context.restricted(set)), 1));
        self.chosen = soonest.chosen();
        soonest.answer()
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let chosen = self.chosen.take().expect("an operation is only taken after a peek that found it");
        let parts = self.parts.as_mut().expect("a peek has made them");
        let (_, set, child) = &mut parts[chosen];
        child.take(&context.restricted(set))
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        let Some(parts) = &mut self.parts else { return };
        for (_, set, child) in
            parts.iter_mut().filter(|(thread, ..)| Some(*thread) == context.thread_of(event))
        {
            child.update(&context.restricted(set), event);
        }
    }
}
