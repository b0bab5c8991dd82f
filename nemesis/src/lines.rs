//! JSON Lines that survive the death of their writer: a line counts once its newline is there.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A line that could not be read.
pub(crate) struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// Why.
    pub detail: String,
}

/// `value` as one line, newline included.
pub(crate) fn render<T: Serialize>(value: &T) -> std::io::Result<String> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

/// All lines that end with a newline. What follows the last newline was torn and is dropped. Empty lines are skipped.
pub(crate) fn parse_whole<T: DeserializeOwned>(content: &[u8]) -> Result<Vec<T>, LineError> {
    let end = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    let mut values = Vec::new();
    for (line, text) in content[..end].split(|byte| *byte == b'\n').zip(1..).map(|(text, line)| (line, text))
    {
        if !text.trim_ascii().is_empty() {
            let value = serde_json::from_slice(text);
            values.push(value.map_err(|error| LineError { line, detail: error.to_string() })?);
        }
    }
    Ok(values)
}
