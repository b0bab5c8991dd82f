//! Reading a history file of any known format into a validated [`History`].
//!
//! The whole text is in memory while it is read, the events are made one by one: no tree of the file is built. Linear in
//! the length of the text.
//!
//! How strict it is depends on whose file it is. Our own format breaks no rule, so a broken rule is an error, except for a
//! torn last line, which is what a killed recorder leaves behind. Other programs' files are read as they are meant:
//!
//! | in the file | becomes |
//! | --- | --- |
//! | no `:index`, or a negative one | one more than the index before (the first: 0) |
//! | no `:time`, or a negative one | the position of the event as nanoseconds, or the time before it if that is later |
//! | a time earlier than the one before | that of the one before; the file's own is kept as `original-time`; a warning |
//! | no `:process` | process 0; a warning |
//! | no `:f` | the empty name |

use std::fmt;
use std::path::{Path, PathBuf};

use memchr::{memchr_iter, memrchr};
use thiserror::Error;

use crate::detect::{byte_order_mark, detect};
use crate::edn::{Operations, Parser};
use crate::foreign::{ForeignEvent, Mended, Naturalizer};
use crate::jepsen_log::Log;
use crate::json::jepsen;
use crate::json::lines::Lines;
use crate::json::objects::{self, Objects};
use crate::names::Names;
use crate::porcupine::{self, Placed};
use crate::syntax::SyntaxError;
use crate::validate::Validator;
use crate::{Event, Format, History, MAX_DEPTH, Problem, Value};

/// How a file is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Its format; found out from its content if not given.
    pub format: Option<Format>,
    /// Whether the values of a foreign file are `[key value]` with independent keys (Jepsen's `independent` workloads;
    /// the file does not say so by itself). An invocation whose value is no pair is then an error.
    pub independent: bool,
}

/// A history, and what was noticed while it was read.
#[derive(Clone, Debug)]
pub struct ReadReport {
    /// The history.
    pub history: History,
    /// What was mended, dropped or skipped; nothing that was read without a doubt is in here.
    pub warnings: Vec<Warning>,
    /// The format of the file.
    pub format: Format,
    /// Events whose time the file does not say, for which their position stands (see the module's documentation).
    pub untimed: u64,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Something that a user should know about a file that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where, or where first.
    pub location: Location,
    /// What.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.location, self.message)
    }
}

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The operating system does not give it to us.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Its content is of no known format.
    #[error("{}: {message}; the formats are {}", file.display(), Format::names(Format::ALL))]
    UnknownFormat {
        /// The file.
        file: PathBuf,
        /// What it looks like.
        message: String,
    },
    /// It is not what its format demands there.
    #[error("{location}: {message}")]
    Malformed {
        /// Where.
        location: Location,
        /// What was expected, and perhaps what was found.
        message: String,
    },
    /// An event that cannot follow the events before it.
    #[error("{location}: {problem}")]
    Inconsistent {
        /// Where the event begins.
        location: Location,
        /// Why not.
        problem: Problem,
    },
}

/// Reads the history file `path`.
pub fn read_history(path: impl AsRef<Path>, options: ReadOptions) -> Result<ReadReport, ReadError> {
    let path = path.as_ref();
    let text = std::fs::read(path).map_err(|source| ReadError::Io { file: path.to_owned(), source })?;
    read_bytes(&text, path, options)
}

/// Reads a history from memory; messages call it `file`.
pub fn read_bytes(
    text: &[u8],
    file: impl AsRef<Path>,
    options: ReadOptions,
) -> Result<ReadReport, ReadError> {
    let file = file.as_ref();
    let format = match options.format {
        Some(format) => format,
        None => detect(text, file)
            .map_err(|message| ReadError::UnknownFormat { file: file.to_owned(), message })?,
    };
    let mut reader = Reader {
        file,
        text,
        validator: Validator::default(),
        events: Vec::new(),
        warnings: Vec::new(),
        untimed: 0,
    };
    match format {
        Format::JsonLines => reader.json_lines()?,
        Format::Edn => reader.edn(options.independent)?,
        Format::Json => reader.json(options.independent)?,
        Format::JepsenLog => reader.jepsen_log(options.independent)?,
        Format::Porcupine => reader.porcupine()?,
        #[cfg(feature = "parquet")]
        Format::Parquet => reader.parquet()?,
    }
    if reader.events.is_empty() {
        reader.warn(0, "there is no event in this file");
    }
    let Reader { events, warnings, untimed, .. } = reader;
    Ok(ReadReport { history: History::from_validated(events), warnings, format, untimed })
}

/// Reads one EDN value, as a user writes it on a command line: `nil`, `0`, `{:x 0 :y 0}`.
pub fn read_value(text: &str) -> Result<Value, String> {
    let mut parser = Parser::new(text, 0);
    let value = parser.value(MAX_DEPTH).map_err(|error| error.message)?;
    match parser.peek_or_end(MAX_DEPTH) {
        Ok(None) => Ok(value),
        _ => Err("expected a single EDN value".to_owned()),
    }
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a [u8],
    validator: Validator,
    events: Vec<Event>,
    warnings: Vec<Warning>,
    untimed: u64,
}

impl<'a> Reader<'a> {
    fn json_lines(&mut self) -> Result<(), ReadError> {
        let mut lines = Lines::new(self.text, byte_order_mark(self.text));
        while let Some(line) = lines.next_event() {
            match line {
                Ok((offset, event)) => self.push(event, offset)?,
                Err(line) if line.torn => {
                    self.warn(
                        line.offset,
                        &format!("the last line is torn and was dropped ({})", line.message),
                    );
                }
                Err(line) => return Err(self.malformed(line.offset, line.message)),
            }
        }
        Ok(())
    }

    fn edn(&mut self, independent: bool) -> Result<(), ReadError> {
        let mut operations = Operations::new(self.utf8()?, byte_order_mark(self.text));
        self.foreign(independent, || operations.next_operation())
    }

    fn json(&mut self, independent: bool) -> Result<(), ReadError> {
        let mut objects = Objects::new(self.utf8()?, byte_order_mark(self.text), jepsen::OPERATION);
        let mut names = Names::default();
        self.foreign(independent, || {
            let object = objects.next_object()?;
            Some(object.and_then(|(offset, object)| {
                let seed = jepsen::OperationSeed { names: &mut names };
                objects::parse(seed, object, offset).map(|event| (offset, event))
            }))
        })
    }

    fn jepsen_log(&mut self, independent: bool) -> Result<(), ReadError> {
        let mut log = Log::new(self.utf8()?, byte_order_mark(self.text));
        self.foreign(independent, || log.next_operation())?;
        if log.skipped > 0 {
            self.warn(0, &format!("lines that are no operations were skipped: {}", log.skipped));
        }
        Ok(())
    }

    fn porcupine(&mut self) -> Result<(), ReadError> {
        let read = porcupine::read(self.utf8()?, byte_order_mark(self.text))
            .map_err(|error| self.malformed(error.offset, error.message))?;
        for Placed { event, offset, .. } in read.events {
            self.push(event, offset)?;
        }
        if read.overlapping > 0 {
            let what =
                "operations that overlap another of their client, which were given clients of their own";
            self.warn(read.first_overlapping, &format!("{what}: {}", read.overlapping));
        }
        Ok(())
    }

    /// The line of a location is the row, from 1.
    #[cfg(feature = "parquet")]
    fn parquet(&mut self) -> Result<(), ReadError> {
        let at = |row: u64| Location { file: self.file.to_owned(), line: row + 1, column: 1 };
        let events = crate::columnar::read(self.text)
            .map_err(|wrong| ReadError::Malformed { location: at(wrong.row), message: wrong.message })?;
        for (row, event) in (0..).zip(events) {
            if let Err(problem) = self.validator.accept(&event) {
                return Err(ReadError::Inconsistent { location: at(row), problem });
            }
            self.events.push(event);
        }
        Ok(())
    }

    /// Takes in what `next` gives: events of another program's, each with the place where it begins.
    fn foreign(
        &mut self,
        independent: bool,
        mut next: impl FnMut() -> Option<Result<(usize, ForeignEvent), SyntaxError>>,
    ) -> Result<(), ReadError> {
        let mut naturalizer = Naturalizer::new(independent);
        while let Some(operation) = next() {
            let (offset, foreign) = operation.map_err(|error| self.malformed(error.offset, error.message))?;
            self.push_foreign(&mut naturalizer, foreign, offset)?;
        }
        self.untimed = naturalizer.untimed;
        self.warn_of_mended(&naturalizer);
        Ok(())
    }

    fn push_foreign(
        &mut self,
        naturalizer: &mut Naturalizer,
        foreign: ForeignEvent,
        offset: usize,
    ) -> Result<(), ReadError> {
        let event = naturalizer.event(foreign, offset).map_err(|message| self.malformed(offset, message))?;
        self.push(event, offset)
    }

    fn push(&mut self, event: Event, offset: usize) -> Result<(), ReadError> {
        if let Err(problem) = self.validator.accept(&event) {
            return Err(ReadError::Inconsistent { location: self.location(offset), problem });
        }
        self.events.push(event);
        Ok(())
    }

    fn utf8(&self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.text)
            .map_err(|error| self.malformed(error.valid_up_to(), "expected UTF-8".to_owned()))
    }

    fn malformed(&self, offset: usize, message: String) -> ReadError {
        ReadError::Malformed { location: self.location(offset), message }
    }

    fn warn(&mut self, offset: usize, message: &str) {
        self.warnings.push(Warning { location: self.location(offset), message: message.to_owned() });
    }

    fn warn_of_mended(&mut self, naturalizer: &Naturalizer) {
        let Mended { count, first_offset } = naturalizer.times;
        if count > 0 {
            let what = "events earlier than the one before them, which were given its time";
            self.warn(first_offset, &format!("{what}: {count}"));
        }
        let Mended { count, first_offset } = naturalizer.processes;
        if count > 0 {
            self.warn(first_offset, &format!("events without a process, taken for process 0: {count}"));
        }
    }

    /// Line and column are counted only when somebody asks.
    fn location(&self, offset: usize) -> Location {
        let before = &self.text[..offset.min(self.text.len())];
        let line_start = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        let continuation_byte = |byte: &&u8| **byte & 0xc0 == 0x80;
        let column =
            before.len() - line_start - before[line_start..].iter().filter(continuation_byte).count();
        Location {
            file: self.file.to_owned(),
            line: memchr_iter(b'\n', before).count() as u64 + 1,
            column: column as u64 + 1,
        }
    }
}
