//! `labrys check`: recorded histories in, verdicts out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use labrys_checker::invariants::Available;
use labrys_checker::models::{Lease, MODELS, ModelChoiceError};
use labrys_checker::statistics::Statistics;
use labrys_checker::verdict::{Validity, Verdict};
use labrys_checker::{Budget, CheckConfig, check};
use labrys_harness::memory::half_of_the_memory_bytes;
use labrys_history::{
    Completion, Format, History, Operation, ReadOptions, ReadReport, Value, read_history, read_value,
};
use labrys_reports::{Inputs, RunDescription, counterexample, report, summary, witnesses};
use serde::Serialize;

use crate::commands::format_named;
use crate::exit::{self, Failure, Outcome};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  labrys check history.jsonl --model cas-register
  labrys check store/*/history.edn --model cas-register --initial 0 --json
  labrys check etcd_000.log --model cas-register --format jepsen-log
  labrys check runs/*.edn --model register --counterexamples wrong.md
  labrys check history.jsonl --model register --witness --json | jq '.[].verdict.checks[0].partitions[].linearization'

The exit code is the worst of all files: 255 (a report or page that cannot be written), 254 (wrong usage, or a file that cannot be
read or judged), 1 invalid, 2 unknown, 0 valid.";

/// Models and examples.
fn after_help() -> String {
    let mut help = String::from("Models:\n");
    for model in MODELS {
        help.push_str(&format!("  {:18}{}\n", model.name, model.description));
    }
    format!("{help}\n{EXAMPLES}")
}

#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Arguments {
    /// History files: JSON Lines, Jepsen's EDN, elle-cli's or Porcupine's JSON, or jepsen-log text
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The sequential model to check against; they are listed below
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The model's initial value, in EDN: 0, nil, "text", {:x 0}
    #[arg(long, value_name = "VALUE", default_value = "nil", allow_hyphen_values = true)]
    initial: String,
    /// The format of the files, if detection is not wanted: jsonl, edn, json (elle-cli's), porcupine, jepsen-log
    #[arg(long, value_name = "FORMAT", value_parser = format_named)]
    format: Option<Format>,
    /// Values are [key value] pairs, as Jepsen's independent workloads write them: check each key by itself
    #[arg(long)]
    independent: bool,
    /// How long the checker may search in one file before it says unknown
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "60s")]
    time_limit: Duration,
    /// How much memory the searches of one file may hold, in MiB [default: half of the machine's]
    #[arg(long, value_name = "MIB")]
    memory_limit: Option<usize>,
    /// Let a history in which nothing succeeded be valid; without this it is unknown, for it shows nothing
    #[arg(long)]
    allow_vacuous: bool,
    /// No operation succeeded for longer: the history is invalid, the system was not available
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    longest_outage: Option<Duration>,
    /// Outages of half a second or longer were more of the time, in percent: invalid
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    most_outage_percent: Option<u8>,
    /// Judge every key, even after one is invalid
    #[arg(long)]
    all: bool,
    /// Show a linearization of each key of a valid file: an order of its operations that the model allows. The ends of it on
    /// standard error; whole, as indices of invocations, in the JSON (the field "linearization" of each partition)
    #[arg(long)]
    witness: bool,
    /// Write a report with a timeline into this folder (for a single file)
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Write the minimal counterexamples of invalid files into this Markdown page
    #[arg(long, value_name = "FILE")]
    counterexamples: Option<PathBuf>,
    /// Print the verdicts as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// One row of the table, and of the JSON.
#[derive(Serialize)]
struct FileVerdict {
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    operations: usize,
    milliseconds: f64,
    #[serde(skip)]
    code: u8,
    /// The section of the page of counterexamples.
    #[serde(skip)]
    counterexample: Option<String>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.report.is_some() && arguments.files.len() > 1 {
        return Err(Failure::usage(anyhow!(
            "--report goes with a single file; there are {}",
            arguments.files.len()
        )));
    }
    if let Some(page) = arguments.counterexamples.as_deref().filter(|page| is_among(page, &arguments.files)) {
        return Err(Failure::usage(anyhow!(
            "--counterexamples {}: this is a history that is to be checked; name another file",
            page.display()
        )));
    }
    let initial = read_value(&arguments.initial)
        .map_err(|error| Failure::usage(anyhow!("--initial {}: {error}", arguments.initial)))?;
    // Before any file is read: a wrong model or initial value is one error, not one per file.
    CheckConfig::linearizable(&arguments.model, Some(initial.clone()))
        .map_err(|error| Failure::usage(anyhow!("{}: {error}", option_of(&error))))?;
    let rows: Vec<FileVerdict> =
        arguments.files.iter().map(|file| judge(file, arguments, &initial)).collect();
    if arguments.json {
        print_json(&rows)?;
    }
    if rows.len() > 1 {
        eprint!("{}", table(&rows));
    }
    // Last: a page that cannot be written costs no verdict.
    if let Some(page) =
        arguments.counterexamples.as_ref().filter(|_| rows.iter().any(|row| row.verdict.is_some()))
    {
        write_counterexamples(page, arguments, &rows).map_err(Failure::environment)?;
    }
    Ok(rows.iter().map(|row| row.code).max_by_key(|code| gravity(*code)).unwrap_or(exit::USAGE))
}

/// Whether `page` is one of `files`, however it is named.
fn is_among(page: &Path, files: &[PathBuf]) -> bool {
    let Ok(page) = page.canonicalize() else { return false };
    files.iter().any(|file| file.canonicalize().is_ok_and(|file| file == page))
}

/// The option that a model cannot be made for.
fn option_of(error: &ModelChoiceError) -> &'static str {
    match error {
        ModelChoiceError::UnknownModel { .. } => "--model",
        ModelChoiceError::WrongInitial { .. } => "--initial",
    }
}

/// 255 and 254 before invalid, invalid before unknown, unknown before valid.
fn gravity(code: u8) -> u8 {
    match code {
        0 => 0,
        2 => 1,
        1 => 2,
        other => other,
    }
}

fn judge(file: &Path, arguments: &Arguments, initial: &Value) -> FileVerdict {
    let started = Instant::now();
    let outcome = read(file, arguments).and_then(|ReadReport { history, format, .. }| {
        let verdict = verdict_of(&history, format, arguments, initial);
        Ok((history, verdict.with_context(|| file.display().to_string())?))
    });
    let mut row = FileVerdict {
        file: file.to_owned(),
        verdict: None,
        error: None,
        operations: 0,
        milliseconds: started.elapsed().as_secs_f64() * 1e3,
        code: exit::USAGE,
        counterexample: None,
    };
    match outcome {
        Ok((history, verdict)) => {
            row.operations = history.operations().len();
            row.code = exit::of(verdict.validity);
            let words = verdict_in_words(&verdict);
            eprintln!(
                "{}: {words} ({} operations, {:.0} ms)",
                file.display(),
                row.operations,
                row.milliseconds
            );
            if arguments.witness {
                eprint!("{}", witnesses(&verdict, &history));
            }
            for note in unused(&history, &verdict) {
                eprintln!("labrys: note: {note}");
            }
            if let Err(error) = show(file, &history, &verdict, arguments) {
                eprintln!("labrys: {}", exit::in_words(&error));
                row.code = exit::ENVIRONMENT;
            }
            if arguments.counterexamples.is_some() {
                // Writing to memory does not fail.
                let title = file.file_name().unwrap_or_default().to_string_lossy();
                row.counterexample = counterexample::markdown(&title, &verdict, &history).unwrap_or_default();
            }
            row.verdict = Some(verdict);
        }
        Err(error) => {
            let words = exit::in_words(&error);
            eprintln!("labrys: {words}");
            row.error = Some(words);
        }
    }
    row
}

/// What the model's reading of a foreign history passes over, which a person should know of.
fn unused(history: &History, verdict: &Verdict) -> Vec<String> {
    let convention = |name: &str, how: &str| {
        verdict.checks.iter().any(|check| check.statistics.get(name).is_some_and(|found| found == how))
    };
    let operations = history.operations();
    let count =
        |is_it: &dyn Fn(&Operation) -> bool| operations.iter().filter(|&operation| is_it(operation)).count();
    let nil_reads = count(&|operation| {
        matches!(operation.f(), "read" | "r")
            && matches!(operation.completion(), Completion::Ok { value: Value::Nil, .. })
    });
    let plain_failures = count(&|operation| {
        operation.f() == "cas" && matches!(operation.completion(), Completion::Fail { error: None, .. })
    });
    let mut notes = Vec::new();
    if nil_reads > 0 && convention("convention.read-nil", "not known") {
        notes.push(format!(
            "{nil_reads} reads of nil, which is never written, are taken to mean \"no answer\""
        ));
    }
    if plain_failures > 0 && convention("convention.cas-failed-without-error", "not executed") {
        notes.push(format!("{plain_failures} cas that failed without an error are taken as not executed"));
    }
    notes
}

/// The page of what is wrong with the invalid files.
fn write_counterexamples(page: &Path, arguments: &Arguments, rows: &[FileVerdict]) -> anyhow::Result<()> {
    let mut text = format!(
        "# Minimal counterexamples\n\nMade by `labrys check FILES --model {} --counterexamples {}`. Of each history, operations \
         that cannot be put in order by themselves, and whose violation is one of the whole. `├──┤` is an operation from its \
         invocation to its completion, `├┄┄▷` one that may take effect later or never; only the order of the ends is to \
         scale.\n\n",
        arguments.model,
        page.display()
    );
    rows.iter().filter_map(|row| row.counterexample.as_ref()).for_each(|section| text.push_str(section));
    std::fs::write(page, text).with_context(|| page.display().to_string())
}

/// The explanation of what is not valid, and the report where one was asked for.
fn show(file: &Path, history: &History, verdict: &Verdict, arguments: &Arguments) -> anyhow::Result<()> {
    let run = RunDescription {
        name: file.display().to_string(),
        command: format!(
            "labrys check {} --model {} --initial {}",
            file.display(),
            arguments.model,
            arguments.initial
        ),
        ..RunDescription::default()
    };
    let inputs = Inputs { history, verdict, run: &run };
    let paths = arguments.report.as_ref().map(|folder| report::write(folder, &inputs)).transpose()?;
    if verdict.validity != Validity::Valid || paths.is_some() {
        eprint!("{}", summary::text(&inputs, paths.as_ref(), exit::colour()));
    }
    Ok(())
}

fn read(file: &Path, arguments: &Arguments) -> anyhow::Result<ReadReport> {
    let options = ReadOptions { format: arguments.format, independent: arguments.independent };
    let report = read_history(file, options)?;
    for warning in &report.warnings {
        eprintln!("labrys: warning: {warning}");
    }
    if !arguments.independent && looks_independent(&report.history) {
        bail!(
            "{}: the value of every operation is a pair, as in Jepsen's independent workloads: say --independent to check \
             each key by itself",
            file.display()
        );
    }
    let has_limits = arguments.longest_outage.is_some() || arguments.most_outage_percent.is_some();
    if has_limits && report.untimed > 0 {
        bail!(
            "{}: {} events have no time, so nobody can say how long an outage was: leave --longest-outage and \
             --most-outage-percent out",
            file.display(),
            report.untimed
        );
    }
    if arguments.model == Lease::NAME && report.untimed > 0 {
        bail!(
            "{}: {} events have no time, and the model {} is about how long leases last",
            file.display(),
            report.untimed,
            Lease::NAME
        );
    }
    Ok(report)
}

/// Whether the file can only be one of `[key value]` pairs: even reads are invoked with a pair, and nothing has a key.
fn looks_independent(history: &History) -> bool {
    let operations = history.operations();
    let is_pair = |value: &Value| value.as_sequence().is_some_and(|values| values.len() == 2);
    operations.iter().any(|operation| matches!(operation.f(), "read" | "r"))
        && operations.iter().all(|operation| operation.key().is_none() && is_pair(operation.value()))
}

fn verdict_of(
    history: &History,
    format: Format,
    arguments: &Arguments,
    initial: &Value,
) -> anyhow::Result<Verdict> {
    let started = Instant::now();
    let clock = || started.elapsed();
    let memory_limit = arguments
        .memory_limit
        .map_or_else(half_of_the_memory_bytes, |mebibytes| mebibytes.saturating_mul(1 << 20));
    let budget = Budget::unlimited()
        .with_time_limit(&clock, arguments.time_limit)
        .with_memory_limit_bytes(memory_limit);
    let mut config = CheckConfig::linearizable(&arguments.model, Some(initial.clone()))?
        .of_another_program(format != Format::JsonLines);
    if !arguments.allow_vacuous {
        config = config.with(Statistics::default());
    }
    let limits = Available {
        longest: arguments.longest_outage.filter(|longest| !longest.is_zero()),
        most_percent: arguments.most_outage_percent.map(f64::from).filter(|percent| *percent < 100.0),
    };
    let config = config.with_checkers_of_harness(history).with_availability(limits);
    let config = config.within(budget).judging_all(arguments.all).with_witness(arguments.witness);
    Ok(check(history, &config)?)
}

fn verdict_in_words(verdict: &Verdict) -> String {
    let reasons =
        verdict.checks.iter().filter(|check| check.validity == verdict.validity && !check.reason.is_empty());
    let reason = reasons.map(|check| check.reason.as_str()).next().unwrap_or_default();
    let separator = if reason.is_empty() { "" } else { ": " };
    format!("{}{separator}{reason}", word(verdict.validity))
}

fn word(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "valid",
        Validity::Invalid => "INVALID",
        Validity::Unknown => "unknown",
    }
}

fn table(rows: &[FileVerdict]) -> String {
    let width = rows.iter().map(|row| row.file.display().to_string().chars().count()).max().unwrap_or(0);
    let mut text = format!("\n{:width$}  {:>10}  {:>9}  verdict\n", "file", "operations", "ms");
    for row in rows {
        let word = row.verdict.as_ref().map_or("error", |verdict| word(verdict.validity));
        let file = row.file.display().to_string();
        text.push_str(&format!("{file:width$}  {:>10}  {:>9.1}  {word}\n", row.operations, row.milliseconds));
    }
    let count = |code: u8| rows.iter().filter(|row| row.code == code).count();
    let errors = rows.iter().filter(|row| row.verdict.is_none()).count();
    text.push_str(&format!(
        "{} valid, {} invalid, {} unknown, {errors} not judged\n",
        count(0),
        count(1),
        count(2)
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_wins_and_unknown_is_worse_than_valid_but_better_than_invalid() {
        let worst = |codes: &[u8]| codes.iter().copied().max_by_key(|code| gravity(*code));
        assert_eq!(worst(&[0, 2, 0]), Some(2));
        assert_eq!(worst(&[2, 1, 0]), Some(1));
        assert_eq!(worst(&[1, 254, 2]), Some(254));
        assert_eq!(worst(&[254, 255]), Some(255));
    }
}
