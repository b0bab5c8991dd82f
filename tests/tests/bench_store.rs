//! `labrys bench store` from end to end: it measures, says what it measured, and leaves nothing.

use std::fs;

use labrys_tests::{Traces, finish, labrys, whole_machine};

#[test]
fn the_reference_store_is_measured_under_load_and_across_a_leaders_death_and_nothing_is_left() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::look();
    let page = folder.path().join("performance.md");
    let (begin, end) =
        ("<!-- made by `labrys bench store`: begin -->\n", "<!-- made by `labrys bench store`: end -->\n");
    fs::write(&page, format!("before\n{begin}old\n{end}after\n")).unwrap();
    let args = ["bench", "store", "--no-etcd", "--no-growth", "--keys", "500", "--failovers", "1"];
    let more = ["--duration", "300ms", "--warm-up", "100ms", "--json", "--markdown", "performance.md"];
    let finished = finish(labrys(folder.path(), &args).args(more)).expect_code(0);

    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let done: Vec<&str> = rows.iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(done, ["put", "get, linearizable", "90 % get, 10 % put"]);
    for row in rows {
        let (system, measured) = (&row["measured"][0][0], &row["measured"][0][1]);
        assert_eq!(system, "labrys-store");
        assert!(measured["per_second"].as_f64().unwrap() > 0.0, "{row:#}");
        assert_eq!(measured["errors"], 0, "{row:#}");
    }
    let written = rows[0]["measured"][0][1]["written_bytes_per_put"].as_f64().unwrap();
    assert!(written > 2.0 * 256.0, "an acknowledged write is on two disks at least, not {written} B");
    let times = report["times"].as_array().unwrap();
    assert_eq!(times.len(), 3, "failover, filling, restart: {times:?}");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("before\n") && page.ends_with("after\n") && !page.contains("old"), "{page}");
    assert!(page.contains("| put | 3 | 64 | 256 B | labrys-store |"), "{page}");
    assert!(!folder.path().join("labrys-runs/bench-store").exists(), "the nodes' data is removed");
    assert_eq!(Traces::look().since(&before), Vec::<String>::new());
}
