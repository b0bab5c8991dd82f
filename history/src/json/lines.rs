//! Reading JSON Lines, and the rule for the torn last line that a killed writer leaves behind.

use memchr::memchr;
use serde::de::DeserializeSeed;

use super::EventSeed;
use super::message::{message, offset};
use crate::Event;
use crate::names::Names;

/// A line that is no event.
#[derive(Debug)]
pub(crate) struct BadLine {
    /// Bytes from the start of the text to where it is wrong.
    pub(crate) offset: usize,
    /// What is wrong, or what was expected.
    pub(crate) message: String,
    /// Whether this can be what a killed writer left behind: nothing but blanks follows it, and it is no JSON.
    pub(crate) torn: bool,
}

/// The events of a text, one by one. Blank lines are skipped.
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    offset: usize,
    names: Names,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a [u8], offset: usize) -> Lines<'a> {
        Lines { text, offset, names: Names::default() }
    }

    /// The next event and where its line begins.
    pub(crate) fn next_event(&mut self) -> Option<Result<(usize, Event), BadLine>> {
        loop {
            let rest = self.text.get(self.offset..).filter(|rest| !rest.is_empty())?;
            let length = memchr(b'\n', rest).unwrap_or(rest.len());
            let (start, line) = (self.offset, &rest[..length]);
            self.offset = (start + length + 1).min(self.text.len());
            if !is_blank(line) {
                return Some(self.event(line).map(|event| (start, event)).map_err(
                    |(column, message, syntax)| {
                        let torn = syntax && is_blank(&self.text[self.offset..]);
                        BadLine { offset: start + column, message, torn }
                    },
                ));
            }
        }
    }

    /// The event of a line, or: the offset in the line, a message, and whether it is a matter of syntax.
    fn event(&mut self, line: &[u8]) -> Result<Event, (usize, String, bool)> {
        let line = std::str::from_utf8(line)
            .map_err(|error| (error.valid_up_to(), "expected UTF-8".to_owned(), true))?;
        let mut deserializer = serde_json::Deserializer::from_str(line);
        // The seed limits the depth by itself.
        deserializer.disable_recursion_limit();
        EventSeed { names: &mut self.names }
            .deserialize(&mut deserializer)
            .and_then(|event| deserializer.end().map(|()| event))
            .map_err(|error| (offset(&error, line), message(&error, "line"), !error.is_data()))
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}
