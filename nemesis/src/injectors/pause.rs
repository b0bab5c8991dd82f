//! Pauses: the daemon is stopped with SIGSTOP, which it cannot catch, and continued with SIGCONT.
//!
//! A pause holds *processes*, not nodes: those that it was seen to stop. Hence, where faults overlap:
//! - Two pauses of a process: it continues when the later one to end ends.
//! - A paused process that is killed dies (SIGKILL works on stopped processes); the pause then ends on nothing.
//! - A node that is started while a pause of its former process goes on *runs*: the pause was of that process. A later pause
//!   of the new process does not wait for the older pause to end.
//! - A process that another fault stops and continues to keep it from its processor is left alone by that for as long as a pause holds it.
//! - A dead daemon cannot be paused: no bite on this node, and no error.
//!
//! A pause of which nothing is known but its intent (the nemesis died in between) is undone on whatever daemon the node has
//! now, if it is stopped.

use super::resource::{hold_starvers, release_starvers};
use super::{InjectError, Injector, Scope, StepReport, effects_on, living_daemon, signal_unless_gone};
use crate::evidence::{Effect, Evidence, Step};
use crate::host::{Host, HostError, ProcessIdentity, ProcessState, Signal};

pub(super) struct Pause;

impl Injector for Pause {
    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            if let Some((process, _)) = living_daemon(host)? {
                hold_starvers(scope, node, host, process)?;
                signal_unless_gone(host, process, Signal::Stop)?;
            }
            Ok(Vec::new())
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |_, host| {
            let Some(process) = host.daemon()? else { return Ok(vec![Effect::NoProcess]) };
            match settled(scope, host, process, |state| state != ProcessState::Running)? {
                Some(ProcessState::Stopped) => Ok(vec![Effect::ProcessStopped { process }]),
                Some(_) => Ok(vec![Effect::NoProcess]),
                None => Err(not_settled(scope, process, "has not stopped")),
            }
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            let mut effects = Vec::new();
            for process in held_by_this(scope, node, host)? {
                if is_held_by_another(scope, node, process) {
                    effects.push(Effect::StillPaused { process });
                    continue;
                }
                // Also to a process that is not in state `T`: a stop may be pending.
                let found = host.process_state(process)?;
                if found != ProcessState::Gone {
                    signal_unless_gone(host, process, Signal::Continue)?;
                }
                release_starvers(scope, node, host, process)?;
                effects.push(Effect::PauseEnded { process, found });
            }
            Ok(effects)
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            for process in held_by_this(scope, node, host)? {
                if !is_held_by_another(scope, node, process)
                    && settled(scope, host, process, |state| state != ProcessState::Stopped)?.is_none()
                {
                    return Err(not_settled(scope, process, "is still stopped"));
                }
            }
            Ok(Vec::new())
        })
    }
}

/// The processes on a node that this pause stopped, or may have if nothing was seen of it there.
fn held_by_this(scope: &Scope<'_>, node: &str, host: &dyn Host) -> Result<Vec<ProcessIdentity>, HostError> {
    let stopped = stopped_processes(scope.evidence, node);
    if scope.seen_on(node).any(|effect| matches!(effect, Effect::ProcessStopped { .. } | Effect::NoProcess)) {
        return Ok(stopped);
    }
    Ok(living_daemon(host)?.map(|(process, _)| process).into_iter().collect())
}

/// Whether a pause holds the process, other than the fault at hand.
pub(super) fn is_held_by_another(scope: &Scope<'_>, node: &str, process: ProcessIdentity) -> bool {
    scope.others.iter().any(|(_, evidence)| stopped_processes(evidence, node).contains(&process))
}

fn stopped_processes(evidence: &Evidence, node: &str) -> Vec<ProcessIdentity> {
    let stopped = effects_on(evidence, node).filter_map(|effect| match effect {
        Effect::ProcessStopped { process } => Some(*process),
        _ => None,
    });
    stopped.collect()
}

/// The state of the process once `is_settled` holds of it; `None` if it does not in time.
fn settled(
    scope: &Scope<'_>,
    host: &dyn Host,
    process: ProcessIdentity,
    is_settled: impl Fn(ProcessState) -> bool,
) -> Result<Option<ProcessState>, HostError> {
    scope.patience.wait_for(|| {
        let state = host.process_state(process)?;
        Ok(is_settled(state).then_some(state))
    })
}

fn not_settled(scope: &Scope<'_>, process: ProcessIdentity, expected: &'static str) -> InjectError {
    InjectError::NotSettled { process, expected, waited_ms: scope.patience.settle_ms }
}
