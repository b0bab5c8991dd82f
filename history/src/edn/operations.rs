//! A history in EDN: operation maps in a vector, in a list, or one after the other.

use super::field;
use super::parser::Parser;
use crate::foreign::ForeignEvent;
use crate::names::Names;
use crate::syntax::{SyntaxError, visible};
use crate::{EventKind, MAX_DEPTH, Process, Text, Value};

/// The depth for `:value`, which may be a pair of a key and a value of the greatest depth each.
const VALUE_DEPTH: usize = MAX_DEPTH + 1;

/// The operations of a text, one by one.
pub(crate) struct Operations<'a> {
    parser: Parser<'a>,
    names: Names,
    frame: Frame,
}

/// What is around the operations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// Nothing has been read.
    Unknown,
    /// Nothing: they stand one after the other.
    Stream,
    /// A collection that this byte will end.
    Collection(u8),
    /// The collection is over.
    Ended,
}

impl<'a> Operations<'a> {
    pub(crate) fn new(text: &'a str, offset: usize) -> Operations<'a> {
        Operations { parser: Parser::new(text, offset), names: Names::default(), frame: Frame::Unknown }
    }

    /// The next operation and where it begins.
    pub(crate) fn next_operation(&mut self) -> Option<Result<(usize, ForeignEvent), SyntaxError>> {
        self.next_or_end().transpose()
    }

    fn next_or_end(&mut self) -> Result<Option<(usize, ForeignEvent)>, SyntaxError> {
        if self.frame == Frame::Unknown {
            self.open()?;
        }
        let next = self.parser.peek_or_end(MAX_DEPTH)?;
        match (self.frame, next) {
            (Frame::Collection(close), Some(byte)) if byte == close => {
                self.parser.take();
                self.frame = Frame::Ended;
                self.next_or_end()
            }
            (Frame::Collection(close), None) => {
                let expected = format!("an operation or `{}`", char::from(close));
                Err(self.parser.unexpected(&expected))
            }
            (Frame::Ended, Some(_)) => {
                Err(self.parser.unexpected("the end of the file after the collection"))
            }
            (_, None) => Ok(None),
            (_, Some(_)) => {
                let start = self.parser.offset();
                self.operation().map(|event| Some((start, event)))
            }
        }
    }

    fn open(&mut self) -> Result<(), SyntaxError> {
        self.frame = match self.parser.peek_or_end(MAX_DEPTH)? {
            Some(b'[') => Frame::Collection(b']'),
            Some(b'(') => Frame::Collection(b')'),
            _ => Frame::Stream,
        };
        if self.frame != Frame::Stream {
            self.parser.take();
        }
        Ok(())
    }

    /// An operation map, perhaps with the tag of its record type, which says nothing.
    fn operation(&mut self) -> Result<ForeignEvent, SyntaxError> {
        self.parser.take_reached_bottom();
        self.parser.tag();
        if self.parser.peek(MAX_DEPTH)? != b'{' {
            return Err(self
                .parser
                .unexpected("an operation: a map such as {:process 0, :type :invoke, :f :read}"));
        }
        self.parser.take();
        let mut event = ForeignEvent::default();
        let mut seen = 0_u16;
        while self.parser.peek(MAX_DEPTH)? != b'}' {
            self.field(&mut event, &mut seen)?;
        }
        self.parser.take();
        event.may_be_too_deep = self.parser.take_reached_bottom();
        Ok(event)
    }

    fn field(&mut self, event: &mut ForeignEvent, seen: &mut u16) -> Result<(), SyntaxError> {
        if self.parser.peek(MAX_DEPTH)? != b':' {
            return Err(self.parser.unexpected("a keyword, the name of a field, or `}`"));
        }
        let at_name = self.parser.error("a field that stands twice; expected each field once");
        let name = self.parser.keyword()?;
        if self.parser.peek(MAX_DEPTH)? == b'}' {
            return Err(self.parser.unexpected(&format!("the value of the field :{name}")));
        }
        if let Some(position) = FIELDS.iter().position(|field| *field == name) {
            let bit = 1 << position;
            if *seen & bit != 0 {
                return Err(at_name);
            }
            *seen |= bit;
        }
        match name {
            "type" => event.kind = Some(self.kind()?),
            "f" => event.f = self.function()?,
            "process" => event.process = self.process()?,
            "index" => event.index = self.integer("an index: an integer")?,
            "time" => event.time_ns = self.integer("a time: an integer of nanoseconds")?,
            "value" => event.value = self.parser.value(VALUE_DEPTH)?,
            "error" => event.error = Some(self.parser.value(MAX_DEPTH)?),
            "key" => event.key = Some(self.parser.value(MAX_DEPTH)?),
            field::INDEPENDENT => event.independent = self.parser.value(MAX_DEPTH)? == Value::Bool(true),
            field::EXTRA => self.escaped_extra(event)?,
            _ => event.extra.push((name.into(), self.parser.value(MAX_DEPTH)?)),
        }
        Ok(())
    }

    fn kind(&mut self) -> Result<EventKind, SyntaxError> {
        const EXPECTED: &str = ":invoke, :ok, :fail or :info";
        if self.parser.peek(MAX_DEPTH)? != b':' {
            return Err(self.parser.unexpected(EXPECTED));
        }
        let unknown = self.parser.error("");
        let name = self.parser.keyword()?;
        EventKind::named(name).ok_or_else(|| SyntaxError {
            message: format!("expected {EXPECTED}, found `:{}`", visible(name)),
            ..unknown
        })
    }

    fn function(&mut self) -> Result<Option<Text>, SyntaxError> {
        if self.parser.peek(MAX_DEPTH)? == b':' {
            let name = self.parser.keyword()?;
            return Ok(Some(self.names.intern(name)));
        }
        let value = self.parser.value(MAX_DEPTH)?;
        Ok(match value.as_text() {
            _ if value.is_nil() => None,
            Some(name) => Some(self.names.intern(name)),
            // Jepsen leaves `:f` to the user: anything is a name.
            None => Some(self.names.intern(&value.to_string())),
        })
    }

    fn process(&mut self) -> Result<Option<Process>, SyntaxError> {
        self.parser.peek(MAX_DEPTH)?;
        let wrong = self.parser.error("expected a process: an integer from 0, a keyword or nil");
        let value = self.parser.value(MAX_DEPTH)?;
        match &value {
            Value::Nil => Ok(None),
            Value::Int(_) | Value::BigInt(_) => match to_u64(&value) {
                Some(number) => Ok(Some(Process::Client(number))),
                None => Err(wrong),
            },
            _ => match value.as_text() {
                Some(name) => Ok(Some(Process::Named(self.names.intern(name)))),
                None => Err(wrong),
            },
        }
    }

    /// An integer; nothing for nil and for negative ones, which Jepsen writes for "not known".
    fn integer(&mut self, expected: &str) -> Result<Option<u64>, SyntaxError> {
        self.parser.peek(MAX_DEPTH)?;
        let wrong = self.parser.error(format!("expected {expected}"));
        let value = self.parser.value(MAX_DEPTH)?;
        match &value {
            Value::Nil => Ok(None),
            Value::Int(number) if *number < 0 => Ok(None),
            _ => to_u64(&value).map(Some).ok_or(wrong),
        }
    }

    /// `[["name" value] …]`.
    fn escaped_extra(&mut self, event: &mut ForeignEvent) -> Result<(), SyntaxError> {
        self.parser.expect(b'[', MAX_DEPTH)?;
        while self.parser.peek(MAX_DEPTH)? != b']' {
            self.parser.expect(b'[', MAX_DEPTH)?;
            let name = self.parser.string_after_tag(MAX_DEPTH)?;
            let value = self.parser.value(MAX_DEPTH)?;
            self.parser.expect(b']', MAX_DEPTH)?;
            event.extra.push((name, value));
        }
        self.parser.take();
        Ok(())
    }
}

/// The fields of an operation that are not extra.
const FIELDS: [&str; 10] =
    ["type", "f", "process", "index", "time", "value", "error", "key", field::INDEPENDENT, field::EXTRA];

/// Whether `name` is the name of a field with a meaning.
pub(super) fn is_field(name: &str) -> bool {
    FIELDS.contains(&name)
}

fn to_u64(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BigInt(digits) => digits.parse().ok(),
        _ => None,
    }
}
