//! [`FinalReads`]: when the system had recovered, every key was read once more.
//!
//! A write that was acknowledged and then lost may have been seen by nobody since: only the last read of its key shows it. A run
//! that did not get that read has not looked, and is *unknown*. The harness says where the final operations begin and whether
//! the system had recovered by then ([`crate::observer`]); from one that had not, answers cannot be wanted, and the checker of
//! the recovery says the rest. A history that says nothing of final operations is valid here, with the statistic `keys` at 0.
//!
//! O(n log n) for n operations.

use std::collections::{BTreeMap, BTreeSet};

use labrys_history::{EventKind, History, Value};

use crate::check::{CheckError, Checker, Context};
use crate::observer::final_phases;
use crate::verdict::{CheckVerdict, Validity};

/// How many keys a reason names.
const NAMED_KEYS: usize = 5;

/// The checker `final-reads`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FinalReads;

impl Checker for FinalReads {
    fn name(&self) -> &str {
        "final-reads"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let begin = final_phases(history)?.into_iter().find(|phase| phase.recovered).map(|phase| phase.event);
        let mut touched: BTreeSet<Option<&Value>> = BTreeSet::new();
        let mut answered: BTreeSet<Option<&Value>> = BTreeSet::new();
        if let Some(begin) = begin {
            for operation in history.operations() {
                if operation.invoke_index() < begin {
                    touched.insert(operation.key());
                } else if operation.completion().kind() == EventKind::Ok {
                    answered.insert(operation.key());
                }
            }
        }
        let missing: Vec<Option<&Value>> = touched.difference(&answered).copied().collect();
        Ok(CheckVerdict {
            checker: self.name().to_owned(),
            validity: if missing.is_empty() { Validity::Valid } else { Validity::Unknown },
            reason: reason(&missing, touched.len()),
            partitions: Vec::new(),
            evidence: Vec::new(),
            statistics: BTreeMap::from([
                ("keys".to_owned(), touched.len().into()),
                ("keys-without-final-read".to_owned(), missing.len().into()),
            ]),
        })
    }
}

fn reason(missing: &[Option<&Value>], keys: usize) -> String {
    let named: Vec<String> =
        missing.iter().take(NAMED_KEYS).copied().flatten().map(Value::to_string).collect();
    let more = if missing.len() > NAMED_KEYS { ", …" } else { "" };
    match (missing.len(), named.is_empty()) {
        (0, _) => String::new(),
        (_, true) => "the system had recovered, but no final read succeeded".to_owned(),
        (count, false) => format!(
            "the system had recovered, but {count} of {keys} keys have no successful final read: {}{more}",
            named.join(", ")
        ),
    }
}
