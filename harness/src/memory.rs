//! How much memory this process may use: the machine's, or less where a control group says so (a container, a CI job, a systemd
//! unit). Whoever goes by the machine's alone is killed by the kernel before his own budget runs out.

use std::path::{Path, PathBuf};

/// Half of the memory that this process may use: the machine's (`MemTotal`) or the smallest limit of its control groups,
/// whichever is less. 1 GiB where the system says neither.
#[must_use]
pub fn half_of_the_memory_bytes() -> usize {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let bytes = available_bytes(&read).map_or(2 << 30, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    bytes / 2
}

/// What `read` says of files of the kernel, as few as need be; `None` if it knows no limit at all.
fn available_bytes(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let limits = limit_files(read).into_iter().filter_map(|file| read(&file)?.trim().parse().ok());
    limits.chain(total_bytes(read)).min()
}

fn total_bytes(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let text = read(Path::new("/proc/meminfo"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

/// The files with the memory limits of this process's control groups: of its own group and of every one above it, for each
/// limits those below. Both versions may be mounted. Where there is none, version 2 says `max` (no number) and version 1 a
/// number beyond any memory.
///
/// In a container the group may be named as the host sees it, while only the part from the container's group down is mounted:
/// the upper folders of that name do not exist then, and the root of the mount is the container's group.
fn limit_files(read: &dyn Fn(&Path) -> Option<String>) -> Vec<PathBuf> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let mut files = Vec::new();
    // hierarchy:controllers:path; version 2 has hierarchy 0 and names no controllers.
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (kind, file) = match controllers {
            "" => ("cgroup2", "memory.max"),
            named if named.split(',').any(|name| name == "memory") => ("cgroup", "memory.limit_in_bytes"),
            _ => continue,
        };
        for mount in mounts.lines().filter_map(|line| mount_point(line, kind)) {
            let group = Path::new(path.trim_start_matches('/'));
            files.extend(group.ancestors().map(|above| mount.join(above).join(file)));
        }
    }
    files
}

/// The mount point in a line of `/proc/self/mountinfo` (proc(5)), if a hierarchy of that kind with memory limits is there.
fn mount_point<'a>(line: &'a str, kind: &str) -> Option<&'a Path> {
    let (place, system) = line.split_once(" - ")?;
    let mut system = system.split_ascii_whitespace();
    let found = system.next()?;
    let has_memory = kind == "cgroup2" || system.nth(1)?.split(',').any(|option| option == "memory");
    (found == kind && has_memory).then(|| place.split_ascii_whitespace().nth(4).map(Path::new))?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const VERSION_2: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const VERSION_1: &str = "33 29 0:30 / /sys/fs/cgroup/cpu rw shared:11 - cgroup cgroup rw,cpu\n\
                             34 29 0:31 / /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory\n";

    fn available<const N: usize>(files: [(&str, &str); N]) -> Option<u64> {
        let files = BTreeMap::from(files.map(|(path, text)| (PathBuf::from(path), text.to_owned())));
        available_bytes(&|path| files.get(path).cloned())
    }

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:        4096 kB\nMemFree: 1 kB\n");
    const TOTAL: u64 = 4096 << 10;

    #[test]
    fn without_control_groups_the_machines_memory_counts() {
        assert_eq!(available([MEMINFO]), Some(TOTAL));
        assert_eq!(available([("/proc/meminfo", "nonsense")]), None);
    }

    #[test]
    fn the_smallest_limit_on_the_path_of_version_2_counts() {
        let groups = ("/proc/self/cgroup", "0::/user.slice/job\n");
        let mounts = ("/proc/self/mountinfo", VERSION_2);
        let own = ("/sys/fs/cgroup/user.slice/job/memory.max", "max\n");
        let above = ("/sys/fs/cgroup/user.slice/memory.max", "1048576\n");
        assert_eq!(available([MEMINFO, groups, mounts, own]), Some(TOTAL));
        assert_eq!(available([MEMINFO, groups, mounts, own, above]), Some(1 << 20));
    }

    #[test]
    fn a_limit_of_version_1_counts_and_one_beyond_the_machine_does_not() {
        let groups = ("/proc/self/cgroup", "4:cpu:/a\n7:hugetlb,memory:/docker/abc\n0::/\n");
        let mounts = ("/proc/self/mountinfo", VERSION_1);
        let file = "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes";
        assert_eq!(available([MEMINFO, groups, mounts, (file, "2097152\n")]), Some(2 << 20));
        assert_eq!(available([MEMINFO, groups, mounts, (file, "9223372036854771712\n")]), Some(TOTAL));
        let of_another_controller = "/sys/fs/cgroup/cpu/a/memory.limit_in_bytes";
        assert_eq!(available([MEMINFO, groups, mounts, (of_another_controller, "1\n")]), Some(TOTAL));
    }

    #[test]
    fn a_container_whose_group_is_the_root_of_the_mount_is_limited_by_it() {
        let groups = ("/proc/self/cgroup", "0::/kubepods/pod1/c1\n");
        let mounts = ("/proc/self/mountinfo", VERSION_2);
        let root = ("/sys/fs/cgroup/memory.max", "524288\n");
        assert_eq!(available([MEMINFO, groups, mounts, root]), Some(512 << 10));
    }

    #[test]
    fn this_machine_has_some() {
        assert!(half_of_the_memory_bytes() > 1 << 20);
    }
}
