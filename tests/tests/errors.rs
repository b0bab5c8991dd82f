//! Every kind of bad input gives one clear error, with the documented exit code, and never looks like a violation.

use std::path::Path;
use std::process::Command;

use labrys_tests::{binary, finish, labrys, run_directory, whole_machine};

const USAGE: i32 = 254;
const ENVIRONMENT: i32 = 255;

#[test]
fn an_unknown_flag_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    finish(&mut labrys(folder.path(), &["test", "--nodez", "3"]))
        .expect_one_clear_error(USAGE, &["--nodez", "--nodes"]);
}

#[test]
fn values_that_make_no_sense_are_wrong_usage_and_the_error_says_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    for (args, words) in [
        (["--nodes", "0"], ["--nodes", "between 1 and 99"]),
        (["--concurrency", "many"], ["--concurrency", "2n"]),
        (["--time-limit", "soon"], ["--time-limit", "soon"]),
        (["--nemesis", "earthquake"], ["earthquake", "partition"]),
        (["--workload", "banana"], ["--workload", "register"]),
        (["--defect", "bad-luck"], ["bad-luck", "local-leader-read"]),
        (["--db", "oracle"], ["--db", "labrys-store"]),
    ] {
        finish(labrys(folder.path(), &["test"]).args(args)).expect_one_clear_error(USAGE, &words);
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "wrong usage leaves no run directory");
}

#[test]
fn a_campaign_file_with_a_mistake_is_named_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("campaign.toml"), "nodes = 3\nnemisis = [\"kill\"]\n").unwrap();
    finish(&mut labrys(folder.path(), &["test", "campaign.toml"]))
        .expect_one_clear_error(USAGE, &["campaign.toml", "line 2", "nemisis", "nemesis"]);
    finish(&mut labrys(folder.path(), &["test", "absent.toml"]))
        .expect_one_clear_error(USAGE, &["absent.toml"]);
}

#[test]
fn a_node_that_never_starts_is_the_environments_failure_and_shows_its_last_log_lines() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken-store");
    std::fs::write(&broken, "#!/bin/sh\necho 'cannot find my hat' >&2\nexit 3\n").unwrap();
    make_executable(&broken);
    let mut command = labrys(folder.path(), &["test", "--time-limit", "5s", "--recovery-timeout", "5s"]);
    finish(command.env("LABRYS_STORE_BINARY", &broken))
        .expect_one_clear_error(ENVIRONMENT, &["n1", "cannot find my hat"]);
}

#[test]
fn a_store_that_is_not_there_is_the_environments_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = labrys(folder.path(), &["test", "--time-limit", "5s"]);
    finish(command.env("LABRYS_STORE_BINARY", "/nowhere/labrys-store"))
        .expect_one_clear_error(ENVIRONMENT, &["/nowhere/labrys-store"]);
}

#[test]
fn the_doctor_says_that_a_machine_is_unfit_on_which_any_program_of_a_partition_fails() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["iptables-save", "iptables-restore"] {
        let broken = folder.path().join(program);
        std::fs::write(&broken, "#!/bin/sh\necho 'no module for me' >&2\nexit 1\n").unwrap();
        make_executable(&broken);
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let mut command = labrys(folder.path(), &["doctor", "--json"]);
        let finished = finish(command.env("PATH", path)).expect_code(ENVIRONMENT);
        let probes: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        let probes = probes["probes"].as_array().unwrap();
        let probe = probes.iter().find(|probe| probe["name"] == "iptables").unwrap();
        assert_eq!(probe["status"], "missing", "{program}");
        assert!(probe["detail"].as_str().unwrap().contains("no module for me"), "{program}: {probe}");
        std::fs::remove_file(&broken).unwrap();
    }
    let sound = finish(&mut labrys(folder.path(), &["doctor", "--json"])).expect_code(0);
    assert!(sound.stdout.contains("\"iptables\""), "{}", sound.stdout);
}

#[test]
fn a_full_disk_is_the_environments_failure() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    // A file system of 1 MiB in a mount namespace of the test's own; the user namespace makes it work without root, too.
    let script = format!(
        "mount -t tmpfs -o size=1M none {small} && cd {small} && exec {labrys} test --time-limit 20s --nemesis none",
        small = small.display(),
        labrys = binary("labrys").display()
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    finish(command.env("LABRYS_STORE_BINARY", binary("labrys-store")))
        .expect_one_clear_error(ENVIRONMENT, &["No space left on device"]);
}

#[test]
fn a_machine_without_user_namespaces_is_told_how_to_allow_them() {
    let folder = tempfile::tempdir().unwrap();
    // In a user namespace of the test's own the limit is set to none, and all capabilities are given up.
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \
         {labrys} test --time-limit 5s",
        labrys = binary("labrys").display()
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]).current_dir(folder.path());
    finish(command.env("LABRYS_STORE_BINARY", binary("labrys-store")))
        .expect_one_clear_error(ENVIRONMENT, &["user.max_user_namespaces", "sysctl", "root"]);
}

#[test]
fn a_torn_last_line_of_a_history_is_dropped_with_a_warning_and_a_torn_line_elsewhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let whole = concat!(
        r#"{"index":0,"time_ns":1,"process":0,"kind":"invoke","f":"write","value":1}"#,
        "\n",
        r#"{"index":1,"time_ns":2,"process":0,"kind":"ok","f":"write","value":1}"#,
        "\n",
        r#"{"index":2,"time_ns":3,"process":0,"kind":"invoke","f":"read","value":null}"#,
        "\n",
        r#"{"index":3,"time_ns":4,"process":0,"kind":"ok","f":"read","value":1}"#,
        "\n",
    );
    let torn_at_the_end = format!("{whole}{}", r#"{"index":4,"time_ns":5,"proc"#);
    std::fs::write(folder.path().join("end.jsonl"), torn_at_the_end).unwrap();
    let finished =
        finish(&mut labrys(folder.path(), &["check", "end.jsonl", "--model", "register"])).expect_code(0);
    assert!(finished.stderr.contains("end.jsonl:5"), "{}", finished.stderr);

    let torn_inside = whole.replacen(r#""kind":"ok","f":"write","value":1}"#, r#""kind":"o"#, 1);
    std::fs::write(folder.path().join("inside.jsonl"), torn_inside).unwrap();
    finish(&mut labrys(folder.path(), &["check", "inside.jsonl", "--model", "register"]))
        .expect_one_clear_error(USAGE, &["inside.jsonl:2"]);
}

#[test]
fn a_history_that_lies_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let line = |index: u64, time: u64, kind: &str| {
        format!(
            "{{\"index\":{index},\"time_ns\":{time},\"process\":0,\"kind\":\"{kind}\",\"f\":\"read\",\"value\":null}}\n"
        )
    };
    for (name, text, words) in [
        ("time.jsonl", line(0, 9, "invoke") + &line(1, 5, "ok"), ["time.jsonl:2", "time"]),
        ("twice.jsonl", line(0, 1, "invoke") + &line(1, 2, "invoke"), ["twice.jsonl:2", "process 0"]),
        ("orphan.jsonl", line(0, 1, "ok"), ["orphan.jsonl:1", "process 0"]),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
        finish(&mut labrys(folder.path(), &["check", name, "--model", "register"]))
            .expect_one_clear_error(USAGE, &words);
    }
}

#[test]
fn a_run_without_a_single_operation_is_unknown_and_never_valid() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    finish(&mut labrys(folder.path(), &["check", "empty.jsonl", "--model", "register"])).expect_code(2);
}

#[test]
fn a_run_whose_faults_could_not_come_is_unknown_and_says_so() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let args = ["test", "--nodes", "1", "--time-limit", "1s", "--nemesis", "partition", "--seed", "3"];
    let finished = finish(&mut labrys(folder.path(), &args)).expect_code(2);
    for words in ["warning: no partition will happen", "faults were asked for, but none was applied"] {
        assert!(finished.stderr.contains(words), "no `{words}` in:\n{}", finished.stderr);
    }
}

#[test]
fn a_report_of_a_folder_that_is_no_run_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    finish(&mut labrys(folder.path(), &["report", "."])).expect_one_clear_error(USAGE, &["test.toml"]);
    finish(&mut labrys(folder.path(), &["heal", "nowhere"])).expect_one_clear_error(USAGE, &["nowhere"]);
}

#[test]
fn two_runs_of_the_same_seed_get_two_folders() {
    let _machine = whole_machine();
    let folder = tempfile::tempdir().unwrap();
    let args = ["test", "--nodes", "1", "--time-limit", "1s", "--nemesis", "none", "--seed", "7", "--json"];
    let first = run_directory(&finish(&mut labrys(folder.path(), &args)).expect_code(0));
    let second = run_directory(&finish(&mut labrys(folder.path(), &args)).expect_code(0));
    assert_ne!(first, second);
    assert!(first.join("verdict.json").is_file() && second.join("verdict.json").is_file());
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
