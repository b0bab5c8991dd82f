//! [`OneLeaderPerTerm`]: election safety, "at most one leader can be elected in a given term" (Ongaro and Ousterhout, "In
//! search of an understandable consensus algorithm", USENIX ATC 2014, figure 3).

use std::collections::BTreeMap;

use labrys_history::History;

use super::verdict;
use crate::check::{CheckError, Checker, Context};
use crate::observer::{LeaderSeen, leaders};
use crate::verdict::{CheckVerdict, Evidence};

/// The checker `one-leader-per-term`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneLeaderPerTerm;

impl Checker for OneLeaderPerTerm {
    fn name(&self) -> &str {
        "one-leader-per-term"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let seen = leaders(history)?;
        // For each term the nodes that led it, with the first event that says so.
        let mut by_term: BTreeMap<i64, Vec<&LeaderSeen>> = BTreeMap::new();
        for leader in &seen {
            let nodes = by_term.entry(leader.term).or_default();
            if nodes.iter().all(|other| other.node != leader.node) {
                nodes.push(leader);
            }
        }
        let broken =
            by_term.iter().filter(|(_, nodes)| nodes.len() > 1).map(|(term, nodes)| Evidence::Broken {
                what: format!(
                    "term {term} had {} leaders: {}",
                    nodes.len(),
                    nodes.iter().map(|leader| leader.node.as_str()).collect::<Vec<_>>().join(", ")
                ),
                events: nodes.iter().map(|leader| leader.event).collect(),
            });
        Ok(verdict(self.name(), seen.len(), broken.collect()))
    }
}
