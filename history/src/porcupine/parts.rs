//! An operation of Porcupine's, as a file has it.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::metadata::{MetadataSeed, Ours};
use super::payload::{Input, Known, Name, Output, PayloadSeed};
use crate::json::CountSeed;
use crate::names::Names;

/// What an operation is, for messages.
pub(crate) const OPERATION: &str = "an operation: an object such as {\"ClientId\":0,\"Input\":{\"f\":\"read\"},\"Call\":1,\"Output\":{\"value\":3},\"Return\":2}";

/// An operation.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) client: u64,
    pub(super) input: Input,
    pub(super) call_ns: u64,
    pub(super) output: Output,
    pub(super) return_ns: u64,
    pub(super) ours: Ours,
}

/// Reads [`Parts`].
pub(super) struct PartsSeed<'n>(pub(super) &'n mut Names);

impl<'de> DeserializeSeed<'de> for PartsSeed<'_> {
    type Value = Parts;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PartsSeed<'_> {
    type Value = Parts;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(OPERATION)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let mut parts = Parts::default();
        let (mut call_ns, mut return_ns) = (None, None);
        while let Some(Name { known, .. }) = map.next_key()? {
            match known {
                Known::ClientId => {
                    parts.client = map.next_value_seed(CountSeed("a client: an integer from 0"))?;
                }
                Known::Input => {
                    let input = map.next_value_seed(PayloadSeed)?.input(self.0);
                    parts.input = input.map_err(de::Error::custom)?;
                }
                Known::Call => {
                    call_ns = Some(map.next_value_seed(CountSeed("a time of the call: an integer from 0"))?);
                }
                Known::Output => {
                    let output = map.next_value_seed(PayloadSeed)?.output();
                    parts.output = output.map_err(de::Error::custom)?;
                }
                Known::Return => {
                    return_ns =
                        Some(map.next_value_seed(CountSeed("a time of the return: an integer from 0"))?);
                }
                Known::Metadata => parts.ours = map.next_value_seed(MetadataSeed)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        parts.call_ns = call_ns.ok_or_else(|| de::Error::missing_field("Call"))?;
        parts.return_ns = return_ns.ok_or_else(|| de::Error::missing_field("Return"))?;
        if parts.return_ns < parts.call_ns {
            let (returned, called) = (parts.return_ns, parts.call_ns);
            return Err(de::Error::custom(format!(
                "expected a return at or after the call at {called}, found {returned}"
            )));
        }
        Ok(parts)
    }
}
