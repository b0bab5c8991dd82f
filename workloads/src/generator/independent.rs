//! Independent keys: many short histories instead of a long one.
//!
//! Deciding whether a history is linearizable is exponential in its concurrency and grows with its length, but
//! linearizability is local (Herlihy and Wing, "Linearizability", TOPLAS 1990, theorem 1): keys can be checked one by
//! one. So the threads are split into groups, each group works on a key of its own for a while, and then goes on to the
//! next.
//!
//! O(groups) per peek; groups without a free thread are skipped.

use labrys_history::{Event, Value};

use super::choice::Soonest;
use super::{BoxGenerator, Context, Generator, Peek, Taken, Thread, ThreadSet};

/// Groups of `threads_per_key` client threads (at least one), each working on one key at a time with the generator that
/// `make` makes for it. When that is exhausted, the group takes the next of `keys`; all is exhausted when there is none and
/// all groups are done. The operations of `make(key)` have no key; they are given it.
///
/// The threads are those of the scope in order; what remains of a division belongs to the last group, and fewer threads than
/// one group needs are one group.
pub fn concurrent_keys<K, F>(threads_per_key: usize, keys: K, make: F) -> Independent<K::IntoIter, F>
where
    K: IntoIterator<Item = Value>,
    K::IntoIter: Send,
    F: FnMut(&Value) -> BoxGenerator + Send,
{
    Independent {
        threads_per_key: threads_per_key.max(1),
        keys: keys.into_iter(),
        make,
        groups: None,
        chosen: None,
    }
}

/// One key after the other, each with all client threads of the scope.
pub fn sequential_keys<K, F>(keys: K, make: F) -> Independent<K::IntoIter, F>
where
    K: IntoIterator<Item = Value>,
    K::IntoIter: Send,
    F: FnMut(&Value) -> BoxGenerator + Send,
{
    concurrent_keys(usize::MAX, keys, make)
}

/// See [`concurrent_keys`] and [`sequential_keys`].
pub struct Independent<K, F> {
    threads_per_key: usize,
    keys: K,
    make: F,
    groups: Option<Vec<Group>>,
    chosen: Option<usize>,
}

struct Group {
    threads: ThreadSet,
    current: Option<(Value, BoxGenerator)>,
}

impl Group {
    /// The answer of the current key's generator, or of the first following one that is not exhausted.
    fn peek<K, F>(&mut self, context: &Context<'_>, keys: &mut K, make: &mut F) -> Peek
    where
        K: Iterator<Item = Value>,
        F: FnMut(&Value) -> BoxGenerator,
    {
        if !context.any_free_in(&self.threads) {
            return Peek::Pending;
        }
        let inner = context.restricted(&self.threads);
        loop {
            if let Some((_, generator)) = &mut self.current {
                match generator.peek(&inner) {
                    Peek::Exhausted => {}
                    answer => return answer,
                }
            }
            let Some(key) = keys.next() else { return Peek::Exhausted };
            let generator = make(&key);
            self.current = Some((key, generator));
        }
    }
}

/// The client threads of the scope in groups of `size`.
fn groups(context: &Context<'_>, size: usize) -> Vec<Group> {
    let threads: Vec<usize> = context.scope().clients().collect();
    let count = (threads.len() / size).max(1);
    let members = |group: usize| {
        let mine =
            threads.iter().enumerate().filter(|(position, _)| (position / size).min(count - 1) == group);
        mine.map(|(_, number)| Thread::Client(*number)).collect::<ThreadSet>()
    };
    let groups = (0..count).map(|group| Group { threads: members(group), current: None });
    groups.filter(|group| !group.threads.is_empty()).collect()
}

impl<K, F> Generator for Independent<K, F>
where
    K: Iterator<Item = Value> + Send,
    F: FnMut(&Value) -> BoxGenerator + Send,
{
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        let Independent { threads_per_key, keys, make, groups: all, chosen } = self;
        let all = all.get_or_insert_with(|| groups(context, *threads_per_key));
        let mut soonest = Soonest::new(context);
        all.retain_mut(|group| {
            let weight = group.threads.len() as u64;
            soonest.offer(group.peek(context, keys, make), weight)
        });
        *chosen = soonest.chosen();
        soonest.answer()
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let chosen = self.chosen.take().expect("an operation is only taken after a peek that found it");
        let group = &mut self.groups.as_mut().expect("a peek has made them")[chosen];
        let (key, generator) = group.current.as_mut().expect("a peek has chosen its key");
        match generator.take(&context.restricted(&group.threads)) {
            Taken::Invoke(mut invocation) => {
                invocation.op.key = Some(key.clone());
                Taken::Invoke(invocation)
            }
            message => message,
        }
    }

    /// A completion that comes when its group is already on the next key is nobody's.
    fn update(&mut self, context: &Context<'_>, event: &Event) {
        let Some(thread) = context.thread_of(event) else { return };
        let Some(groups) = &mut self.groups else { return };
        let Some(group) = groups.iter_mut().find(|group| group.threads.contains(thread)) else { return };
        match &mut group.current {
            Some((key, generator)) if event.key.as_ref() == Some(key) => {
                generator.update(&context.restricted(&group.threads), event);
            }
            _ => {}
        }
    }
}
