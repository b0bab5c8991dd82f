//! Memory: the process may have a little more than it has, and no more.
//!
//! By a limit of a control group ([`super::cgroup`]), where one can be made: what the process asks for from then on counts there, what it
//! has stays counted where it was. Beyond the limit the kernel first takes back what it can (files that were read), and then kills the
//! process. Elsewhere by a limit on its data (`prlimit`, RLIMIT_DATA): then it is refused more, and most programs end of that themselves. The
//! record says which it was.
//!
//! A daemon that has ended of it is started again when the fault ends, as after trouble with its disk. So that this end is told from a crash
//! or from a kill by somebody else, which process is short of memory is written down before it is, and until when it was
//! ([`super::pressed`]). Where a control group counts whom the kernel has killed in it, only a process that ended after such a kill has ended of it.
//!
//! Where faults overlap on a process the lowest limit holds until the last of them ends. Where a fault of the processor needs the control group
//! longer, only the limit goes.

use super::super::kill::{is_to_live, start_again};
use super::super::{InjectError, Injector, Scope, StepReport, living_daemon};
use super::{
    Plan, cat, cgroup, is_needed_by_another, others_with, planned, pressed, trouble, unexpected, unless_gone,
    without_daemon,
};
use crate::evidence::{Effect, LimitMechanism, NodeFailure, Step};
use crate::fault::ResourceTrouble;
use crate::host::{Host, ProcessIdentity, ProcessState};

pub(super) struct Memory;

const CONTROLLER: &str = "memory";

impl Injector for Memory {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        without_daemon(scope, "it may end of it, and it is not known how to start its daemon")
    }

    fn prepare(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Prepare, |node, host| {
            let Some((process, _)) = living_daemon(host)? else { return Ok(vec![Effect::NoProcess]) };
            let found = cgroup::find(scope, node, host, process, CONTROLLER);
            let Some(found) = unless_gone(host, process, found)? else { return Ok(vec![Effect::NoProcess]) };
            let plan = match &found {
                Some(place) => {
                    Plan { process, by: place.by, place: &place.cgroup, back_to: Some(&place.back_to) }
                }
                None => Plan { process, by: LimitMechanism::Rlimit, place: "", back_to: None },
            };
            Ok(vec![plan.effect()])
        })
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            pressed::note_begin(scope, node, host, &plan)?;
            let is_limited = is_held_by_another(scope, node, &plan);
            unless_gone(host, plan.process, limit(host, &plan, margin_kib(scope)?, is_limited))?;
            Ok(Vec::new())
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            let read = limit_kib(host, &plan).and_then(|limit| Ok((limit, refusals(host, &plan)?)));
            Ok(match unless_gone(host, plan.process, read)? {
                Some((Some(limit_kib), times)) => {
                    vec![Effect::MemoryLimited { process: plan.process, by: plan.by, limit_kib, times }]
                }
                Some((None, _)) => return Err(unexpected("its memory has no limit")),
                // It has ended of it already, or of something else: that is told when the fault ends.
                None => Vec::new(),
            })
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            let mut effects: Vec<Effect> = refused(scope, node, host, &plan).into_iter().collect();
            let is_gone = host.process_state(plan.process)? == ProcessState::Gone;
            if is_gone && host.daemon()? == Some(plan.process) {
                // Whoever was killed by another fault or because nodes are over, or may have ended of another fault, did not end of this one.
                let is_told = scope.seen_on(node).any(|seen| matches!(seen, Effect::MemoryEnded { .. }));
                if !is_told && is_to_live(scope, node) && pressed::was_killed(host, &plan) {
                    effects.push(Effect::MemoryEnded { process: plan.process });
                }
            }
            if is_held_by_another(scope, node, &plan) {
                effects.push(Effect::StillLimited { process: plan.process });
            } else {
                let was_refused = pressed::was_refused(host, &plan);
                unless_gone(host, plan.process, release(scope, node, host, &plan))?;
                let is_alive = host.process_state(plan.process)? != ProcessState::Gone;
                pressed::note_end(scope, node, host, &plan, is_alive, was_refused);
            }
            if living_daemon(host)?.is_none() {
                effects.extend(start_again(scope, node, host)?);
            }
            Ok(effects)
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            if !is_held_by_another(scope, node, &plan) {
                let released = is_released(scope, node, host, &plan);
                if unless_gone(host, plan.process, released)? == Some(false) {
                    return Err(unexpected("its memory is still limited"));
                }
            }
            if is_to_live(scope, node) && living_daemon(host)?.is_none() {
                return Err(unexpected("the daemon died right after it was started"));
            }
            Ok(Vec::new())
        })
    }
}

fn margin_kib(scope: &Scope<'_>) -> Result<u64, InjectError> {
    match trouble(scope.resolved) {
        Some(ResourceTrouble::MemoryMarginKib(kib)) => Ok(kib),
        _ => Err(unexpected("this is no fault of memory")),
    }
}

/// Whether another fault goes on to limit the memory of the process.
fn is_held_by_another(scope: &Scope<'_>, node: &str, plan: &Plan<'_>) -> bool {
    others_with(scope, node, plan).any(|(trouble, _)| matches!(trouble, ResourceTrouble::MemoryMarginKib(_)))
}

/// The files of a control group in which its limit is, what it has, and what it was refused.
fn files(by: LimitMechanism) -> (&'static str, &'static str) {
    match by {
        LimitMechanism::CgroupV2 => ("memory.max", "memory.current"),
        _ => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    }
}

fn limit(host: &dyn Host, plan: &Plan<'_>, margin_kib: u64, is_limited: bool) -> Result<(), InjectError> {
    let lowest = |limit_kib: u64| -> Result<u64, InjectError> {
        let before = if is_limited { self::limit_kib(host, plan)? } else { None };
        Ok(before.map_or(limit_kib, |before| before.min(limit_kib)))
    };
    if plan.by == LimitMechanism::Rlimit {
        let limit_kib = lowest(data_kib(host, plan.process)?.saturating_add(margin_kib))?;
        return set_data_limit(host, plan.process, &(limit_kib * 1024).to_string());
    }
    let (limit_file, usage_file) = files(plan.by);
    cgroup::make(host, plan.place)?;
    let usage: u64 = number(&cgroup::get(host, plan.place, usage_file)?)?;
    let limit_kib = lowest((usage / 1024).saturating_add(margin_kib))?;
    cgroup::set(host, plan.place, limit_file, &(limit_kib * 1024).to_string())?;
    cgroup::enter(host, plan.place, plan.process)
}

fn release(scope: &Scope<'_>, node: &str, host: &dyn Host, plan: &Plan<'_>) -> Result<(), InjectError> {
    if plan.by == LimitMechanism::Rlimit {
        return match data_limit(host, "self")? {
            None => set_data_limit(host, plan.process, "unlimited"),
            Some(bytes) => set_data_limit(host, plan.process, &bytes.to_string()),
        };
    }
    if is_needed_by_another(scope, node, plan) {
        let nothing = if plan.by == LimitMechanism::CgroupV2 { "max" } else { "-1" };
        return cgroup::set(host, plan.place, files(plan.by).0, nothing);
    }
    cgroup::remove(scope, host, plan)
}

fn is_released(scope: &Scope<'_>, node: &str, host: &dyn Host, plan: &Plan<'_>) -> Result<bool, InjectError> {
    if plan.by == LimitMechanism::Rlimit {
        return Ok(data_limit(host, &plan.process.pid.to_string())? == data_limit(host, "self")?);
    }
    if is_needed_by_another(scope, node, plan) {
        return Ok(limit_kib(host, plan)?.is_none());
    }
    Ok(!cgroup::exists(host, plan.place))
}

/// The limit as it can be read back; `None` if there is none.
fn limit_kib(host: &dyn Host, plan: &Plan<'_>) -> Result<Option<u64>, InjectError> {
    if plan.by == LimitMechanism::Rlimit {
        let limit = data_limit(host, &plan.process.pid.to_string())?;
        return Ok(limit.map(|bytes| bytes / 1024));
    }
    let text = cgroup::get(host, plan.place, files(plan.by).0)?;
    // Before a limit is set the first version has a number that no memory reaches, the second one a word.
    let limit = text.parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60);
    Ok(limit.map(|bytes| bytes / 1024))
}

/// How often its control group refused memory, or took some back to give it.
pub(super) fn refusals(host: &dyn Host, plan: &Plan<'_>) -> Result<u64, InjectError> {
    match plan.by {
        LimitMechanism::CgroupV1 => number(&cgroup::get(host, plan.place, "memory.failcnt")?),
        LimitMechanism::CgroupV2 => cgroup::count(host, plan.place, "memory.events", "max"),
        LimitMechanism::Signals | LimitMechanism::Rlimit => Ok(0),
    }
}

/// How often that was during the fault; `None` if nobody counts, it was told already, or the control group has gone.
fn refused(scope: &Scope<'_>, node: &str, host: &dyn Host, plan: &Plan<'_>) -> Option<Effect> {
    let is_told = scope.seen_on(node).any(|seen| matches!(seen, Effect::MemoryRefused { .. }));
    if is_told || plan.by == LimitMechanism::Rlimit {
        return None;
    }
    let before = scope.seen_on(node).find_map(|effect| match effect {
        Effect::MemoryLimited { times, .. } => Some(*times),
        _ => None,
    });
    let times = refusals(host, plan).ok()?.saturating_sub(before.unwrap_or(0));
    Some(Effect::MemoryRefused { process: plan.process, times })
}

fn number(text: &str) -> Result<u64, InjectError> {
    text.parse().map_err(|_| unexpected(format!("`{text}` is no number")))
}

/// What the process has of what RLIMIT_DATA counts.
fn data_kib(host: &dyn Host, process: ProcessIdentity) -> Result<u64, InjectError> {
    let status = cat(host, &format!("/proc/{}/status", process.pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| unexpected("it is not told how much memory it has"))
}

/// Only the soft limit: who may not raise a hard limit could not undo it.
fn set_data_limit(host: &dyn Host, process: ProcessIdentity, limit: &str) -> Result<(), InjectError> {
    host.run("prlimit", &["--pid", &process.pid.to_string(), &format!("--data={limit}:")])?;
    Ok(())
}

/// Of a process by its number, or of a command that is run on the node (`self`), in bytes; `None` if there is none.
fn data_limit(host: &dyn Host, process: &str) -> Result<Option<u64>, InjectError> {
    let limits = cat(host, &format!("/proc/{process}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => Ok(None),
        Some(bytes) => number(bytes).map(Some),
        None => Err(unexpected("its limits are not told")),
    }
}
