//! Writing whole histories. What is written here is read again as the same events; what a format cannot say is in the
//! documentation of its module, and is said by [`write_history`].

use std::io::{self, Write};

use thiserror::Error;

use crate::{Event, Format, History, edn, json, porcupine};

/// Buffers are handed to the writer when they have grown to this.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// Why a history could not be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The format is one of those that are only read.
    #[error("{0} is only read, not written; written are {names}", names = Format::names(Format::WRITABLE))]
    OnlyRead(Format),
    /// Something in the history has no form in the format, and would be wrong if it were left out.
    #[error("{format} cannot say this history: {message}")]
    CannotSay {
        /// The format.
        format: Format,
        /// What, and where.
        message: String,
    },
    /// The operating system does not take it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes `history` in one of the formats of [`Format::WRITABLE`]; gives what other readers of the file should know, and what
/// was left out because the format has no form for it: a line each, none as a rule.
pub fn write_history(
    out: &mut dyn Write,
    history: &History,
    format: Format,
) -> Result<Vec<String>, WriteError> {
    let mut notes = Vec::new();
    match format {
        Format::JsonLines => write_json_lines(out, history.events())?,
        Format::Edn => {
            write_edn(out, history.events())?;
            let keyed = history.events().iter().filter(|event| event.key.is_some()).count();
            if keyed > 0 {
                notes.push(format!("{keyed} events have a key, which EDN has in the value: [key value]"));
            }
        }
        Format::Porcupine => {
            let left_out = porcupine::write(out, history)?;
            if left_out > 0 {
                notes.push(format!(
                    "{left_out} events of the nemesis and of other named processes are no operations, and were left out"
                ));
            }
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => crate::columnar::write(out, history.events())?,
        Format::Json | Format::JepsenLog => return Err(WriteError::OnlyRead(format)),
    }
    Ok(notes)
}

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
