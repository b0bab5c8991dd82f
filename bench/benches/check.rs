//! `cargo bench -p labrys-bench [FILTER]`: the small rows of the quick sweep with criterion, which remembers the last run and says
//! what has changed since. For memory, large histories and other checkers there is `labrys bench check`.
//!
//! Rows that are not decided within half a second are left out, visibly: a budget is not what is measured here.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use labrys_bench::rows::{Row, sweep};
use labrys_checker::verdict::Validity;
use labrys_checker::{Budget, CheckConfig, check};
use labrys_history::History;
use labrys_seed::Seed;

const SEED: Seed = Seed(1);
const LARGEST_OPERATIONS: usize = 10_000;
const PATIENCE: Duration = Duration::from_millis(500);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut rows: Vec<Row> = sweep(true).into_iter().flat_map(|series| series.rows).collect();
    rows.retain(|row| row.operations <= LARGEST_OPERATIONS);
    rows.sort_unstable();
    rows.dedup();
    for row in rows {
        measure(&mut criterion, &row);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, row: &Row) {
    let history = row.recipe().history(SEED).expect("a row has a history");
    if verdict(row, &history) == Validity::Unknown {
        eprintln!("{row}: left out, not decided within {PATIENCE:?}");
        return;
    }
    let mut group = criterion.benchmark_group(row.kind.name());
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(row.operations as u64));
    group.bench_function(row.to_string(), |bencher| bencher.iter(|| verdict(row, &history)));
    group.finish();
}

fn verdict(row: &Row, history: &History) -> Validity {
    let started = Instant::now();
    let clock = move || started.elapsed();
    let budget = Budget::unlimited().with_time_limit(&clock, PATIENCE);
    let config =
        CheckConfig::linearizable(row.kind.model(), None).expect("a model of the table").within(budget);
    check(history, &config).expect("a history of that model").validity
}
