//! Shrinking: what is left fails in the same way, is smaller, and reads back as the same run.

use std::path::Path;

use labrys_history::write_json_lines;
use labrys_simulation::failure::Failure;
use labrys_simulation::gate::{Row, seed_of};
use labrys_simulation::schedule_file::ScheduleFile;
use labrys_simulation::shrink::{Limits, Shrunk, shrink, simulate};
use labrys_simulation::{Simulated, SimulationConfig};

fn bytes(simulated: &Simulated) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_json_lines(&mut bytes, simulated.history.events()).expect("written");
    bytes
}

fn campaign(defect: &str, run: u64, is_defective: bool) -> SimulationConfig {
    let row = Row::of(defect).expect("a row");
    row.config(seed_of(1, run), is_defective).expect("a configuration").expect("a campaign")
}

/// Of the first failing run of a defect.
fn shrunk(defect: &str, limits: Limits) -> Shrunk {
    let mut shrunk = (0..50)
        .filter_map(|run| shrink(&campaign(defect, run, true), None, limits, &mut |_, _| ()).expect("runs"));
    shrunk.next().unwrap_or_else(|| panic!("{defect} does not fail in 50 runs"))
}

#[test]
fn a_shrunk_run_fails_in_the_same_way_is_smaller_and_reads_back_as_the_same_run() {
    let shrunk = shrunk("local-leader-read", Limits { runs: 80, seeds: 2 });
    let (before, after) = (shrunk.before, shrunk.after);
    assert!(after.faults <= 2 && after.faults < before.faults, "{before:?} {after:?}");
    assert!(after.operations < before.operations && after.simulated < before.simulated);
    assert!(shrunk.runs <= 80);
    let here = simulate(&shrunk.config).expect("a run");
    assert_eq!(Failure::named(&here, &shrunk.failure.of), Some(shrunk.failure.clone()));
    let text = shrunk.to_toml();
    let file = ScheduleFile::parse(&text, Path::new("shrunk.toml")).expect("what was written is read");
    assert_eq!(file.violates.as_deref(), Some(shrunk.failure.of.as_str()));
    assert_eq!(bytes(&simulate(&file.config).expect("a run")), bytes(&here), "{text}");
}

#[test]
fn shrinking_is_deterministic_and_keeps_to_its_number_of_runs() {
    let limits = Limits { runs: 12, seeds: 2 };
    let (one, other) = (shrunk("quorum-off-by-one", limits), shrunk("quorum-off-by-one", limits));
    assert_eq!(one.to_toml(), other.to_toml());
    assert_eq!((one.runs, one.is_minimal), (12, false));
}

#[test]
fn a_run_that_does_not_fail_is_not_shrunk() {
    let valid = campaign("async-replication-ack", 0, false);
    assert!(shrink(&valid, None, Limits::default(), &mut |_, _| ()).expect("a run").is_none());
}

#[test]
fn a_file_with_a_mistake_is_refused_with_its_name_and_the_place() {
    for (text, expected) in [
        ("tuned = true", "missing field `seed`"),
        ("seed = 1\nfaults = [{ at-ms = 1, kind = \"kill\", target = \"all\" }]", "lasts-ms"),
        ("seed = 1\nfaults = [{ at-ms = 1, lasts-ms = 1, kind = \"flood\" }]", "flood"),
        ("seed = 1\n[test]\nnodes = 0", "--nodes: 0 is not between"),
        ("seed = 1\nsede = 2", "sede"),
        (
            "seed = 1\nfaults = [{ at-ms = 1, lasts-ms = 1, kind = \"kill\", target = { named = [\"n9\"] } }]",
            "there is no node `n9`",
        ),
    ] {
        let error = ScheduleFile::parse(text, Path::new("file.toml")).expect_err(text).to_string();
        assert!(error.starts_with("file.toml: ") && error.contains(expected), "{error}");
    }
}
