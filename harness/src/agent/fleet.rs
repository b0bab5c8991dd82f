//! [`Fleet`]: the agents of all nodes as one nemesis. A fault goes to all agents at once, each of which does what is to be done on its own
//! node, if anything is (links in trouble are a matter of both their ends); what they say is put together.
//!
//! It keeps a journal on this machine as well: which machines the run has, and what may be applied on them, for `labrys heal` and for
//! people. What an agent needs to undo is in its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use labrys_nemesis::{
    ClientError, DaemonSpec, Effect, Entry, Failure, FaultReport, Journal, JournalError, NodeFailure,
    Observation, Reply, RequestBody, Resolved, RunTag, Step,
};

use super::connection::AgentConnection;
use super::protocol::{Answer, Work};

/// The agents of a run.
pub struct Fleet {
    agents: BTreeMap<String, AgentConnection>,
    journal: Journal,
    /// On which nodes a fault is known to its agent, or may be.
    applied: BTreeMap<u64, BTreeSet<String>>,
}

/// What an agent says to a request about faults.
type Said = Result<Reply, Refusal>;

/// Or does not say.
struct Refusal {
    failure: Failure,
    /// A fault that was to be applied may be on its node.
    may_be_there: bool,
}

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
        self.journal(&Entry::Intent { fault_id, resolved: resolved.clone() })?;
        let all = self.all();
        let said = self.ask(&all, Step::Apply, &RequestBody::Apply { fault_id, resolved: resolved.clone() });
        let has_it = |said: &Said| said.as_ref().map_or_else(|refusal| refusal.may_be_there, |_| true);
        let on_nodes = said.iter().filter(|(_, said)| has_it(said)).map(|(node, _)| node.clone());
        self.applied.insert(fault_id, on_nodes.collect());
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
        let (mut report, failures) = gather(fault_id, said);
        self.add_early_ends(&nodes, &mut report);
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
        let said = self.ask(&self.all(), Step::Undo, &RequestBody::UndoAll);
        let mut reports: BTreeMap<u64, FaultReport> = BTreeMap::new();
        // All that is applied, if an agent cannot say what of it is on its node.
        let mut left_behind: BTreeSet<u64> = BTreeSet::new();
        let mut failures = Vec::new();
        for (node, said) in said {
            let faults = match said {
                Ok(Reply::UndoneAll(faults)) => faults,
                Ok(other) => {
                    failures.push(format!("{node}: it answered {other:?}"));
                    Vec::new()
                }
                Err(Refusal { failure, .. }) => {
                    let on_node = self.applied.iter().filter(|(_, nodes)| nodes.contains(&node));
                    left_behind.extend(
                        on_node
                            .map(|(id, _)| *id)
                            .filter(|id| failure.left_behind.is_empty() || failure.left_behind.contains(id)),
                    );
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
        for (fault_id, nodes) in &self.applied {
            let mut early = FaultReport { fault_id: *fault_id, ..FaultReport::default() };
            self.add_early_ends(nodes, &mut early);
            if !early.evidence.details.is_empty() {
                let none = || FaultReport { fault_id: *fault_id, ..FaultReport::default() };
                merge(reports.entry(*fault_id).or_insert_with(none), early);
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
        let said = self.ask(&self.all(), Step::Apply, &RequestBody::SetDaemons { daemons });
        let failed = said.into_iter().find_map(|(node, said)| Some((node, said.err()?)));
        failed.map_or(Ok(()), |(node, refusal)| Err(refused(format!("{node}: {}", refusal.failure))))
    }

    /// What is known of a fault on nodes whose agent had died: the next one has undone it there, without being asked.
    fn add_early_ends(&self, nodes: &BTreeSet<String>, report: &mut FaultReport) {
        for (node, agent) in self.agents.iter().filter(|(node, _)| nodes.contains(*node)) {
            let Some((known, earlier)) = agent.ended_early(report.fault_id) else { continue };
            merge(report, known);
            let effect = Effect::EndedEarly {
                by: "the next agent, as the one that had applied it was dead".to_owned(),
                earlier_ms: u64::try_from(earlier.as_millis()).unwrap_or(u64::MAX),
            };
            report.evidence.extend([Observation { node: node.clone(), effect }]);
        }
    }

    fn journal(&mut self, entry: &Entry) -> Result<(), ClientError> {
        self.journal.append(entry).map_err(|error| refused(format!("it could not be journalled: {error}")))
    }

    fn all(&self) -> BTreeSet<String> {
        self.agents.keys().cloned().collect()
    }

    /// All at once; the answers in the order of the nodes.
    fn ask(&self, nodes: &BTreeSet<String>, step: Step, request: &RequestBody) -> Vec<(String, Said)> {
        std::thread::scope(|threads| {
            let asking: Vec<_> = self
                .agents
                .iter()
                .filter(|(node, _)| nodes.contains(*node))
                .map(|(node, agent)| {
                    let ask = move || said(node, step, agent.call(Work::Nemesis(request.clone())));
                    (node.clone(), threads.spawn(ask))
                })
                .collect();
            let panicked = || Err(unknown("the asking thread panicked".to_owned()));
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
        Ok(Answer::Failure(failure)) => {
            let may_be_there = !failure.left_behind.is_empty();
            Err(Refusal { failure, may_be_there })
        }
        Ok(other) => Err(unknown(format!("it answered {other:?}"))),
        Err(no_answer) => {
            let detail = no_answer.to_string();
            let failure = NodeFailure { node: node.to_owned(), step, detail: detail.clone() };
            let faults = vec![FaultReport { failures: vec![failure], ..FaultReport::default() }];
            Err(Refusal {
                failure: Failure { message: detail, faults, left_behind: Vec::new() },
                may_be_there: true,
            })
        }
    }
}

fn unknown(message: String) -> Refusal {
    Refusal { failure: plain(message), may_be_there: true }
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
            Err(Refusal { failure, .. }) => {
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
