//! Porcupine-style JSON: what it looks like, what other programs' files become, and where broken ones are reported.

use labrys_history::{
    Completion, Details, Event, EventKind, Format, History, Process, ReadError, ReadOptions, ReadReport,
    Value, WriteError, read_bytes, read_value, write_history,
};

fn read(text: &str) -> Result<ReadReport, ReadError> {
    let options = ReadOptions { format: Some(Format::Porcupine), ..ReadOptions::default() };
    read_bytes(text.as_bytes(), "h.json", options)
}

fn write(history: &History) -> (String, Vec<String>) {
    let mut text = Vec::new();
    let notes = write_history(&mut text, history, Format::Porcupine).unwrap();
    (String::from_utf8(text).unwrap(), notes)
}

fn event(index: u64, time_ns: u64, process: u64, kind: EventKind, f: &str, value: &str) -> Event {
    Event::new(index, time_ns, Process::Client(process), kind, f, read_value(value).unwrap())
}

#[test]
fn an_operation_is_a_line_that_go_reads_and_the_rest_is_in_the_metadata() {
    let mut nemesis = event(3, 40, 0, EventKind::Info, "kill", "nil");
    nemesis.process = Process::nemesis();
    let mut gave_up = event(5, 60, 1, EventKind::Info, "cas", "nil");
    gave_up = gave_up.with_error(Some(Value::keyword("timeout")));
    let mut invoke = event(1, 10, 1, EventKind::Invoke, "cas", "[1 2]");
    (invoke.key, gave_up.key) = (Some(Value::Int(7)), Some(Value::Int(7)));
    invoke.details = Details::new(None, vec![("node".into(), "n1".into())]);
    let history = History::new(vec![
        event(0, 10, 0, EventKind::Invoke, "read", "nil"),
        invoke,
        event(2, 30, 0, EventKind::Ok, "read", "3"),
        nemesis,
        event(4, 60, 0, EventKind::Invoke, "read", "nil"),
        gave_up,
    ])
    .unwrap();
    let (text, notes) = write(&history);
    assert_eq!(
        text,
        r#"[
{"ClientId":0,"Input":{"f":"read","value":null},"Call":10,"Output":{"kind":"ok","value":3},"Return":30,"Metadata":{"labrys":{"index":0,"completed_index":2}}},
{"ClientId":1,"Input":{"f":"cas","key":7,"value":[1,2]},"Call":10,"Output":{"kind":"info","value":null,"error":{"$keyword":"timeout"}},"Return":61,"Metadata":{"labrys":{"index":1,"completed_index":5,"extra":[["node","n1"]],"completed_time_ns":60}}},
{"ClientId":0,"Input":{"f":"read","value":null},"Call":60,"Output":{"kind":"info","value":null},"Return":61,"Metadata":{"labrys":{"index":4,"completed_index":null}}}
]
"#
    );
    let left_out =
        "1 events of the nemesis and of other named processes are no operations, and were left out";
    assert_eq!(notes, [left_out]);
    assert_eq!(read(&text).unwrap().history.operations(), history.operations());
}

#[test]
fn an_empty_history_is_an_empty_array() {
    let (text, notes) = write(&History::default());
    assert_eq!((text.as_str(), notes.len()), ("[\n]\n", 0));
    assert!(read(&text).unwrap().history.events().is_empty());
}

#[test]
fn numbers_beyond_those_of_go_are_refused_and_nothing_is_written_wrong() {
    for (process, time_ns, expected) in [
        (u64::MAX, 0, "the process 18446744073709551615 is beyond 2^63 - 1"),
        (0, 1 << 63, "the time 9223372036854775808 is beyond 2^63 - 1"),
    ] {
        let history =
            History::new(vec![event(8, time_ns, process, EventKind::Invoke, "read", "nil")]).unwrap();
        let error = write_history(&mut Vec::new(), &history, Format::Porcupine).unwrap_err();
        assert!(matches!(error, WriteError::CannotSay { format: Format::Porcupine, .. }));
        let expected = format!("porcupine cannot say this history: event 8: {expected}");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn formats_that_are_only_read_are_refused() {
    for format in [Format::Json, Format::JepsenLog] {
        let error = write_history(&mut Vec::new(), &History::default(), format).unwrap_err().to_string();
        let written = Format::names(Format::WRITABLE);
        assert_eq!(error, format!("{format} is only read, not written; written are {written}"));
    }
}

#[test]
fn operations_of_other_programs_come_in_any_order_and_in_any_form() {
    let report = read(
        r#"[{"ClientId":1,"Input":{"Op":"put","Key":"x","Value":"a"},"Call":20,"Output":{"Value":""},"Return":30,"Metadata":[1]},
            {"ClientId":0,"Input":{"op":2,"key":"x","value":""},"Call":5,"Output":{"value":"a"},"Return":25,"Metadata":"m"},
            {"ClientId":2,"Input":true,"Call":5,"Output":null,"Return":9223372036854775807,"Metadata":null,"New":{}},
            {"ClientId":3,"Input":{"type":"range","key":"k"},"Call":6,"Output":{"kind":"maybe"},"Return":7}]"#,
    )
    .unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let events = report.history.events();
    assert!(events.iter().map(|event| event.index).eq(0..events.len() as u64));
    let operations = report.history.operations();
    let seen: Vec<(u64, &str, String, Option<u64>)> = operations
        .iter()
        .map(|operation| {
            (
                operation.process(),
                operation.f(),
                format!("{:?} {}", operation.key(), operation.value()),
                operation.completion().time_ns(),
            )
        })
        .collect();
    let key = "Some(String(\"x\"))";
    assert_eq!(
        seen,
        [
            (0, "2", format!("{key} \"\""), Some(25)),
            (2, "", "None true".to_owned(), None),
            (3, "", "None {\"type\" \"range\", \"key\" \"k\"}".to_owned(), Some(7)),
            (1, "put", format!("{key} \"a\""), Some(30)),
        ]
    );
    let Completion::Ok { value, .. } = operations[0].completion() else { panic!("ok") };
    assert_eq!(value, &Value::string("a"));
    let Completion::Ok { value, .. } = operations[2].completion() else { panic!("ok") };
    assert_eq!(value, &read_value("{\"kind\" \"maybe\"}").unwrap());
}

#[test]
fn operations_that_overlap_another_of_their_client_get_clients_of_their_own() {
    let report = read(
        r#"{"Input":1,"Call":0,"Output":null,"Return":10}
           {"Input":2,"Call":10,"Output":null,"Return":10}
           {"Input":3,"Call":10,"Output":{"kind":"info"},"Return":12}
           {"Input":4,"Call":9,"Output":null,"Return":11}
           {"Input":5,"Call":13,"Output":null,"Return":14}"#,
    )
    .unwrap();
    let processes: Vec<(u64, String)> = report
        .history
        .operations()
        .iter()
        .map(|operation| (operation.process(), operation.value().to_string()))
        .collect();
    // 2 touches 1, and may follow it; 4 overlaps 1; nobody knows when 3 ended, so 5 cannot follow it.
    let expected = [(0, "1"), (1, "4"), (0, "2"), (0, "3"), (2, "5")].map(|(p, v)| (p, v.to_owned()));
    assert_eq!(processes, expected);
    let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    let what = "operations that overlap another of their client, which were given clients of their own: 2";
    assert_eq!(warnings, [format!("h.json:4:12: {what}")]);
}

#[test]
fn indices_that_contradict_the_times_are_given_anew() {
    let operation = |call: u64, index: u64| {
        format!(
            r#"{{"ClientId":{call},"Call":{call},"Return":{},"Metadata":{{"labrys":{{"index":{index},"completed_index":{}}}}}}}"#,
            call + 1,
            index + 1
        )
    };
    let report = read(&format!("[{},{}]", operation(0, 10), operation(5, 2))).unwrap();
    let indices: Vec<u64> = report.history.events().iter().map(|event| event.index).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
}

#[test]
fn a_mistake_is_reported_with_its_place_and_what_was_expected() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("[7]", "h.json:1:2: expected an operation: an object such as {\"ClientId\":0"),
        ("[{}]", "h.json:1:3: expected the field `Call`, found none"),
        ("[{\"Call\":1}]", "h.json:1:11: expected the field `Return`, found none"),
        (
            "[{\"Call\":7,\n\"Return\":3}]",
            "h.json:2:11: expected a return at or after the call at 7, found 3",
        ),
        (
            "[{\"Call\":-1}]",
            "h.json:1:11: expected a time of the call: an integer from 0, found integer `-1`",
        ),
        (
            "[{\"Return\":1.5}]",
            "h.json:1:14: expected a time of the return: an integer from 0, found floating",
        ),
        ("[{\"ClientId\":\"a\"}]", "h.json:1:16: expected a client: an integer from 0, found string \"a\""),
        ("[{\"Call\":1,\"Return\":", "h.json:1:21: expected the rest of a value, found the end of the file"),
        (
            "[{\"Metadata\":{\"labrys\":7}}]",
            "h.json:1:24: expected an object with the index of the operation",
        ),
        ("[{\"Metadata\":{\"labrys\":{\"index\":-1}}}]", "h.json:1:34: expected an index: an integer from 0"),
    ] {
        let error = read(text).expect_err(text).to_string();
        if !error.starts_with(expected) {
            wrong.push(format!("{text}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
