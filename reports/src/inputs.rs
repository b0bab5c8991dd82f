//! What a report is made of: the three things that cross the seam from the harness and the checkers.

use labrys_checker::verdict::Verdict;
use labrys_history::History;
use serde::{Deserialize, Serialize};

/// Everything that a report may look at.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What happened: operations, faults (process `nemesis`) and observations (process `observer`).
    pub history: &'a History,
    /// What the checkers say of it.
    pub verdict: &'a Verdict,
    /// What was run, for people.
    pub run: &'a RunDescription,
}

/// What was run. All of it is shown and none of it is interpreted, but for `concurrency`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunDescription {
    /// The test's name: `register`, or the name of a file that was checked.
    pub name: String,
    /// When it began, as it is to be shown: `2026-11-21T03:33:56Z`. Empty if unknown.
    pub started: String,
    /// The seed, if there was one.
    pub seed: Option<u64>,
    /// The command line that repeats the run. Empty if unknown.
    pub command: String,
    /// The number of client threads. Process `p` ran on thread `p mod concurrency`, and has its lane in the timeline; without
    /// it, processes share lanes where their lifetimes allow it.
    pub concurrency: Option<u64>,
    /// The resolved configuration, by name, in the order in which to show it.
    pub configuration: Vec<(String, String)>,
    /// Other files of the run that the report has a link to: what, and where, seen from the report.
    pub files: Vec<(String, String)>,
    /// Versions of what took part: Labrys, the system under test, the kernel.
    pub versions: Vec<(String, String)>,
}
