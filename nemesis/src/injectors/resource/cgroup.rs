//! Control groups (cgroups(7)) for single processes: where one can be made for a process, and making, filling and removing it.
//!
//! One is made for each process, with a name that has the run's tag and the process in it, so that what other runs and
//! other people have made is never touched. Faults of different controllers share it where these are of one hierarchy: a process is in one group
//! of each. So a fault that ends lifts what it has set itself, and the last one of all moves the process back and removes the group. In the first version it is made below the group that the process is in, whose limits go on to
//! hold; in the second one, where a group with processes gives no controllers to groups below it, beside that, and only where the group
//! above gives the controller to its children already: what others have set up is not changed.
//!
//! Files of control groups are written by a shell: they must be opened as they are, and not replaced.

use super::super::{InjectError, Scope};
use super::{Plan, cat, plans_in, unexpected};
use crate::evidence::LimitMechanism;
use crate::host::{Host, ProcessIdentity};
use crate::injectors::effects_on;

/// A group that can be made for a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub by: LimitMechanism,
    pub cgroup: String,
    pub back_to: String,
}

/// The group that a process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Current {
    by: LimitMechanism,
    directory: String,
}

/// Where a group of its own can be made for a process; `None` if it cannot.
pub(super) fn find(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    process: ProcessIdentity,
    controller: &str,
) -> Result<Option<Place>, InjectError> {
    let groups = cat(host, &format!("/proc/{}/cgroup", process.pid))?;
    let mounts = cat(host, "/proc/self/mountinfo")?;
    let Some(Current { by, directory }) = current(&mounts, &groups, controller) else { return Ok(None) };
    let name = format!("labrys-{}-{node}-{}-{}", scope.run_tag, process.pid, process.start_ticks);
    if directory.rsplit('/').next() == Some(&name) {
        // Another fault has moved it there, and knows from where.
        let mut plans = scope.others.iter().flat_map(|(_, evidence)| plans_in(effects_on(evidence, node)));
        let back_to = plans.find(|plan| plan.place == directory).and_then(|plan| plan.back_to);
        // It may have been for the sake of another controller.
        let back_to = back_to.filter(|_| is_made(host, parent(&directory), controller));
        return Ok(back_to.map(|back_to| Place { by, back_to: back_to.to_owned(), cgroup: directory }));
    }
    let above = match by {
        LimitMechanism::CgroupV2 => parent(&directory),
        _ => &directory,
    };
    Ok(is_made(host, above, controller).then(|| Place {
        by,
        cgroup: format!("{above}/{name}"),
        back_to: directory.clone(),
    }))
}

/// Of the second version, the file with the controllers that a group gives to its children tells whether it is one of them.
const CAN_BE_MADE: &str = "[ -w \"$1\" ] && [ -w \"$1/cgroup.procs\" ] && \
    { [ ! -e \"$1/cgroup.subtree_control\" ] || grep -qw -- \"$2\" \"$1/cgroup.subtree_control\"; }";

/// Whether groups can be made below a group in which the controller can be used.
fn is_made(host: &dyn Host, above: &str, controller: &str) -> bool {
    host.run("sh", &["-c", CAN_BE_MADE, "sh", above, controller]).is_ok()
}

fn parent(directory: &str) -> &str {
    directory.rsplit_once('/').map_or("", |(above, _)| above)
}

/// From `/proc/self/mountinfo` (proc(5)) and `/proc/PID/cgroup` (cgroups(7)): the group in which a controller has the process.
fn current(mounts: &str, groups: &str, controller: &str) -> Option<Current> {
    let has = |list: &str| list.split(',').any(|name| name == controller);
    let line = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let controllers = fields.nth(1)?;
            wanted(controllers).then(|| fields.next())?
        })
    };
    let first = mount(mounts, "cgroup", &has).zip(line(&has));
    let second = || mount(mounts, "cgroup2", &|_| true).zip(line(&str::is_empty));
    let (by, ((root, mounted_at), path)) = match first {
        Some(found) => (LimitMechanism::CgroupV1, found),
        None => (LimitMechanism::CgroupV2, second()?),
    };
    // In a container the mount shows a part of the hierarchy only; what is outside of it cannot be reached.
    let path = if root == "/" { path } else { path.strip_prefix(root)? };
    if path.starts_with("/..") {
        return None;
    }
    Some(Current { by, directory: format!("{mounted_at}{}", path.trim_end_matches('/')) })
}

/// Which part of a hierarchy is mounted, and where. The file system's own options name a hierarchy's controllers.
fn mount<'m>(mounts: &'m str, kind: &str, has: &dyn Fn(&str) -> bool) -> Option<(&'m str, &'m str)> {
    mounts.lines().find_map(|line| {
        let (place, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let mut place = place.split(' ').skip(3);
        (system.next() == Some(kind) && has(system.nth(1)?)).then_some((place.next()?, place.next()?))
    })
}

/// Makes a group, if it is not there.
pub(super) fn make(host: &dyn Host, cgroup: &str) -> Result<(), InjectError> {
    host.run("mkdir", &["-p", "--", cgroup])?;
    Ok(())
}

/// Writes to one of its files.
pub(super) fn set(host: &dyn Host, cgroup: &str, file: &str, text: &str) -> Result<(), InjectError> {
    host.run("sh", &["-c", "printf %s \"$2\" > \"$1\"", "sh", &format!("{cgroup}/{file}"), text])?;
    Ok(())
}

/// Moves a process into it.
pub(super) fn enter(host: &dyn Host, cgroup: &str, process: ProcessIdentity) -> Result<(), InjectError> {
    set(host, cgroup, "cgroup.procs", &process.pid.to_string())
}

/// What one of its files says.
pub(super) fn get(host: &dyn Host, cgroup: &str, file: &str) -> Result<String, InjectError> {
    Ok(cat(host, &format!("{cgroup}/{file}"))?.trim().to_owned())
}

/// The number after a name in one of its files.
pub(super) fn count(host: &dyn Host, cgroup: &str, file: &str, name: &str) -> Result<u64, InjectError> {
    let number = number_after(&get(host, cgroup, file)?, name);
    number.ok_or_else(|| unexpected(format!("{cgroup}/{file} has no `{name}`")))
}

/// The number after a name in lines of names and numbers.
pub(super) fn number_after(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name).and_then(|(_, number)| number.trim().parse().ok())
}

/// Whether the process is in it.
pub(super) fn has(host: &dyn Host, cgroup: &str, process: ProcessIdentity) -> Result<bool, InjectError> {
    let pid = process.pid.to_string();
    Ok(get(host, cgroup, "cgroup.procs")?.lines().any(|line| line == pid))
}

/// Moves whoever is in it back to where the process came from, and removes it, if it is there. What it had begun is in it as well.
pub(super) fn remove(scope: &Scope<'_>, host: &dyn Host, plan: &Plan<'_>) -> Result<(), InjectError> {
    let back_to = plan.back_to.unwrap_or_else(|| parent(plan.place));
    let mut last = String::new();
    let removed = scope.patience.wait_for(|| {
        // A process that ends just now stays in its group for a moment.
        let run = host.run("sh", &["-c", REMOVE, "sh", plan.place, back_to]);
        last = run.as_ref().err().map(ToString::to_string).unwrap_or_default();
        Ok::<_, InjectError>(run.is_ok().then_some(()))
    })?;
    removed.ok_or_else(|| unexpected(format!("its control group cannot be removed: {last}")))
}

const REMOVE: &str = "[ -d \"$1\" ] || exit 0; \
    while read -r process; do echo \"$process\" > \"$2/cgroup.procs\" || :; done < \"$1/cgroup.procs\"; rmdir -- \"$1\"";

/// Whether it is there.
pub(super) fn exists(host: &dyn Host, cgroup: &str) -> bool {
    host.run("test", &["-e", cgroup]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        24 23 0:21 / /sys rw - sysfs sysfs rw\n\
        33 32 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        34 32 0:31 /docker/7f /sys/fs/cgroup/memory ro,relatime master:9 - cgroup cgroup rw,memory\n\
        35 32 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

    fn of(groups: &str, controller: &str) -> Option<(LimitMechanism, String)> {
        current(MOUNTS, groups, controller).map(|current| (current.by, current.directory))
    }

    #[test]
    fn the_group_of_a_process_is_where_its_hierarchy_is_mounted_and_below_that_what_its_line_says() {
        let groups = "9:memory:/docker/7f/app\n3:cpu,cpuacct:/a b/c:d\n1:cpuset:/x\n0::/user.slice\n";
        let first = LimitMechanism::CgroupV1;
        assert_eq!(of(groups, "cpu"), Some((first, "/sys/fs/cgroup/cpu/a b/c:d".to_owned())));
        assert_eq!(of(groups, "memory"), Some((first, "/sys/fs/cgroup/memory/app".to_owned())));
        let second = LimitMechanism::CgroupV2;
        assert_eq!(of(groups, "io"), Some((second, "/sys/fs/cgroup/unified/user.slice".to_owned())));
        assert_eq!(of("3:cpu:/\n", "cpu"), Some((first, "/sys/fs/cgroup/cpu".to_owned())));
    }

    #[test]
    fn what_is_outside_of_the_part_that_is_mounted_cannot_be_reached() {
        assert_eq!(of("9:memory:/docker/8a\n", "memory"), None);
        assert_eq!(of("0::/../other\n", "io"), None);
        assert_eq!(of("", "cpu"), None);
        assert_eq!(current("", "0::/\n", "cpu"), None);
    }
}
