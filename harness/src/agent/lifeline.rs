//! [`Lifeline`]: one connection of the harness, from before it is opened to its end: when it was heard last, and how it is cut.
//!
//! It is watched by a thread that does nothing else, and so is never blocked: whoever waits for a peer that says nothing and takes
//! nothing is set free by the cut.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often silence is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A connection that is cut when nothing is heard on it any more.
pub struct Lifeline(Mutex<State>);

struct State {
    heard: Instant,
    within: Duration,
    cut: Option<Box<dyn Fn() + Send>>,
    is_cut: bool,
    silent_for: Option<Duration>,
}

impl Lifeline {
    /// One on which something must be heard every `within`, from now on, and which is watched until it is dropped.
    ///
    /// # Errors
    /// If there can be no thread that watches.
    pub fn watched(within: Duration) -> std::io::Result<Arc<Lifeline>> {
        let heard = Instant::now();
        let state = State { heard, within, cut: None, is_cut: false, silent_for: None };
        let lifeline = Arc::new(Lifeline(Mutex::new(state)));
        let watched = Arc::downgrade(&lifeline);
        let watch = move || {
            while watched.upgrade().is_some_and(|lifeline| !lifeline.is_over()) {
                std::thread::sleep(LOOK_EVERY);
            }
        };
        std::thread::Builder::new().name("lifeline".to_owned()).spawn(watch)?;
        Ok(lifeline)
    }

    /// Something must be heard every `within` from now on.
    pub fn allow(&self, within: Duration) {
        let mut state = self.lock();
        (state.heard, state.within) = (Instant::now(), within);
    }

    /// This is how it is cut, whoever is blocked on it. Done at once if it has been cut before.
    pub fn is_cut_by(&self, cut: impl Fn() + Send + 'static) {
        let mut state = self.lock();
        if state.is_cut {
            drop(state);
            cut();
        } else {
            state.cut = Some(Box::new(cut));
        }
    }

    /// Something has come, or was taken: a single byte is a sign of life.
    pub fn heard(&self) {
        self.lock().heard = Instant::now();
    }

    /// Ends the connection.
    pub fn cut(&self) {
        let mut state = self.lock();
        state.is_cut = true;
        let cut = state.cut.take();
        // It may take its time, which nobody must wait for who has heard something.
        drop(state);
        if let Some(cut) = cut {
            cut();
        }
    }

    /// For how long nothing was heard, if it was cut for that.
    #[must_use]
    pub fn was_silent_for(&self) -> Option<Duration> {
        self.lock().silent_for
    }

    /// What is read, with every chunk of it heard.
    pub fn listening<R: Read>(self: &Arc<Self>, reader: R) -> Listening<R> {
        Listening { reader, lifeline: Arc::clone(self) }
    }

    /// Whether it has been cut; cuts it if it is silent.
    fn is_over(&self) -> bool {
        let mut state = self.lock();
        let silent_for = state.heard.elapsed();
        if !state.is_cut && silent_for > state.within {
            state.silent_for = Some(silent_for);
            drop(state);
            self.cut();
            return true;
        }
        state.is_cut
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Lifeline::listening`].
pub struct Listening<R> {
    reader: R,
    lifeline: Arc<Lifeline>,
}

impl<R: Read> Read for Listening<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.reader.read(buffer)?;
        if length > 0 {
            self.lifeline.heard();
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_silent_connection_is_cut_once_and_one_that_was_cut_before_it_was_open_at_once() {
        let (cut, was_cut) = mpsc::channel();
        let lifeline = Lifeline::watched(Duration::from_millis(10)).expect("a thread");
        let told = cut.clone();
        lifeline.is_cut_by(move || told.send("open").expect("somebody waits"));
        assert_eq!(was_cut.recv_timeout(Duration::from_secs(20)), Ok("open"));
        assert!(lifeline.was_silent_for().is_some_and(|silent| silent > Duration::from_millis(10)));
        lifeline.cut();
        lifeline.is_cut_by(move || cut.send("late").expect("somebody waits"));
        assert_eq!(was_cut.try_iter().collect::<Vec<_>>(), ["late"]);
    }
}
