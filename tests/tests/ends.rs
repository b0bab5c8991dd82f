//! Who is to blame for the end of a node: what its environment did to it is never a violation, and a crash always is one, on
//! the way down, too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labrys_tests::{binary, eventually, finish, labrys, run_directory, whole_machine};

const INVALID: i32 = 1;
const ENVIRONMENT: i32 = 255;

/// A program that does `body` in place of the store, whose own path is `$STORE`.
fn store_that(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("store");
    let script = format!("#!/bin/sh\nSTORE={}\n{body}\n", binary("labrys-store").display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Node 1 has a disk of its own, which is full after about a thousand writes.
const SMALL_DISK: &str = r#"
case " $* " in *" --id 1 "*)
    for argument in "$@"; do
        [ "$previous" = --data-dir ] && data=$argument
        previous=$argument
    done
    mkdir -p "$data"
    mountpoint -q "$data" || mount -t tmpfs -o size=64k none "$data" || exit 1
esac
exec "$STORE" "$@""#;

#[test]
fn a_full_disk_of_one_node_is_the_environments_failure_and_the_verdict_is_kept() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let store = store_that(folder.path(), SMALL_DISK);
    let args = ["test", "--nodes", "3", "--time-limit", "10s", "--nemesis", "none"];
    let mut command = labrys(folder.path(), &args);
    finish(command.env("LABRYS_STORE_BINARY", &store))
        .expect_one_clear_error(ENVIRONMENT, &["n1", "its disk is full", "No space left on device"]);
    let verdict = fs::read_to_string(folder.path().join("labrys-runs/latest/verdict.json")).unwrap();
    let verdict: serde_json::Value = serde_json::from_str(&verdict).unwrap();
    assert_eq!(verdict["validity"], "unknown");
}

#[test]
fn a_kill_from_outside_is_the_environments_failure_and_names_the_signal() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let args = ["test", "--nodes", "3", "--time-limit", "6s", "--nemesis", "none"];
    let child = labrys(folder.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let history = folder.path().join("labrys-runs/latest/history.jsonl");
    eventually(30, "operations are recorded", || {
        let text = fs::read_to_string(&history).unwrap_or_default();
        if text.matches(r#""kind":"ok""#).count() > 100 { Ok(()) } else { Err("no operations yet") }
    });
    let victim = process_of_node(folder.path(), "n2").expect("n2 is running");
    assert!(Command::new("kill").args(["-KILL", &victim]).status().unwrap().success());
    let finished: labrys_tests::Finished = child.wait_with_output().unwrap().into();
    finished.expect_one_clear_error(ENVIRONMENT, &["n2", "signal 9", "somebody else killed it"]);
}

/// The number of the process whose data is in the folder of `node`.
fn process_of_node(folder: &Path, node: &str) -> Option<String> {
    let data = format!("/nodes/{node}/data");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let is_it = |command: &str| command.contains(&data) && command.contains(folder.to_str().unwrap());
    let mut found =
        entries.filter(|entry| is_it(&fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default()));
    found.next().map(|entry| entry.file_name().to_string_lossy().into_owned())
}

#[test]
fn a_store_that_fails_while_it_shuts_down_is_found() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    // 9 is what the store says of a panic.
    let store = store_that(
        folder.path(),
        r#"trap 'kill -KILL $store; exit 9' TERM; "$STORE" "$@" & store=$!; wait $store"#,
    );
    let args = ["test", "--nodes", "1", "--time-limit", "1s", "--nemesis", "none", "--json"];
    let mut command = labrys(folder.path(), &args);
    let finished = finish(command.env("LABRYS_STORE_BINARY", &store)).expect_code(INVALID);
    assert!(finished.stderr.contains("n1 ended by itself (exit code 9)"), "{}", finished.stderr);
    assert!(run_directory(&finished).join("nodes/n1/data").is_dir(), "what may explain it is kept");
}
