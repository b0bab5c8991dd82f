//! Scenarios: what papers tell in prose, step by step in the simulated world, with the verdict that is expected of the clean store
//! and of a broken one.
//!
//! A scenario is a file (`scenarios/NAME.toml`): two paragraphs that explain it, options of a test, a script of exact steps
//! ([`Step`]), and what is expected. Everything takes a fixed time (a message a millisecond), and elections happen only where the
//! script says so: unless a file says otherwise, election timeouts are 10 s, there is no trial round and no check-quorum, as in
//! section 5 of the Raft paper, and `elect n2` lets n2's clock leap over its timeout. So nothing in a scenario hangs on luck. The
//! verdict is that of the ordinary checkers and oracles; a run goes on after a violation, to show what comes of it.

mod stage;
mod step;

use std::time::Duration;

use labrys_checker::Budget;
use labrys_checker::verdict::Validity;
use labrys_harness::config::{Concurrency, TestConfig, TestOptions};
use labrys_seed::Seed;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use stage::{Interval, Reported};
pub use step::Step;

use crate::run::{Simulated, SimulationError};

/// The scenarios that come with Labrys: name and file.
pub const SCENARIOS: &[(&str, &str)] = &[
    ("ack-before-disk", include_str!("../../../scenarios/ack-before-disk.toml")),
    ("change-before-the-no-op", include_str!("../../../scenarios/change-before-the-no-op.toml")),
    ("duel-of-candidates", include_str!("../../../scenarios/duel-of-candidates.toml")),
    ("figure-8", include_str!("../../../scenarios/figure-8.toml")),
    ("follower-read", include_str!("../../../scenarios/follower-read.toml")),
    ("leader-transfer", include_str!("../../../scenarios/leader-transfer.toml")),
    ("lease-and-drift", include_str!("../../../scenarios/lease-and-drift.toml")),
    ("lost-reply", include_str!("../../../scenarios/lost-reply.toml")),
    ("new-leader-reads-too-early", include_str!("../../../scenarios/new-leader-reads-too-early.toml")),
    ("read-before-apply", include_str!("../../../scenarios/read-before-apply.toml")),
    ("rejoining-node", include_str!("../../../scenarios/rejoining-node.toml")),
    ("snapshot-catch-up", include_str!("../../../scenarios/snapshot-catch-up.toml")),
    ("stale-leader-read", include_str!("../../../scenarios/stale-leader-read.toml")),
    ("two-majorities", include_str!("../../../scenarios/two-majorities.toml")),
];

/// A scenario, as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about, in a line.
    pub title: String,
    /// Two paragraphs: what happens, and why it goes right or wrong.
    pub explanation: Vec<String>,
    /// Options of a test: `nodes`, `read-mode`, `store-option`, …
    #[serde(default)]
    pub options: TestOptions,
    /// Whether a leader sends one entry at a time, and the next when the last was answered, so that a step can come in between.
    #[serde(default)]
    pub one_entry_per_message: bool,
    /// A step a line; empty lines and what follows a `#` are for people.
    pub script: String,
    /// The verdict on the clean store.
    pub expected: Validity,
    /// Those that make it go wrong.
    #[serde(default)]
    pub defect: Vec<Expectation>,
}

/// What a defect makes of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Expectation {
    /// The defect.
    pub name: String,
    /// The verdict.
    pub expected: Validity,
    /// The checkers and oracles' properties that see it, all of them.
    pub seen_by: Vec<String>,
}

/// A scenario cannot be played. Wrong usage, or a file that makes no sense.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// There is none of that name.
    #[error("there is no scenario `{name}`; there are {}", names())]
    Unknown {
        /// The name.
        name: String,
    },
    /// It is no TOML, or has other fields.
    #[error("scenario `{name}`: {source}")]
    Malformed {
        /// The name.
        name: String,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// A step makes no sense.
    #[error("scenario `{name}`, step {number}: {problem}")]
    Step {
        /// The scenario.
        name: String,
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// Its run makes no sense.
    #[error("scenario `{name}`: {source}")]
    Run {
        /// The scenario.
        name: String,
        /// Why.
        source: Box<SimulationError>,
    },
}

fn names() -> String {
    SCENARIOS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What came of a scenario.
#[derive(Debug)]
pub struct Played {
    /// Each step, with what happened.
    pub steps: Vec<Reported>,
    /// While what a node was down, stopped or slow.
    pub intervals: Vec<Interval>,
    /// History, verdict and messages.
    pub simulated: Simulated,
    /// Who saw a violation: checkers, and properties of oracles; sorted.
    pub seen_by: Vec<String>,
}

impl Scenario {
    /// The one of that name.
    ///
    /// # Errors
    /// If there is none, or its file makes no sense.
    pub fn named(name: &str) -> Result<Scenario, ScenarioError> {
        let found = SCENARIOS.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| ScenarioError::Unknown { name: name.to_owned() })?;
        Scenario::parse(name, text)
    }

    /// One from the text of a file; `name` is what complaints call it.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let malformed = |source| ScenarioError::Malformed { name: name.to_owned(), source: Box::new(source) };
        let scenario: Scenario = toml::from_str(text).map_err(malformed)?;
        scenario.steps()?;
        Ok(scenario)
    }

    /// The lines of its script.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let spoken = self.script.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        spoken.filter(|line| !line.is_empty())
    }

    /// What is expected with these defects; `None`: nobody has said.
    #[must_use]
    pub fn expectation(&self, defects: &[String]) -> Option<Validity> {
        match defects {
            [] => Some(self.expected),
            [one] => self.defect.iter().find(|known| known.name == *one).map(|known| known.expected),
            _ => None,
        }
    }

    /// Plays it, with these defects of the store switched on. The same every time.
    ///
    /// # Errors
    /// If an option, a defect or a step makes no sense.
    pub fn play(&self, defects: &[String]) -> Result<Played, ScenarioError> {
        let steps = self.steps()?;
        let run = |source: SimulationError| ScenarioError::Run {
            name: self.name.clone(),
            source: Box::new(source),
        };
        let config = self.config(defects).map_err(run)?;
        let mut stage = stage::Stage::new(&config, self.one_entry_per_message).map_err(run)?;
        for (position, (line, step)) in steps.into_iter().enumerate() {
            stage.perform(line, step).map_err(|problem| self.wrong(position, problem))?;
        }
        stage.finish(&config, Budget::unlimited()).map_err(run)
    }

    fn wrong(&self, position: usize, problem: String) -> ScenarioError {
        ScenarioError::Step { name: self.name.clone(), number: position + 1, problem }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.options.nodes.unwrap_or(3)
    }

    /// How many clients its script names.
    #[must_use]
    pub fn clients(&self) -> usize {
        let client_of = |(_, step): (String, Step)| match step {
            Step::Client { client, .. } | Step::WaitFor(client) | Step::LoseReply(client) => Some(client + 1),
            _ => None,
        };
        self.steps().into_iter().flatten().filter_map(client_of).max().unwrap_or(1)
    }

    /// Its steps, each as it is written.
    fn steps(&self) -> Result<Vec<(String, Step)>, ScenarioError> {
        let parsed = |(position, line): (usize, &str)| match Step::parse(line, self.nodes()) {
            Ok(step) => Ok((line.to_owned(), step)),
            Err(problem) => Err(self.wrong(position, problem)),
        };
        self.lines().enumerate().map(parsed).collect()
    }

    fn config(&self, defects: &[String]) -> Result<TestConfig, SimulationError> {
        let ours = TestOptions {
            name: Some(self.name.clone()),
            nodes: Some(self.nodes()),
            concurrency: Some(Concurrency::Threads(self.clients())),
            nemesis: Some(Vec::new()),
            defect: Some(defects.to_vec()),
            ..TestOptions::default()
        };
        let usual = TestOptions {
            election_timeout: Some(Duration::from_secs(10)),
            operation_timeout: Some(Duration::from_secs(3)),
            recovery_timeout: Some(Duration::from_secs(120)),
            pre_vote: Some(false),
            check_quorum: Some(false),
            ..TestOptions::default()
        };
        Ok(ours.or(self.options.clone()).or(usual).resolve(Seed(1))?)
    }
}
