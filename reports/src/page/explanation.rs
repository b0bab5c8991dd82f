//! Why the verdict is what it is, for a person: each violation with its prefix, its longest linearization, the state, and
//! what the model says to everything that could come next.

use labrys_checker::verdict::{Candidate, CheckVerdict, Evidence, NonLinearizable, Step, Validity};
use labrys_history::Completion;
use maud::{Markup, html};

use super::{badge, key_fragment, operation_link};
use crate::counterexample;
use crate::describe::{count, plural, shortened};
use crate::facts::Facts;
use crate::summary;
use crate::violations::{Violation, event, find};

/// Violations that are explained; the others are named.
const EXPLAINED: usize = 50;
/// Of these so many are open.
const OPEN: usize = 1;
/// Last steps of a linearization that are shown at once.
const STEPS_SHOWN: usize = 10;
/// Steps that are shown at all; the data of the timeline has the rest.
const STEPS_LIMIT: usize = 2_000;
/// Longest text from outside, in characters.
const TEXT_LIMIT: usize = 300;

/// Whether there is a section at all.
pub(super) fn has_something_to_say(facts: &Facts<'_>) -> bool {
    let verdict = facts.inputs.verdict;
    verdict.validity != Validity::Valid || !facts.violations.is_empty()
}

pub(super) fn section(facts: &Facts<'_>) -> Markup {
    if !has_something_to_say(facts) {
        return html! {};
    }
    let rest = facts.violations.get(EXPLAINED..).unwrap_or_default();
    html! {
        section #explanation {
            h2 { @if facts.inputs.verdict.validity == Validity::Unknown { "Why it is unknown" } @else { "What is wrong" } }
            @for (number, violation) in facts.violations.iter().take(EXPLAINED).enumerate() {
                (violation_article(facts, violation, number < OPEN))
            }
            @if !rest.is_empty() {
                p { (plural(rest.len() as u64, "further key")) " cannot be linearized: "
                    @for violation in rest.iter().take(1_000) {
                        @if let Some(key) = &violation.key { a href=(key_fragment(key)) { (shortened(key, 40)) } " " }
                    }
                }
            }
            @for check in &facts.inputs.verdict.checks { (other_evidence(facts, check)) }
            (undecided(facts))
        }
    }
}

fn violation_article(facts: &Facts<'_>, violation: &Violation<'_>, open: bool) -> Markup {
    let partition = violation.partition;
    html! {
        details.violation open[open] {
            summary {
                @match &violation.key {
                    Some(key) => { "Key " code { (shortened(key, 80)) } " is not " (violation.checker) },
                    None => { "The history is not " (violation.checker) },
                }
                @if let Some(key) = &violation.key { " " a.show href=(key_fragment(key)) { "show in the timeline" } }
            }
            @if !partition.reason.is_empty() { p.reason { (shortened(&partition.reason, 600)) } }
            (minimal(facts, violation.proof))
            (prefix(facts, violation))
            (linearization(facts, violation.proof))
            @if !violation.proof.state.is_empty() { p.state { "Then " strong { (summary::state(&shortened(&violation.proof.state, TEXT_LIMIT))) } "." } }
            (candidates(facts, violation.proof))
            (configurations(violation.proof))
            (lacks(violation.proof))
        }
    }
}

/// The few operations that are enough, before all the others.
fn minimal(facts: &Facts<'_>, proof: &NonLinearizable) -> Markup {
    let Some(minimal) = &proof.minimal else { return html! {} };
    html! {
        figure.minimal {
            figcaption {
                @if minimal.is_minimal { "These " (plural(minimal.operations.len() as u64, "operation")) " alone cannot be put in order" }
                @else { (plural(minimal.operations.len() as u64, "operation")) " that cannot be put in order, perhaps more than it takes" }
                " (only the order of beginnings and ends is to scale):"
            }
            pre { (counterexample::diagram(minimal, facts.inputs.history)) }
        }
    }
}

fn prefix(facts: &Facts<'_>, violation: &Violation<'_>) -> Markup {
    let proof = violation.proof;
    html! {
        p {
            "The shortest prefix of the history without a legal order ends at " strong { (facts.times.time(violation.prefix_end_ns)) }
            ", with event " (proof.prefix_end) ", the completion of " (operation_link(proof.operation)) ". "
            "A longest legal order of what came before has " (plural(summary::length(proof), "operation")) "; it ends:"
        }
    }
}

fn linearization(facts: &Facts<'_>, proof: &NonLinearizable) -> Markup {
    let steps = &proof.longest_linearization;
    let hidden = steps.len().saturating_sub(STEPS_SHOWN);
    let first = hidden.saturating_sub(STEPS_LIMIT);
    let numbered = |from: usize| (proof.omitted_steps + 1 + from as u64..).zip(&steps[from..]);
    html! {
        @if hidden > 0 {
            details {
                summary { (plural(proof.omitted_steps + hidden as u64, "operation")) " before" }
                @if proof.omitted_steps + first as u64 > 0 {
                    p.soft { "The first " (count(proof.omitted_steps + first as u64)) " are left out." }
                }
                div.scroll { table {
                    thead { (step_head()) }
                    tbody { @for (number, step) in numbered(first).take(hidden - first) { (step_row(facts, number, step)) } }
                } }
            }
        }
        div.scroll { table.steps {
            thead { (step_head()) }
            tbody {
                @for (number, step) in numbered(hidden) { (step_row(facts, number, step)) }
                @if steps.is_empty() { tr { td colspan="6" { "No operation: the initial state." } } }
            }
        } }
    }
}

fn step_head() -> Markup {
    html! { tr {
        th scope="col" { "order" } th scope="col" { "operation" } th scope="col" { "process" } th scope="col" { "what" }
        th scope="col" { "from – to" } th scope="col" { "state after it" }
    } }
}

fn step_row(facts: &Facts<'_>, number: u64, step: &Step) -> Markup {
    html! { tr data-operation=(step.operation) {
        td.number { (count(number)) }
        td { (operation_link(step.operation)) }
        (who(facts, step.operation, &step.description))
        td { (shortened(&step.state, TEXT_LIMIT)) }
    } }
}

/// Three cells: process, words, times.
fn who(facts: &Facts<'_>, index: u64, description: &str) -> Markup {
    let words = html! { td.what { (shortened(description, TEXT_LIMIT)) } };
    let Some(position) = find(&facts.operations, index) else {
        return html! { td { "?" } (words) td.soft { "not in this history" } };
    };
    let operation = &facts.operations[position];
    let begin_ns = operation.invoke_time_ns();
    html! {
        td.number { (operation.process()) }
        (words)
        td.times {
            (facts.times.time(begin_ns)) " – " (facts.times.end(operation.completion()))
            @if let Completion::Ok { time_ns, .. } | Completion::Fail { time_ns, .. } = operation.completion() {
                " " span.soft { "(" (facts.times.duration(time_ns.saturating_sub(begin_ns))) ")" }
            }
        }
    }
}

fn candidates(facts: &Facts<'_>, proof: &NonLinearizable) -> Markup {
    let row = |candidate: &Candidate| {
        let closes = candidate.operation == proof.operation;
        html! { tr class=[closes.then_some("unplaceable")] data-operation=(candidate.operation) {
            td { "✗ " (operation_link(candidate.operation)) }
            (who(facts, candidate.operation, &candidate.description))
            td { (shortened(&candidate.reason, TEXT_LIMIT)) @if closes { " " strong { "← its completion ends the prefix" } } }
        } }
    };
    html! {
        @if proof.candidates.is_empty() {
            p { "Nothing in the history could come next." }
        } @else {
            div.scroll { table.candidates {
                caption { "What could come next, and why it cannot" }
                thead { tr {
                    th scope="col" { "operation" } th scope="col" { "process" } th scope="col" { "what" }
                    th scope="col" { "from – to" } th scope="col" { "the model says" }
                } }
                tbody { @for candidate in proof.candidates.iter().take(STEPS_LIMIT) { (row(candidate)) } }
            } }
        }
    }
}

/// The other configurations that are left just before the end of the prefix.
fn configurations(proof: &NonLinearizable) -> Markup {
    let surviving = &proof.surviving;
    let others = surviving.configurations.get(1..).unwrap_or_default();
    let reason = |candidate: &Candidate| {
        html! { li {
            "✗ " (operation_link(candidate.operation)) " " (shortened(&candidate.description, TEXT_LIMIT)) ": "
            (shortened(&candidate.reason, TEXT_LIMIT))
        } }
    };
    html! {
        @if !others.is_empty() {
            details.surviving {
                summary {
                    (plural(others.len() as u64 + surviving.omitted, "other configuration")) " left at that moment, "
                    (crate::surviving::extent(surviving)) "; nothing follows there either"
                }
                @for other in others {
                    p { strong { (shortened(&other.state, TEXT_LIMIT)) } " (" (crate::surviving::linearized(other)) ")" }
                    ul { @for candidate in &other.candidates { (reason(candidate)) } }
                }
                @if surviving.omitted > 0 { p.soft { "… and " (count(surviving.omitted)) " more" } }
            }
        }
    }
}

/// What the explanation lacks, and why.
fn lacks(proof: &NonLinearizable) -> Markup {
    html! {
        @for cut_short in &proof.cut_short {
            p.soft { "Not told: " (shortened(&crate::surviving::lack(cut_short), TEXT_LIMIT)) }
        }
    }
}

/// What a check found broken, with links to the events that it is about.
fn other_evidence(facts: &Facts<'_>, check: &CheckVerdict) -> Markup {
    let of_partitions = check.partitions.iter().flat_map(|partition| &partition.evidence);
    html! {
        @for evidence in check.evidence.iter().chain(of_partitions).take(EXPLAINED * 4) {
            @if let Evidence::Broken { what, events } = evidence {
                div.broken {
                    p { strong { (check.checker) } ": " (shortened(what, 600)) }
                    @if !events.is_empty() {
                        p.soft { "Events: " @for index in events.iter().take(100) { (event_link(facts, *index)) " " } }
                    }
                }
            }
        }
    }
}

fn event_link(facts: &Facts<'_>, index: u64) -> Markup {
    let found = event(facts.inputs.history, index);
    html! {
        @match found {
            _ if find(&facts.operations, index).is_some() => (operation_link(index)),
            Some(event) => a href=(format!("#t={}", event.time_ns)) {
                (index) " (" (event.process) " " (event.f) " at " (facts.times.time(event.time_ns)) ")"
            },
            None => span { (index) },
        }
    }
}

/// The checks and keys that could not be decided, with their reasons.
fn undecided(facts: &Facts<'_>) -> Markup {
    let checks: Vec<&CheckVerdict> =
        facts.inputs.verdict.checks.iter().filter(|check| check.validity == Validity::Unknown).collect();
    html! {
        @for check in checks {
            div.undecided {
                p { (badge(Validity::Unknown)) " " strong { (check.checker) } ": "
                    @if check.reason.is_empty() { "no reason was given." } @else { (check.reason) } }
                ul {
                    @for partition in check.partitions.iter().filter(|p| p.validity == Validity::Unknown).take(EXPLAINED) {
                        @let key = crate::violations::key_text(&partition.key);
                        li {
                            @if let Some(key) = &key { a href=(key_fragment(key)) { "key " (shortened(key, 60)) } ": " }
                            (partition.reason)
                        }
                    }
                }
            }
        }
        @if facts.inputs.verdict.checks.is_empty() { p { "Nothing was checked, so nothing is known." } }
    }
}
