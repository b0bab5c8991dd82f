//! Faults and schedules as data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kinds::Family;

/// Which nodes a process fault is aimed at; decided at the moment of the fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// One random node.
    One,
    /// A random minority: at least one node, less than half.
    Minority,
    /// A random majority, not all.
    Majority,
    /// Every node.
    All,
    /// Whoever leads now; one random node if nobody is known to.
    Leader,
    /// Everybody but the leader.
    Followers,
    /// These.
    Named(Vec<String>),
}

/// How the nodes are cut off from each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionShape {
    /// Two random halves (of 5: 2 and 3) that do not hear each other.
    Halves,
    /// One random node is alone.
    One,
    /// A random minority (of more than one node where the cluster allows it) is apart from the rest.
    MajorityMinority,
    /// The leader is alone; one random node if nobody is known to lead.
    Leader,
    /// Two halves, and one node that hears and is heard by both.
    Bridge,
    /// Every node hears a majority, no two nodes the same one.
    MajoritiesRing,
    /// Packets from one random side to the other are lost, those in the other direction arrive.
    OneWay,
}

/// A fault, its targets still symbolic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// Links between nodes drop packets. Client links stay.
    Partition {
        /// Which links.
        shape: PartitionShape,
    },
    /// Processes are stopped (SIGSTOP) and later continued (SIGCONT).
    Pause {
        /// Whose.
        target: Target,
    },
    /// Processes are killed (SIGKILL) and later started again on what they had on disk.
    Kill {
        /// Whose.
        target: Target,
    },
}

/// A directed link between two nodes, by name: what `from` sends to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// Sender.
    pub from: String,
    /// Receiver, on whose side the packets are dropped.
    pub to: String,
}

/// A fault with its targets decided: what is journalled, recorded and replayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Resolved {
    /// These links drop everything.
    Partition {
        /// For people: `n1 | n2 n3`.
        description: String,
        /// In order.
        links: Vec<Link>,
    },
    /// These nodes' processes are stopped.
    Pause {
        /// In order.
        nodes: Vec<String>,
    },
    /// These nodes' processes are killed.
    Kill {
        /// In order.
        nodes: Vec<String>,
    },
}

/// A planned fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scheduled {
    /// Unique in its schedule.
    pub id: u64,
    /// When it begins, in milliseconds since the start of the run.
    pub at_ms: u64,
    /// How long it lasts.
    pub duration_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// The faults of a run, in order of `at_ms`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The faults.
    pub faults: Vec<Scheduled>,
}

impl Fault {
    /// Which injector carries it out.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Fault::Partition { .. } => Family::Partition,
            Fault::Pause { .. } => Family::Pause,
            Fault::Kill { .. } => Family::Kill,
        }
    }
}

impl Resolved {
    /// Which injector carries it out.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Resolved::Partition { .. } => Family::Partition,
            Resolved::Pause { .. } => Family::Pause,
            Resolved::Kill { .. } => Family::Kill,
        }
    }

    /// The nodes on which it has to be applied and undone, in order, each once. Of a link that is the receiver.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = match self {
            Resolved::Partition { links, .. } => links.iter().map(|link| link.to.as_str()).collect(),
            Resolved::Pause { nodes } | Resolved::Kill { nodes } => {
                nodes.iter().map(String::as_str).collect()
            }
        };
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// One line for people: `partition n1 | n2 n3`, `pause n2`, `kill n1 n3`.
impl fmt::Display for Resolved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolved::Partition { description, .. } => write!(formatter, "{} {description}", self.family()),
            Resolved::Pause { nodes } | Resolved::Kill { nodes } if nodes.is_empty() => {
                write!(formatter, "{} nobody", self.family())
            }
            Resolved::Pause { nodes } | Resolved::Kill { nodes } => {
                write!(formatter, "{} {}", self.family(), nodes.join(" "))
            }
        }
    }
}
