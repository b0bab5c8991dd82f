//! `labrys convert`, on the built binary.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use labrys_history::{Event, EventKind, Format, History, Process, ReadOptions, Value, read_history};

const USAGE: i32 = 254;
const ENVIRONMENT: i32 = 255;

fn convert(folder: &Path, arguments: &[&str]) -> Output {
    convert_from(folder, arguments, b"")
}

fn convert_from(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_labrys"))
        .arg("convert")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A history with everything that a format might lose.
fn history() -> History {
    let event = |index, process, kind, value: i64| {
        let mut event = Event::new(index, 10 * index, process, kind, "write", Value::Int(value));
        event.key = Some(Value::keyword("x"));
        event
    };
    History::new(vec![
        event(0, Process::Client(0), EventKind::Invoke, 1),
        event(2, Process::Client(1), EventKind::Invoke, 2),
        event(3, Process::nemesis(), EventKind::Info, 0),
        event(5, Process::Client(0), EventKind::Info, 1),
        event(6, Process::Client(1), EventKind::Fail, 2),
    ])
    .unwrap()
}

fn write(folder: &Path, name: &str) {
    let mut text = Vec::new();
    labrys_history::write_json_lines(&mut text, history().events()).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
}

fn read(folder: &Path, name: &str) -> (Format, History) {
    let report = read_history(folder.join(name), ReadOptions::default()).unwrap();
    (report.format, report.history)
}

#[test]
fn there_and_back_is_the_same_history_and_what_is_lost_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "a.jsonl");
    let output = convert(folder, &["a.jsonl", "b.edn"]);
    assert_eq!(
        (output.status.code(), errors(&output).as_str()),
        (
            Some(0),
            "a.jsonl (jsonl) → b.edn (edn): 2 operations, 5 events\n\
             note: 5 events have a key, which EDN has in the value: [key value]\n"
        )
    );
    assert_eq!(convert(folder, &["b.edn", "c.jsonl"]).status.code(), Some(0));
    assert_eq!(read(folder, "b.edn"), (Format::Edn, history()));
    assert_eq!(read(folder, "c.jsonl"), (Format::JsonLines, history()));
    let output = convert(folder, &["c.jsonl", "d.json"]);
    assert!(errors(&output).contains("note: 1 events of the nemesis and of other named processes"));
    assert_eq!(convert(folder, &["d.json", "e.jsonl"]).status.code(), Some(0));
    assert_eq!(read(folder, "e.jsonl").1.operations(), history().operations());
}

#[test]
fn standard_input_and_output_are_dashes() {
    let folder = tempfile::tempdir().unwrap();
    let log = b"INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - 0\t:ok\t:read\t3\n";
    let output = convert_from(folder.path(), &["-", "-", "--to", "edn"], log);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let expected = "{:index 0, :type :invoke, :process 0, :f :read, :value nil, :time 0}\n\
                    {:index 1, :type :ok, :process 0, :f :read, :value 3, :time 1}\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert!(errors(&output).contains("note: 2 events have no time in -; their positions stand for it"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_exists_is_overwritten_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "a.jsonl");
    std::fs::write(folder.join("b.edn"), "precious").unwrap();
    let output = convert(folder, &["a.jsonl", "b.edn"]);
    assert_eq!(
        (output.status.code(), errors(&output).as_str()),
        (Some(USAGE), "labrys: b.edn exists; --force overwrites it\n")
    );
    assert_eq!(std::fs::read_to_string(folder.join("b.edn")).unwrap(), "precious");
    assert_eq!(convert(folder, &["a.jsonl", "b.edn", "--force"]).status.code(), Some(0));
    assert_eq!(read(folder, "b.edn").1, history());
    assert_eq!(convert(folder, &["a.jsonl", "a.jsonl", "--force"]).status.code(), Some(0));
    assert_eq!(read(folder, "a.jsonl").1, history());
}

#[test]
fn each_mistake_is_one_clear_error_with_its_code_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "a.jsonl");
    std::fs::write(folder.join("bad.edn"), "{:process 0, :type :begin}").unwrap();
    for (arguments, code, expected) in [
        (
            &["bad.edn", "b.jsonl"][..],
            USAGE,
            "labrys: bad.edn:1:20: expected :invoke, :ok, :fail or :info, found `:begin`",
        ),
        (&["absent.edn", "b.jsonl"], USAGE, "labrys: cannot read absent.edn: "),
        (
            &["a.jsonl", "b.txt"],
            USAGE,
            "labrys: which format is b.txt to have? Say --to FORMAT: jsonl, edn, porcupine",
        ),
        (&["a.jsonl", "-"], USAGE, "labrys: which format is - to have? Say --to FORMAT"),
        (&["a.jsonl", "b", "--to", "jepsen-log"], USAGE, "labrys: jepsen-log is only read, not written"),
        (
            &["a.jsonl", "b", "--to", "csv"],
            USAGE,
            "error: invalid value 'csv' for '--to <FORMAT>': there is no format `csv`",
        ),
        (
            &["a.jsonl", "b.edn", "--from", "edn"],
            USAGE,
            "labrys: a.jsonl:1:2: expected a keyword, the name of a field",
        ),
        (&["a.jsonl", ".", "--to", "edn"], USAGE, "labrys: . is a folder; expected a file"),
        (&["a.jsonl", "absent/b.edn"], ENVIRONMENT, "labrys: writing absent/b.edn: "),
        (
            &["a.jsonl", "/dev/full", "--to", "edn"],
            ENVIRONMENT,
            "labrys: writing /dev/full: No space left on device",
        ),
    ] {
        let output = convert(folder, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", errors(&output));
        assert!(errors(&output).starts_with(expected), "{arguments:?}: {}", errors(&output));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "nothing but what was there");
}

#[test]
fn help_has_examples_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let output = convert(folder.path(), &["--help"]);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0));
    for words in
        ["labrys convert history.jsonl history.edn", "--independent", "--force", "Exit codes: 0 converted"]
    {
        assert!(help.contains(words), "{help}");
    }
}
