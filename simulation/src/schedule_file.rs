//! [`ScheduleFile`]: a run as a TOML file that a person can read, commit and replay.
//!
//! ```toml
//! # leader-completeness at 4.776 s: n2 leads term 3, but of the committed entry 59 of term 2 it has nothing
//! violates = "leader-completeness"
//! seed = 7
//! tuned = false
//! core = false
//!
//! faults = [
//!   { at-ms = 1200, lasts-ms = 300, kind = "kill", target = { named = ["n1"] } },
//! ]
//!
//! [test]
//! nodes = 3
//! ```
//!
//! `[test]` has the options of a campaign that differ from their defaults; `[environment]` is there if it does. A run is a function of
//! its configuration, so the file gives the same run wherever it is read, as long as the store and the simulator are the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use labrys_harness::config::{ConfigError, SIMULATOR, TestConfig, TestOptions};
use labrys_nemesis::{FaultList, Schedule, Scheduled, TimedFault, Trigger};
use labrys_seed::Seed;
use serde::Deserialize;
use thiserror::Error;

use crate::environment::Environment;
use crate::run::SimulationConfig;
use crate::trials::Deaf;

/// A run to be replayed.
#[derive(Clone, Debug)]
pub struct ScheduleFile {
    /// What is to be run; its faults are explicit.
    pub config: SimulationConfig,
    /// The property or checker that accuses the run, if it is to fail.
    pub violates: Option<String>,
}

/// A file that is none of these.
#[derive(Debug, Error)]
pub enum ScheduleFileError {
    /// It is not TOML, or has a field that does not exist or has another type.
    #[error("{path}: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// Its `[test]` makes no sense.
    #[error("{path}: [test]: {source}")]
    Test {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Content {
    violates: Option<String>,
    seed: Seed,
    #[serde(default)]
    tuned: bool,
    #[serde(default)]
    core: bool,
    deaf: Option<Deaf>,
    #[serde(default)]
    faults: FaultList,
    #[serde(default)]
    test: TestOptions,
    #[serde(default)]
    environment: Environment,
}

/// Faults in order of time, numbered from 1. The numbers decide about what happens at the same time, so whoever makes a schedule of
/// which a file will be made begins with this.
#[must_use]
pub fn in_order(mut faults: Vec<Scheduled>) -> Schedule {
    faults.sort_by_key(|fault| fault.at_ms);
    for (id, fault) in (1..).zip(&mut faults) {
        fault.id = id;
    }
    Schedule { faults }
}

impl ScheduleFile {
    /// Reads the text of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// [`ScheduleFileError`].
    pub fn parse(text: &str, path: &Path) -> Result<ScheduleFile, ScheduleFileError> {
        let content: Content = toml::from_str(text).map_err(|source| ScheduleFileError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        // Which kinds of faults are planned means nothing here, but whether any are due does, to the checkers.
        let nemesis = content.faults.0.is_empty().then(|| vec!["none".to_owned()]);
        let test = TestOptions {
            seed: Some(content.seed),
            testbed: Some(SIMULATOR.to_owned()),
            nemesis: nemesis.or(content.test.nemesis),
            // So that they are checked, and that what a run records of its options has them.
            faults: Some(content.faults.clone()),
            tuned: Some(content.tuned),
            ..content.test
        };
        let test = test
            .resolve(content.seed)
            .map_err(|source| ScheduleFileError::Test { path: path.to_owned(), source })?;
        let config = SimulationConfig {
            environment: content.environment,
            schedule: Some(content.faults.into()),
            core: content.core,
            deaf: content.deaf,
            ..SimulationConfig::new(test)
        };
        Ok(ScheduleFile { config, violates: content.violates })
    }

    /// The text of the file, which begins with `comment`.
    #[must_use]
    pub fn to_toml(&self, comment: &str) -> String {
        let SimulationConfig { test, environment, schedule, tuned, core, deaf, .. } = &self.config;
        let mut text = String::new();
        for line in comment.lines().flat_map(wrapped) {
            let _ = writeln!(text, "{}", format!("# {line}").trim_end());
        }
        if let Some(violates) = &self.violates {
            let _ = writeln!(text, "violates = \"{violates}\"");
        }
        let _ = writeln!(text, "seed = {}\ntuned = {tuned}\ncore = {core}", test.seed);
        if let Some(deaf) = deaf {
            let _ = writeln!(text, "deaf = {}", toml_of(deaf));
        }
        text.push_str("\nfaults = [\n");
        for fault in schedule.iter().flat_map(|schedule| &schedule.faults) {
            let _ = writeln!(text, "  {},", line_of(fault));
        }
        text.push_str("]\n\n[test]\n");
        text.push_str(&differences(test));
        if *environment != Environment::default() {
            // Numbers only, which TOML can say.
            let environment = toml::to_string(environment).unwrap_or_default();
            let _ = write!(text, "\n[environment]\n{environment}");
        }
        text
    }
}

/// A comment in lines that fit on a screen.
fn wrapped(line: &str) -> Vec<String> {
    const MOST: usize = 120;
    let mut lines = vec![String::new()];
    for word in line.split_whitespace() {
        if lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.chars().count() + word.chars().count() >= MOST)
        {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

/// A unit variant is a string, which TOML can say.
fn toml_of(deaf: &Deaf) -> String {
    toml::Value::try_from(deaf).map_or_else(|_| String::new(), |value| value.to_string())
}

fn line_of(fault: &Scheduled) -> String {
    let (after, during) = match fault.trigger {
        Some(Trigger::After(happening)) => (Some(happening), None),
        Some(Trigger::While(condition)) => (None, Some(condition)),
        None => (None, None),
    };
    let (lasts_ms, what) = (fault.duration_ms, fault.fault.clone());
    let step = TimedFault { at_ms: fault.at_ms, lasts_ms, after, during, fault: what };
    let fields = match toml::Value::try_from(&step) {
        Ok(toml::Value::Table(fields)) => fields,
        other => unreachable!("a fault is a table: {other:?}"),
    };
    // The time first, whatever the order of names.
    let known = ["at-ms", "lasts-ms", "kind"];
    let rest = fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    let in_words: Vec<String> = known
        .iter()
        .filter_map(|name| fields.get(*name).map(|value| (*name, value)))
        .chain(rest.map(|(name, value)| (name.as_str(), value)))
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    format!("{{ {} }}", in_words.join(", "))
}

/// The options that differ from their defaults, but those that say where a run is written, and which faults are planned; seed and
/// tuning stand elsewhere, and the testbed is the simulator.
fn differences(test: &TestConfig) -> String {
    let table = |config: &TestConfig| config.to_toml().parse::<toml::Table>().unwrap_or_default();
    let (mut own, usual) = (table(test), table(&TestConfig::defaults()));
    own.retain(|name, value| {
        const ELSEWHERE: [&str; 10] = [
            "seed",
            "name",
            "out",
            "testbed",
            "tuned",
            "nemesis",
            "nemesis-interval",
            "quiet",
            "quiet-every",
            "faults",
        ];
        !ELSEWHERE.contains(&name) && usual.get(name) != Some(&*value)
    });
    own.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}
