//! Failpoints: whoever passes a named place in the daemon pauses, gets an error, or ends the process. An order of the application's, but one
//! that the daemon carries out later, when somebody passes.
//!
//! That it was passed is the bite, by the daemon's own count; or that the process has ended meanwhile. A daemon ends of it with a status of
//! its own by which its end is told from a crash (the reference store's: 14), and is started again when the fault ends.
//!
//! What is set is kept in the daemon's memory alone: a process that was started since has none of it. Of two faults at one place in one
//! daemon the later one counts, and the last of them to end clears it. A daemon that a pause holds can be told nothing: the undoing is tried
//! again, as any that fails, until the pause is over.

use serde::Deserialize;

use super::application::run;
use super::kill::{is_to_live, start_again};
use super::{InjectError, Injector, Scope, StepReport, living_daemon};
use crate::commands::{Failpoint, FailpointCommands, OrderName};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::fault::Resolved;
use crate::host::{Host, ProcessIdentity, ProcessState};
use crate::poll::Patience;

pub(super) struct Failpoints;

/// A place as the daemon lists it.
#[derive(Deserialize)]
struct Listed {
    name: String,
    action: Option<String>,
    struck: u64,
}

impl Injector for Failpoints {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        let nodes = scope.resolved.nodes().into_iter();
        let objection = |node: &str| {
            let detail = known(scope, node).err()?.to_string();
            Some(NodeFailure { node: node.to_owned(), step: Step::Apply, detail })
        };
        nodes.filter_map(objection).collect()
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            let (failpoint, commands) = known(scope, node)?;
            let refused = |detail: String| vec![Effect::OrderRefused { order: scope_order(scope), detail }];
            let Some((process, ProcessState::Running)) = living_daemon(host)? else {
                return Ok(refused("its process does not run".to_owned()));
            };
            let set = run(host, &commands.set.filled(&values(failpoint)));
            Ok(match set {
                // It may have been passed, and have ended the process, before the daemon could say that it was set.
                Err(error) if !is_ending(scope, host, process)? => refused(error.to_string()),
                _ => vec![Effect::FailpointSet { failpoint: failpoint.clone(), process }],
            })
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            let Some(process) = set_in(scope, node) else { return Ok(Vec::new()) };
            match look(scope, node, host) {
                Ok(Listed { action: None, struck: 0, .. }) => {
                    Err(InjectError::Unexpected("the daemon does not list it".to_owned()))
                }
                // One that is slow to say so may have set it all the same; its count will tell.
                Err(error) if !is_ending(scope, host, process)? => {
                    Ok(vec![Effect::OrderUnseen { order: scope_order(scope), detail: error.to_string() }])
                }
                _ => Ok(Vec::new()),
            }
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            let (process, mut effects) = (set_in(scope, node), Vec::new());
            if let Some((living, state)) = living_daemon(host)?
                && !is_held(scope, node)
            {
                if state == ProcessState::Stopped && is_paused(scope, node) {
                    return Err(InjectError::Unexpected(PAUSED.to_owned()));
                }
                match clear(scope, node, host) {
                    Ok(struck) if process == Some(living) => effects.extend(cleared(scope, node, struck)),
                    Ok(_) => {}
                    Err(error) if !is_ending(scope, host, living)? => return Err(error),
                    Err(_) => {}
                }
            }
            if living_daemon(host)?.is_none() {
                effects.extend(ended(scope, node, host, process)?);
                effects.extend(start_again(scope, node, host)?);
            }
            Ok(effects)
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            let may_be_down = !is_to_live(scope, node) || is_held(scope, node);
            match living_daemon(host)? {
                None if may_be_down => Ok(Vec::new()),
                None => Err(InjectError::Unexpected("the daemon died right after it was started".to_owned())),
                // A new process may not be ready to be asked, and was never told.
                Some((living, _)) if Some(living) != set_in(scope, node) || is_held(scope, node) => {
                    Ok(Vec::new())
                }
                Some(_) => match look(scope, node, host)?.action {
                    None => Ok(Vec::new()),
                    Some(action) => Err(InjectError::Unexpected(format!("it is still set to `{action}`"))),
                },
            }
        })
    }
}

/// What is to happen, and how the daemon is told.
fn known<'s>(
    scope: &'s Scope<'_>,
    node: &str,
) -> Result<(&'s Failpoint, &'s FailpointCommands), InjectError> {
    let unknown = || InjectError::Unexpected("it is not known how it is told to fail somewhere".to_owned());
    let daemon = scope.daemons.get(node);
    let commands = daemon.and_then(|daemon| daemon.commands.as_ref()?.failpoints.as_deref());
    Ok((failpoint(scope.resolved).ok_or_else(unknown)?, commands.ok_or_else(unknown)?))
}

fn failpoint(resolved: &Resolved) -> Option<&Failpoint> {
    match resolved {
        Resolved::Application { order: OrderName::Failpoint(failpoint), .. } => Some(failpoint),
        _ => None,
    }
}

fn scope_order(scope: &Scope<'_>) -> String {
    failpoint(scope.resolved).map(ToString::to_string).unwrap_or_default()
}

/// What stands in the command lines.
fn values(failpoint: &Failpoint) -> [(&'static str, &str); 2] {
    [("failpoint", &failpoint.at), ("action", &failpoint.action)]
}

/// In which process it was set.
fn set_in(scope: &Scope<'_>, node: &str) -> Option<ProcessIdentity> {
    scope.seen_on(node).find_map(|effect| match effect {
        Effect::FailpointSet { process, .. } => Some(*process),
        _ => None,
    })
}

/// Whether another fault goes on to have something happen there.
fn is_held(scope: &Scope<'_>, node: &str) -> bool {
    let at = failpoint(scope.resolved).map(|failpoint| &failpoint.at);
    scope.others.iter().any(|(resolved, _)| {
        failpoint(resolved).is_some_and(|other| Some(&other.at) == at) && resolved.nodes().contains(&node)
    })
}

const PAUSED: &str =
    "a pause holds its process, which can be told nothing before that ends; it is tried again";

/// Whether another fault goes on to hold the node's process.
fn is_paused(scope: &Scope<'_>, node: &str) -> bool {
    let pauses = |resolved: &Resolved| matches!(resolved, Resolved::Pause { nodes } if nodes.iter().any(|n| n == node));
    scope.others.iter().any(|(resolved, _)| pauses(resolved))
}

/// Whether a process that did not answer is gone, or is soon. One that stands still is not on its way.
fn is_ending(scope: &Scope<'_>, host: &dyn Host, process: ProcessIdentity) -> Result<bool, InjectError> {
    let patience = Patience { settle_ms: scope.patience.settle_ms / 5, ..scope.patience };
    let known = patience.wait_for(|| {
        Ok::<_, InjectError>(match host.process_state(process)? {
            ProcessState::Gone => Some(true),
            ProcessState::Stopped => Some(false),
            ProcessState::Running => None,
        })
    })?;
    Ok(known.unwrap_or(false))
}

fn look(scope: &Scope<'_>, node: &str, host: &dyn Host) -> Result<Listed, InjectError> {
    let (failpoint, commands) = known(scope, node)?;
    let printed = run(host, &commands.list.command)?.stdout;
    let listed =
        commands.list.find(&printed).and_then(|list| serde_json::from_str::<Vec<Listed>>(&list).ok());
    let found = listed.and_then(|listed| listed.into_iter().find(|listed| listed.name == failpoint.at));
    found.ok_or_else(|| InjectError::Unexpected(format!("the daemon lists no place `{}`", failpoint.at)))
}

/// Clears it; gives how often it took effect.
fn clear(scope: &Scope<'_>, node: &str, host: &dyn Host) -> Result<u64, InjectError> {
    let (failpoint, commands) = known(scope, node)?;
    run(host, &commands.clear.filled(&values(failpoint)))?;
    Ok(look(scope, node, host)?.struck)
}

/// That it was cleared, unless that was told already.
fn cleared(scope: &Scope<'_>, node: &str, struck: u64) -> Option<Effect> {
    let is_told = scope.seen_on(node).any(|seen| matches!(seen, Effect::FailpointCleared { .. }));
    let failpoint = failpoint(scope.resolved).filter(|_| !is_told)?.clone();
    Some(Effect::FailpointCleared { failpoint, struck })
}

/// That the process has ended of it. Whoever was killed by another fault or because nodes are over, or may have ended of another fault, did not.
fn ended(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    process: Option<ProcessIdentity>,
) -> Result<Option<Effect>, InjectError> {
    let is_told = scope.seen_on(node).any(|seen| matches!(seen, Effect::FailpointEnded { .. }));
    let Some(process) = process.filter(|_| !is_told && is_to_live(scope, node)) else { return Ok(None) };
    let is_it = host.daemon()? == Some(process);
    let ended = |failpoint: &Failpoint| Effect::FailpointEnded { failpoint: failpoint.clone(), process };
    Ok(failpoint(scope.resolved).filter(|_| is_it).map(ended))
}
