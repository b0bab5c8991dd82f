//! [`Recorder`]: events onto disk, as they happen, from many threads.
//!
//! One lock gives an event its index and its time and puts its line into a buffer, so the order of indices is the order
//! of times and of lines. A thread of the recorder writes the buffer out at least every [`FLUSH_INTERVAL_MS`]
//! milliseconds, or when it has grown, in one `write` per buffer; what has been written survives SIGKILL of this process at
//! any moment, except that the last line may be torn, which readers know. It does not survive a power failure: only
//! [`Recorder::finish`] syncs.
//!
//! Memory is bounded: when the disk falls behind by [`BUFFER_LIMIT_BYTES`], `record` waits for it. Errors of the disk are
//! never lost: the first one sticks, and every later call returns it.
//!
//! What this is not: asynchronous. `record` takes well under a microsecond unless the disk is behind, and may be called
//! from an async worker. O(length of the line) an event.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use crate::validate::Validator;
use crate::{Clock, Draft, Event, Problem, json};

/// The longest that a recorded event stays in memory if the disk keeps up. Half of what is promised (100 ms), so that the
/// write itself has time.
const FLUSH_INTERVAL_MS: u64 = 50;
/// The buffer is written out at once when it has this size.
const BUFFER_HIGH_WATER_BYTES: usize = 256 * 1024;
/// With this much unwritten, `record` waits.
const BUFFER_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Why an event was not recorded.
#[derive(Clone, Debug, Error)]
pub enum RecordError {
    /// The history file could not be made, written or synced. Sticks.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `create`, `write`, `sync`.
        what: &'static str,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// The event cannot follow those recorded before: a bug of the caller. It was not recorded; others can be.
    #[error("this event cannot be recorded: {0}")]
    Problem(#[from] Problem),
    /// The event has no form in JSON. It was not recorded; others can be.
    #[error("this event cannot be written as JSON: {0}")]
    Encode(Arc<serde_json::Error>),
    /// [`Recorder::finish`] has been called.
    #[error("the recording is finished")]
    Finished,
}

/// Where the lines go: a file, or something else in tests.
pub trait Sink: Write + Send {
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// What has been recorded in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Number of events.
    pub events: u64,
    /// The time of the last one; 0 without any.
    pub last_time_ns: u64,
}

/// Appends events to a history file. Shared between threads by reference.
pub struct Recorder {
    shared: Arc<Shared>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    clock: Box<dyn Clock>,
    state: Mutex<State>,
    /// Tells the flusher that the buffer is large, or that it must end.
    wake: Condvar,
    /// Tells callers of `record` that there is room in the buffer.
    room: Condvar,
    /// Taken before `state` when both are.
    output: Mutex<Output>,
}

#[derive(Default)]
struct State {
    recording: Recording,
    validator: Validator,
    buffer: Vec<u8>,
    failure: Option<RecordError>,
    finished: bool,
}

struct Output {
    sink: Box<dyn Sink>,
    /// The buffer being written; changes places with that of the state, so that neither is ever allocated again.
    writing: Vec<u8>,
}

impl Recorder {
    /// A recorder to a new file at `path`; a file that is there already is left alone, and an error.
    pub fn create(path: impl AsRef<Path>, clock: impl Clock + 'static) -> Result<Recorder, RecordError> {
        let path = path.as_ref();
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|error| io_error(path, "create", error))?;
        Recorder::with_sink(path, Box::new(file), clock)
    }

    /// A recorder to `sink`, which errors call `path`.
    pub fn with_sink(
        path: impl AsRef<Path>,
        sink: Box<dyn Sink>,
        clock: impl Clock + 'static,
    ) -> Result<Recorder, RecordError> {
        let shared = Arc::new(Shared {
            path: path.as_ref().to_owned(),
            clock: Box::new(clock),
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
            output: Mutex::new(Output { sink, writing: Vec::new() }),
        });
        let of_thread = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("history-flusher".to_owned())
            .spawn(move || of_thread.flush_until_finished())
            .map_err(|error| io_error(path.as_ref(), "start the thread that writes", error))?;
        Ok(Recorder { shared, flusher: Mutex::new(Some(flusher)) })
    }

    /// Gives the event its index and time and records it. Returns it as it is in the history.
    ///
    /// Call it before anything of an invocation has been sent, and after the whole answer of a completion has arrived.
    pub fn record(&self, draft: Draft) -> Result<Event, RecordError> {
        let mut state = lock(&self.shared.state);
        while state.buffer.len() >= BUFFER_LIMIT_BYTES && state.failure.is_none() {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()?;
        let time_ns = self.shared.clock.now_ns().max(state.recording.last_time_ns);
        let event = draft.at(state.recording.events, time_ns);
        let length_before = state.buffer.len();
        state.append(&event)?;
        if length_before < BUFFER_HIGH_WATER_BYTES && state.buffer.len() >= BUFFER_HIGH_WATER_BYTES {
            self.shared.wake.notify_one();
        }
        Ok(event)
    }

    /// Hands everything recorded so far to the operating system.
    pub fn flush(&self) -> Result<(), RecordError> {
        self.shared.flush();
        lock(&self.shared.state).failure.clone().map_or(Ok(()), Err)
    }

    /// The error that has stuck, if any. `record` returns it too; this is for those who have nothing to record.
    #[must_use]
    pub fn failure(&self) -> Option<RecordError> {
        lock(&self.shared.state).failure.clone()
    }

    /// Ends the recording: everything is written and synced when this returns. Later calls of `record` are refused, later
    /// calls of this return the same. Dropping a recorder writes, too, but cannot say if that failed.
    pub fn finish(&self) -> Result<Recording, RecordError> {
        self.stop();
        self.shared.flush();
        self.shared.sync();
        let state = lock(&self.shared.state);
        state.failure.clone().map_or(Ok(state.recording), Err)
    }

    fn stop(&self) {
        lock(&self.shared.state).finished = true;
        self.shared.wake.notify_one();
        if let Some(flusher) = lock(&self.flusher).take() {
            // The flusher cannot panic; if it did, the flush of the caller finds out what it left undone.
            let _ = flusher.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recorder").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl State {
    fn check(&self) -> Result<(), RecordError> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.finished => Err(RecordError::Finished),
            None => Ok(()),
        }
    }

    /// Takes the event in, or leaves everything as it was.
    fn append(&mut self, event: &Event) -> Result<(), RecordError> {
        let length_before = self.buffer.len();
        json::write_line(&mut self.buffer, event).map_err(|error| RecordError::Encode(Arc::new(error)))?;
        if let Err(problem) = self.validator.accept(event) {
            self.buffer.truncate(length_before);
            return Err(problem.into());
        }
        self.recording = Recording { events: event.index + 1, last_time_ns: event.time_ns };
        Ok(())
    }
}

impl Shared {
    /// The flusher's life.
    fn flush_until_finished(&self) {
        loop {
            let idle = |state: &mut State| !state.finished && state.buffer.len() < BUFFER_HIGH_WATER_BYTES;
            let interval = Duration::from_millis(FLUSH_INTERVAL_MS);
            let waited = self.wake.wait_timeout_while(lock(&self.state), interval, idle);
            let finished = waited.unwrap_or_else(PoisonError::into_inner).0.finished;
            self.flush();
            if finished {
                return;
            }
        }
    }

    /// Writes the buffer out. An error sticks; after one nothing is written any more, because a torn line may be the last
    /// thing in the file.
    fn flush(&self) {
        let mut output = lock(&self.output);
        let Output { sink, writing } = &mut *output;
        {
            let mut state = lock(&self.state);
            std::mem::swap(&mut state.buffer, writing);
            if state.failure.is_some() {
                writing.clear();
            }
        }
        self.room.notify_all();
        if !writing.is_empty() {
            let written = sink.write_all(writing).and_then(|()| sink.flush());
            writing.clear();
            self.stick("write", written);
        }
    }

    fn sync(&self) {
        let mut output = lock(&self.output);
        if lock(&self.state).failure.is_none() {
            let synced = output.sink.sync();
            self.stick("sync", synced);
        }
    }

    fn stick(&self, what: &'static str, result: io::Result<()>) {
        if let Err(error) = result {
            lock(&self.state).failure.get_or_insert(io_error(&self.path, what, error));
            self.room.notify_all();
        }
    }
}

fn io_error(path: &Path, what: &'static str, error: io::Error) -> RecordError {
    RecordError::Io { path: path.to_owned(), what, source: Arc::new(error) }
}

/// Locks. A panic of another thread inside the lock leaves nothing half done that matters: the state is changed last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
