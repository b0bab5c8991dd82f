//! The fault kinds that a user can name (`--nemesis partition,pause,kill-leader`): one table from a name to a generator of
//! faults, and another one, [`crate::sequences`], of the kinds that have several faults at a time.
//!
//! A generator is pure: random stream and cluster size in, a fault with symbolic targets out. Adding a kind is adding a
//! row. What this is not: when the faults happen ([`crate::plan`]) or whom they hit ([`crate::resolve`]).

mod table;

use std::fmt;
use std::str::FromStr;

use labrys_seed::Rng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::table::{Row, TABLE};
use crate::sequences::{self, Part, Window};

/// Which injector carries a fault out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Links drop packets.
    Partition,
    /// Processes are stopped.
    Pause,
    /// Processes are killed.
    Kill,
    /// Nodes lose what was not synced.
    PowerCut,
    /// Messages are late, lost, doubled or overtaken.
    Network,
    /// Clocks go wrong.
    Clock,
    /// Disks go wrong.
    Disk,
    /// The system under test is given orders.
    Application,
    /// The cluster's members, or its leader, are changed.
    Membership,
    /// Processes run short of what the machine gives them.
    Resource,
    /// Nodes are started again, and not on what they had.
    Restart,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 11] = [
        Family::Partition,
        Family::Pause,
        Family::Kill,
        Family::PowerCut,
        Family::Network,
        Family::Clock,
        Family::Disk,
        Family::Application,
        Family::Membership,
        Family::Resource,
        Family::Restart,
    ];

    /// Whether the simulator has none of its faults.
    #[must_use]
    pub fn needs_real_nodes(self) -> bool {
        matches!(self, Family::Application | Family::Membership | Family::Resource | Family::Restart)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Family::Partition => "partition",
            Family::Pause => "pause",
            Family::Kill => "kill",
            Family::PowerCut => "power-cut",
            Family::Network => "network",
            Family::Clock => "clock",
            Family::Disk => "disk",
            Family::Application => "application",
            Family::Membership => "membership",
            Family::Resource => "resource",
            Family::Restart => "restart",
        })
    }
}

/// A kind of fault that a user can name. Serialised as its name.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub struct FaultKind(Kind);

/// In which table it is.
#[derive(Clone, Copy)]
enum Kind {
    Single(&'static Row),
    Sequence(&'static sequences::Row),
}

impl FaultKind {
    /// Every kind, in the order in which help texts list them.
    pub fn all() -> impl Iterator<Item = FaultKind> {
        let singles = TABLE.iter().map(|row| FaultKind(Kind::Single(row)));
        singles.chain(sequences::TABLE.iter().map(|row| FaultKind(Kind::Sequence(row))))
    }

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Single(row) => row.name,
            Kind::Sequence(row) => row.name,
        }
    }

    /// What it does, in a few words, for help texts.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self.0 {
            Kind::Single(row) => row.summary,
            Kind::Sequence(row) => row.summary,
        }
    }

    /// Which injector carries its faults out; `None`: `none` has none.
    #[must_use]
    pub fn family(self) -> Option<Family> {
        Family::ALL.into_iter().find(|family| self.name().starts_with(&family.to_string()))
    }

    /// Whether the simulator cannot have it.
    #[must_use]
    pub fn needs_real_nodes(self) -> bool {
        self.name() == "disk-read-errors" || self.family().is_some_and(Family::needs_real_nodes)
    }

    /// Whether it cuts links between clients and nodes, which needs a network that the clients share with nobody else.
    #[must_use]
    pub fn is_of_clients(self) -> bool {
        self.name().starts_with("partition-client-")
    }

    /// Whether agents, each of which acts on its own node alone, can carry it out.
    #[must_use]
    pub fn is_for_agents(self) -> bool {
        !self.is_of_clients() && self.family() != Some(Family::Membership)
    }

    /// Whether the clocks of machines, which run at nearly the rate that they should whatever is done, can do it; true of what is none of
    /// clocks.
    #[must_use]
    pub fn is_for_machine_clocks(self) -> bool {
        !["clock-skew", "clock-strobe"].contains(&self.to_string().as_str())
    }

    /// What this kind does in a window: one fault that lasts as long, or a sequence of faults. Empty if there can be none (`none`
    /// itself; a partition of a single node; the followers of a single node).
    #[must_use]
    pub fn generate(self, rng: &mut Rng, window: Window) -> Vec<Part> {
        if window.node_count == 0 {
            return Vec::new();
        }
        match self.0 {
            Kind::Single(row) => {
                let fault = (row.generate)(rng, window.node_count);
                let part = |fault| Part { offset_ms: 0, duration_ms: window.duration_ms, fault };
                fault.map(part).into_iter().collect()
            }
            Kind::Sequence(row) => (row.generate)(rng, window),
        }
    }
}

impl FromStr for FaultKind {
    type Err = UnknownFaultKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let kind = FaultKind::all().find(|kind| kind.name() == name.trim());
        kind.ok_or_else(|| UnknownFaultKind { name: name.trim().to_owned() })
    }
}

impl TryFrom<String> for FaultKind {
    type Error = UnknownFaultKind;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<FaultKind> for &'static str {
    fn from(kind: FaultKind) -> Self {
        kind.name()
    }
}

impl PartialEq for FaultKind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for FaultKind {}

impl fmt::Debug for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FaultKind({})", self.name())
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is in no row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown fault kind `{name}`; known are: {}", known_names())]
pub struct UnknownFaultKind {
    /// What was given.
    pub name: String,
}

fn known_names() -> String {
    FaultKind::all().map(FaultKind::name).collect::<Vec<_>>().join(", ")
}

/// Reads a comma-separated list of kinds. `none` adds nothing; a kind that is named twice counts once.
///
/// # Errors
/// The first name that is unknown; an empty list is the unknown name "".
pub fn parse_fault_kinds(list: &str) -> Result<Vec<FaultKind>, UnknownFaultKind> {
    let mut kinds: Vec<FaultKind> = Vec::new();
    for name in list.split(',') {
        let kind: FaultKind = name.parse()?;
        if kind.name() != "none" && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests;
