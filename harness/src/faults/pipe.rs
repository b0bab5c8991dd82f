//! [`Patient`]: an end of a pipe whose reads and writes give up when the other end does nothing for too long.
//!
//! The nemesis has deadlines of its own; this is for the nemesis that is stopped, or stuck in the kernel. Without it the
//! harness would wait for its answer for ever.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// An end of a pipe that fails with [`ErrorKind::TimedOut`] when nothing has moved for `within`.
#[derive(Debug)]
pub(super) struct Patient<F> {
    end: F,
    within: Duration,
}

impl<F: AsFd> Patient<F> {
    /// Makes the end non-blocking; the other end, which has flags of its own, stays as it is.
    pub(super) fn new(end: F, within: Duration) -> Result<Patient<F>> {
        rustix::io::ioctl_fionbio(&end, true)?;
        Ok(Patient { end, within })
    }

    /// Tries until it does not block.
    fn when_ready<T>(&mut self, event: PollFlags, mut attempt: impl FnMut(&mut F) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.within;
        loop {
            match attempt(&mut self.end) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => return done,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let detail = format!("it has done nothing for {:.1} s", self.within.as_secs_f64());
                return Err(Error::new(ErrorKind::TimedOut, detail));
            }
            let timeout = Timespec::try_from(left).map_err(Error::other)?;
            // Interrupted by a signal: looked at again, with what is left of the time.
            let _ = poll(&mut [PollFd::new(&self.end, event)], Some(&timeout));
        }
    }
}

impl<F: AsFd + Read> Read for Patient<F> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.when_ready(PollFlags::IN, |end| end.read(buffer))
    }
}

impl<F: AsFd + Write> Write for Patient<F> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        self.when_ready(PollFlags::OUT, |end| end.write(buffer))
    }

    fn flush(&mut self) -> Result<()> {
        self.when_ready(PollFlags::OUT, Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn a_silent_other_end_is_an_error_and_a_closed_one_the_end() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut patient = Patient::new(reader, SOON).expect("non-blocking");
        let error = patient.read(&mut [0; 8]).expect_err("nobody writes");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(writer);
        assert_eq!(patient.read(&mut [0; 8]).expect("the end"), 0);
    }

    #[test]
    fn an_other_end_that_takes_nothing_is_an_error_and_one_that_does_gets_everything() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut patient = Patient::new(writer, SOON).expect("non-blocking");
        let more_than_a_pipe_holds = vec![7_u8; 1 << 20];
        let error = patient.write_all(&more_than_a_pipe_holds).expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);

        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read.len())
        });
        patient.within = Duration::from_secs(60);
        patient.write_all(&more_than_a_pipe_holds).expect("somebody reads");
        drop(patient);
        assert!(reading.join().expect("no panic").expect("read") >= more_than_a_pipe_holds.len());
    }
}
