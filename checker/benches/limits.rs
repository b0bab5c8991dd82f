//! Whether limits hold on hard histories with small and large states: `cargo bench -p labrys-checker --bench limits [-- NAME [MIB [MS]]]`
//! prints, for each history by that name, the verdict, how long it took, and the most memory that the process ever held
//! (Linux; of all rows so far, so ask for one at a time), with the history's.

use std::time::{Duration, Instant};

use labrys_checker::linearizable::Algorithm;
use labrys_checker::verdict::{Evidence, Validity};
use labrys_checker::{Budget, CheckConfig, check};
use labrys_history::{Event, EventKind, History, Process, Value};

/// Operations of `clients` clients that are always busy, each overlapping the others: `value` is the argument and the answer of each.
fn busy(
    f: &str,
    operations: u64,
    clients: u64,
    value: impl Fn(u64) -> Value,
) -> Vec<(u64, EventKind, u64, String, Value)> {
    let mut events = Vec::new();
    for number in 0..operations {
        let (client, at) = (number % clients, number * 10);
        events.push((at, EventKind::Invoke, client, f.to_owned(), value(number)));
        events.push((at + 10 * clients - 5, EventKind::Ok, client, f.to_owned(), value(number)));
    }
    events
}

fn with_last(
    mut events: Vec<(u64, EventKind, u64, String, Value)>,
    f: &str,
    argument: Value,
    answer: Value,
) -> History {
    events.sort_by_key(|event| event.0);
    let end = events.last().map_or(0, |event| event.0);
    events.push((end + 1, EventKind::Invoke, 0, f.to_owned(), argument));
    events.push((end + 2, EventKind::Ok, 0, f.to_owned(), answer));
    let events = (0..).zip(events).map(|(index, (time, kind, client, f, value))| {
        Event::new(index, time, Process::Client(client), kind, &*f, value)
    });
    History::from_validated(events.collect())
}

/// A history that cannot be linearized, by name, with its model.
fn history(name: &str) -> (&'static str, History) {
    let pair = |value: Value| Value::vector([Value::Int(0), value]);
    let text = |n: u64| pair(Value::string(char::from(b'a' + (n % 26) as u8).to_string().repeat(1 << 10)));
    let number = |n: u64| Value::Int(n as i64);
    match name {
        "kv-at-once" => {
            ("kv", with_last(busy("append", 20, 20, text), "get", pair(Value::Nil), pair(Value::string("x"))))
        }
        "kv-long" => (
            "kv",
            with_last(busy("append", 1_500, 1, text), "get", pair(Value::Nil), pair(Value::string("x"))),
        ),
        "kv-busy" => (
            "kv",
            with_last(busy("append", 1_500, 8, text), "get", pair(Value::Nil), pair(Value::string("x"))),
        ),
        "list-busy" => {
            let wrong: Vec<Value> = (1..5_000).map(number).chain([number(0)]).collect();
            ("list", with_last(busy("append", 5_000, 12, number), "read", Value::Nil, Value::vector(wrong)))
        }
        "queue-busy" => {
            let few = |n: u64| Value::Int(n as i64 % 7);
            ("queue", with_last(busy("enqueue", 5_000, 12, few), "dequeue", Value::Nil, Value::Int(-1)))
        }
        "cas-at-once" => {
            let cas =
                |n: u64| Value::vector([Value::Int(n as i64 % 60), Value::Int((n as i64 * 11 + 1) % 60)]);
            let mut events = busy("write", 60, 120, |n| number(n % 60));
            events.extend(
                busy("cas", 60, 120, cas)
                    .into_iter()
                    .map(|(at, kind, client, f, value)| (at, kind, client + 60, f, value)),
            );
            ("cas-register", with_last(events, "read", Value::Nil, Value::Int(-1)))
        }
        "unique-million" => {
            ("register", with_last(busy("write", 1_000_000, 10, number), "read", Value::Nil, number(5)))
        }
        other => panic!("{other}: one of {NAMES:?}"),
    }
}

const NAMES: [&str; 7] =
    ["kv-at-once", "kv-long", "kv-busy", "list-busy", "queue-busy", "cas-at-once", "unique-million"];

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

/// The most memory that this process ever held, in MiB.
#[expect(clippy::disallowed_methods, reason = "a bench measures memory")]
fn peak_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 10
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let name = arguments.next();
    let mut number = |usual: u64| arguments.next().map_or(usual, |text| text.parse().expect("a number"));
    let (mebibytes, milliseconds) = (number(64), number(1_000));
    for &name in NAMES.iter().filter(|&&other| name.as_ref().is_none_or(|name| name == other)) {
        let (model, history) = history(name);
        let before = peak_mebibytes();
        let start = now();
        let clock = move || start.elapsed();
        let budget = Budget::unlimited()
            .with_time_limit(&clock, Duration::from_millis(milliseconds))
            .with_memory_limit_bytes((mebibytes as usize) << 20);
        let mut config = CheckConfig::linearizable(model, None).expect("a model of the table").within(budget);
        config.context.algorithm =
            if name == "unique-million" { Algorithm::Auto } else { Algorithm::General };
        let verdict = check(&history, &config).expect("a history of that model");
        let elapsed_ms = start.elapsed().as_secs_f64() * 1e3;
        let word = match verdict.validity {
            Validity::Valid => "VALID",
            Validity::Unknown => "unknown",
            Validity::Invalid => "invalid",
        };
        println!("{name:<15} {word:<8} {elapsed_ms:>8.0} ms, {:>5} MiB, {before} before", peak_mebibytes());
        println!("    {}", verdict.checks[0].reason.chars().take(140).collect::<String>());
        for evidence in verdict.checks[0].partitions.iter().flat_map(|partition| &partition.evidence) {
            if let Evidence::NonLinearizable(evidence) = evidence {
                evidence.cut_short.iter().for_each(|cut| println!("    {:?}: {}", cut.part, cut.reason));
            }
        }
    }
}
