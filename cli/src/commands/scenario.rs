//! `labrys scenario`: what papers tell in prose, step by step in the simulated world.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use labrys_checker::verdict::{Validity, Verdict};
use labrys_history::write_json_lines;
use labrys_reports::lamport::{Window, svg};
use labrys_simulation::Simulated;
use labrys_simulation::scenario::{Expectation, Interval, Played, Reported, SCENARIOS, Scenario};
use serde::Serialize;

use super::explore;
use crate::diagram::{self, Run};
use crate::exit::{self, Failure, Outcome};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  labrys scenario list
  labrys scenario run figure-8
  labrys scenario run figure-8 --defect commit-prior-term-by-count --svg figure-8.svg
  labrys scenario run ./mine.toml
  labrys scenario explore --help

The exit code of `run` is that of the verdict: 0 valid, 1 invalid.";

/// No more messages than these are drawn.
const MESSAGES_DRAWN: usize = 150;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Say which scenarios there are
    List {
        /// As JSON, on standard output
        #[arg(long)]
        json: bool,
    },
    /// Play a scenario and judge it
    Run {
        /// Its name, or a file of the same form (NAME.toml)
        name: String,
        /// Switch a defect of the store on (repeatable)
        #[arg(long, value_name = "NAME")]
        defect: Vec<String>,
        /// Draw what passed between nodes and clients
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Write history.jsonl, verdict.json and messages.svg into this folder
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// What happened as JSON, on standard output
        #[arg(long)]
        json: bool,
    },
    /// Look at every state that a tiny cluster can reach, in whatever order things happen
    Explore(explore::Arguments),
    /// Draw every scenario with its first defect, NAME.svg each: the pictures of docs/scenarios.md
    Pictures {
        /// Where to
        folder: PathBuf,
    },
}

pub fn run(arguments: &Arguments) -> Outcome {
    match &arguments.action {
        Action::Explore(arguments) => explore::run(arguments),
        Action::Pictures { folder } => {
            pictures(folder).with_context(|| folder.display().to_string()).map_err(Failure::environment)?;
            Ok(0)
        }
        Action::List { json } => list(*json),
        Action::Run { name, defect, svg, out, json } => {
            play(name, defect, Files { svg: svg.as_deref(), folder: out.as_deref() }, *json)
        }
    }
}

fn pictures(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, _) in SCENARIOS {
        let scenario = Scenario::named(name)?;
        let defects: Vec<String> = scenario.defect.iter().take(1).map(|defect| defect.name.clone()).collect();
        let played = scenario.play(&defects)?;
        fs::write(folder.join(format!("{name}.svg")), drawn(&scenario, &defects, &played))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Listed {
    name: String,
    title: String,
    defects: Vec<Expectation>,
}

fn list(json: bool) -> Outcome {
    let mut listed = Vec::new();
    for (name, _) in SCENARIOS {
        let scenario = Scenario::named(name).map_err(Failure::usage)?;
        listed.push(Listed { name: scenario.name, title: scenario.title, defects: scenario.defect });
    }
    if json {
        print_json(&listed)?;
        return Ok(0);
    }
    for Listed { name, title, defects } in listed {
        let defects: Vec<&str> = defects.iter().map(|defect| defect.name.as_str()).collect();
        eprintln!("{name:28} {title}\n{:28} goes wrong with --defect {}", "", defects.join(", --defect "));
    }
    Ok(0)
}

#[derive(Serialize)]
struct Output<'a> {
    scenario: &'a str,
    defects: &'a [String],
    steps: &'a [Reported],
    intervals: &'a [Interval],
    verdict: &'a Verdict,
    seen_by: &'a [String],
    violations: Vec<String>,
    as_expected: Option<bool>,
}

/// What is written, and where.
struct Files<'a> {
    svg: Option<&'a Path>,
    folder: Option<&'a Path>,
}

fn play(name: &str, defects: &[String], files: Files<'_>, json: bool) -> Outcome {
    let scenario = found(name)?;
    let played = scenario.play(defects).map_err(Failure::usage)?;
    let in_file = |path: &Path| path.display().to_string();
    if let Some(file) = files.svg {
        fs::write(file, drawn(&scenario, defects, &played))
            .with_context(|| in_file(file))
            .map_err(Failure::environment)?;
    }
    if let Some(folder) = files.folder {
        write(folder, &scenario, defects, &played)
            .with_context(|| in_file(folder))
            .map_err(Failure::environment)?;
    }
    let validity = played.simulated.verdict.validity;
    let as_expected = scenario.expectation(defects).map(|expected| expected == validity);
    if json {
        print_json(&Output {
            scenario: &scenario.name,
            defects,
            steps: &played.steps,
            intervals: &played.intervals,
            verdict: &played.simulated.verdict,
            seen_by: &played.seen_by,
            violations: played.simulated.violations.iter().map(ToString::to_string).collect(),
            as_expected,
        })?;
    } else {
        tell(&scenario, &played, as_expected);
    }
    Ok(exit::of(validity))
}

/// One that comes with Labrys, or a file.
fn found(name: &str) -> Result<Scenario, Failure> {
    if Path::new(name).extension().is_none_or(|extension| extension != "toml") {
        return Scenario::named(name).map_err(Failure::usage);
    }
    let text = fs::read_to_string(name).with_context(|| name.to_owned()).map_err(Failure::usage)?;
    Scenario::parse(name, &text).map_err(Failure::usage)
}

fn tell(scenario: &Scenario, played: &Played, as_expected: Option<bool>) {
    eprintln!("{}\n\n{}\n", scenario.title, scenario.explanation.join("\n").trim());
    for Reported { at_ns, step, happened } in &played.steps {
        let happened = if happened.is_empty() { String::new() } else { format!("  → {happened}") };
        eprintln!("{:>12.3} ms  {step}{happened}", *at_ns as f64 / 1e6);
    }
    eprintln!("");
    let complaints = played.simulated.verdict.checks.iter().filter(|check| check.validity != Validity::Valid);
    for check in complaints {
        eprintln!("{}: {}: {}", check.checker, labrys_reports::summary::word(check.validity), check.reason);
    }
    if !played.seen_by.is_empty() {
        eprintln!("seen by {}", played.seen_by.join(", "));
    }
    let expected = match as_expected {
        Some(true) => ", as expected",
        Some(false) => ", which is not what was expected",
        None => "",
    };
    eprintln!("\n{}{expected}", labrys_reports::summary::word(played.simulated.verdict.validity));
}

fn write(folder: &Path, scenario: &Scenario, defects: &[String], played: &Played) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let simulated = &played.simulated;
    write_json_lines(&mut fs::File::create(folder.join("history.jsonl"))?, simulated.history.events())?;
    fs::write(folder.join("verdict.json"), serde_json::to_string_pretty(&simulated.verdict)?)?;
    fs::write(folder.join("messages.svg"), drawn(scenario, defects, played))?;
    Ok(())
}

fn drawn(scenario: &Scenario, defects: &[String], played: &Played) -> String {
    let title = match defects {
        [] => format!("{}, the clean store", scenario.name),
        _ => format!("{} with {}", scenario.name, defects.join(", ")),
    };
    let clients: Vec<usize> = (0..scenario.clients()).collect();
    let (nodes, threads, Simulated { trace, history, .. }) =
        (scenario.nodes(), clients.len(), &played.simulated);
    let mut diagram = diagram::of_run(&title, &Run { nodes, threads, clients: &clients, trace, history });
    diagram.spans = diagram::spans(threads, &played.intervals);
    svg(&diagram, Window::whole(MESSAGES_DRAWN))
}
