//! [`Gate`]: what begins something on the machine goes through it; once it is closed, nothing begins any more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Open at first.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    inside: usize,
}

/// Whoever has it is inside, until it is dropped.
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    /// `None` once it is closed.
    pub fn enter(&self) -> Option<Pass<'_>> {
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        state.inside += 1;
        Some(Pass(self))
    }

    /// Lets nobody in any more, and waits until all have left; how many have not `within` that time.
    pub fn close(&self, within: Duration) -> usize {
        let mut state = self.lock();
        state.is_closed = true;
        let waited = self.left.wait_timeout_while(state, within, |state| state.inside > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.inside
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.lock().inside -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn whoever_closes_it_waits_for_those_inside_and_nobody_else_gets_in() {
        let (gate, has_left) = (Gate::default(), AtomicBool::new(false));
        std::thread::scope(|threads| {
            let pass = gate.enter().expect("it is open");
            threads.spawn(|| {
                while !gate.lock().is_closed {
                    std::thread::yield_now();
                }
                assert!(gate.enter().is_none());
                has_left.store(true, Ordering::SeqCst);
                drop(pass);
            });
            assert_eq!(gate.close(Duration::from_secs(60)), 0);
            assert!(has_left.load(Ordering::SeqCst), "it was waited for");
        });
        assert!(gate.enter().is_none());
    }

    #[test]
    fn who_does_not_leave_is_counted() {
        let gate = Gate::default();
        let _pass = gate.enter();
        assert_eq!(gate.close(Duration::from_millis(1)), 1);
    }
}
