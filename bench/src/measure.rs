//! Row by row: measured once, shown at once.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use labrys_checker::models::MODELS;
use labrys_checker::verdict::Validity;
use serde::Serialize;

use crate::against::{Rivals, Run};
use crate::jobs;
use crate::options::CheckOptions;
use crate::row_process::{Checked, Job, Reply};
use crate::rows::{Axis, Bound, Row, Series, Target};
use crate::table::{self, Table};

/// What is known of a row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    pub row: Row,
    /// None: it was not measured.
    pub validity: Option<Validity>,
    /// Why it is unknown, or was not measured.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// None as well if the process did not come to an end by itself.
    pub checked: Option<Checked>,
    /// By the commands of `--against`, our own first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<Run>,
}

impl Measurement {
    fn without_verdict(row: &Row, validity: Option<Validity>, note: impl Into<String>) -> Measurement {
        Measurement { row: *row, validity, note: note.into(), checked: None, against: Vec::new() }
    }

    /// Whether it contradicts what the history was made to be.
    pub fn is_wrong(&self) -> bool {
        let contradicted =
            if self.row.stale_at_per_cent.is_some() { Validity::Valid } else { Validity::Invalid };
        self.validity == Some(contradicted)
    }

    /// The time, if there is a verdict.
    pub fn decided_ms(&self) -> Option<f64> {
        let is_decided = matches!(self.validity, Some(Validity::Valid | Validity::Invalid));
        self.checked.as_ref().filter(|_| is_decided).map(|checked| checked.milliseconds)
    }

    /// Whether `bound` was kept; none if the row was not measured, or ended at the time limit of `time_limit` where it was
    /// about the memory.
    pub fn keeps(&self, bound: &Bound, time_limit: Duration) -> Option<bool> {
        self.validity?;
        let Some(checked) = &self.checked else { return Some(false) };
        let is_unknown = self.validity == Some(Validity::Unknown);
        Some(match *bound {
            Bound::Decided { milliseconds, megabytes } => {
                let is_small = megabytes.is_none_or(|megabytes| checked.peak_bytes as f64 / 1e6 < megabytes);
                is_small && !self.is_wrong() && self.decided_ms().is_some_and(|ms| ms < milliseconds)
            }
            Bound::MemoryLimit { .. } if checked.milliseconds >= time_limit.as_secs_f64() * 1e3 => {
                return None;
            }
            Bound::MemoryLimit { bytes } => is_unknown && checked.own_bytes() as f64 <= 1.2 * bytes as f64,
            Bound::DecidedOrTimeLimit { milliseconds } => {
                !self.is_wrong() && checked.milliseconds <= 1.2 * milliseconds as f64
            }
            Bound::TimeLimit { milliseconds } => {
                let limit_ms = milliseconds as f64;
                is_unknown && (limit_ms..=1.2 * limit_ms).contains(&checked.milliseconds)
            }
        })
    }
}

impl Checked {
    /// What the check added to the memory of the process.
    pub fn own_bytes(&self) -> u64 {
        self.peak_bytes.saturating_sub(self.loaded_bytes)
    }
}

/// What [`Report::results`] has.
#[derive(Serialize)]
struct Results {
    schema: u32,
    labrys_version: &'static str,
    machine: String,
    seed: u64,
    row_time_limit_ms: u128,
    row_memory_limit_bytes: usize,
    against: Vec<String>,
    series: Vec<SeriesResult>,
    targets: Vec<TargetResult>,
}

#[derive(Serialize)]
struct SeriesResult {
    along: Axis,
    rows: Vec<SeriesRow>,
}

#[derive(Serialize)]
struct SeriesRow {
    #[serde(flatten)]
    measurement: Measurement,
    slope: Option<f64>,
}

#[derive(Serialize)]
struct TargetResult {
    bound: String,
    met: Option<bool>,
    #[serde(flatten)]
    measurement: Measurement,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// As data: `schema`, `machine`, `seed`, `series` and `targets` with their rows.
    pub results: serde_json::Value,
    /// As it was printed.
    pub table: String,
    /// Whether a verdict contradicts what its history was made to be.
    pub is_wrong: bool,
}

/// Measures everything that was asked for and prints it.
pub(crate) fn all(options: &CheckOptions, series: &[Series], targets: &[Target]) -> anyhow::Result<Report> {
    let rows = series.iter().map(|series| series.rows.len()).sum::<usize>() + targets.len();
    let mut bench = Session::new(options, rows)?;
    let mut results = Results {
        schema: 1,
        labrys_version: env!("CARGO_PKG_VERSION"),
        machine: table::machine(),
        seed: options.seed,
        row_time_limit_ms: options.time_limit().as_millis(),
        row_memory_limit_bytes: options.memory_limit_bytes(),
        against: bench.rivals.as_ref().map_or_else(Vec::new, |rivals| rivals.commands().to_vec()),
        series: Vec::new(),
        targets: Vec::new(),
    };
    bench.table.begin(&results.machine, options.seed, &results.against);
    for series in series {
        results.series.push(bench.series(series)?);
    }
    if !targets.is_empty() {
        bench.table.begin_targets();
    }
    for target in targets {
        results.targets.push(bench.target(target)?);
    }
    bench.bar.finish_and_clear();
    let in_series = results.series.iter().flat_map(|series| series.rows.iter().map(|row| &row.measurement));
    let all = in_series.chain(results.targets.iter().map(|target| &target.measurement));
    let is_wrong = all.filter(|measurement| measurement.is_wrong()).count() > 0;
    Ok(Report { results: serde_json::to_value(&results)?, table: bench.table.into_text(), is_wrong })
}

/// A run of the bench.
struct Session<'a> {
    options: &'a CheckOptions,
    rivals: Option<Rivals>,
    interrupted: Arc<AtomicBool>,
    bar: ProgressBar,
    table: Table,
    /// Rows can stand in several series.
    measured: BTreeMap<Row, Measurement>,
}

impl<'a> Session<'a> {
    fn new(options: &'a CheckOptions, rows: usize) -> anyhow::Result<Session<'a>> {
        let rivals = (!options.against.is_empty()).then(|| {
            let (time_limit, memory_limit_bytes) = (options.time_limit(), options.memory_limit_bytes());
            Rivals::new(&options.against, options.against_format, time_limit, memory_limit_bytes)
        });
        let bar = ProgressBar::new(rows as u64);
        // A constant of ours; a malformed one would show in the first run.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Session {
            options,
            rivals: rivals.transpose()?,
            interrupted: jobs::interrupted()?,
            table: Table::new(bar.clone(), options.json),
            bar,
            measured: BTreeMap::new(),
        })
    }

    fn series(&mut self, series: &Series) -> anyhow::Result<SeriesResult> {
        self.table.begin_series(series);
        let mut rows: Vec<SeriesRow> = Vec::with_capacity(series.rows.len());
        let mut is_exhausted = false;
        let commands = self.rivals.as_ref().map_or(0, |rivals| rivals.commands().len());
        let mut exhausted = vec![false; commands];
        for row in &series.rows {
            self.progress(row);
            let measurement = match self.measured.get(row) {
                Some(measurement) => measurement.clone(),
                None if is_exhausted => {
                    Measurement::without_verdict(row, None, "skipped: the row before it ended as unknown")
                }
                None => {
                    let (time_limit, memory_limit) =
                        (self.options.time_limit(), self.options.memory_limit_bytes());
                    let mut measurement = self.judge(row, time_limit, memory_limit)?;
                    if let (Some(rivals), Some(_)) = (&self.rivals, measurement.validity) {
                        measurement.against =
                            rivals.run(row, self.options.seed, &exhausted, &self.interrupted)?;
                    }
                    self.measured.insert(*row, measurement.clone());
                    measurement
                }
            };
            is_exhausted |= measurement.validity == Some(Validity::Unknown);
            for (is_exhausted, run) in exhausted.iter_mut().zip(&measurement.against) {
                *is_exhausted |= run.gave_up();
            }
            let slope = rows.last().and_then(|before| slope(series.along, &before.measurement, &measurement));
            self.table.series_row(&measurement, slope);
            rows.push(SeriesRow { measurement, slope });
            self.bar.inc(1);
        }
        Ok(SeriesResult { along: series.along, rows })
    }

    fn target(&mut self, target: &Target) -> anyhow::Result<TargetResult> {
        self.progress(&target.row);
        let (mut time_limit, mut memory_limit_bytes) =
            (self.options.time_limit(), self.options.memory_limit_bytes());
        match target.bound {
            Bound::Decided { .. } => {}
            Bound::MemoryLimit { bytes } => memory_limit_bytes = bytes,
            Bound::TimeLimit { milliseconds } | Bound::DecidedOrTimeLimit { milliseconds } => {
                time_limit = Duration::from_millis(milliseconds);
            }
        }
        let measurement = self.judge(&target.row, time_limit, memory_limit_bytes)?;
        let met = measurement.keeps(&target.bound, time_limit);
        self.table.target_row(&measurement, &target.bound, met);
        self.bar.inc(1);
        Ok(TargetResult { bound: target.bound.to_string(), met, measurement })
    }

    fn progress(&self, row: &Row) {
        self.bar.set_message(row.to_string());
        if !std::io::stderr().is_terminal() {
            let (position, rows) = (self.bar.position() + 1, self.bar.length().unwrap_or(0));
            eprintln!("{position}/{rows} {row}");
        }
    }

    fn judge(
        &self,
        row: &Row,
        time_limit: Duration,
        memory_limit_bytes: usize,
    ) -> anyhow::Result<Measurement> {
        let model = row.kind.model();
        if MODELS.iter().all(|entry| entry.name != model) {
            let note = format!("skipped: there is no model {model}");
            return Ok(Measurement::without_verdict(row, None, note));
        }
        let job = Job::Check { row: *row, seed: self.options.seed, time_limit, memory_limit_bytes };
        // The check should end by itself.
        let patience = time_limit * 3 / 2 + Duration::from_secs(5);
        Ok(match jobs::carry_out(&job, patience, &self.interrupted)? {
            Ok(Reply::Checked(checked)) => Measurement {
                row: *row,
                validity: Some(checked.validity),
                note: if checked.validity == Validity::Unknown {
                    checked.reason.clone()
                } else {
                    String::new()
                },
                checked: Some(checked),
                against: Vec::new(),
            },
            Ok(Reply::Failed(reason)) => {
                Measurement::without_verdict(row, None, format!("not measured: {reason}"))
            }
            Ok(other) => Measurement::without_verdict(row, None, format!("not measured: {other:?}")),
            Err(ended) => Measurement::without_verdict(row, Some(Validity::Unknown), ended.in_words()),
        })
    }
}

/// The exponent of growth from one row to the next.
fn slope(along: Axis, before: &Measurement, after: &Measurement) -> Option<f64> {
    let (before_ms, after_ms) = (before.decided_ms()?, after.decided_ms()?);
    let growth = along.of(&after.row) / along.of(&before.row);
    let slope = (after_ms / before_ms).ln() / growth.ln();
    (along != Axis::Crashed && slope.is_finite()).then_some(slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{sweep, targets};

    const LONG: Duration = Duration::from_secs(60);

    fn measured(row: Row, validity: Validity, milliseconds: f64, own_megabytes: u64) -> Measurement {
        let checked = Checked {
            validity,
            reason: String::new(),
            algorithm: "search".to_owned(),
            milliseconds,
            first_milliseconds: milliseconds,
            cpu_milliseconds: milliseconds,
            rounds: 1,
            loaded_bytes: 10_000_000,
            peak_bytes: 10_000_000 + own_megabytes * 1_000_000,
        };
        Measurement {
            row,
            validity: Some(validity),
            note: String::new(),
            checked: Some(checked),
            against: Vec::new(),
        }
    }

    #[test]
    fn the_slope_is_the_exponent_and_only_between_verdicts() {
        let rows = &sweep(false)[0].rows;
        let slope_of = |before: f64, after: Measurement| {
            slope(Axis::Operations, &measured(rows[1], Validity::Valid, before, 1), &after)
        };
        // Ten times the operations, a hundred times the time.
        let quadratic = slope_of(2.0, measured(rows[2], Validity::Valid, 200.0, 1)).unwrap();
        assert!((quadratic - 2.0).abs() < 1e-9, "{quadratic}");
        assert_eq!(slope_of(2.0, measured(rows[2], Validity::Unknown, 200.0, 1)), None);
    }

    #[test]
    fn a_bound_is_kept_by_a_right_verdict_in_time_and_memory() {
        let row = targets()[0].row;
        let bound = Bound::Decided { milliseconds: 50.0, megabytes: Some(100.0) };
        assert_eq!(measured(row, Validity::Valid, 49.0, 80).keeps(&bound, LONG), Some(true));
        assert_eq!(measured(row, Validity::Valid, 51.0, 80).keeps(&bound, LONG), Some(false));
        assert_eq!(measured(row, Validity::Valid, 49.0, 91).keeps(&bound, LONG), Some(false));
        assert_eq!(measured(row, Validity::Unknown, 49.0, 80).keeps(&bound, LONG), Some(false));
        let wrong = measured(row, Validity::Invalid, 49.0, 80);
        assert!(wrong.is_wrong());
        assert_eq!(wrong.keeps(&bound, LONG), Some(false));
        assert_eq!(Measurement::without_verdict(&row, None, "skipped").keeps(&bound, LONG), None);
        let killed = Measurement::without_verdict(&row, Some(Validity::Unknown), "killed");
        assert_eq!(killed.keeps(&bound, LONG), Some(false));
    }

    #[test]
    fn a_limit_holds_if_it_ends_as_unknown_and_not_much_later() {
        let row = targets()[0].row;
        let memory = Bound::MemoryLimit { bytes: 50_000_000 };
        assert_eq!(measured(row, Validity::Unknown, 9.0, 60).keeps(&memory, LONG), Some(true));
        assert_eq!(measured(row, Validity::Unknown, 9.0, 61).keeps(&memory, LONG), Some(false));
        assert_eq!(measured(row, Validity::Valid, 9.0, 1).keeps(&memory, LONG), Some(false));
        // It ended because of the time, which shows nothing of the memory limit.
        assert_eq!(measured(row, Validity::Unknown, 60_000.0, 1).keeps(&memory, LONG), None);
        let time = Bound::TimeLimit { milliseconds: 1_000 };
        assert_eq!(
            measured(row, Validity::Unknown, 1_150.0, 9).keeps(&time, Duration::from_secs(1)),
            Some(true)
        );
        assert_eq!(
            measured(row, Validity::Unknown, 1_201.0, 9).keeps(&time, Duration::from_secs(1)),
            Some(false)
        );
        // It ended for another reason.
        assert_eq!(
            measured(row, Validity::Unknown, 900.0, 9).keeps(&time, Duration::from_secs(1)),
            Some(false)
        );
        let either = Bound::DecidedOrTimeLimit { milliseconds: 1_000 };
        let keeps = |validity, ms| measured(row, validity, ms, 9).keeps(&either, Duration::from_secs(1));
        assert_eq!(
            (keeps(Validity::Valid, 2.0), keeps(Validity::Unknown, 1_150.0)),
            (Some(true), Some(true))
        );
        assert_eq!(
            (keeps(Validity::Invalid, 2.0), keeps(Validity::Unknown, 1_201.0)),
            (Some(false), Some(false))
        );
    }
}
