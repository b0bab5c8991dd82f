//! An agent taken apart: what happens at moments that cannot be met from outside.

use std::io::{BufRead, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};

use labrys_nemesis::{DaemonSpec, Effect, Resolved, ResourceTrouble, RestartData};
use tempfile::TempDir;

use super::*;
use crate::agent::protocol::{Bytes, HostAnswer};
use crate::testbed::lifecycle::lifecycle_file;

struct Bench {
    folder: TempDir,
    agent: Arc<Agent>,
    setup: AgentSetup,
}

fn bench(silence_ms: u64) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = AgentSetup {
        version: "test".to_owned(),
        run_tag: "serve".parse().expect("a tag"),
        node: "n1".to_owned(),
        addresses: [("n1".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))].into(),
        directory: folder.path().join("n1"),
        silence_ms,
        real_clock: false,
    };
    Bench { folder, agent: Arc::new(Agent::new(Programs::default())), setup }
}

impl Bench {
    fn premises(&self) -> Arc<Premises> {
        self.agent.premises(self.setup.clone()).expect("it may be its agent")
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

    /// A connection that the agent converses on, in a thread of its own.
    fn connect(&self, number: u64) -> (UnixStream, std::thread::JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        // Nothing is waited for any longer than that, so that no test hangs.
        ours.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let agent = Arc::clone(&self.agent);
        (ours, std::thread::spawn(move || agent.converse(number, &theirs)))
    }

    fn hello(&self, number: u64) -> (BufReader<UnixStream>, std::thread::JoinHandle<()>) {
        let (stream, conversing) = self.connect(number);
        tell(&stream, &ToAgent::Hello(self.setup.clone()));
        let mut stream = BufReader::new(stream);
        let welcome = hear(&mut stream);
        assert!(matches!(welcome, FromAgent::Welcome { .. }), "{welcome:?}");
        (stream, conversing)
    }
}

fn tell(mut stream: &UnixStream, what: &ToAgent) {
    stream.write_all(line(what).expect("a line").as_bytes()).expect("it is taken");
}

fn hear(stream: &mut BufReader<UnixStream>) -> FromAgent {
    let text = read_line(stream, MAXIMUM_LINE_BYTES).expect("heard").expect("not at its end");
    serde_json::from_str(&text).expect("a line that makes sense")
}

const NO_SILENCE_MS: u64 = 600_000;

#[test]
fn what_was_asked_before_its_end_and_comes_to_its_turn_after_it_is_not_begun() {
    let bench = bench(NO_SILENCE_MS);
    let premises = bench.premises();
    let daemon = premises.host.start_daemon(&bench.sleeper()).expect("started");
    let ending = bench.agent.end("of the test", false);
    assert_eq!((ending.left.len(), ending.ended.len()), (0, 1), "{ending:?}");
    // Two requests that have found the agent at work, and only now go on.
    let late = bench.agent.on_machine(&premises, HostWork::StartDaemon(bench.sleeper()));
    assert!(matches!(late, Answer::HostError(_)), "{late:?}");
    assert_eq!(premises.host.daemon().expect("asked"), Some(daemon), "no other one was started");
    let resolved = Resolved::Pause { nodes: vec!["n1".to_owned()] };
    let late = faults(&premises, RequestBody::Apply { fault_id: 1, resolved });
    assert!(matches!(&late, Answer::Failure(failure) if failure.left_behind.is_empty()), "{late:?}");
    assert!(bench.agent.premises(bench.setup.clone()).is_err(), "nor is another harness welcome");
    let looked = bench.agent.on_machine(&premises, HostWork::Daemon);
    assert!(matches!(looked, Answer::Host(HostAnswer::Daemon(_))), "one may still look: {looked:?}");
}

#[test]
fn a_daemon_that_is_being_started_while_the_agent_ends_is_ended_too() {
    let bench = bench(NO_SILENCE_MS);
    let premises = bench.premises();
    // Held, as by another process that starts a daemon: ours is not started before we let go.
    let held = std::fs::File::create(bench.setup.directory.join("daemon.lock")).expect("a file");
    held.lock().expect("ours");
    std::thread::scope(|threads| {
        let start = HostWork::StartDaemon(bench.sleeper());
        let (agent, premises) = (&bench.agent, &premises);
        let starting = threads.spawn(move || agent.on_machine(premises, start));
        // Whoever waits for the lock has the file open.
        let is_open_twice = || {
            let files = std::fs::read_dir("/proc/self/fd").expect("listed").flatten();
            let paths = files.filter_map(|file| std::fs::read_link(file.path()).ok());
            paths
                .filter(|path| path.starts_with(bench.folder.path()) && path.ends_with("daemon.lock"))
                .count()
                == 2
        };
        eventually(is_open_twice);
        let ending = threads.spawn(|| bench.agent.end("of the test", false));
        let ended = ended_file(&bench.setup.directory);
        eventually(|| ended.exists());
        // An agent that does not wait for it would be done by then.
        let since = Instant::now();
        eventually(|| ending.is_finished() || since.elapsed() > Duration::from_millis(300));
        held.unlock().expect("let go");
        let started = starting.join().expect("no panic");
        let Answer::Host(HostAnswer::Started(daemon)) = started else { panic!("{started:?}") };
        let ending = ending.join().expect("no panic");
        assert_eq!((ending.left.len(), ending.ended.len()), (0, 1), "{ending:?}");
        assert_eq!(premises.host.process_state(daemon).expect("state"), ProcessState::Gone);
    });
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_connection_ends_when_a_later_one_takes_over() {
    let bench = bench(NO_SILENCE_MS);
    let (mut first, first_conversing) = bench.hello(1);
    let (mut second, _) = bench.hello(2);
    let mut text = String::new();
    assert_eq!(first.read_line(&mut text).expect("its end"), 0, "{text}");
    first_conversing.join().expect("no panic");
    tell(second.get_ref(), &ToAgent::Heartbeat { received: 0 });
    assert_eq!(hear(&mut second), FromAgent::Heartbeat);
    // One that was made before the latest, and says hello after it, is not needed any more.
    let (late, conversing) = bench.connect(1);
    tell(&late, &ToAgent::Hello(bench.setup.clone()));
    conversing.join().expect("no panic");
    tell(second.get_ref(), &ToAgent::Heartbeat { received: 0 });
    assert_eq!(hear(&mut second), FromAgent::Heartbeat);
    bench.agent.end("of the test", false);
}

#[test]
fn a_request_whose_answer_was_forgotten_is_refused_and_not_carried_out_anew() {
    let bench = bench(NO_SILENCE_MS);
    let (mut stream, _) = bench.hello(1);
    let lines = bench.setup.directory.join("lines");
    let content = Bytes(b"x\n".to_vec());
    std::fs::write(&lines, "").expect("written");
    let work = Work::Host(HostWork::WriteFile { path: lines.clone(), append: true, content });
    let request = ToAgent::Request { id: 1, work };
    for _ in 0..2 {
        tell(stream.get_ref(), &request);
        let answer = Answer::Host(HostAnswer::Done);
        assert_eq!(hear(&mut stream), FromAgent::Response { id: 1, answer });
    }
    tell(stream.get_ref(), &ToAgent::Heartbeat { received: 1 });
    assert_eq!(hear(&mut stream), FromAgent::Heartbeat);
    tell(stream.get_ref(), &request);
    let refused = hear(&mut stream);
    let FromAgent::Response { id: 1, answer: Answer::HostError(failure) } = &refused else {
        panic!("{refused:?}")
    };
    assert!(failure.clone().on("n1").to_string().contains("was carried out before"), "{failure:?}");
    assert_eq!(std::fs::read(&lines).expect("read"), b"x\n");
    bench.agent.end("of the test", false);
}

/// The socket of an agent that is served in a thread of its own.
fn served(bench: &Bench) -> (UnixListener, std::path::PathBuf) {
    std::fs::create_dir_all(&bench.setup.directory).expect("a folder");
    let socket = bench.setup.directory.join("agent.sock");
    (UnixListener::bind(&socket).expect("a socket"), socket)
}

#[test]
fn an_agent_whose_harness_takes_nothing_hears_it_all_the_same_and_heals_when_it_does_not() {
    let bench = bench(1_500);
    let (listener, socket) = served(&bench);
    let serving = std::thread::spawn(move || serve(&listener, Programs::default()));
    let stream = UnixStream::connect(&socket).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    tell(&stream, &ToAgent::Hello(bench.setup.clone()));
    let mut stream = BufReader::new(stream);
    hear(&mut stream);
    tell(
        stream.get_ref(),
        &ToAgent::Request { id: 1, work: Work::Host(HostWork::StartDaemon(bench.sleeper())) },
    );
    let started = hear(&mut stream);
    let FromAgent::Response { answer: Answer::Host(HostAnswer::Started(daemon)), .. } = started else {
        panic!("{started:?}")
    };
    // More than fits in between: the agent is stuck in the midst of a line.
    let large = bench.setup.directory.join("large");
    std::fs::write(&large, vec![b'x'; 1 << 20]).expect("written");
    for id in 2..=4 {
        let work = HostWork::ReadFile { path: large.clone(), offset: 0, limit: 1 << 20 };
        tell(stream.get_ref(), &ToAgent::Request { id, work: Work::Host(work) });
    }
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(2_500) {
        tell(stream.get_ref(), &ToAgent::Heartbeat { received: 0 });
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut answered = 0;
    while answered < 3 {
        answered += usize::from(matches!(hear(&mut stream), FromAgent::Response { .. }));
    }
    // And once more, without a word: stuck again, it must heal.
    for id in 5..=7 {
        let work = HostWork::ReadFile { path: large.clone(), offset: 0, limit: 1 << 20 };
        tell(stream.get_ref(), &ToAgent::Request { id, work: Work::Host(work) });
    }
    serving.join().expect("no panic").expect("it ended well");
    let state = process::state_and_start(daemon.pid);
    assert!(state.is_none_or(|(state, start)| start != daemon.start_ticks || state == 'Z'), "{state:?}");
    let why = std::fs::read_to_string(ended_file(&bench.setup.directory)).expect("it says why");
    assert!(why.contains("it had heard nothing for 1.5 s"), "{why}");
}

#[test]
fn a_line_that_comes_in_slowly_is_no_silence() {
    let bench = bench(1_500);
    let (listener, socket) = served(&bench);
    let serving = std::thread::spawn(move || serve(&listener, Programs::default()));
    let stream = UnixStream::connect(&socket).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    tell(&stream, &ToAgent::Hello(bench.setup.clone()));
    let mut stream = BufReader::new(stream);
    hear(&mut stream);
    let request = line(&ToAgent::Request { id: 1, work: Work::Host(HostWork::Daemon) }).expect("a line");
    for part in request.as_bytes().chunks(request.len() / 25) {
        std::thread::sleep(Duration::from_millis(100));
        stream.get_ref().write_all(part).expect("it is taken");
    }
    let answer = Answer::Host(HostAnswer::Daemon(None));
    assert_eq!(hear(&mut stream), FromAgent::Response { id: 1, answer });
    tell(stream.get_ref(), &ToAgent::Request { id: 2, work: Work::Finish { remove: false } });
    let finished = hear(&mut stream);
    assert!(matches!(finished, FromAgent::Response { id: 2, answer: Answer::Finished(_) }), "{finished:?}");
    serving.join().expect("no panic").expect("it ended well");
}

#[test]
fn a_line_that_does_not_end_ends_the_connection() {
    let bench = bench(NO_SILENCE_MS);
    let (mut stream, conversing) = bench.hello(1);
    let chunk = [b'x'; 1 << 16];
    let mut written = 0_u64;
    let error = loop {
        match stream.get_ref().write(&chunk) {
            Ok(length) => written += length as u64,
            Err(error) => break error,
        }
        assert!(written < 3 * MAXIMUM_LINE_BYTES, "it takes whatever comes");
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    conversing.join().expect("no panic");
    assert!(stream.fill_buf().map_or(true, <[u8]>::is_empty));
    bench.agent.end("of the test", false);
}

/// The note is of another boot, so that this machine's clock is not touched.
#[test]
fn the_machines_clock_is_put_right_by_its_note_when_the_agent_ends_and_when_somebody_heals() {
    let note = r#"{"boot_id":"another","offset_ns":0,"tick_us":10000,"stopped":[],"ahead_ms":5}"#;
    for by_heal in [false, true] {
        let bench = bench(NO_SILENCE_MS);
        drop(bench.premises());
        let file = bench.setup.directory.join("machine-clock.json");
        std::fs::write(&file, note).expect("written");
        let ending = if by_heal {
            // The agent dies first.
            drop(bench.agent);
            crate::agent::heal(&bench.setup.directory, false).expect("healed")
        } else {
            bench.agent.end("of the test", false)
        };
        assert_eq!(ending.undone, ["the machine's clock, which was off by 0.0 ms"]);
        assert!(ending.left.is_empty() && !file.exists(), "{ending:?}");
        std::fs::write(&file, "nonsense").expect("written");
        let healed = crate::agent::heal(&bench.setup.directory, false).expect("healed");
        assert!(healed.left[0].starts_with("the machine's clock is not right: "), "{healed:?}");
    }
}

#[test]
fn an_agent_tells_what_it_has_undone_that_its_dead_predecessor_had_applied() {
    let mut bench = bench(NO_SILENCE_MS);
    let premises = bench.premises();
    let daemon = premises.host.start_daemon(&bench.sleeper()).expect("started");
    let resolved = Resolved::Pause { nodes: vec!["n1".to_owned()] };
    let applied = faults(&premises, RequestBody::Apply { fault_id: 7, resolved });
    assert!(matches!(applied, Answer::Nemesis(_)), "{applied:?}");
    // It dies: nothing of what it would do at its end is done.
    drop(premises);
    bench.agent = Arc::new(Agent::new(Programs::default()));
    let (stream, _) = bench.connect(1);
    tell(&stream, &ToAgent::Hello(bench.setup.clone()));
    let welcome = hear(&mut BufReader::new(stream));
    let FromAgent::Welcome { undone, .. } = welcome else { panic!("{welcome:?}") };
    let [report] = &undone[..] else { panic!("{undone:?}") };
    let stopped = Effect::ProcessStopped { process: daemon };
    assert!(report.evidence.details.iter().any(|seen| seen.effect == stopped), "{report:?}");
    assert_eq!((report.fault_id, report.evidence.bit), (7, true));
    bench.agent.end("of the test", false);
}

/// The second daemon would be one that the end has to end as well, or that it cannot start on a full disk.
#[test]
fn at_an_agents_end_what_faults_have_made_is_removed_and_no_daemon_is_started_for_it() {
    let nodes = || vec!["n1".to_owned()];
    let old = Resolved::Restart { nodes: nodes(), data: RestartData::Old };
    let wiped = Resolved::Restart { nodes: nodes(), data: RestartData::Wiped };
    let memory = Resolved::Resource { nodes: nodes(), trouble: ResourceTrouble::MemoryMarginKib(1024) };
    for resolved in [old, wiped, memory] {
        let bench = bench(NO_SILENCE_MS);
        let premises = bench.premises();
        let data = bench.setup.directory.join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        std::fs::write(data.join("log"), "1").expect("written");
        let spec = DaemonSpec { data_directory: Some(data.clone()), ..bench.sleeper() };
        premises.host.start_daemon(&spec).expect("started");
        let daemons = [("n1".to_owned(), spec)].into();
        let known = faults(&premises, RequestBody::SetDaemons { daemons });
        assert!(matches!(known, Answer::Nemesis(_)), "{known:?}");
        let is_wiped = matches!(resolved, Resolved::Restart { data: RestartData::Wiped, .. });
        let applied = faults(&premises, RequestBody::Apply { fault_id: 1, resolved: resolved.clone() });
        assert!(matches!(applied, Answer::Nemesis(_)), "{applied:?}");
        if !is_wiped {
            std::fs::write(data.join("log"), "2").expect("written");
        }
        let ending = bench.agent.end("of the test", false);
        assert!(ending.left.is_empty(), "{resolved}: {ending:?}");
        assert_eq!(ending.undone, [resolved.to_string()]);
        let lifecycle = std::fs::read_to_string(lifecycle_file(&bench.setup.directory)).expect("notes");
        assert_eq!(lifecycle.matches("\"start\"").count(), 1, "{resolved}: {lifecycle}");
        let log = std::fs::read_to_string(data.join("log")).ok();
        assert_eq!(log.as_deref(), (!is_wiped).then_some("2"), "{resolved}: nothing is put back");
        let names = std::fs::read_dir(&bench.setup.directory).expect("a folder").flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        assert!(names.all(|name| !name.contains(".labrys-")), "{resolved}: a copy is left");
    }
}
