//! [`ReplicasAgree`]: state machine safety (Ongaro and Ousterhout 2014, figure 3): replicas that have applied the log up to
//! the same index are in the same state.

use std::collections::BTreeMap;

use labrys_history::History;

use super::verdict;
use crate::check::{CheckError, Checker, Context};
use crate::observer::{DigestSeen, digests};
use crate::verdict::{CheckVerdict, Evidence};

/// The checker `replicas-agree`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplicasAgree;

impl Checker for ReplicasAgree {
    fn name(&self) -> &str {
        "replicas-agree"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let seen = digests(history)?;
        // For each index the digests that were seen, each with the first event that has it.
        let mut by_applied: BTreeMap<i64, Vec<&DigestSeen>> = BTreeMap::new();
        for digest in &seen {
            let digests = by_applied.entry(digest.applied).or_default();
            if digests.iter().all(|other| other.digest != digest.digest) {
                digests.push(digest);
            }
        }
        let broken = by_applied.iter().filter(|(_, digests)| digests.len() > 1).map(|(applied, digests)| {
            let states: Vec<String> =
                digests.iter().map(|digest| format!("{} has {}", digest.node, digest.digest)).collect();
            Evidence::Broken {
                what: format!("replicas differ at index {applied}: {}", states.join(", ")),
                events: digests.iter().map(|digest| digest.event).collect(),
            }
        });
        Ok(verdict(self.name(), seen.len(), broken.collect()))
    }
}
