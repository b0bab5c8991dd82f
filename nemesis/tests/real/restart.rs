//! Restarts on other data, seen from the directory of a daemon that writes.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labrys_nemesis::{
    DaemonSpec, Effect, FaultReport, Host, NemesisClient, Patience, ProcessState, Resolved, RestartData,
    ServeConfig, Signal, heal, read_journal, serve,
};

use crate::local_host::{LocalHost, idle_daemon};
use crate::namespaces::wait_for;

/// Notes that it was started, and counts on from what it finds, by the length of a file. It writes itself: no child of it goes on to
/// write when it has been killed.
const COUNTING: &str = "mkdir -p data/below; echo start >> starts; \
    while :; do echo >> data/below/count; sleep 0.002; done";

/// A node whose daemon counts in its data directory, and a nemesis in a thread of this process.
struct Bench {
    folder: tempfile::TempDir,
    host: LocalHost,
    config: ServeConfig,
    /// Hosts beside it.
    others: Vec<LocalHost>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Ok(Some(process)) = self.host.daemon() {
            let _ = self.host.signal(process, Signal::Kill);
        }
    }
}

impl Bench {
    fn new(data_directory: impl FnOnce(&Path) -> Option<PathBuf>) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("n1");
        let host = LocalHost {
            name: "n1".to_owned(),
            address: [127, 0, 0, 1].into(),
            namespace_of: None,
            folder: place.clone(),
        };
        let args = vec!["-c".to_owned(), format!("cd '{}'; {COUNTING}", place.display())];
        let data_directory = data_directory(&place);
        let spec = DaemonSpec { program: "sh".into(), args, data_directory, ..idle_daemon(&place) };
        host.start_daemon(&spec).unwrap();
        let config = ServeConfig {
            run_tag: "real-test".parse().unwrap(),
            journal: folder.path().join("journal.jsonl"),
            testbed: serde_json::Value::Null,
            daemons: [("n1".to_owned(), spec)].into(),
            packet_program: Vec::new(),
            processor_program: Vec::new(),
            patience: Patience::default(),
        };
        let bench = Bench { folder, host, config, others: Vec::new() };
        bench.counts();
        bench
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
        let hosts = [&self.host].into_iter().chain(&self.others);
        hosts.map(|host| Arc::new(host.clone()) as Arc<dyn Host>).collect()
    }

    fn state(&self) -> ProcessState {
        self.host.process_state(self.host.daemon().unwrap().unwrap()).unwrap()
    }

    fn count(&self) -> Option<u64> {
        Some(std::fs::metadata(self.host.folder.join("data/below/count")).ok()?.len())
    }

    /// Waits until it has counted further, and says how far.
    fn counts(&self) -> u64 {
        let before = self.count().unwrap_or(0);
        wait_for("the daemon to count", || self.count().filter(|count| *count > before + 5))
    }

    /// Something in the data directory that no daemon makes.
    fn mark(&self) -> PathBuf {
        let mark = self.host.folder.join("data/mark");
        std::fs::write(&mark, "").unwrap();
        mark
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.host.folder.join("starts")).unwrap().lines().count()
    }

    /// What is beside the data directory of ours.
    fn copies(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.host.folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".labrys-")).collect()
    }
}

fn in_place(place: &Path) -> Option<PathBuf> {
    Some(place.join("data"))
}

fn restart(data: RestartData) -> Resolved {
    Resolved::Restart { nodes: vec!["n1".to_owned()], data }
}

fn has(report: &FaultReport, wanted: impl Fn(&Effect) -> bool) -> bool {
    report.evidence.details.iter().any(|seen| wanted(&seen.effect))
}

#[test]
fn a_wiped_node_is_down_and_has_nothing_and_begins_from_the_beginning() {
    let bench = Bench::new(in_place);
    bench.with_nemesis(|nemesis| {
        bench.counts();
        let mark = bench.mark();
        let report = nemesis.apply(0, restart(RestartData::Wiped)).unwrap();
        assert!(
            has(&report, |effect| matches!(effect, Effect::DataWiped { files: 1.., bytes: 1.. })),
            "{report:?}"
        );
        assert!(report.evidence.bit);
        assert_eq!((bench.state(), bench.count()), (ProcessState::Gone, None));
        let report = nemesis.apply(1, restart(RestartData::Wiped)).unwrap();
        assert!(!report.evidence.bit, "there was nothing left to lose: {report:?}");
        nemesis.undo(0).unwrap();
        assert_eq!(bench.state(), ProcessState::Gone, "the other fault holds it down");
        nemesis.undo(1).unwrap();
        wait_for("a count", || bench.count());
        assert!(!mark.exists(), "it began with what there was before");
        assert_eq!(bench.starts(), 2);
    });
    assert_eq!(bench.copies(), Vec::<String>::new());
}

#[test]
fn a_node_on_old_data_goes_on_from_where_it_was_when_the_fault_began() {
    let bench = Bench::new(in_place);
    bench.with_nemesis(|nemesis| {
        let before = bench.counts();
        let report = nemesis.apply(0, restart(RestartData::Old)).unwrap();
        assert!(!report.evidence.bit && bench.copies().len() == 1, "{report:?}");
        assert_eq!((bench.state(), bench.starts()), (ProcessState::Running, 1), "it goes on");
        // Far enough that counting on from the copy does not reach it before it is looked at.
        wait_for("it to count far", || (bench.count()? > before + 50).then_some(()));
        nemesis.apply(1, Resolved::Kill { nodes: vec!["n1".to_owned()] }).unwrap();
        let last = bench.count().unwrap();
        let report = nemesis.undo(0).unwrap();
        assert!(
            has(&report, |effect| matches!(effect, Effect::DataPutBack { differs: true, .. })),
            "{report:?}"
        );
        assert!(report.evidence.bit);
        let old = bench.count().unwrap();
        assert!((before..last).contains(&old), "{before} {old} {last}");
        nemesis.undo(1).unwrap();
        assert!(bench.counts() > old);
        assert_eq!(bench.starts(), 2);
    });
    assert_eq!(bench.copies(), Vec::<String>::new());
}

#[test]
fn a_pause_outlasts_the_copy_that_is_made_during_it() {
    let bench = Bench::new(in_place);
    bench.with_nemesis(|nemesis| {
        nemesis.apply(0, Resolved::Pause { nodes: vec!["n1".to_owned()] }).unwrap();
        nemesis.apply(1, restart(RestartData::Old)).unwrap();
        assert_eq!(bench.state(), ProcessState::Stopped);
        let report = nemesis.undo(1).unwrap();
        assert!(!report.evidence.bit, "nothing has changed: {report:?}");
        nemesis.undo(0).unwrap();
        bench.counts();
    });
}

#[test]
fn whoever_heals_removes_the_copy_and_leaves_the_data_unless_it_was_being_put_back() {
    let bench = Bench::new(in_place);
    let kept = |name: &str| {
        let journal = bench.folder.path().join(name);
        std::fs::copy(&bench.config.journal, &journal).unwrap();
        journal
    };
    bench.with_nemesis(|nemesis| {
        nemesis.apply(0, restart(RestartData::Old)).unwrap();
        let journal = kept("first.jsonl");
        let before = bench.counts();
        assert_eq!(heal(bench.hosts(), &journal, Patience::default()).unwrap().len(), 1);
        assert_eq!(heal(bench.hosts(), &journal, Patience::default()).unwrap().len(), 0);
        assert_eq!((bench.copies(), bench.starts()), (Vec::new(), 1));
        assert!(bench.counts() > before);
        nemesis.undo(0).unwrap();

        nemesis.apply(1, restart(RestartData::Old)).unwrap();
        let journal = kept("second.jsonl");
        // As the nemesis leaves it that dies while it empties the directory.
        let copy = bench.host.folder.join(&bench.copies()[0]);
        let old = std::fs::metadata(copy.join("below/count")).unwrap().len();
        std::fs::rename(&copy, bench.host.folder.join("data.labrys-put-back-real-test-1")).unwrap();
        nemesis.apply(2, Resolved::Kill { nodes: vec!["n1".to_owned()] }).unwrap();
        std::fs::remove_dir_all(bench.host.folder.join("data/below")).unwrap();
        // It does not know of the kill, and starts it.
        assert_eq!(heal(bench.hosts(), &journal, Patience::default()).unwrap().len(), 1);
        assert_eq!((bench.copies(), bench.starts()), (Vec::new(), 2));
        assert!(bench.counts() > old);
        nemesis.undo(2).unwrap();
        nemesis.undo(1).unwrap();
        bench.counts();
    });
}

fn why_not_put_back(report: &FaultReport) -> Vec<&str> {
    let reasons = report.evidence.details.iter().filter_map(|seen| match &seen.effect {
        Effect::DataNotPutBack { why } => Some(why.as_str()),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn a_fault_that_ends_before_its_time_leaves_the_data_as_it_is() {
    let bench = Bench::new(in_place);
    bench.with_nemesis(|nemesis| {
        nemesis.apply(0, restart(RestartData::Old)).unwrap();
        let before = bench.counts();
        let reports = nemesis.undo_all().unwrap();
        assert_eq!(why_not_put_back(&reports[0]), ["the fault ended before its time"]);
        assert!(!reports[0].evidence.bit, "{reports:?}");
        assert_eq!((bench.copies(), bench.starts()), (Vec::new(), 1));
        assert!(bench.counts() > before);
    });
}

#[test]
fn a_fault_that_cannot_be_applied_to_one_node_puts_nothing_back_on_another() {
    let mut bench = Bench::new(in_place);
    // There is nothing that could be copied on the other node.
    let place = bench.folder.path().join("n2");
    let other = LocalHost { name: "n2".to_owned(), folder: place.clone(), ..bench.host.clone() };
    let spec = DaemonSpec { data_directory: Some(place.join("missing")), ..idle_daemon(&place) };
    let idle = other.start_daemon(&spec).unwrap();
    bench.config.daemons.insert("n2".to_owned(), spec);
    bench.others = vec![other.clone()];
    bench.with_nemesis(|nemesis| {
        let before = bench.counts();
        let nodes = vec!["n1".to_owned(), "n2".to_owned()];
        let error = nemesis.apply(0, Resolved::Restart { nodes, data: RestartData::Old }).unwrap_err();
        assert!(error.to_string().contains("has been undone"), "{error}");
        assert_eq!((bench.copies(), bench.starts()), (Vec::new(), 1), "n1 was not touched");
        assert!(bench.counts() > before);
    });
    assert_eq!(other.process_state(idle).unwrap(), ProcessState::Running);
    other.signal(idle, Signal::Kill).unwrap();
}

#[test]
fn a_node_that_is_to_have_nothing_is_given_nothing_by_another_fault() {
    let bench = Bench::new(in_place);
    bench.with_nemesis(|nemesis| {
        bench.counts();
        let mark = bench.mark();
        nemesis.apply(0, restart(RestartData::Old)).unwrap();
        nemesis.apply(1, restart(RestartData::Wiped)).unwrap();
        let report = nemesis.apply(2, restart(RestartData::Old)).unwrap();
        assert_eq!(why_not_put_back(&report), ["another fault has emptied its data directory"]);
        let report = nemesis.undo(0).unwrap();
        assert_eq!(why_not_put_back(&report), ["another fault has emptied its data directory"]);
        assert!(!report.evidence.bit && bench.count().is_none(), "{report:?}");
        nemesis.undo(1).unwrap();
        let first = wait_for("a count", || bench.count());
        assert!(!mark.exists(), "it began with what there was before");
        let report = nemesis.undo(2).unwrap();
        assert!(!report.evidence.bit, "there was nothing to copy: {report:?}");
        assert!(bench.counts() > first);
        assert_eq!((bench.copies(), bench.starts()), (Vec::new(), 2));
    });
}

#[test]
fn a_directory_that_nobody_could_mean_is_refused_before_anything_is_done() {
    for (directory, why) in [
        (None, "not known where its daemon keeps its data"),
        (Some("/"), "no data directory"),
        (Some("/var"), "no data directory"),
        (Some("data/below"), "no data directory"),
        (Some("/var/lib/../.."), "no data directory"),
    ] {
        let bench = Bench::new(|_| directory.map(PathBuf::from));
        bench.with_nemesis(|nemesis| {
            let error = nemesis.apply(0, restart(RestartData::Wiped)).unwrap_err().to_string();
            assert!(error.contains(why), "{directory:?}: {error}");
            assert_eq!(bench.state(), ProcessState::Running);
        });
    }
}
