//! Threads whose end is noticed, whatever it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::{Fatal, StartError};

/// A thread whose failure and whose panic are reported.
pub(super) fn spawn(
    name: &'static str,
    fatal: mpsc::UnboundedSender<Fatal>,
    body: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let run = move || {
        let failure = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => Fatal::Panicked { thread: name },
        };
        let _ = fatal.send(failure);
    };
    let spawned = std::thread::Builder::new().name(format!("labrys-{name}")).spawn(run);
    spawned.map_err(|source| StartError::System { action: "start a thread", source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    /// What a thread of the node that ends so reports.
    fn reported(body: impl FnOnce() -> Result<(), Fatal> + Send + 'static) -> Option<Fatal> {
        let (sender, mut fatal) = mpsc::unbounded_channel();
        spawn("disk", sender, body).unwrap().join().unwrap();
        fatal.try_recv().ok()
    }

    #[test]
    fn a_thread_that_panics_is_exit_code_9_and_one_that_ends_as_asked_is_none() {
        let fatal = reported(|| panic!("a bug")).unwrap();
        assert_eq!(Exit::from(&fatal) as u8, 9);
        assert_eq!(fatal.to_string(), "the disk thread panicked; this is a bug");
        let broken = reported(|| Err(Fatal::InvariantBroken { what: "order".to_owned() })).unwrap();
        assert_eq!(Exit::from(&broken) as u8, 8);
        assert!(reported(|| Ok(())).is_none());
    }
}
