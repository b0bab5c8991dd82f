//! [`to_json`]: a datum in a verdict.

use labrys_history::Value;

/// `value` as JSON where JSON has it, and otherwise its EDN as a string: for a person and for looking things up by, not for
/// reading back.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(number) => (*number).into(),
        Value::String(text) => (**text).into(),
        Value::Vector(elements) => elements.iter().map(to_json).collect(),
        other => other.to_string().into(),
    }
}
