//! The simulator from outside: a seed is the same bytes whoever asks, a broken store is found, exit codes are as documented.

use std::fs;
use std::path::Path;

use labrys_tests::{finish, labrys};
use serde_json::Value;

/// A simulated run of a few seconds.
const SIM: [&str; 6] = ["sim", "--time-limit", "5s", "--nemesis-interval", "500ms", "--out"];

fn sim(folder: &Path, further: &[&str]) -> std::process::Command {
    labrys(folder, &[&SIM[..], &["runs"], further].concat())
}

#[test]
fn a_seed_is_the_same_history_byte_for_byte_whatever_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let history = |log: &str| {
        finish(sim(folder.path(), &["--seed", "7"]).env("RUST_LOG", log)).expect_code(0);
        fs::read(folder.path().join("runs/latest/history.jsonl")).unwrap()
    };
    let first = history("off");
    assert!(first.iter().filter(|byte| **byte == b'\n').count() > 200, "too little happens to mean anything");
    assert!(first == history("trace"), "the histories differ");
    // The test command with the file that the run left is the same run again.
    finish(&mut labrys(folder.path(), &["test", "runs/latest/test.toml"])).expect_code(0);
    assert!(
        first == fs::read(folder.path().join("runs/latest/history.jsonl")).unwrap(),
        "the repetition differs"
    );
    assert!(folder.path().join("runs/latest/report/index.html").is_file());
    assert!(folder.path().join("runs/latest/schedule.jsonl").is_file());
}

#[test]
fn many_seeds_come_to_the_same_however_many_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let report = |jobs: &str| {
        let arguments =
            ["--seeds", "12", "--json", "--keep-going", "--defect", "quorum-off-by-one", "--jobs", jobs];
        let finished = finish(&mut sim(folder.path(), &arguments)).expect_code(1);
        let mut report: Value = serde_json::from_str(&finished.stdout).unwrap();
        for differs in ["wall_s", "run_directory"] {
            report.as_object_mut().unwrap().remove(differs);
        }
        report
    };
    let alone = report("1");
    assert_eq!(alone["runs"], 12);
    assert!(alone["failures"].as_array().is_some_and(|failures| !failures.is_empty()), "{alone}");
    assert_ne!(alone["histories_crc32c"], 0);
    assert_eq!(alone, report("4"), "also the checksum of all histories");
}

#[test]
fn the_first_seed_that_fails_ends_the_search_and_leaves_a_run_directory() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--seeds", "50", "--json", "--defect", "follower-acks-before-fsync"];
    let finished = finish(&mut sim(folder.path(), &arguments)).expect_code(1);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(1), "{report}");
    let directory = Path::new(report["run_directory"].as_str().unwrap());
    assert!(directory.join("history.jsonl").is_file() && directory.join("verdict.json").is_file());
    let reason = report["failures"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("durable-before-promised"), "{reason}");
}

#[test]
fn faults_that_the_simulator_does_not_have_are_refused_there_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["membership", "application-snapshot", "resource", "earthquake"] {
        let finished = finish(&mut sim(folder.path(), &["--nemesis", kind])).expect_code(254);
        assert!(finished.stderr.contains(kind), "{}", finished.stderr);
    }
}

/// The faults of a run, as recorded.
fn injected(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("runs/latest/schedule.jsonl")).unwrap();
    let faults = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["resolved"].clone());
    faults.collect()
}

#[test]
fn what_struck_real_nodes_is_replayed_in_the_simulator_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"faults = [
        { at-ms = 300, lasts-ms = 400, kind = "pause", target = { named = ["n2"] } },
        { at-ms = 1000, lasts-ms = 500, kind = "kill", target = "one" },
    ]"#;
    fs::write(folder.path().join("faults.toml"), text).unwrap();
    let usual = ["--nodes", "3", "--time-limit", "3s", "--rate", "100", "--out", "runs"];
    let run = |command: &[&str]| {
        finish(&mut labrys(folder.path(), &[command, &usual[..]].concat())).expect_code(0);
        injected(folder.path())
    };
    let simulated = run(&["sim", "--seed", "5", "--faults", "faults.toml"]);
    assert_eq!(simulated.len(), 2, "{simulated:?}");
    fs::copy(folder.path().join("runs/latest/schedule.jsonl"), folder.path().join("simulated.jsonl"))
        .unwrap();
    let real = run(&["test", "--faults", "simulated.jsonl"]);
    assert_eq!(real, simulated, "whom a symbolic target meant is replayed, too");
    fs::copy(folder.path().join("runs/latest/schedule.jsonl"), folder.path().join("real.jsonl")).unwrap();
    assert_eq!(run(&["sim", "--faults", "real.jsonl"]), simulated);
    // The run directory says what was replayed, so that the run can be repeated without the file.
    let repeated = finish(&mut labrys(folder.path(), &["test", "runs/latest/test.toml"])).expect_code(0);
    assert_eq!(injected(folder.path()), simulated, "{}", repeated.stderr);
}

#[test]
fn faults_that_cannot_be_replayed_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str, words: &str| {
        fs::write(folder.path().join("faults.toml"), text).unwrap();
        let arguments = ["test", "--nodes", "3", "--faults", "faults.toml"];
        let finished = finish(&mut labrys(folder.path(), &arguments)).expect_code(254);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    };
    let fault = |rest: &str| format!("faults = [{{ at-ms = 1, lasts-ms = 1, {rest} }}]");
    refused(&fault(r#"kind = "kill", target = { named = ["n9"] }"#), "there is no node `n9`");
    refused(
        &fault(r#"kind = "network", target = "all", trouble = { loss-permille = 1001 }"#),
        "loss-permille",
    );
    refused(&fault(r#"kind = "flood""#), "flood");
    refused("seed = 3", "faults.toml");
    refused("faults = []", "--nemesis none");
    let late = r#"faults = [{ at-ms = 99999999999, lasts-ms = 1, kind = "kill", target = "all" }]"#;
    refused(late, "long after --time-limit");
}
