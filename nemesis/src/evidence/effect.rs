//! What can be seen of a fault on a node, and which of it is a bite.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::commands::Failpoint;
use crate::disk::{DiskKind, Lost};
use crate::host::{ProcessIdentity, ProcessState};

/// How messages are got into trouble on real nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// `xt_statistic`: dropped by chance.
    Statistic,
    /// `xt_TEE`: a copy is sent along.
    Tee,
    /// `NFQUEUE`: a process holds them back, or changes them.
    Queue,
    /// `REJECT --reject-with tcp-reset`.
    Reject,
}

/// How a process is kept short of something on real nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitMechanism {
    /// A control group of the first version.
    CgroupV1,
    /// A control group of the second version.
    CgroupV2,
    /// A process that stops it (SIGSTOP) when it has had its share, and continues it when it has another one.
    Signals,
    /// A resource limit of the process (`prlimit`).
    Rlimit,
}

impl fmt::Display for LimitMechanism {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            LimitMechanism::CgroupV1 => "cgroup v1",
            LimitMechanism::CgroupV2 => "cgroup v2",
            LimitMechanism::Signals => "signals",
            LimitMechanism::Rlimit => "a resource limit",
        })
    }
}

/// Something seen on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Effect {
    /// A rule was found in place after it was made. Not a bite: it needs a packet to drop.
    LinkCut {
        /// The sender whose packets it drops.
        from: String,
    },
    /// The rule's counters when it was removed.
    PacketsDropped {
        /// The sender.
        from: String,
        /// How many packets the node did not receive.
        packets: u64,
        /// How many bytes they had.
        bytes: u64,
    },
    /// Rules that get messages of a sender into trouble were found in place after they were made. Not a bite, as above.
    LinkTroubled {
        /// The sender.
        from: String,
        /// How it is done.
        by: Mechanism,
    },
    /// The rule's counter when it was removed.
    PacketsDoubled {
        /// The sender.
        from: String,
        /// How many packets the node received twice.
        packets: u64,
    },
    /// The rule's counter when it was removed.
    PacketsHeldBack {
        /// The sender.
        from: String,
        /// How many packets were handed to the process that lets them go on later.
        packets: u64,
    },
    /// The rule's counter when it was removed.
    PacketsCorrupted {
        /// The sender.
        from: String,
        /// How many packets were handed to the process that flips a bit of each.
        packets: u64,
    },
    /// The rule's counter when it was removed.
    ConnectionsReset {
        /// The sender.
        from: String,
        /// How many packets were answered with a reset of their connection.
        packets: u64,
    },
    /// The process was seen in state `T`.
    ProcessStopped {
        /// Which process.
        process: ProcessIdentity,
    },
    /// The pause of the process has ended.
    PauseEnded {
        /// Which process.
        process: ProcessIdentity,
        /// What it was doing just before: stopped, as it should; running, if somebody else continued it; gone, if it was
        /// killed meanwhile.
        found: ProcessState,
    },
    /// Another pause still holds the process, which stays stopped.
    StillPaused {
        /// Which process.
        process: ProcessIdentity,
    },
    /// The process was alive, was sent SIGKILL, and was seen gone.
    ProcessKilled {
        /// Which process.
        process: ProcessIdentity,
    },
    /// The daemon was started again and seen alive.
    Restarted {
        /// The new process.
        process: ProcessIdentity,
    },
    /// There was no need to start the daemon again: it was alive.
    AlreadyRunning {
        /// Which process.
        process: ProcessIdentity,
    },
    /// Another kill still holds the node, which stays down.
    StillKilled,
    /// There was no live process to stop or kill.
    NoProcess,
    /// The node was up, and lost power.
    PowerLost {
        /// What ran on it.
        process: ProcessIdentity,
    },
    /// Messages that were lost, late, doubled or overtaken.
    MessagesTroubled {
        /// How many.
        messages: u64,
    },
    /// The node's clock was changed, in the simulator.
    ClockChanged,
    /// The node's clock was read, by the node itself, when it was changed and a little later. Offsets are from the machine's clock, in
    /// microseconds, ahead of it.
    ClockWrong {
        /// When it was changed.
        from_us: i64,
        /// Then.
        to_us: i64,
        /// In between, by the machine's clock; 0 for a leap.
        within_us: u64,
    },
    /// Nobody lives who could read the node's clock, or the process is stopped: the change awaits it. Or the machine was too busy for a reading that
    /// tells a slight drift from none.
    ClockUnread,
    /// The node's clock was read twice, and runs as the machine's does again.
    ClockRight {
        /// How far it is ahead of it, in microseconds: it stays so.
        offset_us: i64,
    },
    /// Another fault goes on to hold the clock's rate.
    ClockStillWrong {
        /// How far it is ahead by now, in microseconds.
        offset_us: i64,
    },
    /// The command of an order succeeded. Not a bite: what it did is still to be seen.
    OrderTaken {
        /// Which order.
        order: String,
        /// What it is to change, as it was before; `None` if there is nothing to look at or it could not be looked at.
        before: Option<String>,
        /// What the command printed, or the beginning of it.
        said: String,
    },
    /// The command of an order failed.
    OrderRefused {
        /// Which order.
        order: String,
        /// What it said.
        detail: String,
    },
    /// The command of an order succeeded, and that is all that can be known of it.
    OrderCarriedOut {
        /// Which order.
        order: String,
    },
    /// What an order changes was looked at before it and after it.
    OrderShows {
        /// Which order.
        order: String,
        /// Before.
        before: String,
        /// After.
        after: String,
    },
    /// What an order changes could not be looked at.
    OrderUnseen {
        /// Which order.
        order: String,
        /// Why.
        detail: String,
    },
    /// An order was taken back.
    OrderTakenBack {
        /// Which order.
        order: String,
    },
    /// The daemon was told what is to happen to whoever passes a place in it. Not a bite: somebody must pass.
    FailpointSet {
        /// What, and where.
        failpoint: Failpoint,
        /// In which process.
        process: ProcessIdentity,
    },
    /// Nothing happens there any more.
    FailpointCleared {
        /// What, and where.
        failpoint: Failpoint,
        /// How often it had happened.
        struck: u64,
    },
    /// The process has ended meanwhile.
    FailpointEnded {
        /// What was to happen, and where.
        failpoint: Failpoint,
        /// Which process.
        process: ProcessIdentity,
    },
    /// What the node is to its cluster was changed, as the cluster says.
    MemberChanged {
        /// `voter 2`.
        before: String,
        /// `no member`.
        after: String,
    },
    /// Who leads, before and after leadership was to be transferred.
    LeadershipMoved {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// The members, or the leader, were not changed as was wanted, or it is not known.
    MembershipPending {
        /// What was missing.
        detail: String,
    },
    /// The members were not to be changed, as too few would be left.
    MembershipRefused {
        /// How few.
        detail: String,
    },
    /// The limits of the process were read after they were lowered.
    DescriptorsLimited {
        /// Which process.
        process: ProcessIdentity,
        /// How many files it may have open: those that it has.
        limit: u64,
        /// How many a process on the node may usually.
        usual: u64,
    },
    /// Another fault goes on to hold the limits of the process.
    StillLimited {
        /// Which process.
        process: ProcessIdentity,
    },
    /// How a process is about to be limited, written down before it is. Not a bite.
    LimitPlanned {
        /// Which process.
        process: ProcessIdentity,
        /// How.
        by: LimitMechanism,
        /// The control group that is made for it, or the file with the orders of the process that stops it.
        place: String,
        /// The control group that it was in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back_to: Option<String>,
    },
    /// The process's share of a processor was read after it was given. Not a bite: it must want more.
    ProcessorLimited {
        /// Which process.
        process: ProcessIdentity,
        /// How.
        by: LimitMechanism,
        /// So many hundredths of one.
        percent: u32,
        /// How often it had been kept from running by then, by an older fault.
        times: u64,
        /// How much of a processor it had used by then, since it was started.
        used_ms: u64,
        /// When that was, by the machine's clock.
        at_ms: u64,
    },
    /// What the process had of a processor while it was limited.
    ProcessorStarved {
        /// Which process.
        process: ProcessIdentity,
        /// How often it was kept from running though it wanted to.
        times: u64,
        /// How much of a processor it used.
        used_ms: u64,
        /// Within this time.
        within_ms: u64,
    },
    /// The limit of the process's memory was read after it was set. Not a bite: it must want more.
    MemoryLimited {
        /// Which process.
        process: ProcessIdentity,
        /// How.
        by: LimitMechanism,
        /// What it may have: of what it asked for since then, or of all that it has.
        limit_kib: u64,
        /// How often it had been refused more by then, by an older fault.
        times: u64,
    },
    /// How often the process was refused memory, or had to wait until some was free.
    MemoryRefused {
        /// Which process.
        process: ProcessIdentity,
        /// As the control group counts it.
        times: u64,
    },
    /// The process has ended while it was short of memory.
    MemoryEnded {
        /// Which process.
        process: ProcessIdentity,
    },
    /// The daemon is dead, and its data directory was emptied.
    DataWiped {
        /// Of so many files.
        files: u64,
        /// With so many bytes.
        bytes: u64,
    },
    /// The data directory was copied while nobody wrote to it. Not a bite: it is still there.
    DataCopied {
        /// So many files.
        files: u64,
        /// With so many bytes.
        bytes: u64,
    },
    /// The daemon is dead, and the copy of its data directory has taken the place of what had become of it.
    DataPutBack {
        /// So many files it had.
        files: u64,
        /// With so many bytes.
        bytes: u64,
        /// And now.
        old_files: u64,
        /// With so many bytes.
        old_bytes: u64,
        /// There was a difference.
        differs: bool,
    },
    /// No copy has taken the place of the data directory, and none will.
    DataNotPutBack {
        /// Why.
        why: String,
    },
    /// Operations of the node's disk that went otherwise than they should.
    DiskTroubled {
        /// How many.
        operations: u64,
    },
    /// What the node's disk had not been asked to sync is gone, or is not, though it might be.
    UnsyncedLost {
        /// How much.
        #[serde(flatten)]
        lost: Lost,
        /// What the disk is made of.
        #[serde(default)]
        disk: DiskKind,
    },
    /// Bytes of the node's disk have gone wrong. Not a bite: somebody must read them.
    DiskRotten {
        /// Of this file, by its path on the disk.
        file: String,
        /// From here on.
        offset: u64,
        /// So many.
        bytes: u64,
    },
    /// There was nothing on the node's disk that could go wrong.
    NothingToRot,
    /// The process that is the node's disk has died, and what it had mounted was taken away, unless it is a real file system that works on.
    DiskGone,
    /// The fault had been undone before it was to be.
    EndedEarly {
        /// By whom, and why.
        by: String,
        /// At least so many milliseconds before.
        earlier_ms: u64,
    },
}

impl Effect {
    /// Whether it shows that the fault had an effect on the system under test.
    #[must_use]
    pub fn is_bite(&self) -> bool {
        match self {
            Effect::PacketsDropped { packets, .. }
            | Effect::PacketsDoubled { packets, .. }
            | Effect::PacketsHeldBack { packets, .. }
            | Effect::PacketsCorrupted { packets, .. }
            | Effect::ConnectionsReset { packets, .. } => *packets > 0,
            Effect::MessagesTroubled { messages } => *messages > 0,
            Effect::DiskTroubled { operations } => *operations > 0,
            Effect::DataWiped { files, .. } => *files > 0,
            Effect::FailpointCleared { struck, .. } => *struck > 0,
            Effect::DataPutBack { differs, .. } => *differs,
            Effect::ProcessorStarved { times, .. } | Effect::MemoryRefused { times, .. } => *times > 0,
            Effect::UnsyncedLost { lost, .. } => lost.bytes > 0 || lost.names > 0,
            Effect::ProcessStopped { .. }
            | Effect::ProcessKilled { .. }
            | Effect::PowerLost { .. }
            | Effect::ClockChanged
            | Effect::MemoryEnded { .. }
            | Effect::FailpointEnded { .. }
            | Effect::OrderCarriedOut { .. } => true,
            Effect::OrderShows { before, after, .. } | Effect::MemberChanged { before, after } => {
                before != after
            }
            Effect::LeadershipMoved { from, to } => from != to,
            Effect::DescriptorsLimited { limit, usual, .. } => limit < usual,
            Effect::ClockWrong { from_us, to_us, .. } => from_us != to_us,
            Effect::LinkCut { .. }
            | Effect::LinkTroubled { .. }
            | Effect::PauseEnded { .. }
            | Effect::StillPaused { .. }
            | Effect::Restarted { .. }
            | Effect::AlreadyRunning { .. }
            | Effect::StillKilled
            | Effect::ClockUnread
            | Effect::ClockRight { .. }
            | Effect::ClockStillWrong { .. }
            | Effect::OrderTaken { .. }
            | Effect::StillLimited { .. }
            | Effect::LimitPlanned { .. }
            | Effect::DataCopied { .. }
            | Effect::DataNotPutBack { .. }
            | Effect::ProcessorLimited { .. }
            | Effect::MemoryLimited { .. }
            | Effect::MembershipPending { .. }
            | Effect::MembershipRefused { .. }
            | Effect::OrderRefused { .. }
            | Effect::OrderUnseen { .. }
            | Effect::OrderTakenBack { .. }
            | Effect::FailpointSet { .. }
            | Effect::DiskRotten { .. }
            | Effect::NothingToRot
            | Effect::DiskGone
            | Effect::EndedEarly { .. }
            | Effect::NoProcess => false,
        }
    }
}
