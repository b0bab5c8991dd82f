//! What faults did: evidence and failures as data.
//!
//! A fault that was applied without an error may still have had no effect: nobody sent a packet over the cut link, the
//! process to be paused was dead already. So each fault carries what was *seen* of it, per node, and one word on whether
//! that amounts to a bite.

mod effect;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::disk::DiskKind;

pub use effect::{Effect, LimitMechanism, Mechanism};

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
    use crate::host::ProcessIdentity;

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
