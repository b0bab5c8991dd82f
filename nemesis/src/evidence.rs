//! What faults did: evidence and failures as data.
//!
//! A fault that was applied without an error may still have had no effect: nobody sent a packet over the cut link, the
//! process to be paused was dead already. So each fault carries what was *seen* of it, per node, and one word on whether
//! that amounts to a bite.

use std::collections::BTreeMap;
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

/// Something seen on a certain node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The node.
    pub node: String,
    /// What was seen.
    #[serde(flatten)]
    pub effect: Effect,
}

/// What was seen of a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// It had an effect on at least one node.
    pub bit: bool,
    /// In the order in which they were made; within one step, by node.
    pub details: Vec<Observation>,
}

impl Evidence {
    /// Adds observations; `bit` follows from them.
    pub fn extend(&mut self, details: impl IntoIterator<Item = Observation>) {
        self.details.extend(details);
        self.bit = self.details.iter().any(|observation| observation.effect.is_bite());
    }

    /// How far the nodes' clocks were from their machines' when they were read last, in microseconds, ahead of them.
    #[must_use]
    pub fn clock_offsets_us(&self) -> BTreeMap<&str, i64> {
        let offsets = self.details.iter().filter_map(|seen| match seen.effect {
            Effect::ClockWrong { to_us: offset_us, .. }
            | Effect::ClockRight { offset_us }
            | Effect::ClockStillWrong { offset_us } => Some((seen.node.as_str(), offset_us)),
            _ => None,
        });
        offsets.collect()
    }

    /// The packets that the rules of a partition dropped, all links together.
    #[must_use]
    pub fn packets_dropped(&self) -> u64 {
        self.details
            .iter()
            .map(|observation| match observation.effect {
                Effect::PacketsDropped { packets, .. } => packets,
                _ => 0,
            })
            .fold(0, u64::saturating_add)
    }
}

/// What a person wants to know of it: `12 packets dropped`, `stopped n2`, `killed n1 n3`; `no effect seen` without a bite.
impl fmt::Display for Evidence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes_where = |wanted: fn(&Effect) -> bool| {
            let nodes =
                self.details.iter().filter(|seen| wanted(&seen.effect)).map(|seen| seen.node.as_str());
            nodes.collect::<Vec<_>>().join(" ")
        };
        let stopped = nodes_where(|effect| matches!(effect, Effect::ProcessStopped { .. }));
        let killed = nodes_where(|effect| matches!(effect, Effect::ProcessKilled { .. }));
        let mut parts = Vec::new();
        match self.packets_dropped() {
            0 => {}
            1 => parts.push("1 packet dropped".to_owned()),
            packets => parts.push(format!("{packets} packets dropped")),
        }
        let powerless = nodes_where(|effect| matches!(effect, Effect::PowerLost { .. }));
        let wrong_clocks = nodes_where(|effect| matches!(effect, Effect::ClockChanged));
        parts.extend(self.details.iter().filter_map(|seen| match &seen.effect {
            Effect::MemberChanged { before, after } => Some(format!("{}: {before}, then {after}", seen.node)),
            Effect::LeadershipMoved { from, to } if from != to => {
                Some(format!("leadership from {from} to {to}"))
            }
            Effect::ProcessorStarved { times, used_ms, within_ms, .. } => Some(format!(
                "{}: {used_ms} ms of a processor in {within_ms} ms, kept from more {times} times",
                seen.node
            )),
            Effect::MemoryRefused { times, .. } if *times > 0 => {
                Some(format!("{}: refused memory {times} times", seen.node))
            }
            Effect::DataWiped { files, bytes } if *files > 0 => {
                Some(format!("{} lost its {files} files with {bytes} bytes", seen.node))
            }
            Effect::DataPutBack { bytes, old_bytes, differs: true, .. } => {
                Some(format!("{} began anew on {old_bytes} bytes of before, instead of {bytes}", seen.node))
            }
            Effect::DataNotPutBack { why } => Some(format!("no old data on {}: {why}", seen.node)),
            Effect::FailpointCleared { failpoint, struck } if *struck > 0 => {
                Some(format!("{}: {failpoint}, {struck} times", seen.node))
            }
            Effect::FailpointEnded { failpoint, .. } => Some(format!("{} ended of {failpoint}", seen.node)),
            Effect::MemoryEnded { .. } => Some(format!("{} ended for want of memory", seen.node)),
            _ => None,
        }));
        let limited = nodes_where(|effect| matches!(effect, Effect::DescriptorsLimited { .. }));
        let verbs = [
            ("no more descriptors for", limited),
            ("stopped", stopped),
            ("killed", killed),
            ("cut the power of", powerless),
            ("changed the clock of", wrong_clocks),
            (
                "order carried out by",
                nodes_where(|effect| {
                    matches!(effect, Effect::OrderCarriedOut { .. } | Effect::OrderShows { .. })
                        && effect.is_bite()
                }),
            ),
        ];
        for (verb, nodes) in verbs {
            if !nodes.is_empty() {
                parts.push(format!("{verb} {nodes}"));
            }
        }
        let sum =
            |count: fn(&Effect) -> u64| self.details.iter().map(|seen| count(&seen.effect)).sum::<u64>();
        let messages = sum(|effect| match effect {
            Effect::MessagesTroubled { messages: number }
            | Effect::PacketsDoubled { packets: number, .. }
            | Effect::PacketsHeldBack { packets: number, .. }
            | Effect::PacketsCorrupted { packets: number, .. }
            | Effect::ConnectionsReset { packets: number, .. } => *number,
            _ => 0,
        });
        let operations = sum(|effect| match effect {
            Effect::DiskTroubled { operations } => *operations,
            _ => 0,
        });
        let offsets = self.clock_offsets_us();
        parts.extend(offsets.iter().map(|(node, us)| format!("clock of {node} {:+.1} ms", *us as f64 / 1e3)));
        parts.extend((messages > 0).then(|| format!("{messages} messages in trouble")));
        parts.extend((operations > 0).then(|| format!("{operations} disk operations in trouble")));
        let lost = sum(|effect| match effect {
            Effect::UnsyncedLost { lost, .. } => lost.bytes,
            _ => 0,
        });
        let is_of_ext4 =
            |effect: &Effect| matches!(effect, Effect::UnsyncedLost { disk: DiskKind::Ext4, .. });
        let where_lost =
            if self.details.iter().any(|seen| is_of_ext4(&seen.effect)) { " by ext4" } else { "" };
        parts.extend((lost > 0).then(|| format!("{lost} un-synced bytes lost{where_lost}")));
        parts.extend(self.details.iter().filter_map(|seen| match &seen.effect {
            Effect::EndedEarly { by, earlier_ms } => {
                Some(format!("ended {:.1} s early on {} by {by}", *earlier_ms as f64 / 1e3, seen.node))
            }
            _ => None,
        }));
        formatter
            .write_str(if parts.is_empty() { "no effect seen".to_owned() } else { parts.join(", ") }.as_str())
    }
}

/// What the nemesis was doing when something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Looking at what it will be done to.
    Prepare,
    /// Making the fault.
    Apply,
    /// Seeing that it is there.
    Verify,
    /// Taking it away.
    Undo,
    /// Seeing that it is gone.
    VerifyUndone,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Step::Prepare => "prepare",
            Step::Apply => "apply",
            Step::Verify => "verify",
            Step::Undo => "undo",
            Step::VerifyUndone => "verify undone",
        })
    }
}

/// What went wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFailure {
    /// The node.
    pub node: String,
    /// When.
    pub step: Step,
    /// Why.
    pub detail: String,
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}: {}", self.node, self.step, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_bites_when_a_packet_was_dropped_and_not_before() {
        let mut evidence = Evidence::default();
        let on_n1 = |effect| Observation { node: "n1".to_owned(), effect };
        evidence.extend([on_n1(Effect::LinkCut { from: "n2".to_owned() })]);
        assert!(!evidence.bit);
        evidence.extend([on_n1(Effect::PacketsDropped { from: "n2".to_owned(), packets: 0, bytes: 0 })]);
        assert!(!evidence.bit);
        evidence.extend([on_n1(Effect::PacketsDropped { from: "n3".to_owned(), packets: 2, bytes: 168 })]);
        assert!(evidence.bit);
        assert_eq!(evidence.packets_dropped(), 2);
    }

    #[test]
    fn evidence_in_words_says_what_was_dropped_stopped_and_killed() {
        let on = |node: &str, effect| Observation { node: node.to_owned(), effect };
        let process = ProcessIdentity { pid: 7, start_ticks: 99 };
        let mut evidence = Evidence::default();
        assert_eq!(evidence.to_string(), "no effect seen");
        evidence.extend([on("n1", Effect::PacketsDropped { from: "n2".to_owned(), packets: 1, bytes: 84 })]);
        assert_eq!(evidence.to_string(), "1 packet dropped");
        evidence.extend([
            on("n2", Effect::ProcessKilled { process }),
            on("n3", Effect::ProcessKilled { process }),
        ]);
        assert_eq!(evidence.to_string(), "1 packet dropped, killed n2 n3");
    }

    #[test]
    fn a_clock_that_went_wrong_is_a_bite_and_where_it_ended_is_in_words() {
        let on = |node: &str, effect| Observation { node: node.to_owned(), effect };
        let mut evidence = Evidence::default();
        evidence.extend([
            on("n1", Effect::ClockWrong { from_us: 7, to_us: 7, within_us: 10 }),
            on("n2", Effect::ClockUnread),
        ]);
        assert!(!evidence.bit);
        evidence.extend([on("n1", Effect::ClockWrong { from_us: 0, to_us: -5_000, within_us: 10_000 })]);
        assert!(evidence.bit);
        evidence.extend([on("n1", Effect::ClockRight { offset_us: -2_300_000 })]);
        assert_eq!(evidence.to_string(), "clock of n1 -2300.0 ms");
    }

    #[test]
    fn a_fault_that_was_ended_early_has_bitten_all_the_same_and_says_who_ended_it() {
        let on = |effect| Observation { node: "n3".to_owned(), effect };
        let mut evidence = Evidence::default();
        let early = Effect::EndedEarly { by: "somebody".to_owned(), earlier_ms: 4_200 };
        evidence.extend([on(Effect::PowerLost { process: ProcessIdentity { pid: 7, start_ticks: 99 } })]);
        evidence.extend([on(early)]);
        assert!(evidence.bit);
        assert_eq!(evidence.to_string(), "cut the power of n3, ended 4.2 s early on n3 by somebody");
    }

    #[test]
    fn observations_are_flat_json() {
        let process = ProcessIdentity { pid: 7, start_ticks: 99 };
        let observation = Observation { node: "n1".to_owned(), effect: Effect::ProcessStopped { process } };
        let text = serde_json::to_string(&observation).unwrap();
        assert_eq!(text, r#"{"node":"n1","effect":"process-stopped","process":{"pid":7,"start_ticks":99}}"#);
        assert_eq!(serde_json::from_str::<Observation>(&text).unwrap(), observation);
    }
}
