//! Jepsen's plain log.

use labrys_history::{Completion, Format, Process, ReadOptions, ReadReport, Value, read_bytes, read_value};

fn read(text: &str) -> Result<ReadReport, String> {
    read_bytes(
        text.as_bytes(),
        "h.log",
        ReadOptions { format: Some(Format::JepsenLog), ..ReadOptions::default() },
    )
    .map_err(|error| error.to_string())
}

#[test]
fn tabs_and_blanks_separate_alike() {
    let with_tabs =
        "INFO  jepsen.util - 3\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 3\t:fail\t:cas\t[1 2]\n";
    let with_blanks =
        "INFO  jepsen.util - 3   :invoke :cas    [1 2]\r\n\r\nINFO  jepsen.util - 3   :fail   :cas    [1 2]";
    let expected = read(with_tabs).unwrap();
    assert_eq!(read(with_blanks).unwrap().history, expected.history);
    assert!(expected.warnings.is_empty());
    let operation = expected.history.operations()[0];
    let pair = read_value("[1 2]").unwrap();
    assert_eq!((operation.process(), operation.f(), operation.value()), (3, "cas", &pair));
    assert_eq!(operation.completion(), Completion::Fail { time_ns: 1, index: 1, value: &pair, error: None });
}

#[test]
fn a_keyword_in_place_of_the_value_of_a_client_is_an_error_and_no_value() {
    let text = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
                INFO  jepsen.util - 1\t:invoke\t:write\t4\n\
                INFO  jepsen.util - 2\t:invoke\t:read\tnil\n\
                INFO  jepsen.util - 0\t:fail\t:read\t:timed-out\n\
                INFO  jepsen.util - 1\t:info\t:write\t:timed-out\n\
                INFO  jepsen.util - 2\t:ok\t:read\t:a\n\
                INFO  jepsen.util - :nemesis\t:info\t:start\t:majority\n";
    let history = read(text).unwrap().history;
    let operations = history.operations();
    let timed_out = Value::keyword("timed-out");
    let (value, error) = (&Value::Nil, Some(&timed_out));
    let fail = Completion::Fail { time_ns: 3, index: 3, value, error };
    let info = Completion::Info { time_ns: Some(4), index: Some(4), value, error };
    assert_eq!((operations[0].completion(), operations[1].completion()), (fail, info));
    assert_eq!(operations[1].value(), &Value::Int(4));
    let ok = Completion::Ok { time_ns: 5, index: 5, value: &Value::keyword("a") };
    assert_eq!(operations[2].completion(), ok);
    assert_eq!(history.named(Process::NEMESIS).next().unwrap().value, Value::keyword("majority"));
}

#[test]
fn an_error_may_follow_the_value_and_anything_may_precede_the_mark() {
    let text = "2026-11-21 03:00:00,123{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:invoke\t:read\tnil\n\
                INFO [2026-11-21 03:00:00,124] jepsen worker 0 - jepsen.util 0\t:info\t:read\tnil\t[:a \"b\"]\n";
    let history = read(text).unwrap().history;
    let Completion::Info { value, error, .. } = history.operations()[0].completion() else { panic!("info") };
    assert_eq!((value, error), (&Value::Nil, Some(&read_value("[:a \"b\"]").unwrap())));
}

#[test]
fn other_lines_are_skipped_and_counted() {
    let text = "INFO  jepsen.core - Worker 0 starting\nINFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
                INFO  jepsen.util - Waiting for something\n";
    let report = read(text).unwrap();
    assert_eq!(report.history.events().len(), 1);
    assert_eq!(report.warnings[0].to_string(), "h.log:1:1: lines that are no operations were skipped: 2");
}

#[test]
fn a_mistake_is_reported_with_its_place_and_what_was_expected() {
    let first = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n";
    for (line, expected) in [
        (
            "INFO  jepsen.util - 1\t:begin\t:read\tnil",
            "h.log:2:23: expected :invoke, :ok, :fail or :info, found `:begin`",
        ),
        (
            "INFO  jepsen.util - -1\t:invoke\t:read\tnil",
            "h.log:2:21: expected a process: an integer from 0, or a keyword, found `-1`",
        ),
        (
            "INFO  jepsen.util - 1\t:invoke\tread\tnil",
            "h.log:2:31: expected a function: a keyword, found `read`",
        ),
        ("INFO  jepsen.util - 1\t:invoke\t:read", "h.log:2:36: expected a value, found the end of the line"),
        ("INFO  jepsen.util - 1\t:invoke\t:cas\t[1 2", "h.log:2:40: expected a value or a closing bracket"),
        (
            "INFO  jepsen.util - 1\t:invoke\t:read\tnil nil 7",
            "h.log:2:45: expected the end of the line after the error, found `7`",
        ),
        ("INFO  jepsen.util - 1\t:ok\t:read\tnil", "h.log:2:1: process 1 completes `read` with `ok`"),
        ("INFO  jepsen.util - 0\t:invoke\t:read\tnil", "h.log:2:1: process 0 invokes `read` while"),
    ] {
        let error = read(&format!("{first}{line}\n{first}")).expect_err(line);
        assert!(error.starts_with(expected), "{line}: {error}");
    }
}
