//! A reader of EDN values from text.

use memchr::{memchr, memchr2};

use super::{atom, tag};
use crate::syntax::{SyntaxError, unexpected, visible};
use crate::{Items, MAX_DEPTH, Text, Value};

type Parsed<T> = Result<T, SyntaxError>;

/// Reads one value after the other.
pub(crate) struct Parser<'a> {
    text: &'a str,
    offset: usize,
    /// Whether a value has used all the depth that it was given.
    reached_bottom: bool,
    /// The elements of the sequences that are being read, those of an inner one behind those of the outer ones.
    elements: Vec<Value>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str, offset: usize) -> Parser<'a> {
        Parser { text, offset, reached_bottom: false, elements: Vec::new() }
    }

    /// Bytes from the start of the text to what comes next.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Whether a value read since the last call of this was as deep as it was allowed to be.
    pub(super) fn take_reached_bottom(&mut self) -> bool {
        std::mem::take(&mut self.reached_bottom)
    }

    /// The next value, nested at most `depth` deep.
    pub(crate) fn value(&mut self, depth: usize) -> Parsed<Value> {
        match self.peek(depth)? {
            b'[' => self.sequence(b']', depth).map(Value::Vector),
            b'(' => self.sequence(b')', depth).map(Value::List),
            b'{' => self.map(depth, None),
            b'"' => self.string().map(Value::String),
            b':' => self.keyword().map(|name| Value::Keyword(name.into())),
            b'\\' => self.char().map(Value::Char),
            b'#' => self.dispatch(depth),
            _ => self.atom(),
        }
    }

    /// The next byte that is neither blank nor comment nor discarded; an error at the end of the text.
    pub(crate) fn peek(&mut self, depth: usize) -> Parsed<u8> {
        match self.peek_or_end(depth)? {
            Some(byte) => Ok(byte),
            None => Err(self.error("expected a value or a closing bracket, found the end of the file")),
        }
    }

    /// The same, and nothing at the end of the text.
    pub(crate) fn peek_or_end(&mut self, depth: usize) -> Parsed<Option<u8>> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.offset) {
                Some(&byte) if atom::is_blank(byte) => self.offset += 1,
                Some(b';') => {
                    self.offset = memchr(b'\n', &bytes[self.offset..])
                        .map_or(bytes.len(), |length| self.offset + length + 1);
                }
                Some(b'#') if bytes.get(self.offset + 1) == Some(&b'_') => {
                    let inside = self.inside(depth)?;
                    self.offset += 2;
                    self.value(inside)?;
                }
                other => return Ok(other.copied()),
            }
        }
    }

    /// Takes the byte that `peek` has shown.
    pub(super) fn take(&mut self) {
        self.offset += 1;
    }

    /// Takes `byte`, or fails.
    pub(super) fn expect(&mut self, byte: u8, depth: usize) -> Parsed<()> {
        if self.peek(depth)? != byte {
            return Err(self.unexpected(&format!("`{}`", char::from(byte))));
        }
        self.take();
        Ok(())
    }

    /// The name of the keyword that stands here.
    pub(super) fn keyword(&mut self) -> Parsed<&'a str> {
        let start = self.offset;
        self.take();
        let name = self.word();
        if name.is_empty() || name.starts_with(':') {
            self.offset = start;
            return Err(self.error("expected a keyword: a colon and a name"));
        }
        Ok(name)
    }

    /// The tag that stands here, without its `#`, or nothing if something else stands here.
    pub(super) fn tag(&mut self) -> Option<&'a str> {
        let start = self.offset;
        let bytes = self.text.as_bytes();
        if bytes.get(start) == Some(&b'#') && bytes.get(start + 1).is_some_and(u8::is_ascii_alphabetic) {
            self.take();
            return Some(self.word());
        }
        None
    }

    /// The string that stands here.
    pub(super) fn string(&mut self) -> Parsed<Text> {
        let (text, start) = (self.text, self.offset + 1);
        let mut position = start;
        let mut unescaped = String::new();
        loop {
            let Some(length) = memchr2(b'"', b'\\', &text.as_bytes()[position..]) else {
                return Err(self.error("expected the string that begins here to end with `\"`"));
            };
            let run = &text[position..position + length];
            self.offset = position + length;
            if text.as_bytes()[self.offset] == b'"' {
                self.offset += 1;
                if position == start {
                    return Ok(run.into());
                }
                unescaped.push_str(run);
                return Ok(unescaped.into());
            }
            unescaped.push_str(run);
            unescaped.push(self.escape()?);
            position = self.offset;
        }
    }

    /// The error `message` here.
    pub(super) fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError { offset: self.offset, message: message.into() }
    }

    /// The error that something else than `expected` stands here.
    pub(super) fn unexpected(&self, expected: &str) -> SyntaxError {
        unexpected(self.text, self.offset, expected)
    }

    /// The depth left for what is inside a collection.
    fn inside(&mut self, depth: usize) -> Parsed<usize> {
        self.reached_bottom |= depth <= 1;
        depth.checked_sub(1).ok_or_else(|| self.error(too_deep()))
    }

    fn word(&mut self) -> &'a str {
        let (text, start) = (self.text, self.offset);
        let rest = &text.as_bytes()[start..];
        let length = rest.iter().position(|byte| !atom::is_word(*byte)).unwrap_or(rest.len());
        self.offset += length;
        &text[start..start + length]
    }

    fn atom(&mut self) -> Parsed<Value> {
        let start = self.offset;
        let word = self.word();
        if word.is_empty() {
            return Err(self.unexpected("a value"));
        }
        atom::atom(word).map_err(|expected| {
            self.offset = start;
            self.error(format!("{expected}, found `{}`", visible(word)))
        })
    }

    fn sequence(&mut self, close: u8, depth: usize) -> Parsed<Items<Value>> {
        let inside = self.inside(depth)?;
        self.take();
        let first = self.elements.len();
        while self.peek(inside)? != close {
            let element = self.value(inside)?;
            self.elements.push(element);
        }
        self.take();
        Ok(Items::of(self.elements.drain(first..)))
    }

    /// A map, whose keywords without a namespace are in `namespace` if there is one.
    fn map(&mut self, depth: usize, namespace: Option<&str>) -> Parsed<Value> {
        let inside = self.inside(depth)?;
        self.take();
        let mut entries = Vec::new();
        while self.peek(inside)? != b'}' {
            let mut key = self.value(inside)?;
            if let (Some(namespace), Value::Keyword(name)) = (namespace, &mut key) {
                *name = in_namespace(name, namespace);
            }
            if self.peek(inside)? == b'}' {
                return Err(self.error(format!("expected the value of the key {key}, found `}}`")));
            }
            entries.push((key, self.value(inside)?));
        }
        self.take();
        Ok(Value::map(entries))
    }

    /// What begins with `#` and is not discarded.
    fn dispatch(&mut self, depth: usize) -> Parsed<Value> {
        match self.text.as_bytes().get(self.offset + 1) {
            Some(b'{') => {
                self.take();
                self.sequence(b'}', depth).map(Value::Set)
            }
            Some(b'#') => self.symbolic_float(),
            Some(b':') => {
                self.take();
                let namespace = self.keyword()?;
                self.peek(depth)
                    .and_then(|byte| if byte == b'{' { Ok(()) } else { Err(self.unexpected("a map")) })?;
                self.map(depth, Some(namespace))
            }
            _ => self.tagged(depth),
        }
    }

    fn symbolic_float(&mut self) -> Parsed<Value> {
        let start = self.offset;
        self.offset += 2;
        match self.word() {
            "NaN" => Ok(Value::Float(f64::NAN)),
            "Inf" => Ok(Value::Float(f64::INFINITY)),
            "-Inf" => Ok(Value::Float(f64::NEG_INFINITY)),
            _ => {
                self.offset = start;
                Err(self.error("expected ##NaN, ##Inf or ##-Inf"))
            }
        }
    }

    fn tagged(&mut self, depth: usize) -> Parsed<Value> {
        let Some(tag) = self.tag() else {
            return Err(self.error("expected a tag, a set, a discard or a symbolic number after `#`"));
        };
        match tag {
            tag::KEYWORD => self.string_after_tag(depth).map(Value::Keyword),
            tag::SYMBOL => self.string_after_tag(depth).map(Value::Symbol),
            tag::TAGGED => self.tagged_pair(depth),
            _ => {
                let inside = self.inside(depth)?;
                Ok(Value::tagged(tag, self.value(inside)?))
            }
        }
    }

    pub(super) fn string_after_tag(&mut self, depth: usize) -> Parsed<Text> {
        if self.peek(depth)? == b'"' { self.string() } else { Err(self.unexpected("a string")) }
    }

    /// `["tag" value]`.
    fn tagged_pair(&mut self, depth: usize) -> Parsed<Value> {
        let inside = self.inside(depth)?;
        self.expect(b'[', depth)?;
        let tag = self.string_after_tag(depth)?;
        let value = self.value(inside)?;
        self.expect(b']', depth)?;
        Ok(Value::tagged(tag, value))
    }

    /// A character of a string, behind its backslash.
    fn escape(&mut self) -> Parsed<char> {
        let byte = self.text.as_bytes().get(self.offset + 1).copied();
        let escaped = match byte {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(quoted @ (b'"' | b'\\')) => char::from(quoted),
            Some(b'u') => return self.unicode_escape(),
            _ => {
                return Err(
                    self.error("expected an escape: \\n \\t \\r \\b \\f \\\" \\\\ or \\u and four digits")
                );
            }
        };
        self.offset += 2;
        Ok(escaped)
    }

    /// `\uXXXX`, or two of them for a character beyond the first 65,536, as Java has it.
    fn unicode_escape(&mut self) -> Parsed<char> {
        let first = self.code_unit()?;
        let found = if (0xd800..0xdc00).contains(&first) && self.text[self.offset..].starts_with("\\u") {
            let pair = [first, self.code_unit()?];
            char::decode_utf16(pair).next().and_then(Result::ok)
        } else {
            char::from_u32(u32::from(first))
        };
        found.ok_or_else(|| self.error("expected a \\u escape that is a character, not half of one"))
    }

    fn code_unit(&mut self) -> Parsed<u16> {
        let digits = self.text.as_bytes().get(self.offset + 2..self.offset + 6);
        let unit = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let unit = unit.ok_or_else(|| self.error("expected four hexadecimal digits after \\u"))?;
        self.offset += 6;
        Ok(unit)
    }

    /// The character that stands here, with its backslash.
    fn char(&mut self) -> Parsed<char> {
        let start = self.offset;
        self.take();
        let Some(first) = self.text[self.offset..].chars().next() else {
            return Err(self.unexpected("a character"));
        };
        self.offset += first.len_utf8();
        let rest = if first.is_ascii_alphanumeric() { self.word() } else { "" };
        if rest.is_empty() {
            return Ok(first);
        }
        named_char(&self.text[start + 1..self.offset]).ok_or_else(|| {
            self.offset = start;
            self.error("expected a character: \\c, \\newline, \\return, \\space, \\tab, \\formfeed, \\backspace or \\uXXXX")
        })
    }
}

/// The name that a keyword of a namespace map stands for: `:_/b` is one without namespace.
fn in_namespace(name: &str, namespace: &str) -> Text {
    match name.split_once('/') {
        Some(("_", bare)) => bare.into(),
        Some(_) => name.into(),
        None => format!("{namespace}/{name}").into(),
    }
}

fn named_char(name: &str) -> Option<char> {
    Some(match name {
        "newline" => '\n',
        "return" => '\r',
        "space" => ' ',
        "tab" => '\t',
        "formfeed" => '\u{c}',
        "backspace" => '\u{8}',
        _ => {
            let digits = name.strip_prefix('u').filter(|digits| digits.len() == 4)?;
            if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            return char::from_u32(u32::from_str_radix(digits, 16).ok()?);
        }
    })
}

/// What is said of a value that is nested too deeply.
fn too_deep() -> String {
    format!("expected a value nested at most {MAX_DEPTH} deep")
}
