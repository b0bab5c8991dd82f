//! `Input` and `Output`, whose form is the user's: ours, Porcupine's own examples', or any.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::json::{ValueSeed, too_deep};
use crate::names::Names;
use crate::{EventKind, Items, MAX_DEPTH, Text, Value};

/// What was called.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) f: Option<Text>,
    pub(super) key: Option<Value>,
    pub(super) value: Value,
}

/// What was returned; of no kind if the file does not say one.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) kind: Option<EventKind>,
    pub(super) value: Value,
    pub(super) error: Option<Value>,
}

/// What stands behind `Input` or `Output`.
pub(super) enum Payload {
    Object(Vec<(Name, Value)>),
    Other(Value),
}

impl Payload {
    /// An input with a function, or, if we do not know its form, all of it as the value of one without a name.
    pub(super) fn input(mut self, names: &mut Names) -> Result<Input, String> {
        let f = match self.get(Known::F) {
            Some(Value::String(name)) => Some(names.intern(name)),
            Some(code @ Value::Int(_)) => Some(names.intern(&code.to_string())),
            _ => None,
        };
        if f.is_none() || !self.has_only(&[Known::F, Known::Key, Known::Value]) {
            return Ok(Input { f: None, key: None, value: self.whole()? });
        }
        Ok(Input { f, key: self.take(Known::Key), value: self.take(Known::Value).unwrap_or_default() })
    }

    /// An output that says how the operation ended, or, if we do not know its form, all of it as the result.
    pub(super) fn output(mut self) -> Result<Output, String> {
        let kind = match self.get(Known::Kind) {
            Some(Value::String(name)) => EventKind::named(name).filter(|kind| *kind != EventKind::Invoke),
            _ => None,
        };
        let known = match kind {
            Some(_) => self.has_only(&[Known::Kind, Known::Value, Known::Error]),
            None => self.get(Known::Value).is_some() && self.has_only(&[Known::Value]),
        };
        if !known {
            return Ok(Output { kind: None, value: self.whole()?, error: None });
        }
        let value = self.take(Known::Value).unwrap_or_default();
        Ok(Output { kind, value, error: self.take(Known::Error) })
    }

    fn get(&self, known: Known) -> Option<&Value> {
        let Payload::Object(fields) = self else { return None };
        fields.iter().find(|(name, _)| name.known == known).map(|(_, value)| value)
    }

    fn take(&mut self, known: Known) -> Option<Value> {
        let Payload::Object(fields) = self else { return None };
        let field = fields.iter_mut().find(|(name, _)| name.known == known)?;
        Some(std::mem::take(&mut field.1))
    }

    /// Whether this is an object with fields of no other names, each once.
    fn has_only(&self, names: &[Known]) -> bool {
        let Payload::Object(fields) = self else { return false };
        fields.iter().enumerate().all(|(position, (name, _))| {
            names.contains(&name.known)
                && fields[..position].iter().all(|(before, _)| before.known != name.known)
        })
    }

    /// All of it as one value.
    fn whole(self) -> Result<Value, String> {
        let fields = match self {
            Payload::Object(fields) => fields.into_iter(),
            Payload::Other(value) => return Ok(value),
        };
        let value = Value::Map(Items::of(fields.map(|(name, value)| (Value::String(name.text), value))));
        if value.depth() > MAX_DEPTH { Err(too_deep()) } else { Ok(value) }
    }
}

/// The name of a field, and what it says to us. As in Go, the case does not matter.
pub(super) struct Name {
    pub(super) known: Known,
    text: Text,
}

/// The names that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    ClientId,
    Input,
    Call,
    Output,
    Return,
    Metadata,
    F,
    Key,
    Value,
    Kind,
    Error,
    Unknown,
}

/// The names that mean something; a function is `op` in Porcupine's own examples.
const KNOWN: [(&str, Known); 12] = [
    ("f", Known::F),
    ("key", Known::Key),
    ("value", Known::Value),
    ("kind", Known::Kind),
    ("error", Known::Error),
    ("ClientId", Known::ClientId),
    ("Input", Known::Input),
    ("Call", Known::Call),
    ("Output", Known::Output),
    ("Return", Known::Return),
    ("Metadata", Known::Metadata),
    ("op", Known::F),
];

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E>(self, text: &str) -> Result<Name, E> {
        let known = KNOWN.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        Ok(Name { known: known.map_or(Known::Unknown, |(_, known)| *known), text: text.into() })
    }
}

/// Reads a [`Payload`], in whose fields values may have the whole depth that a value may have.
pub(super) struct PayloadSeed;

impl<'de> DeserializeSeed<'de> for PayloadSeed {
    type Value = Payload;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Payload, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PayloadSeed {
    type Value = Payload;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Payload, E> {
        ValueSeed::TOP.visit_unit().map(Payload::Other)
    }

    fn visit_bool<E: de::Error>(self, b: bool) -> Result<Payload, E> {
        ValueSeed::TOP.visit_bool(b).map(Payload::Other)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Payload, E> {
        ValueSeed::TOP.visit_i64(number).map(Payload::Other)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Payload, E> {
        ValueSeed::TOP.visit_u64(number).map(Payload::Other)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Payload, E> {
        ValueSeed::TOP.visit_f64(number).map(Payload::Other)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Payload, E> {
        ValueSeed::TOP.visit_str(text).map(Payload::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Payload, A::Error> {
        ValueSeed::TOP.visit_seq(sequence).map(Payload::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<Name>()? {
            fields.push((name, map.next_value_seed(ValueSeed::TOP)?));
        }
        Ok(Payload::Object(fields))
    }
}
