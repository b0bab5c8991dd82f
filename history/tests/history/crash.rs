//! The recorder's process is killed at random moments; what it leaves behind must load and must be enough.
//!
//! The child is this test binary again. It records as fast as it can and says on its standard output what it knows to have
//! left its memory; the parent judges by that, and never by how much time has passed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use labrys_history::{
    Clock, Draft, Event, EventKind, MonotonicClock, ReadOptions, Recorder, Value, read_history,
};

const FILE_VARIABLE: &str = "LABRYS_HISTORY_CRASH_TEST_FILE";
const FLUSHES_VARIABLE: &str = "LABRYS_HISTORY_CRASH_TEST_FLUSHES";

#[test]
#[ignore = "the child of the tests below, which start it"]
#[expect(clippy::disallowed_methods, reason = "the parent says in the environment where to record and how")]
fn child_that_records_until_it_is_killed() {
    let Ok(path) = std::env::var(FILE_VARIABLE) else { return };
    let flushes = std::env::var(FLUSHES_VARIABLE).is_ok();
    let recorder = Recorder::create(path, MonotonicClock::start()).unwrap();
    let mut report = std::io::stdout().lock();
    for number in 0.. {
        let invocation =
            recorder.record(Draft::invoke(number % 5, "write", Value::Int(number as i64))).unwrap();
        let completion = Draft::completion(&invocation, EventKind::Ok, Value::string("käse"));
        let completion = recorder.record(completion).unwrap();
        if number % 64 == 0 {
            if flushes {
                recorder.flush().unwrap();
            }
            writeln!(report, "recorded {}", completion.index).unwrap();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a crash needs a process of its own")]
fn spawn_child(path: &Path, flushes: bool) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "crash::child_that_records_until_it_is_killed", "--ignored", "--nocapture"])
        .env(FILE_VARIABLE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if flushes {
        command.env(FLUSHES_VARIABLE, "1");
    }
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// The index that a line of the child's says, if it is a whole line of ours.
fn reported_index(line: &str) -> Option<u64> {
    line.strip_suffix('\n')?.split_once("recorded ")?.1.parse().ok()
}

/// Reads reports until there have been `count` of them or the child is dead; the last index and their number.
fn read_reports(output: &mut impl BufRead, count: usize) -> (Option<u64>, usize) {
    let (mut last, mut seen, mut line) = (None, 0, String::new());
    while seen < count && output.read_line(&mut line).is_ok_and(|length| length > 0) {
        if let Some(index) = reported_index(&line) {
            (last, seen) = (Some(index), seen + 1);
        }
        line.clear();
    }
    (last, seen)
}

/// What is in the file of a killed recorder, which must be a prefix without gaps.
fn read_prefix(path: &Path) -> Vec<Event> {
    let report = read_history(path, ReadOptions::default()).expect("the prefix loads");
    let torn = report.warnings.iter().filter(|warning| warning.message.contains("torn")).count();
    assert_eq!(report.warnings.len(), torn, "{:?}", report.warnings);
    let events = report.history.into_events();
    assert!(events.iter().map(|event| event.index).eq(0..events.len() as u64), "an event is missing inside");
    events
}

#[test]
fn after_sigkill_the_prefix_loads_and_has_everything_that_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    // Irregular numbers of reports are irregular moments.
    for (round, reports) in [1, 3, 17, 59, 150, 411, 700, 1_300, 2_900, 5_011].into_iter().enumerate() {
        let path = folder.path().join(format!("{round}.jsonl"));
        let (mut child, mut output) = spawn_child(&path, true);
        let (last, seen) = read_reports(&mut output, reports);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, reports, "the child died by itself");
        // What it had said before it died, but had not been read.
        let (later, _) = read_reports(&mut output, usize::MAX);
        let flushed = later.or(last).expect("there was a report");
        let events = read_prefix(&path);
        assert!(
            events.len() as u64 > flushed,
            "event {flushed} was flushed, but there are only {}",
            events.len()
        );
    }
}

#[test]
fn the_background_brings_everything_to_the_file_before_a_sigkill_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let (mut child, mut output) = spawn_child(&path, false);
    let (recorded, _) = read_reports(&mut output, 100);
    let recorded = recorded.expect("there were reports");
    // The child goes on, but its pipe is full before long: then only its background thread still runs.
    let clock = MonotonicClock::start();
    let wanted = format!("{{\"index\":{recorded},");
    while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&wanted)) {
        assert!(clock.now_ns() < 60_000_000_000, "event {recorded} never came to the file");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(read_prefix(&path).len() as u64 > recorded);
}

#[test]
fn a_file_cut_at_any_byte_loads_as_the_events_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.jsonl");
    let recorder = Recorder::create(&path, MonotonicClock::start()).unwrap();
    for process in 0..12 {
        let key = Some(Value::string("käse\n\"🪓\""));
        recorder
            .record(Draft::invoke(process, "cas", vec![Value::Int(1), Value::Nil].into()).with_key(key))
            .unwrap();
    }
    recorder.finish().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let events = read_history(&path, ReadOptions::default()).unwrap().history.into_events();
    for cut in 0..=whole.len() {
        let prefix = &whole[..cut];
        let report = labrys_history::read_bytes(prefix, "cut", ReadOptions::default()).unwrap();
        // A line is complete with its closing brace, whether its newline has been written or not.
        let complete = prefix.iter().filter(|byte| **byte == b'\n').count()
            + usize::from(prefix.ends_with(b"}") && whole[cut] == b'\n');
        assert_eq!(report.history.events(), &events[..complete], "cut at byte {cut}");
        let torn = prefix.last().is_some_and(|byte| *byte != b'\n')
            && !(prefix.ends_with(b"}") && whole[cut] == b'\n');
        assert_eq!(
            report.warnings.iter().any(|warning| warning.message.contains("torn")),
            torn,
            "cut at byte {cut}"
        );
    }
}
