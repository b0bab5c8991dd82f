//! The objects of a JSON text that is an array of them, or one after the other.
//!
//! An object is found by counting braces outside of strings; whether it is JSON inside is for [`parse`] to say. So every
//! error has its place in the file, and no tree of the file is built. Linear in the length of the text.

use memchr::{memchr2, memchr3};
use serde::de::DeserializeSeed;

use super::message::{message, offset};
use crate::syntax::{SyntaxError, unexpected};

/// The objects of a text, one by one.
pub(crate) struct Objects<'a> {
    text: &'a str,
    offset: usize,
    /// What an object is called in messages, with an example.
    object: &'static str,
    frame: Frame,
}

/// What is around the objects, and what may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// Nothing has been read.
    Unknown,
    /// They stand one after the other.
    Stream,
    /// An array, of which nothing has been read.
    Opened,
    /// An array, behind an object.
    Array,
    /// The array is over.
    Ended,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(text: &'a str, offset: usize, object: &'static str) -> Objects<'a> {
        Objects { text, offset, object, frame: Frame::Unknown }
    }

    /// The next object, and where it begins.
    pub(crate) fn next_object(&mut self) -> Option<Result<(usize, &'a str), SyntaxError>> {
        self.next_or_end().transpose()
    }

    fn next_or_end(&mut self) -> Result<Option<(usize, &'a str)>, SyntaxError> {
        if self.frame == Frame::Unknown {
            self.frame = if self.peek() == Some(b'[') { Frame::Opened } else { Frame::Stream };
            self.offset += usize::from(self.frame == Frame::Opened);
        }
        match (self.frame, self.peek()) {
            (Frame::Stream | Frame::Ended, None) => return Ok(None),
            (Frame::Opened | Frame::Array, Some(b']')) => {
                self.offset += 1;
                self.frame = Frame::Ended;
                return self.next_or_end();
            }
            (Frame::Ended, Some(_)) => return Err(self.unexpected("the end of the file after the array")),
            (Frame::Array, Some(b',')) => self.offset += 1,
            (Frame::Array, _) => return Err(self.unexpected("`,` or `]`")),
            _ => {}
        }
        if self.peek() != Some(b'{') {
            return Err(self.unexpected(self.object));
        }
        if self.frame == Frame::Opened {
            self.frame = Frame::Array;
        }
        let start = self.offset;
        self.offset = end_of_object(self.text.as_bytes(), start);
        Ok(Some((start, &self.text[start..self.offset])))
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.offset..];
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.offset += blanks;
        rest.get(blanks).copied()
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        unexpected(self.text, self.offset, expected)
    }
}

/// Where the object that begins at `start` ends: behind its brace, or where the text ends.
fn end_of_object(bytes: &[u8], start: usize) -> usize {
    let (mut position, mut open) = (start, 0_usize);
    while let Some(length) = memchr3(b'{', b'}', b'"', &bytes[position..]) {
        position += length + 1;
        match bytes[position - 1] {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => position = end_of_string(bytes, position),
        }
        if open == 0 {
            return position;
        }
    }
    bytes.len()
}

/// Where the string whose content begins at `start` ends: behind its quotation mark, or where the text ends.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut position = start;
    while let Some(length) = memchr2(b'"', b'\\', &bytes[position..]) {
        position += length;
        if bytes[position] == b'"' {
            return position + 1;
        }
        position = (position + 2).min(bytes.len());
    }
    bytes.len()
}

/// Reads the object that stands at `start` of the file.
pub(crate) fn parse<'a, S: DeserializeSeed<'a>>(
    seed: S,
    object: &'a str,
    start: usize,
) -> Result<S::Value, SyntaxError> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    // The seeds limit the depth by themselves.
    deserializer.disable_recursion_limit();
    seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value)).map_err(
        |error| SyntaxError { offset: start + offset(&error, object), message: message(&error, "file") },
    )
}
