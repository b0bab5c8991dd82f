//! [`SyntaxError`]: where and why a text is not what its notation demands, for every reader.

/// Where and why a text is not what its notation demands.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// Bytes from the start of the text.
    pub(crate) offset: usize,
    /// What was expected, and perhaps what was found.
    pub(crate) message: String,
}

/// The beginning of a text, in a form that an error message can show.
pub(crate) fn visible(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown = String::new();
    for c in text.chars().take(LONGEST) {
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The error at `offset` of `text` that something else than `expected` stands there.
pub(crate) fn unexpected(text: &str, offset: usize, expected: &str) -> SyntaxError {
    let message = match text[offset..].chars().next() {
        Some(found) => {
            let found = visible(found.encode_utf8(&mut [0; 4]));
            format!("expected {expected}, found `{found}`")
        }
        None => format!("expected {expected}, found the end of the file"),
    };
    SyntaxError { offset, message }
}
