//! How long the state machine takes for an entry, by itself.
//!
//! `cargo bench -p labrys-store --bench apply -- [ENTRIES]`. Each line: microseconds per entry, decoding, session and digest included.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::time::Instant;

use bytes::Bytes;
use labrys_raft::{Defects, Entry, LogIndex, Payload, Term};
use labrys_store::machine::{
    Body, Command, Machine, MachineOptions, Operation, Placement, SessionId, Stamped, Step, Transaction,
};

fn entry(number: u64, operation: Operation) -> Entry {
    let placement =
        Placement { session: SessionId(u128::from(number % 64)), sequence: number, established: false };
    let body = Body::Client(Command { placement, operation });
    let command = Stamped { time_ms: number, body }.encode().expect("a command can be encoded");
    Entry { term: Term(1), index: LogIndex(number), payload: Payload::Command(command) }
}

/// A key that is as good as random, of 100,000.
fn key(number: u64) -> Bytes {
    Bytes::from(format!("key-{:06}", number * 7_368_787 % 100_000))
}

fn measure(name: &str, count: u64, operation: impl Fn(u64) -> Operation) {
    let entries: Vec<Entry> = (1..=count).map(|number| entry(number, operation(number))).collect();
    let mut machine = Machine::new(MachineOptions::default(), Defects::NONE);
    let begun = Instant::now();
    for entry in &entries {
        machine.apply(entry);
    }
    let each = begun.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("{name}: {each:.2} µs ({} keys)", machine.key_count());
}

fn main() {
    let count = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(300_000);
    let value = Bytes::from(vec![b'x'; 256]);
    measure("put of 256 bytes", count, |number| Operation::put(key(number), value.clone()));
    measure("increment", count, |number| Operation::Step(Step::Increment { key: key(number), by: 1 }));
    measure("transaction of four steps", count, |number| {
        let put = |offset| Step::Put { key: key(number + offset), value: value.clone(), lease: None };
        let then = vec![put(0), Step::Get { key: key(number + 1) }, put(2), put(3)];
        Operation::Transaction(Transaction { then, ..Transaction::default() })
    });
}
