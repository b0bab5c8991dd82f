//! [`NoCrashes`]: a node's process ends only when the harness ends it.

use labrys_history::History;

use super::verdict;
use crate::check::{CheckError, Checker, Context};
use crate::observer::exits;
use crate::verdict::{CheckVerdict, Evidence};

/// The checker `no-crashes`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCrashes;

impl Checker for NoCrashes {
    fn name(&self) -> &str {
        "no-crashes"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let seen = exits(history)?;
        let broken = seen.iter().filter(|exit| !exit.expected).map(|exit| {
            let last_line = exit.log.iter().rev().find(|line| !line.trim().is_empty());
            let log = last_line.map(|line| format!("; its log ends: {}", line.trim())).unwrap_or_default();
            Evidence::Broken {
                what: format!("{} ended by itself ({}){log}", exit.node, exit.status),
                events: vec![exit.event],
            }
        });
        Ok(verdict(self.name(), seen.len(), broken.collect()))
    }
}
