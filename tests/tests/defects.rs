//! The harness is good if it finds each defect of the store: every campaign of `labrys defects` ends invalid with the defect
//! switched on, names evidence, and draws it; and the same campaign on the clean store is valid.

use std::fs;

use labrys_tests::{finish, labrys, whole_machine};

/// How long a campaign may look before the defect counts as missed, in seconds of the campaign's own time.
const BUDGET_S: u64 = 60;

/// The first eight, by name.
const DEFECTS: [&str; 8] = [
    "vote-not-persisted",
    "election-no-log-check",
    "async-replication-ack",
    "commit-index-not-min",
    "local-leader-read",
    "follower-read",
    "no-request-deduplication",
    "cas-evaluated-at-propose",
];

#[test]
fn every_defect_has_a_campaign_and_every_campaign_a_defect() {
    let folder = tempfile::tempdir().unwrap();
    let listed = finish(&mut labrys(folder.path(), &["defects", "--list", "--json"])).expect_code(0);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|row| row["defect"].as_str().unwrap()).collect();
    assert_eq!(names, DEFECTS);
}

#[test]
fn every_defect_is_found_within_its_budget_with_evidence_that_is_drawn() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let finished = finish(&mut labrys(folder.path(), &["defects", "--seeds", "1", "--json", "--no-clean"]))
        .expect_code(0);
    let table: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let rows = table["defects"].as_array().unwrap();
    assert_eq!(rows.len(), DEFECTS.len());
    for row in rows {
        let run = &row["runs"][0];
        let name = row["defect"].as_str().unwrap();
        assert_eq!(run["validity"], "invalid", "{name}: {run:#}");
        let seconds = run["detected_after_s"]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} has no time of detection: {run:#}"));
        assert!(seconds <= BUDGET_S as f64, "{name} was found after {seconds} s only");
        let timeline =
            fs::read_to_string(format!("{}/report/timeline.svg", run["run_directory"].as_str().unwrap()))
                .unwrap();
        assert!(timeline.contains("lt-end-text"), "{name}: the timeline does not mark where it went wrong");
    }
}
