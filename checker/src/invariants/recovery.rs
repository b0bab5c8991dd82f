//! [`Recovery`]: once all faults are undone, the system comes back.
//!
//! A system that does not come back is not known to be right, for what it would have answered was never seen: *unknown*, not
//! invalid. The harness says in its history whether it came back ([`crate::observer`]); a history that says nothing of it
//! (from elsewhere, or of a run that was cut short) is valid here, with the statistic `events` at 0.

use std::collections::BTreeMap;

use labrys_history::History;

use crate::check::{CheckError, Checker, Context};
use crate::observer::recoveries;
use crate::verdict::{CheckVerdict, Validity};

/// The checker `recovery`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery;

impl Checker for Recovery {
    fn name(&self) -> &str {
        "recovery"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let seen = recoveries(history)?;
        let failed = seen.iter().find(|recovery| !recovery.recovered);
        let mut statistics = BTreeMap::from([("events".to_owned(), seen.len().into())]);
        if let Some(after_ms) = seen.last().and_then(|recovery| recovery.after_ms) {
            statistics.insert("recovery_ms".to_owned(), after_ms.into());
        }
        Ok(CheckVerdict {
            checker: self.name().to_owned(),
            validity: if failed.is_some() { Validity::Unknown } else { Validity::Valid },
            reason: failed.map(|recovery| recovery.what.clone()).unwrap_or_default(),
            partitions: Vec::new(),
            evidence: Vec::new(),
            statistics,
        })
    }
}
