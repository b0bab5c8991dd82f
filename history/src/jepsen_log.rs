//! Jepsen's plain log: lines such as `INFO  jepsen.util - 3<TAB>:invoke<TAB>:read<TAB>nil`, with whatever the logger puts
//! before `jepsen.util`.
//!
//! Process, type, function and value stand in this order, each in EDN; after them perhaps an error. A client's `:fail` or
//! `:info` whose value is a keyword (`:timed-out`) carries an error and no value. There are no times and no indices: both
//! are the position of the operation. Lines that are no operations are skipped and counted.

use memchr::{memchr, memmem};

use crate::edn::Parser;
use crate::foreign::ForeignEvent;
use crate::names::Names;
use crate::syntax::SyntaxError;
use crate::{EventKind, MAX_DEPTH, Process, Value};

/// What every line of an operation has.
pub(crate) const MARK: &str = "jepsen.util";

/// The operations of a log, one by one.
pub(crate) struct Log<'a> {
    text: &'a str,
    offset: usize,
    names: Names,
    /// Lines that were not blank and not operations.
    pub(crate) skipped: u64,
}

impl<'a> Log<'a> {
    pub(crate) fn new(text: &'a str, offset: usize) -> Log<'a> {
        Log { text, offset, names: Names::default(), skipped: 0 }
    }

    /// The next operation and where its line begins.
    pub(crate) fn next_operation(&mut self) -> Option<Result<(usize, ForeignEvent), SyntaxError>> {
        while self.offset < self.text.len() {
            let start = self.offset;
            let rest = &self.text.as_bytes()[start..];
            let end = start + memchr(b'\n', rest).unwrap_or(rest.len());
            self.offset = end + 1;
            match operation_start(&self.text[start..end]) {
                Some(column) => {
                    // The parser sees the text up to the end of the line, so that its offsets are those of the file.
                    let parser = Parser::new(&self.text[..end], start + column);
                    return Some(self.operation(parser).map(|event| (start, event)));
                }
                None if self.text[start..end].trim().is_empty() => {}
                None => self.skipped += 1,
            }
        }
        None
    }

    fn operation(&mut self, mut parser: Parser<'_>) -> Result<ForeignEvent, SyntaxError> {
        let process = match part(&mut parser, "a process: an integer from 0, or a keyword")? {
            (_, Value::Int(number)) if number >= 0 => Process::Client(number.unsigned_abs()),
            (_, Value::Keyword(name)) => Process::Named(self.names.intern(&name)),
            (offset, found) => {
                return Err(wrong(offset, "a process: an integer from 0, or a keyword", &found));
            }
        };
        let kind = match part(&mut parser, "a type")? {
            (_, Value::Keyword(name)) if EventKind::named(&name).is_some() => EventKind::named(&name),
            (offset, found) => return Err(wrong(offset, ":invoke, :ok, :fail or :info", &found)),
        };
        let f = match part(&mut parser, "a function")? {
            (_, Value::Keyword(name)) => Some(self.names.intern(&name)),
            (offset, found) => return Err(wrong(offset, "a function: a keyword", &found)),
        };
        let (_, value) = part(&mut parser, "a value")?;
        let error = match parser.peek_or_end(MAX_DEPTH)? {
            Some(_) => Some(parser.value(MAX_DEPTH)?),
            None => None,
        };
        if parser.peek_or_end(MAX_DEPTH)?.is_some() {
            let (offset, found) = part(&mut parser, "nothing")?;
            return Err(wrong(offset, "the end of the line after the error", &found));
        }
        let gave_no_value = process.client().is_some()
            && matches!(kind, Some(EventKind::Fail | EventKind::Info))
            && error.is_none()
            && matches!(value, Value::Keyword(_));
        let (value, error) = if gave_no_value { (Value::Nil, Some(value)) } else { (value, error) };
        Ok(ForeignEvent { process: Some(process), kind, f, value, error, ..ForeignEvent::default() })
    }
}

/// The next value of the line and where it begins.
fn part(parser: &mut Parser<'_>, expected: &str) -> Result<(usize, Value), SyntaxError> {
    let end = parser.peek_or_end(MAX_DEPTH)?.is_none();
    let offset = parser.offset();
    if end {
        return Err(SyntaxError {
            offset,
            message: format!("expected {expected}, found the end of the line"),
        });
    }
    Ok((offset, parser.value(MAX_DEPTH)?))
}

fn wrong(offset: usize, expected: &str, found: &Value) -> SyntaxError {
    SyntaxError { offset, message: format!("expected {expected}, found `{found}`") }
}

/// Where in a line the operation begins, if it has one: behind the mark and a dash or colon, at a number or keyword.
fn operation_start(line: &str) -> Option<usize> {
    let after_mark = memmem::find(line.as_bytes(), MARK.as_bytes())? + MARK.len();
    let mut rest = line[after_mark..].trim_start();
    if let Some(behind) = rest.strip_prefix(['-', ':'])
        && behind.starts_with(char::is_whitespace)
    {
        rest = behind.trim_start();
    }
    rest.starts_with(|first: char| first.is_ascii_digit() || first == ':' || first == '-')
        .then_some(line.len() - rest.len())
}
