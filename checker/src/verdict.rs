//! What a checker says: three-valued, with evidence as data. This is the schema of `verdict.json`.
//!
//! Reports draw it and decide nothing. Fields may be added within a schema version; a changed meaning raises
//! [`Verdict::SCHEMA`]. Events are named by their index in the history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether a history is what it should be. Never a bool: `Unknown` is not `Valid`.
///
/// The order is by gravity for a combination of checks: any `Invalid` outweighs all, any `Unknown` outweighs `Valid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validity {
    /// Checked completely, and nothing was wrong.
    Valid,
    /// Not decided: a budget ran out, or nothing was exercised.
    Unknown,
    /// Wrong, with evidence.
    Invalid,
}

/// The verdict on a whole run or file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Version of this schema.
    pub schema: u32,
    /// Version of Labrys that judged.
    pub labrys_version: String,
    /// The gravest validity of all checks; `Unknown` when there are none.
    pub validity: Validity,
    /// One verdict per checker, in the order in which they were asked for.
    pub checks: Vec<CheckVerdict>,
}

impl Verdict {
    /// The version written by this release.
    pub const SCHEMA: u32 = 1;

    /// The combination of `checks`.
    #[must_use]
    pub fn of(checks: Vec<CheckVerdict>) -> Verdict {
        let validity = checks.iter().map(|check| check.validity).max().unwrap_or(Validity::Unknown);
        Verdict {
            schema: Self::SCHEMA,
            labrys_version: env!("CARGO_PKG_VERSION").to_owned(),
            validity,
            checks,
        }
    }
}

/// The verdict of one checker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckVerdict {
    /// The checker: `linearizable`, `statistics`, `one-leader-per-term`, …
    pub checker: String,
    /// What it says.
    pub validity: Validity,
    /// One sentence for a person: why it is invalid or unknown; empty for most valid ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The independent partitions (keys) that it judged one by one, where it does so, in order of key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionVerdict>,
    /// Evidence that belongs to no partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Numbers by name: operations, configurations explored, milliseconds, bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statistics: BTreeMap<String, serde_json::Value>,
}

/// The verdict on one partition of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionVerdict {
    /// The key, as it is in the history file (JSON form); null for a history without keys.
    pub key: serde_json::Value,
    /// What was found.
    pub validity: Validity,
    /// One sentence: why it is invalid or unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The algorithm that decided: `wgl`, `breadth-first`, …
    pub algorithm: String,
    /// Number of operations in the partition.
    pub operations: u64,
    /// What proves it invalid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// What proves it valid, if it was asked for ([`crate::Context::witness`]): its operations, each by the index of its invocation, in an
    /// order that is legal for the model and respects real time. All that completed stand in it, and of those that crashed the
    /// ones that took effect. It was checked by stepping the model through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linearization: Option<Vec<u64>>,
    /// Numbers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statistics: BTreeMap<String, serde_json::Value>,
}

/// Evidence as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Evidence {
    /// No order of the operations that respects real time is legal for the model.
    NonLinearizable(NonLinearizable),
    /// A statement about some events that breaks an invariant: two leaders in a term, unequal digests, a panic.
    Broken {
        /// One sentence.
        what: String,
        /// The events it is about, by index; possibly none.
        #[serde(default)]
        events: Vec<u64>,
    },
}

/// Why a partition cannot be linearized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NonLinearizable {
    /// Index of the completion event that ends the shortest prefix which cannot be linearized. Operations that are in flight
    /// at its end are known by what they returned later.
    pub prefix_end: u64,
    /// Index of the invocation of the operation which that event completes.
    pub operation: u64,
    /// A longest legal order of operations of that prefix which has all that completed before its end. Crashed operations
    /// stand in it only where they are needed and count for nothing. (Where crashed operations make the search very large:
    /// the longest of those that were found; where a polynomial algorithm decided: one that ends in whatever could be appended.) Only the last steps, if it is very long.
    pub longest_linearization: Vec<Step>,
    /// So many steps at its beginning were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_steps: u64,
    /// The model's state after it, in words.
    pub state: String,
    /// For every operation that could come next: why the model refuses it, or why it leads nowhere.
    pub candidates: Vec<Candidate>,
    /// The configurations that are left just before `prefix_end`, of which none survives it: a few.
    #[serde(default, skip_serializing_if = "Surviving::is_empty")]
    pub surviving: Surviving,
    /// A small part of the history that cannot be linearized either, and whose violation is one of the whole; if one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimal: Option<MinimalHistory>,
    /// What of this is missing or less than it could be, and why: a budget ran out, or it failed. That the partition cannot
    /// be linearized is certain all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_short: Vec<CutShort>,
}

/// A part of an explanation that is missing, or less than it could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutShort {
    /// Which.
    pub part: ExplanationPart,
    /// Why: `the time limit of 1s ran out`.
    pub reason: String,
}

/// A part of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExplanationPart {
    /// `prefix_end`: no order explains the prefix that ends there, but perhaps a shorter one is not explained either.
    ShortestPrefix,
    /// `longest_linearization`, `state` and `candidates`.
    LongestLinearization,
    /// `surviving`.
    SurvivingConfigurations,
    /// `minimal`.
    MinimalHistory,
}

/// What is left of all orders just before the completion that none survives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surviving {
    /// A few configurations: first that of the longest linearization, then those with the most operations linearized.
    pub configurations: Vec<Configuration>,
    /// So many more were found.
    #[serde(default)]
    pub omitted: u64,
    /// Whether there are no others than these and the omitted ones, except such as follow from one of them by linearizing operations in
    /// flight, and such as can do no more than one of them. If not, the search was narrow, or began at the order of the longest
    /// linearization a little before the end of the prefix.
    #[serde(default)]
    pub is_all: bool,
}

impl Surviving {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.configurations.is_empty()
    }
}

/// Where an order of the operations may be when all that completed before some event are linearized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// The model's state, in words.
    pub state: String,
    /// The operations in flight that are linearized already, by index of the invocation, ascending.
    pub linearized: Vec<u64>,
    /// The crashed operations that took effect, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crashed: Vec<u64>,
    /// So many crashed operations that took effect, the first ones, are left out of `crashed`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_crashed: u64,
    /// For every operation that could come next: why the model refuses it, or why it leads nowhere.
    pub candidates: Vec<Candidate>,
}

/// A part of a history that cannot be linearized, from which nothing can be left out: see [`crate::removal`] for what may be left
/// out at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinimalHistory {
    /// The operations, in order of invocation.
    pub operations: Vec<MinimalOperation>,
    /// Whether it was tried for each operation whether it can be left out, with whatever has to go with it. If not, a budget ran out.
    pub is_minimal: bool,
}

/// An operation of a minimal counterexample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinimalOperation {
    /// Index of the invocation.
    pub operation: u64,
    /// The operation in words.
    pub description: String,
    /// When it was invoked.
    pub invoked_ns: u64,
    /// Index of the completion; none if it crashed, or completed behind the end of the shortest prefix that cannot be linearized:
    /// the part cannot be linearized even if such operations may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<u64>,
    /// When it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_ns: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An operation in a linearization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Index of the invocation.
    pub operation: u64,
    /// The operation in words: `write 3`, `read → 1`.
    pub description: String,
    /// The model's state after it, in words.
    pub state: String,
}

/// An operation that could have come next, and why it does not help.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Index of the invocation.
    pub operation: u64,
    /// The operation in words.
    pub description: String,
    /// The model's reason: `read 3, but the register holds 1`.
    pub reason: String,
}
