//! `PAPER.md` names code and tests for every rule: all of them must exist.

use std::collections::BTreeMap;

use labrys_raft::Defect;

/// The sources of the crate and of its tests, by the name of the module: `election`, `paper::elections`.
#[allow(clippy::disallowed_methods, reason = "the test reads the sources beside it")]
fn sources(root: &str, prefix: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(sources(&path.to_string_lossy(), &format!("{prefix}{name}::")));
        } else {
            found.insert(format!("{prefix}{name}"), std::fs::read_to_string(&path).expect("text"));
        }
    }
    found
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether `text` defines `name`; a name that ends in `…` is the beginning of one.
fn defines(text: &str, name: &str) -> bool {
    let (name, is_beginning) = name.strip_suffix('…').map_or((name, false), |name| (name, true));
    let end = |rest: &str| is_beginning || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let kinds = ["fn ", "struct ", "enum ", "type ", "const "];
    kinds.iter().any(|kind| text.split(&format!("{kind}{name}")).skip(1).any(end))
}

/// Whether `code` is a module, or something that one of these defines: `election::on_vote`, or only `on_vote`.
fn is_code(sources: &BTreeMap<String, String>, code: &str) -> bool {
    let item = code.rsplit("::").next().unwrap_or(code);
    let module = code.split("::").next().unwrap_or(code);
    match sources.get(module) {
        Some(_) if item == module => true,
        Some(text) => item == "tests" && text.contains("mod tests") || defines(text, item),
        None => sources.values().any(|text| defines(text, item)),
    }
}

fn is_test(code: &BTreeMap<String, String>, tests: &BTreeMap<String, String>, name: &str) -> bool {
    if let Some(scenario) = name.strip_suffix(".txt") {
        return tests.contains_key(&format!("scenarios::{scenario}"));
    }
    if name.parse::<Defect>().is_ok() || tests.contains_key(&format!("raft::{name}")) {
        return true;
    }
    let (module, item) = name.rsplit_once("::").unwrap_or(("…", name));
    let within = tests.iter().filter(|(path, _)| module == "…" || **path == format!("raft::{module}"));
    within.map(|(_, text)| text).any(|text| defines(text, item)) || is_code(code, name)
}

#[test]
fn everything_that_the_document_names_exists() {
    let root = env!("CARGO_MANIFEST_DIR");
    let (code, tests) = (sources(&format!("{root}/src"), ""), sources(&format!("{root}/tests"), ""));
    let rows = include_str!("../../PAPER.md").lines().filter(|line| line.starts_with("| "));
    let mut rules = 0;
    for row in rows {
        let columns: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [rule, places, checks] = columns[..] else { panic!("not three columns: {row}") };
        if rule.trim() == "rule" || rule.trim().starts_with("---") {
            continue;
        }
        rules += 1;
        assert!(quoted(places).next().is_some(), "no code: {rule}");
        for place in quoted(places) {
            assert!(is_code(&code, place), "{rule}: there is no `{place}`");
        }
        let checks = checks.trim_end_matches('|');
        assert!(quoted(checks).next().is_some() || checks.contains("oracle"), "no test: {rule}");
        for check in quoted(checks) {
            assert!(is_test(&code, &tests, check), "{rule}: there is no `{check}`");
        }
    }
    assert!(rules > 50, "only {rules} rules");
}
