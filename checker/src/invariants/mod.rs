//! Checkers of what must hold of the nodes themselves, whatever clients saw: a client history alone is weak evidence for many
//! defects.
//!
//! They read the observer's events ([`crate::observer`]). **Without such events they are valid**, with the statistic
//! `events` at 0: a history from elsewhere, or a database that tells nothing of itself, must not become unknown for it, and
//! that the run did exercise something is for [`crate::statistics`] and [`FaultsOverlapped`] to say. A reader who relies on
//! one of them looks at the statistic.

mod available;
mod fault_coverage;
mod faults_overlapped;
mod final_reads;
mod leases_last;
mod no_crashes;
mod node_invariants;
mod one_leader_per_term;
mod recovery;
mod replicas_agree;

use std::collections::BTreeMap;

pub use available::{Available, COUNTED_OUTAGE};
pub use fault_coverage::{FAULT_COVERAGE, FaultCoverage, KindCoverage};
pub use faults_overlapped::FaultsOverlapped;
pub use final_reads::FinalReads;
pub use leases_last::{APART, DRIFT_PERCENT, LATE, LeasesLast};
pub use no_crashes::{ENDED_BY_ENVIRONMENT, NoCrashes};
pub use node_invariants::NodeInvariants;
pub use one_leader_per_term::OneLeaderPerTerm;
pub use recovery::Recovery;
pub use replicas_agree::ReplicasAgree;

use crate::verdict::{CheckVerdict, Evidence, Validity};

/// The most pieces of evidence that one of these checkers gives; the reason says how many there are.
const EVIDENCE_LIMIT: usize = 20;

/// The verdict of a checker that looked at `events` events and found `broken`, in order of the history.
fn verdict(checker: &str, events: usize, mut broken: Vec<Evidence>) -> CheckVerdict {
    let more = match broken.len() {
        0 | 1 => String::new(),
        several => format!(" (and {} more)", several - 1),
    };
    let reason = match broken.first() {
        Some(Evidence::Broken { what, .. }) => format!("{what}{more}"),
        _ => String::new(),
    };
    let statistics =
        BTreeMap::from([("events".to_owned(), events.into()), ("broken".to_owned(), broken.len().into())]);
    let validity = if broken.is_empty() { Validity::Valid } else { Validity::Invalid };
    broken.truncate(EVIDENCE_LIMIT);
    CheckVerdict {
        checker: checker.to_owned(),
        validity,
        reason,
        partitions: Vec::new(),
        evidence: broken,
        statistics,
    }
}
