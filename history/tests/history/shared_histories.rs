//! Other people's recorded histories, where they are at hand.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use labrys_history::{
    Completion, EventKind, Format, History, ReadOptions, ReadReport, read_bytes, read_history,
};

use crate::round_trips::{edn, json_lines};

/// The folder of histories, or nothing, said aloud, on a machine that has none.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    if !folder.is_dir() {
        // Not the macro, whose words a test that passes keeps to itself.
        let skipped = format!("SKIPPED: there is no folder {}\n", folder.display());
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return None;
    }
    Some(folder)
}

/// The files below `folder` with one of the endings, sorted.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> ReadReport {
    read_history(path, ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_history_can_be_read_and_is_the_same_after_both_of_our_formats() {
    let Some(folder) = folder() else { return };
    let mut read_in_all = 0;
    for group in
        ["porcupine/jepsen-log", "porcupine/jepsen-edn", "porcupine/kv", "knossos", "elle", "elle-cli"]
    {
        // Elsewhere `.txt` is a licence.
        let endings = if group == "porcupine/kv" { ["txt"].as_slice() } else { &["log", "edn", "json"] };
        for path in files(&folder.join(group), endings) {
            let report = read(&path);
            let expected = match path.extension().unwrap().to_str() {
                Some("log") => Format::JepsenLog,
                Some("json") => Format::Json,
                _ => Format::Edn,
            };
            assert_eq!(report.format, expected, "{}", path.display());
            for warning in &report.warnings {
                eprintln!("{warning}");
            }
            let events = report.history.events();
            // One of them has nothing but events of the nemesis.
            assert!(!events.is_empty(), "{}", path.display());
            let json = read_bytes(&json_lines(events), &path, ReadOptions::default()).unwrap();
            assert_eq!(json.history.events(), events, "{}", path.display());
            let edn = read_bytes(&edn(events), &path, ReadOptions::default()).unwrap();
            assert_eq!(edn.history.events(), events, "{}", path.display());
            read_in_all += 1;
        }
    }
    assert_eq!(read_in_all, 52 + 11 + 4 + 44 + 48 + 14);
}

/// How many events of each kind a text has, counted without any of our readers: the words behind `mark`.
fn counted_by_words(text: &str, mark: &str) -> [usize; 4] {
    let uncommented = text.lines().filter(|line| !line.trim_start().starts_with(';'));
    let mut counts = [0; 4];
    for line in uncommented {
        for behind in line.split(mark).skip(1) {
            let word = behind.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty());
            let kind = ["invoke", "ok", "fail", "info"].iter().position(|kind| Some(*kind) == word);
            // Errors have a `:type` too, inside of a string.
            if let Some(kind) = kind {
                counts[kind] += 1;
            }
        }
    }
    counts
}

fn counted_by_reader(history: &History) -> [usize; 4] {
    [EventKind::Invoke, EventKind::Ok, EventKind::Fail, EventKind::Info]
        .map(|kind| history.events().iter().filter(|event| event.kind == kind).count())
}

#[test]
fn every_row_of_the_manifest_in_a_format_of_ours_has_as_many_events_of_each_kind_as_it_has_words() {
    let Some(folder) = folder() else { return };
    let manifest = std::fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap();
    let mut rows = [0; 3];
    for row in manifest.lines().skip(1) {
        let mut columns = row.split('\t');
        let (file, format) = (columns.next().unwrap(), columns.next().unwrap());
        let (number, mark) = match format {
            "jepsen-log" => (0, "INFO  jepsen.util - "),
            "edn" => (1, ":type"),
            "json" => (2, "\"type\""),
            // For a later reader.
            "awdit-text" => continue,
            other => panic!("the manifest has a new format: {other}"),
        };
        let path = folder.join(file);
        let report = read(&path);
        assert_eq!(report.format.name(), format, "{file}");
        // Behind the mark of a log is the process, a number or a keyword, which is no word of a kind.
        let text = std::fs::read_to_string(&path).unwrap().replace("- :nemesis", "- ");
        let counted = counted_by_words(&text, mark);
        assert_eq!(counted_by_reader(&report.history), counted, "{file}");
        rows[number] += 1;
    }
    assert_eq!(rows, [52, 116, 5]);
}

#[test]
fn elle_clis_json_and_its_translation_to_edn_say_the_same() {
    let Some(folder) = folder() else { return };
    for name in ["elle-cli/elle/rw-register", "elle-cli/jepsen/set_full"] {
        let of = |extension: &str| read(&folder.join(format!("{name}.{extension}"))).history.into_events();
        let (json, edn) = (of("json"), of("edn"));
        assert_eq!(json.len(), edn.len(), "{name}");
        for (json, edn) in json.iter().zip(&edn) {
            assert_eq!((json.kind, &json.process, &json.f), (edn.kind, &edn.process, &edn.f), "{name}");
            // The keys of its registers are keywords in one and strings in the other.
            let value = edn.value.to_string().replace(":x", "\"x\"");
            assert_eq!(json.value.to_string(), value, "{name}");
        }
    }
}

#[test]
fn a_log_of_jepsens_and_its_translation_to_edn_say_the_same() {
    let Some(folder) = folder() else { return };
    for edn in files(&folder.join("porcupine/jepsen-edn"), &["edn"]) {
        let log = folder.join("porcupine/jepsen-log").join(edn.file_name().unwrap()).with_extension("log");
        // The translator gave every retired process a new number; Jepsen had done so before.
        assert_eq!(read(&log).history.operations(), read(&edn).history.operations(), "{}", log.display());
    }
}

/// Operations, and how many ended `ok`, `fail` and `info`, and how many of the last without a completion.
fn count(history: &History) -> [usize; 5] {
    let operations = history.operations();
    let of = |test: fn(&Completion) -> bool| {
        operations.iter().filter(|operation| test(&operation.completion())).count()
    };
    [
        operations.len(),
        of(|completion| matches!(completion, Completion::Ok { .. })),
        of(|completion| matches!(completion, Completion::Fail { .. })),
        of(|completion| matches!(completion, Completion::Info { .. })),
        of(|completion| matches!(completion, Completion::Info { index: None, .. })),
    ]
}

#[test]
fn the_numbers_of_operations_are_those_that_grep_counts() {
    let Some(folder) = folder() else { return };
    let counted = |path: &str| count(&read(&folder.join(path)).history);
    assert_eq!(counted("porcupine/jepsen-log/etcd_000.log"), COUNTED_ETCD_000);
    assert_eq!(counted("knossos/multi-register/good/multi-register.edn"), COUNTED_MULTI_REGISTER);
    assert_eq!(counted("elle/huge-scc.edn"), COUNTED_HUGE_SCC);
}

// Counted with `grep -o ':type :invoke'` and so on, less the events of `:process :nemesis`.
const COUNTED_ETCD_000: [usize; 5] = [85, 49, 20, 16, 0];
const COUNTED_MULTI_REGISTER: [usize; 5] = [123, 119, 2, 2, 0];
const COUNTED_HUGE_SCC: [usize; 5] = [10_254, 3_036, 7_070, 148, 0];
