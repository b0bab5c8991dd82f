//! `labrys defects --testbed sim`: which of the store's defects does the simulator find, how soon, and is it silent on the correct store
//! under the same campaigns? Several hunts at a time; but for wall times, what is printed does not depend on how many.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use labrys_simulation::SimulationError;
use labrys_simulation::gate::{Hunted, Patience, ROWS, Row, Search, hunt};
use labrys_simulation::shrink::{Limits, Shrunk, Size, shrink};
use serde::Serialize;

use super::defects::{Arguments, refuse_to_run_nothing};
use super::generated_part;
use super::quiet::quieten_the_store;
use super::shrink::failure;
use crate::exit::{Failure, Outcome};
use crate::output::print_json;

/// The mark of the table in `docs/defects.md`.
const COMMAND: &str = "labrys defects --testbed sim";

/// What the command found.
#[derive(Serialize)]
struct Results {
    schema: u32,
    defects: Vec<DefectResult>,
    not_expressible: Vec<NotExpressible>,
    clean: Clean,
    /// Hunts that found their defect, of all hunts.
    found: usize,
    hunts: usize,
    /// Defects that every hunt found, of those that have a campaign.
    found_by_every_seed: usize,
    expressible: usize,
    wall_s: f64,
}

#[derive(Serialize)]
struct DefectResult {
    defect: &'static str,
    hunts: Vec<HuntResult>,
}

#[derive(Serialize)]
struct NotExpressible {
    defect: &'static str,
    why: &'static str,
}

#[derive(Serialize)]
struct HuntResult {
    /// The hunt's number; its runs have seeds of their own.
    number: u64,
    runs: u64,
    simulated_s: f64,
    wall_s: f64,
    found: Option<Found>,
}

#[derive(Serialize)]
struct Found {
    /// Of the run that shows it.
    seed: u64,
    /// The property or checker that accuses it.
    by: String,
    what: String,
    shrunk: Option<ShrunkTo>,
}

#[derive(Serialize)]
struct ShrunkTo {
    faults: usize,
    nodes: usize,
    clients: usize,
    operations: usize,
    simulated_s: f64,
    runs: u64,
    wall_s: f64,
}

/// The correct store under the same campaigns.
#[derive(Serialize)]
struct Clean {
    runs: u64,
    simulated_s: f64,
    false_alarms: Vec<FalseAlarm>,
}

#[derive(Serialize)]
struct FalseAlarm {
    campaign: &'static str,
    seed: u64,
    what: String,
}

/// One thing to do: a row's defect from one seed on, or the correct store under the row's campaign.
#[derive(Clone, Copy)]
struct Task {
    row: &'static Row,
    number: u64,
    is_defective: bool,
}

/// What came of it.
struct Done {
    hunted: Hunted,
    shrunk: Option<(Shrunk, Duration)>,
    wall: Duration,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let rows = chosen(&arguments.only)?;
    if arguments.list {
        return list(&rows, arguments.json);
    }
    refuse_to_run_nothing(arguments)?;
    quieten_the_store();
    let started = Instant::now();
    let tasks = tasks(&rows, arguments);
    if tasks.is_empty() {
        return Err(Failure::usage(anyhow!(
            "none of these defects has a campaign in the simulator, see --list"
        )));
    }
    let done = all(&tasks, arguments).map_err(failure)?;
    if let Some(folder) = &arguments.schedules {
        write_schedules(folder, &tasks, &done).map_err(Failure::environment)?;
    }
    let results = results(&rows, &tasks, done, started.elapsed());
    let table = markdown(&results);
    eprintln!("\n{table}");
    if let Some(file) = &arguments.markdown {
        generated_part::replace(file, COMMAND, &table).map_err(Failure::environment)?;
    }
    if arguments.json {
        print_json(&results)?;
    }
    Ok(u8::from(results.found < results.hunts || !results.clean.false_alarms.is_empty()))
}

fn chosen(only: &[String]) -> Result<Vec<&'static Row>, Failure> {
    if only.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let find = |name: &String| {
        let known = || ROWS.iter().map(|row| row.defect).collect::<Vec<_>>().join(", ");
        Row::of(name).ok_or_else(|| {
            Failure::usage(anyhow!("--only: there is no defect called `{name}`; known: {}", known()))
        })
    };
    only.iter().map(find).collect()
}

fn list(rows: &[&'static Row], json: bool) -> Outcome {
    let of = |row: &&Row| match row.search {
        Search::Campaign(campaign) => (campaign.toml.trim(), None),
        Search::NotExpressible { why } => ("", Some(why)),
    };
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| serde_json::json!({"defect": row.defect, "campaign": of(row).0, "not_expressible": of(row).1}))
            .collect();
        print_json(&rows)?;
        return Ok(0);
    }
    for row in rows {
        let (toml, why) = of(row);
        let lines = toml.lines().map(str::trim).collect::<Vec<_>>().join("\n    ");
        eprintln!("{}\n    {}", row.defect, why.map_or(lines, |why| format!("no campaign: {why}")));
    }
    Ok(0)
}

fn tasks(rows: &[&'static Row], arguments: &Arguments) -> Vec<Task> {
    let numbers = || (0..arguments.seeds).map(|offset| arguments.first_seed + offset);
    let mut tasks = Vec::new();
    let mut campaigns = BTreeSet::new();
    let with_campaign = rows.iter().filter_map(|row| Some((*row, row.campaign()?)));
    for (row, campaign) in with_campaign {
        tasks.extend(numbers().map(|number| Task { row, number, is_defective: true }));
        // Several defects may have the same campaign: for the correct store it is one.
        if !arguments.no_clean && campaigns.insert(campaign) {
            tasks.extend(numbers().map(|number| Task { row, number, is_defective: false }));
        }
    }
    tasks
}

/// At the same time, at most.
const MOST_JOBS: u64 = 1024;

/// Does everything, several things at a time; what comes of it is in the order of `tasks`.
fn all(tasks: &[Task], arguments: &Arguments) -> Result<Vec<Done>, SimulationError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    // More threads than things to do, or than any machine has cores, only cost memory.
    let jobs = arguments.jobs.unwrap_or(cores).min(tasks.len() as u64).min(MOST_JOBS);
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, Result<Done, SimulationError>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let position = next.fetch_add(1, Ordering::Relaxed);
                        let Some(task) = tasks.get(position) else { return done };
                        done.push((position, one(*task, arguments)));
                    }
                })
            })
            .collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    });
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, done)| done).collect()
}

fn one(task: Task, arguments: &Arguments) -> Result<Done, SimulationError> {
    let started = Instant::now();
    let runs = if task.is_defective { u64::MAX } else { arguments.clean_runs };
    let patience = Patience { simulated: arguments.budget, runs };
    let hunted = hunt(task.row, task.number, patience, task.is_defective)?;
    let wall = started.elapsed();
    let name = task.row.defect;
    match (&hunted.found, task.is_defective) {
        (Some((config, found)), true) => eprintln!(
            "{name} {}: found after {:.1} simulated s, {:.1} s (seed {}): {found}",
            task.number,
            hunted.simulated.as_secs_f64(),
            wall.as_secs_f64(),
            config.test.seed
        ),
        (None, true) => eprintln!("{name} {}: NOT FOUND in {} runs", task.number, hunted.runs),
        (Some((config, found)), false) => eprintln!(
            "{name} {}: FALSE ALARM on the correct store (seed {}): {found}",
            task.number, config.test.seed
        ),
        (None, false) => {}
    }
    // One run of each defect is enough to see how small it gets.
    let is_first = task.is_defective && task.number == arguments.first_seed;
    let shrunk = if is_first && !arguments.no_shrink { shrunk(&hunted)? } else { None };
    Ok(Done { hunted, shrunk, wall })
}

/// Writes what is left of the first hunt that found something, for each defect.
fn write_schedules(folder: &Path, tasks: &[Task], done: &[Done]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut written = BTreeSet::new();
    for (task, done) in tasks.iter().zip(done) {
        let Some((shrunk, _)) = &done.shrunk else { continue };
        if written.insert(task.row.defect) {
            let path = folder.join(format!("{}.toml", task.row.defect));
            std::fs::write(&path, shrunk.to_toml()).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn shrunk(hunted: &Hunted) -> Result<Option<(Shrunk, Duration)>, SimulationError> {
    let Some((config, found)) = &hunted.found else { return Ok(None) };
    let started = Instant::now();
    let shrunk = shrink(config, Some(&found.of), Limits::default(), &mut |_, _| ())?;
    Ok(shrunk.map(|shrunk| (shrunk, started.elapsed())))
}

impl ShrunkTo {
    fn new(shrunk: &Shrunk, wall: Duration) -> ShrunkTo {
        let Size { faults, nodes, clients, operations, simulated } = shrunk.after;
        let (simulated_s, wall_s) = (simulated.as_secs_f64(), wall.as_secs_f64());
        ShrunkTo { faults, nodes, clients, operations, simulated_s, runs: shrunk.runs, wall_s }
    }
}

fn results(rows: &[&'static Row], tasks: &[Task], done: Vec<Done>, wall: Duration) -> Results {
    let mut defects: Vec<DefectResult> = Vec::new();
    let mut clean = Clean { runs: 0, simulated_s: 0.0, false_alarms: Vec::new() };
    for (task, done) in tasks.iter().zip(done) {
        if task.is_defective {
            if defects.last().is_none_or(|last| last.defect != task.row.defect) {
                defects.push(DefectResult { defect: task.row.defect, hunts: Vec::new() });
            }
            if let Some(last) = defects.last_mut() {
                last.hunts.push(hunt_result(task.number, done));
            }
        } else {
            clean.runs += done.hunted.runs;
            clean.simulated_s += done.hunted.simulated.as_secs_f64();
            clean.false_alarms.extend(done.hunted.found.map(|(config, failure)| FalseAlarm {
                campaign: task.row.defect,
                seed: config.test.seed.0,
                what: failure.to_string(),
            }));
        }
    }
    let not_expressible = rows.iter().filter_map(|row| match row.search {
        Search::NotExpressible { why } => Some(NotExpressible { defect: row.defect, why }),
        Search::Campaign(_) => None,
    });
    let hunts = || defects.iter().flat_map(|defect| &defect.hunts);
    let is_found = |defect: &&DefectResult| defect.hunts.iter().all(|hunt| hunt.found.is_some());
    Results {
        schema: 1,
        found: hunts().filter(|hunt| hunt.found.is_some()).count(),
        hunts: hunts().count(),
        found_by_every_seed: defects.iter().filter(is_found).count(),
        expressible: defects.len(),
        not_expressible: not_expressible.collect(),
        clean,
        wall_s: wall.as_secs_f64(),
        defects,
    }
}

fn hunt_result(number: u64, done: Done) -> HuntResult {
    let Done { hunted, shrunk, wall } = done;
    HuntResult {
        number,
        runs: hunted.runs,
        simulated_s: hunted.simulated.as_secs_f64(),
        wall_s: wall.as_secs_f64(),
        found: hunted.found.map(|(config, failure)| Found {
            seed: config.test.seed.0,
            by: failure.of,
            what: failure.what,
            shrunk: shrunk.map(|(shrunk, wall)| ShrunkTo::new(&shrunk, wall)),
        }),
    }
}

/// The table of `docs/defects.md`.
fn markdown(results: &Results) -> String {
    let mut text = String::from(
        "| defect | found | runs | simulated time until found | wall time | by | faults, nodes, operations when shrunk |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for DefectResult { defect, hunts } in &results.defects {
        let each = |of: &dyn Fn(&HuntResult) -> Option<String>| {
            let each = hunts.iter().map(|hunt| of(hunt).unwrap_or_else(|| "–".to_owned()));
            each.collect::<Vec<_>>().join("; ")
        };
        let found = |of: fn(&HuntResult) -> String| {
            each(&move |hunt: &HuntResult| hunt.found.is_some().then(|| of(hunt)))
        };
        let by: BTreeSet<&str> =
            hunts.iter().filter_map(|hunt| hunt.found.as_ref()).map(|found| found.by.as_str()).collect();
        let shrunk = hunts.iter().find_map(|hunt| hunt.found.as_ref()?.shrunk.as_ref());
        let shrunk = shrunk.map_or_else(
            || "–".to_owned(),
            |shrunk| format!("{}, {}, {}", shrunk.faults, shrunk.nodes, shrunk.operations),
        );
        let _ = writeln!(
            text,
            "| `{defect}` | {}/{} | {} | {} | {} | {} | {shrunk} |",
            hunts.iter().filter(|hunt| hunt.found.is_some()).count(),
            hunts.len(),
            found(|hunt| hunt.runs.to_string()),
            found(|hunt| format!("{:.1} s", hunt.simulated_s)),
            found(|hunt| format!("{:.1} s", hunt.wall_s)),
            by.into_iter().collect::<Vec<_>>().join(", "),
        );
    }
    let _ = write!(
        text,
        "\n{} of {} hunts found their defect; {} of {} defects were found by every one of their hunts.",
        results.found, results.hunts, results.found_by_every_seed, results.expressible
    );
    let Clean { runs, simulated_s, false_alarms } = &results.clean;
    if *runs > 0 {
        let alarms = false_alarms.len();
        let _ = write!(
            text,
            " The correct store under the same campaigns: {runs} runs, {simulated_s:.0} simulated s, false alarms: {alarms}."
        );
    }
    text.push('\n');
    let reasons: BTreeSet<&str> = results.not_expressible.iter().map(|row| row.why).collect();
    if !reasons.is_empty() {
        text.push_str("\nWithout a campaign in the simulator:\n\n");
    }
    for why in reasons {
        let rows = results.not_expressible.iter().filter(|row| row.why == why);
        let names: Vec<String> = rows.map(|row| format!("`{}`", row.defect)).collect();
        let _ = writeln!(text, "- {}: {why}.", names.join(", "));
    }
    text
}
