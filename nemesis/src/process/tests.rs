//! The nemesis process's loop, over pipes in memory and fake hosts.

use std::io::{self, Cursor};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::*;
use crate::client::{ClientError, NemesisClient};
use crate::fake::{FakeHost, as_hosts, daemon_spec, fake_host};
use crate::fault::{Link, Resolved};
use crate::host::ProcessState;
use crate::journal::read_journal;
use crate::protocol::Reply;

const IMPATIENT: Patience =
    Patience { settle_ms: 0, poll_ms: 0, undo_attempts: 2, retry_ms: 0, undo_ms: 60_000 };

fn config(folder: &Path) -> ServeConfig {
    ServeConfig {
        run_tag: "test".parse().unwrap(),
        journal: folder.join("journal.jsonl"),
        testbed: serde_json::Value::Null,
        daemons: BTreeMap::from([("n1".to_owned(), daemon_spec()), ("n2".to_owned(), daemon_spec())]),
        packet_program: Vec::new(),
        processor_program: Vec::new(),
        patience: IMPATIENT,
    }
}

fn pause_n1() -> Resolved {
    Resolved::Pause { nodes: vec!["n1".to_owned()] }
}

fn cut_n2_off() -> Resolved {
    let link = Link { from: "n1".to_owned(), to: "n2".to_owned() };
    Resolved::Partition { description: "n1 -x-> n2".to_owned(), links: vec![link], content_only: false }
}

fn lines_of(requests: &[RequestBody]) -> String {
    let numbered = requests.iter().zip(1..).map(|(body, id)| Request { id, body: body.clone() });
    numbered.map(|request| lines::render(&request).unwrap()).collect()
}

fn assert_clean(hosts: &[Arc<FakeHost>]) {
    for host in hosts {
        assert_eq!(host.daemon_state(), ProcessState::Running, "{}", host.name());
        assert!(host.filter_lines().is_empty(), "{}", host.name());
    }
}

/// Runs the loop over `input` and gives back how it ended and what it said.
fn run_over(hosts: &[Arc<FakeHost>], input: impl Read) -> (Result<(), ServeError>, Vec<Response>) {
    let folder = tempfile::tempdir().unwrap();
    let mut output = Vec::new();
    let ended = serve(config(folder.path()), as_hosts(hosts), input, &mut output);
    let outstanding = read_journal(&folder.path().join("journal.jsonl")).unwrap().outstanding;
    assert_eq!(outstanding.is_empty(), !matches!(ended, Err(ServeError::LeftBehind { .. })));
    (ended, lines::parse_whole(&output).ok().unwrap())
}

fn two_faults() -> String {
    lines_of(&[
        RequestBody::Apply { fault_id: 0, resolved: pause_n1() },
        RequestBody::Apply { fault_id: 1, resolved: cut_n2_off() },
    ])
}

/// Fails the test unless the faults are there when the input before it has been read.
struct AssertFaulty<'a>(&'a [Arc<FakeHost>]);

impl Read for AssertFaulty<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        assert_eq!(self.0[0].daemon_state(), ProcessState::Stopped);
        assert!(!self.0[1].filter_lines().is_empty());
        Ok(0)
    }
}

#[test]
fn the_end_of_the_input_undoes_everything() {
    let hosts = [fake_host(1), fake_host(2)];
    let (ended, responses) = run_over(&hosts, Cursor::new(two_faults()).chain(AssertFaulty(&hosts)));
    ended.unwrap();
    assert_eq!(responses.len(), 2);
    assert!(responses.iter().all(|response| matches!(response.outcome, Outcome::Result(Reply::Applied(_)))));
    assert_clean(&hosts);
}

#[test]
fn a_line_that_makes_no_sense_or_was_cut_off_or_is_endless_undoes_everything() {
    let whole = lines_of(&[RequestBody::Status]);
    let endless = "x".repeat(usize::try_from(MAXIMUM_LINE_BYTES).unwrap() + 1);
    let cut_off = &whole[..whole.len() - 1];
    for nonsense in ["nonsense\n", "{\"id\":1}\n", "\n", "\u{0}\n", cut_off, &whole[..5], &endless] {
        let hosts = [fake_host(1), fake_host(2)];
        let (ended, responses) = run_over(&hosts, Cursor::new(two_faults() + nonsense));
        assert!(matches!(ended, Err(ServeError::Malformed { line: 3, .. })), "{ended:?}");
        assert_eq!(responses.len(), 2);
        assert_clean(&hosts);
    }
}

/// An input or output that is broken.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An input that panics when it is read, as a defect of ours would.
struct Panicking;

impl Read for Panicking {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("on purpose")
    }
}

#[test]
fn a_broken_connection_undoes_everything() {
    let hosts = [fake_host(1), fake_host(2)];
    let (ended, _) = run_over(&hosts, Cursor::new(two_faults()).chain(Broken));
    assert!(matches!(ended, Err(ServeError::Connection(_))), "{ended:?}");
    assert_clean(&hosts);

    let folder = tempfile::tempdir().unwrap();
    let ended = serve(config(folder.path()), as_hosts(&hosts), Cursor::new(two_faults()), Broken);
    assert!(matches!(ended, Err(ServeError::Connection(_))), "{ended:?}");
    assert!(hosts[0].done().iter().any(|done| done == "signal Stop 100"), "the fault was there");
    assert_clean(&hosts);
}

#[test]
fn a_panic_undoes_everything() {
    let hosts = [fake_host(1), fake_host(2)];
    let (ended, _) = run_over(&hosts, Cursor::new(two_faults()).chain(Panicking));
    assert!(matches!(ended, Err(ServeError::Panicked)), "{ended:?}");
    assert_clean(&hosts);
}

#[test]
fn what_cannot_be_undone_at_the_end_is_said_and_stays_in_the_journal_for_the_successor() {
    let hosts = [fake_host(1), fake_host(2)];
    let folder = tempfile::tempdir().unwrap();
    hosts[0].be_deaf_to(crate::host::Signal::Continue);
    let ended = serve(config(folder.path()), as_hosts(&hosts), Cursor::new(two_faults() + "?\n"), Vec::new());
    let Err(ServeError::LeftBehind { failure, cause }) = ended else { panic!("{ended:?}") };
    assert_eq!(failure.left_behind, [0]);
    assert!(matches!(cause.as_deref(), Some(ServeError::Malformed { .. })));
    assert!(hosts[1].filter_lines().is_empty());
    hosts[0].repair();
    serve(config(folder.path()), as_hosts(&hosts), io::empty(), Vec::new()).unwrap();
    assert_clean(&hosts);
}

#[test]
fn the_client_speaks_with_the_process_over_a_pipe_and_closing_it_ends_the_process() {
    let hosts = [fake_host(1), fake_host(2)];
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (config, nemesis_hosts) = (config(folder.path()), as_hosts(&hosts));
    let nemesis =
        std::thread::spawn(move || serve(config, nemesis_hosts, theirs.try_clone().unwrap(), theirs));
    let mut client = NemesisClient::new(BufReader::new(ours.try_clone().unwrap()), ours);

    assert_eq!(client.status().unwrap().active, []);
    assert!(client.apply(0, pause_n1()).unwrap().evidence.bit);
    client.apply(1, cut_n2_off()).unwrap();
    assert_eq!(client.status().unwrap().active.len(), 2);
    let refused = client.apply(1, pause_n1()).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(_)), "{refused}");
    assert!(client.undo(0).unwrap().evidence.bit);
    client.set_daemons(BTreeMap::from([("n1".to_owned(), daemon_spec())])).unwrap();
    client.apply(2, Resolved::Kill { nodes: vec!["n1".to_owned()] }).unwrap();
    assert_eq!(client.undo_all().unwrap().len(), 2);
    assert_clean(&hosts);
    client.apply(3, pause_n1()).unwrap();
    drop(client);
    nemesis.join().unwrap().unwrap();
    assert_clean(&hosts);
}

#[test]
fn a_client_whose_nemesis_has_ended_or_is_confused_says_so() {
    let mut ended = NemesisClient::new(io::empty(), Vec::new());
    assert!(matches!(ended.status(), Err(ClientError::Ended)));
    let mut confused = NemesisClient::new(Cursor::new("running 1 test\n"), Vec::new());
    assert!(matches!(confused.status(), Err(ClientError::Confused { .. })));
    let other_id = "{\"id\":7,\"result\":\"daemons-set\"}\n";
    let mut wrong_id = NemesisClient::new(Cursor::new(other_id), Vec::new());
    assert!(matches!(wrong_id.status(), Err(ClientError::Confused { .. })));
}
