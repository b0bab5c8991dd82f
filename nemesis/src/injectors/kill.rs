//! Kills: the daemon dies by SIGKILL, and is started again, on what it had on disk, when the fault ends.
//!
//! A kill holds *nodes*: while several kills of a node overlap it stays down, and the last one to end starts it. A node
//! whose daemon was dead when the kill came (killed by another, or crashed) was not bitten, and is held and started all the
//! same. A daemon that is found alive at the end (somebody else started it) is left alone. A paused daemon is alive.
//!
//! A kill is refused, on all its nodes, if for one of them it is not known how to start the daemon.
//!
//! A daemon counts as started when it is seen alive once; whether it becomes ready is for the harness to observe.

use super::{InjectError, Injector, Scope, StepReport, disk, living_daemon, signal_unless_gone};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::fault::{Resolved, RestartData};
use crate::host::{Host, ProcessIdentity, ProcessState, Signal};

pub(super) struct Kill;

impl Injector for Kill {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        let nodes = scope.resolved.nodes();
        let unknown = nodes.iter().filter(|node| !scope.daemons.contains_key(**node));
        let failure = |node: &&str| NodeFailure {
            node: (*node).to_owned(),
            step: Step::Apply,
            detail: NO_SPECIFICATION.to_owned(),
        };
        unknown.map(failure).collect()
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |_, host| {
            let Some(process) = send_kill(host)? else { return Ok(vec![Effect::NoProcess]) };
            wait_until_gone(scope, host, process)?;
            Ok(vec![Effect::ProcessKilled { process }])
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |_, host| match living_daemon(host)? {
            None => Ok(Vec::new()),
            Some((process, _)) => {
                let detail = format!("somebody has started the daemon again, as process {}", process.pid);
                Err(InjectError::Unexpected(detail))
            }
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| start_again(scope, node, host))
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            if is_to_live(scope, node) && living_daemon(host)?.is_none() {
                let detail = "the daemon died right after it was started".to_owned();
                return Err(InjectError::Unexpected(detail));
            }
            Ok(Vec::new())
        })
    }
}

const NO_SPECIFICATION: &str = "it is not known how to start its daemon";

/// Whether another fault goes on to hold the node down.
pub(super) fn is_held_down(scope: &Scope<'_>, node: &str) -> bool {
    let holds = |resolved: &Resolved| match resolved {
        Resolved::Kill { nodes }
        | Resolved::PowerCut { nodes, .. }
        | Resolved::Restart { nodes, data: RestartData::Wiped } => nodes.iter().any(|n| n == node),
        _ => false,
    };
    scope.others.iter().any(|(resolved, _)| holds(resolved))
}

/// Whether its daemon must be alive when the fault at hand is undone.
pub(super) fn is_to_live(scope: &Scope<'_>, node: &str) -> bool {
    !is_held_down(scope, node) && !disk::is_troubled(scope, node) && !scope.nodes_are_over
}

/// Sends SIGKILL to the daemon; `None`: it was dead already.
pub(super) fn send_kill(host: &dyn Host) -> Result<Option<ProcessIdentity>, InjectError> {
    let Some((process, _)) = living_daemon(host)? else { return Ok(None) };
    if !signal_unless_gone(host, process, Signal::Kill)? {
        return Ok(None);
    }
    Ok(Some(process))
}

/// Starts the daemon, unless it lives, another fault holds the node, or nodes are over.
pub(super) fn start_again(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
) -> Result<Vec<Effect>, InjectError> {
    if scope.nodes_are_over {
        return Ok(Vec::new());
    }
    if is_held_down(scope, node) {
        return Ok(vec![Effect::StillKilled]);
    }
    if let Some((process, _)) = living_daemon(host)? {
        return Ok(vec![Effect::AlreadyRunning { process }]);
    }
    let Some(specification) = scope.daemons.get(node) else {
        return Err(InjectError::Unexpected(NO_SPECIFICATION.to_owned()));
    };
    Ok(vec![Effect::Restarted { process: host.start_daemon(specification)? }])
}

/// Sees that a process is gone.
pub(super) fn wait_until_gone(
    scope: &Scope<'_>,
    host: &dyn Host,
    process: ProcessIdentity,
) -> Result<(), InjectError> {
    let gone = scope.patience.wait_for(|| {
        let state = host.process_state(process)?;
        Ok::<_, InjectError>((state == ProcessState::Gone).then_some(()))
    })?;
    gone.ok_or(InjectError::NotSettled {
        process,
        expected: "is not gone",
        waited_ms: scope.patience.settle_ms,
    })
}
