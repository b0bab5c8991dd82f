//! [`EventSink`]: where the interpreter's events go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use labrys_history::{Clock, Draft, Event, RecordError, Recorder};

/// Takes events in, in an order of its own making.
pub trait EventSink: Send + Sync {
    /// Gives the event its index and its time, under one lock, so that the order of both is the same; and keeps it.
    ///
    /// # Errors
    /// If it cannot be kept. The run ends then.
    fn record(&self, draft: Draft) -> Result<Event, RecordError>;
}

impl EventSink for Recorder {
    fn record(&self, draft: Draft) -> Result<Event, RecordError> {
        Recorder::record(self, draft)
    }
}

/// A sink that keeps the events in memory, without looking at them: for tests.
pub struct MemorySink {
    clock: Arc<dyn Clock>,
    events: Mutex<Vec<Event>>,
}

impl MemorySink {
    /// Empty.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> MemorySink {
        MemorySink { clock, events: Mutex::default() }
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for MemorySink {
    fn record(&self, draft: Draft) -> Result<Event, RecordError> {
        let mut events = self.lock();
        let event = draft.at(events.len() as u64, self.clock.now_ns());
        events.push(event.clone());
        Ok(event)
    }
}
