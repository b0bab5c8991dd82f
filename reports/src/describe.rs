//! Words for operations, times and numbers, the same in every output.

use labrys_history::{Completion, Event, Operation, Value};

/// The sign of an operation that failed.
pub(crate) const FAILED: &str = "✗";
/// The sign of an operation whose outcome nobody knows.
pub(crate) const UNKNOWN: &str = "?";

/// A few characters for the inside of a bar: `w 3`, `r → 1`, `cas 1→2 ✗`.
pub(crate) fn label(operation: &Operation) -> String {
    let name = match operation.f() {
        "read" => "r",
        "write" => "w",
        other => other,
    };
    words(operation, name, "→")
}

/// The operation in words: `write 3`, `read → 1`, `cas 1 → 2 ✗`.
pub(crate) fn sentence(operation: &Operation) -> String {
    words(operation, operation.f(), " → ")
}

fn words(operation: &Operation, name: &str, arrow: &str) -> String {
    let mut text = name.to_owned();
    match (operation.f(), operation.value().as_sequence()) {
        ("cas", Some([expected, new])) => text.push_str(&format!(" {expected}{arrow}{new}")),
        _ if operation.value().is_nil() => {}
        _ => text.push_str(&format!(" {}", operation.value())),
    }
    match operation.completion() {
        Completion::Ok { value, .. } => {
            let is_read = operation.value().is_nil();
            if (is_read && operation.f() == "read") || (!value.is_nil() && *value != *operation.value()) {
                text.push_str(&format!(" → {value}"));
            }
        }
        Completion::Fail { .. } => text.push_str(&format!(" {FAILED}")),
        Completion::Info { .. } => text.push_str(&format!(" {UNKNOWN}")),
    }
    text
}

/// What the completion carried, for the details of an operation.
pub(crate) fn result<'h>(completion: Completion<'h>) -> &'h Value {
    match completion {
        Completion::Ok { value, .. } | Completion::Fail { value, .. } | Completion::Info { value, .. } => {
            value
        }
    }
}

/// The reason in the completion, if it has one.
pub(crate) fn error<'h>(completion: Completion<'h>) -> Option<&'h Value> {
    match completion {
        Completion::Ok { .. } => None,
        Completion::Fail { error, .. } | Completion::Info { error, .. } => error,
    }
}

/// What the times of a history are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// Nanoseconds of a clock.
    Measured,
    /// The format has none; the position of the event stands for it.
    Positions,
}

impl Times {
    /// The times of these events.
    pub(crate) fn of(events: &[Event]) -> Times {
        let by_position = |event: &Event| event.time_ns == event.index;
        if !events.is_empty() && events.iter().all(by_position) { Times::Positions } else { Times::Measured }
    }

    /// A point in time.
    pub(crate) fn time(self, time: u64) -> String {
        match self {
            Times::Measured => self::time(time),
            Times::Positions => time.to_string(),
        }
    }

    /// A length of time.
    pub(crate) fn duration(self, duration: u64) -> String {
        match self {
            Times::Measured => self::duration(duration),
            Times::Positions => plural(duration, "event"),
        }
    }

    /// When an operation was over; one of unknown outcome is never over, even when its client has
    /// given up.
    pub(crate) fn end(self, completion: Completion<'_>) -> String {
        match completion {
            Completion::Info { time_ns: Some(time), .. } => {
                format!("open (given up at {})", self.time(time))
            }
            Completion::Info { time_ns: None, .. } => "open".to_owned(),
            Completion::Ok { time_ns, .. } | Completion::Fail { time_ns, .. } => self.time(time_ns),
        }
    }
}

/// A point in time: seconds since the start, to the microsecond.
fn time(time_ns: u64) -> String {
    format!("{}.{:06} s", time_ns / 1_000_000_000, time_ns % 1_000_000_000 / 1_000)
}

/// A length of time, to three digits: `830 µs`, `5.12 ms`, `1.20 s`.
fn duration(duration_ns: u64) -> String {
    let (unit_ns, unit) = match duration_ns {
        0..1_000 => return format!("{duration_ns} ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let amount = duration_ns as f64 / unit_ns;
    let digits = if amount >= 100.0 {
        0
    } else if amount >= 10.0 {
        1
    } else {
        2
    };
    format!("{amount:.digits$} {unit}")
}

/// A count with its thousands set apart: `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 key`, `2 keys`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// The text if it has at most `limit` characters, or its beginning and how much was left out.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(limit).collect();
    format!("{beginning}… ({} more characters)", length - limit)
}

/// Text from outside without control characters: they could move a terminal's cursor, and XML forbids most of them.
pub(crate) fn clean(text: &str) -> String {
    let forbidden =
        |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}');
    text.chars().map(|c| if forbidden(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use labrys_history::{EventKind, Process};

    use super::*;

    /// An operation that ended so, with what its completion carried; `None`: it is open.
    fn events(f: &str, value: Value, end: Option<(EventKind, Value)>) -> (Event, Option<Event>) {
        let event = |index, kind, value| Event::new(index, index, Process::Client(0), kind, f, value);
        (event(0, EventKind::Invoke, value), end.map(|(kind, value)| event(1, kind, value)))
    }

    #[test]
    fn labels_say_what_was_asked_what_came_back_and_how_it_ended() {
        let pair = Value::vector([Value::Int(1), Value::Int(2)]);
        let ok = |value| Some((EventKind::Ok, value));
        let fail = Some((EventKind::Fail, Value::Nil));
        let cases = [
            (events("read", Value::Nil, ok(Value::Int(1))), "r → 1", "read → 1"),
            (events("read", Value::Nil, ok(Value::Nil)), "r → nil", "read → nil"),
            (events("write", Value::Int(3), ok(Value::Int(3))), "w 3", "write 3"),
            (events("write", Value::Int(3), ok(Value::Nil)), "w 3", "write 3"),
            (events("cas", pair.clone(), fail), "cas 1→2 ✗", "cas 1 → 2 ✗"),
            (events("cas", pair, None), "cas 1→2 ?", "cas 1 → 2 ?"),
            (events("enqueue", Value::Int(9), ok(Value::Nil)), "enqueue 9", "enqueue 9"),
            (events("dequeue", Value::Nil, ok(Value::Int(9))), "dequeue → 9", "dequeue → 9"),
        ];
        for ((invocation, completion), short, long) in cases {
            let operation = Operation::new(&invocation, completion.as_ref()).unwrap();
            assert_eq!((label(&operation).as_str(), sentence(&operation).as_str()), (short, long));
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1_000, 1_234_567].map(count).each_ref().map(|s| &**s)
        );
        assert_eq!(time(12_345_678_912), "12.345678 s");
        assert_eq!(duration(830_400), "830 µs");
        assert_eq!(duration(5_123_000), "5.12 ms");
        assert_eq!(duration(12_300_000_000), "12.3 s");
        assert_eq!(shortened("äöü", 2), "äö… (1 more characters)");
    }
}
