//! What a person wants to know of a run that is under way. Data; the command line shows it.

use std::fmt;
use std::time::Duration;

/// What the run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Making the testbed.
    #[default]
    SettingUp,
    /// Waiting until the system under test is ready.
    Starting,
    /// Clients and nemesis are at work.
    Running,
    /// Faults are undone; waiting until recovery is observed.
    Recovering,
    /// The last reads.
    FinalReads,
    /// Ending the system under test, collecting its logs.
    TearingDown,
    /// Judging the history.
    Checking,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Phase::SettingUp => "setting up",
            Phase::Starting => "starting the nodes",
            Phase::Running => "running",
            Phase::Recovering => "healed, waiting for recovery",
            Phase::FinalReads => "final reads",
            Phase::TearingDown => "tearing down",
            Phase::Checking => "checking",
        })
    }
}

/// A look at a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Time since clients began.
    pub elapsed: Duration,
    /// How long they will be at work.
    pub time_limit: Duration,
    /// Operations that happened.
    pub ok: u64,
    /// Operations that definitely did not happen.
    pub fail: u64,
    /// Operations of which nobody knows.
    pub info: u64,
    /// Operations completed in the last second.
    pub operations_per_s: u64,
    /// Who leads, as far as the observer knows.
    pub leaders: Vec<String>,
    /// Faults that are applied now, in words.
    pub faults: Vec<String>,
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.phase != Phase::Running {
            return write!(formatter, "{}", self.phase);
        }
        let leaders = if self.leaders.is_empty() { "nobody".to_owned() } else { self.leaders.join("+") };
        let faults = if self.faults.is_empty() { "none".to_owned() } else { self.faults.join("; ") };
        write!(
            formatter,
            "{:>3}/{} s  {} ops/s  ok {} fail {} info {}  leader {leaders}  faults: {faults}",
            self.elapsed.as_secs(),
            self.time_limit.as_secs(),
            self.operations_per_s,
            self.ok,
            self.fail,
            self.info,
        )
    }
}
