//! serde for [`Value`]: the table of the parent module.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use smallvec::SmallVec;

use super::too_deep;
use crate::{Items, MAX_DEPTH, Text, Value};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nil => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::BigInt(digits) => single(serializer, Form::Integer, digits),
            Value::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Float(number) => single(serializer, Form::Float, float_name(*number)),
            Value::String(text) => serializer.serialize_str(text),
            Value::Keyword(name) => single(serializer, Form::Keyword, name),
            Value::Symbol(name) => single(serializer, Form::Symbol, name),
            Value::Char(c) => single(serializer, Form::Char, c),
            Value::List(elements) => single(serializer, Form::List, &elements[..]),
            Value::Vector(elements) => serializer.collect_seq(elements),
            Value::Map(entries) if is_object(entries) => serialize_object(serializer, entries),
            Value::Map(entries) => single(serializer, Form::Map, &entries[..]),
            Value::Set(elements) => single(serializer, Form::Set, &elements[..]),
            Value::Tagged(tagged) => single(serializer, Form::Tagged, &**tagged),
        }
    }
}

/// The values that JSON itself cannot say.
#[derive(Clone, Copy)]
enum Form {
    Keyword,
    Symbol,
    Char,
    List,
    Set,
    Map,
    Tagged,
    Integer,
    Float,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Form::Keyword => "$keyword",
            Form::Symbol => "$symbol",
            Form::Char => "$char",
            Form::List => "$list",
            Form::Set => "$set",
            Form::Map => "$map",
            Form::Tagged => "$tagged",
            Form::Integer => "$integer",
            Form::Float => "$float",
        }
    }

    fn named(name: &str) -> Option<Form> {
        Some(match name {
            "$keyword" => Form::Keyword,
            "$symbol" => Form::Symbol,
            "$char" => Form::Char,
            "$list" => Form::List,
            "$set" => Form::Set,
            "$map" => Form::Map,
            "$tagged" => Form::Tagged,
            "$integer" => Form::Integer,
            "$float" => Form::Float,
            _ => return None,
        })
    }
}

fn float_name(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Whether a plain JSON object says all of the map.
fn is_object(entries: &[(Value, Value)]) -> bool {
    entries.iter().all(|(key, _)| matches!(key, Value::String(name) if !name.starts_with('$')))
}

fn single<S: Serializer, T: Serialize + ?Sized>(
    serializer: S,
    form: Form,
    value: &T,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(form.name(), value)?;
    map.end()
}

fn serialize_object<S: Serializer>(serializer: S, entries: &[(Value, Value)]) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(entries.len()))?;
    for (key, value) in entries {
        map.serialize_entry(key.as_text().unwrap_or_default(), value)?;
    }
    map.end()
}

impl<'de> de::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ValueSeed::TOP.deserialize(deserializer)
    }
}

/// Reads a value that may be nested `depth` deep.
#[derive(Clone, Copy)]
pub(crate) struct ValueSeed {
    depth: usize,
}

impl ValueSeed {
    pub(crate) const TOP: ValueSeed = ValueSeed { depth: MAX_DEPTH };

    /// What reads a value inside this one.
    fn inside<E: de::Error>(self) -> Result<ValueSeed, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(ValueSeed { depth }),
            None => Err(E::custom(too_deep())),
        }
    }

    /// The value of an object whose first field is the name of `form`.
    fn form<'de, A: MapAccess<'de>>(self, form: Form, mut map: A) -> Result<Value, A::Error> {
        let value = map.next_value_seed(FormSeed { form, outside: self })?;
        match map.next_key::<IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(de::Error::custom(format!("expected `{}` to be the only field", form.name()))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| Value::BigInt(number.to_string().into()), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        elements(sequence, inside).map(Value::Vector)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Key>()? {
            let key = match key {
                Key::Form(form) if entries.is_empty() => return self.form(form, map),
                // Not the first field: a name like any other.
                Key::Form(form) => form.name().into(),
                Key::Name(name) => name,
            };
            entries.push((Value::String(key), map.next_value_seed(self.inside()?)?));
        }
        Ok(Value::map(entries))
    }
}

/// The name of a field. That of a form, of which files have millions, is not allocated.
enum Key {
    Form(Form),
    Name(Text),
}

impl<'de> de::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(Form::named(name).map_or_else(|| Key::Name(name.into()), Key::Form))
    }
}

/// Reads what stands behind the name of a form.
struct FormSeed {
    form: Form,
    outside: ValueSeed,
}

impl<'de> DeserializeSeed<'de> for FormSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        use de::Deserialize as _;
        match self.form {
            Form::Keyword => Text::deserialize(deserializer).map(Value::Keyword),
            Form::Symbol => Text::deserialize(deserializer).map(Value::Symbol),
            Form::Char => char::deserialize(deserializer).map(Value::Char),
            Form::Integer => integer(&Box::<str>::deserialize(deserializer)?),
            Form::Float => float(&Box::<str>::deserialize(deserializer)?),
            Form::List => {
                deserializer.deserialize_seq(ElementsVisitor(self.outside.inside()?)).map(Value::List)
            }
            Form::Set => {
                deserializer.deserialize_seq(ElementsVisitor(self.outside.inside()?)).map(Value::Set)
            }
            Form::Map => deserializer.deserialize_seq(EntriesVisitor(self.outside.inside()?)).map(Value::Map),
            Form::Tagged => deserializer.deserialize_seq(TaggedVisitor(self.outside.inside()?)),
        }
    }
}

fn integer<E: de::Error>(digits: &str) -> Result<Value, E> {
    Value::integer(digits).ok_or_else(|| E::custom("expected the decimal digits of an integer"))
}

fn float<E: de::Error>(name: &str) -> Result<Value, E> {
    match name {
        "NaN" => Ok(Value::Float(f64::NAN)),
        "Infinity" => Ok(Value::Float(f64::INFINITY)),
        "-Infinity" => Ok(Value::Float(f64::NEG_INFINITY)),
        _ => Err(E::custom("expected \"NaN\", \"Infinity\" or \"-Infinity\"")),
    }
}

struct ElementsVisitor(ValueSeed);

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Items<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Items<Value>, A::Error> {
        elements(sequence, self.0)
    }
}

/// All elements of `sequence`. Most have few, which need no allocation but the one in which they are kept.
fn elements<'de, A: SeqAccess<'de>>(mut sequence: A, each: ValueSeed) -> Result<Items<Value>, A::Error> {
    let mut elements: SmallVec<[Value; 4]> = SmallVec::new();
    while let Some(element) = sequence.next_element_seed(each)? {
        elements.push(element);
    }
    Ok(Items::of(elements))
}

struct EntriesVisitor(ValueSeed);

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Items<(Value, Value)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of [key, value]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = sequence.next_element_seed(PairSeed(self.0))? {
            entries.push(entry);
        }
        Ok(entries.into())
    }
}

struct PairSeed(ValueSeed);

impl<'de> DeserializeSeed<'de> for PairSeed {
    type Value = (Value, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PairSeed {
    type Value = (Value, Value);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[key, value]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let short = |length| de::Error::invalid_length(length, &"[key, value]");
        let key = sequence.next_element_seed(self.0)?.ok_or_else(|| short(0))?;
        let value = sequence.next_element_seed(self.0)?.ok_or_else(|| short(1))?;
        if sequence.next_element::<IgnoredAny>()?.is_some() {
            return Err(short(3));
        }
        Ok((key, value))
    }
}

struct TaggedVisitor(ValueSeed);

impl<'de> Visitor<'de> for TaggedVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[tag, value]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let short = |length| de::Error::invalid_length(length, &"[tag, value]");
        let tag: Text = sequence.next_element()?.ok_or_else(|| short(0))?;
        let value = sequence.next_element_seed(self.0)?.ok_or_else(|| short(1))?;
        if sequence.next_element::<IgnoredAny>()?.is_some() {
            return Err(short(3));
        }
        Ok(Value::tagged(tag, value))
    }
}
