//! [`Statistics`]: how many operations of each function ended how, and whether the run exercised anything at all.
//!
//! A run in which nothing succeeded proves nothing, so it is *unknown*, never valid:
//! - no client operation at all, or none that ended `ok`;
//! - a function that was attempted and never once ended `ok`, unless it is one whose failure is an answer ([`Statistics`]'s
//!   `may_always_fail`: a `cas` may find another value every time, a `revoke` a lease that has ended). Most of all reads: without one, nothing was observed.
//!
//! This checker finds nothing invalid. O(n).

use std::collections::BTreeMap;

use labrys_history::{EventKind, History};
use serde_json::json;

use crate::check::{CheckError, Checker, Context};
use crate::verdict::{CheckVerdict, Validity};

/// The checker `statistics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Functions that may fail every time in a sound run.
    pub may_always_fail: Vec<String>,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics { may_always_fail: ["cas", "revoke"].map(String::from).to_vec() }
    }
}

/// How the operations of one function ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    ok: u64,
    fail: u64,
    info: u64,
}

impl Statistics {
    fn vacuity(&self, by_function: &BTreeMap<String, Counts>) -> Option<String> {
        if by_function.is_empty() {
            return Some("the history has no client operations".to_owned());
        }
        if by_function.values().all(|counts| counts.ok == 0) {
            return Some("no operation succeeded".to_owned());
        }
        let never: Vec<String> = by_function
            .iter()
            .filter(|(f, counts)| counts.ok == 0 && !self.may_always_fail.contains(f))
            .map(|(f, counts)| format!("{f} (tried {} times)", counts.fail + counts.info))
            .collect();
        (!never.is_empty()).then(|| format!("never succeeded: {}", never.join(", ")))
    }
}

impl Checker for Statistics {
    fn name(&self) -> &str {
        "statistics"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let mut by_function: BTreeMap<String, Counts> = BTreeMap::new();
        let mut total = Counts::default();
        for operation in history.operations() {
            let counts = by_function.entry(operation.f().to_string()).or_default();
            for counts in [counts, &mut total] {
                match operation.completion().kind() {
                    EventKind::Ok => counts.ok += 1,
                    EventKind::Fail => counts.fail += 1,
                    EventKind::Invoke | EventKind::Info => counts.info += 1,
                }
            }
        }
        let vacuity = self.vacuity(&by_function);
        let statistics = by_function.iter().map(|(f, counts)| (format!("f.{f}"), counts.to_json()));
        let statistics = statistics.chain([("total".to_owned(), total.to_json())]).collect();
        Ok(CheckVerdict {
            checker: self.name().to_owned(),
            validity: if vacuity.is_some() { Validity::Unknown } else { Validity::Valid },
            reason: vacuity.unwrap_or_default(),
            partitions: Vec::new(),
            evidence: Vec::new(),
            statistics,
        })
    }
}

impl Counts {
    fn to_json(self) -> serde_json::Value {
        json!({ "ok": self.ok, "fail": self.fail, "info": self.info })
    }
}
