//! The injectors: one file per fault, each with four steps, and one before them that only looks, that work on all nodes of the fault in parallel. The table for users,
//! the simulator's faults included, is `docs/faults.md`.
//!
//! | fault | needs | how it is verified | how it is undone | how that is verified |
//! | --- | --- | --- | --- | --- |
//! | partition | `iptables-save`, `iptables-restore` (or `ip6tables-…`), `sh`, root in the node's network | its rules are listed and hit first; packets counted when they are removed | its rules are deleted, the chain with the last of them | none of its rules is listed; no trace of an empty chain |
//! | pause | to signal the daemon | the process is in state `T` | SIGCONT, when no other pause holds the process | the process is not in state `T` |
//! | kill | to signal and to start the daemon | the process is gone | the daemon is started, when no other kill holds the node | the daemon is alive |
//! | network | as a partition; `setsid`, and the process that holds packets ([`crate::hold_packets`]) | its rules are listed and hit first, the kernel lists the queue; packets dropped, doubled and held back are counted | its rules are deleted, the chain with the last of them; the file with the process's orders is removed | none of its rules is listed, nor its queue; no trace of an empty chain |
//! | clock | a daemon that takes orders for its clock (`labrys-store --clock-file`) | the node's clock leaps, or gains what it should between two readings | the rate is restored when no other fault changes it; the offset stays, as no clock runs back | the node's clock gains what the machine's does between two readings |
//! | clock, by libfaketime | a dynamically linked daemon under that library ([`crate::Libfaketime`]); `sh`, `date`, `mv` | the daemon has the library loaded; another process under it, and the same file, reads what the clock should read | as above | as above |
//! | power-cut | a disk that can ([`crate::run_disk`]); to signal and to start the daemon | the process is gone; the disk says what it has lost | the daemon is started, when no other fault holds the node | the daemon is alive |
//! | disk | a disk that can | the disk says that it is in trouble, and counts | the disk is told so, bytes that went wrong are put back where nobody has written since; the daemon is started if it has ended of it | the disk has no such order; the daemon is alive |
//! | application | the command lines of the daemon's orders ([`crate::Commands`]) | what the order changes is looked at before and after it, where there is a look; else its command succeeded | its command for that, if it has one | that command succeeded |
//! | application: failpoint | the command lines by which a daemon is told, and lists, what happens where in it; to start it | the daemon lists it; how often it happened, or that the process has ended | the daemon is told that nothing happens there, when no other fault holds the place; it is started if it has ended | the daemon lists it so; it is alive |
//! | membership | the command lines by which members are listed and changed | the members as the cluster lists them, before and after; who says that it leads | every node is a member with a vote again, a removed one under a new id on an empty disk | the cluster lists them so |
//! | resource: processor | cgroups that can be written, or the process that stops others ([`crate::starve`]) | the share as it is read back; how often the process was kept from running, and what it used | the process is moved back and its cgroup removed, or the file with the orders is, when no other fault holds it | no cgroup; the other process gone, and nobody stopped |
//! | resource: memory | as for the processor, or `prlimit` | the limit as it is read back; how often memory was refused, or that the process has ended | the limit goes as above; a daemon that has ended is started again | as above; `/proc/PID/limits`; the daemon is alive |
//! | restart | where the daemon keeps its data; `cp`, `mv`, `rm`, `find`, `diff`; to signal and to start it | how much was in the directory that is empty now; whether the copy that took its place differs from it | the daemon is started, when no other fault holds the node | no copy is left; the daemon is alive |
//! | resource: descriptors | `prlimit`, `ls`, `cat` | the process may open as few files as it has open, by `/proc/PID/limits` | the limit is that of any process on the node, when no other fault holds it | `/proc/PID/limits` |
//!
//! Invariants: every step may be repeated; `undo` works from the fault alone, whether it was applied wholly, in part or
//! not at all, with or without its evidence; a step on one node does not depend on another node. What a fault shares with
//! others that overlap it (a stopped process, a dead node, a chain) goes when the last of them is undone.

mod application;
mod chain;
mod clock;
mod disk;
mod failpoint;
mod faketime_clock;
mod kill;
mod machine_clock;
mod membership;
mod network;
mod partition;
mod pause;
mod power_cut;
mod resource;
mod restart;
mod tables;

pub use machine_clock::machine_clock_objection;
pub use partition::{try_muffled_partition, try_partition};
pub use resource::{CountedIn, PressedProcess, may_end_of_memory, pressed_file};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use thiserror::Error;

use crate::evidence::{Effect, Evidence, NodeFailure, Observation, Step};
use crate::fault::Resolved;
use crate::host::{DaemonSpec, Host, HostError, ProcessIdentity, ProcessState};
use crate::journal::{Journal, RunTag};
use crate::kinds::Family;
use crate::poll::Patience;

/// What a step works with.
pub(crate) struct Scope<'a> {
    pub hosts: &'a BTreeMap<String, Arc<dyn Host>>,
    pub daemons: &'a BTreeMap<String, DaemonSpec>,
    pub run_tag: &'a RunTag,
    pub patience: Patience,
    /// How the process is started that holds packets: a program and its arguments, to which the file with its orders is added. Empty if
    /// it is not known.
    pub packet_program: &'a [String],
    /// How the clocks of the hosts' machines are moved: a program and its first arguments. Empty: they are not, and clocks are those of
    /// systems that take orders.
    pub clock_program: &'a [String],
    /// How the process is started that keeps others from running, in the same way.
    pub processor_program: &'a [String],
    /// The one node that is acted upon, where others act upon the others: an agent's. `None`: all.
    pub only: Option<&'a str>,
    /// For what must be known before something is done. Not for the fault's own entries.
    pub journal: &'a Mutex<Journal>,
    pub fault_id: u64,
    /// It is undone before its time: it could not be applied, the run ends, or another process had begun it.
    pub is_cut_short: bool,
    /// The nodes have been ended for good: nothing is started any more.
    pub nodes_are_over: bool,
    pub resolved: &'a Resolved,
    /// What has been seen of this fault so far.
    pub evidence: &'a Evidence,
    /// The other faults that are applied, or may be, with what has been seen of them.
    pub others: Vec<(&'a Resolved, &'a Evidence)>,
}

/// What a step saw, and where it failed. Both can be: it is independent per node.
#[derive(Debug, Default)]
pub(crate) struct StepReport {
    pub observations: Vec<Observation>,
    pub failures: Vec<NodeFailure>,
    /// How these nodes' daemons are started from now on, where that has changed; it is in the journal already.
    pub daemons: BTreeMap<String, DaemonSpec>,
}

/// Why a step failed on a node.
#[derive(Debug, Error)]
pub(crate) enum InjectError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("process {} {expected} after {waited_ms} ms", process.pid)]
    NotSettled { process: ProcessIdentity, expected: &'static str, waited_ms: u64 },
    #[error("{0}")]
    Unexpected(String),
}

/// Applies and undoes the faults of one family.
pub(crate) trait Injector: Sync {
    /// Why the fault cannot be undone, and hence must not be applied. Looks at what is known, not at the hosts.
    fn objections(&self, _scope: &Scope<'_>) -> Vec<NodeFailure> {
        Vec::new()
    }
    /// Looks at what it will be done to. What is seen is journalled before [`Injector::apply`].
    fn prepare(&self, _scope: &Scope<'_>) -> StepReport {
        StepReport::default()
    }
    /// Makes the fault.
    fn apply(&self, scope: &Scope<'_>) -> StepReport;
    /// Sees that it is there.
    fn verify(&self, scope: &Scope<'_>) -> StepReport;
    /// Takes it away.
    fn undo(&self, scope: &Scope<'_>) -> StepReport;
    /// Sees that it is gone.
    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport;
}

/// The table of injectors.
pub(crate) fn injector_of(resolved: &Resolved) -> &'static dyn Injector {
    match resolved.family() {
        Family::Partition => &partition::Partition,
        Family::Pause => &pause::Pause,
        Family::Kill => &kill::Kill,
        Family::Clock => &clock::Clock,
        Family::Network => &network::Network,
        Family::PowerCut => &power_cut::PowerCut,
        Family::Disk => &disk::Disk,
        Family::Application if resolved.is_failpoint() => &failpoint::Failpoints,
        Family::Application => &application::Application,
        Family::Resource => &resource::Resource,
        Family::Restart => &restart::Restart,
        Family::Membership => &membership::Membership,
    }
}

impl Scope<'_> {
    /// Does `work` for each node of the fault, in a thread of its own.
    fn on_each_node<W>(&self, step: Step, work: W) -> StepReport
    where
        W: Fn(&str, &dyn Host) -> Result<Vec<Effect>, InjectError> + Sync,
    {
        self.on_nodes(step, &self.resolved.nodes(), work)
    }

    /// Does `work` for each of these nodes that are acted upon here, in a thread of its own.
    fn on_nodes<W>(&self, step: Step, nodes: &[&str], work: W) -> StepReport
    where
        W: Fn(&str, &dyn Host) -> Result<Vec<Effect>, InjectError> + Sync,
    {
        self.on_nodes_part_by_part(step, nodes, |node, host, seen| {
            seen.extend(work(node, host)?);
            Ok(())
        })
    }

    /// The same for work in parts: what was seen of the first ones is kept though a later one fails.
    fn on_nodes_part_by_part<W>(&self, step: Step, nodes: &[&str], work: W) -> StepReport
    where
        W: Fn(&str, &dyn Host, &mut Vec<Effect>) -> Result<(), InjectError> + Sync,
    {
        type Done = (Vec<Effect>, Result<(), InjectError>);
        let on_node = |node: &str| {
            let mut seen = Vec::new();
            let done = match self.hosts.get(node) {
                Some(host) => work(node, host.as_ref(), &mut seen),
                None => Err(InjectError::Unexpected("there is no such node".to_owned())),
            };
            (seen, done)
        };
        let panicked = || (Vec::new(), Err(InjectError::Unexpected("the injector panicked".to_owned())));
        let results: Vec<(&str, Done)> = std::thread::scope(|threads| {
            let mut workers = Vec::new();
            for node in nodes.iter().filter(|node| self.only.is_none_or(|only| only == **node)) {
                workers.push((*node, threads.spawn(|| on_node(node))));
            }
            let join = |(node, worker): (_, std::thread::ScopedJoinHandle<'_, _>)| {
                (node, worker.join().unwrap_or_else(|_| panicked()))
            };
            workers.into_iter().map(join).collect()
        });
        let mut report = StepReport::default();
        for (node, (seen, done)) in results {
            let observation = |effect| Observation { node: node.to_owned(), effect };
            report.observations.extend(seen.into_iter().map(observation));
            let failure =
                |error: InjectError| NodeFailure { node: node.to_owned(), step, detail: error.to_string() };
            report.failures.extend(done.err().map(failure));
        }
        report
    }

    /// What has been seen of this fault on a node.
    fn seen_on<'s>(&'s self, node: &'s str) -> impl Iterator<Item = &'s Effect> {
        effects_on(self.evidence, node)
    }
}

fn effects_on<'e>(evidence: &'e Evidence, node: &'e str) -> impl Iterator<Item = &'e Effect> {
    evidence.details.iter().filter(move |seen| seen.node == node).map(|seen| &seen.effect)
}

/// The daemon of a node and what it does; `None` if there is none that is alive.
fn living_daemon(host: &dyn Host) -> Result<Option<(ProcessIdentity, ProcessState)>, HostError> {
    let Some(process) = host.daemon()? else { return Ok(None) };
    let state = host.process_state(process)?;
    Ok((state != ProcessState::Gone).then_some((process, state)))
}

/// Sends a signal; `false` if the process died before it could be sent.
fn signal_unless_gone(
    host: &dyn Host,
    process: ProcessIdentity,
    signal: crate::host::Signal,
) -> Result<bool, HostError> {
    match host.signal(process, signal) {
        Ok(()) => Ok(true),
        Err(_) if host.process_state(process)? == ProcessState::Gone => Ok(false),
        Err(error) => Err(error),
    }
}
