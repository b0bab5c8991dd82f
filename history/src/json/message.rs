//! The errors of serde_json in our words: what was expected, and what was found.

/// Where in `text` the error is, in bytes.
///
/// serde_json counts lines from 1, columns in bytes from 1, and column 0 is before the first character of a line.
pub(super) fn offset(error: &serde_json::Error, text: &str) -> usize {
    if error.is_eof() {
        return text.len();
    }
    let before = error.line().saturating_sub(1);
    let line_start = match before {
        0 => 0,
        _ => memchr::memchr_iter(b'\n', text.as_bytes()).nth(before - 1).map_or(text.len(), |end| end + 1),
    };
    let offset = (line_start + error.column().saturating_sub(1)).min(text.len());
    // A character is never halved.
    (0..=offset).rev().find(|offset| text.is_char_boundary(*offset)).unwrap_or(0)
}

/// What is wrong, without its position, which is relative to the text given; `whole` is what the text ends with: "line" or
/// "file".
pub(super) fn message(error: &serde_json::Error, whole: &str) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    if let Some(unfinished) = text.strip_prefix("EOF while parsing ") {
        return format!("expected the rest of {unfinished}, found the end of the {whole}");
    }
    if let Some(name) = text.strip_prefix("missing field ") {
        return format!("expected the field {name}, found none");
    }
    if let Some(name) = text.strip_prefix("duplicate field ") {
        return format!("expected the field {name} once, found it again");
    }
    let found_and_expected =
        text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    if let Some((found, expected)) = found_and_expected.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!("expected {expected}, found {found}");
    }
    match syntax(text) {
        Some(expected) => format!("expected {expected}"),
        None => text.to_owned(),
    }
}

/// What was expected where serde_json says only what is wrong.
fn syntax(text: &str) -> Option<&'static str> {
    Some(match text {
        "expected ident" => "null, true or false",
        "expected value" => "a value",
        "invalid escape" => "an escape: \\n \\t \\r \\b \\f \\/ \\\" \\\\ or \\u and four digits",
        "invalid number" => "a number",
        "number out of range" => "a number that a 64-bit float can hold",
        "invalid unicode code point"
        | "lone leading surrogate in hex escape"
        | "unexpected end of hex escape" => "a \\u escape that is a character, not half of one",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "control characters in strings to be escaped"
        }
        "key must be a string" => "the name of a field: a string",
        "trailing comma" => "another element after the comma",
        "trailing characters" => "nothing after the object",
        _ => return None,
    })
}
