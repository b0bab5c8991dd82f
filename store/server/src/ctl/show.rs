//! Answers as JSON. Bytes that are text are strings; others are an object with their hexadecimal digits, so that nothing is lost.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::Written;
use crate::machine::{
    Done, Found, LockHolder, RangeResult, Reading, Record, RevisionChanges, RevisionProblem, StepProblem,
    StepResult,
};

fn text(bytes: &Bytes) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn record(record: &Record) -> Value {
    json!({
        "value": text(&record.value),
        "created": record.created,
        "modified": record.modified,
        "version": record.version,
        "lease": record.lease,
    })
}

fn range(range: &RangeResult) -> Value {
    let item =
        |(key, found): &(Bytes, std::sync::Arc<Record>)| json!({ "key": text(key), "record": record(found) });
    json!({ "items": range.items.iter().map(item).collect::<Vec<_>>(), "more": range.more })
}

fn holder(holder: &LockHolder) -> Value {
    json!({ "lease": holder.lease, "token": holder.token })
}

fn revision_problem(problem: &RevisionProblem) -> Value {
    match problem {
        RevisionProblem::Compacted { first } => json!({ "compacted": { "first": first } }),
        RevisionProblem::Future { current } => json!({ "future": { "current": current } }),
    }
}

/// What was read.
pub(super) fn reading(reading: &Reading) -> Value {
    let (name, found) = match &reading.found {
        Found::Revision => ("nothing", Value::Null),
        Found::Value(found) => ("record", found.as_deref().map_or(Value::Null, record)),
        Found::Range(found) => ("range", range(found)),
        Found::NoneBefore { next } => ("none-before", text(next)),
        Found::Lease(view) => {
            let view = view.as_ref().map(|view| {
                json!({
                    "ttl_ms": view.ttl_ms,
                    "left_ms": view.left_ms,
                    "keys": view.key_count,
                    "locks": view.lock_count,
                })
            });
            ("lease", view.unwrap_or_default())
        }
        Found::Lock(found) => ("holder", found.as_ref().map_or(Value::Null, holder)),
        Found::Problem(problem) => ("problem", revision_problem(problem)),
    };
    json!({ name: found, "revision": reading.revision, "compacted": reading.compacted })
}

/// What was written.
pub(super) fn written(written: &Written) -> Value {
    json!({ "outcome": done(&written.done), "revision": written.revision, "index": written.index })
}

fn done(done: &Done) -> Value {
    match done {
        Done::Step(result) => step(result),
        Done::Transaction { held, results } => {
            json!({ "held": held, "results": results.iter().map(step).collect::<Vec<_>>() })
        }
        Done::Aborted { held, step, problem } => {
            json!({ "aborted": { "held": held, "step": step, "problem": step_problem(*problem) } })
        }
        Done::Committed => json!("committed"),
        Done::Conflict { key, revision } => json!({ "conflict": { "key": text(key), "revision": revision } }),
        Done::Revision(problem) => revision_problem(problem),
        Done::Compacted { first } => json!({ "compacted": { "first": first } }),
        Done::LeaseGranted { lease } => json!({ "lease": lease }),
        Done::LeaseRenewed { ttl_ms } => json!({ "renewed": { "ttl_ms": ttl_ms } }),
        Done::LeaseRevoked => json!("revoked"),
        Done::LeaseUnknown => json!("lease-unknown"),
        Done::TooManyLeases => json!("too-many-leases"),
        Done::LockAcquired { token } => json!({ "acquired": { "token": token } }),
        Done::LockBusy { holder: other } => json!({ "busy": holder(other) }),
        Done::LockReleased => json!("released"),
        Done::LockNotHeld => json!("not-held"),
    }
}

fn step(result: &StepResult) -> Value {
    match result {
        StepResult::Value(found) => json!({ "record": found.as_deref().map(record) }),
        StepResult::Range(found) => json!({ "range": range(found) }),
        StepResult::Put => json!("put"),
        StepResult::Swapped => json!("swapped"),
        StepResult::NotSwapped { actual } => {
            json!({ "not-swapped": { "actual": actual.as_ref().map(text) } })
        }
        StepResult::Deleted { existed } => json!({ "deleted": { "existed": existed } }),
        StepResult::Appended { length_bytes } => json!({ "appended": { "length_bytes": length_bytes } }),
        StepResult::Incremented { value } => json!({ "incremented": { "value": value } }),
        StepResult::Problem(problem) => json!({ "problem": step_problem(*problem) }),
    }
}

fn step_problem(problem: StepProblem) -> &'static str {
    match problem {
        StepProblem::NotANumber => "not-a-number",
        StepProblem::Overflow => "overflow",
        StepProblem::ValueTooLarge => "value-too-large",
        StepProblem::ResultTooLarge => "result-too-large",
        StepProblem::LeaseUnknown => "lease-unknown",
        StepProblem::WritesTooLarge => "writes-too-large",
    }
}

/// What a revision changed.
pub(super) fn changes(changes: &RevisionChanges) -> Value {
    let change = |change: &crate::machine::Change| json!({ "key": text(&change.key), "record": change.record.as_deref().map(record) });
    json!({
        "revision": changes.revision,
        "changes": changes.changes.iter().map(change).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_not_lost() {
        assert_eq!(text(&Bytes::from_static(b"caf\xc3\xa9")), json!("café"));
        assert_eq!(text(&Bytes::from_static(b"\xff\x00")), json!({ "hex": "ff00" }));
    }
}
