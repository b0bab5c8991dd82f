//! The engine: the faults that are applied, and the journal, kept in step.
//!
//! For each fault: *intent* is journalled, what undoing it will need is looked up and journalled, it is applied, verified, *applied* is journalled; later it is undone, that is
//! verified, and *undone* is journalled. Whatever fails in between, the fault stays on the list of active ones, and in the
//! journal, until an undoing has been verified on every node.
//!
//! What this is not: a process ([`crate::serve`]), or what is done to a host ([`crate::injectors`]). One thing is done at a
//! time; the nodes of a fault in parallel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::evidence::{NodeFailure, Step};
use crate::fault::Resolved;
use crate::host::{DaemonSpec, Host};
use crate::injectors::{Scope, StepReport, injector_of};
use crate::journal::{Entry, Journal, JournalError, JournalState, RunTag};
use crate::kinds::Family;
use crate::poll::Patience;
use crate::protocol::{ActiveFault, Failure, FaultReport, Reply, RequestBody, Status};

/// What owns the faults of a run: of all its nodes, or of the one that an agent is on.
pub struct Engine {
    run_tag: RunTag,
    hosts: BTreeMap<String, Arc<dyn Host>>,
    daemons: BTreeMap<String, DaemonSpec>,
    patience: Patience,
    packet_program: Vec<String>,
    clock_program: Vec<String>,
    processor_program: Vec<String>,
    only: Option<String>,
    journal: Mutex<Journal>,
    active: BTreeMap<u64, ActiveFault>,
    undone: BTreeSet<u64>,
    /// Those that could not be undone when that was asked for first.
    stubborn: BTreeSet<u64>,
    /// The faults that another process has begun.
    inherited: BTreeSet<u64>,
    /// What is undone now is undone before its time.
    cuts_short: bool,
    nodes_are_over: bool,
}

impl Engine {
    /// An engine that owns whatever the journal has outstanding.
    #[must_use]
    pub fn new(
        run_tag: RunTag,
        hosts: Vec<Arc<dyn Host>>,
        patience: Patience,
        (journal, state): (Journal, JournalState),
    ) -> Engine {
        let inherited = state.outstanding.keys().copied().collect();
        let active = state.outstanding.into_values().map(|outstanding| {
            let report = FaultReport {
                fault_id: outstanding.fault_id,
                evidence: outstanding.evidence,
                failures: Vec::new(),
            };
            (outstanding.fault_id, ActiveFault { resolved: outstanding.resolved, report })
        });
        Engine {
            run_tag,
            hosts: hosts.into_iter().map(|host| (host.name().to_owned(), host)).collect(),
            daemons: state.daemons,
            patience,
            packet_program: Vec::new(),
            clock_program: Vec::new(),
            processor_program: Vec::new(),
            only: None,
            journal: Mutex::new(journal),
            active: active.collect(),
            undone: state.undone.into_iter().collect(),
            stubborn: BTreeSet::new(),
            inherited,
            cuts_short: false,
            nodes_are_over: false,
        }
    }

    /// The same, knowing how to start the process that holds packets. Undoing does not need it.
    #[must_use]
    pub fn with_packet_program(self, packet_program: Vec<String>) -> Engine {
        Engine { packet_program, ..self }
    }

    /// The same; clock faults are those of the hosts' machines, whose clocks this program moves: it and its first arguments, to which the words
    /// of [`carry_out`](crate::machine_clock::carry_out) are added.
    #[must_use]
    pub fn with_clock_program(self, clock_program: Vec<String>) -> Engine {
        Engine { clock_program, ..self }
    }

    /// The same, knowing how to start the process that keeps others from running ([`crate::starve`]). Undoing does not need it.
    #[must_use]
    pub fn with_processor_program(self, processor_program: Vec<String>) -> Engine {
        Engine { processor_program, ..self }
    }

    /// The same, acting on this node alone, whatever nodes a fault names: engines on the others' machines act on them. Of the
    /// other hosts only names and addresses are asked.
    #[must_use]
    pub fn acting_only_on(self, node: String) -> Engine {
        Engine { only: Some(node), ..self }
    }

    /// What is applied.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { run_tag: self.run_tag.to_string(), active: self.active.values().cloned().collect() }
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// As what it asks for.
    pub fn answer(&mut self, request: RequestBody) -> Result<Reply, Failure> {
        match request {
            RequestBody::Apply { fault_id, resolved } => self.apply(fault_id, resolved).map(Reply::Applied),
            RequestBody::Undo { fault_id } => self.undo_in_time(fault_id).map(Reply::Undone),
            RequestBody::UndoAll => self.undo_all().map(Reply::UndoneAll),
            RequestBody::Status => Ok(Reply::Status(self.status())),
            RequestBody::SetDaemons { daemons } => self.set_daemons(daemons).map(|()| Reply::DaemonsSet),
        }
    }

    /// Learns how daemons are started.
    ///
    /// # Errors
    /// If that cannot be journalled.
    pub fn set_daemons(&mut self, daemons: BTreeMap<String, DaemonSpec>) -> Result<(), Failure> {
        if daemons.iter().any(|(node, specification)| self.daemons.get(node) != Some(specification)) {
            self.journalled(&Entry::Daemons { daemons: daemons.clone() }).map_err(refusal)?;
            self.daemons.extend(daemons);
        }
        Ok(())
    }

    /// Applies a fault and verifies it; if that fails, undoes it again.
    ///
    /// # Errors
    /// If it could not be applied; `left_behind` says whether it may be there nevertheless.
    pub fn apply(&mut self, fault_id: u64, resolved: Resolved) -> Result<FaultReport, Failure> {
        self.refuse_what_cannot_be_undone(fault_id, &resolved)?;
        let intent = Entry::Intent { fault_id, resolved: resolved.clone() };
        self.journalled(&intent).map_err(refusal)?;
        let report = FaultReport { fault_id, ..FaultReport::default() };
        self.active.insert(fault_id, ActiveFault { resolved, report });

        self.prepare(fault_id)?;
        let mut is_applied = self.step(fault_id, Step::Apply) && self.step(fault_id, Step::Verify);
        let evidence = self.report(fault_id).evidence;
        if let Err(error) = self.journalled(&Entry::Applied { fault_id, evidence }) {
            self.note_failure(fault_id, &error);
            is_applied = false;
        }
        if is_applied { Ok(self.report(fault_id)) } else { Err(self.roll_back(fault_id)) }
    }

    /// As [`Engine::undo`], but what could not be undone before is not waited for as long: other faults have their times.
    fn undo_in_time(&mut self, fault_id: u64) -> Result<FaultReport, Failure> {
        let patience = self.patience;
        if self.stubborn.contains(&fault_id) {
            self.patience = patience.hurried();
        }
        let undone = self.undo(fault_id);
        self.patience = patience;
        if undone.is_err() {
            self.stubborn.insert(fault_id);
        }
        undone
    }

    /// Looks at what the fault will be done to. What must be known to undo it is journalled before anything is done.
    fn prepare(&mut self, fault_id: u64) -> Result<(), Failure> {
        if !self.step(fault_id, Step::Prepare) {
            return Err(self.roll_back(fault_id));
        }
        let evidence = self.report(fault_id).evidence;
        if evidence.details.is_empty() {
            return Ok(());
        }
        self.journalled(&Entry::Applied { fault_id, evidence }).map_err(|error| {
            self.note_failure(fault_id, &error);
            self.roll_back(fault_id)
        })
    }

    /// Undoes a fault, as its time is over, and verifies that it is gone.
    ///
    /// # Errors
    /// If it may still be there, or never was.
    pub fn undo(&mut self, fault_id: u64) -> Result<FaultReport, Failure> {
        if self.undone.contains(&fault_id) {
            return Ok(FaultReport { fault_id, ..FaultReport::default() });
        }
        if !self.active.contains_key(&fault_id) {
            return Err(plain_failure(format!("fault {fault_id} was never applied")));
        }
        if self.step(fault_id, Step::Undo) && self.step(fault_id, Step::VerifyUndone) {
            // If the journal cannot be written, `heal` will find nothing to undo: no reason to call the fault active.
            if let Err(error) = self.journalled(&Entry::Undone { fault_id }) {
                self.note_failure(fault_id, &error);
            }
            let report = self.report(fault_id);
            self.active.remove(&fault_id);
            self.undone.insert(fault_id);
            return Ok(report);
        }
        Err(Failure {
            message: format!("fault {fault_id} could not be undone"),
            faults: vec![self.report(fault_id)],
            left_behind: vec![fault_id],
        })
    }

    /// Undoes everything, though its time is not over, trying again and again what fails, to the end of patience. What a fault would have
    /// done at its end, if that is more than to take it away, is not done.
    ///
    /// # Errors
    /// If something may still be there.
    pub fn undo_all(&mut self) -> Result<Vec<FaultReport>, Failure> {
        self.before_its_time(Engine::undo_all_with_patience)
    }

    fn before_its_time<T>(&mut self, undo: impl FnOnce(&mut Engine) -> T) -> T {
        let before = std::mem::replace(&mut self.cuts_short, true);
        let undone = undo(self);
        self.cuts_short = before;
        undone
    }

    fn undo_all_with_patience(&mut self) -> Result<Vec<FaultReport>, Failure> {
        let mut reports = BTreeMap::new();
        let deadline = self.patience.undo_deadline();
        for attempt in 1..=self.patience.undo_attempts.max(1) {
            let ids: Vec<u64> = self.active.keys().copied().collect();
            for fault_id in ids {
                let report = self.undo(fault_id).unwrap_or_else(|_| self.report(fault_id));
                reports.insert(fault_id, report);
            }
            if self.active.is_empty() {
                return Ok(reports.into_values().collect());
            }
            if deadline.is_over() {
                break;
            }
            if attempt < self.patience.undo_attempts {
                self.patience.rest();
            }
        }
        Err(Failure {
            message: "not everything could be undone".to_owned(),
            faults: reports.into_values().collect(),
            left_behind: self.active.keys().copied().collect(),
        })
    }

    /// From now on nothing is started: the nodes have been ended for good.
    pub fn end_nodes(&mut self) {
        self.nodes_are_over = true;
    }

    /// Counts the faults of these families as undone, without a touch: of processes that have been ended for good nothing is to be
    /// restored.
    pub fn settle(&mut self, families: &[Family]) {
        let is_settled = |fault: &ActiveFault| families.contains(&fault.resolved.family());
        let ids: Vec<u64> =
            self.active.iter().filter(|(_, fault)| is_settled(fault)).map(|(id, _)| *id).collect();
        for fault_id in ids {
            // As in `undo`: healing once more finds nothing.
            if let Err(error) = self.journalled(&Entry::Undone { fault_id }) {
                tracing::warn!(fault_id, %error, "the journal cannot be written");
            }
            self.active.remove(&fault_id);
            self.undone.insert(fault_id);
        }
    }

    fn refuse_what_cannot_be_undone(&self, fault_id: u64, resolved: &Resolved) -> Result<(), Failure> {
        if self.active.contains_key(&fault_id) || self.undone.contains(&fault_id) {
            return Err(plain_failure(format!("there was a fault {fault_id} already")));
        }
        let mut report = FaultReport { fault_id, ..FaultReport::default() };
        let strangers = named_nodes(resolved).into_iter().filter(|node| !self.hosts.contains_key(*node));
        report.failures.extend(strangers.map(|node| NodeFailure {
            node: node.to_owned(),
            step: Step::Apply,
            detail: "there is no such node".to_owned(),
        }));
        let scope = self.scope(fault_id, resolved, &report);
        let objections = injector_of(resolved).objections(&scope);
        report.failures.extend(objections);
        if report.failures.is_empty() {
            return Ok(());
        }
        let message = format!("fault {fault_id} ({resolved}) was not applied");
        Err(Failure { message, faults: vec![report], left_behind: Vec::new() })
    }

    fn roll_back(&mut self, fault_id: u64) -> Failure {
        let resolved = self.active.get(&fault_id).map(|fault| fault.resolved.to_string()).unwrap_or_default();
        let (report, ending, left_behind) = match self.before_its_time(|engine| engine.undo(fault_id)) {
            Ok(report) => (report, "what was done of it has been undone", Vec::new()),
            Err(_) => (self.report(fault_id), "nor could it be undone", vec![fault_id]),
        };
        let message = format!("fault {fault_id} ({resolved}) could not be applied; {ending}");
        Failure { message, faults: vec![report], left_behind }
    }

    /// Takes a step of an active fault and keeps what it saw; whether it went well on all nodes.
    fn step(&mut self, fault_id: u64, step: Step) -> bool {
        let Some(fault) = self.active.get(&fault_id) else { return false };
        let scope = self.scope(fault_id, &fault.resolved, &fault.report);
        let injector = injector_of(&fault.resolved);
        let StepReport { observations, failures, daemons } = match step {
            Step::Prepare => injector.prepare(&scope),
            Step::Apply => injector.apply(&scope),
            Step::Verify => injector.verify(&scope),
            Step::Undo => injector.undo(&scope),
            Step::VerifyUndone => injector.verify_undone(&scope),
        };
        let went_well = failures.is_empty();
        self.daemons.extend(daemons);
        if let Some(fault) = self.active.get_mut(&fault_id) {
            fault.report.evidence.extend(observations);
            fault.report.failures.extend(failures);
        }
        went_well
    }

    fn scope<'a>(&'a self, fault_id: u64, resolved: &'a Resolved, report: &'a FaultReport) -> Scope<'a> {
        let others = self.active.iter().filter(|(id, _)| **id != fault_id);
        Scope {
            hosts: &self.hosts,
            daemons: &self.daemons,
            run_tag: &self.run_tag,
            patience: self.patience,
            packet_program: &self.packet_program,
            clock_program: &self.clock_program,
            processor_program: &self.processor_program,
            only: self.only.as_deref(),
            journal: &self.journal,
            fault_id,
            is_cut_short: self.cuts_short || self.inherited.contains(&fault_id),
            nodes_are_over: self.nodes_are_over,
            resolved,
            evidence: &report.evidence,
            others: others.map(|(_, fault)| (&fault.resolved, &fault.report.evidence)).collect(),
        }
    }

    fn report(&self, fault_id: u64) -> FaultReport {
        let unknown = || FaultReport { fault_id, ..FaultReport::default() };
        self.active.get(&fault_id).map_or_else(unknown, |fault| fault.report.clone())
    }

    fn journalled(&self, entry: &Entry) -> Result<(), JournalError> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).append(entry)
    }

    /// A failure of the journal, which is on no node.
    fn note_failure(&mut self, fault_id: u64, error: &JournalError) {
        tracing::warn!(fault_id, %error, "the journal cannot be written");
        if let Some(fault) = self.active.get_mut(&fault_id) {
            let detail = error.to_string();
            fault.report.failures.push(NodeFailure { node: "journal".to_owned(), step: Step::Apply, detail });
        }
    }
}

/// Every node that the fault names, senders included.
fn named_nodes(resolved: &Resolved) -> BTreeSet<&str> {
    let mut nodes: BTreeSet<&str> = resolved.nodes().into_iter().collect();
    if let Resolved::Partition { links, .. } = resolved {
        nodes.extend(links.iter().map(|link| link.from.as_str()));
    }
    nodes
}

fn plain_failure(message: String) -> Failure {
    Failure { message, faults: Vec::new(), left_behind: Vec::new() }
}

fn refusal(error: JournalError) -> Failure {
    plain_failure(format!("nothing was done, as it could not be journalled: {error}"))
}

#[cfg(test)]
mod tests;
