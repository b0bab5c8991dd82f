//! Disks that lose power, fill up, fail and rot, seen by a program that reads and writes files on them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labrys_nemesis::{
    ClientError, DaemonSpec, DiskKind, DiskTrouble, Effect, FaultReport, Host, NemesisClient, Patience,
    PowerLoss, ProcessState, Resolved, RestartData, ServeConfig, Signal, read_journal, run_disk, serve,
    start_disk, stop_disk,
};

use crate::local_host::{LocalHost, idle_daemon};
use crate::namespaces::{inside_namespaces, wait_for};

/// Set in the process that is a disk: this program again, which would run a test.
const IS_A_DISK: &str = "LABRYS_TEST_IS_A_DISK";

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// Applies a fault, or undoes it.
type Nemesis = Box<dyn FnMut(u64, Option<Resolved>) -> Result<FaultReport, ClientError>>;

/// A node with a disk that can fail, and a nemesis.
pub struct Stage {
    pub host: LocalHost,
    pub folder: PathBuf,
    nemesis: Nemesis,
}

impl Stage {
    pub fn order_file(&self) -> PathBuf {
        self.host.folder.join("disk.json")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn apply(&mut self, id: u64, trouble: DiskTrouble) -> FaultReport {
        (self.nemesis)(id, Some(Resolved::Disk { nodes: vec!["n1".to_owned()], trouble })).unwrap()
    }

    pub fn cut_power(&mut self, id: u64, loss: PowerLoss) -> FaultReport {
        (self.nemesis)(id, Some(Resolved::PowerCut { nodes: vec!["n1".to_owned()], loss })).unwrap()
    }

    pub fn kill(&mut self, id: u64) -> FaultReport {
        (self.nemesis)(id, Some(Resolved::Kill { nodes: vec!["n1".to_owned()] })).unwrap()
    }

    pub fn undo(&mut self, id: u64) -> FaultReport {
        (self.nemesis)(id, None).unwrap()
    }

    /// A fault that cannot be applied, what was seen of it included; nothing is left of it.
    pub fn refused(&mut self, id: u64, fault: Resolved) -> FaultReport {
        match (self.nemesis)(id, Some(fault)) {
            Err(ClientError::Refused(mut failure)) if failure.left_behind.is_empty() => {
                failure.faults.pop().unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The process that is the disk.
    pub fn disk_pid(&self) -> i32 {
        let text = std::fs::read(self.host.folder.join("disk.json.answer")).unwrap();
        let answer: labrys_nemesis::DiskAnswer = serde_json::from_slice(&text).unwrap();
        answer.pid
    }
}

/// Runs `body`, the test called `name`, on a node with a disk inside namespaces; nothing is left of the disk afterwards.
fn on_a_disk(name: &str, body: impl FnOnce(&mut Stage)) {
    if !this_is_a_disk() {
        inside_namespaces(name, || stage(name, DiskKind::Fuse, idle_daemon, body));
    }
}

/// Runs this process as a disk, if that is what it was started for.
pub fn this_is_a_disk() -> bool {
    let is_a_disk = std::env::var_os(IS_A_DISK).is_some();
    if is_a_disk {
        let orders = std::env::args().next_back().unwrap();
        run_disk(Path::new(&orders)).unwrap();
    }
    is_a_disk
}

/// A node with a disk and a daemon, by its folder; nothing is left of the disk afterwards.
pub fn stage(
    name: &str,
    kind: DiskKind,
    daemon: impl FnOnce(&Path) -> DaemonSpec,
    body: impl FnOnce(&mut Stage),
) {
    let folder = tempfile::tempdir().unwrap();
    let host = LocalHost {
        name: "n1".to_owned(),
        address: std::net::IpAddr::from([127, 0, 0, 1]),
        namespace_of: None,
        folder: folder.path().join("n1"),
    };
    let (order_file, mount) = (host.folder.join("disk.json"), host.folder.join("disk"));
    // A real one waits for the machine's disk, and no test of it for its patience to end.
    let (start_ms, settle_ms) = if kind == DiskKind::Ext4 { (30_000, 30_000) } else { (2_000, 400) };
    let patience = Patience { settle_ms: start_ms, ..Patience::default() };
    start_disk(&host, &disk_program(name), &order_file, (&mount, kind), patience).unwrap();
    let (disk_file, data_directory) = (Some(order_file.clone()), Some(mount.join("data")));
    let spec = DaemonSpec { disk_file, data_directory, ..daemon(&host.folder) };
    host.start_daemon(&spec).unwrap();
    with_nemesis(folder.path(), &host, (spec, settle_ms), |nemesis| {
        let mut stage = Stage { host: host.clone(), folder: mount.clone(), nemesis };
        body(&mut stage);
    });
    let daemon = host.daemon().unwrap().unwrap();
    // A test may have killed it.
    let _ = host.signal(daemon, Signal::Kill);
    wait_for("the daemon to be gone", || {
        (host.process_state(daemon).unwrap() == ProcessState::Gone).then_some(())
    });
    stop_disk(&host, &order_file, &mount, patience).unwrap();
    assert!(!mounts().contains("labrys-disk") && !is_mounted(&mount), "{}", mounts());
    let left: Vec<_> =
        std::fs::read_dir(&host.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let is_left = |name: &std::ffi::OsString| {
        ["disk.json", "disk.json.answer", "disk.json.ext4", "disk.json.ext4.aside"]
            .iter()
            .any(|left| name == left)
    };
    assert!(!left.iter().any(is_left), "{left:?}");
    let orders = order_file.to_str().unwrap().to_owned();
    wait_for("the process of the disk to be gone", || (!is_running(&orders)).then_some(()));
}

/// Whether something is mounted just there.
pub fn is_mounted(place: &Path) -> bool {
    mounts().lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == place))
}

/// How this program is started to be a disk; what it is given last is the file with the orders. What a test prints goes nowhere.
fn disk_program(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let command =
        format!("{IS_A_DISK}=1 exec '{}' {test} --exact --nocapture \"$0\" >/dev/null", program.display());
    ["sh".to_owned(), "-c".to_owned(), command].into()
}

pub fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Whether a process has this among its arguments.
fn is_running(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().any(|entry| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == argument)
    })
}

fn with_nemesis(
    folder: &Path,
    host: &LocalHost,
    (spec, settle_ms): (DaemonSpec, u64),
    body: impl FnOnce(Nemesis),
) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let journal = folder.join("journal.jsonl");
    let config = ServeConfig {
        run_tag: "real-test".parse().unwrap(),
        journal: journal.clone(),
        testbed: serde_json::Value::Null,
        daemons: [("n1".to_owned(), spec)].into(),
        packet_program: Vec::new(),
        processor_program: Vec::new(),
        // A daemon that does nothing neither ends of what it met nor goes on: that is not waited for.
        patience: Patience { settle_ms, ..Patience::default() },
    };
    let hosts: Vec<Arc<dyn Host>> = vec![Arc::new(host.clone())];
    let nemesis = std::thread::spawn(move || serve(config, hosts, theirs.try_clone().unwrap(), theirs));
    let mut client = NemesisClient::new(std::io::BufReader::new(ours.try_clone().unwrap()), ours);
    body(Box::new(move |fault_id, resolved| match resolved {
        Some(resolved) => client.apply(fault_id, resolved),
        None => client.undo(fault_id),
    }));
    nemesis.join().unwrap().unwrap();
    assert!(read_journal(&journal).unwrap().outstanding.is_empty());
}

pub fn effects(report: &FaultReport) -> Vec<&Effect> {
    report.evidence.details.iter().map(|seen| &seen.effect).collect()
}

/// How many operations the disk says went otherwise.
fn troubled(report: &FaultReport) -> u64 {
    effects(report)
        .into_iter()
        .map(|effect| if let Effect::DiskTroubled { operations } = effect { *operations } else { 0 })
        .sum()
}

pub fn write_durably(path: &Path, content: &[u8]) -> File {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
    File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
    file
}

/// What a program does with a file.
type Operation<'a> = &'a dyn Fn() -> std::io::Result<()>;

pub fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn a_loss_of_power_takes_what_was_not_synced_and_the_process_and_nothing_else() {
    on_a_disk("disk::a_loss_of_power_takes_what_was_not_synced_and_the_process_and_nothing_else", |stage| {
        let mut log = write_durably(&stage.path("log"), b"synced");
        write_durably(&stage.path("old-name"), b"moved");
        log.write_all(b" and not").unwrap();
        std::fs::rename(stage.path("old-name"), stage.path("new-name")).unwrap();
        let new = File::create(stage.path("unnamed")).unwrap();
        new.write_all_at(b"synced, but its name is not", 0).unwrap();
        new.sync_all().unwrap();
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"synced and not");
        drop((log, new));

        let before = stage.host.daemon().unwrap().unwrap();
        let report = stage.cut_power(0, PowerLoss::Everything);
        assert!(report.evidence.bit);
        assert!(effects(&report).contains(&&Effect::PowerLost { process: before }));
        let lost = effects(&report).into_iter().find_map(|effect| match effect {
            Effect::UnsyncedLost { lost, .. } => Some((lost.files, lost.bytes, lost.names)),
            _ => None,
        });
        assert_eq!(lost, Some((1, 8, 2)));
        assert_eq!(stage.host.process_state(before).unwrap(), ProcessState::Gone);
        assert_eq!(errno(std::fs::read(stage.path("log"))), EIO, "the power is off");
        assert_eq!(errno(File::create(stage.path("later"))), EIO);

        let report = stage.undo(0);
        let process = stage.host.daemon().unwrap().unwrap();
        assert!(process != before && effects(&report).contains(&&Effect::Restarted { process }));
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"synced");
        assert_eq!(std::fs::read(stage.path("old-name")).unwrap(), b"moved");
        assert!(!stage.path("new-name").exists() && !stage.path("unnamed").exists());
        write_durably(&stage.path("log"), b"it works again");
    });
}

#[test]
fn what_was_not_synced_survives_torn_at_a_sector() {
    on_a_disk("disk::what_was_not_synced_survives_torn_at_a_sector", |stage| {
        let sectors: Vec<u8> = (1..=100).flat_map(|number| [number; 512]).collect();
        let mut lengths = Vec::new();
        for id in 0..4 {
            let log = write_durably(&stage.path("log"), b"");
            log.write_all_at(&sectors, 0).unwrap();
            stage.cut_power(id, PowerLoss::Torn);
            stage.undo(id);
            let left = std::fs::read(stage.path("log")).unwrap();
            assert!(left.len() % 512 == 0 && sectors.starts_with(&left), "{} bytes", left.len());
            lengths.push(left.len());
        }
        assert!(lengths.iter().any(|length| *length != lengths[0]), "{lengths:?}");
    });
}

#[test]
fn a_full_disk_takes_part_of_a_write_and_no_more_until_there_is_space() {
    on_a_disk("disk::a_full_disk_takes_part_of_a_write_and_no_more_until_there_is_space", |stage| {
        let mut log = write_durably(&stage.path("log"), &[1; 100]);
        stage.apply(0, DiskTrouble::Full);
        assert_eq!(log.write(&[2; 50]).unwrap(), 25);
        assert_eq!(errno(log.write_all(&[2; 50])), ENOSPC);
        assert_eq!(errno(File::create(stage.path("new"))), ENOSPC);
        log.write_all_at(&[3; 10], 0).unwrap();
        assert_eq!(nix::sys::statvfs::statvfs(&stage.folder).unwrap().blocks_available(), 0);
        assert_eq!(troubled(&stage.undo(0)), 3);
        log.write_all(&[2; 50]).unwrap();
        assert_eq!(std::fs::metadata(stage.path("log")).unwrap().len(), 175);
    });
}

#[test]
fn reads_writes_and_syncs_fail_all_or_the_next_one() {
    on_a_disk("disk::reads_writes_and_syncs_fail_all_or_the_next_one", |stage| {
        let log = write_durably(&stage.path("log"), &[1; 100]);
        let path = stage.path("log");
        let read = || std::fs::read(&path).map(drop);
        let write = || log.write_all_at(&[2; 10], 0);
        let sync = || log.sync_all();
        let operations: [(Operation, DiskTrouble, bool); 5] = [
            (&read, DiskTrouble::ReadsFail, false),
            (&write, DiskTrouble::WritesFail, false),
            (&sync, DiskTrouble::SyncsFail, false),
            (&read, DiskTrouble::NextReadFails, true),
            (&write, DiskTrouble::NextWriteFails, true),
        ];
        for (id, (operation, trouble, is_once)) in (0..).zip(operations) {
            operation().unwrap();
            assert!(!stage.apply(id, trouble).evidence.bit, "nobody has met it yet");
            assert_eq!(errno(operation()), EIO, "{trouble}");
            let again = operation();
            assert_eq!(again.is_ok(), is_once, "{trouble}: {again:?}");
            let report = stage.undo(id);
            assert!(report.evidence.bit);
            assert!(troubled(&report) >= if is_once { 1 } else { 2 }, "{trouble}: {report:?}");
            operation().unwrap();
        }
    });
}

#[test]
fn after_a_sync_that_failed_another_one_pretends() {
    on_a_disk("disk::after_a_sync_that_failed_another_one_pretends", |stage| {
        let mut log = write_durably(&stage.path("log"), b"durable");
        stage.apply(0, DiskTrouble::SyncFails);
        log.write_all(b", lost").unwrap();
        assert_eq!(errno(log.sync_data()), EIO);
        log.sync_data().unwrap();
        log.write_all(b", kept").unwrap();
        log.sync_data().unwrap();
        assert_eq!(troubled(&stage.undo(0)), 1);
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"durable, lost, kept");
        stage.cut_power(1, PowerLoss::Reordered);
        stage.undo(1);
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"durable\0\0\0\0\0\0, kept");
    });
}

#[test]
fn a_slow_sync_is_waited_for_and_void_when_the_power_goes() {
    on_a_disk("disk::a_slow_sync_is_waited_for_and_void_when_the_power_goes", |stage| {
        let mut log = write_durably(&stage.path("log"), b"durable");
        log.write_all(b" and not").unwrap();
        // Longer than any wait of this test.
        stage.apply(0, DiskTrouble::SlowSyncMs(600_000));
        let syncing = std::thread::spawn(move || log.sync_data());
        let errors = || stage.host.folder.join("disk.json.answer");
        assert!(errors().exists());
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"durable and not", "others go on meanwhile");
        assert!(!syncing.is_finished());
        stage.cut_power(1, PowerLoss::Everything);
        // It may not have begun before: then there was no power for it.
        assert_eq!(errno(syncing.join().unwrap()), EIO);
        stage.undo(1);
        stage.undo(0);
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"durable");
        File::open(stage.path("log")).unwrap().sync_all().unwrap();
    });
}

#[test]
fn bytes_go_wrong_where_they_were_durable_and_are_right_again_afterwards() {
    on_a_disk("disk::bytes_go_wrong_where_they_were_durable_and_are_right_again_afterwards", |stage| {
        let path = stage.path("log");
        let log = write_durably(&path, &[]);
        for number in 1..=20_u8 {
            log.write_all_at(&[number; 600], u64::from(number - 1) * 600).unwrap();
            log.sync_data().unwrap();
        }
        drop(log);
        let right = std::fs::read(&path).unwrap();
        let last_sync = 19 * 600;
        let troubles =
            [DiskTrouble::FlipBit, DiskTrouble::StaleChunk, DiskTrouble::SwapChunks, DiskTrouble::Truncate];
        for (id, trouble) in (0..).zip(troubles) {
            let report = stage.apply(id, trouble);
            assert!(!report.evidence.bit, "nobody has read it");
            let rotten = effects(&report)
                .into_iter()
                .any(|effect| matches!(effect, Effect::DiskRotten { file, .. } if file == "log"));
            assert!(rotten, "{trouble}: {report:?}");
            let wrong = std::fs::read(&path).unwrap();
            let differing: Vec<usize> = (0..wrong.len()).filter(|at| wrong[*at] != right[*at]).collect();
            match trouble {
                DiskTrouble::FlipBit => assert_eq!(differing.len(), 1),
                DiskTrouble::Truncate => assert!(differing.is_empty() && wrong.len() < last_sync),
                DiskTrouble::StaleChunk => assert!(differing.iter().all(|at| wrong[*at] == 0)),
                _ => assert!(differing.len() > 100, "{}", differing.len()),
            }
            assert!(
                trouble == DiskTrouble::Truncate || (!differing.is_empty() && wrong.len() == right.len())
            );
            assert!(differing.iter().all(|at| *at < last_sync), "what the last sync wrote is spared");
            let report = stage.undo(id);
            assert!(troubled(&report) > 0 && report.evidence.bit, "{trouble}: it was read");
            assert!(std::fs::read(&path).unwrap() == right, "{trouble}");
        }
        stage.apply(9, DiskTrouble::FlipBit);
        let report = stage.undo(9);
        assert_eq!((troubled(&report), report.evidence.bit), (0, false));
    });
}

#[test]
fn what_has_gone_wrong_and_was_written_over_is_left_alone() {
    on_a_disk("disk::what_has_gone_wrong_and_was_written_over_is_left_alone", |stage| {
        let path = stage.path("log");
        write_durably(&path, &[7; 4096]);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[8; 10]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        stage.apply(0, DiskTrouble::FlipBit);
        assert_eq!(std::fs::read(&path).unwrap().iter().filter(|byte| **byte != 7).count(), 11);
        write_durably(&path, &[9; 4096]);
        stage.undo(0);
        assert!(std::fs::read(&path).unwrap() == [9; 4096]);
    });
}

#[test]
fn a_disk_whose_process_was_killed_is_taken_away_and_the_node_goes_on_without() {
    on_a_disk("disk::a_disk_whose_process_was_killed_is_taken_away_and_the_node_goes_on_without", |stage| {
        write_durably(&stage.path("log"), b"what was seen");
        stage.apply(0, DiskTrouble::Full);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(stage.disk_pid()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        wait_for("the mount to be dead", || std::fs::read(stage.path("log")).err());
        assert!(mounts().contains("labrys-disk"));
        let report = stage.undo(0);
        assert!(effects(&report).contains(&&Effect::DiskGone), "{report:?}");
        assert!(!mounts().contains("labrys-disk"));
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"what was seen");
        File::create(stage.path("new")).unwrap();
        assert!(stage.order_file().exists());
    });
}

#[test]
fn a_node_without_power_whose_disk_was_killed_is_started_on_what_is_there() {
    on_a_disk("disk::a_node_without_power_whose_disk_was_killed_is_started_on_what_is_there", |stage| {
        let mut log = write_durably(&stage.path("log"), b"durable");
        log.write_all(b" and not").unwrap();
        drop(log);
        stage.cut_power(0, PowerLoss::Everything);
        let disk = nix::unistd::Pid::from_raw(stage.disk_pid());
        nix::sys::signal::kill(disk, nix::sys::signal::Signal::SIGKILL).unwrap();
        wait_for("the mount to be dead", || {
            std::fs::metadata(stage.path("log")).err().filter(|error| error.raw_os_error() != Some(EIO))
        });
        let report = stage.undo(0);
        let process = stage.host.daemon().unwrap().unwrap();
        assert!(effects(&report).contains(&&Effect::DiskGone), "{report:?}");
        assert!(effects(&report).contains(&&Effect::Restarted { process }));
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"durable");
    });
}

#[test]
fn what_a_restart_on_other_data_has_made_of_a_disk_no_loss_of_power_takes_back() {
    on_a_disk("disk::what_a_restart_on_other_data_has_made_of_a_disk_no_loss_of_power_takes_back", |stage| {
        let restart = |data| Some(Resolved::Restart { nodes: vec!["n1".to_owned()], data });
        let (data, log) = (stage.path("data"), stage.path("data/log"));
        std::fs::create_dir(&data).unwrap();
        write_durably(&log, b"old");
        File::open(&stage.folder).unwrap().sync_all().unwrap();
        (stage.nemesis)(0, restart(RestartData::Old)).unwrap();
        write_durably(&log, b"new");
        // The copy is there after a loss of power, and so is what is put back.
        stage.cut_power(1, PowerLoss::Everything);
        stage.undo(1);
        assert_eq!(std::fs::read(&log).unwrap(), b"new");
        assert!(stage.undo(0).evidence.bit);
        stage.cut_power(2, PowerLoss::Everything);
        stage.undo(2);
        assert_eq!(std::fs::read(&log).unwrap(), b"old");
        let names = std::fs::read_dir(&stage.folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["data"]);

        (stage.nemesis)(3, restart(RestartData::Wiped)).unwrap();
        stage.cut_power(4, PowerLoss::Everything);
        stage.undo(4);
        stage.undo(3);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    });
}
