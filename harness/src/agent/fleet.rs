//! [`Fleet`]: the agents of all nodes as one nemesis. A fault goes to the agents of the nodes that it is done to, all at once; what they
//! say is put together.
//!
//! It keeps a journal on this machine as well: which machines the run has, and what may be applied on them, for `labrys heal` and for
//! people. What an agent needs to undo is in its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use labrys_nemesis::{
    ClientError, DaemonSpec, Entry, Failure, FaultReport, Journal, JournalError, NodeFailure, Reply,
    RequestBody, Resolved, RunTag, Step,
};

use super::connection::AgentConnection;
use super::protocol::{Answer, Work};

/// The agents of a run.
pub struct Fleet {
    agents: BTreeMap<String, AgentConnection>,
    journal: Journal,
    /// On which agents a fault is, or may be.
    applied: BTreeMap<u64, BTreeSet<String>>,
}

/// What an agent says to a request about faults.
type Said = Result<Reply, Failure>;

impl Fleet {
    /// These agents, with a journal that says how to reach them again.
    ///
    /// # Errors
    /// If the journal cannot be made.
    pub fn new(
        agents: impl IntoIterator<Item = AgentConnection>,
        run_tag: &RunTag,
        journal: &Path,
        testbed: &serde_json::Value,
    ) -> Result<Fleet, JournalError> {
        let (journal, _) = Journal::open(journal, run_tag, testbed)?;
        let agents = agents.into_iter().map(|agent| (agent.setup().node.clone(), agent)).collect();
        Ok(Fleet { agents, journal, applied: BTreeMap::new() })
    }

    /// Applies a fault on all its nodes; where one of them cannot, it is undone on the others.
    ///
    /// # Errors
    /// As of a nemesis process.
    pub fn apply(&mut self, fault_id: u64, resolved: &Resolved) -> Result<FaultReport, ClientError> {
        let nodes: BTreeSet<String> = resolved.nodes().into_iter().map(str::to_owned).collect();
        let strangers: Vec<&String> = nodes.iter().filter(|node| !self.agents.contains_key(*node)).collect();
        if !strangers.is_empty() {
            return Err(refused(format!("fault {fault_id} ({resolved}): there is no node {strangers:?}")));
        }
        self.journal(&Entry::Intent { fault_id, resolved: resolved.clone() })?;
        self.applied.insert(fault_id, nodes.clone());
        let said =
            self.ask(&nodes, Step::Apply, &RequestBody::Apply { fault_id, resolved: resolved.clone() });
        let (report, failures) = gather(fault_id, said);
        if failures.is_empty() {
            self.journal(&Entry::Applied { fault_id, evidence: report.evidence.clone() })?;
            return Ok(report);
        }
        let undone = self.undo(fault_id);
        let ending =
            if undone.is_ok() { "it has been undone on all nodes" } else { "nor could it be undone" };
        Err(ClientError::Refused(Failure {
            message: format!(
                "fault {fault_id} ({resolved}) could not be applied; {ending}: {}",
                failures.join("; ")
            ),
            faults: vec![report],
            left_behind: if undone.is_ok() { Vec::new() } else { vec![fault_id] },
        }))
    }

    /// Undoes a fault on all nodes that it is on.
    ///
    /// # Errors
    /// As of a nemesis process.
    pub fn undo(&mut self, fault_id: u64) -> Result<FaultReport, ClientError> {
        let Some(nodes) = self.applied.get(&fault_id).cloned() else {
            return Ok(FaultReport { fault_id, ..FaultReport::default() });
        };
        let said = self.ask(&nodes, Step::Undo, &RequestBody::Undo { fault_id });
        let (report, failures) = gather(fault_id, said);
        if failures.is_empty() {
            self.applied.remove(&fault_id);
            self.journal(&Entry::Undone { fault_id })?;
            return Ok(report);
        }
        Err(ClientError::Refused(Failure {
            message: format!("fault {fault_id} could not be undone: {}", failures.join("; ")),
            faults: vec![report],
            left_behind: vec![fault_id],
        }))
    }

    /// Undoes everything, on all nodes.
    ///
    /// # Errors
    /// As of a nemesis process: what could be undone is.
    pub fn undo_all(&mut self) -> Result<Vec<FaultReport>, ClientError> {
        let nodes: BTreeSet<String> = self.agents.keys().cloned().collect();
        let said = self.ask(&nodes, Step::Undo, &RequestBody::UndoAll);
        let mut reports: BTreeMap<u64, FaultReport> = BTreeMap::new();
        let mut left_behind = BTreeSet::new();
        let mut failures = Vec::new();
        for (node, said) in said {
            let faults = match said {
                Ok(Reply::UndoneAll(faults)) => faults,
                Ok(other) => {
                    failures.push(format!("{node}: it answered {other:?}"));
                    Vec::new()
                }
                Err(failure) => {
                    let on_node = self.applied.iter().filter(|(_, nodes)| nodes.contains(&node));
                    left_behind.extend(on_node.map(|(id, _)| *id));
                    failures.push(format!("{node}: {failure}"));
                    failure.faults
                }
            };
            for fault in faults {
                let report = reports
                    .entry(fault.fault_id)
                    .or_insert_with(|| FaultReport { fault_id: fault.fault_id, ..FaultReport::default() });
                merge(report, fault);
            }
        }
        let undone: Vec<u64> = self.applied.keys().copied().filter(|id| !left_behind.contains(id)).collect();
        for fault_id in undone {
            self.applied.remove(&fault_id);
            self.journal(&Entry::Undone { fault_id })?;
        }
        if failures.is_empty() {
            return Ok(reports.into_values().collect());
        }
        Err(ClientError::Refused(Failure {
            message: format!("not everything could be undone: {}", failures.join("; ")),
            faults: reports.into_values().collect(),
            left_behind: left_behind.into_iter().collect(),
        }))
    }

    /// Says how daemons are started. Each agent learns of all, as each is told of faults on several nodes.
    ///
    /// # Errors
    /// As of a nemesis process.
    pub fn set_daemons(&mut self, daemons: BTreeMap<String, DaemonSpec>) -> Result<(), ClientError> {
        let nodes: BTreeSet<String> = self.agents.keys().cloned().collect();
        let said = self.ask(&nodes, Step::Apply, &RequestBody::SetDaemons { daemons });
        let failed = said.into_iter().find_map(|(node, said)| Some((node, said.err()?)));
        failed.map_or(Ok(()), |(node, failure)| Err(refused(format!("{node}: {failure}"))))
    }

    fn journal(&mut self, entry: &Entry) -> Result<(), ClientError> {
        self.journal.append(entry).map_err(|error| refused(format!("it could not be journalled: {error}")))
    }

    /// All at once; the answers in the order of the nodes.
    fn ask(&self, nodes: &BTreeSet<String>, step: Step, request: &RequestBody) -> Vec<(String, Said)> {
        let agents = self.agents.iter().filter(|(node, _)| nodes.contains(*node));
        std::thread::scope(|threads| {
            let asking: Vec<_> = agents
                .map(|(node, agent)| {
                    let ask = move || said(node, step, agent.call(Work::Nemesis(request.clone())));
                    (node.clone(), threads.spawn(ask))
                })
                .collect();
            let panicked = || Err(plain("the asking thread panicked".to_owned()));
            asking
                .into_iter()
                .map(|(node, asked)| (node, asked.join().unwrap_or_else(|_| panicked())))
                .collect()
        })
    }
}

fn said(node: &str, step: Step, answer: Result<Answer, super::connection::NoAnswer>) -> Said {
    match answer {
        Ok(Answer::Nemesis(reply)) => Ok(reply),
        Ok(Answer::Failure(failure)) => Err(failure),
        Ok(other) => Err(plain(format!("it answered {other:?}"))),
        Err(no_answer) => {
            let detail = no_answer.to_string();
            let failure = NodeFailure { node: node.to_owned(), step, detail: detail.clone() };
            let faults = vec![FaultReport { failures: vec![failure], ..FaultReport::default() }];
            Err(Failure { message: detail, faults, left_behind: Vec::new() })
        }
    }
}

fn plain(message: String) -> Failure {
    Failure { message, faults: Vec::new(), left_behind: Vec::new() }
}

fn refused(message: String) -> ClientError {
    ClientError::Refused(plain(message))
}

/// One report out of those of several nodes, and what failed on which.
fn gather(fault_id: u64, said: Vec<(String, Said)>) -> (FaultReport, Vec<String>) {
    let mut report = FaultReport { fault_id, ..FaultReport::default() };
    let mut failures = Vec::new();
    for (node, said) in said {
        match said {
            Ok(Reply::Applied(one) | Reply::Undone(one)) => merge(&mut report, one),
            Ok(other) => failures.push(format!("{node}: it answered {other:?}")),
            Err(failure) => {
                failures.push(format!("{node}: {}", failure.message));
                failure.faults.into_iter().for_each(|one| merge(&mut report, one));
            }
        }
    }
    (report, failures)
}

fn merge(report: &mut FaultReport, one: FaultReport) {
    report.evidence.extend(one.evidence.details);
    report.failures.extend(one.failures);
}
