//! Processes short of a processor or of memory: what is asserted is what the kernel says that they had, and that nothing is left.
//!
//! Each case is run twice: where control groups can be made, if this machine has any that root inside may write, and where there are none.

use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labrys_nemesis::{
    DaemonSpec, Effect, FaultReport, Host, LimitMechanism, NemesisClient, Patience, ProcessIdentity,
    ProcessState, Resolved, ResourceTrouble, ServeConfig, Signal, heal, read_journal, serve, starve,
};

use nix::sys::signal::{Signal as System, kill};
use nix::unistd::Pid;

use crate::local_host::{LocalHost, idle_daemon, stat_of};
use crate::namespaces::{inside_namespaces, wait_for};

/// Set in the process that keeps others from running: this program again, which would run a test.
const STARVES: &str = "LABRYS_TEST_STARVES";

type Nemesis = NemesisClient<BufReader<UnixStream>, UnixStream>;

/// A node whose processor or memory is taken, and a nemesis in a thread of this process.
struct Bench {
    folder: tempfile::TempDir,
    host: LocalHost,
    config: ServeConfig,
    has_groups: bool,
}

/// What the daemon does: as much as it can, or nothing until there is a file `go` and then it grows.
const BUSY: &str = "while :; do :; done";
const GROWING: &str = "while [ ! -e go ]; do sleep 0.01; done; x=0123456789abcdef; while :; do x=$x$x; done";

/// Runs `body`, the test called `name`, with control groups and without, if there can be any.
fn with_and_without_groups(name: &str, script: &str, body: impl Fn(&Bench)) {
    if std::env::var_os(STARVES).is_some() {
        let orders = std::env::args().next_back().unwrap();
        return starve(Path::new(&orders)).unwrap();
    }
    inside_namespaces(name, || {
        if groups_can_be_made() {
            Bench::new(name, script, true).run(&body);
        } else {
            let line = format!("SKIPPED {name}: with control groups, of which none can be made here\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        // Whatever is mounted there is out of sight for this process, and for those that it starts.
        let status = std::process::Command::new("mount").args(["-t", "tmpfs", "none", "/sys"]).status();
        assert!(status.unwrap().success());
        Bench::new(name, script, false).run(&body);
    });
}

fn groups_can_be_made() -> bool {
    let probe = Path::new("/sys/fs/cgroup/cpu/labrys-probe");
    std::fs::create_dir(probe).and_then(|()| std::fs::remove_dir(probe)).is_ok()
}

impl Bench {
    fn new(name: &str, script: &str, has_groups: bool) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("n1");
        let host = LocalHost {
            name: "n1".to_owned(),
            address: [127, 0, 0, 1].into(),
            namespace_of: None,
            folder: place.clone(),
        };
        let script = format!("cd '{}' && {script}", place.display());
        let (program, args) = (PathBuf::from("sh"), vec!["-c".to_owned(), script]);
        let spec = DaemonSpec { program, args, ..idle_daemon(&place) };
        host.start_daemon(&spec).unwrap();
        let program = std::env::current_exe().unwrap();
        let program = program.to_str().unwrap();
        let starver = ["env", &format!("{STARVES}=1"), program, name, "--exact", "--nocapture"];
        let config = ServeConfig {
            run_tag: run_tag().parse().unwrap(),
            journal: folder.path().join("journal.jsonl"),
            testbed: serde_json::Value::Null,
            daemons: [("n1".to_owned(), spec)].into(),
            packet_program: Vec::new(),
            processor_program: starver.map(str::to_owned).into(),
            patience: Patience::default(),
        };
        Bench { folder, host, config, has_groups }
    }

    fn run(self, body: &impl Fn(&Bench)) {
        let _cleanup = Cleanup(self.host.clone());
        body(&self);
        assert_eq!(self.groups(), Vec::<PathBuf>::new());
        assert_eq!(self.starvers(), Vec::<i32>::new());
        let names = std::fs::read_dir(&self.host.folder).unwrap();
        let orders = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_order = |name: &String| name.starts_with("processor-") && !name.ends_with(".log");
        assert_eq!(orders.filter(is_order).collect::<Vec<_>>(), Vec::<String>::new());
        assert!(read_journal(&self.config.journal).unwrap().outstanding.is_empty());
    }

    fn with_nemesis(&self, body: impl FnOnce(&mut Nemesis)) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (config, hosts) = (self.config.clone(), self.hosts());
        let nemesis = std::thread::spawn(move || serve(config, hosts, theirs.try_clone().unwrap(), theirs));
        let mut client = NemesisClient::new(BufReader::new(ours.try_clone().unwrap()), ours);
        body(&mut client);
        drop(client);
        nemesis.join().unwrap().unwrap();
    }

    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        vec![Arc::new(self.host.clone())]
    }

    fn daemon(&self) -> ProcessIdentity {
        self.host.daemon().unwrap().unwrap()
    }

    /// The control groups of this run, wherever they are.
    fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let is_ours =
                        entry.file_name().to_string_lossy().starts_with(&format!("labrys-{}-n1-", run_tag()));
                    if is_ours { found.push(entry.path()) } else { folders.push(entry.path()) }
                }
            }
        }
        found
    }

    /// Those who keep processes of this bench from running.
    fn starvers(&self) -> Vec<i32> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
            let line = String::from_utf8(std::fs::read(format!("/proc/{pid}/cmdline")).ok()?).ok()?;
            (line.contains(&folder) && line.contains("processor-")).then_some(pid)
        });
        processes.collect()
    }

    /// Field 14 and 15 of `/proc/PID/stat`, in ticks of 10 ms.
    fn used_ticks(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon().pid)).unwrap();
        let fields: Vec<u64> = text[text.rfind(')').unwrap()..]
            .split(' ')
            .skip(12)
            .take(2)
            .map(|field| field.parse().unwrap())
            .collect();
        fields.iter().sum()
    }

    /// Waits until the daemon has used so much more.
    fn uses(&self, ticks: u64) {
        let wanted = self.used_ticks() + ticks;
        wait_for("the daemon to use its processor", || (self.used_ticks() >= wanted).then_some(()));
    }
}

/// One for each test: control groups are in no namespace, and tests are run at the same time.
fn run_tag() -> String {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let number = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect::<String>();
    format!("t{number}")
}

struct Cleanup(LocalHost);

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Ok(Some(process)) = self.0.daemon() {
            let _ = self.0.signal(process, Signal::Kill);
        }
    }
}

fn short_of(trouble: ResourceTrouble) -> Resolved {
    Resolved::Resource { nodes: vec!["n1".to_owned()], trouble }
}

fn processor(percent: u32) -> Resolved {
    short_of(ResourceTrouble::ProcessorPercent(percent))
}

fn paused() -> Resolved {
    Resolved::Pause { nodes: vec!["n1".to_owned()] }
}

fn mechanism(report: &FaultReport) -> LimitMechanism {
    let planned = report.evidence.details.iter().find_map(|seen| match seen.effect {
        Effect::LimitPlanned { by, .. } => Some(by),
        _ => None,
    });
    planned.expect("a plan")
}

/// How often it was kept from running, what it used, and within which time.
fn starved(report: &FaultReport) -> (u64, u64, u64) {
    let starved = report.evidence.details.iter().find_map(|seen| match seen.effect {
        Effect::ProcessorStarved { times, used_ms, within_ms, .. } => Some((times, used_ms, within_ms)),
        _ => None,
    });
    starved.expect("what it had")
}

#[test]
fn a_busy_process_gets_its_share_of_a_processor_and_all_of_it_again_afterwards() {
    const NAME: &str =
        "resource::a_busy_process_gets_its_share_of_a_processor_and_all_of_it_again_afterwards";
    with_and_without_groups(NAME, BUSY, |bench| {
        bench.uses(1);
        bench.with_nemesis(|nemesis| {
            let report = nemesis.apply(0, processor(10)).unwrap();
            assert_eq!(mechanism(&report) == LimitMechanism::Signals, !bench.has_groups, "{report:?}");
            assert_eq!(bench.groups().len() + bench.starvers().len(), 1, "one of either");
            assert!(!report.evidence.bit, "not before it was kept from running: {report:?}");
            bench.uses(5);
            let report = nemesis.undo(0).unwrap();
            assert!(report.evidence.bit, "{report:?}");
            let (times, used_ms, within_ms) = starved(&report);
            // A tenth; half of the time is what no quota that holds would give, however busy this machine is.
            assert!(times > 0 && used_ms * 2 < within_ms, "{times} {used_ms} {within_ms}");
            assert_eq!(bench.groups(), Vec::<PathBuf>::new());
            assert_eq!(bench.starvers(), Vec::<i32>::new());
            bench.uses(5);
        });
    });
}

#[test]
fn of_two_shares_the_smaller_one_holds_and_the_last_to_end_takes_everything_away() {
    const NAME: &str =
        "resource::of_two_shares_the_smaller_one_holds_and_the_last_to_end_takes_everything_away";
    let share = |report: &FaultReport| {
        let shares = report.evidence.details.iter().filter_map(|seen| match seen.effect {
            Effect::ProcessorLimited { percent, .. } => Some(percent),
            _ => None,
        });
        shares.collect::<Vec<_>>()
    };
    with_and_without_groups(NAME, BUSY, |bench| {
        bench.with_nemesis(|nemesis| {
            assert_eq!(share(&nemesis.apply(0, processor(5)).unwrap()), [5]);
            assert_eq!(share(&nemesis.apply(1, processor(50)).unwrap()), [5]);
            assert_eq!(bench.groups().len() + bench.starvers().len(), 1);
            let report = nemesis.undo(0).unwrap();
            let process = bench.daemon();
            let still = Effect::StillLimited { process };
            assert!(report.evidence.details.iter().any(|seen| seen.effect == still), "{report:?}");
            assert_eq!(share(&nemesis.apply(2, processor(60)).unwrap()), [50]);
            nemesis.undo(1).unwrap();
            assert_eq!(bench.groups().len() + bench.starvers().len(), 1);
            nemesis.undo(2).unwrap();
        });
    });
}

#[test]
fn a_pause_holds_a_process_that_is_short_of_its_processor_and_whoever_ends_last_lets_it_go_on() {
    const NAME: &str = "resource::a_pause_holds_a_process_that_is_short_of_its_processor_and_whoever_ends_last_lets_it_go_on";
    let state = |bench: &Bench| bench.host.process_state(bench.daemon()).unwrap();
    with_and_without_groups(NAME, BUSY, |bench| {
        bench.with_nemesis(|nemesis| {
            nemesis.apply(0, processor(10)).unwrap();
            nemesis.apply(1, paused()).unwrap();
            let before = bench.used_ticks();
            // Orders are taken in turn, so whoever starves it has looked at it many times by then.
            for id in 2..12 {
                nemesis.apply(id, processor(20)).unwrap();
            }
            assert_eq!((state(bench), bench.used_ticks()), (ProcessState::Stopped, before));
            for id in (2..12).chain([0]) {
                nemesis.undo(id).unwrap();
            }
            assert_eq!((state(bench), bench.used_ticks()), (ProcessState::Stopped, before));
            nemesis.apply(12, processor(20)).unwrap();
            assert_eq!(state(bench), ProcessState::Stopped, "also by one that begins during the pause");
            nemesis.undo(1).unwrap();
            bench.uses(2);
            nemesis.apply(13, paused()).unwrap();
            nemesis.undo(12).unwrap();
            assert_eq!(state(bench), ProcessState::Stopped);
            nemesis.undo(13).unwrap();
            bench.uses(2);
        });
    });
}

#[test]
fn a_process_gets_its_processor_back_from_the_journal_alone_also_if_whoever_stopped_it_was_killed() {
    const NAME: &str = "resource::a_process_gets_its_processor_back_from_the_journal_alone_also_if_whoever_stopped_it_was_killed";
    with_and_without_groups(NAME, BUSY, |bench| {
        let journal = bench.folder.path().join("kept.jsonl");
        bench.with_nemesis(|nemesis| {
            nemesis.apply(0, processor(2)).unwrap();
            // What a nemesis leaves that is killed now.
            std::fs::copy(&bench.config.journal, &journal).unwrap();
            if let [starver] = bench.starvers()[..] {
                let send = |signal| kill(Pid::from_raw(starver), signal).unwrap();
                wait_for("it to be stopped", || {
                    send(System::SIGSTOP);
                    wait_for("it to stand still", || (stat_of(starver)?.0 == 'T').then_some(()));
                    let is_stopped = stat_of(bench.daemon().pid)?.0 == 'T';
                    if !is_stopped {
                        send(System::SIGCONT);
                    }
                    is_stopped.then_some(())
                });
                send(System::SIGKILL);
                wait_for("its end", || bench.starvers().is_empty().then_some(()));
                assert_eq!(stat_of(bench.daemon().pid).unwrap().0, 'T');
            }
            assert_eq!(heal(bench.hosts(), &journal, Patience::default()).unwrap().len(), 1);
            assert_eq!(bench.groups(), Vec::<PathBuf>::new());
            bench.uses(5);
            assert_eq!(heal(bench.hosts(), &journal, Patience::default()).unwrap().len(), 0);
            // The nemesis lives after all, and finds nothing left to do.
            nemesis.undo(0).unwrap();
            bench.uses(5);
        });
    });
}

#[test]
fn a_process_that_wants_more_memory_than_it_may_have_ends_and_is_started_again() {
    const NAME: &str =
        "resource::a_process_that_wants_more_memory_than_it_may_have_ends_and_is_started_again";
    with_and_without_groups(NAME, GROWING, |bench| {
        let go = bench.host.folder.join("go");
        bench.with_nemesis(|nemesis| {
            let report = nemesis.apply(0, short_of(ResourceTrouble::MemoryMarginKib(4_096))).unwrap();
            assert_eq!(mechanism(&report) == LimitMechanism::Rlimit, !bench.has_groups, "{report:?}");
            assert!(!report.evidence.bit, "{report:?}");
            let first = bench.daemon();
            std::fs::write(&go, "").unwrap();
            wait_for("its end", || {
                (bench.host.process_state(first).unwrap() == ProcessState::Gone).then_some(())
            });
            std::fs::remove_file(&go).unwrap();
            let report = nemesis.undo(0).unwrap();
            let effects: Vec<&Effect> = report.evidence.details.iter().map(|seen| &seen.effect).collect();
            assert!(report.evidence.bit && effects.contains(&&Effect::MemoryEnded { process: first }));
            assert!(effects.contains(&&Effect::Restarted { process: bench.daemon() }), "{effects:?}");
            let refusals = effects
                .iter()
                .any(|effect| effect.is_bite() && matches!(effect, Effect::MemoryRefused { .. }));
            assert_eq!(refusals, bench.has_groups, "{effects:?}");
        });
    });
}

#[test]
fn a_process_that_wants_no_more_memory_goes_on_and_its_limit_is_gone_afterwards() {
    const NAME: &str =
        "resource::a_process_that_wants_no_more_memory_goes_on_and_its_limit_is_gone_afterwards";
    with_and_without_groups(NAME, GROWING, |bench| {
        bench.with_nemesis(|nemesis| {
            let limits = || std::fs::read_to_string(format!("/proc/{}/limits", bench.daemon().pid)).unwrap();
            let (first, before) = (bench.daemon(), limits());
            for (id, kib) in [(0, 65_536), (1, 131_072)] {
                nemesis.apply(id, short_of(ResourceTrouble::MemoryMarginKib(kib))).unwrap();
            }
            assert_eq!(bench.groups().len() + usize::from(limits() != before), 1);
            nemesis.undo(0).unwrap();
            assert_eq!(bench.groups().len() + usize::from(limits() != before), 1, "another fault holds it");
            let report = nemesis.undo(1).unwrap();
            assert!(!report.evidence.bit, "{report:?}");
            assert_eq!((bench.daemon(), limits()), (first, before));
        });
    });
}
