//! A mini language for histories: statements separated by `;`, each at the next moment, or, with a leading `=`, at the same.
//!
//! | statement | event |
//! | --- | --- |
//! | `0 inv w1`, `0 inv r`, `0 inv c1>2` | process 0 invokes write 1, read, cas 1 → 2 |
//! | `0 ok`, `0 ok 3`, `0 ok nil` | it completes, a read with a value |
//! | `0 fail`, `0 fail timeout` | it fails as the invocation was, or with an error |
//! | `0 info` | nobody knows |
//!
//! A function with a key is `a:w1`.

use std::collections::BTreeMap;

use labrys_history::{Event, EventKind, History, Process, Value};

/// The history that `text` says.
pub fn history(text: &str) -> History {
    let mut open: BTreeMap<u64, Event> = BTreeMap::new();
    let mut events: Vec<Event> = Vec::new();
    for statement in text.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        let (is_same_moment, statement) = match statement.strip_prefix('=') {
            Some(rest) => (true, rest.trim()),
            None => (false, statement),
        };
        let last_ns = events.last().map_or(0, |event| event.time_ns);
        let time_ns = if is_same_moment { last_ns } else { last_ns + 1 };
        let words: Vec<&str> = statement.split_whitespace().collect();
        let process: u64 = words[0].parse().unwrap_or_else(|_| panic!("no process in {statement:?}"));
        let mut event = if words[1] == "inv" {
            invocation(words[2])
        } else {
            completion(&open.remove(&process).expect("an open operation"), words[1], words.get(2).copied())
        };
        (event.index, event.time_ns, event.process) =
            (events.len() as u64, time_ns, Process::Client(process));
        if event.kind == EventKind::Invoke {
            open.insert(process, event.clone());
        }
        events.push(event);
    }
    History::from_validated(events)
}

fn invocation(word: &str) -> Event {
    let (key, call) = match word.split_once(':') {
        Some((key, call)) => (Some(Value::from(key)), call),
        None => (None, word),
    };
    let (f, value) = match call.split_at(1) {
        ("r", "") => ("read", Value::Nil),
        ("w", argument) => ("write", value(argument)),
        ("c", arguments) if arguments.contains('>') => {
            let pair = arguments.split('>').map(value).collect();
            ("cas", Value::Vector(pair))
        }
        _ => (call, Value::Nil),
    };
    let mut event = Event::new(0, 0, Process::Client(0), EventKind::Invoke, f, value);
    event.key = key;
    event
}

fn completion(invoked: &Event, kind: &str, word: Option<&str>) -> Event {
    let mut event = invoked.clone();
    event.kind = match kind {
        "ok" => EventKind::Ok,
        "fail" => EventKind::Fail,
        "info" => EventKind::Info,
        other => panic!("no such kind: {other}"),
    };
    match (event.kind, word) {
        (EventKind::Ok, Some(word)) => event.value = value(word),
        (_, Some(word)) => event = event.with_error(Some(Value::keyword(word))),
        (_, None) => {}
    }
    event
}

fn value(word: &str) -> Value {
    if word == "nil" { Value::Nil } else { Value::Int(word.parse().expect("a number or nil")) }
}
