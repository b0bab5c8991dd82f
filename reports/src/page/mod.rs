//! `index.html`: everything that is known of a run on one page that needs no network and, to be read, no script.
//!
//! The order is that of the questions: what is the verdict, how do I repeat it, what was exercised, why is it so, show me.
//! The sections are in `sections`, the explanation of violations in `explanation`; the timeline is drawn by the script in
//! `assets/`, from the data of [`crate::columns`].

mod explanation;
mod sections;

use labrys_checker::verdict::Validity;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::columns;
use crate::describe::clean;
use crate::facts::Facts;
use crate::summary;

const STYLE: &str = include_str!("../assets/report.css");
const SCRIPT: [&str; 4] = [
    include_str!("../assets/data.js"),
    include_str!("../assets/draw.js"),
    include_str!("../assets/overview.js"),
    include_str!("../assets/timeline.js"),
];

/// The page. The pictures are SVG made by this crate, and stand in it as they are.
pub(crate) fn html(
    facts: &Facts<'_>,
    timeline_svg: &str,
    latency_svg: &str,
    rate_svg: &str,
    clock_svg: Option<&str>,
) -> String {
    let run = facts.inputs.run;
    let verdict = facts.inputs.verdict;
    let title = format!("{} {}", summary::word(verdict.validity), clean(&run.name));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "Labrys " (env!("CARGO_PKG_VERSION")) };
                title { (title.trim()) " · Labrys" }
                style { (PreEscaped(STYLE)) }
            }
            body class=(validity_class(verdict.validity)) data-timeline="not started" {
                (sections::headline(facts))
                (navigation(facts))
                main {
                    (sections::configuration(facts))
                    (sections::exercised(facts))
                    (explanation::section(facts))
                    (sections::timeline(facts, timeline_svg))
                    (sections::plot(facts, "latency", "Latency", latency_svg))
                    (sections::plot(facts, "rate", "Rate", rate_svg))
                    @if let Some(svg) = clock_svg { (sections::plot(facts, "clock", "Clocks", svg)) }
                    (sections::keys(facts))
                    (sections::observer(facts))
                    (sections::versions(facts))
                }
                script type="application/json" id="timeline-data" { (PreEscaped(columns::json(facts))) }
                script { @for part in SCRIPT { (PreEscaped(part)) } }
            }
        }
    };
    page.into_string()
}

/// The class that colours what carries a verdict.
fn validity_class(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "valid",
        Validity::Unknown => "unknown",
        Validity::Invalid => "invalid",
    }
}

/// A verdict as a small sign with its word.
fn badge(validity: Validity) -> Markup {
    html! { span.badge.(validity_class(validity)) { (summary::word(validity)) } }
}

fn navigation(facts: &Facts<'_>) -> Markup {
    let explained = explanation::has_something_to_say(facts);
    html! {
        nav aria-label="Sections" {
            a href="#configuration" { "Configuration" }
            a href="#exercised" { "Exercised" }
            @if explained { a href="#explanation" { "Explanation" } }
            a href="#timeline" { "Timeline" }
            a href="#latency" { "Latency" }
            a href="#rate" { "Rate" }
            @if !facts.keys.is_empty() { a href="#keys" { "Keys" } }
            a href="#observer" { "Observer" }
            a href="#versions" { "Versions" }
        }
    }
}

/// `key=7` as the part of an address after `#`, percent-encoded.
fn key_fragment(key: &str) -> String {
    let mut fragment = String::from("#key=");
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            fragment.push(byte as char);
        } else {
            fragment.push_str(&format!("%{byte:02X}"));
        }
    }
    fragment
}

/// A link that shows an operation in the timeline.
fn operation_link(index: u64) -> Markup {
    html! { a.operation href={ "#op=" (index) } { "#" (index) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_addresses_are_percent_encoded() {
        assert_eq!(key_fragment("7"), "#key=7");
        assert_eq!(key_fragment("\"ä b\"&<"), "#key=%22%C3%A4%20b%22%26%3C");
    }
}
