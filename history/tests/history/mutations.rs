//! No bytes make a reader panic, and what it does accept is always a history.

use labrys_history::{Format, ReadOptions, read_bytes, read_value};
use proptest::prelude::*;

use crate::fuzzed::checks::check;
use crate::round_trips::{json_lines, written};
use crate::strategies;

/// Reads `text` in every way.
fn read_in_every_way(text: &[u8]) {
    for format in Format::ALL.iter().copied().map(Some).chain([None]) {
        check(format, text);
    }
}

/// The text of a valid history in one of the formats.
fn valid_text() -> impl Strategy<Value = Vec<u8>> {
    (strategies::history(8), 0..Format::WRITABLE.len() + 1).prop_map(|(history, format)| {
        match Format::WRITABLE.get(format) {
            Some(format) => written(&history, *format),
            None => history
                .operations()
                .iter()
                .fold(String::new(), |log, operation| {
                    format!(
                        "{log}INFO  jepsen.util - {}\t:invoke\t:{}\t{}\n",
                        operation.process(),
                        operation.f(),
                        operation.value()
                    )
                })
                .into_bytes(),
        }
    })
}

/// What is done to a text: cut, repeat, overwrite, insert something with a meaning.
#[derive(Clone, Debug)]
enum Mutation {
    Truncate(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Overwrite(prop::sample::Index, u8),
    Insert(prop::sample::Index, &'static str),
    Repeat(prop::sample::Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let tokens = vec![
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\"",
        "\\",
        "#",
        "#_",
        "#{",
        ":",
        "\n",
        ",",
        " ",
        "$",
        "null",
        "nil",
        "-",
        "1e999",
        "##NaN",
        "\\u",
        "\\ud800",
        ";",
        "\0",
        "\u{feff}",
        "99999999999999999999",
        "#labrys/tagged",
        "{\"$map\":[[1,",
        ":labrys/extra",
        ":labrys/independent true",
        ":time -1",
        "\"$extra\":",
        "jepsen.util",
        "INFO  jepsen.util - 0\t:ok",
        "\"type\":\"ok\",",
        "\"labrys\":{\"index\":0,\"completed_index\":null},",
        "{\"Call\":1,\"Return\":2}",
        "\"ClientId\":",
    ];
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Mutation::Truncate),
        (at(), 1_usize..9).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Overwrite(at, byte)),
        (at(), prop::sample::select(tokens)).prop_map(|(at, token)| Mutation::Insert(at, token)),
        (at(), 1_usize..80).prop_map(|(at, length)| Mutation::Repeat(at, length)),
    ]
}

fn mutate(text: &mut Vec<u8>, mutation: &Mutation) {
    if text.is_empty() {
        return;
    }
    match mutation {
        Mutation::Truncate(at) => text.truncate(at.index(text.len())),
        Mutation::Remove(at, length) => {
            let start = at.index(text.len());
            text.drain(start..(start + length).min(text.len()));
        }
        Mutation::Overwrite(at, byte) => {
            let position = at.index(text.len());
            text[position] = *byte;
        }
        Mutation::Insert(at, token) => {
            let position = at.index(text.len());
            text.splice(position..position, token.bytes());
        }
        Mutation::Repeat(at, length) => {
            let start = at.index(text.len());
            let piece = text[start..(start + length).min(text.len())].to_vec();
            text.splice(start..start, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn random_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..200)) {
        read_in_every_way(&text);
    }

    #[test]
    fn random_text_of_the_formats_signs_is_read_or_refused(
        text in "[\\[\\](){}#_\"\\\\:;,'^@ \\n\\t0-9a-zA-Z$./+-]{0,60}"
    ) {
        read_in_every_way(text.as_bytes());
        let _ = read_value(&text);
    }

    #[test]
    fn mutated_histories_are_read_or_refused(
        text in valid_text(),
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let mut text = text;
        for mutation in &mutations {
            mutate(&mut text, mutation);
        }
        read_in_every_way(&text);
    }

    #[test]
    fn a_json_lines_file_cut_anywhere_is_its_first_events(
        history in strategies::history(8),
        at in any::<prop::sample::Index>(),
    ) {
        let text = json_lines(history.events());
        let prefix = &text[..at.index(text.len() + 1)];
        let options = ReadOptions { format: Some(Format::JsonLines), ..ReadOptions::default() };
        let read = read_bytes(prefix, "cut", options).map_err(|error| error.to_string()).unwrap().history;
        let lines = prefix.iter().filter(|byte| **byte == b'\n').count();
        prop_assert!(read.events().len() == lines || read.events().len() == lines + 1);
        prop_assert_eq!(read.events(), &history.events()[..read.events().len()]);
    }
}

#[test]
fn deep_nesting_is_refused_in_every_format_without_a_stack_overflow() {
    let json_line = |open: &str| {
        format!(
            "{{\"index\":0,\"time_ns\":0,\"process\":0,\"kind\":\"invoke\",\"f\":\"x\",\"value\":{}",
            open.repeat(200_000)
        )
    };
    for open in ["[", "{\"a\":", "{\"$list\":[", "{\"$map\":[[", "{\"$tagged\":[\"a\",", "{\"$keyword\":"] {
        // Twice, so that the first is not a torn last line.
        let text = format!("{}\n{}\n", json_line(open), json_line(open));
        let error = read_bytes(text.as_bytes(), "deep", ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("nested at most 128 deep") || open.contains("keyword"), "{open}: {error}");
    }
    for open in ["[", "{:a ", "#a ", "#_"] {
        let text = format!("{{:process 0, :type :invoke, :value {}", open.repeat(200_000));
        let error = read_bytes(text.as_bytes(), "deep", ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("nested at most 128 deep"), "{open}: {error}");
        let text = format!("INFO jepsen.util - 0 :invoke :f {}", open.repeat(200_000));
        let error = read_bytes(text.as_bytes(), "deep", ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("nested at most 128 deep"), "{open}: {error}");
    }
}
