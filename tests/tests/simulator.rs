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
fn faults_that_only_the_simulator_has_are_refused_elsewhere_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let finished = finish(&mut labrys(folder.path(), &["test", "--nemesis", "disk"])).expect_code(254);
    assert!(finished.stderr.contains("--testbed sim"), "{}", finished.stderr);
    let finished = finish(&mut sim(folder.path(), &["--nemesis", "earthquake"])).expect_code(254);
    assert!(finished.stderr.contains("earthquake"), "{}", finished.stderr);
}
