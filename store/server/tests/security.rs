//! Mutual TLS and the token, from the flags to the peers.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::certificates::Authority;
use common::process::{Node, binary, free_address, refused};
use labrys_store::client::{AttemptError, ClientError, ClientOptions, StatusClient, StoreClient};
use labrys_store::security::{Security, SecurityError, SecurityFiles};

const SECRET: &str = "the-quick-brown-fox";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn written(directory: &Path, name: &str, content: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, content).unwrap();
    file
}

/// The flags that name these files.
fn flags(files: &SecurityFiles) -> Vec<String> {
    let pairs = [
        ("--tls-certificate", &files.tls_certificate),
        ("--tls-key", &files.tls_key),
        ("--tls-ca", &files.tls_ca),
        ("--token-file", &files.token_file),
    ];
    let named = pairs.into_iter().filter_map(|(flag, file)| file.as_ref().map(|file| (flag, file)));
    named.flat_map(|(flag, file)| [flag.to_owned(), file.display().to_string()]).collect()
}

fn client(address: &str, files: &SecurityFiles) -> StoreClient {
    let security = Security::load(files).unwrap();
    let options = ClientOptions { security, ..ClientOptions::default() };
    StoreClient::connect(vec![address.to_owned()], 0, options).unwrap()
}

/// Nodes as processes, each with the files that belong to it.
struct Nodes {
    addresses: Vec<String>,
    processes: Vec<Node>,
    _directory: tempfile::TempDir,
}

impl Nodes {
    fn start(files: &[&SecurityFiles]) -> Nodes {
        let directory = tempfile::tempdir().unwrap();
        let addresses: Vec<String> = files.iter().map(|_| free_address()).collect();
        let peers: Vec<String> =
            (1..).zip(&addresses).map(|(id, address)| format!("{id}={address}")).collect();
        let processes = (1..).zip(files).map(|(id, files)| {
            let data_dir = directory.path().join(format!("node-{id}")).display().to_string();
            let mut command = binary();
            command.args(["--id", &id.to_string(), "--peers", &peers.join(","), "--data-dir", &data_dir]);
            command.args(flags(files));
            Node::spawn(command)
        });
        Nodes { processes: processes.collect(), addresses, _directory: directory }
    }
}

/// How a put ends that has one attempt.
fn put_once(address: &str, files: &SecurityFiles) -> ClientError {
    let result = block_on(client(address, files).put("stolen", "x", Duration::from_secs(2)));
    result.expect_err("the put should be refused")
}

/// Tries to put until it is told so. A connection that the other side closes may be gone before its last word is read.
fn put_until_told(address: &str, files: &SecurityFiles, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = put_once(address, files);
        if error.detail.contains(expected) {
            return;
        }
        assert!(Instant::now() < deadline, "`{expected}` is not in: {error}");
    }
}

#[test]
fn files_that_do_not_do_are_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let (good, other) = (authority.sign("good", &["localhost"]), authority.sign("other", &["localhost"]));
    let nonsense = Some(written(directory.path(), "nonsense", "to be or not to be\n"));
    let missing = Some(directory.path().join("missing"));
    let empty = Some(written(directory.path(), "empty", " \n"));
    let words = Some(written(directory.path(), "words", "two words\n"));
    let cut = fs::read_to_string(good.tls_certificate.as_ref().unwrap()).unwrap();
    let cut = Some(written(directory.path(), "cut", &cut[..cut.len() / 2]));
    let with = |change: fn(&mut SecurityFiles, Option<PathBuf>), file: &Option<PathBuf>| {
        let mut files = good.clone();
        change(&mut files, file.clone());
        Security::load(&files).unwrap_err().to_string()
    };
    for (error, expected) in [
        (with(|files, file| files.tls_certificate = file, &missing), "cannot read --tls-certificate"),
        (with(|files, file| files.tls_certificate = file, &nonsense), "nonsense holds no certificate in PEM"),
        (with(|files, file| files.tls_certificate = file, &cut), "cut holds no certificate in PEM"),
        (with(|files, file| files.tls_certificate = file, &None), "--tls-certificate is missing"),
        (with(|files, file| files.tls_key = file, &missing), "cannot read --tls-key"),
        (with(|files, file| files.tls_key = file, &good.tls_certificate), "good.pem holds no private key"),
        (with(|files, file| files.tls_key = file, &other.tls_key), "cannot be used with the key in"),
        (with(|files, file| files.tls_key = file, &None), "--tls-key is missing"),
        (with(|files, file| files.tls_ca = file, &nonsense), "--tls-ca"),
        (with(|files, file| files.token_file = file, &missing), "cannot read --token-file"),
        (with(|files, file| files.token_file = file, &empty), "it is empty"),
        (with(|files, file| files.token_file = file, &words), "one word of visible ASCII"),
    ] {
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
        assert!(!error.contains("two words"), "an error shows the token_file: {error}");
    }
    let only_ca = SecurityFiles { tls_ca: good.tls_ca.clone(), ..SecurityFiles::default() };
    let no_ca = SecurityFiles { tls_ca: None, ..good };
    let check = |files, has_peers| Security::load(files).unwrap().check_node(has_peers);
    assert_eq!(check(&only_ca, false), Err(SecurityError::NoIdentity));
    assert_eq!(check(&no_ca, true), Err(SecurityError::NoCa));
    assert_eq!(check(&no_ca, false), Ok(()));
}

#[test]
fn a_node_with_files_that_do_not_do_says_so_in_one_line_with_exit_code_2() {
    let base = ["--id", "1", "--peers", "1=127.0.0.1:1", "--data-dir", "/nonexistent/labrys"];
    for (more, expected) in [
        (vec!["--tls-key", "/nonexistent.key"], "--tls-certificate is missing"),
        (vec!["--token-file", "/nonexistent"], "cannot read --token-file /nonexistent"),
    ] {
        let (code, text) = refused(&[&base[..], &more].concat());
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

/// Nodes that reach a majority only if their links work; then everybody who should not get in.
#[test]
fn with_tls_and_a_token_only_who_has_both_gets_in() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let stranger = Authority::new(directory.path(), "stranger");
    let token = Some(written(directory.path(), "token", &format!("{SECRET}\n")));
    let wrong = Some(written(directory.path(), "wrong", "the-quick-brown-fix\n"));
    let hosts = ["127.0.0.1"];
    let node = SecurityFiles { token_file: token.clone(), ..authority.sign("node", &hosts) };
    let user = SecurityFiles { token_file: token.clone(), ..authority.sign("user", &[]) };
    let nodes = Nodes::start(&[&node, &node, &node]);

    let options = ClientOptions { security: Security::load(&user).unwrap(), ..ClientOptions::default() };
    block_on(async {
        let mut client = StoreClient::connect(nodes.addresses.clone(), 0, options.clone()).unwrap();
        client.put("x", "1", PATIENCE).await.unwrap();
        assert_eq!(client.get("x", PATIENCE).await.unwrap().as_deref(), Some(&b"1"[..]));
        let mut status = StatusClient::with_security(&nodes.addresses[2], &options.security).unwrap();
        assert_eq!(status.status(None, PATIENCE).await.unwrap().node, 3);
        let mut bare = StatusClient::new(&nodes.addresses[2]).unwrap();
        assert!(bare.status(None, PATIENCE).await.is_err());
    });

    let ctl = |files: &SecurityFiles| {
        let mut command = binary();
        command.args(["ctl", "--endpoints", &nodes.addresses.join(",")]).args(flags(files));
        command.args(["get", "x"]).output().unwrap()
    };
    assert!(ctl(&user).status.success());
    let answer = ctl(&SecurityFiles { token_file: None, ..user.clone() });
    assert!(String::from_utf8_lossy(&answer.stderr).contains("carries no token"), "{answer:?}");

    let address = &nodes.addresses[0];
    let no_token = SecurityFiles { token_file: None, ..user.clone() };
    let wrong_token = SecurityFiles { token_file: wrong, ..user.clone() };
    let error = put_once(address, &no_token);
    assert_eq!((error.error, error.definite), (AttemptError::Unauthenticated, true), "{error}");
    assert!(error.detail.contains("carries no token"), "{error}");
    let error = put_once(address, &wrong_token);
    assert_eq!((error.error, error.definite), (AttemptError::Unauthenticated, true), "{error}");
    assert!(error.detail.contains("another token") && !error.detail.contains("quick"), "{error}");

    let plain = SecurityFiles { token_file: token.clone(), ..SecurityFiles::default() };
    let anonymous = SecurityFiles { tls_certificate: None, tls_key: None, ..user.clone() };
    let foreign =
        SecurityFiles { token_file: token, tls_ca: node.tls_ca.clone(), ..stranger.sign("foreign", &[]) };
    let misled = SecurityFiles { tls_ca: Some(stranger.certificate()), ..user.clone() };
    put_until_told(address, &plain, "may speak TLS");
    put_until_told(address, &anonymous, "wants a certificate");
    put_until_told(address, &foreign, "has not signed the certificate");
    put_until_told(address, &misled, "has not signed the other side's");

    block_on(async {
        let mut client = StoreClient::connect(nodes.addresses.clone(), 0, options).unwrap();
        assert_eq!(client.get("stolen", PATIENCE).await.unwrap(), None);
    });
}

/// Two nodes that agree, and a third whose token or TLS differs: they go on without it, and each side says why.
#[test]
fn a_peer_that_does_not_fit_is_left_out_and_both_sides_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let signed = authority.sign("node", &["127.0.0.1"]);
    let token = |name: &str, secret: &str| Some(written(directory.path(), name, secret));
    let node = SecurityFiles { token_file: token("token", SECRET), ..signed.clone() };
    let other_token = SecurityFiles { token_file: token("other", "another"), ..signed };
    let plain = SecurityFiles { token_file: node.token_file.clone(), ..SecurityFiles::default() };
    for (odd, of_node, of_odd) in
        [(&other_token, "another token", "another token"), (&plain, "speaks plain text", "may speak TLS")]
    {
        let nodes = Nodes::start(&[&node, &node, odd]);
        for (process, peer, expected) in [(0, 3, of_node), (1, 3, of_node), (2, 1, of_odd)] {
            let line = nodes.processes[process].event_that("peer_refused", |line| line["peer"] == peer);
            assert!(line["error"].as_str().unwrap().contains(expected), "{line}");
        }
        block_on(async {
            let options =
                ClientOptions { security: Security::load(&node).unwrap(), ..ClientOptions::default() };
            let two = nodes.addresses[..2].to_vec();
            let mut client = StoreClient::connect(two, 0, options).unwrap();
            client.put("x", "1", PATIENCE).await.unwrap();
            let security = Security::load(odd).unwrap();
            let mut status = StatusClient::with_security(&nodes.addresses[2], &security).unwrap();
            let status = status.status(None, PATIENCE).await.unwrap();
            assert_eq!((status.last_index, status.leader), (0, None));
        });
    }
}

/// Even with every line that there is.
#[test]
fn the_token_is_in_no_log_line_and_no_debug_text() {
    let directory = tempfile::tempdir().unwrap();
    let token = Some(written(directory.path(), "token", SECRET));
    let files = SecurityFiles { token_file: token, ..SecurityFiles::default() };
    let security = Security::load(&files).unwrap();
    assert!(!format!("{security:?}").contains(SECRET));
    let address = free_address();
    let mut command = binary();
    command.env("LABRYS_LOG", "trace");
    command.args(["--id", "1", "--peers", &format!("1={address}"), "--token-file"]);
    command.arg(files.token_file.as_ref().unwrap()).arg("--data-dir").arg(directory.path().join("data"));
    let node = Node::spawn(command);
    let mut lines = node.lines_until("leader");
    block_on(async {
        client(&address, &files).put("x", "1", PATIENCE).await.unwrap();
        // A metadata entry that is not marked as sensitive, as other clients send it.
        let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
        let mut admin = labrys_store::api::admin_client::AdminClient::new(channel.connect().await.unwrap());
        let mut request = tonic::Request::new(labrys_store::api::StatusRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {SECRET}").parse().unwrap());
        admin.status(request).await.unwrap();
    });
    node.signal(nix::sys::signal::Signal::SIGTERM);
    lines.extend(node.lines_until("stopped"));
    let shown: Vec<&String> = lines.iter().filter(|line| line.contains(SECRET)).collect();
    assert!(lines.len() > 50 && shown.is_empty(), "{} lines: {shown:?}", lines.len());
}

/// Each kind of verb goes by a connection of its own: keys, members, each node.
#[test]
fn ctl_reaches_nodes_by_tls_and_token_with_each_kind_of_verb_and_not_without() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let token = Some(written(directory.path(), "token", SECRET));
    let node = SecurityFiles { token_file: token.clone(), ..authority.sign("node", &["127.0.0.1"]) };
    let user = SecurityFiles { token_file: token, ..authority.sign("user", &[]) };
    let without_token = SecurityFiles { token_file: None, ..user.clone() };
    let nodes = Nodes::start(&[&node]);
    nodes.processes[0].event("leader");
    let ctl = |files: &SecurityFiles, timeout: &str, verb: &[&str]| {
        let mut command = binary();
        command.args(["ctl", "--timeout-ms", timeout, "--endpoints", &nodes.addresses[0]]);
        command.args(flags(files)).args(verb).output().unwrap()
    };
    for verb in [
        &["put", "x", "1"][..],
        &["get", "x"],
        &["watch", "--from", "1", "--count", "1"],
        &["members", "list"],
        &["transfer-leader", "1"],
        &["status"],
        &["snapshot"],
        &["defrag"],
        &["hash-at-revision", "1"],
    ] {
        let done = ctl(&user, "30000", verb);
        assert!(done.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(!done.stdout.is_empty(), "{verb:?}");
        let refused = ctl(&without_token, "500", verb);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && told.contains("token"), "{verb:?}: {told}");
    }
}
