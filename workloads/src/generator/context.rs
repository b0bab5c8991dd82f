//! What a generator knows of the world: the time, the threads, and who they are.
//!
//! [`Threads`] is kept by the interpreter; a [`Context`] is a view of it, restricted to the threads that a part of the
//! generator may use. Sets of threads are bit sets: a restriction costs a few instructions per 64 threads, without
//! allocation up to 128 client threads.

use labrys_history::{Event, Process};
use labrys_seed::Seed;
use smallvec::SmallVec;

/// A thread of work: carries out one operation at a time, under the name of its current process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thread {
    /// A thread with a client, numbered from 0.
    Client(usize),
    /// The one thread that breaks things.
    Nemesis,
}

/// A set of threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadSet {
    clients: SmallVec<[u64; 2]>,
    nemesis: bool,
}

const WORD_BITS: usize = u64::BITS as usize;

impl ThreadSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> ThreadSet {
        ThreadSet::default()
    }

    /// `count` client threads from 0 on, and the nemesis.
    #[must_use]
    pub fn all(client_count: usize) -> ThreadSet {
        let mut set: ThreadSet = (0..client_count).map(Thread::Client).collect();
        set.nemesis = true;
        set
    }

    /// Adds a thread.
    pub fn insert(&mut self, thread: Thread) {
        match thread {
            Thread::Nemesis => self.nemesis = true,
            Thread::Client(number) => {
                let word = number / WORD_BITS;
                if self.clients.len() <= word {
                    self.clients.resize(word + 1, 0);
                }
                self.clients[word] |= 1 << (number % WORD_BITS);
            }
        }
    }

    /// Takes a thread out.
    pub fn remove(&mut self, thread: Thread) {
        match thread {
            Thread::Nemesis => self.nemesis = false,
            Thread::Client(number) => {
                if let Some(word) = self.clients.get_mut(number / WORD_BITS) {
                    *word &= !(1 << (number % WORD_BITS));
                }
            }
        }
    }

    /// Whether `thread` is in the set.
    #[must_use]
    pub fn contains(&self, thread: Thread) -> bool {
        match thread {
            Thread::Nemesis => self.nemesis,
            Thread::Client(number) => {
                self.clients.get(number / WORD_BITS).is_some_and(|word| word >> (number % WORD_BITS) & 1 == 1)
            }
        }
    }

    /// The threads that are in both.
    #[must_use]
    pub fn intersection(&self, other: &ThreadSet) -> ThreadSet {
        ThreadSet {
            clients: self.clients.iter().zip(&other.clients).map(|(a, b)| a & b).collect(),
            nemesis: self.nemesis && other.nemesis,
        }
    }

    /// Whether there is a thread in both.
    #[must_use]
    pub fn intersects(&self, other: &ThreadSet) -> bool {
        (self.nemesis && other.nemesis) || self.clients.iter().zip(&other.clients).any(|(a, b)| a & b != 0)
    }

    /// Whether every thread of this set is in `other`.
    #[must_use]
    pub fn is_subset_of(&self, other: &ThreadSet) -> bool {
        (!self.nemesis || other.nemesis)
            && self.clients.iter().enumerate().all(|(position, word)| {
                let others = other.clients.get(position).copied().unwrap_or(0);
                word & !others == 0
            })
    }

    /// Number of threads.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.iter().map(|word| word.count_ones() as usize).sum::<usize>() + usize::from(self.nemesis)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.nemesis && self.clients.iter().all(|word| *word == 0)
    }

    /// The threads in order, the nemesis last.
    pub fn iter(&self) -> impl Iterator<Item = Thread> + '_ {
        let clients = self.clients.iter().enumerate().flat_map(|(position, word)| {
            (0..WORD_BITS)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| Thread::Client(position * WORD_BITS + bit))
        });
        clients.chain(self.nemesis.then_some(Thread::Nemesis))
    }

    /// The client threads in order.
    pub fn clients(&self) -> impl Iterator<Item = usize> + '_ {
        self.iter().filter_map(|thread| if let Thread::Client(number) = thread { Some(number) } else { None })
    }
}

impl FromIterator<Thread> for ThreadSet {
    fn from_iter<I: IntoIterator<Item = Thread>>(threads: I) -> ThreadSet {
        let mut set = ThreadSet::new();
        for thread in threads {
            set.insert(thread);
        }
        set
    }
}

/// The `rank`-th thread (from 0) that is in both sets, if there are so many.
fn nth_of_both(a: &ThreadSet, b: &ThreadSet, mut rank: usize) -> Option<Thread> {
    for (position, (word_a, word_b)) in a.clients.iter().zip(&b.clients).enumerate() {
        let mut word = word_a & word_b;
        let count = word.count_ones() as usize;
        if rank >= count {
            rank -= count;
            continue;
        }
        for _ in 0..rank {
            word &= word - 1;
        }
        return Some(Thread::Client(position * WORD_BITS + word.trailing_zeros() as usize));
    }
    (rank == 0 && a.nemesis && b.nemesis).then_some(Thread::Nemesis)
}

/// The threads of a run: which are free, and which process each of them is. The interpreter's book-keeping.
///
/// A thread begins as the process of its own number. After an operation that ended `info` the process is retired, and the
/// thread goes on as that process plus the number of client threads (Jepsen's rule), so that a process number modulo the
/// number of threads is always the thread.
#[derive(Clone, Debug)]
pub struct Threads {
    all: ThreadSet,
    free: ThreadSet,
    processes: Vec<u64>,
    retired: u64,
    seed: Seed,
    taken: u64,
    draw: u64,
}

impl Threads {
    /// `client_count` client threads and a nemesis, all free. `seed` decides which of several free threads gets an
    /// operation, and which of several ready generators is asked for it.
    #[must_use]
    pub fn new(client_count: usize, seed: Seed) -> Threads {
        Threads {
            all: ThreadSet::all(client_count),
            free: ThreadSet::all(client_count),
            processes: (0..client_count as u64).collect(),
            retired: 0,
            seed,
            taken: 0,
            draw: seed.fork_index(0).0,
        }
    }

    /// The view of all threads at `time_ns` since the start of the run.
    #[must_use]
    pub fn context(&self, time_ns: u64) -> Context<'_> {
        Context { time_ns, threads: self, scope: self.all.clone(), draw: self.draw }
    }

    /// `thread` begins an operation.
    pub fn occupy(&mut self, thread: Thread) {
        assert!(self.free.contains(thread), "{thread:?} already has an operation");
        self.free.remove(thread);
        self.taken += 1;
        self.draw = self.seed.fork_index(self.taken).0;
    }

    /// The operation of `thread` ended. With `retire` (it ended `info`) the thread becomes a new process; not the nemesis.
    pub fn release(&mut self, thread: Thread, retire: bool) {
        assert!(!self.free.contains(thread), "{thread:?} has no operation that could end");
        self.free.insert(thread);
        if let (Thread::Client(number), true) = (thread, retire) {
            self.processes[number] += self.processes.len() as u64;
            self.retired += 1;
        }
    }

    /// The process that `thread` is now.
    #[must_use]
    pub fn process(&self, thread: Thread) -> Process {
        match thread {
            Thread::Client(number) => Process::Client(self.processes[number]),
            Thread::Nemesis => Process::nemesis(),
        }
    }

    /// The thread that `process` is or was; `None` for other named processes.
    #[must_use]
    pub fn thread_of(&self, process: &Process) -> Option<Thread> {
        match process {
            Process::Client(number) => {
                let count = self.processes.len() as u64;
                (count > 0).then(|| Thread::Client((number % count) as usize))
            }
            Process::Named(name) => (**name == *Process::NEMESIS).then_some(Thread::Nemesis),
        }
    }

    /// Number of client threads.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.processes.len()
    }

    /// How many processes have been retired.
    #[must_use]
    pub fn retired(&self) -> u64 {
        self.retired
    }

    /// Whether no operation is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.all == self.free
    }

    /// Number of operations in flight.
    #[must_use]
    pub fn busy_count(&self) -> usize {
        self.all.len() - self.free.len()
    }
}

/// What a generator may know and use now.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Nanoseconds since the start of the run.
    pub time_ns: u64,
    threads: &'a Threads,
    scope: ThreadSet,
    draw: u64,
}

impl<'a> Context<'a> {
    /// The threads that may be used here, free or not.
    #[must_use]
    pub fn scope(&self) -> &ThreadSet {
        &self.scope
    }

    /// The threads of the whole run.
    #[must_use]
    pub fn threads(&self) -> &'a Threads {
        self.threads
    }

    /// Whether a thread of the scope is free.
    #[must_use]
    pub fn any_free(&self) -> bool {
        self.scope.intersects(&self.threads.free)
    }

    /// Whether a thread that is both in the scope and in `set` is free.
    #[must_use]
    pub fn any_free_in(&self, set: &ThreadSet) -> bool {
        let free = &self.threads.free;
        let words = self.scope.clients.iter().zip(&set.clients).zip(&free.clients);
        (self.scope.nemesis && set.nemesis && free.nemesis)
            || words.into_iter().any(|((a, b), c)| a & b & c != 0)
    }

    /// Whether all threads of the scope are free.
    #[must_use]
    pub fn all_free(&self) -> bool {
        self.scope.is_subset_of(&self.threads.free)
    }

    /// The free threads of the scope.
    #[must_use]
    pub fn free(&self) -> ThreadSet {
        self.scope.intersection(&self.threads.free)
    }

    /// One of the free threads of the scope, each with the same probability: were it always the first, a slow workload
    /// would use one thread, hence one node, only.
    #[must_use]
    pub fn choose_free(&self) -> Option<Thread> {
        let count = self.free().len();
        if count == 0 {
            return None;
        }
        nth_of_both(&self.scope, &self.threads.free, (self.draw % count as u64) as usize)
    }

    /// The process that `thread` is now.
    #[must_use]
    pub fn process(&self, thread: Thread) -> Process {
        self.threads.process(thread)
    }

    /// The thread of an event.
    #[must_use]
    pub fn thread_of(&self, event: &Event) -> Option<Thread> {
        self.threads.thread_of(&event.process)
    }

    /// The view of a part of the threads: those of the scope that are in `set`.
    #[must_use]
    pub fn restricted(&self, set: &ThreadSet) -> Context<'a> {
        Context { scope: self.scope.intersection(set), draw: Seed(self.draw).fork_index(0).0, ..*self }
    }

    /// The same view for a child among others: its choices are independent of those made here.
    #[must_use]
    pub fn descended(&self) -> Context<'a> {
        Context { scope: self.scope.clone(), draw: Seed(self.draw).fork_index(0).0, ..*self }
    }

    /// The random number `index` of this moment: the same until the next operation is taken, then another one.
    #[must_use]
    pub fn draw(&self, index: u64) -> u64 {
        Seed(self.draw).fork_index(index.wrapping_add(1)).0
    }
}
