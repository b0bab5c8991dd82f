//! Recorded histories with known verdicts: `shared/histories/MANIFEST.tsv`, beside the checkout or above it.
//!
//! The rows are other people's verdicts on other people's systems. A row that disagrees means that the checker is wrong until
//! shown otherwise, by hand.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use labrys_checker::verdict::{Evidence, MinimalHistory, Validity};
use labrys_checker::{CheckConfig, check};
use labrys_history::{History, ReadOptions, Value, read_history, read_value};

use crate::support::brute_force::{Timed, is_linearizable_by};

/// A line of the manifest that is about linearizability.
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
        let model = unquoted(model);
        // "kv (get/put/append of strings …)"
        let name = model.split(' ').next().unwrap_or_default();
        (judged_against == "linearizable").then(|| Row {
            file: folder.join(file),
            model: name.to_owned(),
            initial: read_value(&unquoted(initial)).expect("EDN"),
            verdict: verdict.to_owned(),
        })
    });
    rows.collect()
}

/// A field of a table without the quotes that it may stand in, as in CSV.
fn unquoted(field: &str) -> String {
    match field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => field.to_owned(),
    }
}

fn read(row: &Row) -> History {
    let report = read_history(&row.file, ReadOptions::default());
    report.unwrap_or_else(|error| panic!("{error}")).history
}

#[test]
fn every_row_of_the_manifest_about_linearizability_has_its_verdict() {
    let Some(folder) = folder() else {
        // Not the macro, whose words a test that passes keeps to itself.
        let skipped = "SKIPPED: the manifest of checker/tests, for there is no ../shared/histories beside this checkout\n";
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return;
    };
    let rows = rows(&folder);
    assert!(rows.len() > 90, "the manifest has {} rows about linearizability", rows.len());
    let models: BTreeSet<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    assert!(
        ["cas-register", "kv", "multi-register", "mutex"].iter().all(|model| models.contains(model)),
        "{models:?}"
    );
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

/// What an object of the manifest does, read from the words of the evidence: no code of the models is in it. The state is what
/// the object holds, in words.
fn step(state: String, call: &str) -> Option<String> {
    let held = |is_it: bool| is_it.then(|| state.clone());
    let words: Vec<&str> = call.split(' ').collect();
    match words[..] {
        ["read", "→", value] => held(state == value),
        ["write", value] => Some(value.to_owned()),
        ["cas", expected, "→", "unequal"] => held(state != expected),
        ["cas", expected, "→", new] => (state == expected).then(|| new.to_owned()),
        ["acquire"] => (state == "free").then(|| "held".to_owned()),
        ["release"] => (state == "held").then(|| "free".to_owned()),
        ["acquire" | "release", "→", what] => held(state == what),
        _ => text_step(&state, call),
    }
}

/// The same for the texts of `kv`: `get "0" → "x 0 1 y"`.
fn text_step(state: &str, call: &str) -> Option<String> {
    let quoted: Vec<&str> = call.split('"').collect();
    match quoted[..] {
        ["get ", _, " → ", value, ""] => (state == value).then(|| state.to_owned()),
        ["put ", _, " ", value, ""] => Some(value.to_owned()),
        ["append ", _, " ", value, ""] => Some(format!("{state}{value}")),
        _ => panic!("the oracle does not know {call:?}"),
    }
}

fn is_linearizable(minimal: &MinimalHistory, initial: &Value) -> bool {
    let timed: Vec<Timed<&str>> = minimal
        .operations
        .iter()
        .map(|operation| Timed {
            call: operation.description.as_str(),
            invoked: operation.invoked_ns,
            completed: operation.completed_ns.unwrap_or(u64::MAX),
            optional: operation.completed_ns.is_none(),
        })
        .collect();
    let initial = initial.as_text().map_or_else(|| initial.to_string(), str::to_owned);
    is_linearizable_by(step, &timed, initial)
}

#[test]
fn every_invalid_row_has_a_minimal_counterexample_that_brute_force_confirms() {
    let Some(folder) = folder() else { return };
    let mut sizes = Vec::new();
    let mut models = BTreeSet::new();
    for row in rows(&folder).iter().filter(|row| row.verdict == "invalid") {
        let name = row.file.display();
        let config = CheckConfig::linearizable(&row.model, Some(row.initial.clone())).unwrap();
        let verdict = check(&read(row), &config.of_another_program(true)).unwrap();
        let evidence = verdict.checks[0].partitions.iter().flat_map(|partition| &partition.evidence).next();
        let Some(Evidence::NonLinearizable(proof)) = evidence else { panic!("{name}: {evidence:?}") };
        let minimal =
            proof.minimal.as_ref().unwrap_or_else(|| panic!("{name} has no minimal counterexample"));
        assert!(!is_linearizable(minimal, &row.initial), "{name}: {minimal:#?}");
        sizes.push(minimal.operations.len());
        models.insert(row.model.clone());
    }
    assert!(["cas-register", "kv", "mutex"].iter().all(|&model| models.contains(model)), "{models:?}");
    assert!(sizes.len() > 40, "{sizes:?}");
    // On registers a person can take in what is left of a history of a hundred operations.
    sizes.sort_unstable();
    assert!(sizes[sizes.len() / 2] <= 6, "{sizes:?}");
}
