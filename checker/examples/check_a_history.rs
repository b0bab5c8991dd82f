//! A history made in Rust, judged: `cargo run -p labrys-checker --example check_a_history`.
//!
//! Two clients share a queue. Client 0 puts in 1 and then 2; client 1 takes out 2 although 1 came first.

use labrys_checker::{CheckConfig, check, verdict::Validity};
use labrys_history::{Event, EventKind, History, Process, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut events: Vec<Event> = Vec::new();
    let mut record = |time_ns, client, kind, f, value| {
        let index = events.len() as u64;
        events.push(Event::new(index, time_ns, Process::Client(client), kind, f, value));
    };
    record(10, 0, EventKind::Invoke, "enqueue", Value::Int(1));
    record(20, 0, EventKind::Ok, "enqueue", Value::Int(1));
    record(30, 0, EventKind::Invoke, "enqueue", Value::Int(2));
    record(35, 1, EventKind::Invoke, "dequeue", Value::Nil);
    record(40, 0, EventKind::Ok, "enqueue", Value::Int(2));
    record(50, 1, EventKind::Ok, "dequeue", Value::Int(2));
    let history =
        History::new(events).map_err(|(position, problem)| format!("event {position}: {problem}"))?;

    let verdict = check(&history, &CheckConfig::linearizable("queue", None)?)?;
    println!("{:?}: {}", verdict.validity, verdict.checks[0].reason);
    assert_eq!(verdict.validity, Validity::Invalid);
    Ok(())
}
