//! Processes that run short of what the machine gives them: a file for each thing.
//!
//! All of them are about *processes*, as pauses are: a daemon that is started while such a fault lasts has what others have. A daemon that
//! is dead is short of nothing: no bite, and no error.
//!
//! What a fault of one thing has set the end of a fault of another leaves alone, though both be files of one control group.

mod cgroup;
mod descriptors;
mod memory;
mod pressed;
mod processor;

use super::{InjectError, Injector, Scope, StepReport, effects_on};
use crate::evidence::{Effect, LimitMechanism, NodeFailure, Step};
use crate::fault::{Resolved, ResourceTrouble};
use crate::host::{Host, HostError, ProcessIdentity, ProcessState};

pub use pressed::{CountedIn, PressedProcess, may_end_of_memory, pressed_file};
pub(super) use processor::{hold_starvers, release_starvers, stands_still};

pub(super) struct Resource;

impl Injector for Resource {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        injector(scope).objections(scope)
    }

    fn prepare(&self, scope: &Scope<'_>) -> StepReport {
        injector(scope).prepare(scope)
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        injector(scope).apply(scope)
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        injector(scope).verify(scope)
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        injector(scope).undo(scope)
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        injector(scope).verify_undone(scope)
    }
}

fn injector(scope: &Scope<'_>) -> &'static dyn Injector {
    match trouble(scope.resolved) {
        Some(ResourceTrouble::ProcessorPercent(_)) => &processor::Processor,
        Some(ResourceTrouble::MemoryMarginKib(_)) => &memory::Memory,
        Some(ResourceTrouble::Descriptors) | None => &descriptors::Descriptors,
    }
}

fn trouble(resolved: &Resolved) -> Option<ResourceTrouble> {
    match resolved {
        Resolved::Resource { trouble, .. } => Some(*trouble),
        _ => None,
    }
}

/// An objection, in these words, for each node of which no daemon is known.
fn without_daemon(scope: &Scope<'_>, detail: &str) -> Vec<NodeFailure> {
    let unknown = scope.resolved.nodes().into_iter().filter(|node| !scope.daemons.contains_key(*node));
    let failure =
        |node: &str| NodeFailure { node: node.to_owned(), step: Step::Apply, detail: detail.to_owned() };
    unknown.map(failure).collect()
}

/// How a process is, or is to be, limited.
struct Plan<'e> {
    process: ProcessIdentity,
    by: LimitMechanism,
    place: &'e str,
    back_to: Option<&'e str>,
}

impl Plan<'_> {
    fn effect(&self) -> Effect {
        Effect::LimitPlanned {
            process: self.process,
            by: self.by,
            place: self.place.to_owned(),
            back_to: self.back_to.map(str::to_owned),
        }
    }
}

/// What [`Injector::prepare`] has found out about a node: `None` if nobody lives there.
fn planned<'s>(scope: &'s Scope<'_>, node: &'s str) -> Option<Plan<'s>> {
    plans_in(scope.seen_on(node)).next()
}

fn plans_in<'e>(effects: impl Iterator<Item = &'e Effect>) -> impl Iterator<Item = Plan<'e>> {
    effects.filter_map(|effect| match effect {
        Effect::LimitPlanned { process, by, place, back_to } => {
            Some(Plan { process: *process, by: *by, place, back_to: back_to.as_deref() })
        }
        _ => None,
    })
}

/// The other faults that limit the same process in the same place.
fn others_with<'s>(
    scope: &'s Scope<'_>,
    node: &'s str,
    plan: &Plan<'_>,
) -> impl Iterator<Item = (ResourceTrouble, Plan<'s>)> {
    let (process, place) = (plan.process, plan.place.to_owned());
    let trouble_of = |resolved: &Resolved| trouble(resolved);
    scope.others.iter().filter_map(move |(resolved, evidence)| {
        let mut plans = plans_in(effects_on(evidence, node));
        let plan = plans.find(|plan| plan.process == process && plan.place == place)?;
        Some((trouble_of(resolved)?, plan))
    })
}

/// Whether such a fault, of whatever, goes on to need the place.
fn is_needed_by_another(scope: &Scope<'_>, node: &str, plan: &Plan<'_>) -> bool {
    others_with(scope, node, plan).next().is_some()
}

/// What came of something done to a process; `None` if it failed because the process is gone.
fn unless_gone<T>(
    host: &dyn Host,
    process: ProcessIdentity,
    done: Result<T, InjectError>,
) -> Result<Option<T>, InjectError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(_) if host.process_state(process)? == ProcessState::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

fn cat(host: &dyn Host, path: &str) -> Result<String, HostError> {
    Ok(host.run("cat", &["--", path])?.stdout)
}

fn unexpected(detail: impl Into<String>) -> InjectError {
    InjectError::Unexpected(detail.into())
}
