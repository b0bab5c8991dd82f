//! [`Stop`]: "begin nothing new", given once, seen by all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The wish that a run ends early and in an orderly way. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    given: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Not given yet.
    #[must_use]
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Gives it. Again does no harm.
    pub fn give(&self) {
        self.0.given.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Whether it has been given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.0.given.load(Ordering::SeqCst)
    }

    /// Returns when it is given.
    pub async fn given(&self) {
        loop {
            // Created before the flag is read, so that a `give` in between wakes it.
            let notified = self.0.notify.notified();
            if self.is_given() {
                return;
            }
            notified.await;
        }
    }
}
