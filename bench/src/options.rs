//! The options of `labrys bench check`, and what they choose.

use std::time::Duration;

use labrys_history::Format;
use thiserror::Error;

use crate::measure::{self, Report};
use crate::rows;

const AFTER_HELP: &str = "\
The sweep: a register with unique values (unique), one of five values with compare-and-set (five), thirty of those (keyed), a
queue (queue); 200 to 1,000,000 operations, 2 to 40 clients that never rest, 0 to 5% of writes crashed; linearizable, or with one
wrong answer at 50% or 90% of the history. Then the rows for which the project has promised a figure, with the bound and
whether it was met. Histories are made from the seed, the same on every machine.

Each row is judged in a process of its own. ms is the check alone, without making the history: the best of up to 20 rounds
within 0.2 s; \"cpu ms\" is what all processors together spent on it. \"peak MB\" is the largest resident memory of the process, history included; \"own MB\" what the check added to it.
\"slope\" is the exponent of growth from the row before: 1 is linear, 2 quadratic. The rows of a series behind one that
ended as unknown are left out.

A command of --against gets the history as a file. Its time is that of the whole process, reading included; so labrys check
is run on the file as well, and the ratio is to that. Exit codes 0, 1 and 2 are valid, invalid and unknown.

Examples:
  labrys bench check --quick                             about a minute
  labrys bench check --targets                           only what was promised
  labrys bench check --only 'unique valid' --only 'five clients=40'
  labrys bench check --only queue --against 'porcupine-check --model {model} {}'

Exit codes: 0, however slow; 1 if a verdict is wrong; 255 if a process cannot be started, or at Ctrl-C.";

/// What is below the options in `--help`.
#[must_use]
pub fn after_help() -> &'static str {
    AFTER_HELP
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The options ask for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// A process could not be started, or the user has had enough.
    #[error(transparent)]
    Environment(#[from] anyhow::Error),
}

/// What to measure, and how far to go.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckOptions {
    /// A smaller sweep
    #[arg(long)]
    pub quick: bool,
    /// Only the rows for which the project has promised a figure
    #[arg(long)]
    pub targets: bool,
    /// Only rows whose name has all words of this: `unique`, `stale`, `clients=40` (repeatable: those of any)
    #[arg(long, value_name = "FILTER")]
    pub only: Vec<String>,
    /// The seed of all histories
    #[arg(long, value_name = "U64", default_value_t = 1)]
    pub seed: u64,
    /// How long a check may take before its row ends as unknown [default: 30s, with --quick 3s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub row_time_limit: Option<Duration>,
    /// How much memory a check may hold before its row ends as unknown, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4_096)]
    pub row_memory_limit: usize,
    /// Run this command of the shell on the same histories: {} is the file, {model} the model's name (repeatable)
    #[arg(long, value_name = "COMMAND")]
    pub against: Vec<String>,
    /// The format of the files for --against: edn, jsonl, porcupine
    #[arg(long, value_name = "FORMAT", default_value = "edn", value_parser = written_format)]
    pub against_format: Format,
    /// Only say which rows there are
    #[arg(long)]
    pub list: bool,
    /// Print the results as JSON on standard output, and the table on standard error
    #[arg(long)]
    pub json: bool,
}

impl CheckOptions {
    pub(crate) fn time_limit(&self) -> Duration {
        self.row_time_limit.unwrap_or(Duration::from_secs(if self.quick { 3 } else { 30 }))
    }

    pub(crate) fn memory_limit_bytes(&self) -> usize {
        self.row_memory_limit.saturating_mul(1 << 20)
    }

    fn is_chosen(&self, row: &rows::Row) -> bool {
        self.only.is_empty() || self.only.iter().any(|filter| row.is_chosen_by(filter))
    }

    /// The series of the sweep and the targets that were asked for.
    fn chosen(&self) -> (Vec<rows::Series>, Vec<rows::Target>) {
        let mut series = if self.targets { Vec::new() } else { rows::sweep(self.quick) };
        for series in &mut series {
            series.rows.retain(|row| self.is_chosen(row));
        }
        series.retain(|series| !series.rows.is_empty());
        let targets = rows::targets().into_iter().filter(|target| self.is_chosen(&target.row));
        (series, targets.collect())
    }
}

/// A format that histories are written in.
fn written_format(name: &str) -> Result<Format, String> {
    Format::named(name).filter(|format| Format::WRITABLE.contains(format)).ok_or_else(|| {
        format!("histories are written as {}, not as `{name}`", Format::names(Format::WRITABLE))
    })
}

/// Measures what `options` choose and prints the table row by row; nothing if only the names of the rows were asked for.
///
/// # Errors
/// [`BenchError`].
pub fn run(options: &CheckOptions) -> Result<Option<Report>, BenchError> {
    if let Some(command) = options.against.iter().find(|command| !command.contains("{}")) {
        return Err(BenchError::Usage(format!("--against '{command}': no {{}} where the file should stand")));
    }
    let (series, targets) = options.chosen();
    if series.is_empty() && targets.is_empty() {
        return Err(BenchError::Usage("--only: no row is chosen; --list shows their names".to_owned()));
    }
    if options.list {
        let mut rows: Vec<rows::Row> = series.into_iter().flat_map(|series| series.rows).collect();
        rows.extend(targets.iter().map(|target| target.row));
        rows.sort_unstable();
        rows.dedup();
        rows.iter().for_each(|row| println!("{row}"));
        return Ok(None);
    }
    Ok(Some(measure::all(options, &series, &targets)?))
}
