//! A test per row of `docs/client-errors.md`, and one against a node that is not there.

use labrys_store::client::AttemptError;
use tokio::io::AsyncReadExt;

use labrys_store::machine::{Reading, Revision};
use labrys_store::raft::LogIndex;

use super::*;

const TABLE: &str = include_str!("../../docs/client-errors.md");

/// The rows of the table for this client: error, whether definite.
fn rows() -> Vec<(String, bool)> {
    let section = TABLE.split("## ").find(|section| section.starts_with("labrys-store")).expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let definite = match cells[2] {
            "`fail`" => true,
            "`info`" => false,
            other => panic!("neither fail nor info: {other}"),
        };
        (cells[1].trim_matches('`').to_owned(), definite)
    })
    .collect()
}

/// An operation whose only attempt failed so.
fn failed(error: AttemptError) -> ClientError {
    ClientError { definite: error.is_definite(), error, detail: "why".to_owned(), attempts: 1 }
}

#[test]
fn every_error_of_the_library_has_the_completion_that_its_row_says() {
    let rows = rows();
    for error in AttemptError::ALL {
        let name = format!(":{}", error.name());
        let (_, definite) =
            rows.iter().find(|(row, _)| *row == name).unwrap_or_else(|| panic!("no row {name}"));
        let expected = Value::vector(vec![Value::keyword(error.name()), Value::from("why")]);
        match error_outcome(&failed(*error)) {
            Outcome::Fail { error } => assert!(*definite && error == expected, "{name}: {error}"),
            Outcome::Info { error } => assert!(!definite && error == expected, "{name}: {error}"),
            Outcome::Ok(value) => panic!("{name}: {value}"),
        }
    }
    let of_this_client = [
        ":precondition-failed",
        ":lease-unknown",
        ":too-many-leases",
        ":unsupported-operation",
        ":unsupported-value",
    ];
    assert_eq!(rows.len(), AttemptError::ALL.len() + of_this_client.len(), "a row that no error has");
    assert!(of_this_client.iter().all(|name| rows.contains(&((*name).to_owned(), true))));
}

#[test]
fn a_definite_last_error_after_an_indefinite_one_is_info() {
    let refused_at_last = ClientError { definite: false, attempts: 2, ..failed(AttemptError::NotLeader) };
    assert!(matches!(error_outcome(&refused_at_last), Outcome::Info { .. }));
}

#[test]
fn values_come_back_as_they_were_written_and_others_as_text() {
    for number in [0, 4, -1, i64::MAX, i64::MIN] {
        assert_eq!(decode(&encode(&Value::Int(number)).expect("an integer")), Value::Int(number));
    }
    assert_eq!(decode(&Bytes::from_static(b"\xff4")), Value::from("\u{fffd}4"));
    let nothing = Reading {
        applied: LogIndex(0),
        revision: Revision(0),
        compacted: Revision(0),
        found: Found::Value(None),
    };
    let read = Op::new("read", Value::Nil);
    assert_eq!(outcome_of(&read, Ok(Success::Read(nothing))), Outcome::Ok(Value::Nil));
}

#[test]
fn sessions_are_functions_of_seed_process_and_opening_and_none_is_like_another() {
    let sessions = |seed: u64, processes: &[u64]| -> Vec<u128> {
        let factory = LabrysStore::new(vec!["127.0.0.1:1".to_owned()], ClientOptions::default(), Seed(seed));
        processes.iter().map(|process| factory.next_session(*process)).collect()
    };
    let order = [0, 1, 2, 1, 10, 0, 1, 1 << 40];
    assert_eq!(sessions(7, &order), sessions(7, &order));
    // Whoever else is opened in between, and when: the second opening of process 1 is what it is.
    assert_eq!(sessions(7, &[1, 1])[1], sessions(7, &order)[3]);
    let of_many: Vec<u64> = (0..3).flat_map(|_| 0..1000).collect();
    let all: std::collections::BTreeSet<u128> =
        [7, 8].into_iter().flat_map(|seed| sessions(seed, &of_many)).collect();
    assert_eq!(all.len(), 2 * of_many.len());
}

/// A server that never says anything, and reads until it has seen the bytes of the session that the seed gives.
#[tokio::test]
async fn the_session_that_is_sent_is_the_seed_s() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    let sessions = || LabrysStore::new(vec![address.clone()], ClientOptions::default(), Seed(7));
    let expected = sessions().next_session(3).to_be_bytes();
    let seen = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("the client connects");
        let mut bytes = Vec::new();
        while !bytes.windows(expected.len()).any(|window| window == expected) {
            let count = connection.read_buf(&mut bytes).await.expect("the connection is whole");
            assert!(count > 0, "the client has hung up after {} bytes without the session", bytes.len());
        }
    });
    let mut client = sessions().open(3, 0).await.expect("opening connects to nothing");
    let write = Op::new("write", Value::Int(1));
    tokio::select! {
        outcome = client.invoke(&write, Duration::from_secs(30)) => panic!("{outcome:?}"),
        seen = seen => seen.expect("the session was sent"),
    }
}

fn refused_port() -> String {
    // Bound and closed again: nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    listener.local_addr().expect("it is bound").to_string()
}

async fn client(addresses: Vec<String>) -> Box<dyn Client> {
    let factory = LabrysStore::new(addresses, ClientOptions::default(), Seed(1));
    factory.open(0, 0).await.expect("opening connects to nothing")
}

#[tokio::test]
async fn what_cannot_be_sent_fails() {
    let mut client = client(vec![refused_port()]).await;
    let timeout = Duration::from_millis(100);
    let name = |outcome: &Outcome| match outcome {
        Outcome::Fail { error } => {
            error.as_sequence().and_then(|error| error[0].as_text().map(str::to_owned)).expect("a name")
        }
        other => panic!("{other:?}"),
    };
    let cases = [
        (Op::new("append", Value::Int(1)), "unsupported-operation"),
        (Op::new("cas", Value::Int(1)), "unsupported-operation"),
        (Op::new("write", Value::from("one")), "unsupported-value"),
        (Op::new("cas", Value::vector(vec![Value::Int(1), Value::Nil])), "unsupported-value"),
        (Op::new("write", Value::Int(1)), "cannot-connect"),
        (Op::new("read", Value::Nil), "cannot-connect"),
    ];
    for (op, expected) in cases {
        let outcome = client.invoke(&op, timeout).await;
        assert_eq!(name(&outcome), expected, "{op:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_of_opening() {
    let factory = LabrysStore::new(vec!["nowhere".to_owned()], ClientOptions::default(), Seed(1));
    let error = factory.open(7, 0).await.err().expect("it has no port");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// A server that takes connections and never says anything.
#[tokio::test]
async fn a_write_to_a_node_that_does_not_answer_is_info_and_a_read_is_fail() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    let silent = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    let mut client = client(vec![address]).await;
    let timeout = Duration::from_millis(200);
    let write = client.invoke(&Op::new("write", Value::Int(1)), timeout).await;
    assert!(matches!(write, Outcome::Info { .. }), "{write:?}");
    let read = client.invoke(&Op::new("read", Value::Nil), timeout).await;
    assert!(matches!(read, Outcome::Fail { .. }), "{read:?}");
    silent.abort();
}
