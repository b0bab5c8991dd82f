//! A minimal counterexample for people: a diagram of a screen's width in plain text, and the same history as EDN, which every
//! checker of this field reads.
//!
//! The diagram keeps the order of all invocations and completions and nothing else of the times: between two neighbours there
//! is the same distance, whether it was a microsecond or a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use labrys_checker::verdict::{Candidate, Evidence, MinimalHistory, MinimalOperation, Verdict};
use labrys_history::{Event, EventKind, History, Value, write_edn};

use crate::describe::{clean, shortened};

/// Width of the bars, in characters, if there are not more ends than that.
const BARS_WIDTH: usize = 56;
/// Longest description, in characters.
const TEXT_LIMIT: usize = 60;

/// The diagram: a line for each operation, with its process and its call.
///
/// `├──┤` is an operation from its invocation to its completion, `├┄┄▷` one that may take effect later, or never.
#[must_use]
pub fn diagram(minimal: &MinimalHistory, history: &History) -> String {
    let columns = Columns::of(&minimal.operations);
    let mut text = String::new();
    let words: Vec<(String, String, String)> = minimal
        .operations
        .iter()
        .map(|operation| {
            let process = history.event(operation.operation).map(|event| event.process.to_string());
            (
                process.map(|process| format!("process {process}")).unwrap_or_default(),
                format!("#{}", operation.operation),
                shortened(&clean(&operation.description), TEXT_LIMIT),
            )
        })
        .collect();
    let width = |cell: fn(&(String, String, String)) -> &String| {
        words.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0)
    };
    let (processes, numbers) = (width(|row| &row.0), width(|row| &row.1));
    for (operation, (process, number, what)) in minimal.operations.iter().zip(&words) {
        let bar = columns.bar(operation);
        let bars = columns.width;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{process:processes$}  {bar:bars$}  {number:numbers$}  {what}");
    }
    text
}

/// Where the ends of the operations stand in the diagram.
struct Columns {
    /// The column of each end: invocations before completions where they are of one instant.
    of_end: BTreeMap<(u64, bool), usize>,
    width: usize,
}

impl Columns {
    fn of(operations: &[MinimalOperation]) -> Columns {
        let ends: BTreeSet<(u64, bool)> = operations
            .iter()
            .flat_map(|operation| {
                let completion = operation.completed_ns.map(|time_ns| (time_ns, true));
                std::iter::once((operation.invoked_ns, false)).chain(completion)
            })
            .collect();
        let distance = (BARS_WIDTH / ends.len().max(1)).clamp(1, 6);
        let width = ends.len() * distance + 2;
        Columns {
            of_end: ends.into_iter().enumerate().map(|(rank, end)| (end, rank * distance)).collect(),
            width,
        }
    }

    fn bar(&self, operation: &MinimalOperation) -> String {
        let begin = self.of_end[&(operation.invoked_ns, false)];
        let indent = " ".repeat(begin);
        match operation.completed_ns {
            Some(time_ns) => {
                let inner = self.of_end[&(time_ns, true)].saturating_sub(begin + 1);
                format!("{indent}├{}┤", "─".repeat(inner))
            }
            None => format!("{indent}├{}▷", "┄".repeat(self.width.saturating_sub(begin + 2))),
        }
    }
}

/// The counterexample as a history of its own, in EDN. An operation that did not complete within the shortest prefix without
/// a legal order has the completion `:info`: the rest cannot be linearized even if it never happened.
///
/// # Errors
/// None, but for what a writer to memory could say.
pub fn edn(minimal: &MinimalHistory, history: &History) -> std::io::Result<String> {
    let mut events: Vec<Event> = Vec::new();
    let mut open: Vec<Event> = Vec::new();
    for operation in &minimal.operations {
        let Some(invocation) = history.event(operation.operation) else { continue };
        events.push(invocation.clone());
        match operation.completion.and_then(|index| history.event(index)) {
            Some(completion) => events.push(completion.clone()),
            None => open.push(invocation.clone()),
        }
    }
    events.sort_by_key(|event| event.index);
    let end = events.last().map_or((0, 0), |event| (event.index, event.time_ns));
    for (number, mut event) in open.into_iter().enumerate() {
        (event.index, event.time_ns) = (end.0 + 1 + number as u64, end.1);
        event.kind = EventKind::Info;
        events.push(event.with_error(Some(Value::keyword("not-completed"))));
    }
    let mut bytes = Vec::new();
    write_edn(&mut bytes, &events)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is wrong with a history, as a section of a Markdown page: for the first partition that has a minimal counterexample
/// its diagram, the model's reasons, and the EDN. `None` if no partition has one.
///
/// # Errors
/// As for [`edn`].
pub fn markdown(title: &str, verdict: &Verdict, history: &History) -> std::io::Result<Option<String>> {
    let partitions = verdict.checks.iter().flat_map(|check| &check.partitions);
    let found = partitions.flat_map(|partition| &partition.evidence).find_map(|evidence| match evidence {
        Evidence::NonLinearizable(proof) => proof.minimal.as_ref().map(|minimal| (proof, minimal)),
        Evidence::Broken { .. } => None,
    });
    let Some((proof, minimal)) = found else { return Ok(None) };
    let all = history.operations().len();
    let number = minimal.operations.len();
    let mut text = format!("## {title}\n\n{number} of {all} operations cannot be put in order:\n\n```text\n");
    text.push_str(&diagram(minimal, history));
    let _ = writeln!(
        text,
        "```\n\nA longest legal order of all that came before ends with {}. Then:\n",
        proof.state
    );
    let of_it = |candidate: &&Candidate| {
        minimal.operations.iter().any(|operation| operation.operation == candidate.operation)
    };
    for candidate in proof.candidates.iter().filter(of_it) {
        let _ = writeln!(text, "- #{} {}: {}", candidate.operation, candidate.description, candidate.reason);
    }
    let _ = writeln!(text, "\n```clojure\n{}```\n", edn(minimal, history)?);
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use labrys_history::Process;

    use super::*;

    fn operation(operation: u64, description: &str, completion: Option<u64>) -> MinimalOperation {
        MinimalOperation {
            operation,
            description: description.to_owned(),
            invoked_ns: operation * 1_000,
            completion,
            completed_ns: completion.map(|index| index * 1_000),
        }
    }

    /// Writes 1 and 2 one after the other, a crashed write, and a read of the first.
    fn stale_read() -> (MinimalHistory, History) {
        let event = |index: u64, process, kind, f: &str, value| {
            Event::new(index, index * 1_000, Process::Client(process), kind, f, value)
        };
        let (invoke, ok) = (EventKind::Invoke, EventKind::Ok);
        let history = History::from_validated(vec![
            event(0, 0, invoke, "write", Value::Int(1)),
            event(1, 0, ok, "write", Value::Int(1)),
            event(2, 1, invoke, "write", Value::Int(7)),
            event(3, 0, invoke, "write", Value::Int(2)),
            event(4, 0, ok, "write", Value::Int(2)),
            event(5, 2, invoke, "read", Value::Nil),
            event(6, 2, ok, "read", Value::Int(1)),
        ]);
        let operations = vec![
            operation(0, "write 1", Some(1)),
            operation(2, "write 7", None),
            operation(3, "write 2", Some(4)),
            operation(5, "read → 1", Some(6)),
        ];
        (MinimalHistory { operations, is_minimal: true }, history)
    }

    #[test]
    fn the_diagram_shows_the_order_of_all_ends() {
        let (minimal, history) = stale_read();
        let diagram = diagram(&minimal, &history);
        let column =
            |line: usize, mark: char| diagram.lines().nth(line).unwrap().chars().position(|c| c == mark);
        assert!(column(0, '┤') < column(1, '├') && column(1, '├') < column(2, '├'), "{diagram}");
        assert!(column(2, '┤') < column(3, '├') && column(3, '┤') <= column(1, '▷'), "{diagram}");
        assert!(diagram.lines().all(|line| line.chars().count() <= 100), "{diagram}");
    }

    #[test]
    fn operations_of_one_instant_touch() {
        let touching = MinimalHistory {
            operations: vec![
                MinimalOperation { completed_ns: Some(5), ..operation(0, "write 1", Some(2)) },
                MinimalOperation {
                    invoked_ns: 5,
                    completed_ns: Some(9),
                    ..operation(1, "read → 0", Some(3))
                },
            ],
            is_minimal: true,
        };
        let diagram = diagram(&touching, &History::default());
        let column =
            |line: usize, mark: char| diagram.lines().nth(line).unwrap().chars().position(|c| c == mark);
        assert!(column(1, '├') < column(0, '┤'), "{diagram}");
    }

    #[test]
    fn as_edn_it_is_a_history_with_what_did_not_complete_at_the_end() {
        let (minimal, history) = stale_read();
        let text = edn(&minimal, &history).unwrap();
        let report = labrys_history::read_bytes(text.as_bytes(), "x.edn", Default::default()).unwrap();
        let kinds: Vec<EventKind> = report.history.events().iter().map(|event| event.kind).collect();
        assert_eq!(kinds.len(), 8, "{text}");
        assert_eq!(kinds[7], EventKind::Info);
        assert_eq!(report.history.operations().len(), 4);
    }
}
