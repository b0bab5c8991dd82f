//! Time of a processor: the process gets so many hundredths of one, and stands still for the rest of each tenth of a second.
//!
//! By a quota of a control group ([`super::cgroup`]), where one can be made; else by a process that stops it and continues it
//! ([`crate::starve`]), which it takes no privilege to do. The record says which it was. Both measure what the process uses and keep it from
//! no more than that, so one that wants little does not notice; the bite is that it was kept from running, as the kernel counts it
//! (`nr_throttled`) or the other process does, and what it had of the processor stands beside it.
//!
//! Where faults overlap on a process, it gets the least of what they say; so what it gets is a function of the set of its faults. A group
//! of control, and a process that stops others, is for one process: the last fault to end takes it away. Where a fault of memory needs the group longer, only the quota goes.
//!
//! A process that stops others must leave those alone that a *pause* holds, and a pause must find nobody who continues what it has stopped:
//! so a pause first tells that process, waits until it knows, and tells it again when the pause is over; see [`hold_starvers`]. Should it die, what it had
//! stopped is continued when the fault ends, unless a pause holds it.

use std::path::{Path, PathBuf};

use super::super::pause::is_held_by_another as is_paused;
use super::super::{InjectError, Injector, Scope, StepReport, living_daemon, signal_unless_gone};
use super::{
    Plan, cgroup, is_needed_by_another, others_with, planned, plans_in, trouble, unexpected, unless_gone,
    without_daemon,
};
use crate::evidence::{Effect, LimitMechanism, NodeFailure, Step};
use crate::fault::ResourceTrouble;
use crate::host::{Host, HostError, ProcessIdentity, ProcessState, Signal};
use crate::injectors::effects_on;
use crate::starver::{StarveAnswer, StarveOrder, answer_file};

pub(super) struct Processor;

const CONTROLLER: &str = "cpu";

/// In each such time the process has its share: what kernels take if nobody says otherwise.
const PERIOD_US: u64 = 100_000;

/// Field 14 and 15 of `/proc/PID/stat` count in these (proc(5); it is 100 a second on every Linux that is in use).
const TICK_MS: u64 = 10;

impl Injector for Processor {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        without_daemon(scope, "it is not known in which folder the node keeps its files")
    }

    fn prepare(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Prepare, |node, host| {
            let Some((process, _)) = living_daemon(host)? else { return Ok(vec![Effect::NoProcess]) };
            let found = cgroup::find(scope, node, host, process, CONTROLLER);
            let Some(found) = unless_gone(host, process, found)? else { return Ok(vec![Effect::NoProcess]) };
            if let Some(place) = found {
                let (place, back_to, by) = (&place.cgroup, Some(place.back_to.as_str()), place.by);
                return Ok(vec![Plan { process, by, place, back_to }.effect()]);
            }
            if scope.processor_program.is_empty() {
                return Err(unexpected(NO_PROGRAM));
            }
            let place = order_file(scope, node, process)?.to_string_lossy().into_owned();
            Ok(vec![Plan { process, by: LimitMechanism::Signals, place: &place, back_to: None }.effect()])
        })
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            let given = give(scope, node, host, &plan, least(scope, node, &plan, true));
            unless_gone(host, plan.process, given)?;
            Ok(Vec::new())
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            let read = share_percent(host, &plan);
            let Some(percent) = unless_gone(host, plan.process, read)? else {
                return Ok(vec![Effect::NoProcess]);
            };
            let expected = least(scope, node, &plan, true);
            if percent != expected {
                return Err(unexpected(format!("it has {percent:?} % of a processor, not {expected:?} %")));
            }
            let Some(use_) = used(host, &plan)? else { return Ok(vec![Effect::NoProcess]) };
            Ok(vec![Effect::ProcessorLimited {
                process: plan.process,
                by: plan.by,
                percent: percent.unwrap_or(0),
                times: use_.times,
                used_ms: use_.used_ms,
                at_ms: use_.at_ms,
            }])
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            let mut effects: Vec<Effect> = starved(scope, node, host, &plan)?.into_iter().collect();
            match least(scope, node, &plan, false) {
                Some(percent) => {
                    let given = give(scope, node, host, &plan, Some(percent));
                    unless_gone(host, plan.process, given)?;
                    effects.push(Effect::StillLimited { process: plan.process });
                }
                None if is_needed_by_another(scope, node, &plan) => {
                    unless_gone(host, plan.process, lift(host, &plan))?;
                }
                None => take_away(scope, node, host, &plan)?,
            }
            Ok(effects)
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            let Some(plan) = planned(scope, node) else { return Ok(Vec::new()) };
            if least(scope, node, &plan, false).is_some() {
                return Ok(Vec::new());
            }
            if is_needed_by_another(scope, node, &plan) {
                return match unless_gone(host, plan.process, share_percent(host, &plan))?.flatten() {
                    Some(percent) => Err(unexpected(format!("it still has {percent} % of a processor only"))),
                    None => Ok(Vec::new()),
                };
            }
            if plan.by != LimitMechanism::Signals {
                let detail = "its control group is still there";
                return if cgroup::exists(host, plan.place) {
                    Err(unexpected(detail))
                } else {
                    Ok(Vec::new())
                };
            }
            if !is_paused(scope, node, plan.process)
                && host.process_state(plan.process)? == ProcessState::Stopped
            {
                return Err(unexpected("it is still stopped"));
            }
            Ok(Vec::new())
        })
    }
}

const NO_PROGRAM: &str = "its processor cannot be taken away: no control group can be made here, and this nemesis was not told how to \
     start the process that stops others";

/// The least share that the faults on a process say, this one's too if it counts; `None` if there are none.
fn least(scope: &Scope<'_>, node: &str, plan: &Plan<'_>, with_this: bool) -> Option<u32> {
    let percent = |trouble: ResourceTrouble| match trouble {
        ResourceTrouble::ProcessorPercent(percent) => Some(percent),
        _ => None,
    };
    let others = others_with(scope, node, plan).filter_map(|(trouble, _)| percent(trouble));
    others.chain(trouble(scope.resolved).filter(|_| with_this).and_then(percent)).min()
}

/// Gives the process a share, in whatever way is planned.
fn give(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    plan: &Plan<'_>,
    percent: Option<u32>,
) -> Result<(), InjectError> {
    let percent = percent.ok_or_else(|| unexpected("this is no fault of a processor"))?;
    let quota_us = PERIOD_US * u64::from(percent) / 100;
    match plan.by {
        LimitMechanism::CgroupV1 => {
            cgroup::make(host, plan.place)?;
            cgroup::set(host, plan.place, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
            cgroup::set(host, plan.place, "cpu.cfs_quota_us", &quota_us.to_string())?;
            cgroup::enter(host, plan.place, plan.process)
        }
        LimitMechanism::CgroupV2 => {
            cgroup::make(host, plan.place)?;
            cgroup::set(host, plan.place, "cpu.max", &format!("{quota_us} {PERIOD_US}"))?;
            cgroup::enter(host, plan.place, plan.process)
        }
        LimitMechanism::Signals | LimitMechanism::Rlimit => {
            let is_held = is_paused(scope, node, plan.process);
            let starver = Starver { host, file: PathBuf::from(plan.place) };
            starver.tell(scope, Some((plan.process, percent)), is_held)
        }
    }
}

/// The process may have all that there is; its control group stays.
fn lift(host: &dyn Host, plan: &Plan<'_>) -> Result<(), InjectError> {
    match plan.by {
        LimitMechanism::CgroupV1 => cgroup::set(host, plan.place, "cpu.cfs_quota_us", "-1"),
        LimitMechanism::CgroupV2 => cgroup::set(host, plan.place, "cpu.max", &format!("max {PERIOD_US}")),
        // Whoever stops a process is there for that alone.
        LimitMechanism::Signals | LimitMechanism::Rlimit => Ok(()),
    }
}

/// The share as it can be read back; `None` if it is all that there is.
fn share_percent(host: &dyn Host, plan: &Plan<'_>) -> Result<Option<u32>, InjectError> {
    let percent = |quota: &str, period: &str| {
        let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
        u32::try_from((quota * 100).checked_div(period)?).ok()
    };
    let is_in = |host| match cgroup::has(host, plan.place, plan.process) {
        Ok(false) => Err(unexpected("it is not in its control group")),
        other => other,
    };
    match plan.by {
        LimitMechanism::CgroupV1 => {
            is_in(host)?;
            let quota = cgroup::get(host, plan.place, "cpu.cfs_quota_us")?;
            Ok(percent(&quota, &cgroup::get(host, plan.place, "cpu.cfs_period_us")?))
        }
        LimitMechanism::CgroupV2 => {
            is_in(host)?;
            let text = cgroup::get(host, plan.place, "cpu.max")?;
            Ok(text.split_once(' ').and_then(|(quota, period)| percent(quota, period)))
        }
        LimitMechanism::Signals | LimitMechanism::Rlimit => {
            let starver = Starver { host, file: PathBuf::from(plan.place) };
            Ok(starver.living()?.map(|answer| answer.percent))
        }
    }
}

/// What a process has had of a processor since it was started.
struct Use {
    times: u64,
    used_ms: u64,
    at_ms: u64,
}

/// `None` if it is gone.
fn used(host: &dyn Host, plan: &Plan<'_>) -> Result<Option<Use>, InjectError> {
    let path = format!("/proc/{}/stat", plan.process.pid);
    let read = host.run("cat", &["--", &path, "/proc/uptime"]).map_err(InjectError::from);
    let Some(read) = unless_gone(host, plan.process, read)? else { return Ok(None) };
    let (used_ms, at_ms) = used_and_uptime_ms(&read.stdout)
        .ok_or_else(|| unexpected(format!("{path} does not tell what it has used")))?;
    let times = match plan.by {
        LimitMechanism::CgroupV1 | LimitMechanism::CgroupV2 => {
            cgroup::count(host, plan.place, "cpu.stat", "nr_throttled")?
        }
        LimitMechanism::Signals | LimitMechanism::Rlimit => {
            let starver = Starver { host, file: PathBuf::from(plan.place) };
            starver.answer()?.map_or(0, |answer| answer.stops)
        }
    };
    Ok(Some(Use { times, used_ms, at_ms }))
}

/// From a line of `/proc/PID/stat` and one of `/proc/uptime`.
fn used_and_uptime_ms(text: &str) -> Option<(u64, u64)> {
    let (stat, uptime) = text.trim_end().rsplit_once('\n')?;
    // Its name may have spaces and parentheses in it; the third field comes after the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let seconds: f64 = uptime.split(' ').next()?.parse().ok()?;
    Some((ticks * TICK_MS, (seconds * 1e3) as u64))
}

/// What the process had of a processor during the fault; `None` if that was told already, or cannot be known any more.
fn starved(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    plan: &Plan<'_>,
) -> Result<Option<Effect>, InjectError> {
    if scope.seen_on(node).any(|effect| matches!(effect, Effect::ProcessorStarved { .. })) {
        return Ok(None);
    }
    let before = scope.seen_on(node).find_map(|effect| match effect {
        Effect::ProcessorLimited { times, used_ms, at_ms, .. } => Some((*times, *used_ms, *at_ms)),
        _ => None,
    });
    let Some((times, used_ms, at_ms)) = before else { return Ok(None) };
    // What keeps it from running, and counts, may have been taken away by somebody else: then there is no more to tell.
    let Some(now) = used(host, plan).ok().flatten() else { return Ok(None) };
    Ok(Some(Effect::ProcessorStarved {
        process: plan.process,
        times: now.times.saturating_sub(times),
        used_ms: now.used_ms.saturating_sub(used_ms),
        within_ms: now.at_ms.saturating_sub(at_ms),
    }))
}

fn take_away(scope: &Scope<'_>, node: &str, host: &dyn Host, plan: &Plan<'_>) -> Result<(), InjectError> {
    if plan.by != LimitMechanism::Signals {
        return cgroup::remove(scope, host, plan);
    }
    Starver { host, file: PathBuf::from(plan.place) }.end(scope)?;
    if !is_paused(scope, node, plan.process) && host.process_state(plan.process)? != ProcessState::Gone {
        signal_unless_gone(host, plan.process, Signal::Continue)?;
        let state = scope.patience.wait_for(|| {
            let state = host.process_state(plan.process)?;
            Ok::<_, InjectError>((state != ProcessState::Stopped).then_some(()))
        })?;
        state.ok_or_else(|| unexpected("it does not go on"))?;
    }
    Ok(())
}

/// Where the orders for the process are that stops a process: in the folder of its node.
fn order_file(scope: &Scope<'_>, node: &str, process: ProcessIdentity) -> Result<PathBuf, InjectError> {
    let folder = scope.daemons.get(node).map(|specification| &specification.directory);
    let folder =
        folder.ok_or_else(|| unexpected("it is not known in which folder the node keeps its files"))?;
    let name = format!("processor-{}-{}-{}.json", scope.run_tag, process.pid, process.start_ticks);
    Ok(folder.join(name))
}

/// Has those who stop a process leave it alone, and waits until they do: it is about to be paused.
pub(in crate::injectors) fn hold_starvers(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    process: ProcessIdentity,
) -> Result<(), InjectError> {
    starvers(scope, node, host, process).try_for_each(|starver| starver.tell(scope, None, true))
}

/// Has them go on, unless another pause holds it: one has ended.
pub(in crate::injectors) fn release_starvers(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    process: ProcessIdentity,
) -> Result<(), InjectError> {
    starvers(scope, node, host, process).try_for_each(|starver| starver.tell(scope, None, false))
}

/// Whether a process that was found like that does nothing until a fault ends. One that is stopped for the rest of its time does something
/// in every [`PERIOD_US`], and the moment in which somebody looks is seldom that in which it runs.
pub(in crate::injectors) fn stands_still(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    (process, state): (ProcessIdentity, ProcessState),
) -> bool {
    let is_starved = || starvers(scope, node, host, process).next().is_some();
    state == ProcessState::Stopped && (is_paused(scope, node, process) || !is_starved())
}

fn starvers<'a>(
    scope: &'a Scope<'_>,
    node: &'a str,
    host: &'a dyn Host,
    process: ProcessIdentity,
) -> impl Iterator<Item = Starver<'a>> {
    let plans = scope.others.iter().flat_map(move |(_, evidence)| plans_in(effects_on(evidence, node)));
    let own = plans.filter(move |plan| plan.process == process && plan.by == LimitMechanism::Signals);
    own.map(move |plan| Starver { host, file: PathBuf::from(plan.place) })
}

/// A process that stops another, at arm's length.
struct Starver<'a> {
    host: &'a dyn Host,
    file: PathBuf,
}

impl Starver<'_> {
    /// Gives it orders, starts it if there is none, and waits until it has taken them. Without a share it keeps that which it has, and
    /// nothing is done where it has none.
    fn tell(
        &self,
        scope: &Scope<'_>,
        share: Option<(ProcessIdentity, u32)>,
        is_held: bool,
    ) -> Result<(), InjectError> {
        let last: Option<StarveOrder> = self.read(&self.file)?;
        let serial = last.map_or(1, |last| last.serial + 1);
        let share = share.or(last.map(|last| (last.process, last.percent)));
        let Some((process, percent)) = share else { return Ok(()) };
        let order = StarveOrder { serial, process, percent, is_held };
        self.write(&order)?;
        if self.living()?.is_none() {
            if scope.processor_program.is_empty() {
                // Whoever heals has nobody to start, and nobody to tell.
                return Ok(());
            }
            self.start(scope)?;
        }
        let taken = scope.patience.wait_for(|| {
            let answer = self.answer()?;
            Ok::<_, InjectError>(answer.filter(|answer| answer.serial == serial).map(drop))
        })?;
        taken.ok_or_else(|| unexpected(format!("nobody takes the orders in {}", self.file.display())))
    }

    /// Takes its orders away and waits until it has ended.
    fn end(&self, scope: &Scope<'_>) -> Result<(), InjectError> {
        self.host.run("rm", &["-f", "--", &self.file.to_string_lossy()])?;
        let ended =
            scope.patience.wait_for(|| Ok::<_, InjectError>(self.living()?.is_none().then_some(())))?;
        ended.ok_or_else(|| unexpected("the process that stops it has not ended"))?;
        let answer = answer_file(&self.file);
        self.host.run("rm", &["-f", "--", &answer.to_string_lossy()])?;
        Ok(())
    }

    /// In the background, apart from the shell's session, and holding none of its pipes.
    fn start(&self, scope: &Scope<'_>) -> Result<(), InjectError> {
        const SCRIPT: &str = "log=\"$1\"; shift; setsid \"$@\" </dev/null >\"$log\" 2>&1 &";
        let (file, log) = (self.file.to_string_lossy(), self.file.with_extension("log"));
        let log = log.to_string_lossy();
        let mut arguments = vec!["-c", SCRIPT, "sh", &log];
        arguments.extend(scope.processor_program.iter().map(String::as_str));
        arguments.push(&file);
        self.host.run("sh", &arguments)?;
        Ok(())
    }

    /// Its last answer, if it lives.
    fn living(&self) -> Result<Option<StarveAnswer>, InjectError> {
        let Some(answer) = self.answer()? else { return Ok(None) };
        let lives = self.host.process_state(answer.starver)? != ProcessState::Gone;
        Ok(lives.then_some(answer))
    }

    fn answer(&self) -> Result<Option<StarveAnswer>, InjectError> {
        self.read(&answer_file(&self.file))
    }

    /// As a whole, by a rename.
    fn write(&self, order: &StarveOrder) -> Result<(), InjectError> {
        let text = serde_json::to_vec(order).map_err(|error| unexpected(error.to_string()))?;
        let draft = self.file.with_extension("order");
        self.host.write_file(&draft, &text)?;
        self.host.run("mv", &["-f", "--", &draft.to_string_lossy(), &self.file.to_string_lossy()])?;
        Ok(())
    }

    fn read<T: for<'de> serde::Deserialize<'de>>(&self, file: &Path) -> Result<Option<T>, InjectError> {
        match self.host.read_file(file) {
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_used_is_read_past_its_name_whatever_that_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 9 0 100 1000 10";
        assert_eq!(used_and_uptime_ms(&format!("{stat}\n12.34 20.00\n")), Some((3_000, 12_340)));
        assert_eq!(used_and_uptime_ms("12.34 20.00\n"), None);
        assert_eq!(used_and_uptime_ms(""), None);
    }
}
