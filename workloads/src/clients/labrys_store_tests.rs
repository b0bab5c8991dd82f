//! A test per row of `docs/client-errors.md`, and one against a node that is not there.

use labrys_store::client::AttemptError;

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
        let expected = Value::Vector(vec![Value::keyword(error.name()), Value::from("why")]);
        match error_outcome(&failed(*error)) {
            Outcome::Fail { error } => assert!(*definite && error == expected, "{name}: {error}"),
            Outcome::Info { error } => assert!(!definite && error == expected, "{name}: {error}"),
            Outcome::Ok(value) => panic!("{name}: {value}"),
        }
    }
    let of_this_client = [":precondition-failed", ":unsupported-operation", ":unsupported-value"];
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
    assert_eq!(read_outcome(Ok(None)), Outcome::Ok(Value::Nil));
}

fn refused_port() -> String {
    // Bound and closed again: nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    listener.local_addr().expect("it is bound").to_string()
}

async fn client(addresses: Vec<String>) -> Box<dyn Client> {
    let factory = LabrysStore::new(addresses, ClientOptions::default());
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
        (Op::new("cas", Value::Vector(vec![Value::Int(1), Value::Nil])), "unsupported-value"),
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
    let factory = LabrysStore::new(vec!["nowhere".to_owned()], ClientOptions::default());
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
