//! What `labrys bench check` measures: kinds of histories, rows, the series of the sweep, and the targets.

use std::fmt;

use labrys_checker::linearizable::Algorithm;
use labrys_synthetic::{Object, Recipe, Values};
use serde::{Deserialize, Serialize};

/// A kind of histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A register; every write has a value of its own.
    Unique,
    /// A register of five values with compare-and-set.
    Five,
    /// Thirty such registers with keys of their own.
    Keyed,
    /// A queue.
    Queue,
    /// The same, by the general search alone.
    QueueSearch,
    /// A register of a hundred values: no polynomial algorithm applies, and no table of few states.
    Hundred,
}

impl Kind {
    /// The word in the names of rows.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unique => "unique",
            Kind::Five => "five",
            Kind::Keyed => "keyed",
            Kind::Queue => "queue",
            Kind::QueueSearch => "queue-search",
            Kind::Hundred => "hundred",
        }
    }

    /// The model that judges it.
    pub fn model(self) -> &'static str {
        match self {
            Kind::Unique | Kind::Hundred => "register",
            Kind::Five | Kind::Keyed => "cas-register",
            Kind::Queue | Kind::QueueSearch => "queue",
        }
    }

    /// The algorithm that judges it.
    pub fn algorithm(self) -> Algorithm {
        if self == Kind::QueueSearch { Algorithm::General } else { Algorithm::Auto }
    }

    fn object(self) -> Object {
        match self {
            Kind::Unique => Object::Register { values: Values::Unique, has_cas: false },
            Kind::Five | Kind::Keyed => Object::Register { values: Values::Below(5), has_cas: true },
            Kind::Hundred => Object::Register { values: Values::Below(100), has_cas: false },
            Kind::Queue | Kind::QueueSearch => Object::Queue,
        }
    }
}

/// One history to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// What kind of history.
    pub kind: Kind,
    /// Number of operations.
    pub operations: usize,
    /// Number of clients.
    pub clients: usize,
    /// Of a thousand operations that write so many crash.
    pub crashed_per_mille: u32,
    /// Where, in per cent of the history, an answer is wrong: a stale read, an element that overtakes. None if it is valid.
    pub stale_at_per_cent: Option<u32>,
}

impl Row {
    /// How its history is made.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            object: self.kind.object(),
            operations: self.operations,
            clients: self.clients,
            keys: if self.kind == Kind::Keyed { 30 } else { 1 },
            crashed_per_mille: self.crashed_per_mille,
            violation_at_per_cent: self.stale_at_per_cent,
        }
    }

    /// Whether `filter` chooses it: every word of the filter is one of its name, or `stale`.
    pub fn is_chosen_by(&self, filter: &str) -> bool {
        let name = self.to_string();
        filter.split_whitespace().all(|word| {
            name.split(' ').any(|own| own == word) || word == "stale" && self.stale_at_per_cent.is_some()
        })
    }
}

/// The name: `unique ops=10000 clients=40 crashed=0% stale=50%`.
impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let crashed = f64::from(self.crashed_per_mille) / 10.0;
        let (kind, operations, clients) = (self.kind.name(), self.operations, self.clients);
        write!(formatter, "{kind} ops={operations} clients={clients} crashed={crashed}% ")?;
        match self.stale_at_per_cent {
            Some(per_cent) => write!(formatter, "stale={per_cent}%"),
            None => formatter.write_str("valid"),
        }
    }
}

/// What grows from row to row of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// Number of operations.
    Operations,
    /// Number of clients.
    Clients,
    /// Share of crashed operations.
    Crashed,
}

impl Axis {
    /// How far along it a row is.
    pub fn of(self, row: &Row) -> f64 {
        match self {
            Axis::Operations => row.operations as f64,
            Axis::Clients => row.clients as f64,
            Axis::Crashed => f64::from(row.crashed_per_mille),
        }
    }
}

/// Rows that differ in one thing.
#[derive(Clone, Debug)]
pub struct Series {
    /// The thing.
    pub along: Axis,
    /// From the smallest to the largest.
    pub rows: Vec<Row>,
}

/// The sizes of a kind's sweep.
struct Sizes {
    kind: Kind,
    operations: &'static [usize],
    operations_at_clients: usize,
    clients: &'static [usize],
    clients_at_operations: usize,
    crashed: &'static [u32],
    crashed_at: (usize, usize),
    stale: &'static [Option<u32>],
}

const STALE: &[Option<u32>] = &[None, Some(50), Some(90)];
const QUICK_STALE: &[Option<u32>] = &[None, Some(90)];

const FULL: &[Sizes] = &[
    Sizes {
        kind: Kind::Unique,
        operations: &[200, 1_000, 10_000, 100_000, 1_000_000],
        operations_at_clients: 10,
        clients: &[2, 5, 10, 20, 40],
        clients_at_operations: 10_000,
        crashed: &[0, 10, 20, 50],
        crashed_at: (2_000, 10),
        stale: STALE,
    },
    Sizes {
        kind: Kind::Five,
        operations: &[200, 1_000, 10_000, 100_000, 1_000_000],
        operations_at_clients: 5,
        clients: &[2, 5, 10, 15, 20, 30, 40],
        clients_at_operations: 1_000,
        crashed: &[0, 10, 20, 50],
        crashed_at: (2_000, 10),
        stale: STALE,
    },
    Sizes {
        kind: Kind::Keyed,
        operations: &[10_000, 100_000, 1_000_000],
        operations_at_clients: 10,
        clients: &[2, 10, 40],
        clients_at_operations: 60_000,
        crashed: &[0, 10, 20, 50],
        crashed_at: (60_000, 10),
        stale: STALE,
    },
    Sizes {
        kind: Kind::Queue,
        operations: &[200, 1_000, 10_000, 100_000, 1_000_000],
        operations_at_clients: 10,
        clients: &[2, 5, 10, 20, 40],
        clients_at_operations: 10_000,
        crashed: &[0, 10, 20, 50],
        crashed_at: (2_000, 10),
        stale: STALE,
    },
];

const QUICK: &[Sizes] = &[
    Sizes {
        kind: Kind::Unique,
        operations: &[1_000, 10_000, 100_000],
        operations_at_clients: 10,
        clients: &[10, 40],
        clients_at_operations: 10_000,
        crashed: &[0, 50],
        crashed_at: (2_000, 10),
        stale: QUICK_STALE,
    },
    Sizes {
        kind: Kind::Five,
        operations: &[1_000, 10_000, 100_000],
        operations_at_clients: 5,
        clients: &[10, 20, 40],
        clients_at_operations: 1_000,
        crashed: &[0, 50],
        crashed_at: (2_000, 10),
        stale: QUICK_STALE,
    },
    Sizes {
        kind: Kind::Keyed,
        operations: &[10_000, 100_000],
        operations_at_clients: 10,
        clients: &[10, 40],
        clients_at_operations: 60_000,
        crashed: &[0, 50],
        crashed_at: (60_000, 10),
        stale: QUICK_STALE,
    },
    Sizes {
        kind: Kind::Queue,
        operations: &[1_000, 10_000, 100_000],
        operations_at_clients: 10,
        clients: &[10, 40],
        clients_at_operations: 10_000,
        crashed: &[0, 50],
        crashed_at: (2_000, 10),
        stale: QUICK_STALE,
    },
];

/// The series of the sweep. A row can stand in several.
pub fn sweep(quick: bool) -> Vec<Series> {
    let sizes = if quick { QUICK } else { FULL };
    sizes.iter().flat_map(|sizes| sizes.stale.iter().flat_map(|&stale| sizes.series(stale))).collect()
}

impl Sizes {
    fn series(&self, stale_at_per_cent: Option<u32>) -> [Series; 3] {
        let row = |operations, clients, crashed_per_mille| Row {
            kind: self.kind,
            operations,
            clients,
            crashed_per_mille,
            stale_at_per_cent,
        };
        let by_operations = self.operations.iter().map(|&number| row(number, self.operations_at_clients, 0));
        let by_clients = self.clients.iter().map(|&number| row(self.clients_at_operations, number, 0));
        let (operations, clients) = self.crashed_at;
        let by_crashed = self.crashed.iter().map(|&share| row(operations, clients, share));
        [
            Series { along: Axis::Operations, rows: by_operations.collect() },
            Series { along: Axis::Clients, rows: by_clients.collect() },
            Series { along: Axis::Crashed, rows: by_crashed.collect() },
        ]
    }
}

/// What a row is to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// Decided within so many milliseconds, with a peak below so many MB (10^6 bytes; the whole process).
    Decided { milliseconds: f64, megabytes: Option<f64> },
    /// With this memory limit it ends as unknown, with a peak at most a fifth above it (without the history itself).
    MemoryLimit { bytes: usize },
    /// With this time limit it ends as unknown, at most a fifth after it.
    TimeLimit { milliseconds: u64 },
    /// With this time limit it is decided, or ends as unknown at most a fifth after it.
    DecidedOrTimeLimit { milliseconds: u64 },
}

/// The word for the bound, as the project has promised it.
impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Decided { milliseconds, megabytes: None } => write!(formatter, "< {milliseconds} ms"),
            Bound::Decided { milliseconds, megabytes: Some(megabytes) } => {
                write!(formatter, "< {milliseconds} ms, < {megabytes} MB")
            }
            Bound::MemoryLimit { bytes } => {
                write!(formatter, "limit {} MiB: unknown, + < 20%", bytes >> 20)
            }
            Bound::TimeLimit { milliseconds } => {
                write!(formatter, "limit {milliseconds} ms: unknown, + < 20%")
            }
            Bound::DecidedOrTimeLimit { milliseconds } => {
                write!(formatter, "limit {milliseconds} ms: decided, or unknown, + < 20%")
            }
        }
    }
}

/// A row with what it is to keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub row: Row,
    pub bound: Bound,
}

/// The figures that the project has promised (issue 3).
pub(crate) fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |kind, operations, clients, crashed_per_mille, stale: &[Option<u32>], bound| {
        targets.extend(stale.iter().map(|&stale_at_per_cent| Target {
            row: Row { kind, operations, clients, crashed_per_mille, stale_at_per_cent },
            bound,
        }));
    };
    let within = |milliseconds| Bound::Decided { milliseconds, megabytes: None };
    let within_both = |milliseconds, megabytes| Bound::Decided { milliseconds, megabytes: Some(megabytes) };
    add(Kind::Unique, 10_000, 40, 0, STALE, within(50.0));
    add(Kind::Unique, 1_000_000, 10, 0, QUICK_STALE, within_both(2_000.0, 400.0));
    add(Kind::Five, 1_000, 40, 0, STALE, within(1_000.0));
    add(Kind::Five, 100_000, 5, 0, STALE, within_both(300.0, 100.0));
    add(Kind::Unique, 2_000, 10, 50, &STALE[1..], within(200.0));
    add(Kind::Five, 2_000, 5, 50, &STALE[1..], within(200.0));
    add(Kind::Five, 2_000, 10, 50, &STALE[1..], within(200.0));
    add(Kind::Queue, 100_000, 10, 0, STALE, within(1_000.0));
    add(Kind::QueueSearch, 1_000, 5, 0, STALE, Bound::DecidedOrTimeLimit { milliseconds: 5_000 });
    add(Kind::Hundred, 2_000, 40, 0, &STALE[2..], Bound::MemoryLimit { bytes: 64 << 20 });
    add(Kind::Hundred, 2_000, 40, 0, &STALE[2..], Bound::TimeLimit { milliseconds: 1_000 });
    targets
}

#[cfg(test)]
mod tests {
    use labrys_seed::Seed;

    use super::*;

    #[test]
    fn a_filter_chooses_by_whole_words() {
        let row = targets()[0].row;
        assert_eq!(row.to_string(), "unique ops=10000 clients=40 crashed=0% valid");
        assert!(row.is_chosen_by("unique ops=10000"));
        assert!(!row.is_chosen_by("unique ops=1000"));
        assert!(!row.is_chosen_by("stale"));
        assert!(targets()[1].row.is_chosen_by("stale clients=40"));
        assert!(targets()[1].row.is_chosen_by("stale=50%"));
    }

    #[test]
    fn rows_of_a_series_differ_in_its_axis_and_grow() {
        for series in sweep(false).into_iter().chain(sweep(true)) {
            let along = series.along;
            assert!(series.rows.windows(2).all(|pair| along.of(&pair[0]) < along.of(&pair[1])), "{series:?}");
        }
    }

    #[test]
    fn every_row_that_is_not_large_has_a_history() {
        let series = sweep(false).into_iter().chain(sweep(true)).flat_map(|series| series.rows);
        let rows = series.chain(targets().into_iter().map(|target| target.row));
        for row in rows.filter(|row| row.operations <= 10_000) {
            assert!(row.recipe().history(Seed(1)).is_ok(), "{row}");
        }
    }
}
