//! Which processes were short of memory, and until when: written down in the folder of their node, so that whoever sees one end knows
//! whether it may have ended of that.
//!
//! A line is written before a process has less, and another one when it has as much as before: whoever lives then has borne it, and what
//! ends it afterwards is something else, but for what it was refused a moment ago ([`LINGERS_MS`]). Where a control group counts, what
//! was never refused anything, and has nobody killed in it, was not short of memory at all.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::{InjectError, Scope};
use super::{Plan, cgroup, memory, unexpected};
use crate::evidence::LimitMechanism;
use crate::host::{Host, ProcessIdentity};

/// A line of [`pressed_file`]: a process that is short of memory, or was. Of a process's lines the last one holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressedProcess {
    /// Which.
    #[serde(flatten)]
    pub process: ProcessIdentity,
    /// The control group that counts what it was refused, if it is one that limits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_in: Option<CountedIn>,
    /// When it had as much as before again, in milliseconds since 1970 by its machine's clock; 0: it was never refused anything. Absent: not
    /// yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
}

/// A control group that limits memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedIn {
    /// Of which kind it is.
    pub by: LimitMechanism,
    /// Its directory.
    pub cgroup: String,
}

/// What was refused memory may take so long to end of it.
const LINGERS_MS: u64 = 2_000;

/// In the folder of a node: which processes were short of memory, as JSON Lines of [`PressedProcess`].
#[must_use]
pub fn pressed_file(directory: &Path) -> PathBuf {
    directory.join("pressed.jsonl")
}

/// Whether a process that ended at that time (in milliseconds since 1970, if it is known) may have ended for want of memory, by the lines
/// of its node's [`pressed_file`]. Looks at the counts of its control group, if it is there still.
#[must_use]
pub fn may_end_of_memory(
    lines: &[PressedProcess],
    host: &dyn Host,
    process: ProcessIdentity,
    ended_unix_ms: Option<u64>,
) -> bool {
    let Some(last) = lines.iter().rfind(|line| line.process == process) else { return false };
    match (last.until_unix_ms, ended_unix_ms) {
        (Some(0), _) => false,
        (Some(until), Some(ended)) => ended <= until.saturating_add(LINGERS_MS),
        (Some(_), None) => true,
        (None, _) => last.counted_in.as_ref().is_none_or(|group| {
            let plan = Plan { process, by: group.by, place: &group.cgroup, back_to: None };
            was_refused(host, &plan)
        }),
    }
}

/// Whether it was refused memory, or somebody killed for want of it; also if nobody counts, or not any more.
pub(super) fn was_refused(host: &dyn Host, plan: &Plan<'_>) -> bool {
    if plan.by == LimitMechanism::Rlimit {
        return true;
    }
    let is_refused = memory::refusals(host, plan).map_or(true, |times| times > 0);
    is_refused || was_killed(host, plan)
}

/// Whether the kernel has killed somebody in its control group for want of memory; also if nobody counts that. Not if the group has gone:
/// then it was told before.
pub(super) fn was_killed(host: &dyn Host, plan: &Plan<'_>) -> bool {
    let file = match plan.by {
        LimitMechanism::CgroupV1 => "memory.oom_control",
        LimitMechanism::CgroupV2 => "memory.events",
        LimitMechanism::Signals | LimitMechanism::Rlimit => return true,
    };
    let Ok(text) = cgroup::get(host, plan.place, file) else { return false };
    // Linux before 4.13 does not count.
    cgroup::number_after(&text, "oom_kill").is_none_or(|times| times > 0)
}

/// It is about to have less.
pub(super) fn note_begin(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    plan: &Plan<'_>,
) -> Result<(), InjectError> {
    note(scope, node, host, plan, None)
}

/// It has as much as before, or has ended. What cannot be written down costs nothing but that an end of it is forgiven which comes later.
pub(super) fn note_end(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    plan: &Plan<'_>,
    is_alive: bool,
    was_refused: bool,
) {
    let noted = match (is_alive, was_refused) {
        (_, false) => note(scope, node, host, plan, Some(0)),
        (true, true) => now_unix_ms(host).and_then(|now| note(scope, node, host, plan, Some(now))),
        // It may have ended of it.
        (false, true) => Ok(()),
    };
    if let Err(error) = noted {
        tracing::warn!(node, %error, "that a process has its memory again could not be written down");
    }
}

fn note(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    plan: &Plan<'_>,
    until_unix_ms: Option<u64>,
) -> Result<(), InjectError> {
    let folder = scope.daemons.get(node).map(|specification| &specification.directory);
    let folder =
        folder.ok_or_else(|| unexpected("it is not known in which folder the node keeps its files"))?;
    let is_counted = plan.by != LimitMechanism::Rlimit;
    let counted_in = is_counted.then(|| CountedIn { by: plan.by, cgroup: plan.place.to_owned() });
    let pressed = PressedProcess { process: plan.process, counted_in, until_unix_ms };
    let line = serde_json::to_string(&pressed).map_err(|error| unexpected(error.to_string()))?;
    let file = pressed_file(folder).to_string_lossy().into_owned();
    host.run("sh", &["-c", "printf '%s\\n' \"$2\" >> \"$1\"", "sh", &file, &line])?;
    Ok(())
}

/// By the clock of the machine, as the ends of daemons are noted.
fn now_unix_ms(host: &dyn Host) -> Result<u64, InjectError> {
    let said = host.run("date", &["+%s%3N"])?.stdout;
    said.trim().parse().map_err(|_| unexpected(format!("`date` says {said:?}, which is no number")))
}
