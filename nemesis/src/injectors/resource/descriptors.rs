//! File descriptors: the soft limit of the running process (`prlimit`, RLIMIT_NOFILE) is lowered to the highest descriptor that it has open, so
//! that it can open no other file and accept no connection; what is open stays so. Only the soft limit is touched: who may not raise a
//! hard limit could not undo it. It is undone by giving the process the limit that a process has which is started on the node now, since
//! daemons have no limits of their own; whoever is started meanwhile has that limit anyway. Where faults overlap on a process, the last
//! one to end raises the limit. A daemon that is dead has no limits: no bite, and no error.

use super::super::{InjectError, Injector, Scope, StepReport, effects_on, living_daemon};
use crate::evidence::{Effect, Step};
use crate::fault::Resolved;
use crate::host::{Host, ProcessIdentity, ProcessState};

pub(super) struct Descriptors;

impl Injector for Descriptors {
    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |_, host| {
            let Some((process, _)) = living_daemon(host)? else { return Ok(vec![Effect::NoProcess]) };
            let limited = highest_descriptor(host, process).and_then(|highest| {
                set_soft_limit(host, process, highest + 1)?;
                Ok(highest + 1)
            });
            match limited {
                Err(_) if host.process_state(process)? == ProcessState::Gone => Ok(vec![Effect::NoProcess]),
                Err(error) => Err(error),
                Ok(_) => Ok(Vec::new()),
            }
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            if scope.seen_on(node).any(|effect| *effect == Effect::NoProcess) {
                return Ok(Vec::new());
            }
            let Some((process, _)) = living_daemon(host)? else { return Ok(vec![Effect::NoProcess]) };
            let (limit, usual) = (soft_limit(host, &process.pid.to_string())?, soft_limit(host, "self")?);
            Ok(vec![Effect::DescriptorsLimited { process, limit, usual }])
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            let Some((process, _)) = living_daemon(host)? else { return Ok(Vec::new()) };
            if is_held_by_another(scope, node, process) {
                return Ok(vec![Effect::StillLimited { process }]);
            }
            match set_soft_limit(host, process, soft_limit(host, "self")?) {
                Err(_) if host.process_state(process)? == ProcessState::Gone => Ok(Vec::new()),
                done => done.map(|()| Vec::new()),
            }
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            let Some((process, _)) = living_daemon(host)? else { return Ok(Vec::new()) };
            if is_held_by_another(scope, node, process) {
                return Ok(Vec::new());
            }
            let usual = soft_limit(host, "self")?;
            match soft_limit(host, &process.pid.to_string()) {
                Ok(limit) if limit == usual => Ok(Vec::new()),
                Ok(limit) => {
                    let detail = format!("it may have {limit} files open, not {usual}");
                    Err(InjectError::Unexpected(detail))
                }
                Err(_) if host.process_state(process)? == ProcessState::Gone => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        })
    }
}

fn is_held_by_another(scope: &Scope<'_>, node: &str, process: ProcessIdentity) -> bool {
    let holds = |(resolved, evidence): &(&Resolved, &crate::evidence::Evidence)| {
        let is_limit = |effect: &Effect| matches!(effect, Effect::DescriptorsLimited { process: other, .. } if *other == process);
        matches!(resolved, Resolved::Resource { .. }) && effects_on(evidence, node).any(is_limit)
    };
    scope.others.iter().any(holds)
}

/// The highest descriptor that a process has open.
fn highest_descriptor(host: &dyn Host, process: ProcessIdentity) -> Result<u64, InjectError> {
    let listed = host.run("ls", &[&format!("/proc/{}/fd", process.pid)])?.stdout;
    let highest = listed.split_whitespace().filter_map(|number| number.parse().ok()).max();
    highest.ok_or_else(|| InjectError::Unexpected("its open files are not listed".to_owned()))
}

fn set_soft_limit(host: &dyn Host, process: ProcessIdentity, limit: u64) -> Result<(), InjectError> {
    host.run("prlimit", &["--pid", &process.pid.to_string(), &format!("--nofile={limit}:")])?;
    Ok(())
}

/// How many files a process may have open: by its number, or that of a command which is run on the node (`self`).
fn soft_limit(host: &dyn Host, process: &str) -> Result<u64, InjectError> {
    let limits = host.run("cat", &[&format!("/proc/{process}/limits")])?.stdout;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    limit.ok_or_else(|| InjectError::Unexpected("its limits are not told".to_owned()))
}
