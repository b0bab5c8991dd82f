//! Other people's recorded histories, where they are at hand.

use std::path::{Path, PathBuf};

use labrys_history::{Completion, Format, History, ReadOptions, ReadReport, read_bytes, read_history};

use crate::round_trips::{edn, json_lines};

/// The folder of histories, or nothing, said aloud, on a machine that has none.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    if !folder.is_dir() {
        eprintln!("SKIPPED: there is no folder {}", folder.display());
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
        let endings = if group == "porcupine/kv" { ["txt"].as_slice() } else { &["log", "edn"] };
        for path in files(&folder.join(group), endings) {
            let report = read(&path);
            let expected = if path.extension().unwrap() == "log" { Format::JepsenLog } else { Format::Edn };
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
    assert_eq!(read_in_all, 52 + 11 + 4 + 44 + 48 + 9);
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
        operations.iter().filter(|operation| test(&operation.completion)).count()
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
