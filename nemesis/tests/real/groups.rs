//! Control groups of either version that faults share: the engine over a node whose control groups are folders, so that both versions
//! can be had on any machine. The shell commands are the very ones; of the kernel there is only what moves a process, and makes and
//! removes the files of a group.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use tempfile::TempDir;

use labrys_nemesis::{
    CommandOutput, DaemonSpec, Effect, Engine, FaultReport, Host, HostError, Journal, LimitMechanism,
    Patience, PressedProcess, ProcessIdentity, ProcessState, Resolved, ResourceTrouble, Signal,
    may_end_of_memory, pressed_file,
};

use crate::local_host::idle_daemon;

const PATIENCE: Patience =
    Patience { settle_ms: 50, poll_ms: 1, undo_attempts: 3, retry_ms: 0, undo_ms: 60_000 };

const DAEMON: ProcessIdentity = ProcessIdentity { pid: 7, start_ticks: 9 };

/// The node `n1` with a daemon that has no body.
struct GroupHost {
    folder: TempDir,
    by: LimitMechanism,
    kernel: Mutex<Kernel>,
}

struct Kernel {
    daemon: Option<ProcessIdentity>,
    is_alive: bool,
    /// The group that the daemon is in.
    group: PathBuf,
}

impl GroupHost {
    /// In a hierarchy of this version with these controllers, the daemon in the group `app` of it.
    fn new(by: LimitMechanism, controllers: &str) -> Arc<GroupHost> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("groups");
        let group = root.join("app");
        for directory in [&root, &group] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("cgroup.procs"), "").unwrap();
            if by == LimitMechanism::CgroupV2 {
                std::fs::write(directory.join("cgroup.subtree_control"), "").unwrap();
            }
        }
        if by == LimitMechanism::CgroupV2 {
            std::fs::write(root.join("cgroup.subtree_control"), controllers).unwrap();
        }
        std::fs::write(group.join("cgroup.procs"), "7\n").unwrap();
        let kernel = Kernel { daemon: Some(DAEMON), is_alive: true, group };
        Arc::new(GroupHost { folder, by, kernel: Mutex::new(kernel) })
    }

    fn engine(self: &Arc<Self>) -> Engine {
        let tag = "groups".parse().unwrap();
        let journal =
            Journal::open(&self.folder.path().join("journal.jsonl"), &tag, &serde_json::Value::Null);
        let mut engine =
            Engine::new(tag, vec![Arc::clone(self) as Arc<dyn Host>], PATIENCE, journal.unwrap());
        let daemon = idle_daemon(self.folder.path());
        engine.set_daemons(BTreeMap::from([("n1".to_owned(), daemon)])).unwrap();
        engine
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap()
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("groups")
    }

    /// The group that a nemesis has made, if there is one.
    fn made(&self) -> Option<PathBuf> {
        self.groups().into_iter().find(|group| group.to_string_lossy().contains("labrys-groups-n1-7-9"))
    }

    fn groups(&self) -> Vec<PathBuf> {
        let (mut found, mut next) = (Vec::new(), vec![self.root()]);
        while let Some(folder) = next.pop() {
            let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            next.extend(entries.filter(|path| path.is_dir()));
            found.push(folder);
        }
        found
    }

    /// What a file of the group says that the nemesis has made; `None` if there is no group.
    fn says(&self, file: &str) -> Option<String> {
        Some(std::fs::read_to_string(self.made()?.join(file)).unwrap().trim().to_owned())
    }

    /// Whether the process has little of a processor, and of memory.
    fn limits(&self) -> (bool, bool) {
        let (processor, memory) = match self.by {
            LimitMechanism::CgroupV2 => ("cpu.max", "memory.max"),
            _ => ("cpu.cfs_quota_us", "memory.limit_in_bytes"),
        };
        let is_limited = |file| {
            self.says(file).is_some_and(|text| !text.starts_with("max") && text != "-1" && text != NO_LIMIT)
        };
        (is_limited(processor), is_limited(memory))
    }

    /// The kernel has killed the daemon for want of memory, or somebody else has.
    fn dies(&self, for_want_of_memory: bool) {
        if for_want_of_memory {
            let file = match self.by {
                LimitMechanism::CgroupV2 => "memory.events",
                _ => "memory.oom_control",
            };
            let text = self.says(file).unwrap().replace("oom_kill 0", "oom_kill 1");
            std::fs::write(self.made().unwrap().join(file), text).unwrap();
        }
        self.kernel().is_alive = false;
    }

    /// The files that a group has from its beginning.
    fn fill(&self, group: &Path) {
        let of_both = [("cgroup.procs", ""), ("cpu.stat", "nr_periods 0\nnr_throttled 0")];
        let files: &[(&str, &str)] = match self.by {
            LimitMechanism::CgroupV2 => &[
                ("cgroup.subtree_control", ""),
                ("cpu.max", "max 100000"),
                ("memory.max", "max"),
                ("memory.current", "4096"),
                ("memory.events", "max 0\noom 0\noom_kill 0"),
            ],
            _ => &[
                ("cpu.cfs_quota_us", "-1"),
                ("cpu.cfs_period_us", "100000"),
                ("memory.limit_in_bytes", NO_LIMIT),
                ("memory.usage_in_bytes", "4096"),
                ("memory.failcnt", "0"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0"),
            ],
        };
        for (name, text) in of_both.iter().chain(files) {
            if !group.join(name).exists() {
                std::fs::write(group.join(name), text).unwrap();
            }
        }
    }

    /// A process is in the group into whose file it was written last.
    fn move_processes(&self) {
        let mut kernel = self.kernel();
        let has = |group: &PathBuf| {
            std::fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|text| text.trim() == "7")
        };
        let groups = self.groups();
        if let Some(group) = groups.iter().find(|group| **group != kernel.group && has(group)) {
            kernel.group = group.clone();
        }
        for group in &groups {
            let processes = if *group == kernel.group { "7\n" } else { "" };
            std::fs::write(group.join("cgroup.procs"), processes).unwrap();
        }
    }

    fn read(&self, path: &str) -> Option<String> {
        let root = self.root();
        let group = self.kernel().group.clone();
        let group = format!("/{}", group.strip_prefix(&root).unwrap().display());
        let version_2 = self.by == LimitMechanism::CgroupV2;
        Some(match path {
            "/proc/7/cgroup" if version_2 => format!("0::{group}\n"),
            "/proc/7/cgroup" => format!("4:cpu,memory:{group}\n"),
            "/proc/self/mountinfo" => {
                let kind = if version_2 { "cgroup2 cgroup2 rw" } else { "cgroup cgroup rw,cpu,memory" };
                format!("35 32 0:32 / {} rw - {kind}\n", root.display())
            }
            "/proc/7/stat" => "7 (store) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 9 0 9".to_owned(),
            _ => return None,
        })
    }
}

/// What the first version says where there is no limit.
const NO_LIMIT: &str = "9223372036854771712";

/// A group's files go with it.
const RMDIR: &str = "rmdir() { rm -r -- \"$2\"; }; ";

impl Host for GroupHost {
    fn name(&self) -> &str {
        "n1"
    }

    fn address(&self) -> IpAddr {
        IpAddr::from([10, 0, 0, 1])
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        let failed = |detail: String| HostError::Command {
            host: "n1".to_owned(),
            command: format!("{program} {}", args.join(" ")),
            detail,
        };
        if let ("cat", ["--", path, rest @ ..]) = (program, args)
            && let Some(text) = self.read(path)
        {
            let uptime = if rest.is_empty() { "" } else { "\n12.34 20.00\n" };
            return Ok(CommandOutput { stdout: text + uptime, stderr: String::new() });
        }
        let mut words: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        if program == "sh" {
            words[1] = format!("{RMDIR}{}", words[1]);
        }
        let output = Command::new(program).args(words).output().unwrap();
        if let ("mkdir", [.., group]) = (program, args) {
            self.fill(Path::new(group));
        }
        self.move_processes();
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(CommandOutput {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::new(),
        })
    }

    fn start_daemon(&self, _: &DaemonSpec) -> Result<ProcessIdentity, HostError> {
        let daemon = ProcessIdentity { pid: 8, start_ticks: 20 };
        self.kernel().daemon = Some(daemon);
        Ok(daemon)
    }

    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError> {
        Ok(self.kernel().daemon)
    }

    fn process_state(&self, process: ProcessIdentity) -> Result<ProcessState, HostError> {
        let is_there = self.kernel().is_alive || process != DAEMON;
        Ok(if is_there { ProcessState::Running } else { ProcessState::Gone })
    }

    fn signal(&self, _: ProcessIdentity, _: Signal) -> Result<(), HostError> {
        unreachable!("control groups need no signals")
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let failed = |source| HostError::File { host: "n1".to_owned(), path: path.to_owned(), source };
        std::fs::read(path).map_err(failed)
    }

    fn write_file(&self, _: &Path, _: &[u8]) -> Result<(), HostError> {
        unreachable!("control groups are written by a shell")
    }
}

fn of(trouble: ResourceTrouble) -> Resolved {
    Resolved::Resource { nodes: vec!["n1".to_owned()], trouble }
}

const PROCESSOR: ResourceTrouble = ResourceTrouble::ProcessorPercent(5);
const MEMORY: ResourceTrouble = ResourceTrouble::MemoryMarginKib(1_024);

const BOTH: [LimitMechanism; 2] = [LimitMechanism::CgroupV1, LimitMechanism::CgroupV2];

#[test]
fn faults_of_processor_and_memory_share_a_group_and_each_ends_what_it_has_set() {
    for by in BOTH {
        for (first, second, left) in [(PROCESSOR, MEMORY, (false, true)), (MEMORY, PROCESSOR, (true, false))]
        {
            for first_ends_first in [true, false] {
                let what = format!("{by}: {first:?}, {second:?}, {first_ends_first}");
                let host = GroupHost::new(by, "cpu memory");
                let mut engine = host.engine();
                engine.apply(1, of(first)).unwrap();
                engine.apply(2, of(second)).unwrap();
                assert_eq!(host.limits(), (true, true), "{what}");
                let (earlier, later, left) =
                    if first_ends_first { (1, 2, left) } else { (2, 1, (!left.0, !left.1)) };
                engine.undo(earlier).unwrap();
                assert_eq!(host.limits(), left, "{what}: what the other has set stays");
                assert_eq!(Some(host.kernel().group.clone()), host.made(), "{what}");
                engine.undo(later).unwrap();
                assert_eq!((host.made(), host.kernel().group.clone()), (None, host.root().join("app")));
            }
        }
    }
}

#[test]
fn a_group_that_was_made_for_the_sake_of_one_controller_is_not_taken_for_one_of_another() {
    let host = GroupHost::new(LimitMechanism::CgroupV2, "memory");
    let mut engine = host.engine();
    engine.apply(1, of(MEMORY)).unwrap();
    let error = engine.apply(2, of(PROCESSOR)).unwrap_err().to_string();
    assert!(error.contains("no control group can be made here"), "{error}");
    assert_eq!(host.limits(), (false, true));
    engine.undo(1).unwrap();
    assert_eq!(host.made(), None);
}

/// The lines about the daemon, and whether its end is forgiven that was noticed at that time.
fn is_forgiven(host: &GroupHost, ended_unix_ms: u64) -> bool {
    let text = std::fs::read_to_string(pressed_file(host.folder.path())).unwrap();
    let lines: Vec<PressedProcess> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    may_end_of_memory(&lines, host, DAEMON, Some(ended_unix_ms))
}

fn has_ended_of_memory(report: &FaultReport) -> bool {
    let ended = Effect::MemoryEnded { process: DAEMON };
    report.evidence.details.iter().any(|seen| seen.effect == ended)
}

const FAR_FUTURE_UNIX_MS: u64 = 1 << 50;

#[test]
fn a_process_has_ended_of_its_memory_only_if_the_kernel_has_killed_for_want_of_it() {
    for by in BOTH {
        for for_want_of_memory in [true, false] {
            let host = GroupHost::new(by, "cpu memory");
            let mut engine = host.engine();
            engine.apply(1, of(MEMORY)).unwrap();
            host.dies(for_want_of_memory);
            assert_eq!(is_forgiven(&host, 1), for_want_of_memory, "{by}: as long as the fault lasts");
            let report = engine.undo(1).unwrap();
            assert_eq!(has_ended_of_memory(&report), for_want_of_memory, "{by}: {report:?}");
            assert_eq!(report.evidence.bit, for_want_of_memory, "{by}: {report:?}");
            assert_eq!(is_forgiven(&host, 1), for_want_of_memory, "{by}: afterwards");
        }
    }
}

#[test]
fn what_a_process_ends_of_after_it_has_borne_its_want_of_memory_is_something_else() {
    let host = GroupHost::new(LimitMechanism::CgroupV2, "cpu memory");
    let mut engine = host.engine();
    engine.apply(1, of(MEMORY)).unwrap();
    let events = host.made().unwrap().join("memory.events");
    std::fs::write(events, "max 3\noom 0\noom_kill 0").unwrap();
    assert!(is_forgiven(&host, FAR_FUTURE_UNIX_MS), "as long as it lasts");
    let report = engine.undo(1).unwrap();
    assert!(report.evidence.bit && !has_ended_of_memory(&report), "{report:?}");
    assert!(is_forgiven(&host, 1), "it was noticed before the fault was undone");
    assert!(!is_forgiven(&host, FAR_FUTURE_UNIX_MS));
}
