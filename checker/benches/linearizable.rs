//! How long the search takes on generated histories: `cargo bench -p labrys-checker --bench linearizable [-- FILTER [ALGORITHM [MIB [MS]]]]`
//! prints a table; the algorithm is general, depth or breadth, and the limits are of memory and time.
//!
//! Clients are always busy; a third of the operations are reads where there are no compare-and-sets. *unique*: every write
//! has a value of its own; *five*: five values with compare-and-set; *keyed*: five values on thirty keys. *stale*: one read
//! far back returns what was there long before. *hard*: as *five*, but forty reads return another of the five values, which something in flight
//! may have written; so it may be valid. A row that does not end within its budget says so.

use std::time::{Duration, Instant};

use labrys_checker::linearizable::Algorithm;
use labrys_checker::verdict::Validity;
use labrys_checker::{Budget, CheckConfig, check};
use labrys_history::Value;
use labrys_seed::Seed;

#[path = "../tests/checker/support/mod.rs"]
#[expect(dead_code, reason = "the bench needs the generator only")]
mod support;

use support::generate::{Shape, linearizable};
use support::{Call, Op, history_of};

const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Of a *hard* row.
const WRONG_READS: usize = 40;
const MEMORY_LIMIT_BYTES: usize = 1 << 30;

/// A row of the table.
struct Row {
    kind: &'static str,
    operations: usize,
    clients: usize,
    crashed_per_mille: u32,
    /// Where, in per cent of the history, a stale read stands; none if it is valid.
    stale_at: Option<usize>,
}

fn row(
    kind: &'static str,
    operations: usize,
    clients: usize,
    crashed_per_mille: u32,
    stale_at: Option<usize>,
) -> Row {
    Row { kind, operations, clients, crashed_per_mille, stale_at }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in ["unique", "five"] {
        for stale_at in [None, Some(50), Some(90)] {
            for clients in [5, 10, 15, 20, 40] {
                rows.push(row(kind, 1_000, clients, 0, stale_at));
            }
            rows.push(row(kind, 10_000, 10, 0, stale_at));
            rows.push(row(kind, 100_000, 5, 0, stale_at));
            rows.push(row(kind, 2_000, 5, 20, stale_at));
            rows.push(row(kind, 2_000, 10, 50, stale_at));
        }
    }
    for clients in [15, 20, 30, 40] {
        for stale_at in [30, 50, 70, 90] {
            rows.push(row("hard", 1_000, clients, 0, Some(stale_at)));
        }
    }
    // What the harness makes: 30 s at 2,000 operations a second on thirty keys.
    for stale_at in [None, Some(90)] {
        for crashed_per_mille in [0, 5, 20] {
            rows.push(row("keyed", 60_000, 10, crashed_per_mille, stale_at));
            rows.push(row("keyed", 60_000, 150, crashed_per_mille, stale_at));
        }
    }
    rows
}

fn generate(row: &Row) -> Vec<Op> {
    let mut rng = Seed(1).fork(row.kind).rng();
    let shape = Shape {
        operations: row.operations,
        values: if row.kind == "unique" { 0 } else { 5 },
        clients: row.clients,
        crashed_per_mille: row.crashed_per_mille,
        with_cas: row.kind != "unique",
        keys: if row.kind == "keyed" { 30 } else { 1 },
        coarseness: 1,
    };
    let mut ops = linearizable(shape, &mut rng);
    if let Some(per_cent) = row.stale_at {
        let from = ops.len() * per_cent / 100;
        let stale = ops[..from / 2].iter().find_map(|op| match op.call {
            Call::Write(value) if row.kind == "unique" => Some(value),
            _ => None,
        });
        if row.kind == "hard" {
            read_wrong(&mut ops, from);
            return ops;
        }
        let read =
            ops[from..].iter_mut().find(|op| matches!(op.call, Call::Read(_)) && op.completed.is_some());
        read.expect("a read behind that place").call = Call::Read(stale.unwrap_or(-1));
    }
    ops
}

/// The next reads from `from` on return another value than they did: each the one that the fewest of the operations in flight with
/// it may have written, but some. (One such read alone can always be explained where many clients are busy.)
fn read_wrong(ops: &mut [Op], from: usize) {
    let overlaps = |a: &Op, b: &Op| {
        a.completed.is_none_or(|end| end >= b.invoked) && b.completed.is_none_or(|end| end >= a.invoked)
    };
    let reads = (from..ops.len()).filter(|&position| matches!(ops[position].call, Call::Read(_)));
    for position in reads.take(WRONG_READS).collect::<Vec<_>>() {
        let writers = |value: i64| {
            let writes = |op: &&Op| matches!(op.call, Call::Write(new) | Call::Cas(_, new) if new == value);
            ops.iter().filter(writes).filter(|op| overlaps(op, &ops[position])).count()
        };
        let right = ops[position].call;
        let wrong = (0..5).filter(|&value| right != Call::Read(value) && writers(value) > 0);
        if let Some(value) = wrong.min_by_key(|&value| (writers(value), value)) {
            ops[position].call = Call::Read(value);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let filter = arguments.next();
    let algorithm = match arguments.next().as_deref() {
        None => Algorithm::Auto,
        Some("general") => Algorithm::General,
        Some("depth") => Algorithm::DepthFirst,
        Some("breadth") => Algorithm::BreadthFirst,
        Some(other) => panic!("{other}: general, depth or breadth"),
    };
    let mut number = || arguments.next().map(|text| text.parse::<u64>().expect("a number"));
    let memory = number().map_or(MEMORY_LIMIT_BYTES, |mebibytes| (mebibytes as usize) << 20);
    let limits = (memory, number().map_or(TIME_LIMIT, Duration::from_millis));
    println!(
        "{:<8} {:>9} {:>8} {:>8} {:>6}  {:<8} {:>10} {:>9} {:>15} {:>9}",
        "values",
        "ops",
        "clients",
        "crashed",
        "stale",
        "verdict",
        "ms",
        "ns/op",
        "configurations",
        "peak MiB"
    );
    for row in rows() {
        let stale = row.stale_at.map_or("-".to_owned(), |per_cent| format!("{per_cent}%"));
        let name =
            format!("{}/{}/{}/{}/{stale}", row.kind, row.operations, row.clients, row.crashed_per_mille);
        if filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        measure(&row, &stale, algorithm, limits);
    }
}

fn measure(row: &Row, stale: &str, algorithm: Algorithm, (memory, time): (usize, Duration)) {
    let (history, _) = history_of(&generate(row));
    let start = now();
    let clock = move || start.elapsed();
    let budget = Budget::unlimited().with_time_limit(&clock, time).with_memory_limit_bytes(memory);
    let mut config =
        CheckConfig::linearizable("cas-register", Some(Value::Int(0))).expect("a model of the table");
    config.context.algorithm = algorithm;
    let verdict = check(&history, &config.within(budget)).expect("a history of that model");
    let elapsed = start.elapsed();
    let total = |name: &str| -> u64 {
        verdict.checks[0].partitions.iter().filter_map(|part| part.statistics.get(name)?.as_u64()).sum()
    };
    let word = match verdict.validity {
        Validity::Valid => "valid",
        Validity::Unknown => "UNKNOWN",
        Validity::Invalid => "invalid",
    };
    println!(
        "{:<8} {:>9} {:>8} {:>7.1}% {:>6}  {:<8} {:>10.2} {:>9} {:>15} {:>9.1}",
        row.kind,
        row.operations,
        row.clients,
        f64::from(row.crashed_per_mille) / 10.0,
        stale,
        word,
        elapsed.as_secs_f64() * 1e3,
        elapsed.as_nanos() / row.operations as u128,
        total("configurations"),
        total("peak-bytes") as f64 / f64::from(1 << 20),
    );
}
