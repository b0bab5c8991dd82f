//! [`Observer`]: records what is seen of the nodes while a test runs.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;

use crate::db::{Db, DbError};
use crate::interpreter::{EventSink, Stop};
use labrys_history::RecordError;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was seen could not be recorded, or the nodes could not be looked at.
#[derive(Debug, Error)]
pub enum ObserverError {
    /// The history is not writable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The looking failed; that a node does not answer is no failure.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A running observer.
pub struct Observer {
    task: JoinHandle<Result<(), ObserverError>>,
    stop: Stop,
}

impl Observer {
    /// Starts to look at `db`.
    #[must_use]
    pub fn start(db: Arc<dyn Db>, sink: Arc<dyn EventSink>) -> Observer {
        let stop = Stop::new();
        let task = tokio::spawn(watch(db, sink, stop.clone()));
        Observer { task, stop }
    }

    /// Ends it.
    ///
    /// # Errors
    /// If something went wrong since it began.
    pub async fn finish(self) -> Result<(), ObserverError> {
        self.stop.give();
        match self.task.await {
            Ok(result) => result,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Ok(()),
        }
    }
}

async fn watch(db: Arc<dyn Db>, sink: Arc<dyn EventSink>, stop: Stop) -> Result<(), ObserverError> {
    let mut ticker = tokio::time::interval(LOOK_EVERY);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.given() => return Ok(()),
            _ = ticker.tick() => {}
        }
        for observation in db.observe().await? {
            sink.record(observation.draft())?;
        }
    }
}
