//! The diagram of messages.

use labrys_reports::lamport::{Arrow, Diagram, Mark, Span, Window, svg};

fn arrow(from: usize, to: usize, sent_ns: u64, arrived_ns: impl Into<Option<u64>>, label: &str) -> Arrow {
    Arrow { from, to, sent_ns, arrived_ns: arrived_ns.into(), label: label.to_owned(), is_routine: false }
}

fn diagram() -> Diagram {
    let ms = 1_000_000;
    Diagram {
        title: "lost <votes> & \"others\"".to_owned(),
        lines: ["n1", "n2", "n3"].map(str::to_owned).to_vec(),
        messages: vec![
            arrow(0, 1, ms, 2 * ms, "vote for term 1"),
            arrow(0, 2, ms, None, "vote for term 1"),
            arrow(1, 0, 2 * ms, 3 * ms, "vote granted"),
            Arrow { is_routine: true, ..arrow(0, 1, 50 * ms, 51 * ms, "heartbeat") },
            arrow(0, 1, 100 * ms, 101 * ms, "entries 1–1, commit 0"),
            arrow(0, 7, 100 * ms, 101 * ms, "to a line that is not there"),
        ],
        marks: vec![
            Mark { line: 0, at_ns: 0, label: "starts".to_owned() },
            Mark { line: 0, at_ns: 3 * ms, label: "leads term 1".to_owned() },
        ],
        spans: vec![Span { line: 2, from_ns: 0, to_ns: Some(100 * ms), label: "cut <off>".to_owned() }],
    }
}

#[test]
fn a_diagram_is_drawn_as_before() {
    insta::assert_snapshot!("lamport", svg(&diagram(), Window::whole(100)));
}

#[test]
fn what_is_routine_outside_of_the_window_or_beyond_the_limit_is_left_out_and_counted() {
    let whole = svg(&diagram(), Window::whole(100));
    assert!(whole.contains("1 message that changed nothing left out"), "{whole}");
    assert!(!whole.contains("not there"));
    let last = svg(&diagram(), Window::whole(1));
    assert!(last.contains("3 messages before these left out"), "{last}");
    assert!(last.contains("entries 1–1") && !last.contains("vote granted"));
    let early = svg(&diagram(), Window { from_ns: 0, to_ns: 10_000_000, messages: 100 });
    assert!(early.contains("vote granted") && !early.contains("entries 1–1"));
}

#[test]
fn a_lost_message_has_a_cross_and_no_head() {
    let mut diagram = diagram();
    diagram.messages.truncate(2);
    let svg = svg(&diagram, Window::whole(100));
    assert_eq!((svg.matches("ll-cross\"").count(), svg.matches("ll-head\"").count()), (1, 1));
}

#[test]
fn an_arrow_without_words_takes_no_row_from_those_that_have_some() {
    let heads = |label: &str| {
        let mut diagram = diagram();
        diagram.messages = vec![arrow(0, 1, 1, 5, "first"), arrow(2, 1, 1, 5, label)];
        diagram.marks = vec![Mark { line: 1, at_ns: 5, label: "done".to_owned() }];
        let drawn = svg(&diagram, Window::whole(9));
        let y2 = drawn.split("class=\"ll-arrow\"").skip(1).filter_map(|line| line.split("y2=\"").nth(1));
        y2.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (without, with) = (heads(""), heads("second"));
    assert_eq!(without[0], without[1]);
    assert_ne!(with[0], with[1], "the mark is in the same gap");
}

#[test]
fn words_from_outside_are_escaped_and_nothing_at_all_can_be_drawn() {
    let svg_of = |diagram: &Diagram| svg(diagram, Window::whole(9));
    let drawn = svg_of(&diagram());
    assert!(drawn.contains("lost &lt;votes&gt; &amp; &quot;others&quot;") && !drawn.contains("<votes>"));
    assert!(drawn.contains("cut &lt;off&gt;"));
    assert!(svg_of(&Diagram::default()).ends_with("</svg>"));
}
