//! `labrys defects`: the harness is good if it finds each defect of the reference store, and silent on the clean one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use labrys_checker::verdict::Validity;
use labrys_harness::campaigns::{DEFECTS, DefectCampaign};
use labrys_harness::config::{NETNS, SIMULATOR};
use serde::Serialize;

use crate::commands::test::Report;
use crate::commands::{defects_in_simulator, generated_part};
use crate::exit::{Failure, Outcome};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  labrys defects                              all defects, three seeds each, then ten clean runs
  labrys defects --only follower-read --seeds 1
  labrys defects --markdown docs/defects.md   write the table where the documentation has it
  labrys defects --testbed sim                in the simulator: minutes, and the same each time
  labrys defects --testbed sim --only quorum-off-by-one,no-dir-fsync --seeds 1 --no-clean

Exit codes: 0 all found and no false alarm, 1 otherwise; 254 wrong usage; 255 if a run ended without a verdict: nothing is known
then, and no file is written.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where: netns (real processes in namespaces) or sim (the simulator)
    #[arg(long, value_name = "NAME", default_value = NETNS, value_parser = [NETNS, SIMULATOR])]
    testbed: String,
    /// Only these defects (repeatable, or with commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Number of seeds for each defect
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) seeds: u64,
    /// The first seed
    #[arg(long, value_name = "U64", default_value_t = 1)]
    pub(super) first_seed: u64,
    /// Number of runs on the clean store, which must all be valid: of the default test, or in the simulator of each campaign and seed
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) clean_runs: u64,
    /// Leave the clean runs out
    #[arg(long)]
    pub(super) no_clean: bool,
    /// In the simulator: how much simulated time is spent on a defect for each seed
    #[arg(long, value_name = "DURATION", default_value = "600s", value_parser = humantime::parse_duration)]
    pub(super) budget: Duration,
    /// In the simulator: how many hunts at the same time; as many as there are cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) jobs: Option<u64>,
    /// In the simulator: do not shrink the run that the first seed found
    #[arg(long)]
    pub(super) no_shrink: bool,
    /// In the simulator: write the shrunk run of each defect's first seed into this folder, as NAME.toml for labrys sim --schedule
    #[arg(long, value_name = "DIR", conflicts_with = "no_shrink")]
    pub(super) schedules: Option<PathBuf>,
    /// Folder under which run directories are made
    #[arg(long, value_name = "DIR", default_value = "labrys-runs")]
    out: PathBuf,
    /// Replace the generated part of this file by the table, which must be of all defects
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "list"])]
    pub(super) markdown: Option<PathBuf>,
    /// Only say which defects there are
    #[arg(long)]
    pub(super) list: bool,
    /// Print the results as JSON on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// What the command found.
#[derive(Serialize)]
struct Results {
    defects: Vec<DefectResult>,
    clean: Vec<RunResult>,
    found: usize,
    runs: usize,
    false_alarms: usize,
}

#[derive(Serialize)]
struct DefectResult {
    defect: String,
    explanation: String,
    /// The command that repeats the first run.
    command: String,
    runs: Vec<RunResult>,
}

#[derive(Serialize)]
struct RunResult {
    seed: u64,
    validity: Option<Validity>,
    /// Seconds of the run until the event at which the violation is complete.
    detected_after_s: Option<f64>,
    /// The checker that found it first.
    detected_by: Option<String>,
    run_directory: Option<PathBuf>,
    error: Option<String>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.testbed == SIMULATOR {
        return defects_in_simulator::run(arguments);
    }
    let campaigns = chosen(arguments)?;
    if arguments.list {
        return list(&campaigns, arguments.json);
    }
    refuse_to_run_nothing(arguments)?;
    let defects: Vec<DefectResult> = campaigns.iter().map(|campaign| expose(campaign, arguments)).collect();
    let clean = if arguments.no_clean { Vec::new() } else { run_clean(arguments) };
    let results = Results {
        found: defects
            .iter()
            .flat_map(|defect| &defect.runs)
            .filter(|run| is(run, Validity::Invalid))
            .count(),
        runs: defects.iter().map(|defect| defect.runs.len()).sum(),
        false_alarms: clean.iter().filter(|run| run.error.is_none() && !is(run, Validity::Valid)).count(),
        defects,
        clean,
    };
    let table = markdown(&results);
    eprintln!("\n{table}");
    let failed = failed_runs(&results);
    if let Some(file) = arguments.markdown.as_ref().filter(|_| failed.is_empty()) {
        generated_part::replace(file, "labrys defects", &table).map_err(Failure::environment)?;
    }
    if arguments.json {
        print_json(&results)?;
    }
    if let Some(first) = failed.first() {
        let count = failed.len();
        return Err(Failure::environment(anyhow!(
            "{count} of the runs ended without a verdict; the first: {first}"
        )));
    }
    Ok(u8::from(results.found < results.runs || results.false_alarms > 0))
}

/// All found of nothing, and no false alarm in no run, would be a success that says nothing.
pub(super) fn refuse_to_run_nothing(arguments: &Arguments) -> Result<(), Failure> {
    let has_no_clean_run = arguments.no_clean || arguments.clean_runs == 0;
    if arguments.seeds == 0 && has_no_clean_run {
        return Err(Failure::usage(anyhow!("--seeds: 0 seeds and no clean run are no run at all")));
    }
    // The largest seed that a run can record.
    let most_runs = arguments.seeds.max(arguments.clean_runs);
    if arguments.first_seed.checked_add(most_runs).is_none_or(|end| end > i64::MAX as u64) {
        return Err(Failure::usage(anyhow!(
            "--first-seed: {most_runs} seeds from {} on go beyond {}, the largest one",
            arguments.first_seed,
            i64::MAX
        )));
    }
    if arguments.markdown.is_some() && (arguments.seeds == 0 || has_no_clean_run) {
        return Err(Failure::usage(anyhow!(
            "--markdown: the table is of runs with defects and of clean ones"
        )));
    }
    Ok(())
}

/// The runs that ended without a verdict, in words: they neither found a defect nor missed it.
fn failed_runs(results: &Results) -> Vec<String> {
    let exposing = results
        .defects
        .iter()
        .flat_map(|defect| defect.runs.iter().map(move |run| (defect.defect.as_str(), run)));
    let clean = results.clean.iter().map(|run| ("clean store", run));
    exposing
        .chain(clean)
        .filter_map(|(name, run)| Some(format!("{name} seed {}: {}", run.seed, run.error.as_ref()?)))
        .collect()
}

fn is(run: &RunResult, validity: Validity) -> bool {
    run.validity == Some(validity)
}

fn chosen(arguments: &Arguments) -> Result<Vec<DefectCampaign>, Failure> {
    if arguments.only.is_empty() {
        return Ok(DEFECTS.to_vec());
    }
    let find = |name: &String| {
        let known = || DEFECTS.iter().map(|campaign| campaign.defect).collect::<Vec<_>>().join(", ");
        DefectCampaign::of(name).ok_or_else(|| {
            Failure::usage(anyhow!("--only: there is no campaign for `{name}`; known: {}", known()))
        })
    };
    arguments.only.iter().map(find).collect()
}

fn list(campaigns: &[DefectCampaign], json: bool) -> Outcome {
    if json {
        let rows: Vec<_> = campaigns
            .iter()
            .map(|campaign| serde_json::json!({"defect": campaign.defect, "explanation": campaign.explanation()}))
            .collect();
        print_json(&rows)?;
    } else {
        for campaign in campaigns {
            eprintln!("{}\n    {}", campaign.defect, campaign.explanation());
        }
    }
    Ok(0)
}

fn expose(campaign: &DefectCampaign, arguments: &Arguments) -> DefectResult {
    let runs = (0..arguments.seeds).map(|offset| {
        let seed = arguments.first_seed + offset;
        let result = one_run(Some(campaign), seed, &arguments.out);
        eprintln!("{} seed {seed}: {}", campaign.defect, in_words(&result));
        result
    });
    DefectResult {
        defect: campaign.defect.to_owned(),
        explanation: campaign.explanation(),
        command: format!(
            "labrys defects --only {} --seeds 1 --first-seed {} --no-clean",
            campaign.defect, arguments.first_seed
        ),
        runs: runs.collect(),
    }
}

fn run_clean(arguments: &Arguments) -> Vec<RunResult> {
    let runs = (0..arguments.clean_runs).map(|offset| {
        let seed = arguments.first_seed + offset;
        let result = one_run(None, seed, &arguments.out);
        eprintln!("clean store seed {seed}: {}", in_words(&result));
        result
    });
    runs.collect()
}

fn in_words(run: &RunResult) -> String {
    match (&run.error, run.validity, run.detected_after_s) {
        (Some(error), ..) => format!("failed: {error}"),
        (None, Some(Validity::Invalid), Some(seconds)) => {
            format!("invalid after {seconds:.1} s ({})", run.detected_by.as_deref().unwrap_or_default())
        }
        (None, Some(validity), _) => format!("{validity:?}").to_lowercase(),
        (None, None, _) => "no verdict".to_owned(),
    }
}

/// One campaign in a process of its own: a run re-executes itself in namespaces, which a process can do only once.
fn one_run(campaign: Option<&DefectCampaign>, seed: u64, out: &Path) -> RunResult {
    let mut result = RunResult {
        seed,
        validity: None,
        detected_after_s: None,
        detected_by: None,
        run_directory: None,
        error: None,
    };
    match report_of(campaign, seed, out) {
        Ok(report) => {
            result.validity = Some(report.validity);
            result.detected_after_s = report.detected_after_s;
            result.detected_by = report.detected_by;
            result.run_directory = Some(report.run_directory);
        }
        Err(error) => result.error = Some(format!("{error:#}")),
    }
    result
}

fn report_of(campaign: Option<&DefectCampaign>, seed: u64, out: &Path) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("test");
    if let Some(campaign) = campaign {
        let file = folder.path().join(format!("{}.toml", campaign.defect));
        std::fs::write(&file, campaign.toml)?;
        // What comes after the first violation adds nothing to the table.
        command.arg(file).arg("--fail-fast");
    } else {
        command.args(["--name", "clean"]);
    }
    command.args(["--seed", &seed.to_string(), "--json", "--out"]).arg(out).stdin(Stdio::null());
    let output = command.output().context("starting labrys test")?;
    if !matches!(output.status.code(), Some(0..=2)) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last =
            stderr.lines().rev().find(|line| line.starts_with("labrys: ")).unwrap_or("no error was printed");
        bail!("{}: {last}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading what labrys test --json printed")
}

/// The table of `docs/defects.md`.
fn markdown(results: &Results) -> String {
    let mut text = String::from(
        "| defect | found | time to detection, by seed | found by |\n| --- | --- | --- | --- |\n",
    );
    for defect in &results.defects {
        let found = defect.runs.iter().filter(|run| is(run, Validity::Invalid)).count();
        let times: Vec<String> = defect
            .runs
            .iter()
            .map(|run| {
                run.detected_after_s.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"))
            })
            .collect();
        let mut by: Vec<&str> = defect.runs.iter().filter_map(|run| run.detected_by.as_deref()).collect();
        by.sort_unstable();
        by.dedup();
        let row = format!(
            "| `{}` | {found}/{} | {} | {} |\n",
            defect.defect,
            defect.runs.len(),
            times.join(", "),
            by.join(", ")
        );
        text.push_str(&row);
    }
    text.push_str(&format!("\n{} of {} runs found their defect.", results.found, results.runs));
    if !results.clean.is_empty() {
        let text_of_clean =
            format!(" Clean runs: {}, false alarms: {}.", results.clean.len(), results.false_alarms);
        text.push_str(&text_of_clean);
    }
    text.push('\n');
    text
}
