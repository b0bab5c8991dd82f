//! The journal: what may be applied, written before it is.
//!
//! JSON Lines. The first entry says whose journal it is; then, per fault, *intent* (before anything is done), *applied*
//! (with the evidence, which names the processes that were stopped) and *undone*. Each entry has reached the disk when
//! [`Journal::append`] returns. A fault is outstanding from its intent to its undoing, whatever happened in between. The
//! journal alone, with hosts, suffices to undo everything ([`crate::heal`]).
//!
//! The writer died while writing: the last line has no newline and counts for nothing, and is cut off before the next
//! entry. That is safe, as nothing is done before the entry is whole. Any other malformed line is an error: what it
//! hides may be outstanding.
//!
//! Whoever has a journal open holds an exclusive lock on it (`flock`), which the kernel takes away with the process.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::evidence::Evidence;
use crate::fault::Resolved;
use crate::host::DaemonSpec;
use crate::lines;

/// The version of the format.
pub const JOURNAL_VERSION: u32 = 1;

/// What tells the traces of one run from those of another: 1 to 20 letters, digits, `-` or `_`.
///
/// It is part of the name of an iptables chain, which has at most 28 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RunTag(String);

/// A run tag that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no run tag: 1 to 20 ASCII letters, digits, - or _")]
pub struct BadRunTag(pub String);

impl FromStr for RunTag {
    type Err = BadRunTag;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        match (1..=20).contains(&text.len()) && text.bytes().all(is_allowed) {
            true => Ok(RunTag(text.to_owned())),
            false => Err(BadRunTag(text.to_owned())),
        }
    }
}

impl TryFrom<String> for RunTag {
    type Error = BadRunTag;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunTag> for String {
    fn from(tag: RunTag) -> Self {
        tag.0
    }
}

impl fmt::Display for RunTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whose journal it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunIdentity {
    /// [`JOURNAL_VERSION`] of the writer.
    pub version: u32,
    /// The tag of everything that the run makes on hosts.
    pub run_tag: RunTag,
    /// Whatever the harness needs to reach the hosts again. Opaque here.
    pub testbed: serde_json::Value,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first one.
    Run(RunIdentity),
    /// How daemons are started from now on, by node; nodes that are not named keep theirs.
    Daemons {
        /// By node.
        daemons: BTreeMap<String, DaemonSpec>,
    },
    /// The fault is about to be applied.
    Intent {
        /// Unique in the run.
        fault_id: u64,
        /// The fault.
        resolved: Resolved,
    },
    /// The fault has been applied, wholly or in part, or is about to be and this is what it will be done to. The last one counts.
    Applied {
        /// Which.
        fault_id: u64,
        /// What was seen of it.
        evidence: Evidence,
    },
    /// The fault has been undone, and that has been verified.
    Undone {
        /// Which.
        fault_id: u64,
    },
}

/// A fault that may still be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outstanding {
    /// Which.
    pub fault_id: u64,
    /// The fault.
    pub resolved: Resolved,
    /// What was seen of it; empty if the nemesis died before it could say.
    pub evidence: Evidence,
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JournalState {
    /// Whose it is; `None` only if nothing was ever written.
    pub run: Option<RunIdentity>,
    /// How daemons are started.
    pub daemons: BTreeMap<String, DaemonSpec>,
    /// What may still be there, by id.
    pub outstanding: BTreeMap<u64, Outstanding>,
    /// The ids of the faults that are known to be gone.
    pub undone: Vec<u64>,
}

/// A journal could not be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it open, and will undo what is in it.
    #[error("{path}: in use by another process (a nemesis that is still alive undoes its faults itself)")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A whole line makes no sense.
    #[error("{path}:{line}: {detail}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        detail: String,
    },
    /// It was made by another version, or for another run.
    #[error("{path}: {detail}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// In which way.
        detail: String,
    },
}

/// A journal open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Where the whole lines end: a failed write is cut off there before the next.
    end_bytes: u64,
}

impl Journal {
    /// Opens the journal of a run, creating it if there is none, and says what an earlier process left in it.
    ///
    /// # Errors
    /// The file cannot be used, is in use, is damaged, or is that of another run.
    pub fn open(
        path: &Path,
        run_tag: &RunTag,
        testbed: &serde_json::Value,
    ) -> Result<(Journal, JournalState), JournalError> {
        let (mut journal, mut state) = Journal::open_file(path, true)?;
        match &state.run {
            Some(run) if run.run_tag != *run_tag => {
                return Err(journal.foreign(format!("it belongs to run {}, not {run_tag}", run.run_tag)));
            }
            Some(_) => {}
            None => {
                let run = RunIdentity {
                    version: JOURNAL_VERSION,
                    run_tag: run_tag.clone(),
                    testbed: testbed.clone(),
                };
                journal.append(&Entry::Run(run.clone()))?;
                sync_folder_of(path).map_err(|source| journal.failed(source))?;
                state.run = Some(run);
            }
        }
        Ok((journal, state))
    }

    /// Opens the journal of whatever run it is of.
    ///
    /// # Errors
    /// The file is missing or cannot be used, is in use, or is damaged.
    pub fn open_existing(path: &Path) -> Result<(Journal, JournalState), JournalError> {
        Journal::open_file(path, false)
    }

    fn open_file(path: &Path, create: bool) -> Result<(Journal, JournalState), JournalError> {
        let failed = |source| JournalError::File { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(create).open(path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => failed(source),
        })?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        let state = parse(path, &content)?;
        Ok((Journal { path: path.to_owned(), file, end_bytes: whole_lines_end(&content) }, state))
    }

    /// Writes an entry. It is on the disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written; the entry does not count then, even if parts of it are there.
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let write = |journal: &mut Journal| -> std::io::Result<u64> {
            let line = lines::render(entry)?;
            journal.file.set_len(journal.end_bytes)?;
            journal.file.seek(SeekFrom::Start(journal.end_bytes))?;
            journal.file.write_all(line.as_bytes())?;
            journal.file.sync_data()?;
            Ok(line.len() as u64)
        };
        let length_bytes = write(self).map_err(|source| self.failed(source))?;
        self.end_bytes += length_bytes;
        Ok(())
    }

    /// From now on entries go to this file.
    #[cfg(test)]
    pub(crate) fn replace_file_for_test(&mut self, file: File) {
        self.file = file;
    }

    fn failed(&self, source: std::io::Error) -> JournalError {
        JournalError::File { path: self.path.clone(), source }
    }

    fn foreign(&self, detail: String) -> JournalError {
        JournalError::Foreign { path: self.path.clone(), detail }
    }
}

/// Reads a journal without opening it for writing; its nemesis may be alive.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn read_journal(path: &Path) -> Result<JournalState, JournalError> {
    let content =
        std::fs::read(path).map_err(|source| JournalError::File { path: path.to_owned(), source })?;
    parse(path, &content)
}

fn parse(path: &Path, content: &[u8]) -> Result<JournalState, JournalError> {
    let entries: Vec<Entry> = lines::parse_whole(content).map_err(|error| JournalError::Line {
        path: path.to_owned(),
        line: error.line,
        detail: error.detail,
    })?;
    let foreign = |detail: String| JournalError::Foreign { path: path.to_owned(), detail };
    let mut state = JournalState::default();
    for entry in entries {
        if state.run.is_none() && !matches!(entry, Entry::Run(_)) {
            return Err(foreign("it does not begin with a run".to_owned()));
        }
        match entry {
            Entry::Run(run) if run.version > JOURNAL_VERSION => {
                return Err(foreign(format!("its version {} is newer than {JOURNAL_VERSION}", run.version)));
            }
            Entry::Run(run) => state.run = Some(run),
            Entry::Daemons { daemons } => state.daemons.extend(daemons),
            Entry::Intent { fault_id, resolved } => {
                let outstanding = Outstanding { fault_id, resolved, evidence: Evidence::default() };
                state.outstanding.insert(fault_id, outstanding);
            }
            Entry::Applied { fault_id, evidence } => {
                if let Some(outstanding) = state.outstanding.get_mut(&fault_id) {
                    outstanding.evidence = evidence;
                }
            }
            Entry::Undone { fault_id } => {
                state.outstanding.remove(&fault_id);
                state.undone.push(fault_id);
            }
        }
    }
    Ok(state)
}

fn whole_lines_end(content: &[u8]) -> u64 {
    content.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position as u64 + 1)
}

/// A new file survives a crash of the machine only once its folder has been synced, too.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
