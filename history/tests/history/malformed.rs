//! Every reader against every kind of damage: refused with file, line, column and what was expected, or mended with a warning.

use labrys_history::{Format, ReadOptions, read_bytes};

/// The kinds of damage.
const DAMAGES: [&str; 8] = ["torn", "unmatched", "two open", "backwards", "type", "UTF-8", "deep", "range"];

enum Outcome {
    /// With a message that begins like this.
    Refused(&'static str),
    /// With a first warning that begins like this.
    Mended(&'static str),
    /// The format cannot be damaged so.
    Impossible,
}

use Outcome::{Impossible, Mended, Refused};

type Case = (&'static str, Vec<u8>, Outcome);

/// A value that no reader follows to its end.
fn deep() -> String {
    "[".repeat(200_000)
}

fn json_lines() -> Vec<Case> {
    let line = |index: u64, time_ns: u64, process: &str, kind: &str, value: &str| {
        format!(
            "{{\"index\":{index},\"time_ns\":{time_ns},\"process\":{process},\"kind\":\"{kind}\",\"f\":\"read\",\"value\":{value}}}\n"
        )
    };
    let first = line(0, 5, "0", "invoke", "null");
    let after = |text: &str| (first.clone() + text).into_bytes();
    let between = |text: &str| (first.clone() + text + &line(9, 9, "9", "invoke", "null")).into_bytes();
    vec![
        (
            "torn",
            after("{\"index\":1,\"ti"),
            Mended("h:2:15: the last line is torn and was dropped (expected the rest of a string"),
        ),
        (
            "unmatched",
            after(&line(1, 5, "1", "ok", "1")),
            Refused("h:2:1: process 1 completes `read` with `ok`, but has no open"),
        ),
        (
            "two open",
            after(&line(1, 5, "0", "invoke", "1")),
            Refused("h:2:1: process 0 invokes `read` while its `read` of event 0"),
        ),
        (
            "backwards",
            after(&line(1, 4, "1", "invoke", "1")),
            Refused("h:2:1: time goes backwards, from 5 ns to 4 ns; expected"),
        ),
        (
            "type",
            between(&line(1, 5, "[]", "invoke", "1")),
            Refused("h:2:35: expected a process: a number from 0, or a name, found seq"),
        ),
        (
            "UTF-8",
            [&between("{\"f\":\"")[..first.len() + 6], b"\xff\"}\n", first.as_bytes()].concat(),
            Refused("h:2:7: expected UTF-8"),
        ),
        (
            "deep",
            between(&line(1, 5, "1", "invoke", &deep())),
            Refused("h:2:199: expected a value nested at most 128 deep"),
        ),
        (
            "range",
            between(&line(1, 5, "18446744073709551616", "invoke", "1")),
            Refused("h:2:53: expected a process: a number from 0"),
        ),
    ]
}

fn edn() -> Vec<Case> {
    let first = "{:process 0 :type :invoke :time 5}\n";
    let after = |text: &str| (first.to_owned() + text).into_bytes();
    vec![
        (
            "torn",
            after("{:process 1 :type"),
            Refused("h:2:18: expected a value or a closing bracket, found the end of the file"),
        ),
        (
            "unmatched",
            after("{:process 1 :type :ok}"),
            Refused("h:2:1: process 1 completes `` with `ok`, but has no open"),
        ),
        (
            "two open",
            after("{:process 0 :type :invoke}"),
            Refused("h:2:1: process 0 invokes `` while its `` of event 0 is still open"),
        ),
        (
            "backwards",
            after("{:process 1 :type :invoke :time 4}"),
            Mended("h:2:1: events earlier than the one before them"),
        ),
        (
            "type",
            after("{:process [] :type :invoke}"),
            Refused("h:2:11: expected a process: an integer from 0, a keyword or nil"),
        ),
        ("UTF-8", [after("{:f \"").as_slice(), b"\xff"].concat(), Refused("h:2:6: expected UTF-8")),
        (
            "deep",
            after(&format!("{{:value {}", deep())),
            Refused("h:2:138: expected a value nested at most 128 deep"),
        ),
        (
            "range",
            after("{:process 18446744073709551616"),
            Refused("h:2:11: expected a process: an integer from 0, a keyword or nil"),
        ),
    ]
}

fn json() -> Vec<Case> {
    let first = "[{\"process\":0,\"type\":\"invoke\",\"time\":5},\n";
    let after = |text: &str| (first.to_owned() + text).into_bytes();
    vec![
        (
            "torn",
            after("{\"process\":1,\"ty"),
            Refused("h:2:17: expected the rest of a string, found the end of the file"),
        ),
        (
            "unmatched",
            after("{\"process\":1,\"type\":\"ok\"}]"),
            Refused("h:2:1: process 1 completes `` with `ok`, but has no open"),
        ),
        (
            "two open",
            after("{\"process\":0,\"type\":\"invoke\"}]"),
            Refused("h:2:1: process 0 invokes `` while its `` of event 0"),
        ),
        (
            "backwards",
            after("{\"process\":1,\"type\":\"invoke\",\"time\":4}]"),
            Mended("h:2:1: events earlier than the one before"),
        ),
        (
            "type",
            after("{\"process\":{},\"type\":\"invoke\"}]"),
            Refused("h:2:13: expected a process: an integer from 0, a name or null"),
        ),
        ("UTF-8", [after("{\"f\":\"").as_slice(), b"\xff\"}]"].concat(), Refused("h:2:7: expected UTF-8")),
        (
            "deep",
            after(&format!("{{\"value\":{}", deep())),
            Refused("h:2:138: expected a value nested at most 128 deep"),
        ),
        (
            "range",
            after("{\"process\":18446744073709551616}]"),
            Refused("h:2:31: expected a process: an integer from 0, a name or null"),
        ),
    ]
}

fn porcupine() -> Vec<Case> {
    let first = "[{\"Call\":5,\"Return\":7},\n";
    let after = |text: &str| (first.to_owned() + text).into_bytes();
    vec![
        (
            "torn",
            after("{\"Call\":1,\"Re"),
            Refused("h:2:14: expected the rest of a string, found the end of the file"),
        ),
        ("unmatched", after("{\"Return\":9}]"), Refused("h:2:12: expected the field `Call`, found none")),
        (
            "two open",
            after("{\"Call\":6,\"Return\":9}]"),
            Mended("h:2:1: operations that overlap another of their client"),
        ),
        (
            "backwards",
            after("{\"Call\":6,\"Return\":5}]"),
            Refused("h:2:21: expected a return at or after the call at 6, found 5"),
        ),
        (
            "type",
            after("{\"Call\":\"a\",\"Return\":9}]"),
            Refused("h:2:11: expected a time of the call: an integer from 0, found string"),
        ),
        (
            "UTF-8",
            [after("{\"Input\":\"").as_slice(), b"\xff\"}]"].concat(),
            Refused("h:2:11: expected UTF-8"),
        ),
        (
            "deep",
            after(&format!("{{\"Input\":{}", deep())),
            Refused("h:2:138: expected a value nested at most 128 deep"),
        ),
        (
            "range",
            after("{\"Call\":18446744073709551616,\"Return\":9}]"),
            Refused("h:2:28: expected a time of the call: an integer"),
        ),
    ]
}

fn jepsen_log() -> Vec<Case> {
    let first = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n";
    let after = |text: &str| (first.to_owned() + "INFO  jepsen.util - " + text).into_bytes();
    vec![
        ("torn", after("0\t:o"), Refused("h:2:23: expected :invoke, :ok, :fail or :info, found `:o`")),
        (
            "unmatched",
            after("1\t:ok\t:read\t1"),
            Refused("h:2:1: process 1 completes `read` with `ok`, but has no open"),
        ),
        (
            "two open",
            after("0\t:invoke\t:read\tnil"),
            Refused("h:2:1: process 0 invokes `read` while its `read` of event 0"),
        ),
        ("backwards", Vec::new(), Impossible),
        (
            "type",
            after("0\t7\t:read\tnil"),
            Refused("h:2:23: expected :invoke, :ok, :fail or :info, found `7`"),
        ),
        (
            "UTF-8",
            [after("0\t:ok\t:read\t\"").as_slice(), b"\xff\""].concat(),
            Refused("h:2:34: expected UTF-8"),
        ),
        (
            "deep",
            after(&format!("0\t:ok\t:read\t{}", deep())),
            Refused("h:2:161: expected a value nested at most 128 deep"),
        ),
        (
            "range",
            after("18446744073709551616\t:ok\t:read\t1"),
            Refused("h:2:21: expected a process: an integer from 0, or a keyword"),
        ),
    ]
}

#[test]
fn every_damage_is_refused_with_its_place_or_mended_with_a_warning_by_every_reader() {
    let mut wrong = Vec::new();
    for format in Format::ALL.iter().copied() {
        let cases = match format {
            Format::JsonLines => json_lines(),
            Format::Edn => edn(),
            Format::Json => json(),
            Format::Porcupine => porcupine(),
            Format::JepsenLog => jepsen_log(),
            #[cfg(feature = "parquet")]
            Format::Parquet => continue,
        };
        assert!(cases.iter().map(|(damage, ..)| *damage).eq(DAMAGES), "{format}: every damage");
        for (damage, text, outcome) in cases {
            let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
            let read = read_bytes(&text, "h", options);
            let (said, expected) = match (read, outcome) {
                (_, Impossible) => continue,
                (Err(error), Refused(expected)) => (error.to_string(), expected),
                (Ok(report), Mended(expected)) => (format!("{}", report.warnings[0]), expected),
                (Err(error), Mended(expected)) => (format!("refused: {error}"), expected),
                (Ok(_), Refused(expected)) => ("accepted".to_owned(), expected),
            };
            if !said.starts_with(expected) {
                wrong.push(format!(
                    "{format}, {damage}: {}\n  expected {expected}",
                    said.chars().take(160).collect::<String>()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
