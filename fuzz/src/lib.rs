//! What must hold for any bytes that a reader is given. The fuzz targets call these functions, and so does an ordinary test
//! of `labrys-history`, with the committed corpus, for CI has no nightly compiler.

use labrys_history::{
    Format, History, Process, ReadError, ReadOptions, WriteError, read_bytes, read_value, write_history,
};

/// What a target does with an input.
type Target = fn(&[u8]);

/// The name of each target, and what it does with an input.
pub const TARGETS: &[(&str, Target)] = &[
    ("json_lines", |text| check(Some(Format::JsonLines), text)),
    ("edn", |text| check(Some(Format::Edn), text)),
    ("json", |text| check(Some(Format::Json), text)),
    ("porcupine", |text| check(Some(Format::Porcupine), text)),
    ("jepsen_log", |text| check(Some(Format::JepsenLog), text)),
    ("detect", |text| check(None, text)),
    ("edn_value", check_value),
];

/// Runs the target of that name.
///
/// # Panics
///
/// If there is none, or if something that must hold does not.
pub fn run(name: &str, text: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of that name");
    target(text);
}

/// Reads `text`. What is accepted must keep the invariants, and must be the same when it is written and read again, in every
/// format; what is refused must say where in the file, and what was expected.
///
/// # Panics
///
/// If one of these does not hold.
pub fn check(format: Option<Format>, text: &[u8]) {
    for independent in [false, true] {
        match read_bytes(text, "bytes", ReadOptions { format, independent }) {
            Ok(report) => check_accepted(&report.history),
            Err(error) => check_refused(&error, format, text),
        }
    }
}

fn check_refused(error: &ReadError, format: Option<Format>, text: &[u8]) {
    match error {
        ReadError::Malformed { location, .. } | ReadError::Inconsistent { location, .. } => {
            let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            // In Parquet, which has no lines, the line is the row.
            let is_text =
                !text.starts_with(b"PAR1") && format.is_none_or(|format| format.name() != "parquet");
            assert!(
                location.line >= 1 && (location.line <= lines || !is_text),
                "{location} of {lines} lines"
            );
            assert!(location.column >= 1 && location.column <= text.len() as u64 + 1, "{location}");
            assert!(error.to_string().contains("expected"), "{error}");
        }
        ReadError::UnknownFormat { .. } => assert_eq!(format, None),
        ReadError::Io { .. } => panic!("nothing was read from a disk: {error}"),
    }
}

/// What was read is a history, and is the same after each of our formats.
fn check_accepted(history: &History) {
    let again = History::new(history.events().to_vec());
    assert_eq!(again.as_ref(), Ok(history), "a reader gives nothing but histories");
    for format in Format::WRITABLE.iter().copied() {
        let mut text = Vec::new();
        match write_history(&mut text, history, format) {
            Ok(_) => {}
            // Go has no numbers so great.
            Err(WriteError::CannotSay { format: Format::Porcupine, .. }) => continue,
            Err(error) => panic!("{format}: memory takes everything: {error}"),
        }
        let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
        let again = read_bytes(&text, "again", options)
            .unwrap_or_else(|error| panic!("{format}: {error} in\n{}", String::from_utf8_lossy(&text)));
        assert_eq!(again.history.events(), said_by(format, history).events(), "{format}");
    }
}

/// What of `history` the format can say: Porcupine has clients only.
#[must_use]
pub fn said_by(format: Format, history: &History) -> History {
    let mut events = history.events().to_vec();
    if format == Format::Porcupine {
        events.retain(|event| matches!(event.process, Process::Client(_)));
    }
    History::from_validated(events)
}

/// Reads `text` as an EDN value; what was read must be the same when it is printed and read again.
///
/// # Panics
///
/// If it is not.
pub fn check_value(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(value) = read_value(text) {
        assert_eq!(read_value(&value.to_string()), Ok(value));
    }
}
