//! [`NoCrashes`]: a node's process ends only when the harness ends it.
//!
//! A node that crashed is *invalid*. A node that its environment ended (a full disk, somebody's `kill -9`; the harness says so,
//! [`crate::observer`]) says nothing about itself, but what it would have done is not known either: *unknown*, with the
//! statistic `ended-by-environment`.

use labrys_history::History;

use super::verdict;
use crate::check::{CheckError, Checker, Context};
use crate::observer::{ExitSeen, exits};
use crate::verdict::{CheckVerdict, Evidence, Validity};

/// The checker `no-crashes`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCrashes;

impl Checker for NoCrashes {
    fn name(&self) -> &str {
        "no-crashes"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let seen = exits(history)?;
        let unexpected = || seen.iter().filter(|exit| !exit.expected);
        let crashes = unexpected().filter(|exit| exit.environment.is_none()).map(|exit| Evidence::Broken {
            what: format!("{} ended by itself ({}){}", exit.node, exit.status, end_of_log(exit)),
            events: vec![exit.event],
        });
        let ended: Vec<&ExitSeen> = unexpected().filter(|exit| exit.environment.is_some()).collect();
        let mut verdict = verdict(self.name(), seen.len(), crashes.collect());
        if let (Some(first), Validity::Valid) = (ended.first(), verdict.validity) {
            let why = first.environment.as_deref().unwrap_or_default();
            verdict.validity = Validity::Unknown;
            verdict.reason = format!(
                "{} was ended by its environment ({}: {why}){}",
                first.node,
                first.status,
                end_of_log(first)
            );
        }
        verdict.statistics.insert(ENDED_BY_ENVIRONMENT.to_owned(), ended.len().into());
        Ok(verdict)
    }
}

/// The statistic that counts the nodes' ends of which the environment was the cause.
pub const ENDED_BY_ENVIRONMENT: &str = "ended-by-environment";

fn end_of_log(exit: &ExitSeen) -> String {
    let last_line = exit.log.iter().rev().find(|line| !line.trim().is_empty());
    last_line.map(|line| format!("; its log ends: {}", line.trim())).unwrap_or_default()
}
