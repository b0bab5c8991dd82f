//! serde for [`Event`], [`EventKind`] and [`Process`].

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::value::ValueSeed;
use crate::names::Names;
use crate::{Details, Event, EventKind, Process, Text, Value};

/// The field that holds the extra fields which cannot stand on their own.
const EXTRA: &str = "$extra";

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Process::Client(number) => serializer.serialize_u64(*number),
            Process::Named(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ProcessSeed(&mut Names::default()).deserialize(deserializer)
    }
}

struct ProcessSeed<'n>(&'n mut Names);

impl<'de> DeserializeSeed<'de> for ProcessSeed<'_> {
    type Value = Process;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Process, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ProcessSeed<'_> {
    type Value = Process;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a process: a number from 0, or a name")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Process, E> {
        Ok(Process::Client(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Process, E> {
        u64::try_from(number)
            .map(Process::Client)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E>(self, name: &str) -> Result<Process, E> {
        Ok(Process::Named(self.0.intern(name)))
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KindVisitor)
    }
}

struct KindVisitor;

impl Visitor<'_> for KindVisitor {
    type Value = EventKind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"invoke\", \"ok\", \"fail\" or \"info\"")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<EventKind, E> {
        EventKind::named(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
    }
}

/// A field of a line.
enum Field {
    Index,
    TimeNs,
    Process,
    Kind,
    F,
    Key,
    Value,
    Error,
    EscapedExtra,
    Extra(Text),
}

impl Field {
    fn named(name: &str) -> Option<Field> {
        Some(match name {
            "index" => Field::Index,
            "time_ns" => Field::TimeNs,
            "process" => Field::Process,
            "kind" => Field::Kind,
            "f" => Field::F,
            "key" => Field::Key,
            "value" => Field::Value,
            "error" => Field::Error,
            EXTRA => Field::EscapedExtra,
            _ => return None,
        })
    }
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
        Ok(Field::named(name).unwrap_or_else(|| Field::Extra(name.into())))
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &self.index)?;
        map.serialize_entry("time_ns", &self.time_ns)?;
        map.serialize_entry("process", &self.process)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("f", &*self.f)?;
        if let Some(key) = &self.key {
            map.serialize_entry("key", key)?;
        }
        map.serialize_entry("value", &self.value)?;
        if let Some(error) = self.error() {
            map.serialize_entry("error", error)?;
        }
        if self.extra().iter().all(|(name, _)| Field::named(name).is_none() && !name.starts_with('$')) {
            for (name, value) in self.extra() {
                map.serialize_entry(name, value)?;
            }
        } else {
            map.serialize_entry(EXTRA, self.extra())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        EventSeed { names: &mut Names::default() }.deserialize(deserializer)
    }
}

/// Reads events whose names are shared.
pub(crate) struct EventSeed<'n> {
    pub(crate) names: &'n mut Names,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// The fields read so far.
#[derive(Default)]
struct Parts {
    index: Option<u64>,
    time_ns: Option<u64>,
    process: Option<Process>,
    kind: Option<EventKind>,
    f: Option<Text>,
    key: Option<Value>,
    value: Option<Value>,
    error: Option<Value>,
    extra: Vec<(Text, Value)>,
}

impl Parts {
    fn event<E: de::Error>(self) -> Result<Event, E> {
        Ok(Event {
            index: self.index.ok_or_else(|| E::missing_field("index"))?,
            time_ns: self.time_ns.ok_or_else(|| E::missing_field("time_ns"))?,
            process: self.process.ok_or_else(|| E::missing_field("process"))?,
            kind: self.kind.ok_or_else(|| E::missing_field("kind"))?,
            f: self.f.ok_or_else(|| E::missing_field("f"))?,
            key: self.key,
            value: self.value.unwrap_or_default(),
            details: Details::new(self.error, self.extra),
        })
    }
}

/// Fills `slot`, unless it is full.
fn fill<T, E: de::Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() {
        return Err(E::duplicate_field(name));
    }
    Ok(())
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = Event;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event: an object with index, time_ns, process, kind, f and value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut parts = Parts::default();
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Index => {
                    let seed = CountSeed("an index: an integer from 0");
                    fill(&mut parts.index, "index", map.next_value_seed(seed)?)?;
                }
                Field::TimeNs => {
                    let seed = CountSeed("a time: nanoseconds, an integer from 0");
                    fill(&mut parts.time_ns, "time_ns", map.next_value_seed(seed)?)?;
                }
                Field::Process => {
                    fill(&mut parts.process, "process", map.next_value_seed(ProcessSeed(self.names))?)?;
                }
                Field::Kind => fill(&mut parts.kind, "kind", map.next_value()?)?,
                Field::F => fill(&mut parts.f, "f", map.next_value_seed(NameSeed(self.names))?)?,
                Field::Key => fill(&mut parts.key, "key", map.next_value_seed(ValueSeed::TOP)?)?,
                Field::Value => fill(&mut parts.value, "value", map.next_value_seed(ValueSeed::TOP)?)?,
                Field::Error => fill(&mut parts.error, "error", map.next_value_seed(ValueSeed::TOP)?)?,
                Field::EscapedExtra => parts.extra.extend(map.next_value_seed(ExtraSeed)?),
                Field::Extra(name) => parts.extra.push((name, map.next_value_seed(ValueSeed::TOP)?)),
            }
        }
        parts.event()
    }
}

/// Reads an integer from 0.
pub(crate) struct CountSeed(pub(crate) &'static str);

impl<'de> DeserializeSeed<'de> for CountSeed {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_u64(self)
    }
}

impl Visitor<'_> for CountSeed {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }
}

struct NameSeed<'n>(&'n mut Names);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a function")
    }

    fn visit_str<E>(self, name: &str) -> Result<Text, E> {
        Ok(self.0.intern(name))
    }
}

/// Reads `[[name, value], …]`, each value with the whole depth that a value may have.
pub(crate) struct ExtraSeed;

impl<'de> DeserializeSeed<'de> for ExtraSeed {
    type Value = Vec<(Text, Value)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ExtraSeed {
    type Value = Vec<(Text, Value)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of [name, value]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut extra = Vec::new();
        while let Some(entry) = sequence.next_element::<(Text, Value)>()? {
            extra.push(entry);
        }
        Ok(extra)
    }
}
