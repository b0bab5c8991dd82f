//! [`Counters`]: what a progress display shows, counted while it happens.

use std::sync::atomic::{AtomicU64, Ordering};

/// Live counts. Each is exact; between them a look can be torn by operations that complete meanwhile.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) invoked: AtomicU64,
    pub(super) ok: AtomicU64,
    pub(super) fail: AtomicU64,
    pub(super) info: AtomicU64,
    pub(super) open_failures: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) nemesis: AtomicU64,
}

/// A look at [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Client operations begun.
    pub invoked: u64,
    /// Client operations that ended `ok`.
    pub ok: u64,
    /// Client operations that ended `fail`.
    pub fail: u64,
    /// Client operations that ended `info`.
    pub info: u64,
    /// Of `fail`: because no client could be opened.
    pub open_failures: u64,
    /// Of `info`: because the interpreter gave up waiting. A well-made client gives up by itself.
    pub timeouts: u64,
    /// Panics of clients: a bug of the client. Of `info` if it was in an operation, of `fail` if in opening.
    pub panics: u64,
    /// Operations of the nemesis that ended.
    pub nemesis: u64,
}

impl Counts {
    /// Client operations that ended.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.ok + self.fail + self.info
    }
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn now(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            invoked: get(&self.invoked),
            ok: get(&self.ok),
            fail: get(&self.fail),
            info: get(&self.info),
            open_failures: get(&self.open_failures),
            timeouts: get(&self.timeouts),
            panics: get(&self.panics),
            nemesis: get(&self.nemesis),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
