//! Nothing is lost: what was written is read again as the same, in both formats.

use labrys_history::{
    Details, Event, Format, History, MAX_DEPTH, ReadOptions, Value, read_bytes, read_value, write_edn,
    write_history, write_json_lines,
};
use proptest::prelude::*;

use crate::fuzzed::checks::said_by;
use crate::strategies;

pub fn json_lines<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<u8> {
    let mut text = Vec::new();
    write_json_lines(&mut text, events).expect("memory takes everything");
    text
}

pub fn edn<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<u8> {
    let mut text = Vec::new();
    write_edn(&mut text, events).expect("memory takes everything");
    text
}

pub fn written(history: &History, format: Format) -> Vec<u8> {
    let mut text = Vec::new();
    write_history(&mut text, history, format).expect("memory takes everything");
    text
}

fn read(text: &[u8], format: Format) -> Vec<Event> {
    let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
    let report = read_bytes(text, "round-trip", options)
        .unwrap_or_else(|error| panic!("{error} in\n{}", String::from_utf8_lossy(text)));
    let only_empty = report.history.events().is_empty();
    assert!(report.warnings.is_empty() || only_empty, "{:?}", report.warnings);
    report.history.into_events()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_value_is_the_same_after_json(value in strategies::value()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&text).map_err(|error| format!("{error} in {text}")), Ok(value));
    }

    #[test]
    fn any_value_is_the_same_after_edn_which_is_one_line(value in strategies::value()) {
        let text = value.to_string();
        prop_assert!(!text.contains(['\n', '\r']), "{}", text);
        prop_assert_eq!(read_value(&text).map_err(|error| format!("{error} in {text}")), Ok(value));
    }

    #[test]
    fn any_event_is_the_same_after_json(event in strategies::event()) {
        let text = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&text).map_err(|error| format!("{error} in {text}")), Ok(event));
    }

    #[test]
    fn any_single_event_is_the_same_after_both_formats(event in strategies::named_event()) {
        let json = json_lines([&event]);
        prop_assert_eq!(read(&json, Format::JsonLines), vec![event.clone()]);
        let edn = edn([&event]);
        prop_assert_eq!(read(&edn, Format::Edn), vec![event]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_history_is_the_same_after_any_chain_of_formats(history in strategies::history(30)) {
        let from_json = read(&json_lines(history.events()), Format::JsonLines);
        let from_edn = read(&edn(&from_json), Format::Edn);
        let again = read(&json_lines(&from_edn), Format::JsonLines);
        prop_assert_eq!(history.events(), &again);
    }

    #[test]
    fn any_history_is_the_same_after_each_format_but_for_what_the_format_cannot_say(
        history in strategies::history(60),
    ) {
        for format in Format::WRITABLE.iter().copied() {
            let again = read(&written(&history, format), format);
            prop_assert_eq!(again, said_by(format, &history).into_events(), "{}", format);
        }
    }

    #[test]
    fn the_written_formats_are_found_out_from_their_content(history in strategies::history(6)) {
        for format in Format::WRITABLE.iter().copied() {
            let history = said_by(format, &history);
            if history.events().is_empty() {
                continue;
            }
            let report = read_bytes(&written(&history, format), "x", ReadOptions::default()).unwrap();
            prop_assert_eq!(report.format, format);
            prop_assert_eq!(report.history, history);
        }
    }
}

#[test]
fn keys_are_the_same_after_a_tree_of_json() {
    // Verdicts carry keys as trees. (A tree sorts the fields of objects, so a map would be the same but for its order.)
    for text in [
        "nil",
        "7",
        "\"a\"",
        ":a",
        "[1 :b (2)]",
        "{1 2}",
        "{\"$a\" ##Inf}",
        "#{12345678901234567890123}",
        "#t 1.5",
    ] {
        let key = read_value(text).unwrap();
        let tree = serde_json::to_value(&key).unwrap();
        assert_eq!(serde_json::from_value::<Value>(tree).unwrap(), key);
    }
}

/// A value nested exactly `depth` deep, in the forms that take the most room in JSON and in EDN.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::keyword("a b"), |inside, level| match level % 3 {
        0 => Value::map(vec![(Value::Int(0), inside)]),
        1 => Value::tagged("no tag", inside),
        _ => Value::set(vec![inside]),
    })
}

#[test]
fn the_deepest_value_allowed_is_kept_everywhere_in_an_event() {
    let deepest = nested(MAX_DEPTH);
    let mut event = strategies_event();
    event.key = Some(deepest.clone());
    event.value = deepest.clone();
    event.details = Details::new(Some(deepest.clone()), vec![("no keyword".into(), deepest.clone())]);
    assert_eq!(read(&json_lines([&event]), Format::JsonLines), [event.clone()]);
    assert_eq!(read(&edn([&event]), Format::Edn), [event]);
    assert_eq!(read_value(&deepest.to_string()), Ok(deepest));
}

#[test]
fn a_value_one_deeper_is_refused_in_every_format_with_its_place() {
    let mut event = strategies_event();
    event.value = nested(MAX_DEPTH + 1);
    for (text, format) in [(json_lines([&event]), Format::JsonLines), (edn([&event]), Format::Edn)] {
        let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
        // A line after it, so that this is not a torn last line.
        let text = [text.clone(), text].concat();
        let error = read_bytes(&text, "deep", options).expect_err("deeper than allowed").to_string();
        assert!(error.starts_with("deep:1:"), "{error}");
        assert!(error.contains("nested at most 128 deep"), "{error}");
    }
}

fn strategies_event() -> Event {
    use labrys_history::{EventKind, Process};
    Event::new(0, 0, Process::nemesis(), EventKind::Info, "f", Value::Nil)
}
