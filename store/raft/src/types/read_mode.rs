//! The ways to read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a read is to be answered. All but `Local` are linearizable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadMode {
    /// By an entry of its own in the log (thesis 6.3): the read ends when that is handed over to be applied, and sees what has
    /// been applied then. Leader only.
    Log,
    /// By confirming the leader once for all reads that wait (ReadIndex, thesis 6.4). Leader only.
    #[default]
    ReadIndex,
    /// The same, asked for by a follower, which answers from its own state machine. Any node that knows a leader.
    Follower,
    /// Without asking anybody, within the time in which no other leader can have been elected, if clocks keep their bound
    /// (thesis 6.4.1); by ReadIndex otherwise. Leader only.
    Lease,
    /// From whatever this node has applied: **not** linearizable, of any age. Any node.
    Local,
}

impl ReadMode {
    /// All of them, the strongest claim first.
    pub const ALL: &'static [ReadMode] =
        &[ReadMode::Log, ReadMode::ReadIndex, ReadMode::Follower, ReadMode::Lease, ReadMode::Local];

    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReadMode::Log => "log",
            ReadMode::ReadIndex => "read-index",
            ReadMode::Follower => "follower",
            ReadMode::Lease => "lease",
            ReadMode::Local => "local",
        }
    }
}

impl fmt::Display for ReadMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for ReadMode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let names = || ReadMode::ALL.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", ");
        let found = ReadMode::ALL.iter().copied().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("there is no read mode called `{name}`; the names are: {}", names()))
    }
}
