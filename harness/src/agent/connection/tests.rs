//! An agent in a thread of this process, on this very machine, behind connections that break.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use labrys_nemesis::{DaemonSpec, Host, HostError, ProcessState, Reply, Resolved, Signal, read_journal};
use tempfile::TempDir;

use super::*;
use crate::agent::{Fleet, Programs, RemoteHost, heal, journal_file, serve};

mod rebirth;
mod slowness;

/// To the agents' sockets, by way of which each connection can be counted.
struct Local {
    socket: PathBuf,
    opened: Arc<AtomicU64>,
    /// As long as it is not zero, no connection can be made.
    refused: Arc<AtomicU64>,
}

impl Transport for Local {
    fn open(&self, lifeline: &Lifeline) -> Result<Channel, NoChannel> {
        let failed = |error: std::io::Error| NoChannel { reason: error.to_string(), is_final: false };
        if self.refused.load(Ordering::SeqCst) > 0 {
            return Err(failed(ErrorKind::ConnectionRefused.into()));
        }
        let stream = UnixStream::connect(&self.socket).map_err(failed)?;
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (reader, ended) = (stream.try_clone().map_err(failed)?, stream.try_clone().map_err(failed)?);
        lifeline.is_cut_by(move || drop(ended.shutdown(std::net::Shutdown::Both)));
        Ok(Channel {
            writer: Box::new(stream),
            reader: Box::new(reader),
            complaint: Box::new(|| "it is gone".to_owned()),
        })
    }
}

struct Bench {
    folder: TempDir,
    setup: AgentSetup,
    opened: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    agent: std::thread::JoinHandle<Result<(), crate::agent::AgentError>>,
    connection: AgentConnection,
}

/// The node `n1` at 127.0.0.1, beside a node that is elsewhere.
fn bench(silence_ms: u64) -> Bench {
    bench_at(Pace::default(), silence_ms)
}

fn bench_at(pace: Pace, silence_ms: u64) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("n1");
    std::fs::create_dir(&directory).expect("a folder");
    let listener = UnixListener::bind(directory.join("agent.sock")).expect("a socket");
    let agent = std::thread::spawn(move || serve(&listener, Programs::default()));
    let address = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let setup = AgentSetup {
        version: "test".to_owned(),
        run_tag: "agent".parse().expect("a tag"),
        node: "n1".to_owned(),
        addresses: [("n1".to_owned(), address(1)), ("n2".to_owned(), address(2))].into(),
        directory,
        silence_ms,
        real_clock: false,
    };
    let (opened, refused) = (Arc::default(), Arc::default());
    let connection = connect(pace, &setup, &opened, &refused);
    Bench { folder, setup, opened, refused, agent, connection }
}

fn connect(
    pace: Pace,
    setup: &AgentSetup,
    opened: &Arc<AtomicU64>,
    refused: &Arc<AtomicU64>,
) -> AgentConnection {
    let transport = Local {
        socket: setup.directory.join("agent.sock"),
        opened: Arc::clone(opened),
        refused: Arc::clone(refused),
    };
    AgentConnection::open_at(pace, setup.clone(), Box::new(transport)).expect("a welcome")
}

const NO_SILENCE_MS: u64 = 600_000;

impl Bench {
    fn host(&self) -> RemoteHost {
        RemoteHost::new(self.connection.clone(), self.setup.addresses["n1"])
    }

    fn fleet(&self) -> Fleet {
        let journal = self.folder.path().join("journal.jsonl");
        Fleet::new([self.connection.clone()], &self.setup.run_tag, &journal, &serde_json::Value::Null)
            .expect("a fleet")
    }

    fn sleeper(&self) -> DaemonSpec {
        DaemonSpec {
            program: "sleep".into(),
            args: vec!["600".to_owned()],
            env: Vec::new(),
            directory: self.setup.directory.clone(),
            log_file: self.setup.directory.join("sleep.log"),
            clock: None,
            commands: None,
            data_directory: None,
            disk_file: None,
        }
    }

    fn finish(self) -> crate::agent::protocol::Ending {
        let answer = self.connection.call(Work::Finish { remove: false }).expect("an answer");
        self.agent.join().expect("no panic").expect("it ended well");
        match answer {
            Answer::Finished(ending) => ending,
            other => panic!("{other:?}"),
        }
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_machine_at_the_other_end_is_a_host_like_any_other() {
    let bench = bench(NO_SILENCE_MS);
    let host = bench.host();
    let file = bench.setup.directory.join("deep/file");
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    host.write_file(&file, &content).expect("written");
    assert!(host.read_file(&file).expect("read") == content, "what is read is what was written");
    assert_eq!(host.list_files(&bench.setup.directory).expect("listed")[Path::new("deep/file")], 3_000_000);
    let missing = host.read_file(Path::new("/no/such/file")).expect_err("not there");
    let is_not_found =
        matches!(&missing, HostError::File { source, .. } if source.kind() == ErrorKind::NotFound);
    assert!(is_not_found, "{missing}");
    assert_eq!(host.run("sh", &["-c", "echo out; echo err >&2"]).expect("run").stderr, "err\n");
    let failed = host.run("sh", &["-c", "echo why >&2; exit 3"]).expect_err("exit 3").to_string();
    assert!(failed.starts_with("n1: `sh") && failed.contains("why"), "{failed}");

    assert_eq!(host.daemon().expect("asked"), None);
    let daemon = host.start_daemon(&bench.sleeper()).expect("started");
    assert_eq!(host.daemon().expect("asked"), Some(daemon));
    assert!(host.start_daemon(&bench.sleeper()).expect_err("one lives").to_string().contains("still alive"));
    host.signal(daemon, Signal::Stop).expect("stopped");
    eventually("stopped", || host.process_state(daemon).expect("state") == ProcessState::Stopped);
    let ending = bench.finish();
    assert_eq!((ending.left.len(), ending.ended.len()), (0, 1), "{ending:?}");
}

#[test]
fn a_request_is_carried_out_once_however_often_its_connection_breaks() {
    let bench = bench(NO_SILENCE_MS);
    let host = bench.host();
    let lines = bench.setup.directory.join("lines");
    let script = format!("sleep 0.05; echo x >> {}", lines.display());
    std::thread::scope(|threads| {
        let running: Vec<_> = (0..20).map(|_| threads.spawn(|| host.run("sh", &["-c", &script]))).collect();
        for broken in 1..=5 {
            eventually("broken", || {
                bench.connection.cut();
                bench.connection.times_lost() >= broken
            });
        }
        for running in running {
            running.join().expect("no panic").expect("it was run");
        }
    });
    assert_eq!(host.read_file(&lines).expect("read"), b"x\n".repeat(20));
    assert!(bench.opened.load(Ordering::SeqCst) > 5);
    bench.finish();
}

#[test]
fn faults_go_through_the_fleet_to_the_agent_whose_node_they_are_done_to() {
    let bench = bench(NO_SILENCE_MS);
    let host = bench.host();
    let mut fleet = bench.fleet();
    let daemons = ["n1", "n2"].map(|node| (node.to_owned(), bench.sleeper()));
    fleet.set_daemons(daemons.into()).expect("told");
    let first = host.start_daemon(&bench.sleeper()).expect("started");
    let nodes = || vec!["n1".to_owned()];
    let report = fleet.apply(1, &Resolved::Pause { nodes: nodes() }).expect("applied");
    assert!(report.evidence.bit);
    assert_eq!(host.process_state(first).expect("state"), ProcessState::Stopped);
    fleet.apply(2, &Resolved::Kill { nodes: nodes() }).expect("applied");
    assert_eq!(host.process_state(first).expect("state"), ProcessState::Gone);
    // The connection breaks; nothing of it is seen.
    bench.connection.cut();
    fleet.undo(2).expect("undone");
    let second = host.daemon().expect("asked").expect("there is one");
    assert_ne!(second, first);
    let reports = fleet.undo_all().expect("undone");
    assert_eq!(reports.iter().map(|report| report.fault_id).collect::<Vec<_>>(), [1]);
    let elsewhere =
        fleet.apply(3, &Resolved::Pause { nodes: vec!["n2".to_owned()] }).expect("nothing to do here");
    assert_eq!(elsewhere.evidence.details, []);
    let stranger =
        fleet.apply(4, &Resolved::Pause { nodes: vec!["n9".to_owned()] }).expect_err("no such node");
    assert!(stranger.to_string().contains("there is no such node"), "{stranger}");
    let journal = read_journal(&bench.folder.path().join("journal.jsonl")).expect("a journal");
    assert_eq!(
        (journal.outstanding.into_keys().collect::<Vec<_>>(), journal.undone),
        (vec![3], vec![2, 1, 4])
    );
    bench.finish();
}

/// Many heartbeats in a silence, so that a machine under load is heard as well.
const OFTEN: Pace = Pace {
    heartbeat_every: Duration::from_millis(20),
    heard_within: Duration::from_secs(5),
    opens_within: OPENS_WITHIN,
    line_bytes: MAXIMUM_LINE_BYTES,
};

#[test]
fn an_agent_that_hears_nothing_heals_ends_the_node_and_is_not_started_again() {
    let silence = Duration::from_millis(1_500);
    let bench = bench_at(OFTEN, 1_500);
    let host = bench.host();
    let mut fleet = bench.fleet();
    let daemon = host.start_daemon(&bench.sleeper()).expect("started");
    fleet.apply(1, &Resolved::Pause { nodes: vec!["n1".to_owned()] }).expect("applied");
    let directory = bench.setup.directory.clone();
    // As long as it is heard it stays, though nothing is asked of it.
    let heard_from = Instant::now();
    eventually("longer than its silence", || heard_from.elapsed() > 2 * silence);
    assert_eq!(host.process_state(daemon).expect("it is there"), ProcessState::Stopped);
    assert_eq!((bench.connection.times_lost(), bench.opened.load(Ordering::SeqCst)), (0, 1));
    // It would be heard again soon, if a connection could be made.
    bench.refused.store(1, Ordering::SeqCst);
    bench.connection.cut();
    bench.agent.join().expect("no panic").expect("it ended well");
    let state = crate::process::state_and_start(daemon.pid);
    assert!(state.is_none_or(|(state, _)| state == 'Z'), "{state:?}");
    assert!(read_journal(&journal_file(&directory)).expect("a journal").outstanding.is_empty());
    let why = std::fs::read_to_string(directory.join("ended.json")).expect("it says why");
    assert!(why.contains("it had heard nothing for 1.5 s"), "{why}");
    let healed = heal(&directory, false).expect("healed");
    assert_eq!((healed.left.len(), healed.undone.len(), healed.ended.len()), (0, 0, 0), "{healed:?}");
    let error = fleet.undo(1).expect_err("nobody is there").to_string();
    assert!(error.contains("could not be undone"), "{error}");
}

#[test]
fn an_agent_that_has_a_harness_is_not_ended_by_heal_unless_it_is_forced() {
    let bench = bench(NO_SILENCE_MS);
    let host = bench.host();
    host.start_daemon(&bench.sleeper()).expect("started");
    let directory = bench.setup.directory.clone();
    let refused = heal(&directory, false).expect_err("its run is under way").to_string();
    assert!(refused.contains("still under way"), "{refused}");
    let ending = heal(&directory, true).expect("ended");
    assert_eq!((ending.left.len(), ending.ended.len()), (0, 1), "{ending:?}");
    bench.agent.join().expect("no panic").expect("it ended well");
    let again = heal(&directory, true).expect("healing once more finds nothing");
    assert_eq!(again, crate::agent::protocol::Ending::default());
}

#[test]
fn a_run_whose_connection_is_just_being_made_anew_is_under_way_until_it_has_been_silent_for_too_long() {
    let bench = bench_at(OFTEN, 2_000);
    bench.host().start_daemon(&bench.sleeper()).expect("started");
    let directory = bench.setup.directory.clone();
    let lose_it = || {
        bench.refused.store(1, Ordering::SeqCst);
        let before = bench.connection.times_lost();
        eventually("the connection is lost", || {
            bench.connection.cut();
            bench.connection.times_lost() > before
        });
    };
    lose_it();
    std::thread::scope(|threads| {
        let healing = threads.spawn(|| heal(&directory, false));
        // An agent that would not wait has ended by then.
        let asked_at = Instant::now();
        eventually("asked", || healing.is_finished() || asked_at.elapsed() > Duration::from_millis(300));
        bench.refused.store(0, Ordering::SeqCst);
        let refused = healing.join().expect("no panic").expect_err("it has come back").to_string();
        assert!(refused.contains("still under way"), "{refused}");
    });
    bench.host().daemon().expect("the connection is there again");
    lose_it();
    let healed = heal(&directory, false).expect("nobody came back");
    assert_eq!((healed.left.len(), healed.ended.len()), (0, 1), "{healed:?}");
    bench.agent.join().expect("no panic").expect("it ended well");
}

#[test]
fn what_an_agent_left_that_was_killed_is_undone_from_its_journal_alone() {
    let bench = bench(NO_SILENCE_MS);
    let host = bench.host();
    let daemon = host.start_daemon(&bench.sleeper()).expect("started");
    let answer = bench.connection.call(Work::Nemesis(RequestBody::Apply {
        fault_id: 1,
        resolved: Resolved::Pause { nodes: vec!["n1".to_owned()] },
    }));
    assert!(matches!(answer, Ok(Answer::Nemesis(Reply::Applied(_)))), "{answer:?}");
    // As if the agent had died at this moment: its journal and notes in another place, its socket gone.
    let copy = bench.folder.path().join("copy");
    std::fs::create_dir(&copy).expect("a folder");
    for name in ["journal.jsonl", "daemon.json", "lifecycle.jsonl"] {
        std::fs::copy(bench.setup.directory.join(name), copy.join(name)).expect("copied");
    }
    let journal = std::fs::read_to_string(copy.join("journal.jsonl")).expect("text");
    let moved = journal.replace(&*bench.setup.directory.to_string_lossy(), &copy.to_string_lossy());
    std::fs::write(copy.join("journal.jsonl"), moved).expect("written");
    let ending = heal(&copy, false).expect("healed");
    assert_eq!(ending.undone, ["pause n1"]);
    assert_eq!((ending.left.len(), ending.ended.len()), (0, 1), "{ending:?}");
    assert_eq!(host.process_state(daemon).expect("state"), ProcessState::Gone);
    assert_eq!(heal(&copy, false).expect("again"), crate::agent::protocol::Ending::default());
    bench.finish();
}
