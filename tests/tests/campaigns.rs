//! `labrys test` from end to end: a clean store is valid under faults, and the run directory has all that it promises.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use labrys_tests::{Finished, Traces, binary, eventually, finish, labrys, run_directory, whole_machine};

fn verdict(run: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(run.join("verdict.json")).unwrap()).unwrap()
}

fn check_of<'a>(verdict: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let checks = verdict["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["checker"] == name)
        .unwrap_or_else(|| panic!("no check `{name}` in {verdict:#}"))
}

#[test]
fn a_clean_store_is_valid_under_partitions_pauses_and_kills_and_the_run_directory_is_complete() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::look();
    let args = ["test", "--time-limit", "15s", "--nemesis-interval", "2s", "--seed", "11", "--json"];
    let finished = finish(&mut labrys(folder.path(), &args)).expect_code(0);
    let run = run_directory(&finished);
    for name in [
        "test.toml",
        "history.jsonl",
        "schedule.jsonl",
        "nemesis-journal.jsonl",
        "verdict.json",
        "labrys.log",
        "report/index.html",
        "report/timeline.svg",
        "report/latency.svg",
        "report/rate.svg",
    ] {
        let size = fs::metadata(run.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).len();
        assert!(size > 0, "{name} is empty");
    }
    let verdict = verdict(&run);
    assert_eq!(verdict["validity"], "valid");
    for name in ["linearizable", "statistics", "one-leader-per-term", "replicas-agree", "no-crashes"] {
        assert_eq!(check_of(&verdict, name)["validity"], "valid", "{name}");
    }
    let ends = check_of(&verdict, "no-crashes")["statistics"]["events"].as_u64().unwrap();
    assert!(ends > 5, "five nodes end in the end, and some are killed before: {ends}");
    assert_all_kinds_of_faults_bit(&run);
    assert!(finished.stderr.contains("11"), "the seed is printed:\n{}", finished.stderr);
    assert_eq!(Traces::look().since(&before), Vec::<String>::new());
}

fn assert_all_kinds_of_faults_bit(run: &Path) {
    let schedule = fs::read_to_string(run.join("schedule.jsonl")).unwrap();
    for kind in ["partition", "pause", "kill"] {
        let bit = schedule
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .any(|fault| fault["resolved"]["kind"] == kind && fault["bit"] == true);
        assert!(bit, "no {kind} had an effect:\n{schedule}");
    }
}

#[test]
fn the_recorded_configuration_repeats_the_run_and_the_verdict_can_be_recomputed() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["test", "--nodes", "3", "--time-limit", "3s", "--nemesis", "none", "--concurrency", "1n", "--json"];
    let first = run_directory(&finish(&mut labrys(folder.path(), &args)).expect_code(0));
    let configuration = first.join("test.toml");
    let again = ["test", configuration.to_str().unwrap(), "--json"];
    let second = run_directory(&finish(&mut labrys(folder.path(), &again)).expect_code(0));
    assert_eq!(
        fs::read_to_string(&configuration).unwrap(),
        fs::read_to_string(second.join("test.toml")).unwrap()
    );

    let history = first.join("history.jsonl");
    let check =
        finish(&mut labrys(folder.path(), &["check", history.to_str().unwrap(), "--model", "cas-register"]));
    check.expect_code(0);

    fs::remove_dir_all(first.join("report")).unwrap();
    finish(&mut labrys(folder.path(), &["report", first.to_str().unwrap()])).expect_code(0);
    assert!(first.join("report/index.html").is_file());
    finish(&mut labrys(folder.path(), &["heal", first.to_str().unwrap()])).expect_code(0);
}

#[test]
fn a_campaign_that_can_be_read_but_once_is_the_one_that_runs() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"name = \"piped\"\nnodes = 1\ntime-limit = \"1s\"\nnemesis = [\"none\"]\n").unwrap();
    drop(writer);
    let args = ["test", "/dev/stdin", "--rate", "200", "--json"];
    let run = run_directory(&finish(labrys(folder.path(), &args).stdin(reader)).expect_code(0));
    let configuration = fs::read_to_string(run.join("test.toml")).unwrap();
    for line in ["name = \"piped\"", "nodes = 1", "time-limit = \"1s\"", "rate = 200.0"] {
        assert!(configuration.contains(line), "no `{line}` in:\n{configuration}");
    }
}

#[test]
fn a_run_that_fails_fast_stops_at_the_violation_that_it_names_and_says_so_in_its_history() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    // Ten minutes, which nobody waits for: any node answers reads, so the first seconds have a stale one. One key, so that
    // there is one first violation to name.
    let args =
        ["test", "--defect", "follower-read", "--fail-fast", "--time-limit", "600s", "--nemesis", "none"];
    let one_key = ["--key-count", "1", "--ops-per-key", "1000000", "--json"];
    let finished = finish(labrys(folder.path(), &args).args(one_key)).expect_code(1);
    assert!(finished.stderr.contains("stopped at the first violation: event "), "{}", finished.stderr);
    let run = run_directory(&finished);
    let history = fs::read_to_string(run.join("history.jsonl")).unwrap();
    let events = history.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let stopped: Vec<_> = events.filter(|event| event["f"] == "stopped-early").collect();
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    let verdict = verdict(&run);
    let linearizable = check_of(&verdict, "linearizable");
    assert_eq!(linearizable["validity"], "invalid");
    let partitions = linearizable["partitions"].as_array().unwrap();
    let ends = partitions.iter().flat_map(|partition| partition["evidence"].as_array().unwrap());
    let ends: Vec<u64> = ends.filter_map(|evidence| evidence["prefix_end"].as_u64()).collect();
    let named = stopped[0]["value"]["event"].as_u64().unwrap_or_else(|| panic!("{}", stopped[0]));
    assert!(ends.contains(&named), "the check of the whole history finds the same: {named} in {ends:?}");
}

#[test]
fn a_run_under_a_process_supervisor_ends_in_an_orderly_way_on_sigterm_and_still_judges() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::look();
    let mut child =
        labrys(folder.path(), &["test", "--nodes", "3", "--time-limit", "600s", "--nemesis", "none"])
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
    let runs = folder.path().join("labrys-runs");
    eventually(30, "operations are recorded", || match newest_history(&runs) {
        Some(text) if text.matches(r#""kind":"ok""#).count() > 100 => Ok(()),
        _ => Err("no operations yet"),
    });
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "stopped early, the run is judged on what it saw");
    assert_eq!(verdict(&runs.join("latest"))["validity"], "valid");
    assert_eq!(Traces::look().since(&before), Vec::<String>::new());
}

fn newest_history(runs: &Path) -> Option<String> {
    fs::read_to_string(runs.join("latest/history.jsonl")).ok()
}

#[test]
fn an_ordinary_user_without_sudo_can_run_a_campaign() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let binaries = copy_binaries_for_everybody(folder.path());
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let args = ["test", "--time-limit", "8s", "--nemesis-interval", "1s", "--json"];
    let finished = as_ordinary_user(&binaries, &home, &args).expect_code(0);
    let run = run_directory(&finished);
    assert_eq!(verdict(&run)["validity"], "valid");
    assert_all_kinds_of_faults_bit(&run);
}

/// The checkout may lie where an ordinary user cannot read it.
fn copy_binaries_for_everybody(folder: &Path) -> std::path::PathBuf {
    let binaries = folder.join("bin");
    fs::create_dir(&binaries).unwrap();
    for name in ["labrys", "labrys-store"] {
        fs::copy(binary(name), binaries.join(name)).unwrap();
    }
    for path in [folder, &binaries] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    binaries
}

/// Runs labrys as `nobody` if the tests run as root, as whoever runs them otherwise.
fn as_ordinary_user(binaries: &Path, home: &Path, args: &[&str]) -> Finished {
    let labrys = binaries.join("labrys");
    let root = fs::metadata("/proc/self")
        .map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
        .unwrap();
    let mut command = if root {
        std::os::unix::fs::chown(home, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--no-new-privs",
            "--",
        ]);
        command.arg(&labrys);
        command
    } else {
        Command::new(&labrys)
    };
    finish(
        command
            .args(args)
            .current_dir(home)
            .env("HOME", home)
            .env("LABRYS_STORE_BINARY", binaries.join("labrys-store")),
    )
}
