//! [`FaultsOverlapped`]: of the faults that were asked for, at least one had an effect while an operation was under way.
//!
//! A run whose faults all fell into pauses of the clients, or hit nothing (a partition over which nobody sent, a kill of a
//! dead node), has tested nothing of what it was made for: it is *unknown*. A fault that was never seen to bite counts for
//! nothing, unless its events do not say ([`crate::observer`]).
//!
//! A fault is in force from the end of its application to the beginning of its undoing, or to the end of the history. An
//! operation without an end is open to the end of the history. Both intervals are closed. O((faults + operations) log).

use std::collections::BTreeMap;

use labrys_history::{History, Value};

use crate::check::{CheckError, Checker, Context};
use crate::observer::{FaultAction, faults};
use crate::verdict::{CheckVerdict, Validity};

/// The checker `faults-overlapped`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultsOverlapped {
    /// Whether the run was to have faults. If not, there is nothing to miss.
    pub requested: bool,
}

/// When a fault was in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InForce {
    from_ns: u64,
    to_ns: u64,
    /// Whether it was seen to have an effect; `None` if none of its events says.
    bit: Option<bool>,
}

impl InForce {
    /// Takes over what a step says: what has bitten once, has bitten.
    fn learn(&mut self, bit: Option<bool>) {
        self.bit = match (self.bit, bit) {
            (Some(before), Some(now)) => Some(before || now),
            (before, now) => before.or(now),
        };
    }
}

impl Checker for FaultsOverlapped {
    fn name(&self) -> &str {
        "faults-overlapped"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let intervals = in_force(history);
        let mut operations: Vec<(u64, u64)> = history
            .operations()
            .iter()
            .map(|operation| {
                (operation.invoke_time_ns(), operation.completion().time_ns().unwrap_or(u64::MAX))
            })
            .collect();
        operations.sort_unstable();
        // latest_end[n]: the latest end of the first n + 1 operations.
        let latest_end: Vec<u64> = operations
            .iter()
            .scan(0, |latest, &(_, end)| {
                *latest = end.max(*latest);
                Some(*latest)
            })
            .collect();
        let biting: Vec<&InForce> = intervals.iter().filter(|interval| interval.bit != Some(false)).collect();
        let overlapping = biting
            .iter()
            .filter(|interval| {
                let begun = operations.partition_point(|&(begin, _)| begin <= interval.to_ns);
                begun > 0 && latest_end[begun - 1] >= interval.from_ns
            })
            .count();
        let missed = self.requested && overlapping == 0;
        let reason = match (missed, intervals.len(), biting.len()) {
            (false, ..) => String::new(),
            (true, 0, _) => "faults were asked for, but none was applied".to_owned(),
            (true, faults, 0) => format!("none of the {faults} faults had an effect"),
            (true, faults, biting) if biting < faults => {
                format!(
                    "none of the {biting} faults (of {faults}) that had an effect overlapped a client operation"
                )
            }
            (true, faults, _) => format!("none of the {faults} faults overlapped a client operation"),
        };
        Ok(CheckVerdict {
            checker: self.name().to_owned(),
            validity: if missed { Validity::Unknown } else { Validity::Valid },
            reason,
            partitions: Vec::new(),
            evidence: Vec::new(),
            statistics: BTreeMap::from([
                ("faults".to_owned(), intervals.len().into()),
                ("faults-that-bit".to_owned(), biting.len().into()),
                ("faults-overlapping-operations".to_owned(), overlapping.into()),
            ]),
        })
    }
}

/// The intervals in which faults were in force, in the order in which they came into it.
fn in_force(history: &History) -> Vec<InForce> {
    let mut intervals: Vec<InForce> = Vec::new();
    let mut open: BTreeMap<Value, usize> = BTreeMap::new();
    for step in faults(history) {
        match step.action {
            FaultAction::Apply if step.ends => {
                let position = *open.entry(step.fault).or_insert_with(|| {
                    intervals.push(InForce { from_ns: step.time_ns, to_ns: u64::MAX, bit: None });
                    intervals.len() - 1
                });
                intervals[position].learn(step.bit);
            }
            FaultAction::Undo => {
                let Some(&position) = open.get(&step.fault) else { continue };
                intervals[position].learn(step.bit);
                if step.begins {
                    // Of several attempts only the last one can have ended it.
                    intervals[position].to_ns = step.time_ns;
                }
                if step.ends {
                    open.remove(&step.fault);
                }
            }
            FaultAction::Apply => {}
        }
    }
    intervals
}
