//! Recorded histories with known verdicts: `shared/histories/MANIFEST.tsv`, beside the checkout or above it.
//!
//! The rows are other people's verdicts on other people's systems. A row that disagrees means that the checker is wrong until
//! shown otherwise, by hand.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use labrys_checker::verdict::Validity;
use labrys_checker::{CheckConfig, check};
use labrys_history::{History, ReadOptions, Value, read_history};

/// A line of the manifest that is about a register.
struct Row {
    file: PathBuf,
    model: String,
    initial: Value,
    verdict: String,
}

/// The folder with the histories, if this machine has it.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    folder.join("MANIFEST.tsv").exists().then_some(folder)
}

#[expect(clippy::disallowed_methods, reason = "the test reads files so that the checker need not")]
fn rows(folder: &Path) -> Vec<Row> {
    let manifest = std::fs::read_to_string(folder.join("MANIFEST.tsv")).expect("the manifest can be read");
    let rows = manifest.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, _, model, initial, judged_against, verdict, ..] = columns[..] else {
            panic!("a short row: {line}")
        };
        let is_ours = ["register", "cas-register"].contains(&model) && judged_against == "linearizable";
        is_ours.then(|| Row {
            file: folder.join(file),
            model: model.to_owned(),
            initial: match initial {
                "nil" => Value::Nil,
                number => Value::Int(number.parse().expect("nil or a number")),
            },
            verdict: verdict.to_owned(),
        })
    });
    rows.collect()
}

fn read(row: &Row) -> History {
    let report = read_history(&row.file, ReadOptions::default());
    report.unwrap_or_else(|error| panic!("{error}")).history
}

#[test]
fn every_row_of_the_manifest_about_a_register_has_its_verdict() {
    let Some(folder) = folder() else {
        // Not the macro, whose words a test that passes keeps to itself.
        let skipped = "SKIPPED: the manifest of checker/tests, for there is no ../shared/histories beside this checkout\n";
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return;
    };
    let rows = rows(&folder);
    assert!(rows.len() > 90, "the manifest has {} rows about registers", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let config = CheckConfig::linearizable(&row.model, Some(row.initial.clone())).unwrap();
        let config = config.of_another_program(true);
        let verdict =
            check(&read(row), &config).unwrap_or_else(|error| panic!("{}: {error}", row.file.display()));
        let word = match verdict.validity {
            Validity::Valid => "valid",
            Validity::Unknown => "unknown",
            Validity::Invalid => "invalid",
        };
        if word != row.verdict {
            let reason = &verdict.checks[0].reason;
            wrong.push(format!("{}: {word}, and not {}: {reason}", row.file.display(), row.verdict));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows: {}", wrong.len(), rows.len(), wrong.join("\n"));
}
