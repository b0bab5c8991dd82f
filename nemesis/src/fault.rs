//! Faults and schedules as data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::commands::OrderName;
use crate::kinds::Family;
pub use crate::target::Target;
use crate::trigger::Trigger;

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
    /// A random third at most, as a byzantine fault-tolerant system bears it: less than a third, at least one node.
    MinorityThird,
    /// The leader with as many random others as still make a minority; of fewer than five nodes, the leader alone.
    LeaderMinority,
    /// Those that are aimed at are apart from the others, and hear each other.
    Apart(Target),
    /// Those that are aimed at hear none of the others, who hear them.
    Deaf(Target),
    /// Those that are aimed at are heard by none of the others, whom they hear.
    Mute(Target),
    /// The nodes aimed at hear nothing that the others say, who hear them: packets with content are lost, the kernel's bare acknowledgements
    /// pass. Over TCP that is what [`PartitionShape::Deaf`] is not for long: without acknowledgements what a deaf node sends soon waits.
    Muffled(Target),
    /// Exactly these links, as of [`PartitionShape::Muffled`].
    MuffledLinks(Vec<Link>),
    /// Clients' requests to those that are aimed at are lost; replies to requests of before arrive.
    ClientRequests(Target),
    /// Replies of those that are aimed at to clients are lost; requests arrive, and take effect.
    ClientReplies(Target),
    /// Clients and those that are aimed at do not hear each other.
    ClientLinks(Target),
    /// Exactly these links.
    Links(Vec<Link>),
}

/// How messages fare on the way. Probabilities in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkTrouble {
    /// Lost.
    pub loss_permille: u16,
    /// Delivered twice.
    pub duplicate_permille: u16,
    /// Held back until others have overtaken it.
    pub reorder_permille: u16,
    /// Later by so much, and by a random time up to as much again.
    pub delay_ms: u64,
    /// Delivered with a bit flipped, under the checksum of what it was: the receiver's kernel sees that and drops it.
    pub corrupt_permille: u16,
    /// Answered with a reset of their connection, instead of being delivered. What is not TCP stays.
    pub reset_permille: u16,
    /// So many thousand bits arrive at a node in a second, over all its links in trouble together; 0 is without end. What would wait for
    /// more than [`MOST_BACKLOG_MS`](crate::MOST_BACKLOG_MS) is lost, as in a router.
    pub bandwidth_kbit: u64,
}

impl LinkTrouble {
    /// Whether packets must wait, or be changed, for it.
    #[must_use]
    pub fn holds_packets(&self) -> bool {
        self.delay_ms > 0 || self.reorder_permille > 0 || self.bandwidth_kbit > 0
    }
}

/// What becomes of a node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockChange {
    /// It runs faster by so many percent, or slower.
    DriftPercent(i32),
    /// It leaps ahead by so much, once, as after a suspension.
    JumpMs(u64),
    /// It stands still.
    Freeze,
}

/// What a loss of power leaves of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerLoss {
    /// Nothing.
    Everything,
    /// Of each file the first changes, and the first sectors of the next one.
    Torn,
    /// Of each file any sectors, and zeros in place of the others: disks write in an order of their own.
    #[default]
    Reordered,
}

/// What becomes of a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskTrouble {
    /// Every sync takes so much longer.
    SlowSyncMs(u64),
    /// There is no space left.
    Full,
    /// The next sync fails; those after it succeed, without having written what that one was to write.
    SyncFails,
    /// One bit of one file is flipped.
    FlipBit,
    /// Every read fails.
    ReadsFail,
    /// Every write fails.
    WritesFail,
    /// Every sync fails.
    SyncsFail,
    /// The next read fails.
    NextReadFails,
    /// The next write fails.
    NextWriteFails,
    /// One file is cut short.
    Truncate,
    /// A part of one file is what it was before it was written last, zeros if it was nothing.
    StaleChunk,
    /// Two parts of one file have changed places.
    SwapChunks,
}

impl DiskTrouble {
    /// Whether it is a matter of bytes that go wrong by themselves, rather than of operations.
    #[must_use]
    pub fn is_rot(self) -> bool {
        use DiskTrouble::{FlipBit, StaleChunk, SwapChunks, Truncate};
        matches!(self, FlipBit | Truncate | StaleChunk | SwapChunks)
    }

    /// Whether the simulator cannot have it.
    #[must_use]
    pub fn needs_real_nodes(self) -> bool {
        use DiskTrouble::{NextReadFails, NextWriteFails, ReadsFail};
        matches!(self, ReadsFail | NextReadFails | NextWriteFails)
    }
}

/// What becomes of a node that is a member of the cluster with a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MembershipChange {
    /// It is no member any more, until the fault ends; then it comes back as another one.
    Remove,
    /// It has no vote, until the fault ends.
    Demote,
    /// It is removed and comes back as another member at once.
    Replace,
    /// It leads; if it does already, another one leads.
    Transfer,
}

/// On what a node is started again, instead of what it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartData {
    /// Nothing: its data directory has been emptied.
    Wiped,
    /// What it had when the fault began.
    Old,
}

/// What a process runs short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceTrouble {
    /// File descriptors: it can open no file and accept no connection any more.
    Descriptors,
    /// Time of a processor: it has so many hundredths of one.
    ProcessorPercent(u32),
    /// Memory: it may have so many KiB more than it has.
    MemoryMarginKib(u64),
}

/// A fault, its targets still symbolic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// Links drop packets: those between nodes or, where the shape says so, those between clients and nodes.
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
    /// Nodes lose power, and with it what was not synced; later they are started again.
    PowerCut {
        /// Which.
        target: Target,
        /// What is left of it.
        #[serde(default)]
        loss: PowerLoss,
    },
    /// Messages from and to nodes get into trouble.
    Network {
        /// Whose.
        target: Target,
        /// Which.
        trouble: LinkTrouble,
    },
    /// Clocks go wrong.
    Clock {
        /// Whose.
        target: Target,
        /// How.
        change: ClockChange,
    },
    /// Disks go wrong.
    Disk {
        /// Whose.
        target: Target,
        /// How.
        trouble: DiskTrouble,
    },
    /// Nodes are given an order, which is taken back at the end if it can be.
    Application {
        /// Which nodes.
        target: Target,
        /// Which order.
        order: OrderName,
    },
    /// The cluster's members, or its leader, are changed.
    Membership {
        /// Which nodes.
        target: Target,
        /// What becomes of them.
        change: MembershipChange,
    },
    /// Processes run short of what the machine gives them.
    Resource {
        /// Whose.
        target: Target,
        /// Of what.
        trouble: ResourceTrouble,
    },
    /// Nodes are started again under their names, and not on what they had.
    Restart {
        /// Which.
        target: Target,
        /// On what.
        data: RestartData,
    },
}

/// In links, whoever runs the clients, all together. No node is called so.
pub const CLIENTS: &str = "clients";

/// A directed link between two nodes, by name, or between a node and [`CLIENTS`]: what `from` sends to `to`.
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
        /// Only packets with content are: see [`PartitionShape::Muffled`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        content_only: bool,
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
    /// These nodes lose power.
    PowerCut {
        /// In order.
        nodes: Vec<String>,
        /// What is left of what was not synced.
        #[serde(default)]
        loss: PowerLoss,
    },
    /// Messages from and to these nodes get into trouble.
    Network {
        /// In order.
        nodes: Vec<String>,
        /// Which.
        trouble: LinkTrouble,
    },
    /// These nodes' clocks go wrong.
    Clock {
        /// In order.
        nodes: Vec<String>,
        /// How.
        change: ClockChange,
    },
    /// These nodes' disks go wrong.
    Disk {
        /// In order.
        nodes: Vec<String>,
        /// How.
        trouble: DiskTrouble,
    },
    /// These nodes are given an order.
    Application {
        /// In order.
        nodes: Vec<String>,
        /// Which order.
        order: OrderName,
    },
    /// What these nodes are to their cluster is changed.
    Membership {
        /// In order.
        nodes: Vec<String>,
        /// What becomes of them.
        change: MembershipChange,
    },
    /// These nodes' processes run short of what the machine gives them.
    Resource {
        /// In order.
        nodes: Vec<String>,
        /// Of what.
        trouble: ResourceTrouble,
    },
    /// These nodes are started again, and not on what they had.
    Restart {
        /// In order.
        nodes: Vec<String>,
        /// On what.
        data: RestartData,
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
    /// What it waits for from `at_ms` on, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
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
            Fault::PowerCut { .. } => Family::PowerCut,
            Fault::Network { .. } => Family::Network,
            Fault::Clock { .. } => Family::Clock,
            Fault::Disk { .. } => Family::Disk,
            Fault::Application { .. } => Family::Application,
            Fault::Membership { .. } => Family::Membership,
            Fault::Resource { .. } => Family::Resource,
            Fault::Restart { .. } => Family::Restart,
        }
    }

    /// Whether nodes are told that something is to happen at a place in their processes.
    #[must_use]
    pub fn is_failpoint(&self) -> bool {
        matches!(self, Fault::Application { order, .. } if order.is_failpoint())
    }

    /// Whom it is aimed at; `None` for a partition of a shape without an aim.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Fault::Partition { shape } => shape.target(),
            Fault::Pause { target }
            | Fault::Kill { target }
            | Fault::PowerCut { target, .. }
            | Fault::Network { target, .. }
            | Fault::Clock { target, .. }
            | Fault::Disk { target, .. }
            | Fault::Application { target, .. }
            | Fault::Membership { target, .. }
            | Fault::Resource { target, .. }
            | Fault::Restart { target, .. } => Some(target),
        }
    }

    /// The same, to be changed.
    pub fn target_mut(&mut self) -> Option<&mut Target> {
        match self {
            Fault::Partition { shape } => shape.target_mut(),
            Fault::Pause { target }
            | Fault::Kill { target }
            | Fault::PowerCut { target, .. }
            | Fault::Network { target, .. }
            | Fault::Clock { target, .. }
            | Fault::Disk { target, .. }
            | Fault::Application { target, .. }
            | Fault::Membership { target, .. }
            | Fault::Resource { target, .. }
            | Fault::Restart { target, .. } => Some(target),
        }
    }
}

impl PartitionShape {
    /// Whom it is aimed at, if it is.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            PartitionShape::Apart(target)
            | PartitionShape::Deaf(target)
            | PartitionShape::Mute(target)
            | PartitionShape::Muffled(target)
            | PartitionShape::ClientRequests(target)
            | PartitionShape::ClientReplies(target)
            | PartitionShape::ClientLinks(target) => Some(target),
            _ => None,
        }
    }

    fn target_mut(&mut self) -> Option<&mut Target> {
        match self {
            PartitionShape::Apart(target)
            | PartitionShape::Deaf(target)
            | PartitionShape::Mute(target)
            | PartitionShape::Muffled(target)
            | PartitionShape::ClientRequests(target)
            | PartitionShape::ClientReplies(target)
            | PartitionShape::ClientLinks(target) => Some(target),
            _ => None,
        }
    }

    /// Whether it is about links between clients and nodes.
    #[must_use]
    pub fn is_of_clients(&self) -> bool {
        match self {
            PartitionShape::ClientRequests(_)
            | PartitionShape::ClientReplies(_)
            | PartitionShape::ClientLinks(_) => true,
            PartitionShape::Links(links) => {
                links.iter().any(|link| link.from == CLIENTS || link.to == CLIENTS)
            }
            _ => false,
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
            Resolved::PowerCut { .. } => Family::PowerCut,
            Resolved::Network { .. } => Family::Network,
            Resolved::Clock { .. } => Family::Clock,
            Resolved::Disk { .. } => Family::Disk,
            Resolved::Application { .. } => Family::Application,
            Resolved::Membership { .. } => Family::Membership,
            Resolved::Resource { .. } => Family::Resource,
            Resolved::Restart { .. } => Family::Restart,
        }
    }

    /// The nodes on which it has to be applied and undone, in order, each once. Of a link that is the receiver.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = match self {
            Resolved::Partition { links, .. } => links.iter().map(|link| link.to.as_str()).collect(),
            Resolved::Pause { nodes }
            | Resolved::Kill { nodes }
            | Resolved::PowerCut { nodes, .. }
            | Resolved::Network { nodes, .. }
            | Resolved::Clock { nodes, .. }
            | Resolved::Disk { nodes, .. }
            | Resolved::Application { nodes, .. }
            | Resolved::Membership { nodes, .. }
            | Resolved::Resource { nodes, .. }
            | Resolved::Restart { nodes, .. } => nodes.iter().map(String::as_str).collect(),
        };
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Whether the nodes are told that something is to happen at a place in their processes.
    #[must_use]
    pub fn is_failpoint(&self) -> bool {
        matches!(self, Resolved::Application { order, .. } if order.is_failpoint())
    }

    /// The nodes whose data goes wrong by it, or is lost, in order: a disk rots, or a node begins on another one.
    #[must_use]
    pub fn rots(&self) -> Vec<&str> {
        match self {
            Resolved::Disk { trouble, .. } if trouble.is_rot() => self.nodes(),
            Resolved::Restart { .. } => self.nodes(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for LinkTrouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |permille: u16| f64::from(permille) / 10.0;
        let parts = [
            (self.loss_permille > 0).then(|| format!("{} % lost", percent(self.loss_permille))),
            (self.duplicate_permille > 0).then(|| format!("{} % twice", percent(self.duplicate_permille))),
            (self.reorder_permille > 0).then(|| format!("{} % overtaken", percent(self.reorder_permille))),
            (self.delay_ms > 0).then(|| format!("{} ms late", self.delay_ms)),
            (self.corrupt_permille > 0).then(|| format!("{} % corrupted", percent(self.corrupt_permille))),
            (self.reset_permille > 0)
                .then(|| format!("{} % answered by a reset", percent(self.reset_permille))),
            (self.bandwidth_kbit > 0).then(|| format!("{} kbit/s", self.bandwidth_kbit)),
        ];
        formatter.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for ClockChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockChange::DriftPercent(percent) => write!(formatter, "{percent:+} %"),
            ClockChange::JumpMs(ms) => write!(formatter, "{ms} ms ahead"),
            ClockChange::Freeze => formatter.write_str("frozen"),
        }
    }
}

impl fmt::Display for MembershipChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            MembershipChange::Remove => "removed",
            MembershipChange::Demote => "without a vote",
            MembershipChange::Replace => "replaced",
            MembershipChange::Transfer => "to lead",
        })
    }
}

impl fmt::Display for RestartData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            RestartData::Wiped => "without its data",
            RestartData::Old => "on old data",
        })
    }
}

impl fmt::Display for ResourceTrouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceTrouble::Descriptors => formatter.write_str("no more descriptors"),
            ResourceTrouble::ProcessorPercent(percent) => write!(formatter, "{percent} % of a processor"),
            ResourceTrouble::MemoryMarginKib(kib) => write!(formatter, "{kib} KiB more memory at most"),
        }
    }
}

impl fmt::Display for DiskTrouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskTrouble::SlowSyncMs(ms) => write!(formatter, "syncs {ms} ms slower"),
            DiskTrouble::Full => formatter.write_str("full"),
            DiskTrouble::SyncFails => formatter.write_str("one sync fails"),
            DiskTrouble::FlipBit => formatter.write_str("one bit flipped"),
            DiskTrouble::ReadsFail => formatter.write_str("reads fail"),
            DiskTrouble::WritesFail => formatter.write_str("writes fail"),
            DiskTrouble::SyncsFail => formatter.write_str("syncs fail"),
            DiskTrouble::NextReadFails => formatter.write_str("one read fails"),
            DiskTrouble::NextWriteFails => formatter.write_str("one write fails"),
            DiskTrouble::Truncate => formatter.write_str("one file cut short"),
            DiskTrouble::StaleChunk => formatter.write_str("a part of a file as it was before"),
            DiskTrouble::SwapChunks => formatter.write_str("two parts of a file swapped"),
        }
    }
}

impl fmt::Display for PowerLoss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            PowerLoss::Everything => "all un-synced lost",
            PowerLoss::Torn => "torn",
            PowerLoss::Reordered => "reordered",
        })
    }
}

/// One line for people: `partition n1 | n2 n3`, `pause n2`, `kill n1 n3`, `clock n2 (frozen)`.
impl fmt::Display for Resolved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Resolved::Partition { description, .. } = self {
            return write!(formatter, "{} {description}", self.family());
        }
        let nodes = self.nodes();
        let nodes = if nodes.is_empty() { "nobody".to_owned() } else { nodes.join(" ") };
        write!(formatter, "{} {nodes}", self.family())?;
        match self {
            Resolved::Network { trouble, .. } => write!(formatter, " ({trouble})"),
            Resolved::Clock { change, .. } => write!(formatter, " ({change})"),
            Resolved::Disk { trouble, .. } => write!(formatter, " ({trouble})"),
            Resolved::Application { order, .. } => write!(formatter, " ({order})"),
            Resolved::Membership { change, .. } => write!(formatter, " ({change})"),
            // The default goes without saying, as before there were others.
            Resolved::PowerCut { loss, .. } if *loss != PowerLoss::default() => {
                write!(formatter, " ({loss})")
            }
            Resolved::Resource { trouble, .. } => write!(formatter, " ({trouble})"),
            Resolved::Restart { data, .. } => write!(formatter, " ({data})"),
            _ => Ok(()),
        }
    }
}

/// The fault that resolves to just this, whoever leads: what a replay and a shrunk schedule are made of.
impl From<Resolved> for Fault {
    fn from(resolved: Resolved) -> Fault {
        match resolved {
            Resolved::Partition { links, content_only: true, .. } => {
                Fault::Partition { shape: PartitionShape::MuffledLinks(links) }
            }
            Resolved::Partition { links, .. } => Fault::Partition { shape: PartitionShape::Links(links) },
            Resolved::Pause { nodes } => Fault::Pause { target: Target::Named(nodes) },
            Resolved::Kill { nodes } => Fault::Kill { target: Target::Named(nodes) },
            Resolved::PowerCut { nodes, loss } => Fault::PowerCut { target: Target::Named(nodes), loss },
            Resolved::Network { nodes, trouble } => Fault::Network { target: Target::Named(nodes), trouble },
            Resolved::Clock { nodes, change } => Fault::Clock { target: Target::Named(nodes), change },
            Resolved::Disk { nodes, trouble } => Fault::Disk { target: Target::Named(nodes), trouble },
            Resolved::Membership { nodes, change } => {
                Fault::Membership { target: Target::Named(nodes), change }
            }
            Resolved::Resource { nodes, trouble } => {
                Fault::Resource { target: Target::Named(nodes), trouble }
            }
            Resolved::Restart { nodes, data } => Fault::Restart { target: Target::Named(nodes), data },
            Resolved::Application { nodes, order } => {
                Fault::Application { target: Target::Named(nodes), order }
            }
        }
    }
}
