//! Judging what was recorded: `labrys check` and `labrys report` come to the verdict that the run came to, and say what they
//! did not use.

use std::fs::{self, File};
use std::path::Path;

use labrys_tests::{finish, labrys};

/// A history of one successful write and read, in Labrys's own format, and further lines.
fn history(folder: &Path, further: &[&str]) {
    let lines = [
        r#"{"index":0,"time_ns":1,"process":0,"kind":"invoke","f":"write","value":3}"#,
        r#"{"index":1,"time_ns":2,"process":0,"kind":"ok","f":"write","value":3}"#,
        r#"{"index":2,"time_ns":3,"process":0,"kind":"invoke","f":"read","value":null}"#,
        r#"{"index":3,"time_ns":4,"process":0,"kind":"ok","f":"read","value":3}"#,
    ];
    let text: String = lines.iter().chain(further).map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("history.jsonl"), text).unwrap();
}

const CHECK: [&str; 6] = ["check", "history.jsonl", "--model", "cas-register", "--initial", "0"];

#[test]
fn what_the_observer_saw_counts_when_a_history_is_judged_again() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path(), &[]);
    finish(&mut labrys(folder.path(), &CHECK)).expect_code(0);

    let leader = |index: u64, node: &str| {
        format!(
            r#"{{"index":{index},"time_ns":{index},"process":"observer","kind":"info","f":"leader","value":{{"node":"{node}","term":5}}}}"#
        )
    };
    history(folder.path(), &[&leader(5, "n1"), &leader(6, "n2")]);
    let finished = finish(&mut labrys(folder.path(), &CHECK)).expect_code(1);
    assert!(finished.stderr.contains("term 5"), "{}", finished.stderr);

    let lost = r#"{"index":5,"time_ns":5,"process":"observer","kind":"info","f":"recovery","value":{"recovered":false,"what":"n3 never came back"}}"#;
    history(folder.path(), &[lost]);
    let finished = finish(&mut labrys(folder.path(), &CHECK)).expect_code(2);
    assert!(finished.stderr.contains("n3 never came back"), "{}", finished.stderr);
}

#[test]
fn nothing_read_where_something_must_be_is_a_violation_in_our_own_format() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = [
        r#"{"index":4,"time_ns":5,"process":0,"kind":"invoke","f":"read","value":null}"#,
        r#"{"index":5,"time_ns":6,"process":0,"kind":"ok","f":"read","value":null}"#,
    ];
    history(folder.path(), &nothing);
    finish(&mut labrys(folder.path(), &CHECK)).expect_code(1);
}

#[test]
fn reads_of_nil_that_another_program_means_as_no_answer_are_passed_over_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{:process 0 :type :invoke :f :write :value 3}\n{:process 0 :type :ok :f :write :value 3}\n\
                {:process 0 :type :invoke :f :read :value nil}\n{:process 0 :type :ok :f :read :value nil}\n";
    fs::write(folder.path().join("history.edn"), text).unwrap();
    let args = ["check", "history.edn", "--model", "cas-register", "--initial", "0"];
    let finished = finish(&mut labrys(folder.path(), &args)).expect_code(0);
    assert!(finished.stderr.contains("reads of nil"), "{}", finished.stderr);
}

#[test]
fn pairs_of_key_and_value_are_not_judged_as_the_values_of_one_register() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{:process 0 :type :invoke :f :write :value [1 3]}\n{:process 0 :type :ok :f :write :value [1 3]}\n\
                {:process 0 :type :invoke :f :write :value [2 4]}\n{:process 0 :type :ok :f :write :value [2 4]}\n\
                {:process 0 :type :invoke :f :read :value [1 nil]}\n{:process 0 :type :ok :f :read :value [1 3]}\n";
    fs::write(folder.path().join("history.edn"), text).unwrap();
    let args = ["check", "history.edn", "--model", "cas-register"];
    finish(&mut labrys(folder.path(), &args)).expect_one_clear_error(254, &["history.edn", "--independent"]);
    finish(labrys(folder.path(), &args).arg("--independent")).expect_code(0);
}

#[test]
fn a_verdict_that_cannot_be_printed_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path(), &[]);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = labrys(folder.path(), &CHECK);
    let child = command.arg("--json").stdout(full()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let finished: labrys_tests::Finished = child.wait_with_output().unwrap().into();
    let finished = finished.expect_one_clear_error(255, &["standard output", "No space left on device"]);
    assert_eq!(finished.stderr.matches("No space left").count(), 1, "{}", finished.stderr);

    // Nobody hears it, and the code still says it.
    let mut command = labrys(folder.path(), &CHECK);
    assert_eq!(command.stderr(full()).status().unwrap().code(), Some(0));
}

#[test]
fn an_initial_value_that_the_model_does_not_know_is_named_by_its_option() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path(), &[]);
    let args = ["check", "history.jsonl", "--model", "mutex", "--initial", "7"];
    finish(&mut labrys(folder.path(), &args)).expect_one_clear_error(254, &["--initial", "free or held"]);
}

#[test]
fn a_history_is_not_overwritten_by_the_page_about_it() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path(), &[]);
    let before = fs::read(folder.path().join("history.jsonl")).unwrap();
    let mut command = labrys(folder.path(), &CHECK);
    finish(command.args(["--counterexamples", "./history.jsonl"]))
        .expect_one_clear_error(254, &["--counterexamples", "name another file"]);
    assert_eq!(fs::read(folder.path().join("history.jsonl")).unwrap(), before);
}

#[test]
fn a_linearization_is_shown_and_stands_whole_in_the_json() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path(), &[]);
    let mut command = labrys(folder.path(), &CHECK);
    let finished = finish(command.args(["--witness", "--json"])).expect_code(0);
    assert!(
        finished.stderr.contains("a linearization with 2 operations:\n    #0 write 3\n"),
        "{}",
        finished.stderr
    );
    let rows: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(rows[0]["verdict"]["checks"][0]["partitions"][0]["linearization"], serde_json::json!([0, 2]));
}
