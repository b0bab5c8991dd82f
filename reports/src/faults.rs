//! Faults as intervals, and what the observer saw, out of the events of the named processes.
//!
//! An action of the nemesis is two events, at its beginning and at its end. Between the two events of an `apply` the fault
//! comes into force, between those of an `undo` it goes; what lies between is its interval. Histories of other tools have
//! no `action`: `start…` and `stop…` are taken for apply and undo as Jepsen's nemeses mean them, anything else for a moment.

use std::collections::BTreeMap;

use labrys_history::{Event, History, Process, Value};

/// A fault, from its application to its undoing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its identity in the schedule, or a running number.
    pub id: String,
    /// `partition`, `pause`, `kill`, …
    pub kind: String,
    /// What it was, in words.
    pub what: String,
    /// The nodes that it was aimed at.
    pub nodes: Vec<String>,
    /// Whether it was seen to have an effect; `None` if nobody looked.
    pub bit: Option<bool>,
    /// By what that was seen.
    pub evidence: String,
    /// What went wrong in applying or undoing it.
    pub errors: Vec<String>,
    /// When its application began.
    pub apply_ns: u64,
    /// When it was in force.
    pub applied_ns: Option<u64>,
    /// When its undoing began.
    pub undo_ns: Option<u64>,
    /// When it was gone.
    pub undone_ns: Option<u64>,
}

impl Fault {
    /// The end of the interval, given that of the history.
    pub fn end_ns(&self, history_end_ns: u64) -> u64 {
        self.undone_ns.or(self.undo_ns).unwrap_or(history_end_ns)
    }

    /// `bit`, `did not bite`, `not known`.
    pub fn effect(&self) -> &'static str {
        match self.bit {
            Some(true) => "bit",
            Some(false) => "did not bite",
            None => "not known",
        }
    }
}

/// A leader, as the observer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// When.
    pub time_ns: u64,
    /// The node, as text.
    pub node: String,
    /// Its term.
    pub term: Option<i64>,
}

/// Something else that the observer saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    /// When.
    pub time_ns: u64,
    /// The index of the event.
    pub index: u64,
    /// `exit`, `invariant`, `digest`, …
    pub what: String,
    /// The rest of it.
    pub detail: String,
}

/// The text of a value without the quotes of a string.
pub(crate) fn plain(value: &Value) -> String {
    value.as_text().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Apply,
    Undo,
    Moment,
}

/// The faults in order of application. O(events + faults²) at worst, for faults that are all open at once.
pub(crate) fn faults(history: &History) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for event in history.named(Process::NEMESIS) {
        let (action, kind) = action_and_kind(event);
        let id = event.value.get("fault").map(plain);
        let matches = |fault: &Fault| match &id {
            Some(id) => fault.id == *id,
            None => fault.kind == kind,
        };
        let found = open.iter().copied().find(|&position| matches(&faults[position]));
        let position = match found {
            Some(position) => position,
            None if action == Action::Undo => continue,
            None => {
                faults.push(begun(event, kind, id.unwrap_or_else(|| (faults.len() + 1).to_string())));
                open.push(faults.len() - 1);
                faults.len() - 1
            }
        };
        let fault = &mut faults[position];
        learn(fault, event);
        match action {
            Action::Apply if event.time_ns > fault.apply_ns || found.is_some() => {
                fault.applied_ns = Some(event.time_ns);
            }
            Action::Apply => {}
            // It is still there, and is tried again.
            Action::Undo if event.error().is_some() => fault.undo_ns = None,
            Action::Undo if fault.undo_ns.is_none() => fault.undo_ns = Some(event.time_ns),
            Action::Undo => {
                fault.undone_ns = Some(event.time_ns);
                open.retain(|&other| other != position);
            }
            Action::Moment => {
                fault.undone_ns = Some(event.time_ns);
                open.retain(|&other| found.is_none() || other != position);
            }
        }
    }
    faults
}

fn action_and_kind(event: &Event) -> (Action, String) {
    let f = &*event.f;
    match event.value.get("action").and_then(Value::as_text) {
        Some("apply") => return (Action::Apply, f.to_owned()),
        Some("undo") => return (Action::Undo, f.to_owned()),
        _ => {}
    }
    for (word, action) in [("start", Action::Apply), ("stop", Action::Undo)] {
        if let Some(rest) = f.strip_prefix(word) {
            let kind = rest.trim_start_matches(['-', '_', ' ']);
            return (action, if kind.is_empty() { "nemesis".to_owned() } else { kind.to_owned() });
        }
    }
    (Action::Moment, f.to_owned())
}

fn begun(event: &Event, kind: String, id: String) -> Fault {
    Fault {
        id,
        kind,
        what: String::new(),
        nodes: Vec::new(),
        bit: None,
        evidence: String::new(),
        errors: Vec::new(),
        apply_ns: event.time_ns,
        applied_ns: None,
        undo_ns: None,
        undone_ns: None,
    }
}

/// Takes over what an event adds to the knowledge of a fault.
fn learn(fault: &mut Fault, event: &Event) {
    let value = &event.value;
    if let Some(what) = value.get("what") {
        fault.what = plain(what);
    } else if fault.what.is_empty() {
        fault.what = if value.is_nil() { fault.kind.clone() } else { plain(value) };
    }
    if let Some(nodes) = value.get("nodes").and_then(Value::as_sequence) {
        fault.nodes = nodes.iter().map(plain).collect();
    }
    if let Some(Value::Bool(bit)) = value.get("bit") {
        fault.bit = Some(fault.bit == Some(true) || *bit);
    }
    if let Some(evidence) = value.get("evidence").filter(|evidence| !evidence.is_nil()) {
        fault.evidence = plain(evidence);
    }
    let errors = [value.get("error"), event.error()];
    for error in errors.into_iter().flatten().filter(|error| !error.is_nil()).map(plain) {
        if !fault.errors.contains(&error) {
            fault.errors.push(error);
        }
    }
}

/// The leaders and the other observations, in order of time.
pub(crate) fn observations(history: &History) -> (Vec<Leader>, Vec<Observation>) {
    let mut leaders = Vec::new();
    let mut others = Vec::new();
    for event in history.named(Process::OBSERVER) {
        let time_ns = event.time_ns;
        if &*event.f == "clock" {
            // There are many, and they have a picture of their own.
            continue;
        }
        if &*event.f == "leader" {
            let node = event.value.get("node").map_or_else(|| plain(&event.value), plain);
            leaders.push(Leader { time_ns, node, term: event.value.get("term").and_then(Value::as_int) });
        } else {
            let detail = match event.error() {
                Some(error) => format!("{} ({})", plain(&event.value), plain(error)),
                None => plain(&event.value),
            };
            others.push(Observation { time_ns, index: event.index, what: event.f.to_string(), detail });
        }
    }
    (leaders, others)
}

/// The offsets of the nodes' clocks, as the observer saw them.
pub(crate) fn clocks(history: &History) -> BTreeMap<String, Vec<(u64, i64)>> {
    let mut clocks: BTreeMap<String, Vec<(u64, i64)>> = BTreeMap::new();
    for event in history.named(Process::OBSERVER).filter(|event| &*event.f == "clock") {
        let offset_us = event.value.get("offset-us").and_then(Value::as_int);
        if let (Some(node), Some(offset_us)) = (event.value.get("node"), offset_us) {
            clocks.entry(plain(node)).or_default().push((event.time_ns, offset_us));
        }
    }
    clocks
}

#[cfg(test)]
mod tests {
    use labrys_history::EventKind;

    use super::*;

    fn event(time_ns: u64, f: &str, entries: &[(&str, Value)]) -> Event {
        let map = entries.iter().map(|(name, value)| (Value::from(*name), value.clone())).collect();
        Event::new(time_ns, time_ns, Process::nemesis(), EventKind::Info, f, Value::Map(map))
    }

    #[test]
    fn a_fault_lasts_from_its_first_apply_to_its_last_undo() {
        let id = ("fault", Value::Int(4));
        let what = ("what", Value::from("n1 | n2 n3"));
        let [apply, undo] = ["apply", "undo"].map(|action| ("action", Value::from(action)));
        let history = History::from_validated(vec![
            event(10, "partition", &[id.clone(), apply.clone(), what.clone()]),
            event(12, "partition", &[id.clone(), apply, ("bit", Value::Bool(false))]),
            event(50, "partition", &[id.clone(), undo.clone(), ("bit", Value::Bool(true))]),
            event(55, "partition", &[id, undo, ("evidence", Value::from("12 packets dropped"))]),
        ]);
        let [fault] = &faults(&history)[..] else { panic!("one fault") };
        assert_eq!(
            (fault.id.as_str(), fault.kind.as_str(), fault.what.as_str()),
            ("4", "partition", "n1 | n2 n3")
        );
        assert_eq!(
            (fault.apply_ns, fault.applied_ns, fault.undo_ns, fault.undone_ns),
            (10, Some(12), Some(50), Some(55))
        );
        assert_eq!((fault.bit, fault.evidence.as_str()), (Some(true), "12 packets dropped"));
    }

    #[test]
    fn a_fault_that_was_never_undone_lasts_to_the_end_of_the_history() {
        let history = History::from_validated(vec![event(
            10,
            "kill",
            &[("fault", Value::Int(1)), ("action", Value::from("apply"))],
        )]);
        assert_eq!(faults(&history)[0].end_ns(99), 99);
    }

    #[test]
    fn the_nemesis_of_another_tool_is_understood_by_start_and_stop() {
        let names = ["start-partition", "start-partition", "stop-partition", "stop-partition", "bump-clock"];
        let events = names
            .iter()
            .zip(1..)
            .map(|(f, time)| Event::new(time, time, Process::nemesis(), EventKind::Info, *f, Value::Nil));
        let found = faults(&History::from_validated(events.collect()));
        let intervals: Vec<_> =
            found.iter().map(|fault| (&*fault.kind, fault.apply_ns, fault.end_ns(9))).collect();
        assert_eq!(intervals, [("partition", 1, 4), ("bump-clock", 5, 5)]);
    }
}
