//! The clocks of programs under libfaketime, by what they themselves say of the time.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use labrys_nemesis::{
    ClockChange, ClockMeans, DaemonSpec, Effect, FaultReport, Host, Libfaketime, NemesisClient, Patience,
    Resolved, ServeConfig, Signal, find_libfaketime, heal, read_journal, serve,
};

use crate::local_host::{LocalHost, idle_daemon};
use crate::namespaces::wait_for;

/// One process that says again and again what its clock reads, in microseconds.
const TELLING: &str = "while :; do echo \"${EPOCHREALTIME/[.,]/}\"; sleep 0.005; done";

const SECOND_US: i64 = 1_000_000;

/// The library rounds, and the program tells whole microseconds.
const PRECISION_US: i64 = 3;

/// A node whose daemon tells the time, and a nemesis in a thread of this process.
struct Bench {
    folder: tempfile::TempDir,
    host: LocalHost,
    means: Libfaketime,
    config: ServeConfig,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Ok(Some(process)) = self.host.daemon() {
            let _ = self.host.signal(process, Signal::Kill);
        }
        for file in self.means.shared_files() {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// What a clock read, and between which two readings of the machine's that was.
#[derive(Clone, Copy, Debug)]
struct Told {
    earliest_us: i64,
    reading_us: i64,
    latest_us: i64,
}

impl Bench {
    /// `None`, and a line that says so, where there is no libfaketime.
    fn new(program: &str, args: &[&str]) -> Option<Bench> {
        static BENCHES: AtomicU32 = AtomicU32::new(0);
        let Ok(library) = find_libfaketime() else {
            eprintln!("skipped: there is no libfaketime here (apt-get install faketime)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("n1");
        let address = [127, 0, 0, 1].into();
        let host = LocalHost { name: "n1".to_owned(), address, namespace_of: None, folder: place.clone() };
        let number = BENCHES.fetch_add(1, Ordering::Relaxed);
        let means = Libfaketime {
            library,
            file: place.join("faketime"),
            shared: format!("labrys-test-{}-{number}", std::process::id()),
        };
        let args = args.iter().map(ToString::to_string).collect();
        let clock = Some(ClockMeans::Libfaketime(Box::new(means.clone())));
        let spec = DaemonSpec { program: program.into(), args, clock, ..idle_daemon(&place) };
        let config = ServeConfig {
            run_tag: "real-test".parse().unwrap(),
            journal: folder.path().join("journal.jsonl"),
            testbed: serde_json::Value::Null,
            daemons: [("n1".to_owned(), spec)].into(),
            packet_program: Vec::new(),
            processor_program: Vec::new(),
            // On a busy machine a slight drift takes long to show.
            patience: Patience { settle_ms: 60_000, ..Patience::default() },
        };
        Some(Bench { folder, host, means, config })
    }

    /// The same, with the program that tells the time, running.
    fn telling() -> Option<Bench> {
        let bench = Bench::new("bash", &["-c", TELLING])?;
        bench.start();
        bench.told();
        Some(bench)
    }

    fn start(&self) {
        self.host.start_daemon(&self.config.daemons["n1"]).unwrap();
    }

    fn with_nemesis(&self, body: impl FnOnce(&mut NemesisClient<BufReader<UnixStream>, UnixStream>)) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (config, hosts) = (self.config.clone(), self.hosts());
        let nemesis = std::thread::spawn(move || serve(config, hosts, theirs.try_clone().unwrap(), theirs));
        let mut client = NemesisClient::new(BufReader::new(ours.try_clone().unwrap()), ours);
        body(&mut client);
        drop(client);
        nemesis.join().unwrap().unwrap();
        assert!(read_journal(&self.config.journal).unwrap().outstanding.is_empty());
    }

    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        vec![Arc::new(self.host.clone())]
    }

    fn lines(&self) -> Vec<i64> {
        let text = std::fs::read_to_string(self.host.folder.join("log")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// The next thing that the daemon says.
    fn told(&self) -> Told {
        let earliest_us = now_us();
        // The one after next: the next one may have been read before.
        let enough = self.lines().len() + 2;
        let lines = wait_for("the daemon to tell the time", || {
            Some(self.lines()).filter(|lines| lines.len() >= enough)
        });
        Told { earliest_us, reading_us: lines[enough - 1], latest_us: now_us() }
    }

    /// Sees that the clock is between so far ahead of the machine's.
    fn assert_ahead(&self, at_least_us: i64, at_most_us: i64) {
        let told = self.told();
        assert!(told.reading_us >= told.earliest_us + at_least_us - PRECISION_US, "{told:?}");
        assert!(told.reading_us <= told.latest_us + at_most_us + PRECISION_US, "{told:?}");
    }
}

fn clock(change: ClockChange) -> Resolved {
    Resolved::Clock { nodes: vec!["n1".to_owned()], change }
}

/// Where the clock was when it was changed, where it was then, and the time between.
fn wrong(report: &FaultReport) -> (i64, i64, i64) {
    let found = report.evidence.details.iter().find_map(|seen| match seen.effect {
        Effect::ClockWrong { from_us, to_us, within_us } => Some((from_us, to_us, within_us.cast_signed())),
        _ => None,
    });
    assert!(report.evidence.bit, "{report:?}");
    found.unwrap_or_else(|| panic!("{report:?}"))
}

/// How far ahead the clock stays.
fn left_us(report: &FaultReport) -> i64 {
    match report.evidence.details.last().map(|seen| &seen.effect) {
        Some(Effect::ClockRight { offset_us }) => *offset_us,
        _ => panic!("{report:?}"),
    }
}

#[test]
fn a_program_under_libfaketime_leaps_drifts_and_stands_still_and_goes_on() {
    let Some(bench) = Bench::telling() else { return };
    bench.assert_ahead(0, 0);
    bench.with_nemesis(|nemesis| {
        let report = nemesis.apply(0, clock(ClockChange::JumpMs(3_600_000))).unwrap();
        assert_eq!(wrong(&report), (0, 3_600 * SECOND_US, 0));
        bench.assert_ahead(3_600 * SECOND_US, 3_600 * SECOND_US);
        assert_eq!(left_us(&nemesis.undo(0).unwrap()), 3_600 * SECOND_US, "it never runs back");

        let (from_us, to_us, within_us) =
            wrong(&nemesis.apply(1, clock(ClockChange::DriftPercent(80))).unwrap());
        assert!((to_us - from_us - within_us * 8 / 10).abs() <= 2, "{from_us} {to_us} {within_us}");
        bench.assert_ahead(to_us, 7_200 * SECOND_US);
        let ahead_us = left_us(&nemesis.undo(1).unwrap());
        assert!(ahead_us >= to_us);
        bench.assert_ahead(ahead_us, ahead_us);

        nemesis.apply(2, clock(ClockChange::Freeze)).unwrap();
        let (first, second) = (bench.told(), bench.told());
        assert_eq!(first.reading_us, second.reading_us);
        let left = left_us(&nemesis.undo(2).unwrap());
        assert!(left < ahead_us, "what it lost stays lost: {left} {ahead_us}");
        bench.assert_ahead(left, left);

        // Slower than right.
        let (from_us, to_us, within_us) =
            wrong(&nemesis.apply(3, clock(ClockChange::DriftPercent(-4))).unwrap());
        assert!((from_us - to_us - within_us * 4 / 100).abs() <= 2);
        nemesis.undo(3).unwrap();
    });
}

#[test]
fn of_two_faults_at_once_the_worse_one_rules_and_the_other_one_after_it() {
    let Some(bench) = Bench::telling() else { return };
    bench.with_nemesis(|nemesis| {
        wrong(&nemesis.apply(0, clock(ClockChange::DriftPercent(-50))).unwrap());
        wrong(&nemesis.apply(1, clock(ClockChange::Freeze)).unwrap());
        let report = nemesis.apply(2, clock(ClockChange::DriftPercent(4))).unwrap();
        assert!(!report.evidence.bit, "it stands still, which is none of this fault's doing: {report:?}");
        let frozen = bench.told();
        let (from_us, to_us, _) = wrong(&nemesis.apply(3, clock(ClockChange::JumpMs(500))).unwrap());
        assert_eq!(to_us - from_us, 500_000);
        let leapt = bench.told();
        let leap_us = leapt.reading_us - frozen.reading_us;
        assert!((leap_us - 500_000).abs() <= PRECISION_US, "{leap_us}");
        let report = nemesis.undo(1).unwrap();
        assert!(
            matches!(
                report.evidence.details.last().map(|seen| &seen.effect),
                Some(Effect::ClockStillWrong { .. })
            ),
            "{report:?}"
        );
        assert!(
            wait_for("it to go on", || Some(bench.told().reading_us).filter(|now| *now > leapt.reading_us))
                > 0
        );
        nemesis.undo_all().unwrap();
    });
    let course = std::fs::read_to_string(&bench.means.file).unwrap();
    assert!(course.contains(" x1000e-3\n") && course.contains("\"leaps\":{}"), "{course}");
}

#[test]
fn a_program_that_is_started_again_goes_on_by_the_same_clock_and_a_dead_one_is_no_bite() {
    let Some(bench) = Bench::telling() else { return };
    bench.with_nemesis(|nemesis| {
        nemesis.apply(0, clock(ClockChange::JumpMs(3_600_000))).unwrap();
        nemesis.apply(1, Resolved::Kill { nodes: vec!["n1".to_owned()] }).unwrap();
        let report = nemesis.apply(2, clock(ClockChange::Freeze)).unwrap();
        assert!(report.evidence.details.iter().any(|seen| seen.effect == Effect::ClockUnread), "{report:?}");
        assert!(!report.evidence.bit);
        nemesis.undo(1).unwrap();
        let (first, second) = (bench.told(), bench.told());
        assert_eq!(first.reading_us, second.reading_us, "it stands still from the beginning");
        nemesis.undo(2).unwrap();
        let left_us = left_us(&nemesis.undo(0).unwrap());
        assert!(
            (0..3_600 * SECOND_US).contains(&left_us),
            "an hour ahead, less what it stood still: {left_us}"
        );
        bench.assert_ahead(left_us, left_us);
    });
}

#[test]
fn it_is_healed_from_the_journal_alone_and_once_is_enough() {
    let Some(bench) = Bench::telling() else { return };
    // A nemesis that is killed undoes nothing: its journal as it was then.
    let before_undoing = bench.folder.path().join("before");
    bench.with_nemesis(|nemesis| {
        nemesis.apply(0, clock(ClockChange::Freeze)).unwrap();
        std::fs::copy(&bench.config.journal, &before_undoing).unwrap();
        std::fs::copy(&bench.means.file, bench.folder.path().join("frozen")).unwrap();
    });
    std::fs::rename(bench.folder.path().join("frozen"), &bench.means.file).unwrap();
    let frozen = bench.told();
    assert_eq!(bench.told().reading_us, frozen.reading_us);
    assert_eq!(heal(bench.hosts(), &before_undoing, Patience::default()).unwrap().len(), 1);
    assert!(bench.told().reading_us > frozen.reading_us);
    assert_eq!(heal(bench.hosts(), &before_undoing, Patience::default()).unwrap().len(), 0);
}

#[test]
fn a_program_that_has_not_loaded_the_library_is_refused_and_nothing_is_done() {
    // `env -i` loses the variable.
    let Some(mut bench) = Bench::new("env", &["-i", "sleep", "3600"]) else { return };
    bench.start();
    let process = bench.host.daemon().unwrap().unwrap();
    let name = || std::fs::read_to_string(Path::new("/proc").join(process.pid.to_string()).join("comm")).ok();
    wait_for("the program to begin", || name().filter(|name| name.trim() == "sleep"));
    bench.config.patience.settle_ms = 1_000;
    let before = std::fs::read(&bench.means.file).unwrap();
    bench.with_nemesis(|nemesis| {
        let refusal = nemesis.apply(0, clock(ClockChange::Freeze)).unwrap_err().to_string();
        assert!(refusal.contains("is not loaded in process"), "{refusal}");
    });
    let after = std::fs::read_to_string(&bench.means.file).unwrap();
    assert!(after.starts_with(std::str::from_utf8(&before).unwrap().lines().next().unwrap()), "{after}");
}
