//! The thread that writes the log: takes all batches that wait, makes them durable with one `fdatasync`, says so, again.
//!
//! The slower the disk, the larger the groups. The node loop never waits for it, and it never waits for the node loop: what
//! is durable is one atomic number. The queue needs no limit of its own: what can be in it is bounded by what the Raft core
//! lets wait (`max_pending` proposals on a leader, `max_inflight_batches` on a follower).

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use labrys_raft::{LogIndex, PersistBatch, Sequence};
use tokio::sync::oneshot;

use super::metrics::Metrics;
use crate::wal::{Wal, WalError};

#[derive(Default)]
struct Queue {
    batches: Vec<PersistBatch>,
    /// The log up to here is not needed any more.
    compact_up_to: LogIndex,
    /// Who waits for the log to be as small as it can be.
    shrinking: Vec<oneshot::Sender<()>>,
    stop: bool,
}

/// What is to be done next.
struct Work {
    batches: Vec<PersistBatch>,
    compact_up_to: LogIndex,
    shrinking: Vec<oneshot::Sender<()>>,
}

/// What the node loop and the disk thread share.
#[derive(Default)]
pub struct DiskQueue {
    queue: Mutex<Queue>,
    filled: Condvar,
    persisted: AtomicU64,
    log_bytes: AtomicU64,
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

    /// Begins a new segment and drops all that are not needed. Gives a receiver that is told when it is done.
    #[must_use]
    pub fn shrink(&self) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        self.lock().shrinking.push(done);
        self.filled.notify_one();
        told
    }

    /// The size of the log's files.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
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

    /// Waits until there is something to do; `None` when there is nothing and the end has been asked for. With `more` left of
    /// what was asked for before, it does not wait.
    fn take(&self, compacted: LogIndex, more: bool) -> Option<Work> {
        let mut queue = self.lock();
        while !more
            && queue.batches.is_empty()
            && queue.shrinking.is_empty()
            && queue.compact_up_to <= compacted
        {
            if queue.stop {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let (batches, shrinking) = (mem::take(&mut queue.batches), mem::take(&mut queue.shrinking));
        Some(Work { batches, compact_up_to: queue.compact_up_to, shrinking })
    }
}

/// The body of the thread. `wake` is called after each group. Ends with the first error: after it, nothing is known about
/// the disk any more.
pub fn run(mut wal: Wal, queue: &DiskQueue, wake: impl Fn()) -> Result<(), WalError> {
    let note_size = |wal: &Wal| queue.log_bytes.store(wal.bytes(), Ordering::Relaxed);
    note_size(&wal);
    let mut compacted = LogIndex(0);
    let mut more = false;
    while let Some(Work { batches, compact_up_to, shrinking }) = queue.take(compacted, more) {
        if let Some(last) = batches.last() {
            let mut write = || wal.write(&batches);
            match queue.metrics.get() {
                Some(metrics) => metrics.log_write(&batches, write)?,
                None => write()?,
            }
            queue.persisted.store(last.sequence.0, Ordering::Release);
            wake();
        }
        // One segment at a time: a group that has come meanwhile waits for the removal of one large file, not of all.
        more = wal.compact_one(compact_up_to)?;
        compacted = compact_up_to;
        if !shrinking.is_empty() {
            wal.rotate()?;
            wal.compact(compact_up_to)?;
        }
        note_size(&wal);
        // Who does not wait any more need not be told.
        for waiting in shrinking {
            let _ = waiting.send(());
        }
    }
    Ok(())
}
