//! [`Value`]: the data of keys, arguments, results and errors; the union of what JSON and EDN can say.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::{Items, Text};

/// How deep a value read from a file may be nested: beyond what any history has, and far below what would exhaust a stack.
/// A scalar is 0 deep, a collection or tagged literal one deeper than the deepest value in it.
pub const MAX_DEPTH: usize = 128;

/// A datum. Covers EDN (and with it JSON), so that a history of Jepsen's can be read, checked and written again without
/// loss.
///
/// Equality and order are total: floats compare by [`f64::total_cmp`], and values of different kinds compare by kind, in
/// the order of the variants. A `List` and a `Vector` of the same elements are different values.
///
/// Two words, and cheap to clone: what does not fit is shared and never changes. Histories have millions of them.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// EDN `nil`, JSON `null`: in a completion, "nothing there"; in an invocation of a read, "not known yet".
    #[default]
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer that does not fit 64 bits, in decimal digits without leading zeros (EDN `123…N`).
    BigInt(Text),
    /// A floating-point number; NaN and the infinities included (EDN `##NaN`, `##Inf`).
    Float(f64),
    /// A string.
    String(Text),
    /// An EDN keyword, without its colon: `:timed-out` is `Keyword("timed-out")`.
    Keyword(Text),
    /// An EDN symbol.
    Symbol(Text),
    /// An EDN character.
    Char(char),
    /// An EDN list, `(1 2)`.
    List(Items<Value>),
    /// An EDN vector or JSON array, `[1 2]`.
    Vector(Items<Value>),
    /// A map, in the order written.
    Map(Items<(Value, Value)>),
    /// An EDN set, in the order written.
    Set(Items<Value>),
    /// An EDN tagged literal, `#inst "2026-11-21"`: the tag without its `#`, and the datum.
    Tagged(Arc<(Text, Value)>),
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<Text>) -> Value {
        Value::String(text.into())
    }

    /// A keyword value; `name` without the colon.
    pub fn keyword(name: impl Into<Text>) -> Value {
        Value::Keyword(name.into())
    }

    /// A list of these elements.
    pub fn list(elements: impl Into<Items<Value>>) -> Value {
        Value::List(elements.into())
    }

    /// A vector of these elements.
    pub fn vector(elements: impl Into<Items<Value>>) -> Value {
        Value::Vector(elements.into())
    }

    /// A set of these elements, in this order.
    pub fn set(elements: impl Into<Items<Value>>) -> Value {
        Value::Set(elements.into())
    }

    /// A map of these entries, in this order.
    pub fn map(entries: impl Into<Items<(Value, Value)>>) -> Value {
        Value::Map(entries.into())
    }

    /// `value` with `tag`, which is without its `#`.
    pub fn tagged(tag: impl Into<Text>, value: Value) -> Value {
        Value::Tagged(Arc::new((tag.into(), value)))
    }

    /// The integer that `digits` (decimal, perhaps signed) say, whatever its size; nothing if they say none.
    ///
    /// This keeps the invariant of [`Value::BigInt`]: what fits 64 bits is a [`Value::Int`].
    #[must_use]
    pub fn integer(digits: &str) -> Option<Value> {
        let (sign, magnitude) = match digits.strip_prefix(['+', '-']) {
            Some(magnitude) => (if digits.starts_with('-') { "-" } else { "" }, magnitude),
            None => ("", digits),
        };
        if magnitude.is_empty() || !magnitude.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if let Ok(number) = digits.parse() {
            return Some(Value::Int(number));
        }
        Some(Value::BigInt(format!("{sign}{}", magnitude.trim_start_matches('0')).into()))
    }

    /// Whether this is [`Value::Nil`].
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// The integer, if this is one that fits 64 bits.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Value::Int(number) = self { Some(*number) } else { None }
    }

    /// The text of a string, keyword or symbol.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) | Value::Keyword(text) | Value::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a vector or list.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Value]> {
        match self {
            Value::Vector(elements) | Value::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The value under the string or keyword `name`, if this is a map that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Value::Map(entries) = self else { return None };
        entries.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
    }

    /// How deep this is nested; see [`MAX_DEPTH`].
    pub(crate) fn depth(&self) -> usize {
        let deepest = |elements: &[Value]| 1 + elements.iter().map(Value::depth).max().unwrap_or(0);
        match self {
            Value::List(elements) | Value::Vector(elements) | Value::Set(elements) => deepest(elements),
            Value::Map(entries) => {
                1 + entries.iter().map(|(key, value)| key.depth().max(value.depth())).max().unwrap_or(0)
            }
            Value::Tagged(tagged) => 1 + tagged.1.depth(),
            _ => 0,
        }
    }

    /// The position of the variant in the order between kinds.
    fn rank(&self) -> u8 {
        match self {
            Value::Nil => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::BigInt(_) => 3,
            Value::Float(_) => 4,
            Value::String(_) => 5,
            Value::Keyword(_) => 6,
            Value::Symbol(_) => 7,
            Value::Char(_) => 8,
            Value::List(_) => 9,
            Value::Vector(_) => 10,
            Value::Map(_) => 11,
            Value::Set(_) => 12,
            Value::Tagged(_) => 13,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::BigInt(a), Value::BigInt(b))
            | (Value::String(a), Value::String(b))
            | (Value::Keyword(a), Value::Keyword(b))
            | (Value::Symbol(a), Value::Symbol(b)) => a.cmp(b),
            (Value::Char(a), Value::Char(b)) => a.cmp(b),
            (Value::List(a), Value::List(b))
            | (Value::Vector(a), Value::Vector(b))
            | (Value::Set(a), Value::Set(b)) => a[..].cmp(b),
            (Value::Map(a), Value::Map(b)) => a[..].cmp(b),
            (Value::Tagged(a), Value::Tagged(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Value::Nil => {}
            Value::Bool(b) => b.hash(state),
            Value::Int(number) => number.hash(state),
            Value::Float(number) => number.to_bits().hash(state),
            Value::BigInt(text) | Value::String(text) | Value::Keyword(text) | Value::Symbol(text) => {
                text.hash(state)
            }
            Value::Char(c) => c.hash(state),
            Value::List(elements) | Value::Vector(elements) | Value::Set(elements) => {
                elements[..].hash(state)
            }
            Value::Map(entries) => entries[..].hash(state),
            Value::Tagged(tagged) => tagged.hash(state),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(elements: Vec<Value>) -> Self {
        Value::vector(elements)
    }
}

/// EDN, on one line: what people of the field read in a report.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::edn::write_value(formatter, self)
    }
}
