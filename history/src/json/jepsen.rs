//! Jepsen's operations as JSON: what elle-cli reads, an array of objects with the fields of an operation map.
//!
//! JSON has no keywords, so elle-cli makes them (`read-json-history` in its `cli.clj`), and what it makes of a file is what
//! the file means. We do as it does:
//! - `type` and `f` are keywords;
//! - the names of an object's fields are keywords: `{"from":3}` is `{:from 3}` (names that no keyword can have stay strings);
//! - in a value that is an array of micro-operations, the first element of each is a keyword: `[["append","x",1]]` is
//!   `[[:append "x" 1]]`. It takes every array for such whose first element is an array that begins with a string.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::value::ValueSeed;
use crate::edn::is_keyword;
use crate::foreign::ForeignEvent;
use crate::names::Names;
use crate::{Items, Process, Text, Value};

/// What an operation is, for messages.
pub(crate) const OPERATION: &str =
    "an operation: an object such as {\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}";

/// Reads an operation.
pub(crate) struct OperationSeed<'n> {
    pub(crate) names: &'n mut Names,
}

impl<'de> DeserializeSeed<'de> for OperationSeed<'_> {
    type Value = ForeignEvent;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ForeignEvent, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OperationSeed<'_> {
    type Value = ForeignEvent;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(OPERATION)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ForeignEvent, A::Error> {
        let mut event = ForeignEvent::default();
        let mut seen = 0_u8;
        while let Some(field) = map.next_key::<Field>()? {
            once(&field, &mut seen)?;
            match field {
                Field::Type => event.kind = Some(map.next_value()?),
                Field::F => event.f = map.next_value_seed(FunctionSeed(self.names))?,
                Field::Process => event.process = map.next_value_seed(ProcessSeed(self.names))?,
                Field::Index => event.index = map.next_value_seed(IntegerSeed("an index: an integer"))?,
                Field::Time => {
                    event.time_ns = map.next_value_seed(IntegerSeed("a time: an integer of nanoseconds"))?;
                }
                Field::Value => event.value = with_micro_operations(value(&mut map)?),
                Field::Error => event.error = Some(value(&mut map)?),
                Field::Key => event.key = Some(value(&mut map)?),
                Field::Other(name) => event.extra.push((name, value(&mut map)?)),
            }
        }
        Ok(event)
    }
}

fn value<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Value, A::Error> {
    map.next_value_seed(ValueSeed::TOP).map(with_keywords)
}

/// A field of an operation.
enum Field {
    Type,
    F,
    Process,
    Index,
    Time,
    Value,
    Error,
    Key,
    Other(Text),
}

/// The names of the fields, in the order of the variants.
const NAMES: [&str; 8] = ["type", "f", "process", "index", "time", "value", "error", "key"];

/// Fails if the field has been seen before.
fn once<E: de::Error>(field: &Field, seen: &mut u8) -> Result<(), E> {
    let position = match field {
        Field::Type => 0,
        Field::F => 1,
        Field::Process => 2,
        Field::Index => 3,
        Field::Time => 4,
        Field::Value => 5,
        Field::Error => 6,
        Field::Key => 7,
        Field::Other(_) => return Ok(()),
    };
    if *seen & (1 << position) != 0 {
        return Err(E::duplicate_field(NAMES[position]));
    }
    *seen |= 1 << position;
    Ok(())
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(FieldVisitor)
    }
}

struct FieldVisitor;

impl Visitor<'_> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Field, E> {
        Ok(match name {
            "type" => Field::Type,
            "f" => Field::F,
            "process" => Field::Process,
            "index" => Field::Index,
            "time" => Field::Time,
            "value" => Field::Value,
            "error" => Field::Error,
            "key" => Field::Key,
            _ => Field::Other(name.into()),
        })
    }
}

/// Reads the name of a function, or nothing for null. Jepsen leaves `f` to the user: any scalar is a name.
struct FunctionSeed<'n>(&'n mut Names);

impl<'de> DeserializeSeed<'de> for FunctionSeed<'_> {
    type Value = Option<Text>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for FunctionSeed<'_> {
    type Value = Option<Text>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a function: a string, a number or null")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Some(self.0.intern(name)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(self.0.intern(&number.to_string())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(self.0.intern(&number.to_string())))
    }
}

/// Reads a process, or nothing for null.
struct ProcessSeed<'n>(&'n mut Names);

impl<'de> DeserializeSeed<'de> for ProcessSeed<'_> {
    type Value = Option<Process>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ProcessSeed<'_> {
    type Value = Option<Process>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a process: an integer from 0, a name or null")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Process::Client(number)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Some(Process::Named(self.0.intern(name))))
    }
}

/// Reads an integer; nothing for null and for negative ones, which Jepsen writes for "not known".
struct IntegerSeed(&'static str);

impl<'de> DeserializeSeed<'de> for IntegerSeed {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for IntegerSeed {
    type Value = Option<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).ok())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }
}

/// The same, the names of the fields of objects being keywords.
fn with_keywords(value: Value) -> Value {
    match value {
        Value::Vector(elements) if elements.iter().any(is_collection) => {
            Value::Vector(Items::of(elements.iter().cloned().map(with_keywords)))
        }
        Value::Map(entries) => {
            let entry = |(name, value): &(Value, Value)| (with_keyword(name), with_keywords(value.clone()));
            Value::Map(Items::of(entries.iter().map(entry)))
        }
        other => other,
    }
}

fn is_collection(value: &Value) -> bool {
    matches!(value, Value::Vector(_) | Value::Map(_))
}

fn with_keyword(name: &Value) -> Value {
    match name {
        Value::String(name) if is_keyword(name) => Value::Keyword(name.clone()),
        other => other.clone(),
    }
}

/// The same, the first element of each micro-operation being a keyword, if there are micro-operations.
fn with_micro_operations(value: Value) -> Value {
    let Value::Vector(elements) = &value else { return value };
    if !matches!(elements.first().and_then(first_element), Some(Value::String(_))) {
        return value;
    }
    let micro_operation = |element: &Value| match element {
        Value::Vector(parts) => {
            let part = |(position, part): (usize, &Value)| {
                if position == 0 { with_keyword(part) } else { part.clone() }
            };
            Value::Vector(Items::of(parts.iter().enumerate().map(part)))
        }
        other => other.clone(),
    };
    Value::Vector(Items::of(elements.iter().map(micro_operation)))
}

fn first_element(value: &Value) -> Option<&Value> {
    if let Value::Vector(elements) = value { elements.first() } else { None }
}
