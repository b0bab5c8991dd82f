//! `schedule.jsonl`: the faults of a run as they were injected, one JSON object per line, in the order in which they ended.
//!
//! Written by the harness, read by the report, by statistics ("which kinds of faults bit?") and, in time, by replay. A last
//! line without its newline is a crash's torn write and is dropped; any other malformed line is an error with its number.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::evidence::Evidence;
use crate::fault::{Resolved, Scheduled};
use crate::lines;

/// A fault as it was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedFault {
    /// Unique in the run.
    pub id: u64,
    /// What the plan said; `None` for a fault that was in no plan.
    pub planned: Option<Scheduled>,
    /// What it was resolved to.
    pub resolved: Resolved,
    /// When its application had been verified, in milliseconds since the start of the run; `None` if it never was.
    pub applied_at_ms: Option<u64>,
    /// When it had been verified to be undone; `None` if it never was.
    pub undone_at_ms: Option<u64>,
    /// It had an effect on the system under test.
    pub bit: bool,
    /// What was seen.
    pub evidence: Evidence,
    /// What went wrong.
    pub errors: Vec<String>,
}

/// `schedule.jsonl` could not be written or read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file could not be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no injected fault.
    #[error("{path}:{line}: {detail}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        detail: String,
    },
}

/// Appends to a `schedule.jsonl`. Every fault is in the file, whole, when [`ScheduleWriter::append`] returns.
#[derive(Debug)]
pub struct ScheduleWriter {
    path: PathBuf,
    file: File,
}

impl ScheduleWriter {
    /// Opens the file, creating it if there is none.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<ScheduleWriter, RecordError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| RecordError::File { path: path.to_owned(), source })?;
        Ok(ScheduleWriter { path: path.to_owned(), file })
    }

    /// Writes one fault.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn append(&mut self, fault: &InjectedFault) -> Result<(), RecordError> {
        let line =
            lines::render(fault).map_err(|source| RecordError::File { path: self.path.clone(), source })?;
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| RecordError::File { path: self.path.clone(), source })
    }
}

/// Reads a `schedule.jsonl`.
///
/// # Errors
/// The file cannot be read, or a line that ends with a newline is no injected fault.
pub fn read_schedule(path: &Path) -> Result<Vec<InjectedFault>, RecordError> {
    let content =
        std::fs::read(path).map_err(|source| RecordError::File { path: path.to_owned(), source })?;
    lines::parse_whole(&content).map_err(|error| RecordError::Line {
        path: path.to_owned(),
        line: error.line,
        detail: error.detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(id: u64) -> InjectedFault {
        InjectedFault {
            id,
            planned: None,
            resolved: Resolved::Kill { nodes: vec!["n1".to_owned()] },
            applied_at_ms: Some(1_000),
            undone_at_ms: None,
            bit: true,
            evidence: Evidence::default(),
            errors: vec!["n1: undo: no such \"file\"\nor folder".to_owned()],
        }
    }

    #[test]
    fn what_was_written_is_read_back_at_whatever_byte_the_writer_died() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("schedule.jsonl");
        ScheduleWriter::open(&path).unwrap().append(&fault(0)).unwrap();
        ScheduleWriter::open(&path).unwrap().append(&fault(1)).unwrap();
        assert_eq!(read_schedule(&path).unwrap(), [fault(0), fault(1)]);
        let whole = std::fs::read(&path).unwrap();
        let first_length = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let expected = if length < first_length { vec![] } else { vec![fault(0)] };
            assert_eq!(read_schedule(&path).unwrap(), expected, "{length}");
        }
    }

    #[test]
    fn a_malformed_line_is_an_error_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("schedule.jsonl");
        let good = lines::render(&fault(0)).unwrap();
        std::fs::write(&path, format!("{good}{{\"id\":\"x\"}}\n{good}")).unwrap();
        let error = read_schedule(&path).unwrap_err().to_string();
        assert!(error.contains("schedule.jsonl:2: "), "{error}");
        assert!(read_schedule(&folder.path().join("missing")).unwrap_err().to_string().contains("missing"));
    }
}
