//! Agents that say nothing, take nothing, take their time, or never come to the end of a line. They are written here, a few lines each.

use std::io::{BufRead, BufReader};
use std::thread::JoinHandle;

use labrys_nemesis::CommandOutput;

use super::*;
use crate::agent::protocol::{FromAgent, HostAnswer};

/// Seldom heard, soon given up.
const HASTY: Pace = Pace {
    heartbeat_every: Duration::from_millis(50),
    heard_within: Duration::from_millis(400),
    opens_within: OPENS_WITHIN,
    line_bytes: 1 << 20,
};

/// Given up only after pauses that a machine under load does not make.
const PATIENT: Pace = Pace { heard_within: Duration::from_secs(2), ..HASTY };

/// What a connection goes to when `serve` is at its other end, for each connection once.
pub(super) struct FakeAgent {
    _folder: TempDir,
    pub setup: AgentSetup,
    _serving: JoinHandle<()>,
}

pub(super) fn fake_agent(serve: impl Fn(UnixStream) + Send + 'static) -> FakeAgent {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("agent.sock")).expect("a socket");
    let setup = AgentSetup {
        version: "test".to_owned(),
        run_tag: "agent".parse().expect("a tag"),
        node: "n1".to_owned(),
        addresses: [("n1".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))].into(),
        directory: folder.path().to_owned(),
        silence_ms: NO_SILENCE_MS,
        real_clock: false,
    };
    // Ends with the test's process.
    let serving = std::thread::spawn(move || listener.incoming().flatten().for_each(&serve));
    FakeAgent { _folder: folder, setup, _serving: serving }
}

impl FakeAgent {
    pub fn connect(&self, pace: Pace) -> Result<AgentConnection, NoAnswer> {
        let transport = Local {
            socket: self.setup.directory.join("agent.sock"),
            opened: Arc::default(),
            refused: Arc::default(),
        };
        AgentConnection::open_at(pace, self.setup.clone(), Box::new(transport))
    }

    fn host(&self, connection: &AgentConnection) -> RemoteHost {
        RemoteHost::new(connection.clone(), self.setup.addresses["n1"])
    }
}

pub(super) fn say(mut stream: &UnixStream, what: &FromAgent) {
    // The harness may have cut it.
    let _ = stream.write_all(line(what).expect("a line").as_bytes());
}

fn welcome(stream: &UnixStream) {
    let incarnation = ProcessIdentity { pid: 1, start_ticks: 1 };
    say(stream, &FromAgent::Welcome { incarnation, undone: Vec::new() });
}

#[test]
fn an_agent_that_never_welcomes_anybody_is_given_up() {
    let agent = fake_agent(std::mem::forget);
    let pace = Pace { opens_within: Duration::from_millis(400), ..HASTY };
    let error = agent.connect(pace).expect_err("nobody says anything").to_string();
    assert!(error.starts_with("n1: nothing was heard for "), "{error}");
}

#[test]
fn an_agent_that_takes_nothing_is_cut_although_all_who_write_are_blocked() {
    let agent = fake_agent(|stream| {
        welcome(&stream);
        std::mem::forget(stream);
    });
    let connection = agent.connect(HASTY).expect("welcome");
    let host = agent.host(&connection);
    let writing = std::thread::spawn(move || {
        host.run("true", &["x".repeat(8 << 20).as_str()]).expect_err("nobody takes it").to_string()
    });
    eventually("it was cut twice", || connection.times_lost() >= 2);
    connection.close();
    let error = writing.join().expect("no panic");
    assert!(error.contains("the connection was closed"), "{error}");
}

#[test]
fn an_answer_that_comes_in_slowly_is_no_silence() {
    let agent = fake_agent(|stream| {
        welcome(&stream);
        let requests = BufReader::new(&stream).lines().map_while(Result::ok);
        let Some(request) = requests.into_iter().find(|line| line.contains("\"request\"")) else { return };
        let request: ToAgent = serde_json::from_str(&request).expect("a request");
        let ToAgent::Request { id, .. } = request else { panic!("{request:?}") };
        let output = CommandOutput { stdout: "slow".to_owned(), stderr: String::new() };
        let answer = FromAgent::Response { id, answer: Answer::Host(HostAnswer::from(output)) };
        // Longer than what would be a silence, in pauses that are far shorter.
        let text = line(&answer).expect("a line");
        for part in text.as_bytes().chunks(text.len() / 30) {
            std::thread::sleep(PATIENT.heard_within / 25);
            let _ = (&stream).write_all(part);
        }
        std::mem::forget(stream);
    });
    let connection = agent.connect(PATIENT).expect("welcome");
    let output = agent.host(&connection).run("true", &[]).expect("it has answered");
    assert_eq!((output.stdout.as_str(), connection.times_lost()), ("slow", 0));
}

#[test]
fn a_line_that_does_not_end_is_an_error_that_says_so() {
    let agent = fake_agent(|mut stream| {
        welcome(&stream);
        while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
    });
    let connection = agent.connect(PATIENT).expect("welcome");
    let error = agent.host(&connection).run("true", &[]).expect_err("nonsense").to_string();
    assert!(error.contains("makes no sense: a line of more than 1048576 bytes"), "{error}");
}
