//! The binary as a process: flags, exit codes, signals, restarts.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::process::{Node, binary, free_address, refused, run, single};
use labrys_store::api::MessageBatch;
use labrys_store::api::peer_client::PeerClient;
use labrys_store::client::{ClientOptions, StatusClient, StoreClient};
use labrys_store::raft::{LogIndex, Message, MessageBody, NodeId, Term};
use labrys_store::server::cluster::ClusterId;
use nix::sys::signal::Signal;

fn client(address: &str) -> StoreClient {
    StoreClient::connect(vec![address.to_owned()], 0, ClientOptions::default()).unwrap()
}

/// Writes until the node answers no more; gives how many writes it acknowledged.
fn write_until_it_ends(address: &str) -> usize {
    block_on(async {
        let mut client = client(address);
        let mut acknowledged = 0;
        // The node goes while a write waits for it, which ends that write by its lost connection.
        while client.put(format!("{acknowledged}"), vec![7; 4096], Duration::from_secs(5)).await.is_ok() {
            acknowledged += 1;
            assert!(acknowledged < 10_000, "the limit of the disk is not one");
        }
        acknowledged
    })
}

/// Asserts that a node starts from `data_dir` and has what was acknowledged there, the writes numbered from 0.
fn has_everything(data_dir: &Path, acknowledged: usize) {
    let address = free_address();
    let node = Node::start(&single(&address, data_dir), false);
    node.event("leader");
    block_on(async {
        let mut client = client(&address);
        for number in 0..acknowledged {
            let found = client.get(format!("{number}"), PATIENCE).await.unwrap();
            assert_eq!(found.as_deref(), Some(&[7; 4096][..]), "write {number} of {acknowledged}");
        }
    });
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn wrong_flags_are_one_line_and_exit_code_2() {
    let base = ["--id", "1", "--peers", "1=127.0.0.1:1", "--data-dir", "/nonexistent/labrys"];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    for (arguments, expected) in [
        (vec![], "--id is required"),
        (vec!["--nonsense"], "--nonsense"),
        (vec!["--id", "x"], "invalid value"),
        (vec!["--id", "1", "--peers", "1"], "id=host:port"),
        (vec!["--id", "2", "--peers", "1=a:1", "--data-dir", "d"], "node 2 is not in --peers"),
        (with(&["--config", "/nonexistent.toml"]), "/nonexistent.toml"),
        (with(&["--defect", "follower-read"]), "LABRYS_DEFECTS=1"),
        (with(&["--clock-file", "clock"]), "LABRYS_CLOCK_FAULTS=1"),
        (with(&["--wall-clock"]), "LABRYS_CLOCK_FAULTS=1"),
        (with(&["--failpoints"]), "LABRYS_FAILPOINTS=1"),
        (with(&["--log-format", "xml"]), "xml"),
    ] {
        let (code, text) = refused(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn timing_that_cannot_work_is_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = single(&free_address(), directory.path());
    arguments.extend(["--heartbeat-interval-ms", "500"].map(str::to_owned));
    // Given twice is an error of its own; replace the first.
    let position = arguments.iter().position(|argument| argument == "--heartbeat-interval-ms").unwrap();
    arguments.drain(position..position + 2);
    let node = Node::start(&arguments, false);
    let fatal = node.event("fatal");
    assert_eq!(fatal["exit_code"], 2, "{fatal}");
}

#[test]
fn defects_are_listed_and_shown_in_every_line() {
    let output = run(&["defects"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["local-leader-read", "follower-read", "no-request-deduplication", "async-replication-ack"] {
        assert!(text.contains(name), "{text}");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = single(&free_address(), directory.path());
    arguments.extend(["--defect", "follower-read", "--defect", "async-replication-ack"].map(str::to_owned));
    let node = Node::start(&arguments, true);
    for event in ["starting", "listening", "leader"] {
        assert_eq!(
            node.event(event)["defects"],
            serde_json::json!(["async-replication-ack", "follower-read"])
        );
    }
}

#[test]
fn an_address_in_use_is_exit_code_3() {
    let directory = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut node = Node::start(&single(&holder.local_addr().unwrap().to_string(), directory.path()), false);
    let fatal = node.event("fatal");
    assert!(fatal["error"].as_str().unwrap().contains("cannot listen on 127.0.0.1"), "{fatal}");
    assert_eq!(node.child.wait().unwrap().code(), Some(3));
}

#[test]
fn the_data_directory_of_another_node_is_exit_code_4() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    drop({
        let node = Node::start(&single(&address, directory.path()), false);
        node.event("leader");
        node
    });
    let other = free_address();
    let arguments: Vec<String> = single(&other, directory.path())
        .into_iter()
        .map(|argument| argument.replace("1=", "2="))
        .map(|argument| if argument == "1" { "2".to_owned() } else { argument })
        .collect();
    let mut node = Node::start(&arguments, false);
    let fatal = node.event("fatal");
    assert!(fatal["error"].as_str().unwrap().contains("belongs to node 1, not to node 2"), "{fatal}");
    assert_eq!(node.child.wait().unwrap().code(), Some(4));
}

#[test]
fn a_damaged_log_is_exit_code_5_and_names_file_and_offset() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let node = Node::start(&single(&address, directory.path()), false);
    node.event("leader");
    block_on(async {
        let mut client = client(&address);
        for number in 0..5 {
            client.put("x", format!("{number}"), PATIENCE).await.unwrap();
        }
    });
    drop(node);
    let log = directory.path().join("wal-0000000001-00000000000000000001.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[60] ^= 1;
    fs::write(&log, bytes).unwrap();
    let mut node = Node::start(&single(&address, directory.path()), false);
    let fatal = node.event("fatal");
    assert!(
        fatal["error"].as_str().unwrap().contains("wal-0000000001-00000000000000000001.log at byte"),
        "{fatal}"
    );
    assert_eq!(node.child.wait().unwrap().code(), Some(5));
}

/// In namespaces of its own (users, mounts, processes, so that nothing outlives it), with a small tmpfs as its disk. What was acknowledged is copied out before the
/// namespace ends with it.
#[test]
fn a_full_disk_is_exit_code_6_and_loses_nothing_acknowledged() {
    const NAMESPACE: [&str; 3] = ["unshare", "-rmpf", "--kill-child"];
    let directory = tempfile::tempdir().unwrap();
    let (disk, copy) = (directory.path().join("disk"), directory.path().join("copy"));
    fs::create_dir_all(&disk).unwrap();
    fs::create_dir_all(&copy).unwrap();
    let mount = format!("mount -t tmpfs -o size=256k none {disk:?}");
    let possible = Command::new(NAMESPACE[0]).args(&NAMESPACE[1..]).args(["sh", "-c", &mount]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: a full disk is exit code 6: `unshare -rmpf` and a tmpfs in it are not to be had here"
        );
        return;
    }
    let address = free_address();
    let script = format!("{mount} && {{ \"$@\"; code=$?; cp {disk:?}/* {copy:?}; exit $code; }}");
    let mut node = Node::start_in_shell(&NAMESPACE, &script, &single(&address, &disk));
    node.event("leader");
    let acknowledged = write_until_it_ends(&address);
    let fatal = node.event("fatal");
    assert!(fatal["error"].as_str().unwrap().contains("the disk is full"), "{fatal}");
    assert_eq!((&fatal["exit_code"], node.child.wait().unwrap().code()), (&serde_json::json!(6), Some(6)));
    assert!(acknowledged > 20, "256 KiB hold more than {acknowledged} writes of 4 KiB");
    has_everything(&copy, acknowledged);
}

/// A limit on the size of files is a disk that refuses to write, although it is not full.
#[test]
fn a_disk_that_fails_is_exit_code_7_and_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    // The signal is ignored so that the write itself fails. The unit is 512 bytes or 1024, depending on the shell.
    let script = "trap '' XFSZ; ulimit -f 256; exec \"$@\"";
    let mut node = Node::start_in_shell(&[], script, &single(&address, directory.path()));
    node.event("leader");
    let acknowledged = write_until_it_ends(&address);
    let fatal = node.event("fatal");
    assert!(
        fatal["error"].as_str().unwrap().contains("cannot append to wal-0000000001-00000000000000000001.log"),
        "{fatal}"
    );
    assert_eq!((&fatal["exit_code"], node.child.wait().unwrap().code()), (&serde_json::json!(7), Some(7)));
    assert!(acknowledged > 20, "128 KiB hold more than {acknowledged} writes of 4 KiB");
    has_everything(directory.path(), acknowledged);
}

/// Two peers that both claim to lead term 5: whatever this node did next could be wrong, so it ends.
#[test]
fn a_broken_invariant_is_exit_code_8() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let members = BTreeMap::from([(1, address.clone()), (2, free_address()), (3, free_address())]);
    let peers: Vec<String> = members.iter().map(|(id, address)| format!("{id}={address}")).collect();
    let data_dir = directory.path().display().to_string();
    let arguments = ["--id", "1", "--peers", &peers.join(","), "--data-dir", &data_dir].map(str::to_owned);
    let mut node = Node::start(&arguments, false);
    node.event("listening");
    let claim = |from| Message {
        from: NodeId(from),
        to: NodeId(1),
        term: Term(5),
        body: MessageBody::Append {
            prev_index: LogIndex(0),
            prev_term: Term(0),
            entries: Vec::new(),
            commit: LogIndex(0),
            round: 1,
        },
    };
    let messages = postcard::to_stdvec(&[2, 3].map(claim)[..]).unwrap().into();
    block_on(async {
        let mut peer = PeerClient::connect(format!("http://{address}")).await.unwrap();
        // The node may end before it answers.
        let mut request = tonic::Request::new(tokio_stream::once(MessageBatch { messages }));
        let cluster = ClusterId::of(&members).to_string();
        request.metadata_mut().insert("labrys-cluster", cluster.parse().unwrap());
        let _ = peer.deliver(request).await;
    });
    let fatal = node.event("fatal");
    assert!(fatal["error"].as_str().unwrap().contains("term 5 has two leaders"), "{fatal}");
    assert_eq!((&fatal["exit_code"], node.child.wait().unwrap().code()), (&serde_json::json!(8), Some(8)));
}

#[test]
fn sigterm_ends_a_node_with_exit_code_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(&single(&free_address(), directory.path()), false);
    let leader = node.event("leader");
    assert_eq!((&leader["node"], leader["term"].is_u64()), (&serde_json::json!(1), true), "{leader}");
    node.signal(Signal::SIGTERM);
    node.event("stopped");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

#[test]
fn everything_acknowledged_survives_kill_9_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut expected = BTreeMap::new();
    for round in 0..5 {
        let node = Node::start(&single(&address, directory.path()), false);
        node.event("leader");
        block_on(async {
            let mut client = client(&address);
            for (key, value) in &expected {
                let found = client.get(format!("{key}"), PATIENCE).await.unwrap();
                assert_eq!(found.as_deref(), Some(format!("{value}").as_bytes()));
            }
            for key in 0..10 {
                client.put(format!("{key}"), format!("{round}"), PATIENCE).await.unwrap();
                expected.insert(key, round);
            }
            // One more is on its way when the node is killed; nothing is known about it.
            let unfinished =
                tokio::time::timeout(Duration::from_millis(1), client.put("other", "x", PATIENCE));
            let _ = unfinished.await;
        });
        node.signal(Signal::SIGKILL);
        drop(node);
    }
}

#[test]
fn a_configuration_file_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let file = directory.path().join("node.toml");
    let data_dir = directory.path().join("data");
    let text = format!(
        "id = 1\ndata-dir = {:?}\nelection-timeout-ms = 60\nheartbeat-interval-ms = 15\n[peers]\n1 = \"{address}\"\n",
        data_dir
    );
    fs::write(&file, text).unwrap();
    let node = Node::start(&["--config".to_owned(), file.display().to_string()], false);
    node.event("leader");
}

#[test]
fn text_lines_are_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = single("127.0.0.1:1", directory.path());
    arguments.extend(["--log-format", "text", "--listen", "256.0.0.1:1"].map(str::to_owned));
    let mut child = binary().args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("ERROR node=1 FATAL: cannot listen on 256.0.0.1:1"), "{text}");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_leader_that_was_paused_follows_when_it_wakes_up_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<String> =
        listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    let peers: Vec<String> = (1..).zip(&addresses).map(|(id, address)| format!("{id}={address}")).collect();
    let start = |id: usize| {
        let data_dir = directory.path().join(id.to_string()).display().to_string();
        let arguments = ["--id", &id.to_string(), "--peers", &peers.join(","), "--data-dir", &data_dir]
            .map(str::to_owned);
        Node::start(&arguments, false)
    };
    let nodes: Vec<Node> = (1..=3).map(start).collect();
    block_on(async {
        let mut client = StoreClient::connect(addresses.clone(), 0, ClientOptions::default()).unwrap();
        client.put("x", "before", PATIENCE).await.unwrap();
        let (paused, term) = leader(&addresses).await;
        nodes[paused].signal(Signal::SIGSTOP);
        client.put("x", "during", PATIENCE).await.unwrap();
        nodes[paused].signal(Signal::SIGCONT);
        let mut woken = StoreClient::connect(addresses.clone(), paused, ClientOptions::default()).unwrap();
        assert_eq!(woken.get("x", PATIENCE).await.unwrap().as_deref(), Some(&b"during"[..]));
        let (_, new_term) = leader(&addresses).await;
        assert!(new_term > term, "term {term}, then {new_term}");
    });
}

/// The position and the term of the leader of the highest term, once all nodes agree on it.
async fn leader(addresses: &[String]) -> (usize, u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut statuses = Vec::new();
        for address in addresses {
            statuses.extend(StatusClient::new(address).unwrap().status(None, PATIENCE).await);
        }
        let first = statuses.first().and_then(|status| status.leader.map(|leader| (leader, status.term)));
        let agreed = statuses.iter().all(|status| status.leader.map(|leader| (leader, status.term)) == first);
        if let (Some((leader, term)), true, true) = (first, agreed, statuses.len() == addresses.len()) {
            return (usize::try_from(leader).unwrap() - 1, term);
        }
        assert!(Instant::now() < deadline, "no leader: {statuses:?}");
        tokio::task::yield_now().await;
    }
}
