//! The harness is good if it finds each defect of the store: every campaign of `labrys defects` ends invalid with the defect
//! switched on, names evidence, and draws it. (That the clean store is valid under faults is in `campaigns.rs`.)

use std::fs;
use std::path::Path;

use labrys_tests::{finish, labrys, whole_machine};

/// How long a campaign may look before the defect counts as missed, in seconds of the campaign's own time.
const BUDGET_S: f64 = 60.0;

/// Real machines interleave the same plan differently each time: a defect counts as missed when so many seeds miss it.
const SEEDS: u64 = 3;

/// Those with a campaign, by name.
const DEFECTS: [&str; 30] = [
    "vote-not-persisted",
    "election-no-log-check",
    "async-replication-ack",
    "commit-index-not-min",
    "local-leader-read",
    "follower-read",
    "no-request-deduplication",
    "cas-evaluated-at-propose",
    "lease-read-clock-skew",
    "lease-read-after-pause",
    "dedup-expiry-clock",
    "ttl-wall-clock",
    "lease-revoked-by-old-leader",
    "follower-acks-before-fsync",
    "leader-acks-before-fsync",
    "no-dir-fsync",
    "torn-tail-ignored",
    "mid-log-corruption-truncates",
    "disk-full-swallowed",
    "fsync-failure-retry",
    "membership-two-at-once",
    "membership-no-noop",
    "membership-applied-at-commit",
    "joint-exit-lost",
    "removed-node-disrupts",
    "leadership-transfer-keeps-serving",
    "no-check-quorum",
    "no-prevote-livelock",
    "partial-partition-stuck-leader",
    "stale-append-reply-counted",
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
fn a_table_of_runs_that_failed_is_no_table() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let document =
        "before\n<!-- made by `labrys defects`: begin -->\nold\n<!-- made by `labrys defects`: end -->\n";
    let file = folder.path().join("defects.md");
    fs::write(&file, document).unwrap();
    let args = ["defects", "--seeds", "1", "--clean-runs", "1", "--json", "--markdown", "defects.md"];
    let mut command = labrys(folder.path(), &args);
    let finished = finish(command.env("LABRYS_STORE_BINARY", "/nowhere/labrys-store")).expect_code(255);
    assert!(finished.stderr.contains("31 of the runs ended without a verdict"), "{}", finished.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), document, "what was known stays");
    let table: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(table["false_alarms"], 0, "a run without a verdict raises no alarm");
}

#[test]
fn a_table_of_a_part_and_a_run_of_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["--only", "follower-read", "--markdown", "defects.md"][..],
        &["--seeds", "0", "--no-clean"],
        &["--seeds", "0", "--clean-runs", "0"],
        &["--no-clean", "--markdown", "defects.md"],
        &["--first-seed", "18446744073709551615"],
    ] {
        finish(labrys(folder.path(), &["defects"]).args(args)).expect_one_clear_error(254, &["--"]);
    }
}

#[test]
fn every_defect_is_found_within_its_budget_with_evidence_that_is_drawn() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let missed: Vec<&str> = DEFECTS
        .into_iter()
        .filter(|name| !(1..=SEEDS).any(|seed| is_found(name, seed, folder.path())))
        .collect();
    assert_eq!(missed, Vec::<&str>::new(), "not found on any of {SEEDS} seeds");
}

/// Whether a campaign finds its defect; if it does, in time and with a picture that shows where.
fn is_found(name: &str, seed: u64, folder: &Path) -> bool {
    let seed = seed.to_string();
    let args = ["defects", "--only", name, "--seeds", "1", "--first-seed", &seed, "--json", "--no-clean"];
    let finished = finish(&mut labrys(folder, &args));
    let table: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
    let run = &table["defects"][0]["runs"][0];
    println!("{name}, seed {seed}: {run}");
    if run["validity"] != "invalid" {
        return false;
    }
    assert_eq!(finished.code, Some(0), "{name}: found, and yet: {finished:?}");
    let seconds = run["detected_after_s"]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} has no time of detection: {run:#}"));
    let directory = run["run_directory"].as_str().unwrap();
    let timeline = fs::read_to_string(format!("{directory}/report/timeline.svg")).unwrap();
    assert!(timeline.contains("lt-end-text"), "{name}: the timeline does not mark where it went wrong");
    seconds <= BUDGET_S
}
