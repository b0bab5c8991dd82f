//! Our own format: what lines look like, and where broken ones are reported.

use labrys_history::{
    Details, Event, EventKind, Format, Process, ReadError, ReadOptions, ReadReport, Value, read_bytes,
    read_value,
};

fn read(text: &str) -> Result<ReadReport, ReadError> {
    read_bytes(
        text.as_bytes(),
        "h.jsonl",
        ReadOptions { format: Some(Format::JsonLines), ..ReadOptions::default() },
    )
}

/// The error message for a first line `line`; a second line follows, so that the first cannot be a torn last one.
fn error_of(line: &str) -> String {
    read(&format!("{line}\n{}", invoke(1_000, 0, 99))).expect_err(line).to_string()
}

fn invoke(index: u64, time_ns: u64, process: u64) -> String {
    format!(
        "{{\"index\":{index},\"time_ns\":{time_ns},\"process\":{process},\"kind\":\"invoke\",\"f\":\"read\",\"value\":null}}\n"
    )
}

fn ok(index: u64, time_ns: u64, process: u64) -> String {
    invoke(index, time_ns, process).replace("invoke", "ok")
}

#[test]
fn every_kind_of_value_has_its_documented_form() {
    for (edn, json) in [
        ("nil", "null"),
        ("true", "true"),
        ("-7", "-7"),
        ("1.0", "1.0"),
        ("\"a\\n\"", "\"a\\n\""),
        ("[1 [2]]", "[1,[2]]"),
        ("{\"a\" 1, \"b\" {}}", "{\"a\":1,\"b\":{}}"),
        (":timed-out", "{\"$keyword\":\"timed-out\"}"),
        ("x", "{\"$symbol\":\"x\"}"),
        ("\\a", "{\"$char\":\"a\"}"),
        ("(1)", "{\"$list\":[1]}"),
        ("#{1}", "{\"$set\":[1]}"),
        ("{1 2}", "{\"$map\":[[1,2]]}"),
        ("{\"$a\" 2}", "{\"$map\":[[\"$a\",2]]}"),
        ("{\"a\" 1, :b 2}", "{\"$map\":[[\"a\",1],[{\"$keyword\":\"b\"},2]]}"),
        ("#inst \"2026\"", "{\"$tagged\":[\"inst\",\"2026\"]}"),
        ("-9223372036854775809", "{\"$integer\":\"-9223372036854775809\"}"),
        ("##NaN", "{\"$float\":\"NaN\"}"),
        ("##Inf", "{\"$float\":\"Infinity\"}"),
        ("##-Inf", "{\"$float\":\"-Infinity\"}"),
    ] {
        let value = read_value(edn).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), json, "{edn}");
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), value, "{edn}");
    }
}

#[test]
fn foreign_json_is_read_as_it_is_meant() {
    let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    assert_eq!(read("9223372036854775808"), Value::integer("9223372036854775808").unwrap());
    assert_eq!(read("{\"$oid\":\"5f\"}"), Value::map(vec![(Value::string("$oid"), Value::string("5f"))]));
    assert_eq!(read("{\"a\":1,\"$keyword\":2}").to_string(), "{\"a\" 1, \"$keyword\" 2}");
    assert_eq!(read("{\"$integer\":\"+0012\"}"), Value::Int(12));
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_are_kept() {
    let line = "{\"node\":\"n1\",\"value\":[1,2],\"f\":\"cas\",\"kind\":\"invoke\",\"key\":null,\"process\":3,\
                \"time_ns\":18446744073709551615,\"index\":9,\"error\":null,\"more\":{\"$keyword\":\"x\"}}\n";
    let events = read(line).unwrap().history.into_events();
    let mut expected = Event::new(
        9,
        u64::MAX,
        Process::Client(3),
        EventKind::Invoke,
        "cas",
        vec![Value::Int(1), Value::Int(2)].into(),
    );
    let extra = vec![("node".into(), Value::string("n1")), ("more".into(), Value::keyword("x"))];
    (expected.key, expected.details) = (Some(Value::Nil), Details::new(Some(Value::Nil), extra));
    assert_eq!(events, [expected]);
}

#[test]
fn extra_fields_named_like_ours_are_kept_apart() {
    let mut event = Event::new(0, 0, Process::nemesis(), EventKind::Info, "start", Value::Nil);
    let extra = vec![("kind".into(), Value::Int(1)), ("node".into(), Value::Int(2))];
    event.details = Details::new(None, extra);
    let text = serde_json::to_string(&event).unwrap();
    assert!(text.ends_with("\"value\":null,\"$extra\":[[\"kind\",1],[\"node\",2]]}"), "{text}");
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
}

#[test]
fn the_names_of_functions_are_shared_between_events() {
    let events = read(&(invoke(0, 0, 0) + &invoke(1, 0, 1))).unwrap().history.into_events();
    assert!(std::ptr::eq(&*events[0].f, &*events[1].f));
}

#[test]
fn a_malformed_line_is_reported_with_its_place_and_what_was_expected() {
    let line = |field: &str, with: &str| invoke(0, 0, 0).trim_end().replace(field, with);
    for (line, place, expected) in [
        ("{".to_owned(), "h.jsonl:1:2: ", "expected the rest of an object, found the end of the line"),
        ("[]".to_owned(), "h.jsonl:1:", "expected an event: an object with index, time_ns"),
        ("{}".to_owned(), "h.jsonl:1:2: ", "expected the field `index`, found none"),
        (line("\"index\":0,", ""), "h.jsonl:1:", "expected the field `index`, found none"),
        (line("\"f\":\"read\",", ""), "h.jsonl:1:", "expected the field `f`, found none"),
        (
            line("\"index\":0", "\"index\":-1"),
            "h.jsonl:1:11: ",
            "expected an index: an integer from 0, found integer `-1`",
        ),
        (line("\"index\":0", "\"index\":0,\"index\":0"), "h.jsonl:1:20: ", "expected the field `index` once"),
        (
            line("\"process\":0", "\"process\":-1"),
            "h.jsonl:1:",
            "expected a process: a number from 0, or a name",
        ),
        (
            line("\"process\":0", "\"process\":[]"),
            "h.jsonl:1:",
            "expected a process: a number from 0, or a name",
        ),
        (line("invoke", "begin"), "h.jsonl:1:", "expected \"invoke\", \"ok\", \"fail\" or \"info\""),
        (line("\"value\":null", "\"value\":nul"), "h.jsonl:1:74: ", "expected null, true or false"),
        (line("null}", "{\"$keyword\":7}}"), "h.jsonl:1:", "expected a string"),
        (
            line("null}", "{\"$keyword\":\"a\",\"b\":1}}"),
            "h.jsonl:1:",
            "expected `$keyword` to be the only field",
        ),
        (line("null}", "{\"$integer\":\"1.5\"}}"), "h.jsonl:1:", "expected the decimal digits of an integer"),
        (line("null}", "{\"$float\":\"1\"}}"), "h.jsonl:1:", "expected \"NaN\""),
        (line("null}", "{\"$tagged\":[\"a\"]}}"), "h.jsonl:1:", "expected [tag, value]"),
        (line("null}", "{\"$map\":[[1,2,3]]}}"), "h.jsonl:1:", "expected [key, value]"),
        (line("null}", "null} {}"), "h.jsonl:1:", "expected nothing after the object"),
    ] {
        let error = error_of(&line);
        assert!(error.starts_with(place), "{line}: {error}");
        assert!(error.contains(expected), "{line}: {error}");
        assert!(!error.contains(" at line "), "{line}: {error}");
    }
}

#[test]
fn the_line_number_and_the_column_are_those_of_the_file() {
    let text = format!("{}\n{}", invoke(0, 0, 0), "{\"index\":1,\"f\":\"ü🪓\",x}\n") + &invoke(2, 0, 2);
    // The blank line counts; the column counts characters.
    let error = read(&text).unwrap_err().to_string();
    assert!(error.starts_with("h.jsonl:3:21: "), "{error}");
}

#[test]
fn text_that_is_no_utf8_is_reported_with_its_place() {
    let mut text = invoke(0, 0, 0).into_bytes();
    text.extend_from_slice(b"{\"index\":1,\"f\":\"\xff\"}\n");
    text.extend_from_slice(invoke(2, 0, 2).as_bytes());
    let error = read_bytes(&text, "h.jsonl", ReadOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "h.jsonl:2:17: expected UTF-8");
}

#[test]
fn each_broken_invariant_is_reported_at_its_line() {
    for (second, expected) in [
        (
            ok(1, 0, 4),
            "process 4 completes `read` with `ok`, but has no open operation; expected its `invoke` before",
        ),
        (
            invoke(1, 0, 3),
            "process 3 invokes `read` while its `read` of event 0 is still open; expected the completion of that first",
        ),
        (
            invoke(1, 0, 3).replace("invoke", "ok").replace("read", "cas"),
            "process 3 completes `cas`, but its open operation is the `read` of event 0; expected a completion of that",
        ),
        (ok(1, 4, 3), "time goes backwards, from 5 ns to 4 ns; expected events in order of time"),
        (
            ok(0, 5, 3),
            "index 0 follows index 0; expected every event to have a greater index than the one before",
        ),
    ] {
        let second = second.replace("\"time_ns\":0", "\"time_ns\":5");
        let error = read(&(invoke(0, 5, 3) + &second)).expect_err(expected);
        assert!(matches!(error, ReadError::Inconsistent { .. }));
        assert_eq!(error.to_string(), format!("h.jsonl:2:1: {expected}"));
    }
    let info = ok(1, 0, 3).replace("ok", "info");
    let error = read(&(invoke(0, 0, 3) + &info + &invoke(2, 0, 3))).unwrap_err().to_string();
    assert!(
        error.starts_with("h.jsonl:3:1: process 3 invokes `read` although an operation of it ended `info`"),
        "{error}"
    );
}

#[test]
fn only_the_last_line_may_be_torn() {
    let torn = &invoke(1, 0, 1)[..40];
    for end in ["", "\n", "\n\n"] {
        let report = read(&(invoke(0, 0, 0) + torn + end)).expect("a torn last line is no error");
        assert_eq!(report.history.events().len(), 1);
        assert_eq!(report.warnings.len(), 1);
        let warning = report.warnings[0].to_string();
        assert!(warning.starts_with("h.jsonl:2:41: the last line is torn and was dropped"), "{warning}");
    }
    let error = read(&(torn.to_owned() + "\n" + &invoke(1, 0, 1))).unwrap_err().to_string();
    assert!(
        error.starts_with("h.jsonl:1:41: expected the rest of a string, found the end of the line"),
        "{error}"
    );
}

#[test]
fn a_last_line_that_is_whole_but_wrong_is_no_torn_one() {
    let wrong = invoke(1, 0, 1).replace("invoke", "begin");
    assert!(matches!(read(&(invoke(0, 0, 0) + &wrong)), Err(ReadError::Malformed { .. })));
    assert!(matches!(read(&(invoke(0, 0, 0) + &ok(1, 0, 1))), Err(ReadError::Inconsistent { .. })));
}

#[test]
fn blocks_of_zeros_that_a_power_failure_leaves_are_a_torn_last_line() {
    let report = read(&(invoke(0, 0, 0) + &"\0".repeat(4096))).unwrap();
    assert_eq!((report.history.events().len(), report.warnings.len()), (1, 1));
}

#[test]
fn a_complete_last_line_without_its_newline_is_kept() {
    let report = read(invoke(0, 0, 0).trim_end()).unwrap();
    assert_eq!((report.history.events().len(), report.warnings.len()), (1, 0));
}
