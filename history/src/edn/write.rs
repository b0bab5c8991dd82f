//! Writing values and events as EDN, each on one line.

use std::fmt::{self, Write};

use super::{atom, field, tag};
use crate::{Event, EventKind, Process, Text, Value};

/// Writes `value`, so that the parser reads the same.
pub(crate) fn write_value<W: Write + ?Sized>(out: &mut W, value: &Value) -> fmt::Result {
    match value {
        Value::Nil => out.write_str("nil"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Int(number) => write!(out, "{number}"),
        Value::BigInt(digits) => write!(out, "{digits}N"),
        Value::Float(number) if number.is_nan() => out.write_str("##NaN"),
        Value::Float(number) if number.is_infinite() => {
            out.write_str(if *number > 0.0 { "##Inf" } else { "##-Inf" })
        }
        Value::Float(number) => write!(out, "{number:?}"),
        Value::String(text) => write_string(out, text),
        Value::Keyword(name) if atom::is_keyword(name) => write!(out, ":{name}"),
        Value::Keyword(name) => write_renamed(out, tag::KEYWORD, name),
        Value::Symbol(name) if atom::is_symbol(name) => out.write_str(name),
        Value::Symbol(name) => write_renamed(out, tag::SYMBOL, name),
        Value::Char(c) => write_char(out, *c),
        Value::List(elements) => write_sequence(out, "(", elements, ")"),
        Value::Vector(elements) => write_sequence(out, "[", elements, "]"),
        Value::Set(elements) => write_sequence(out, "#{", elements, "}"),
        Value::Map(entries) => write_map(out, entries),
        Value::Tagged(tagged) => write_tagged(out, &tagged.0, &tagged.1),
    }
}

/// Writes `event` as an operation map of Jepsen's.
pub(crate) fn write_event<W: Write + ?Sized>(out: &mut W, event: &Event) -> fmt::Result {
    let kind: EventKind = event.kind;
    write!(out, "{{:index {}, :type :{kind}, :process ", event.index)?;
    match &event.process {
        Process::Client(number) => write!(out, "{number}")?,
        Process::Named(name) => write_name(out, name)?,
    }
    if !event.f.is_empty() {
        out.write_str(", :f ")?;
        write_name(out, &event.f)?;
    }
    out.write_str(", :value ")?;
    match &event.key {
        None => write_value(out, &event.value)?,
        Some(key) => write_pair(out, key, &event.value)?,
    }
    write!(out, ", :time {}", event.time_ns)?;
    if let Some(error) = event.error() {
        out.write_str(", :error ")?;
        write_value(out, error)?;
    }
    if event.key.is_some() {
        write!(out, ", :{} true", field::INDEPENDENT)?;
    }
    write_extra(out, event.extra())?;
    out.write_str("}")
}

/// Whether an extra field can be a field of an operation map.
fn is_free(name: &str) -> bool {
    atom::is_keyword(name) && !name.starts_with(tag::PREFIX) && !super::operations::is_field(name)
}

fn write_extra<W: Write + ?Sized>(out: &mut W, extra: &[(Text, Value)]) -> fmt::Result {
    let is_alone =
        |position: usize, name: &str| extra[..position].iter().all(|(before, _)| **before != *name);
    // A map that has a key twice is none to Clojure.
    if extra.iter().enumerate().all(|(position, (name, _))| is_free(name) && is_alone(position, name)) {
        for (name, value) in extra {
            write!(out, ", :{name} ")?;
            write_value(out, value)?;
        }
        return Ok(());
    }
    write!(out, ", :{} [", field::EXTRA)?;
    for (name, value) in extra {
        out.write_str("[")?;
        write_string(out, name)?;
        out.write_str(" ")?;
        write_value(out, value)?;
        out.write_str("]")?;
    }
    out.write_str("]")
}

fn write_pair<W: Write + ?Sized>(out: &mut W, key: &Value, value: &Value) -> fmt::Result {
    out.write_str("[")?;
    write_value(out, key)?;
    out.write_str(" ")?;
    write_value(out, value)?;
    out.write_str("]")
}

/// A function or process: a keyword where possible.
fn write_name<W: Write + ?Sized>(out: &mut W, name: &str) -> fmt::Result {
    if atom::is_keyword(name) { write!(out, ":{name}") } else { write_string(out, name) }
}

fn write_renamed<W: Write + ?Sized>(out: &mut W, tag: &str, name: &str) -> fmt::Result {
    write!(out, "#{tag} ")?;
    write_string(out, name)
}

fn write_tagged<W: Write + ?Sized>(out: &mut W, tag: &str, value: &Value) -> fmt::Result {
    if atom::is_tag(tag) {
        write!(out, "#{tag} ")?;
        return write_value(out, value);
    }
    write!(out, "#{} [", tag::TAGGED)?;
    write_string(out, tag)?;
    out.write_str(" ")?;
    write_value(out, value)?;
    out.write_str("]")
}

fn write_char<W: Write + ?Sized>(out: &mut W, c: char) -> fmt::Result {
    match c {
        '\n' => out.write_str("\\newline"),
        '\r' => out.write_str("\\return"),
        ' ' => out.write_str("\\space"),
        '\t' => out.write_str("\\tab"),
        '\u{c}' => out.write_str("\\formfeed"),
        '\u{8}' => out.write_str("\\backspace"),
        c if (c.is_control() || c.is_whitespace()) && c <= '\u{ffff}' => {
            write!(out, "\\u{:04x}", u32::from(c))
        }
        c => write!(out, "\\{c}"),
    }
}

fn write_sequence<W: Write + ?Sized>(
    out: &mut W,
    open: &str,
    elements: &[Value],
    close: &str,
) -> fmt::Result {
    out.write_str(open)?;
    for (position, element) in elements.iter().enumerate() {
        if position > 0 {
            out.write_str(" ")?;
        }
        write_value(out, element)?;
    }
    out.write_str(close)
}

fn write_map<W: Write + ?Sized>(out: &mut W, entries: &[(Value, Value)]) -> fmt::Result {
    out.write_str("{")?;
    for (position, (key, value)) in entries.iter().enumerate() {
        if position > 0 {
            out.write_str(", ")?;
        }
        write_value(out, key)?;
        out.write_str(" ")?;
        write_value(out, value)?;
    }
    out.write_str("}")
}

fn write_string<W: Write + ?Sized>(out: &mut W, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    let mut written = 0;
    for (position, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x8 => "\\b",
            0xc => "\\f",
            _ => continue,
        };
        out.write_str(&text[written..position])?;
        out.write_str(escape)?;
        written = position + 1;
    }
    out.write_str(&text[written..])?;
    out.write_str("\"")
}
