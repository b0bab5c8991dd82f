//! The history as columns for the page's script: numbers and references into one list of strings, delta-coded where
//! that makes them shorter. About 45 bytes an operation.
//!
//! The result stands inside `<script type="application/json">`, where `</script>` in a value would end the element: every
//! `<` is written `\u003c`, which JSON allows only in strings and that is the only place where it can occur.

use std::collections::BTreeMap;

use labrys_history::Completion;
use serde::Serialize;

use crate::describe;
use crate::facts::{Facts, outcome};
use crate::violations::{event, find};

/// Bytes that all strings together may take, so that a page of growing lists does not grow without bound.
const STRINGS_BYTES: usize = 3_000_000;
/// Lengths to which strings are cut, in characters, tried in order until they fit.
const CUTS: [usize; 4] = [400, 160, 60, 24];
/// How many violations the timeline can show one by one.
pub(crate) const VIOLATIONS_LIMIT: usize = 200;

/// What the script reads; `assets/data.js` is the other side of this seam.
#[derive(Serialize)]
struct Page<'a> {
    end: u64,
    /// Whether times are those of a clock.
    measured: bool,
    lanes: Vec<String>,
    functions: Vec<&'a str>,
    keys: Vec<&'a str>,
    strings: Vec<String>,
    operations: Columns,
    faults: Vec<FaultRow>,
    kinds: Vec<&'a str>,
    leaders: Vec<(u64, &'a str, Option<i64>)>,
    violations: Vec<ViolationRow>,
    broken: Vec<BrokenRow>,
}

/// One entry per operation in each column, in order of invocation.
#[derive(Default, Serialize)]
struct Columns {
    /// Event index of the invocation, minus that of the operation before.
    index: Vec<u64>,
    /// Time of the invocation in nanoseconds, minus that of the operation before.
    time: Vec<u64>,
    /// Nanoseconds to the completion; -1 if there is none.
    duration: Vec<i64>,
    /// Event index of the completion minus that of the invocation; 0 if there is none.
    completion: Vec<u64>,
    process: Vec<u64>,
    lane: Vec<u32>,
    /// Position in `functions`.
    f: Vec<u32>,
    /// 0 ok, 1 fail, 2 info.
    outcome: Vec<u8>,
    /// Position in `keys`; -1 for none.
    key: Vec<i64>,
    /// Positions in `strings`.
    label: Vec<u32>,
    value: Vec<u32>,
    result: Vec<u32>,
    error: Vec<u32>,
}

#[derive(Serialize)]
struct FaultRow {
    id: String,
    kind: usize,
    what: String,
    nodes: String,
    effect: &'static str,
    evidence: String,
    error: String,
    /// Apply begins, apply ends, undo begins, undo ends; the end of the history for what did not happen.
    times: [u64; 4],
    open: bool,
}

#[derive(Serialize)]
struct ViolationRow {
    key: i64,
    title: String,
    reason: String,
    end: u64,
    prefix_end: u64,
    /// Position of the operation; -1 if the history does not have it.
    operation: i64,
    window: (u64, u64),
    state: String,
    /// Steps before the first of `steps`.
    omitted: u64,
    /// Positions of operations, in the order of the linearization, and the state after each.
    steps: Vec<(i64, String)>,
    candidates: Vec<(i64, String)>,
}

#[derive(Serialize)]
struct BrokenRow {
    what: String,
    /// Times of its events.
    times: Vec<u64>,
    /// Positions of operations among its events.
    operations: Vec<usize>,
}

/// The strings that columns refer to, each once. Number 0 is empty.
struct Strings {
    list: Vec<String>,
    position_of: BTreeMap<String, u32>,
    cut: usize,
    bytes: usize,
}

impl Strings {
    fn new(cut: usize) -> Strings {
        let mut strings = Strings { list: Vec::new(), position_of: BTreeMap::new(), cut, bytes: 0 };
        strings.of(String::new());
        strings
    }

    fn of(&mut self, text: String) -> u32 {
        let text = if text.len() > self.cut { describe::shortened(&text, self.cut) } else { text };
        if let Some(position) = self.position_of.get(&text) {
            return *position;
        }
        self.bytes += text.len() + 3;
        let position = u32::try_from(self.list.len()).unwrap_or(0);
        self.list.push(text.clone());
        self.position_of.insert(text, position);
        position
    }
}

/// The JSON, safe to stand inside a script element.
pub(crate) fn json(facts: &Facts<'_>) -> String {
    let functions: Vec<&str> = facts.functions.keys().map(String::as_str).collect();
    let keys: Vec<&str> = facts.keys.iter().map(|key| key.text.as_str()).collect();
    let key_positions: BTreeMap<&str, i64> = keys.iter().copied().zip(0..).collect();
    let (operations, strings) = columns(facts, &functions, &key_positions);
    let page = Page {
        end: facts.end_ns,
        measured: facts.times == describe::Times::Measured,
        lanes: (0..facts.lanes.processes.len()).map(|lane| facts.lanes.name(lane)).collect(),
        functions,
        strings: strings.list,
        operations,
        faults: faults(facts),
        kinds: facts.fault_kinds(),
        leaders: facts.leaders.iter().map(|seen| (seen.time_ns, seen.node.as_str(), seen.term)).collect(),
        violations: violations(facts, &key_positions),
        broken: broken(facts),
        keys,
    };
    match serde_json::to_string(&page) {
        Ok(text) => script_safe(&text),
        Err(error) => unreachable!("numbers, strings and lists are JSON: {error}"),
    }
}

fn script_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn columns(facts: &Facts<'_>, functions: &[&str], keys: &BTreeMap<&str, i64>) -> (Columns, Strings) {
    for (attempt, cut) in CUTS.into_iter().enumerate() {
        let mut strings = Strings::new(cut);
        let columns = columns_with(facts, functions, keys, &mut strings);
        if strings.bytes <= STRINGS_BYTES || attempt + 1 == CUTS.len() {
            return (columns, strings);
        }
    }
    unreachable!("the last attempt is taken whatever its size")
}

fn columns_with(
    facts: &Facts<'_>,
    functions: &[&str],
    keys: &BTreeMap<&str, i64>,
    strings: &mut Strings,
) -> Columns {
    let mut columns = Columns::default();
    let (mut last_index, mut last_time) = (0, 0);
    for (operation, lane) in facts.operations.iter().zip(&facts.lanes.of_operation) {
        let (index, time) = (operation.invoke_index(), operation.invoke_time_ns());
        columns.index.push(index.wrapping_sub(last_index));
        columns.time.push(time.saturating_sub(last_time));
        (last_index, last_time) = (index, time);
        let duration =
            operation.completion().time_ns().and_then(|end| i64::try_from(end.saturating_sub(time)).ok());
        columns.duration.push(duration.unwrap_or(-1));
        columns.completion.push(operation.completion().index().map_or(0, |end| end.saturating_sub(index)));
        columns.process.push(operation.process());
        columns.lane.push(*lane);
        let f = functions.binary_search(&operation.f()).unwrap_or(0);
        columns.f.push(u32::try_from(f).unwrap_or(0));
        columns.outcome.push(outcome(operation.completion()) as u8);
        let key = operation.key().and_then(|key| keys.get(key.to_string().as_str()).copied());
        columns.key.push(key.unwrap_or(-1));
        columns.label.push(strings.of(describe::label(operation)));
        columns.value.push(strings.of(text_or_empty(operation.value())));
        columns.result.push(strings.of(result_text(operation.completion())));
        columns.error.push(
            strings.of(describe::error(operation.completion()).map_or_else(String::new, text_or_empty)),
        );
    }
    columns
}

fn text_or_empty(value: &labrys_history::Value) -> String {
    if value.is_nil() { String::new() } else { value.to_string() }
}

fn result_text(completion: Completion<'_>) -> String {
    match completion {
        Completion::Ok { value, .. } => value.to_string(),
        other => text_or_empty(describe::result(other)),
    }
}

fn faults(facts: &Facts<'_>) -> Vec<FaultRow> {
    let kinds = facts.fault_kinds();
    let row = |fault: &crate::faults::Fault| {
        let end = fault.end_ns(facts.end_ns);
        let applied = fault.applied_ns.unwrap_or(fault.apply_ns);
        FaultRow {
            id: fault.id.clone(),
            kind: kinds.binary_search(&fault.kind.as_str()).unwrap_or(0),
            what: describe::shortened(&fault.what, 200),
            nodes: fault.nodes.join(" "),
            effect: fault.effect(),
            evidence: describe::shortened(&fault.evidence, 200),
            error: describe::shortened(&fault.errors.join("; "), 200),
            times: [fault.apply_ns, applied, fault.undo_ns.unwrap_or(end), end],
            open: fault.undone_ns.is_none(),
        }
    };
    facts.faults.iter().map(row).collect()
}

fn violations(facts: &Facts<'_>, keys: &BTreeMap<&str, i64>) -> Vec<ViolationRow> {
    let position =
        |index: u64| find(&facts.operations, index).and_then(|at| i64::try_from(at).ok()).unwrap_or(-1);
    let row = |violation: &crate::violations::Violation<'_>| {
        let proof = violation.proof;
        let steps = proof.longest_linearization.iter();
        let candidates = proof.candidates.iter();
        ViolationRow {
            key: violation.key.as_deref().and_then(|key| keys.get(key).copied()).unwrap_or(-1),
            title: violation
                .key
                .as_ref()
                .map_or_else(|| "the history".to_owned(), |key| format!("key {key}")),
            reason: violation.partition.reason.clone(),
            end: violation.prefix_end_ns,
            prefix_end: proof.prefix_end,
            operation: position(proof.operation),
            window: violation.window_ns,
            state: describe::shortened(&proof.state, 200),
            omitted: proof.omitted_steps,
            steps: steps
                .map(|step| (position(step.operation), describe::shortened(&step.state, 60)))
                .collect(),
            candidates: candidates
                .map(|c| (position(c.operation), describe::shortened(&c.reason, 300)))
                .collect(),
        }
    };
    facts.violations.iter().take(VIOLATIONS_LIMIT).map(row).collect()
}

fn broken(facts: &Facts<'_>) -> Vec<BrokenRow> {
    use labrys_checker::verdict::Evidence;
    let checks = facts.inputs.verdict.checks.iter();
    let evidence = checks.flat_map(|check| {
        check.evidence.iter().chain(check.partitions.iter().flat_map(|partition| &partition.evidence))
    });
    evidence
        .filter_map(|evidence| {
            if let Evidence::Broken { what, events } = evidence { Some((what, events)) } else { None }
        })
        .take(VIOLATIONS_LIMIT)
        .map(|(what, events)| BrokenRow {
            what: describe::shortened(what, 300),
            times: events
                .iter()
                .filter_map(|&index| event(facts.inputs.history, index))
                .map(|e| e.time_ns)
                .collect(),
            operations: events.iter().filter_map(|&index| find(&facts.operations, index)).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_string_can_end_the_script_element() {
        let hostile = serde_json::to_string("</script><script>alert(1)</script><!--\u{2028}").unwrap();
        let safe = script_safe(&hostile);
        assert!(!safe.contains('<') && !safe.contains('\u{2028}'));
        assert_eq!(
            serde_json::from_str::<String>(&safe).unwrap(),
            serde_json::from_str::<String>(&hostile).unwrap()
        );
    }

    #[test]
    fn equal_strings_are_stored_once_and_long_ones_are_cut() {
        let mut strings = Strings::new(10);
        let long = "x".repeat(50);
        assert_eq!([strings.of("a".into()), strings.of(long.clone()), strings.of("a".into())], [1, 2, 1]);
        assert_eq!(strings.list[2], format!("{}… (40 more characters)", "x".repeat(10)));
    }
}
