//! [`Link`]: the agent's latest connection. What is said to it goes into a queue, which a thread of its own writes: whoever reads the
//! connection, and whoever watches for silence, never waits for a peer that takes nothing.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::{FromAgent, line};

/// Who takes nothing for so long is not there any more.
pub(super) const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// The latest connection, if it is there.
#[derive(Default)]
pub(super) struct Link {
    latest: Mutex<Latest>,
    changed: Condvar,
    /// So many answers are still to go.
    busy: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Latest {
    number: u64,
    line: Option<Line>,
}

struct Line {
    stream: UnixStream,
    queue: Sender<(String, Busy)>,
}

/// An answer that is still to go.
pub(super) struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Link {
    /// Makes this connection the latest, and says `welcome` to it before all else; `false` if a later one has come already. The one
    /// before it is ended: nothing is read from it or written to it any more.
    ///
    /// # Errors
    /// If there can be no thread that writes.
    pub fn take_over(&self, number: u64, stream: &UnixStream, welcome: &FromAgent) -> std::io::Result<bool> {
        let (queue, said) = channel();
        // Nobody has the other end yet; it cannot be gone.
        let _ = queue.send((line(welcome)?, self.busy()));
        let (ours, written) = (stream.try_clone()?, stream.try_clone()?);
        let mut latest = self.lock();
        if number <= latest.number {
            return Ok(false);
        }
        std::thread::Builder::new()
            .name(format!("answers-{number}"))
            .spawn(move || write_all(&said, &written))?;
        if let Some(old) = latest.line.replace(Line { stream: ours, queue }) {
            // If it is gone already, so much the better.
            let _ = old.stream.shutdown(Shutdown::Both);
        }
        latest.number = number;
        drop(latest);
        self.changed.notify_all();
        Ok(true)
    }

    /// Whether no later connection has come than this one.
    pub fn is_latest(&self, number: u64) -> bool {
        self.lock().number == number
    }

    /// This connection is gone; whether it was the latest.
    pub fn lost(&self, number: u64) -> bool {
        let mut latest = self.lock();
        let was_latest = latest.number == number;
        if was_latest {
            latest.line = None;
        }
        was_latest
    }

    /// Whether there is a connection, or comes one until then.
    pub fn is_there_until(&self, deadline: Instant) -> bool {
        let within = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.lock(), within, |latest| latest.line.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.line.is_some()
    }

    /// Says something to the latest connection. Lost if that is: the harness will ask again.
    pub fn tell(&self, what: &FromAgent) {
        let Ok(text) = line(what) else { return };
        if let Some(line) = &self.lock().line {
            // Nobody takes it any more if what was said before could not be written.
            let _ = line.queue.send((text, self.busy()));
        }
    }

    /// To be kept by whoever has an answer to give.
    pub fn busy(&self) -> Busy {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(Arc::clone(&self.busy))
    }

    /// Waits until no answer is still to go, but not longer than `within`.
    pub fn let_answers_go(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.busy.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until nobody says anything more, or nothing is taken any more: half a line may have gone then, to which nothing can be added.
fn write_all(said: &Receiver<(String, Busy)>, mut stream: &UnixStream) {
    for (text, _busy) in said {
        if stream.write_all(text.as_bytes()).is_err() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}
