//! Jepsen's operations as JSON, as elle-cli reads them.

use labrys_history::{
    Completion, EventKind, Format, Process, ReadError, ReadOptions, ReadReport, Value, read_bytes, read_value,
};

fn read_as(text: &str, independent: bool) -> Result<ReadReport, ReadError> {
    read_bytes(text.as_bytes(), "h.json", ReadOptions { format: Some(Format::Json), independent })
}

fn read(text: &str) -> ReadReport {
    read_as(text, false).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn fields_become_those_of_our_events() {
    let report = read(
        "[{\"index\":3,\"time\":12,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"kill\",\"value\":{\"n1\":\"killed\"},
           \"error\":[\"x\",1],\"node\":\"n1\"},
          {\"type\":\"invoke\",\"f\":7,\"process\":3,\"key\":\"0\",\"value\":\"x\"}]",
    );
    let [first, second] = report.history.events() else { panic!("two events") };
    assert_eq!((first.index, first.time_ns, first.kind), (3, 12, EventKind::Info));
    assert_eq!((&first.process, &*first.f), (&Process::nemesis(), "kill"));
    assert_eq!(first.value, read_value("{:n1 \"killed\"}").unwrap());
    assert_eq!(first.error(), Some(&read_value("[\"x\" 1]").unwrap()));
    assert_eq!(first.extra(), [("node".into(), Value::string("n1"))]);
    assert_eq!((second.index, second.time_ns, second.process.client()), (4, 12, Some(3)));
    assert_eq!((&*second.f, &second.key, &second.value), ("7", &Some("0".into()), &"x".into()));
    assert_eq!(report.untimed, 1);
}

#[test]
fn names_of_fields_and_of_micro_operations_are_keywords_as_elle_cli_has_it() {
    for (json, edn) in [
        ("{\"from\":3,\"to\":{\"a b\":0}}", "{:from 3, :to {\"a b\" 0}}"),
        ("[[\"append\",253,1],[\"r\",\"x\",[1,2]]]", "[[:append 253 1] [:r \"x\" [1 2]]]"),
        ("[[\"r\",\"x\",null],7]", "[[:r \"x\" nil] 7]"),
        ("[0,[\"r\",\"x\",null]]", "[0 [\"r\" \"x\" nil]]"),
        ("[\"a\",\"b\"]", "[\"a\" \"b\"]"),
        ("[[],[\"a\"]]", "[[] [\"a\"]]"),
        ("[{\"a\":1}]", "[{:a 1}]"),
    ] {
        let text = format!("[{{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":{json}}}]");
        assert_eq!(read(&text).history.events()[0].value, read_value(edn).unwrap(), "{json}");
    }
}

#[test]
fn an_array_and_a_stream_are_the_same_history() {
    let objects =
        ["{\"type\":\"invoke\",\"process\":0,\"value\":\"}{\\\"\\\\\"}", "{\"type\":\"ok\",\"process\":0}"];
    let expected = read(&format!("[{}]", objects.join(","))).history;
    assert_eq!(expected.operations().len(), 1);
    for text in [objects.concat(), objects.join("\n"), format!("\u{feff} [ {} ]\n", objects.join("\r\n,\t"))]
    {
        assert_eq!(read(&text).history, expected, "{text}");
    }
}

#[test]
fn independent_values_are_split_where_the_reader_is_told_so() {
    let text = "[{\"type\":\"invoke\",\"process\":0,\"f\":\"add\",\"value\":[7,1]},
                 {\"type\":\"info\",\"process\":0,\"f\":\"add\",\"error\":\"timeout\"}]";
    let history = read_as(text, true).unwrap().history;
    let operations = history.operations();
    assert_eq!((operations[0].key(), operations[0].value()), (Some(&Value::Int(7)), &Value::Int(1)));
    assert!(
        matches!(operations[0].completion(), Completion::Info { error: Some(error), .. } if *error == "timeout".into())
    );
    let error = read_as(&text.replace("[7,1]", "7"), true).unwrap_err().to_string();
    assert_eq!(error, "h.json:1:2: expected a value [key value], found 7");
}

#[test]
fn a_mistake_is_reported_with_its_place_and_what_was_expected() {
    let mut wrong = Vec::new();
    let valid = "{\"type\":\"invoke\",\"process\":0}";
    for (text, expected) in [
        ("7", "h.json:1:1: expected an operation: an object such as {\"process\":0"),
        ("[7]", "h.json:1:2: expected an operation: an object such as"),
        (
            "[\n {\"type\":\"begin\"}]",
            "h.json:2:16: expected \"invoke\", \"ok\", \"fail\" or \"info\", found string \"begin\"",
        ),
        ("[{}]", "h.json:1:2: expected a field :type, one of :invoke, :ok, :fail and :info"),
        (
            "[{\"process\":-1}]",
            "h.json:1:14: expected a process: an integer from 0, a name or null, found integer `-1`",
        ),
        (
            "[{\"process\":1.5}]",
            "h.json:1:15: expected a process: an integer from 0, a name or null, found floating",
        ),
        (
            "[{\"time\":1.5}]",
            "h.json:1:12: expected a time: an integer of nanoseconds, found floating point `1.5`",
        ),
        ("[{\"index\":\"a\"}]", "h.json:1:13: expected an index: an integer, found string \"a\""),
        (
            "[{\"f\":[]}]",
            "h.json:1:8: expected the name of a function: a string, a number or null, found sequence",
        ),
        ("[{\"f\":1,\"f\":1}]", "h.json:1:11: expected the field `f` once, found it again"),
        ("[{\"value\":1]}", "h.json:1:12: expected `,` or `}`"),
        ("[{\"value\":\"a\n\"}]", "h.json:2:1: expected control characters in strings to be escaped"),
        ("[VALID", "h.json:1:31: expected `,` or `]`, found the end of the file"),
        ("[VALID VALID]", "h.json:1:32: expected `,` or `]`, found `{`"),
        ("[VALID,]", "h.json:1:32: expected an operation: an object such as"),
        ("[VALID] VALID", "h.json:1:33: expected the end of the file after the array, found `{`"),
        ("[VALID,{\"type\":\"o", "h.json:1:42: expected the rest of a string, found the end of the file"),
        ("[VALID,\n{\"type\":\"ok\",\"process\":1}]", "h.json:2:1: process 1 completes `` with `ok`"),
    ] {
        let error = read_as(&text.replace("VALID", valid), false).expect_err(text).to_string();
        if !error.starts_with(expected) {
            wrong.push(format!("{text}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
