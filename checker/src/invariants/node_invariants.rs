//! [`NodeInvariants`]: no node says of itself that an invariant of its own is broken.

use labrys_history::History;

use super::verdict;
use crate::check::{CheckError, Checker, Context};
use crate::observer::invariants;
use crate::verdict::{CheckVerdict, Evidence};

/// The checker `node-invariants`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeInvariants;

impl Checker for NodeInvariants {
    fn name(&self) -> &str {
        "node-invariants"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let seen = invariants(history)?;
        let broken = seen.iter().map(|complaint| Evidence::Broken {
            what: format!("{} says: {}", complaint.node, complaint.what),
            events: vec![complaint.event],
        });
        Ok(verdict(self.name(), seen.len(), broken.collect()))
    }
}
