//! The terminal's text, word for word.

use std::path::Path;

use labrys_checker::invariants::FaultCoverage;
use labrys_checker::verdict::{CheckVerdict, Evidence, Validity, Verdict};
use labrys_checker::{Checker as _, Context};
use labrys_history::{Event, EventKind, History, Process, Value};
use labrys_reports::report::Paths;
use labrys_reports::summary::{Colour, text};
use labrys_reports::{Inputs, RunDescription};

use crate::support::{Plan, SMALL, run};

fn check(checker: &str, validity: Validity, reason: &str) -> CheckVerdict {
    CheckVerdict {
        checker: checker.to_owned(),
        validity,
        reason: reason.to_owned(),
        partitions: Vec::new(),
        evidence: Vec::new(),
        statistics: std::collections::BTreeMap::new(),
    }
}

#[test]
fn a_violation_is_explained_in_words() {
    let run = run(Plan { stale_read: true, ..SMALL });
    let paths = Paths::in_directory(Path::new("labrys-runs/latest/report"));
    insta::assert_snapshot!(text(&run.inputs(), Some(&paths), Colour::Never));
}

#[test]
fn a_valid_run_says_what_was_exercised() {
    insta::assert_snapshot!(text(&run(SMALL).inputs(), None, Colour::Never));
}

#[test]
fn what_operations_met_each_kind_of_fault_is_said_with_the_recovery() {
    let mut run = run(SMALL);
    let coverage = FaultCoverage::default().check(&run.history, &Context::default()).expect("it always can");
    let mut recovery = check("recovery", Validity::Valid, "");
    recovery.statistics.insert("recovery_ms".to_owned(), 812.into());
    run.verdict.checks.extend([coverage, recovery]);
    let said = text(&run.inputs(), None, Colour::Never);
    let kinds: Vec<&str> = said.lines().filter(|line| line.contains("; in force for ")).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|line| line.contains(" operations meanwhile: ")), "{said}");
    assert!(said.contains("recovered 812 ms after the last was undone"), "{said}");
    let page = labrys_reports::report::render(&run.inputs()).expect("a page").index_html;
    assert!(page.contains("Coverage of the faults"));
}

#[test]
fn clocks_have_a_picture_where_they_were_observed_and_only_there() {
    let mut run = run(SMALL);
    assert_eq!(labrys_reports::report::render(&run.inputs()).expect("a report").clock_svg, None);
    let mut events = run.history.events().to_vec();
    let end_ns = events.last().map_or(0, |event| event.time_ns);
    for (number, (node, offset_us)) in
        [("n1", 0), ("n2", 0), ("n1", -7_000), ("n2", 2_500_000)].into_iter().enumerate()
    {
        let fields = [("node", Value::from(node)), ("offset-us", Value::Int(offset_us))];
        let value = Value::map(
            fields.into_iter().map(|(name, value)| (Value::from(name), value)).collect::<Vec<_>>(),
        );
        let time_ns = end_ns + number as u64 * 1_000_000;
        let index = events.len() as u64;
        events.push(Event::new(index, time_ns, Process::observer(), EventKind::Info, "clock", value));
    }
    run.history = History::new(events).expect("a history");
    let rendered = labrys_reports::report::render(&run.inputs()).expect("a report");
    let svg = rendered.clock_svg.expect("clocks were observed");
    assert!(svg.contains("\nn1\n") && svg.contains("\nn2\n") && svg.contains("clock-plot"), "{svg}");
    assert!(rendered.index_html.contains("clock-plot"));
}

#[test]
fn an_empty_history_is_unknown_and_says_so() {
    let (history, run) = (History::default(), RunDescription::default());
    let verdict = Verdict::of(vec![check("statistics", Validity::Unknown, "No operation succeeded.")]);
    let inputs = Inputs { history: &history, verdict: &verdict, run: &run };
    insta::assert_snapshot!(text(&inputs, None, Colour::Never), @r"
    ? UNKNOWN
      No operation succeeded.

    Exercised in 0 ns
      no operation
      no fault
    ");
}

#[test]
fn a_broken_invariant_names_its_events_and_escape_sequences_are_disarmed() {
    let (history, run) = (History::default(), RunDescription::default());
    let mut leaders = check("one-leader-per-term", Validity::Invalid, "Term 4 had two leaders.");
    let what = "n1 and \u{1b}[31mn2\u{1b}[0m led term 4".to_owned();
    leaders.evidence.push(Evidence::Broken { what, events: vec![12, 31] });
    let verdict = Verdict::of(vec![leaders]);
    let inputs = Inputs { history: &history, verdict: &verdict, run: &run };
    insta::assert_snapshot!(text(&inputs, None, Colour::Never), @r"
    ✗ INVALID
      Term 4 had two leaders.

    one-leader-per-term is broken
      n1 and �[31mn2�[0m led term 4  (events #12, #31)

    Exercised in 0 ns
      no operation
      no fault
    ");
}

#[test]
fn colour_changes_no_word() {
    let run = run(Plan { stale_read: true, ..SMALL });
    let coloured = text(&run.inputs(), None, Colour::Ansi);
    assert!(coloured.contains("\u{1b}[1;31m✗ INVALID\u{1b}[0m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    assert_eq!(plain, text(&run.inputs(), None, Colour::Never));
}
