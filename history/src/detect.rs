//! Which format a text is in.

use std::path::Path;

use memchr::memmem;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{Format, jepsen_log};

/// The format that the text is in, or what it looks like instead. The file's name decides only what the text leaves open.
pub(crate) fn detect(text: &[u8], file: &Path) -> Result<Format, String> {
    #[cfg(feature = "parquet")]
    if text.starts_with(crate::columnar::MARK) {
        return Ok(Format::Parquet);
    }
    let text = &text[byte_order_mark(text)..];
    let mut visible = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    match (visible.next(), visible.next(), visible.next()) {
        (Some(b'{'), Some(b'"'), _) => Ok(format_of_objects(text).unwrap_or(Format::JsonLines)),
        (Some(b'['), Some(b'{'), Some(b'"')) => match format_of_objects(text) {
            Some(Format::JsonLines) => {
                Err("this is a JSON array of our events, not JSON Lines: expected one event a line"
                    .to_owned())
            }
            format => Ok(format.unwrap_or(Format::Json)),
        },
        (Some(b'['), Some(b']') | None, None) if has_extension(file, "json") => Ok(Format::Json),
        (None, ..) | (Some(b'{'), None, _) if !has_extension(file, "edn") => Ok(Format::JsonLines),
        (None | Some(b'{' | b'[' | b'(' | b'#' | b';'), ..) => Ok(Format::Edn),
        _ if memmem::find(text, jepsen_log::MARK.as_bytes()).is_some() => Ok(Format::JepsenLog),
        _ => {
            let start = String::from_utf8_lossy(&text[..text.len().min(20)]).into_owned();
            Err(format!("this is no history: it begins with {start:?}"))
        }
    }
}

/// The length of the mark that some editors put before UTF-8.
pub(crate) fn byte_order_mark(text: &[u8]) -> usize {
    if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The format whose objects have fields such as the first object of `text`, which may be torn.
fn format_of_objects(text: &[u8]) -> Option<Format> {
    let start = text.iter().position(|byte| *byte == b'{')?;
    let mut fields = Fields::default();
    // Stops behind the first object, or where it is torn; what was seen until then is in `fields`.
    let _ = serde_json::Deserializer::from_slice(&text[start..]).deserialize_map(&mut fields);
    fields.format()
}

/// Which of the telling fields an object has.
#[derive(Default)]
struct Fields {
    kind: bool,
    jepsen: bool,
    porcupine: bool,
}

impl Fields {
    fn format(&self) -> Option<Format> {
        match self {
            Fields { kind: true, .. } => Some(Format::JsonLines),
            Fields { jepsen: true, .. } => Some(Format::Json),
            Fields { porcupine: true, .. } => Some(Format::Porcupine),
            _ => None,
        }
    }
}

impl<'de> Visitor<'de> for &mut Fields {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*name {
                "kind" | "time_ns" => self.kind = true,
                "type" => self.jepsen = true,
                "ClientId" | "Input" | "Call" | "Output" | "Return" => self.porcupine = true,
                _ => {}
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}
