//! A real file system that loses power, seen by a program that reads and writes files on it; and what is left of it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use labrys_nemesis::{
    DaemonSpec, DiskKind, DiskTrouble, Effect, FaultReport, Host as _, Lost, PowerLoss, ProcessState,
    Resolved, Signal,
};

use crate::disk::{Stage, effects, errno, is_mounted, mounts, stage, this_is_a_disk, write_durably};
use crate::local_host::idle_daemon;
use crate::namespaces::{inside_namespaces_of_root, loop_files, wait_for};

const EIO: i32 = 5;

/// Runs `body`, the test called `name`, on a node with an ext4; neither a mount nor a loop device is left afterwards.
fn on_an_ext4(name: &str, body: impl FnOnce(&mut Stage)) {
    if !this_is_a_disk() {
        inside_namespaces_of_root(name, || stage(name, DiskKind::Ext4, idle_daemon, body));
    }
}

fn kill_the_disk(stage: &Stage) {
    let disk = nix::unistd::Pid::from_raw(stage.disk_pid());
    nix::sys::signal::kill(disk, nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn lost(report: &FaultReport) -> Lost {
    let of_ext4 = effects(report).into_iter().find_map(|effect| match effect {
        Effect::UnsyncedLost { lost, disk: DiskKind::Ext4 } => Some(*lost),
        _ => None,
    });
    of_ext4.unwrap_or_else(|| panic!("{report:?}"))
}

fn without_power(loss: PowerLoss) -> Resolved {
    Resolved::PowerCut { nodes: vec!["n1".to_owned()], loss }
}

fn append(path: &Path, content: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(content).unwrap();
}

#[test]
fn it_loses_what_was_not_synced_and_the_process_and_nothing_else() {
    on_an_ext4("ext4::it_loses_what_was_not_synced_and_the_process_and_nothing_else", |stage| {
        assert_eq!(loop_files(&stage.host.folder).len(), 1);
        assert_eq!(std::fs::read_dir(&stage.folder).unwrap().count(), 0, "an empty disk");
        write_durably(&stage.path("old-name"), b"moved");
        write_durably(&stage.path("log"), b"synced");
        append(&stage.path("log"), b" and not");
        std::fs::rename(stage.path("old-name"), stage.path("new-name")).unwrap();
        File::create(stage.path("new")).unwrap().write_all_at(&[1; 5_000], 0).unwrap();
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"synced and not");

        let before = stage.host.daemon().unwrap().unwrap();
        let report = stage.cut_power(0, PowerLoss::Everything);
        assert!(report.evidence.bit);
        assert!(effects(&report).contains(&&Effect::PowerLost { process: before }));
        assert_eq!(lost(&report), Lost { files: 1, bytes: 8, names: 3, ..Lost::default() });
        assert!(
            report.evidence.to_string().contains("8 un-synced bytes lost by ext4"),
            "{}",
            report.evidence
        );
        assert_eq!(stage.host.process_state(before).unwrap(), ProcessState::Gone);
        assert_eq!(errno(std::fs::read(stage.path("log"))), EIO, "the power is off");
        assert_eq!(errno(File::create(stage.path("later"))), EIO);

        let report = stage.undo(0);
        let process = stage.host.daemon().unwrap().unwrap();
        assert!(process != before && effects(&report).contains(&&Effect::Restarted { process }));
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"synced");
        assert_eq!(std::fs::read(stage.path("old-name")).unwrap(), b"moved");
        assert!(!stage.path("new-name").exists() && !stage.path("new").exists());

        write_durably(&stage.path("log"), b"it works again");
        append(&stage.path("log"), b", and loses again");
        assert_eq!(lost(&stage.cut_power(1, PowerLoss::Everything)).bytes, 17);
        stage.undo(1);
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"it works again");
        assert_eq!(loop_files(&stage.host.folder).len(), 1);
    });
}

/// Set in the daemon that writes.
const IS_A_WRITER: &str = "LABRYS_TEST_IS_A_WRITER";

/// This program as a daemon that appends to a log and syncs it, again and again, and says each time up to where, elsewhere.
fn writer(test: &str, folder: &Path) -> DaemonSpec {
    let program = std::env::current_exe().unwrap();
    let args = [test, "--exact", "--nocapture"].map(str::to_owned).to_vec();
    let env = vec![(IS_A_WRITER.to_owned(), folder.to_str().unwrap().to_owned())];
    DaemonSpec { program, args, env, ..idle_daemon(folder) }
}

fn write_without_end(folder: &Path) {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("disk/log")).unwrap();
    let told = File::create(folder.join("told")).unwrap();
    for number in 1_u64.. {
        (&log).write_all(&[7; 4096]).unwrap();
        log.sync_data().unwrap();
        told.write_all_at(&(number * 4096).to_le_bytes(), 0).unwrap();
    }
}

fn told(stage: &Stage) -> u64 {
    let told = std::fs::read(stage.host.folder.join("told")).unwrap_or_default();
    told.try_into().map_or(0, u64::from_le_bytes)
}

#[test]
fn what_somebody_said_to_be_synced_is_there_though_the_power_went_in_the_midst_of_a_sync() {
    const NAME: &str =
        "ext4::what_somebody_said_to_be_synced_is_there_though_the_power_went_in_the_midst_of_a_sync";
    if let Some(folder) = std::env::var_os(IS_A_WRITER) {
        return write_without_end(Path::new(&folder));
    }
    if this_is_a_disk() {
        return;
    }
    inside_namespaces_of_root(NAME, || {
        stage(
            NAME,
            DiskKind::Ext4,
            |folder| writer(NAME, folder),
            |stage| {
                for round in 0..4 {
                    wait_for("some syncs", || (told(stage) > 8 * 4096).then_some(()));
                    let report = stage.cut_power(2 * round, PowerLoss::Everything);
                    let told = told(stage);
                    assert!(lost(&report).bytes <= 4096, "no more than one write was not synced: {report:?}");
                    // So that it is not started before this has looked.
                    stage.kill(2 * round + 1);
                    stage.undo(2 * round);
                    let left = std::fs::read(stage.path("log")).unwrap();
                    assert!(left.iter().all(|byte| *byte == 7));
                    // Of the last one perhaps nobody was told.
                    assert!(
                        (told..=told + 4096).contains(&(left.len() as u64)),
                        "{told} told, {} left",
                        left.len()
                    );
                    std::fs::remove_file(stage.path("log")).unwrap();
                    std::fs::remove_file(stage.host.folder.join("told")).unwrap();
                    stage.undo(2 * round + 1);
                }
            },
        );
    });
}

#[test]
fn two_losses_of_power_at_a_time_are_one_and_the_last_gives_it_back() {
    on_an_ext4("ext4::two_losses_of_power_at_a_time_are_one_and_the_last_gives_it_back", |stage| {
        write_durably(&stage.path("log"), b"durable");
        append(&stage.path("log"), b", gone");
        assert_eq!(lost(&stage.cut_power(0, PowerLoss::Everything)).bytes, 6);
        assert_eq!(lost(&stage.cut_power(1, PowerLoss::Everything)), Lost::default());
        let report = stage.undo(0);
        assert!(effects(&report).contains(&&Effect::StillKilled), "{report:?}");
        assert_eq!(errno(std::fs::read(stage.path("log"))), EIO);
        stage.undo(1);
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"durable");
    });
}

#[test]
fn what_it_cannot_do_is_refused_and_changes_nothing() {
    on_an_ext4("ext4::what_it_cannot_do_is_refused_and_changes_nothing", |stage| {
        write_durably(&stage.path("log"), b"durable");
        let daemon = stage.host.daemon().unwrap();
        let full = Resolved::Disk { nodes: vec!["n1".to_owned()], trouble: DiskTrouble::Full };
        for (id, fault) in (0..).zip([full, without_power(PowerLoss::Torn)]) {
            let report = stage.refused(id, fault);
            let why = "a real file system loses power, and all that is lost by that";
            let is_told = report.failures.iter().any(|failure| failure.detail.contains(why));
            assert!(is_told && !report.evidence.bit, "{report:?}");
        }
        assert_eq!(stage.host.daemon().unwrap(), daemon);
        append(&stage.path("log"), b" still");
    });
}

#[test]
fn with_its_process_killed_it_works_on_and_is_taken_away_with_what_was_seen() {
    on_an_ext4("ext4::with_its_process_killed_it_works_on_and_is_taken_away_with_what_was_seen", |stage| {
        write_durably(&stage.path("log"), b"what was");
        kill_the_disk(stage);
        append(&stage.path("log"), b" seen");
        let report = stage.refused(0, without_power(PowerLoss::Everything));
        assert!(effects(&report).contains(&&Effect::DiskGone) && !report.evidence.bit, "{report:?}");
        assert!(is_mounted(&stage.folder), "the daemon may have files open");
        let daemon = stage.host.daemon().unwrap().unwrap();
        stage.host.signal(daemon, Signal::Kill).unwrap();
        wait_for("the daemon to be gone", || {
            (stage.host.process_state(daemon).unwrap() == ProcessState::Gone).then_some(())
        });
        stage.refused(1, without_power(PowerLoss::Everything));
        assert!(!is_mounted(&stage.folder), "{}", mounts());
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"what was seen");
        assert!(stage.order_file().exists() && !stage.host.folder.join("disk.json.ext4").exists());
    });
}

#[test]
fn a_node_without_power_whose_disk_was_killed_is_started_on_what_is_there() {
    on_an_ext4("ext4::a_node_without_power_whose_disk_was_killed_is_started_on_what_is_there", |stage| {
        write_durably(&stage.path("log"), b"durable");
        append(&stage.path("log"), b" and not");
        stage.cut_power(0, PowerLoss::Everything);
        kill_the_disk(stage);
        let report = stage.undo(0);
        let process = stage.host.daemon().unwrap().unwrap();
        assert!(effects(&report).contains(&&Effect::DiskGone), "{report:?}");
        assert!(effects(&report).contains(&&Effect::Restarted { process }));
        assert_eq!(std::fs::read(stage.path("log")).unwrap(), b"durable");
        assert!(!is_mounted(&stage.folder), "{}", mounts());
    });
}

#[test]
fn mount_and_loop_device_go_with_the_namespaces_when_everything_dies() {
    on_an_ext4("ext4::mount_and_loop_device_go_with_the_namespaces_when_everything_dies", |stage| {
        write_durably(&stage.path("log"), b"durable");
        stage.cut_power(0, PowerLoss::Everything);
        assert_eq!(loop_files(&stage.host.folder).len(), 1);
        // Whoever called this looks for what is left; all others die with this process, the first one in its namespace.
        std::process::exit(0);
    });
}
