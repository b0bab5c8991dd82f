//! What the evidence of a verdict points at in the history: nothing is judged here, only looked up.

use labrys_checker::verdict::{Evidence, NonLinearizable, PartitionVerdict, Validity, Verdict};
use labrys_history::{Completion, Event, History, Operation, Value};

/// How many of the last steps of a linearization set the beginning of the window that is shown.
const STEPS_IN_WINDOW: usize = 6;

/// A partition that cannot be linearized, with its place in the history.
#[derive(Clone, Debug)]
pub(crate) struct Violation<'a> {
    /// The checker that found it.
    pub checker: &'a str,
    /// The partition.
    pub partition: &'a PartitionVerdict,
    /// Why.
    pub proof: &'a NonLinearizable,
    /// The position of its operation among all operations; `None` if the history does not have it.
    pub operation: Option<usize>,
    /// The key as text, if the partition has one.
    pub key: Option<String>,
    /// When the prefix ended that cannot be linearized.
    pub prefix_end_ns: u64,
    /// What to look at: from the operations that matter to a little after the end of the prefix.
    pub window_ns: (u64, u64),
}

/// The position of the operation that was invoked by event `index`.
pub(crate) fn find(operations: &[Operation], index: u64) -> Option<usize> {
    operations.binary_search_by_key(&index, |operation| operation.invoke_index()).ok()
}

/// The event of that index.
pub(crate) fn event(history: &History, index: u64) -> Option<&Event> {
    let events = history.events();
    let position = events.binary_search_by_key(&index, |event| event.index).ok()?;
    events.get(position)
}

/// The text of a partition's key, the same as that of the operations' key. What no history can hold is shown as it is.
pub(crate) fn key_text(key: &serde_json::Value) -> Option<String> {
    match serde_json::from_value::<Value>(key.clone()) {
        Ok(Value::Nil) => None,
        Ok(key) => Some(key.to_string()),
        Err(_) => Some(key.to_string()),
    }
}

/// All partitions with a proof that they cannot be linearized, in the order of the verdict.
pub(crate) fn violations<'a>(
    verdict: &'a Verdict,
    history: &History,
    operations: &[Operation],
    end_ns: u64,
) -> Vec<Violation<'a>> {
    let mut found = Vec::new();
    for check in &verdict.checks {
        let invalid = check.partitions.iter().filter(|partition| partition.validity == Validity::Invalid);
        for partition in invalid {
            for evidence in &partition.evidence {
                if let Evidence::NonLinearizable(proof) = evidence {
                    found.push(violation(&check.checker, partition, proof, history, operations, end_ns));
                }
            }
        }
    }
    found
}

fn violation<'a>(
    checker: &'a str,
    partition: &'a PartitionVerdict,
    proof: &'a NonLinearizable,
    history: &History,
    operations: &[Operation],
    end_ns: u64,
) -> Violation<'a> {
    let operation = find(operations, proof.operation);
    let prefix_end_ns = event(history, proof.prefix_end)
        .map(|event| event.time_ns)
        .or_else(|| operation.and_then(|position| operations[position].completion().time_ns()))
        .unwrap_or(end_ns);
    let key = operation
        .and_then(|position| operations[position].key())
        .map(ToString::to_string)
        .or_else(|| key_text(&partition.key));
    let window_ns = window(proof, operations, prefix_end_ns);
    Violation { checker, partition, proof, operation, key, prefix_end_ns, window_ns }
}

/// From the last steps of the linearization and the operation that cannot follow them, to a little after the prefix.
/// Candidates that have been open for long (`info`) do not widen it: their bars come in from the left.
fn window(proof: &NonLinearizable, operations: &[Operation], prefix_end_ns: u64) -> (u64, u64) {
    let last_steps =
        proof.longest_linearization.iter().rev().take(STEPS_IN_WINDOW).map(|step| step.operation);
    let from_ns = last_steps
        .chain([proof.operation])
        .filter_map(|index| find(operations, index))
        .filter(|&position| !matches!(operations[position].completion(), Completion::Info { .. }))
        .map(|position| operations[position].invoke_time_ns())
        .min()
        .unwrap_or(prefix_end_ns);
    let length_ns = prefix_end_ns.saturating_sub(from_ns).max(12);
    (from_ns.saturating_sub(length_ns / 12), prefix_end_ns + length_ns / 6)
}
