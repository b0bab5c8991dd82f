//! What more than one output needs to know of a run, computed once: operations, lanes, faults, counts, and where the
//! evidence points.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;
use labrys_checker::invariants::KindCoverage;
use labrys_checker::verdict::{Validity, Verdict};
use labrys_history::{Completion, EventKind, History, Operation};

use crate::Inputs;
use crate::describe::Times;
use crate::faults::{Fault, Leader, Observation, clocks, faults, observations};
use crate::lanes::Lanes;
use crate::violations::{Violation, key_text, violations};

/// The outcomes of an operation in the order of every table: `ok`, `fail`, `info`.
pub(crate) const OUTCOMES: [EventKind; 3] = [EventKind::Ok, EventKind::Fail, EventKind::Info];

/// The run, ready to be drawn.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub inputs: Inputs<'a>,
    /// In order of invocation.
    pub operations: Vec<Operation<'a>>,
    pub lanes: Lanes,
    pub faults: Vec<Fault>,
    /// What each kind of fault went with, if the verdict says so.
    pub coverage: BTreeMap<String, KindCoverage>,
    /// How long the system took to come back when all faults were undone, if the verdict says so.
    pub recovery_ms: Option<u64>,
    pub leaders: Vec<Leader>,
    pub observations: Vec<Observation>,
    /// By node: when its clock was how far ahead of the machine's, in microseconds; in order of time.
    pub clocks: BTreeMap<String, Vec<(u64, i64)>>,
    /// By function.
    pub functions: BTreeMap<String, FunctionFacts>,
    /// In order of first appearance in the history.
    pub keys: Vec<KeyFacts>,
    pub violations: Vec<Violation<'a>>,
    /// The time of the last event.
    pub end_ns: u64,
    pub times: Times,
}

/// How the operations of a function ended, and how long those took that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct FunctionFacts {
    /// In the order of [`OUTCOMES`].
    pub outcomes: [u64; 3],
    /// Latencies in microseconds of those that ended `ok`.
    pub latency_us: Histogram<u64>,
}

/// A key and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFacts {
    /// As text.
    pub text: String,
    pub operations: u64,
    /// The gravest verdict on it, if a checker judged it on its own.
    pub validity: Option<Validity>,
    /// The reason that came with it.
    pub reason: String,
}

impl<'a> Facts<'a> {
    pub fn of(inputs: Inputs<'a>) -> Facts<'a> {
        let history: &History = inputs.history;
        let operations = history.operations();
        let end_ns = history.events().last().map_or(0, |event| event.time_ns);
        let (leaders, observations) = observations(history);
        Facts {
            lanes: Lanes::new(&operations, inputs.run.concurrency),
            faults: faults(history),
            coverage: inputs.verdict.checks.iter().flat_map(KindCoverage::of_verdict).collect(),
            recovery_ms: inputs
                .verdict
                .checks
                .iter()
                .find_map(|check| check.statistics.get("recovery_ms").and_then(serde_json::Value::as_u64)),
            leaders,
            observations,
            clocks: clocks(history),
            functions: functions(&operations),
            keys: keys(&operations, inputs.verdict),
            violations: violations(inputs.verdict, history, &operations, end_ns),
            operations,
            end_ns,
            times: Times::of(history.events()),
            inputs,
        }
    }

    /// The number of operations of each outcome, in the order of [`OUTCOMES`].
    pub fn outcomes(&self) -> [u64; 3] {
        let mut sum = [0; 3];
        for function in self.functions.values() {
            for (total, number) in sum.iter_mut().zip(function.outcomes) {
                *total += number;
            }
        }
        sum
    }

    /// Kinds of fault, in order of their names; position is identity for colours and lanes.
    pub fn fault_kinds(&self) -> Vec<&str> {
        let kinds: BTreeSet<&str> = self.faults.iter().map(|fault| fault.kind.as_str()).collect();
        kinds.into_iter().collect()
    }

    /// One sentence for the whole verdict: the first reason of the gravest checks, or what was found to be in order.
    pub fn reason(&self) -> String {
        let verdict = self.inputs.verdict;
        let gravest = verdict.checks.iter().filter(|check| check.validity == verdict.validity);
        let reasons: Vec<&str> =
            gravest.map(|check| check.reason.as_str()).filter(|text| !text.is_empty()).collect();
        match (verdict.validity, reasons.first()) {
            (Validity::Valid, _) => {
                let names: Vec<&str> = verdict.checks.iter().map(|check| check.checker.as_str()).collect();
                format!("Every check passed: {}.", names.join(", "))
            }
            (_, Some(reason)) => (*reason).to_owned(),
            (Validity::Unknown, None) if verdict.checks.is_empty() => "Nothing was checked.".to_owned(),
            (Validity::Unknown, None) => "A check could not be decided, and gave no reason.".to_owned(),
            (Validity::Invalid, None) => self.violations.first().map_or_else(
                || "A check failed, and gave no reason.".to_owned(),
                |violation| violation.partition.reason.clone(),
            ),
        }
    }
}

/// The position of an outcome in [`OUTCOMES`].
pub(crate) fn outcome(completion: Completion<'_>) -> usize {
    match completion {
        Completion::Ok { .. } => 0,
        Completion::Fail { .. } => 1,
        Completion::Info { .. } => 2,
    }
}

fn functions(operations: &[Operation]) -> BTreeMap<String, FunctionFacts> {
    let mut functions: BTreeMap<String, FunctionFacts> = BTreeMap::new();
    for operation in operations {
        if !functions.contains_key(operation.f()) {
            functions.insert(
                operation.f().to_string(),
                FunctionFacts { outcomes: [0; 3], latency_us: histogram() },
            );
        }
        let Some(function) = functions.get_mut(operation.f()) else { continue };
        function.outcomes[outcome(operation.completion())] += 1;
        if let Completion::Ok { time_ns, .. } = operation.completion() {
            function.latency_us.saturating_record(time_ns.saturating_sub(operation.invoke_time_ns()) / 1_000);
        }
    }
    functions
}

/// A histogram of microseconds to three digits that grows as needed.
pub(crate) fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3)
        .unwrap_or_else(|error| unreachable!("an hour in microseconds are bounds of a histogram: {error}"));
    histogram.auto(true);
    histogram
}

fn keys(operations: &[Operation], verdict: &Verdict) -> Vec<KeyFacts> {
    let mut keys: Vec<KeyFacts> = Vec::new();
    let mut position_of: BTreeMap<String, usize> = BTreeMap::new();
    let mut position = |text: String, keys: &mut Vec<KeyFacts>| {
        *position_of.entry(text.clone()).or_insert_with(|| {
            keys.push(KeyFacts { text, operations: 0, validity: None, reason: String::new() });
            keys.len() - 1
        })
    };
    for operation in operations {
        if let Some(key) = operation.key() {
            let at = position(key.to_string(), &mut keys);
            keys[at].operations += 1;
        }
    }
    for partition in verdict.checks.iter().flat_map(|check| &check.partitions) {
        let Some(text) = key_text(&partition.key) else { continue };
        let at = position(text, &mut keys);
        if keys[at].validity < Some(partition.validity) {
            keys[at].validity = Some(partition.validity);
            keys[at].reason.clone_from(&partition.reason);
        }
    }
    keys
}
