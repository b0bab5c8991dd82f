//! `Metadata`, which may be anything: of it, what we have written ourselves.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::OURS;
use crate::json::{CountSeed, ExtraSeed};
use crate::{Text, Value};

/// What Porcupine has no words for.
#[derive(Debug, Default)]
pub(super) struct Ours {
    pub(super) index: Option<u64>,
    /// The error of the invocation, which is a strange place for one.
    pub(super) error: Option<Value>,
    /// `Some(None)`: the history ends while the operation is open.
    pub(super) completed_index: Option<Option<u64>>,
    /// When a client gave up.
    pub(super) completed_time_ns: Option<u64>,
    /// The key of the completion, none or one, if it is not that of the invocation.
    pub(super) completed_key: Option<Vec<Value>>,
    pub(super) extra: Vec<(Text, Value)>,
    pub(super) completed_extra: Vec<(Text, Value)>,
}

/// Reads what is ours, and skips anything else.
pub(super) struct MetadataSeed;

impl<'de> DeserializeSeed<'de> for MetadataSeed {
    type Value = Ours;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Ours, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed {
    type Value = Ours;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("metadata")
    }

    fn visit_unit<E>(self) -> Result<Ours, E> {
        Ok(Ours::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Ours, E> {
        Ok(Ours::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Ours, E> {
        Ok(Ours::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Ours, E> {
        Ok(Ours::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Ours, E> {
        Ok(Ours::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Ours, E> {
        Ok(Ours::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Ours, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Ours::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ours, A::Error> {
        let mut ours = Ours::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if name == OURS {
                ours = map.next_value_seed(OursSeed)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(ours)
    }
}

struct OursSeed;

impl<'de> DeserializeSeed<'de> for OursSeed {
    type Value = Ours;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Ours, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OursSeed {
    type Value = Ours;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with the index of the operation")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ours, A::Error> {
        let mut ours = Ours::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*name {
                "index" => {
                    ours.index = Some(map.next_value_seed(CountSeed("an index: an integer from 0"))?);
                }
                "error" => ours.error = Some(map.next_value()?),
                "completed_index" => ours.completed_index = Some(map.next_value()?),
                "completed_time_ns" => {
                    let seed = CountSeed("a time: nanoseconds, an integer from 0");
                    ours.completed_time_ns = Some(map.next_value_seed(seed)?);
                }
                "completed_key" => ours.completed_key = Some(map.next_value()?),
                "extra" => ours.extra = map.next_value_seed(ExtraSeed)?,
                "completed_extra" => ours.completed_extra = map.next_value_seed(ExtraSeed)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(ours)
    }
}
