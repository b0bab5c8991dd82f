//! The words of EDN: what they are made of, and which value one is.

use crate::Value;

/// Whether a byte can be inside a keyword, symbol or number. (All of UTF-8 beyond ASCII can.)
pub(super) const fn is_word(byte: u8) -> bool {
    !matches!(
        byte,
        0..=b' '
            | b','
            | b'"'
            | b';'
            | b'('
            | b')'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'\\'
            | b'^'
            | b'`'
            | b'~'
            | b'@'
            | 0x7f
    )
}

/// Whether a byte separates words; EDN counts commas as blanks.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b',' | b'\t' | b'\r' | 0x0b | 0x0c)
}

/// The value of a word that is neither keyword nor tag, or what was expected instead.
pub(super) fn atom(word: &str) -> Result<Value, &'static str> {
    match word {
        "nil" => return Ok(Value::Nil),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    match word.as_bytes() {
        [b'0'..=b'9', ..] | [b'+' | b'-', b'0'..=b'9', ..] => number(word),
        [] | [b':' | b'#' | b'\'', ..] => Err("expected a value"),
        _ => Ok(Value::Symbol(word.into())),
    }
}

fn number(word: &str) -> Result<Value, &'static str> {
    let magnitude = word.strip_prefix(['+', '-']).unwrap_or(word);
    let digits = magnitude.strip_suffix('N').unwrap_or(magnitude);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return Err("expected a decimal number without leading zeros");
        }
        return Value::integer(&word[..word.len() - (magnitude.len() - digits.len())])
            .ok_or("expected an integer");
    }
    if is_clojure_number(magnitude) {
        return Ok(Value::Symbol(word.into()));
    }
    word.parse().map(Value::Float).map_err(|_| "expected a number")
}

/// Ratios (`1/2`), decimals (`1.5M`) and radix integers (`0x1f`, `36rZ`): numbers of Clojure's for which [`Value`] has no
/// variant. `magnitude` begins with a digit.
fn is_clojure_number(magnitude: &str) -> bool {
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let all_alphanumeric =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if let Some((numerator, denominator)) = magnitude.split_once('/') {
        return all_digits(numerator) && all_digits(denominator);
    }
    if let Some(decimal) = magnitude.strip_suffix('M') {
        return decimal
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    }
    match magnitude.split_once(['x', 'X', 'r']) {
        Some((radix, digits)) => all_digits(radix) && all_alphanumeric(digits),
        None => false,
    }
}

/// Whether `name` can be written as a keyword, and read again as the same.
pub(crate) fn is_keyword(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(':') && is_plain(name)
}

/// Whether `name` can be written as a symbol, and read again as the same.
pub(super) fn is_symbol(name: &str) -> bool {
    is_plain(name) && matches!(atom(name), Ok(Value::Symbol(_)))
}

/// Whether `name` can be written as a tag, and read again as the same. Our own tags mean something else.
pub(super) fn is_tag(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && is_plain(name)
        && !name.starts_with(super::tag::PREFIX)
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(is_word) && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}
