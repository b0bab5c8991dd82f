//! [`FaultLink`]: what carries out requests about faults: a nemesis in a process of its own, or the agents of a fleet.

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use labrys_nemesis::{ClientError, DaemonSpec, FaultReport, NemesisClient, Resolved};

use super::FaultError;
use super::pipe::Patient;
use crate::agent::Fleet;

/// Carries out requests about faults, one after another. Its errors are those of [`NemesisClient`].
pub(super) trait FaultLink: Send {
    /// Applies a fault.
    fn apply(&mut self, fault_id: u64, resolved: &Resolved) -> Result<FaultReport, ClientError>;
    /// Undoes a fault.
    fn undo(&mut self, fault_id: u64) -> Result<FaultReport, ClientError>;
    /// Undoes everything.
    fn undo_all(&mut self) -> Result<Vec<FaultReport>, ClientError>;
    /// Says how daemons are started.
    fn set_daemons(&mut self, daemons: BTreeMap<String, DaemonSpec>) -> Result<(), ClientError>;
    /// Gives it up: it has not answered.
    fn abandon(self: Box<Self>);
    /// Ends it in an orderly way.
    fn finish(self: Box<Self>, within: Duration) -> std::io::Result<()>;
}

/// The agents undo everything, and end, with their testbed.
impl FaultLink for Fleet {
    fn apply(&mut self, fault_id: u64, resolved: &Resolved) -> Result<FaultReport, ClientError> {
        Fleet::apply(self, fault_id, resolved)
    }

    fn undo(&mut self, fault_id: u64) -> Result<FaultReport, ClientError> {
        Fleet::undo(self, fault_id)
    }

    fn undo_all(&mut self) -> Result<Vec<FaultReport>, ClientError> {
        Fleet::undo_all(self)
    }

    fn set_daemons(&mut self, daemons: BTreeMap<String, DaemonSpec>) -> Result<(), ClientError> {
        Fleet::set_daemons(self, daemons)
    }

    fn abandon(self: Box<Self>) {}

    fn finish(self: Box<Self>, _: Duration) -> std::io::Result<()> {
        Ok(())
    }
}

/// How long the nemesis may take for anything it is asked. It gives up by itself long before, whatever a host does; and the
/// interpreter, which waits for us, a little later.
const ANSWERS_WITHIN: Duration = Duration::from_secs(50);

/// How long the nemesis may take to end once its input has.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The connection to a nemesis process.
type Connection = NemesisClient<BufReader<Patient<ChildStdout>>, Patient<ChildStdin>>;

/// A running nemesis process.
pub(super) struct NemesisProcess {
    child: Child,
    client: Connection,
}

impl NemesisProcess {
    /// `labrys nemesis-process --setup FILE`: this very binary, so that no other version can be met.
    pub fn start(setup_file: &Path, log: std::fs::File) -> Result<NemesisProcess, FaultError> {
        let program = PathBuf::from("/proc/self/exe");
        let mut command = Command::new(&program);
        command.args(["nemesis-process", "--setup"]).arg(setup_file).stderr(log);
        let spawned = NemesisProcess::spawn(&mut command, ANSWERS_WITHIN);
        spawned.map_err(|source| FaultError::Start { program, source })
    }

    pub fn spawn(command: &mut Command, answers_within: Duration) -> std::io::Result<NemesisProcess> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked to be pipes")
        };
        let output = BufReader::new(Patient::new(output, answers_within)?);
        Ok(NemesisProcess { child, client: NemesisClient::new(output, Patient::new(input, answers_within)?) })
    }
}

impl FaultLink for NemesisProcess {
    fn apply(&mut self, fault_id: u64, resolved: &Resolved) -> Result<FaultReport, ClientError> {
        self.client.apply(fault_id, resolved.clone())
    }

    fn undo(&mut self, fault_id: u64) -> Result<FaultReport, ClientError> {
        self.client.undo(fault_id)
    }

    fn undo_all(&mut self) -> Result<Vec<FaultReport>, ClientError> {
        self.client.undo_all()
    }

    fn set_daemons(&mut self, daemons: BTreeMap<String, DaemonSpec>) -> Result<(), ClientError> {
        self.client.set_daemons(daemons)
    }

    fn abandon(mut self: Box<Self>) {
        // If even that fails, it ends with the isolation.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }

    /// Closes its input, and waits until it has undone what is left and ended; ends it by force if that takes too long.
    fn finish(self: Box<Self>, within: Duration) -> std::io::Result<()> {
        let NemesisProcess { mut child, client } = *self;
        drop(client);
        let deadline = Instant::now() + within;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(std::io::Error::other(format!("it ended with {status}; its log says more")));
                }
                None => {}
            }
            if Instant::now() >= deadline {
                child.kill()?;
                child.wait()?;
                let detail = format!("it had not ended after {:.1} s, and was killed", within.as_secs_f64());
                return Err(std::io::Error::new(ErrorKind::TimedOut, detail));
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nemesis_that_does_not_end_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let process = NemesisProcess::spawn(&mut command, ANSWERS_WITHIN).expect("sleep");
        let error = Box::new(process).finish(Duration::from_millis(20)).expect_err("it sleeps");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
