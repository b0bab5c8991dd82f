//! The page and the pictures as text: fragments, escaping, odd inputs, size.

use labrys_checker::verdict::{
    Candidate, CheckVerdict, Configuration, CutShort, Evidence, ExplanationPart, NonLinearizable,
    PartitionVerdict, Step, Surviving, Validity, Verdict,
};
use labrys_history::{Event, EventKind, History, Process, Value};
use labrys_reports::report::{self, Rendered};
use labrys_reports::{Inputs, RunDescription};

use crate::support::{Plan, SMALL, run};

const HOSTILE: &str = "</script><script>alert(\"1\")</script><!-- ' & \u{2028} ü \u{1f480} \u{0} ]]>";

fn render(history: &History, verdict: &Verdict) -> Rendered {
    let description = RunDescription::default();
    report::render(&Inputs { history, verdict, run: &description }).unwrap()
}

fn nothing_checked() -> Verdict {
    Verdict::of(Vec::new())
}

/// From the opening of the element with that id to the end of the section.
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let begin = page.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no section {id}"));
    let length = page[begin..].find("</section>").unwrap();
    &page[begin..begin + length]
}

/// One tag a line, so that a snapshot can be read.
fn lines(html: &str) -> String {
    let rows = html.replace("<tr", "\n<tr").replace("<p", "\n<p").replace("<d", "\n<d").replace("<h", "\n<h");
    rows.replace("</table>", "\n</table>").replace("<summary", "\n<summary")
}

#[test]
fn the_verdict_comes_first_in_words_and_symbols() {
    let rendered = report::render(&run(Plan { stale_read: true, ..SMALL }).inputs()).unwrap();
    let begin = rendered.index_html.find("<header").unwrap();
    let end = rendered.index_html.find("</header>").unwrap();
    insta::assert_snapshot!(lines(&rendered.index_html[begin..end]));
}

#[test]
fn a_violation_is_explained_with_links_into_the_timeline() {
    let rendered = report::render(&run(Plan { stale_read: true, ..SMALL }).inputs()).unwrap();
    let explanation = section(&rendered.index_html, "explanation");
    // The steps that are folded away would make the snapshot long.
    let (before, rest) = explanation.split_once("<details><summary>").unwrap();
    let (_, after) = rest.split_once("</details>").unwrap();
    insta::assert_snapshot!(lines(&format!("{before}[folded]{after}")));
}

#[test]
fn what_was_exercised_is_counted() {
    let rendered = report::render(&run(SMALL).inputs()).unwrap();
    insta::assert_snapshot!(lines(section(&rendered.index_html, "exercised")));
}

#[test]
fn the_page_needs_no_network() {
    let rendered = report::render(&run(Plan { stale_read: true, ..SMALL }).inputs()).unwrap();
    let page = rendered.index_html.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "src=", "<link", "@import", "url(//"] {
        assert!(!page.contains(outside), "the page refers to {outside}");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let plan = Plan { stale_read: true, ..SMALL };
    assert_eq!(report::render(&run(plan).inputs()).unwrap(), report::render(&run(plan).inputs()).unwrap());
}

#[test]
fn an_empty_history_has_a_report() {
    let rendered = render(&History::default(), &nothing_checked());
    assert!(rendered.index_html.contains("? UNKNOWN"));
    assert!(rendered.index_html.contains("Nothing was checked"));
    assert!(rendered.timeline_svg.contains("no operation"));
}

#[test]
fn a_history_of_nothing_but_faults_has_a_report() {
    let events = (0..4).map(|index| {
        let action = if index < 2 { "apply" } else { "undo" };
        let value = Value::map(vec![
            ("fault".into(), 1.into()),
            ("action".into(), action.into()),
            ("what".into(), "kill n1".into()),
            ("bit".into(), false.into()),
        ]);
        Event::new(index, index * 1_000_000_000, Process::nemesis(), EventKind::Info, "kill", value)
    });
    let rendered = render(&History::from_validated(events.collect()), &nothing_checked());
    assert!(section(&rendered.index_html, "exercised").contains("✗ did not bite"));
    assert!(rendered.timeline_svg.contains("kill n1 (did not bite)"));
}

#[test]
fn an_undecided_check_without_partitions_gives_its_reason() {
    let check = CheckVerdict {
        checker: "linearizable".to_owned(),
        validity: Validity::Unknown,
        reason: "The budget of 60 s ran out.".to_owned(),
        partitions: Vec::new(),
        evidence: Vec::new(),
        statistics: std::collections::BTreeMap::new(),
    };
    let rendered = render(&run(SMALL).history, &Verdict::of(vec![check]));
    let explanation = section(&rendered.index_html, "explanation");
    assert!(explanation.contains("Why it is unknown") && explanation.contains("The budget of 60 s ran out."));
}

/// A history and a verdict in which everything that can be text is hostile.
fn hostile_run() -> (History, Verdict, RunDescription) {
    let text = || Value::from(HOSTILE);
    let mut invoke = Event::new(0, 1_000, Process::Client(0), EventKind::Invoke, HOSTILE, text());
    invoke.key = Some(text());
    let mut end = Event::new(1, 9_000, Process::Client(0), EventKind::Fail, HOSTILE, text());
    end.key = Some(text());
    end = end.with_error(Some(text()));
    let fault =
        Value::map(vec![("what".into(), text()), ("evidence".into(), text()), ("error".into(), text())]);
    let leader = Value::map(vec![("node".into(), text()), ("term".into(), 1.into())]);
    let nemesis = Event::new(2, 10_000, Process::nemesis(), EventKind::Info, HOSTILE, fault);
    let observer = Event::new(3, 11_000, Process::observer(), EventKind::Info, "leader", leader);
    let exit = Event::new(4, 12_000, Process::observer(), EventKind::Info, HOSTILE, text());
    let words = HOSTILE.to_owned();
    let proof = NonLinearizable {
        prefix_end: 1,
        operation: 0,
        omitted_steps: 0,
        longest_linearization: vec![Step { operation: 0, description: words.clone(), state: words.clone() }],
        state: words.clone(),
        candidates: vec![Candidate { operation: 0, description: words.clone(), reason: words.clone() }],
        surviving: Surviving {
            configurations: vec![Configuration {
                state: words.clone(),
                linearized: vec![0, 77],
                crashed: vec![0],
                omitted_crashed: 1,
                candidates: vec![Candidate {
                    operation: 0,
                    description: words.clone(),
                    reason: words.clone(),
                }],
            }],
            omitted: 1,
            is_all: false,
        },
        minimal: None,
        cut_short: vec![CutShort { part: ExplanationPart::MinimalHistory, reason: words.clone() }],
    };
    let partition = PartitionVerdict {
        key: HOSTILE.into(),
        validity: Validity::Invalid,
        reason: words.clone(),
        algorithm: words.clone(),
        operations: 1,
        evidence: vec![
            Evidence::NonLinearizable(proof),
            Evidence::Broken { what: words.clone(), events: vec![0, 2, 77] },
        ],
        linearization: None,
        statistics: [(words.clone(), HOSTILE.into())].into(),
    };
    let check = CheckVerdict {
        checker: words.clone(),
        validity: Validity::Invalid,
        reason: words.clone(),
        partitions: vec![partition],
        evidence: Vec::new(),
        statistics: [(words.clone(), HOSTILE.into())].into(),
    };
    let description = RunDescription {
        name: words.clone(),
        started: words.clone(),
        command: words.clone(),
        configuration: vec![(words.clone(), words.clone())],
        files: vec![(words.clone(), words.clone())],
        versions: vec![(words.clone(), words)],
        ..RunDescription::default()
    };
    (
        History::from_validated(vec![invoke, end, nemesis, observer, exit]),
        Verdict::of(vec![check]),
        description,
    )
}

/// The report of [`hostile_run`].
pub fn hostile() -> Rendered {
    let (history, verdict, run) = hostile_run();
    report::render(&Inputs { history: &history, verdict: &verdict, run: &run }).unwrap()
}

#[test]
fn hostile_text_stays_text() {
    let rendered = hostile();
    let page = &rendered.index_html;
    assert_eq!(page.matches("<script").count(), 2, "the data and the program");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
    for svg in [&rendered.timeline_svg, &rendered.latency_svg, &rendered.rate_svg] {
        assert!(!svg.contains("<script") && !svg.contains('\0'));
    }
    let begin = page.find("id=\"timeline-data\">").unwrap() + "id=\"timeline-data\">".len();
    let end = begin + page[begin..].find("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(&page[begin..end]).unwrap();
    assert_eq!(data["functions"][0], HOSTILE);
    assert_eq!(data["keys"][0].as_str().unwrap(), Value::from(HOSTILE).to_string());
}

#[test]
fn evidence_that_the_history_does_not_have_is_shown_as_far_as_it_goes() {
    let (_, verdict, _) = hostile_run();
    let rendered = render(&History::default(), &verdict);
    assert!(section(&rendered.index_html, "explanation").contains("not in this history"));
}

#[test]
fn a_verdict_of_a_newer_release_is_drawn_without_what_is_unknown() {
    let json = r#"{"schema":1,"labrys_version":"9.0.0","validity":"valid","later":1,
        "checks":[{"checker":"linearizable","validity":"valid","new":{"x":[]},
        "partitions":[{"key":null,"validity":"valid","algorithm":"new","operations":3}]}]}"#;
    let rendered = render(&run(SMALL).history, &serde_json::from_str(json).unwrap());
    assert!(section(&rendered.index_html, "versions").contains("Labrys 9.0.0"));
}

/// A run of 100,000 operations with a violation.
pub fn large() -> crate::support::Run {
    run(Plan { operations: 100_000, keys: 200, latency_ns: 1_000_000, stale_read: true, ..SMALL })
}

#[test]
fn a_hundred_thousand_operations_fit_into_ten_megabytes() {
    let rendered = report::render(&large().inputs()).unwrap();
    assert!(rendered.index_html.len() < 10_000_000, "the page has {} bytes", rendered.index_html.len());
    assert!(rendered.latency_svg.len() < 1_500_000, "the plot has {} bytes", rendered.latency_svg.len());
    assert!(rendered.timeline_svg.len() < 500_000, "the picture has {} bytes", rendered.timeline_svg.len());
}

#[test]
fn values_that_only_grow_are_cut_before_the_page_grows_without_bound() {
    let mut events = Vec::new();
    for number in 0..2_000_u64 {
        let list = Value::Vector(
            (0..number.cast_signed()).map(|n| Value::Int(1_000_000 * number.cast_signed() + n)).collect(),
        );
        events.push(Event::new(
            2 * number,
            number * 1_000,
            Process::Client(0),
            EventKind::Invoke,
            "read",
            Value::Nil,
        ));
        events.push(Event::new(
            2 * number + 1,
            number * 1_000 + 500,
            Process::Client(0),
            EventKind::Ok,
            "read",
            list,
        ));
    }
    let rendered = render(&History::from_validated(events), &nothing_checked());
    assert!(rendered.index_html.len() < 8_000_000, "the page has {} bytes", rendered.index_html.len());
    assert!(rendered.index_html.contains("more characters)"));
}

#[test]
fn a_history_without_times_is_shown_by_the_order_of_its_events() {
    let event = |index, kind, value| Event::new(index, index, Process::Client(0), kind, "read", value);
    let events = vec![event(0, EventKind::Invoke, Value::Nil), event(1, EventKind::Ok, Value::Int(3))];
    let rendered = render(&History::from_validated(events), &nothing_checked());
    for plot in ["latency", "rate"] {
        assert!(section(&rendered.index_html, plot).contains("no times, only an order"));
    }
    assert!(rendered.index_html.contains("\"measured\":false") && rendered.index_html.contains("1 event"));
}
