//! [`FaultCoverage`]: of each kind of fault, how many there were, how many bit, and what operations went through meanwhile; and
//! whether those that had to bite did.
//!
//! A run that was made for a kind of fault of which none had an effect has not tested what it was made for: it is *unknown*, and the
//! reason says which kind, and what became of it. Where nothing is required this is always valid, and its statistics are what it is for.
//!
//! A kind is what the history calls it, the function of the nemesis's events. A fault is in force from the end of its application until it
//! was seen to be undone; what was tried before, and failed, did not end it. An operation goes through a kind if it was under way while any fault of the kind was in force; it is
//! *slow* if it succeeded and took more than ten times the median of all that succeeded in the run. O((faults + operations) log).

use std::collections::BTreeMap;

use labrys_history::{Completion, History, Operation, Process, Value};
use serde::{Deserialize, Serialize};

use crate::check::{CheckError, Checker, Context};
use crate::observer::{FaultAction, faults};
use crate::verdict::{CheckVerdict, Validity};

/// The name of the checker.
pub const FAULT_COVERAGE: &str = "fault-coverage";

/// In its statistics, where the coverage of each kind is.
const KINDS: &str = "kinds";

/// So many times the median is slow.
const SLOW_MEDIANS: u64 = 10;

/// The checker `fault-coverage`.
#[derive(Clone, Debug, Default)]
pub struct FaultCoverage {
    /// How many faults of each kind were planned.
    pub planned: BTreeMap<String, u64>,
    /// The kinds of which at least one fault must have an effect.
    pub required: Vec<String>,
}

/// What is known of the faults of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct KindCoverage {
    /// Faults that were planned; 0 where nobody says.
    pub planned: u64,
    /// Faults that were applied.
    pub applied: u64,
    /// Faults that were seen to have an effect.
    pub bit: u64,
    /// Faults whose event never came.
    pub never_came: u64,
    /// How long at least one was in force, in milliseconds.
    pub active_ms: u64,
    /// Operations that were under way meanwhile.
    pub operations: u64,
    /// Of these, those that failed or of which nobody knows.
    pub not_ok: u64,
    /// Of these, those that succeeded slowly.
    pub slow: u64,
}

impl KindCoverage {
    /// The coverage of each kind, from the verdict of this checker.
    #[must_use]
    pub fn of_verdict(check: &CheckVerdict) -> BTreeMap<String, KindCoverage> {
        let kinds = check.statistics.get(KINDS).filter(|_| check.checker == FAULT_COVERAGE);
        kinds.and_then(|kinds| serde_json::from_value(kinds.clone()).ok()).unwrap_or_default()
    }
}

/// A fault, as the history has it.
#[derive(Clone, Debug)]
struct Seen {
    kind: String,
    from_ns: u64,
    to_ns: u64,
    bit: bool,
}

impl Checker for FaultCoverage {
    fn name(&self) -> &str {
        FAULT_COVERAGE
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let mut kinds: BTreeMap<String, KindCoverage> = BTreeMap::new();
        for (kind, planned) in &self.planned {
            kinds.entry(kind.clone()).or_default().planned = *planned;
        }
        for kind in &self.required {
            kinds.entry(kind.clone()).or_default();
        }
        for event in history.named(Process::OBSERVER).filter(|event| &*event.f == "fault-never-came") {
            if let Some(kind) = event.value.get("kind").and_then(Value::as_text) {
                kinds.entry(kind.to_owned()).or_default().never_came += 1;
            }
        }
        let end_ns = history.events().last().map_or(0, |event| event.time_ns);
        let seen = in_force(history, end_ns);
        let mut intervals: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for fault in &seen {
            let coverage = kinds.entry(fault.kind.clone()).or_default();
            coverage.applied += 1;
            coverage.bit += u64::from(fault.bit);
            intervals.entry(&fault.kind).or_default().push((fault.from_ns, fault.to_ns));
        }
        let operations = history.operations();
        let slow_ns = median_ns(&operations).map(|median_ns| median_ns.saturating_mul(SLOW_MEDIANS));
        for (kind, intervals) in intervals {
            let merged = merged(intervals);
            let coverage = kinds.entry(kind.to_owned()).or_default();
            coverage.active_ms =
                merged.iter().map(|(from_ns, to_ns)| to_ns - from_ns).sum::<u64>() / 1_000_000;
            for operation in operations.iter().filter(|operation| overlaps(operation, &merged)) {
                coverage.operations += 1;
                match latency_ns(operation) {
                    None => coverage.not_ok += 1,
                    Some(ns) => coverage.slow += u64::from(slow_ns.is_some_and(|slow_ns| ns > slow_ns)),
                }
            }
        }
        Ok(self.verdict(kinds, slow_ns))
    }
}

impl FaultCoverage {
    fn verdict(&self, kinds: BTreeMap<String, KindCoverage>, slow_ns: Option<u64>) -> CheckVerdict {
        let missed = self.required.iter().filter_map(|kind| {
            let coverage = kinds.get(kind)?;
            let why = match coverage {
                KindCoverage { bit: 1.., .. } => return None,
                KindCoverage { applied: 0, never_came: 0, .. } => "none was applied".to_owned(),
                KindCoverage { applied: 0, never_came, .. } => {
                    format!("the event that {never_came} of its faults waited for never came")
                }
                KindCoverage { applied, .. } => format!("none of the {applied} applied had an effect"),
            };
            Some(format!("{kind} had to bite: {why}"))
        });
        let reason = missed.collect::<Vec<_>>().join("; ");
        let mut statistics = BTreeMap::from([(
            KINDS.to_owned(),
            // Numbers by name, which JSON can say.
            serde_json::to_value(&kinds).unwrap_or_default(),
        )]);
        statistics.extend(slow_ns.map(|slow_ns| ("slow-above-us".to_owned(), (slow_ns / 1_000).into())));
        CheckVerdict {
            checker: FAULT_COVERAGE.to_owned(),
            validity: if reason.is_empty() { Validity::Valid } else { Validity::Unknown },
            reason,
            partitions: Vec::new(),
            evidence: Vec::new(),
            statistics,
        }
    }
}

/// Every fault that was applied.
fn in_force(history: &History, end_ns: u64) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut open: BTreeMap<Value, usize> = BTreeMap::new();
    for step in faults(history) {
        if step.action == FaultAction::Apply && step.ends {
            let fault =
                Seen { kind: step.kind, from_ns: step.time_ns, to_ns: end_ns, bit: step.bit == Some(true) };
            open.insert(step.fault, seen.len());
            seen.push(fault);
        } else if step.action == FaultAction::Undo
            && let Some(&position) = open.get(&step.fault)
        {
            let fault = &mut seen[position];
            fault.bit |= step.bit == Some(true);
            if step.ends {
                fault.to_ns = step.time_ns;
                open.remove(&step.fault);
            }
        }
    }
    seen
}

/// The same time in intervals that are apart, in order.
fn merged(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from_ns, to_ns) in intervals {
        match merged.last_mut() {
            Some(last) if from_ns <= last.1 => last.1 = last.1.max(to_ns),
            _ => merged.push((from_ns, to_ns.max(from_ns))),
        }
    }
    merged
}

fn overlaps(operation: &Operation<'_>, merged: &[(u64, u64)]) -> bool {
    let ends_ns = operation.completion().time_ns().unwrap_or(u64::MAX);
    let begun = merged.partition_point(|(from_ns, _)| *from_ns <= ends_ns);
    begun > 0 && merged[begun - 1].1 >= operation.invoke_time_ns()
}

/// How long it took, if it succeeded.
fn latency_ns(operation: &Operation<'_>) -> Option<u64> {
    match operation.completion() {
        Completion::Ok { time_ns, .. } => Some(time_ns.saturating_sub(operation.invoke_time_ns())),
        Completion::Fail { .. } | Completion::Info { .. } => None,
    }
}

fn median_ns(operations: &[Operation<'_>]) -> Option<u64> {
    let mut latencies: Vec<u64> = operations.iter().filter_map(latency_ns).collect();
    latencies.sort_unstable();
    latencies.get(latencies.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use labrys_history::{Event, EventKind};

    use super::*;

    const MS: u64 = 1_000_000;

    fn step(at_ms: u64, f: &str, fault: i64, action: &str, bit: Option<bool>) -> Event {
        let phase = if bit.is_some() { "complete" } else { "invoke" };
        let mut fields = vec![
            (Value::from("fault"), Value::Int(fault)),
            (Value::from("action"), Value::from(action)),
            (Value::from("phase"), Value::from(phase)),
        ];
        fields.extend(bit.map(|bit| (Value::from("bit"), Value::Bool(bit))));
        Event::new(0, at_ms * MS, Process::nemesis(), EventKind::Info, f, Value::map(fields))
    }

    fn operation(from_ms: u64, to_ms: u64, process: u64, kind: EventKind) -> [Event; 2] {
        let at =
            |ms: u64, kind| Event::new(0, ms * MS, Process::Client(process), kind, "write", Value::Int(1));
        [at(from_ms, EventKind::Invoke), at(to_ms, kind)]
    }

    fn history(mut events: Vec<Event>) -> History {
        events.sort_by_key(|event| event.time_ns);
        for (index, event) in (0..).zip(&mut events) {
            event.index = index;
        }
        History::from_validated(events)
    }

    fn judged(history: &History, required: &[&str]) -> (CheckVerdict, BTreeMap<String, KindCoverage>) {
        let checker = FaultCoverage {
            planned: BTreeMap::from([("kill".to_owned(), 2)]),
            required: required.iter().map(ToString::to_string).collect(),
        };
        let verdict = checker.check(history, &Context::default()).expect("it always can");
        let kinds = KindCoverage::of_verdict(&verdict);
        (verdict, kinds)
    }

    /// Two kills that overlap, from 100 to 210 ms together, of which one bites; a partition from 300 to 410 ms that does not.
    fn faults_and(operations: Vec<[Event; 2]>) -> History {
        let mut events = vec![
            step(90, "kill", 1, "apply", None),
            step(100, "kill", 1, "apply", Some(true)),
            step(140, "kill", 2, "apply", Some(false)),
            step(150, "kill", 1, "undo", None),
            step(160, "kill", 1, "undo", Some(true)),
            step(200, "kill", 2, "undo", None),
            step(210, "kill", 2, "undo", Some(false)),
            step(300, "partition", 3, "apply", Some(false)),
            step(400, "partition", 3, "undo", None),
            step(410, "partition", 3, "undo", Some(false)),
        ];
        events.extend(operations.into_iter().flatten());
        history(events)
    }

    #[test]
    fn a_kind_is_covered_by_what_was_under_way_while_any_of_its_faults_was_in_force() {
        let history = faults_and(vec![
            operation(10, 11, 0, EventKind::Ok),
            operation(20, 21, 0, EventKind::Ok),
            operation(50, 51, 0, EventKind::Ok),
            operation(95, 199, 1, EventKind::Ok),
            operation(120, 130, 2, EventKind::Info),
            operation(199, 220, 3, EventKind::Fail),
            operation(211, 212, 4, EventKind::Ok),
            operation(399, 405, 0, EventKind::Ok),
        ]);
        let (verdict, kinds) = judged(&history, &[]);
        assert_eq!(verdict.validity, Validity::Valid);
        let expected = KindCoverage {
            planned: 2,
            applied: 2,
            bit: 1,
            active_ms: 110,
            operations: 3,
            not_ok: 2,
            slow: 1,
            ..KindCoverage::default()
        };
        assert_eq!(kinds["kill"], expected);
        let partition = &kinds["partition"];
        assert_eq!((partition.applied, partition.bit, partition.operations, partition.slow), (1, 0, 1, 0));
    }

    #[test]
    fn a_required_kind_that_never_bit_leaves_the_run_unknown_with_the_reason() {
        let history = faults_and(vec![]);
        let (verdict, _) = judged(&history, &["kill"]);
        assert_eq!((verdict.validity, verdict.reason.as_str()), (Validity::Valid, ""));
        let (verdict, _) = judged(&history, &["kill", "partition", "clock"]);
        assert_eq!(verdict.validity, Validity::Unknown);
        assert_eq!(
            verdict.reason,
            "partition had to bite: none of the 1 applied had an effect; clock had to bite: none was applied"
        );
    }

    #[test]
    fn a_fault_is_in_force_until_it_was_seen_undone_whatever_was_tried_before() {
        let failed = step(160, "kill", 1, "undo", Some(true)).with_error(Some(Value::from("n1 is stubborn")));
        let undone = |events: &[Event]| {
            let tried = [
                step(100, "kill", 1, "apply", Some(true)),
                step(150, "kill", 1, "undo", None),
                failed.clone(),
            ];
            let mut all = tried.to_vec();
            all.extend(events.iter().cloned());
            all.extend(operation(170, 180, 0, EventKind::Fail));
            all.extend(operation(900, 1_100, 0, EventKind::Ok));
            let (_, kinds) = judged(&history(all), &[]);
            (kinds["kill"].active_ms, kinds["kill"].operations, kinds["kill"].applied)
        };
        let again = [step(500, "kill", 1, "undo", None), step(510, "kill", 1, "undo", Some(true))];
        assert_eq!(undone(&again), (410, 1, 1));
        assert_eq!(undone(&[]), (1_000, 2, 1), "it was never undone");
    }

    #[test]
    fn a_fault_whose_event_never_came_is_counted_and_named() {
        let value = Value::map(vec![(Value::from("kind"), Value::from("pause"))]);
        let event = Event::new(0, 5, Process::observer(), EventKind::Info, "fault-never-came", value);
        let (verdict, kinds) = judged(&history(vec![event]), &["pause"]);
        assert_eq!(kinds["pause"].never_came, 1);
        assert!(verdict.reason.contains("1 of its faults waited for never came"), "{}", verdict.reason);
    }
}
