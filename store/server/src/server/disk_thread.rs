//! The thread that writes the log: takes all batches that wait, makes them durable with one `fdatasync`, says so, again.
//!
//! The slower the disk, the larger the groups. The node loop never waits for it, and it never waits for the node loop: what
//! is durable is one atomic number. The queue needs no limit of its own: what can be in it is bounded by what the Raft core
//! lets wait (`max_pending` proposals on a leader, `max_inflight_batches` on a follower).

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use labrys_raft::{LogIndex, PersistBatch, Sequence};

use super::metrics::Metrics;
use crate::wal::{Wal, WalError};

#[derive(Default)]
struct Queue {
    batches: Vec<PersistBatch>,
    /// The log up to here is not needed any more.
    compact_up_to: LogIndex,
    stop: bool,
}

/// What the node loop and the disk thread share.
#[derive(Default)]
pub struct DiskQueue {
    queue: Mutex<Queue>,
    filled: Condvar,
    persisted: AtomicU64,
    /// Where writes are measured, if they are.
    pub(super) metrics: OnceLock<Arc<Metrics>>,
}

impl DiskQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Arc<DiskQueue> {
        Arc::new(DiskQueue::default())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many batches wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().batches.len()
    }

    /// Hands a batch over.
    pub fn push(&self, batch: PersistBatch) {
        self.lock().batches.push(batch);
        self.filled.notify_one();
    }

    /// The log up to and including `up_to` may be dropped, when there is time.
    pub fn compact(&self, up_to: LogIndex) {
        let mut queue = self.lock();
        queue.compact_up_to = queue.compact_up_to.max(up_to);
        drop(queue);
        self.filled.notify_one();
    }

    /// Ends the thread, once everything that waits has been written.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.filled.notify_one();
    }

    /// Ends the thread without writing what waits, as a crash would.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        queue.batches.clear();
        queue.stop = true;
        drop(queue);
        self.filled.notify_one();
    }

    /// Everything up to and including this batch is durable.
    #[must_use]
    pub fn persisted(&self) -> Sequence {
        Sequence(self.persisted.load(Ordering::Acquire))
    }

    /// Waits for batches, or for another place up to which to compact; `None` when there is neither and the end has been asked
    /// for.
    fn take(&self, compacted: LogIndex) -> Option<(Vec<PersistBatch>, LogIndex)> {
        let mut queue = self.lock();
        while queue.batches.is_empty() && queue.compact_up_to <= compacted {
            if queue.stop {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some((mem::take(&mut queue.batches), queue.compact_up_to))
    }
}

/// The body of the thread. `wake` is called after each group. Ends with the first error: after it, nothing is known about
/// the disk any more.
pub fn run(mut wal: Wal, queue: &DiskQueue, wake: impl Fn()) -> Result<(), WalError> {
    let mut compacted = LogIndex(0);
    while let Some((group, compact_up_to)) = queue.take(compacted) {
        if let Some(last) = group.last() {
            let mut write = || wal.write(&group);
            match queue.metrics.get() {
                Some(metrics) => metrics.log_write(&group, write)?,
                None => write()?,
            }
            queue.persisted.store(last.sequence.0, Ordering::Release);
            wake();
        }
        if compact_up_to > compacted {
            wal.compact(compact_up_to)?;
            compacted = compact_up_to;
        }
    }
    Ok(())
}
