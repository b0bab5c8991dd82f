//! Writing whole histories. What is written here is read again as the same events (see the modules of the formats for the
//! few exceptions).

use std::io::{self, Write};

use crate::{Event, edn, json};

/// Buffers are handed to the writer when they have grown to this.
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes events as JSON Lines, our own format.
pub fn write_json_lines<'a>(
    out: &mut dyn Write,
    events: impl IntoIterator<Item = &'a Event>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(2 * CHUNK_BYTES);
    for event in events {
        json::write_line(&mut buffer, event)?;
        if buffer.len() >= CHUNK_BYTES {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()
}

/// Writes events as EDN in Jepsen's form, one operation map a line.
///
/// An independent key becomes a tuple, `:value [key value]`, as `jepsen.independent` has it, and the field
/// `:labrys/independent true` tells our reader that it is one.
pub fn write_edn<'a>(out: &mut dyn Write, events: impl IntoIterator<Item = &'a Event>) -> io::Result<()> {
    let mut buffer = String::with_capacity(2 * CHUNK_BYTES);
    for event in events {
        edn::write_event(&mut buffer, event).map_err(io::Error::other)?;
        buffer.push('\n');
        if buffer.len() >= CHUNK_BYTES {
            out.write_all(buffer.as_bytes())?;
            buffer.clear();
        }
    }
    out.write_all(buffer.as_bytes())?;
    out.flush()
}
