//! The sections of the page, but for the explanation.

use std::collections::BTreeMap;

use labrys_checker::invariants::KindCoverage;
use labrys_checker::verdict::{CheckVerdict, Validity};
use maud::{Markup, PreEscaped, html};

use super::{badge, key_fragment, validity_class};
use crate::describe::{Times, count, plural, shortened};
use crate::facts::{Facts, KeyFacts};
use crate::faults::Fault;
use crate::summary;

/// Rows of a table that are shown at once; more are behind a click.
const ROWS_SHOWN: usize = 30;
/// Valid keys whose links are shown at once.
const KEYS_SHOWN: usize = 200;
/// Keys for which there is a link at all; the timeline's own choice has the rest.
const KEYS_LIMIT: usize = 5_000;
/// Rows for observations at all.
const OBSERVATIONS_LIMIT: usize = 1_000;
/// Longest text from outside in a table, in characters.
const TEXT_LIMIT: usize = 300;

pub(super) fn headline(facts: &Facts<'_>) -> Markup {
    let run = facts.inputs.run;
    let verdict = facts.inputs.verdict;
    html! {
        header.(validity_class(verdict.validity)) {
            p.verdict role="status" { (summary::word(verdict.validity)) }
            h1 { @if run.name.is_empty() { "Consistency report" } @else { (run.name) } }
            p.reason { (facts.reason()) }
            dl.repeat {
                @if let Some(seed) = run.seed { dt { "Seed" } dd { code { (seed) } } }
                @if !run.started.is_empty() { dt { "Started" } dd { time datetime=(run.started) { (run.started) } } }
                dt { "Lasted" } dd { (facts.times.duration(facts.end_ns)) }
                @for (what, address) in &run.files { dt { (what) } dd { a href=(address) { (address) } } }
                @if !run.command.is_empty() {
                    dt { "Repeat" }
                    dd { code #command { (run.command) } " " button #copy type="button" hidden { "Copy" } }
                }
            }
        }
    }
}

pub(super) fn configuration(facts: &Facts<'_>) -> Markup {
    let pairs = &facts.inputs.run.configuration;
    html! {
        section #configuration {
            h2 { "Configuration" }
            @if pairs.is_empty() { p.none { "None was recorded." } }
            dl.pairs { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } }
        }
    }
}

pub(super) fn exercised(facts: &Facts<'_>) -> Markup {
    html! {
        section #exercised {
            h2 { "What was exercised" }
            div.columns {
                (functions(facts))
                (checks(facts))
            }
            (faults(facts))
        }
    }
}

fn functions(facts: &Facts<'_>) -> Markup {
    let measured = facts.times == Times::Measured;
    let row = |name: &str, outcomes: [u64; 3], latency_us: Option<&hdrhistogram::Histogram<u64>>| {
        let quantile = |quantile: f64| {
            let of = |h: &hdrhistogram::Histogram<u64>| {
                Times::Measured.duration(h.value_at_quantile(quantile) * 1_000)
            };
            latency_us.filter(|histogram| !histogram.is_empty()).map_or_else(|| "–".to_owned(), of)
        };
        html! {
            tr {
                th scope="row" { (shortened(name, 60)) }
                @for number in outcomes { td.number { (count(number)) } }
                td.number { (quantile(0.5)) }
                td.number { (quantile(0.99)) }
                td.number { (quantile(1.0)) }
            }
        }
    };
    html! {
        table {
            caption { "Operations, and the latency of those that ended ok" }
            thead { tr {
                th scope="col" { "function" }
                th scope="col" { "ok" } th scope="col" { "fail" } th scope="col" { "info" }
                th scope="col" { "median" } th scope="col" { "99 %" } th scope="col" { "slowest" }
            } }
            tbody { @for (name, f) in &facts.functions { (row(name, f.outcomes, measured.then_some(&f.latency_us))) } }
            @if facts.functions.len() > 1 { tfoot { (row("all", facts.outcomes(), None)) } }
            @if facts.functions.is_empty() { tbody { tr { td colspan="7" { "No operation." } } } }
        }
    }
}

fn checks(facts: &Facts<'_>) -> Markup {
    let row = |check: &CheckVerdict| {
        let invalid = check.partitions.iter().filter(|p| p.validity == Validity::Invalid).count() as u64;
        html! {
            tr {
                th scope="row" { (check.checker) }
                td { (badge(check.validity)) }
                td {
                    (check.reason)
                    @if check.partitions.iter().any(|partition| !partition.key.is_null()) {
                        " " span.soft { "(" (plural(check.partitions.len() as u64, "key")) ", " (count(invalid)) " invalid)" }
                    }
                    (statistics(check))
                }
            }
        }
    };
    let checks = &facts.inputs.verdict.checks;
    html! {
        table {
            caption { "Checks" }
            thead { tr { th scope="col" { "checker" } th scope="col" { "verdict" } th scope="col" { "reason" } } }
            tbody {
                @for check in checks { (row(check)) }
                @if checks.is_empty() { tr { td colspan="3" { "Nothing was checked." } } }
            }
        }
    }
}

fn statistics(check: &CheckVerdict) -> Markup {
    html! {
        @if !check.statistics.is_empty() {
            details { summary { "Statistics" }
                dl.pairs.small {
                    @for (name, value) in &check.statistics { div { dt { (name) } dd { (shortened(&value.to_string(), 400)) } } }
                }
            }
        }
    }
}

fn faults(facts: &Facts<'_>) -> Markup {
    let row = |fault: &Fault| {
        let end_ns = fault.end_ns(facts.end_ns);
        let class = match fault.bit {
            Some(true) => "bit",
            Some(false) => "missed",
            None => "soft",
        };
        let sign = match fault.bit {
            Some(true) => "✓ ",
            Some(false) => "✗ ",
            None => "",
        };
        html! {
            tr {
                th scope="row" { (fault.kind) }
                td { (shortened(&fault.what, TEXT_LIMIT)) }
                td.number { a href=(format!("#t={}-{}", fault.apply_ns, end_ns)) { (facts.times.time(fault.apply_ns)) } }
                td.number { (facts.times.duration(end_ns.saturating_sub(fault.apply_ns)))
                    @if fault.undone_ns.is_none() { " (never undone)" } }
                td.(class) { (sign) (fault.effect()) }
                td { (shortened(&fault.evidence, TEXT_LIMIT))
                    @for error in &fault.errors { p.error { (shortened(error, TEXT_LIMIT)) } } }
            }
        }
    };
    let rows: Vec<Markup> = facts.faults.iter().map(row).collect();
    let head = html! { tr {
        th scope="col" { "fault" } th scope="col" { "what" } th scope="col" { "from" } th scope="col" { "for" }
        th scope="col" { "did it bite?" } th scope="col" { "seen by" }
    } };
    html! {
        @if rows.is_empty() { p.none { "No fault was injected." } } @else { (table("Faults", &head, &rows)) }
        (coverage(facts))
    }
}

/// What each kind of fault went with, if the verdict says so.
fn coverage(facts: &Facts<'_>) -> Markup {
    let milliseconds = |ms: u64| Times::Measured.duration(ms.saturating_mul(1_000_000));
    let row = |(kind, of_kind): (&String, &KindCoverage)| {
        html! {
            tr {
                th scope="row" { (kind) }
                td.number { @if of_kind.planned > 0 { (count(of_kind.planned)) } }
                td.number { (count(of_kind.applied))
                    @if of_kind.never_came > 0 { " (" (count(of_kind.never_came)) " never came)" } }
                td.number.missed[of_kind.bit == 0] { (count(of_kind.bit)) }
                td.number { (milliseconds(of_kind.active_ms)) }
                td.number { (count(of_kind.operations)) }
                td.number { (count(of_kind.not_ok)) }
                td.number { (count(of_kind.slow)) }
            }
        }
    };
    let rows: Vec<Markup> = facts.coverage.iter().map(row).collect();
    let head = html! { tr {
        th scope="col" { "kind" } th scope="col" { "planned" } th scope="col" { "applied" } th scope="col" { "bit" }
        th scope="col" { "in force for" } th scope="col" { "operations meanwhile" } th scope="col" { "not ok" }
        th scope="col" { "slow" }
    } };
    html! {
        @if !rows.is_empty() { (table("Coverage of the faults", &head, &rows)) }
        @if let Some(ms) = facts.recovery_ms.filter(|_| !facts.faults.is_empty()) {
            p { "The system had recovered " (milliseconds(ms)) " after the last fault was undone." }
        }
    }
}

/// A table of which the first rows are shown, and the rest on request.
fn table(caption: &str, head: &Markup, rows: &[Markup]) -> Markup {
    let (shown, hidden) = rows.split_at(rows.len().min(ROWS_SHOWN));
    html! {
        div.scroll { table {
            caption { (caption) }
            thead { (head) }
            tbody { @for row in shown { (row) } }
        } }
        @if !hidden.is_empty() {
            details { summary { (plural(hidden.len() as u64, "more")) }
                div.scroll { table { thead { (head) } tbody { @for row in hidden { (row) } } } } }
        }
    }
}

/// The place of the interactive timeline. Without a script, and on paper, the picture stands in it.
pub(super) fn timeline(facts: &Facts<'_>, svg: &str) -> Markup {
    html! {
        section #timeline {
            h2 { "Timeline" }
            div #interactive hidden { }
            figure.static {
                (PreEscaped(svg))
                figcaption {
                    "The " @if facts.violations.is_empty() { "beginning of the run" } @else { "first violation" }
                    ", without a script. Every operation is in the interactive timeline."
                }
            }
        }
    }
}

/// A plot over time; of a history without times it would say nothing.
pub(super) fn plot(facts: &Facts<'_>, id: &str, title: &str, svg: &str) -> Markup {
    html! {
        section.plot id=(id) {
            h2 { (title) }
            @match facts.times {
                Times::Measured => figure { (PreEscaped(svg)) },
                Times::Positions => p.none { "The history has no times, only an order." },
            }
        }
    }
}

pub(super) fn keys(facts: &Facts<'_>) -> Markup {
    if facts.keys.is_empty() {
        return html! {};
    }
    let with = |wanted: fn(&KeyFacts) -> bool| {
        facts.keys.iter().filter(|key| wanted(key)).take(KEYS_LIMIT).collect()
    };
    let bad: Vec<&KeyFacts> = with(|key| key.validity > Some(Validity::Valid));
    let good: Vec<&KeyFacts> = with(|key| key.validity <= Some(Validity::Valid));
    let (shown, hidden) = good.split_at(good.len().min(KEYS_SHOWN));
    html! {
        section #keys {
            h2 { "Keys" }
            p { "A key shows its operations alone in the timeline." }
            @if !bad.is_empty() { (key_list(&bad)) }
            (key_list(shown))
            @if !hidden.is_empty() {
                details { summary { (plural(hidden.len() as u64, "more key")) } (key_list(hidden)) }
            }
        }
    }
}

fn key_list(keys: &[&KeyFacts]) -> Markup {
    html! {
        ul.keys {
            @for key in keys {
                @let class = key.validity.map_or("soft", validity_class);
                @let sign = match key.validity {
                    Some(Validity::Valid) => "✓ ",
                    Some(Validity::Unknown) => "? ",
                    Some(Validity::Invalid) => "✗ ",
                    None => "",
                };
                li.(class) {
                    a href=(key_fragment(&key.text)) title=(key.reason) { (sign) (shortened(&key.text, 60)) }
                    " " span.soft { (count(key.operations)) }
                }
            }
        }
    }
}

pub(super) fn observer(facts: &Facts<'_>) -> Markup {
    let mut by_term: BTreeMap<Option<i64>, Vec<(u64, &str)>> = BTreeMap::new();
    for seen in &facts.leaders {
        by_term.entry(seen.term).or_default().push((seen.time_ns, &seen.node));
    }
    let head = html! { tr { th scope="col" { "term" } th scope="col" { "leader" } th scope="col" { "seen first at" } } };
    let rows: Vec<Markup> = by_term
        .iter()
        .map(|(term, seen)| {
            let mut nodes: Vec<&str> = Vec::new();
            for (_, node) in seen {
                if !nodes.contains(node) {
                    nodes.push(node);
                }
            }
            html! { tr {
                th scope="row" { (term.map_or_else(|| "–".to_owned(), |term| term.to_string())) }
                td { (shortened(&nodes.join(", "), TEXT_LIMIT)) }
                td.number { a href=(format!("#t={}", seen[0].0)) { (facts.times.time(seen[0].0)) } }
            } }
        })
        .collect();
    html! {
        section #observer {
            h2 { "What the observer saw" }
            @if rows.is_empty() { p.none { "No leader was seen." } } @else { (table("Leaders, by term", &head, &rows)) }
            (observations(facts))
        }
    }
}

fn observations(facts: &Facts<'_>) -> Markup {
    let head =
        html! { tr { th scope="col" { "time" } th scope="col" { "what" } th scope="col" { "detail" } } };
    let rows: Vec<Markup> = facts
        .observations
        .iter()
        .take(OBSERVATIONS_LIMIT)
        .map(|seen| {
            html! { tr {
                td.number { a href=(format!("#t={}", seen.time_ns)) { (facts.times.time(seen.time_ns)) } }
                th scope="row" { (seen.what) }
                td { (shortened(&seen.detail, TEXT_LIMIT)) " " span.soft { "(event " (seen.index) ")" } }
            } }
        })
        .collect();
    html! { @if !rows.is_empty() { (table("Other observations", &head, &rows)) } }
}

pub(super) fn versions(facts: &Facts<'_>) -> Markup {
    let verdict = facts.inputs.verdict;
    html! {
        section #versions {
            h2 { "Versions" }
            dl.pairs {
                @for (name, version) in &facts.inputs.run.versions { div { dt { (name) } dd { (version) } } }
                div { dt { "judged by" } dd { "Labrys " (verdict.labrys_version) ", verdict schema " (verdict.schema) } }
                div { dt { "drawn by" } dd { "Labrys " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}
