//! Any bytes at the port of a node, below and within gRPC: it neither ends nor grows, and goes on serving.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use common::PATIENCE;
use common::process::{Node, free_address, single};
use labrys_store::api::MessageBatch;
use labrys_store::api::peer_client::PeerClient;
use labrys_store::client::{ClientOptions, StatusClient, StoreClient};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// More than the allocator keeps back, far less than what the bytes claim as lengths.
const MAX_GROWTH_KIB: u64 = 64 * 1024;

fn resident_kib(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends the bytes and no more, and waits until the node has hung up.
fn send(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The node may hang up while it is being talked to.
    if stream.write_all(bytes).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// A frame of HTTP/2 (RFC 9113, section 4.1) whose type, flags, stream and content are anything.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), 0..12_u8, any::<u8>(), 0..4_u32, vec(any::<u8>(), 0..64)).prop_map(
        |(honest, kind, flags, stream, content)| {
            let length = if honest { u32::try_from(content.len()).unwrap() } else { 16_000 };
            [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), &content].concat()
        },
    )
}

#[test]
fn any_bytes_at_the_port_neither_end_a_node_nor_make_it_grow() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut node = Node::start(&single(&address, directory.path()), false);
    node.event("leader");
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..300),
        vec(frame(), 0..12).prop_map(|frames| [PREFACE, &frames.concat()].concat()),
    ];
    let batch = prop_oneof![
        vec(any::<u8>(), 0..200),
        // Lengths that claim almost everything.
        vec(any::<u8>(), 0..20).prop_map(|rest| [&[0xff; 9][..], &[1], &rest].concat()),
    ];
    let cases =
        std::env::var("LABRYS_MALFORMED_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200);
    let mut runner = TestRunner::deterministic();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = resident_kib(&node);
    for _ in 0..cases {
        send(&address, &bytes.new_tree(&mut runner).unwrap().current());
        let messages = batch.new_tree(&mut runner).unwrap().current().into();
        runtime.block_on(async {
            let mut peer = PeerClient::connect(format!("http://{address}")).await.unwrap();
            // Whatever it says to that: it says something.
            let mut request = tonic::Request::new(tokio_stream::once(MessageBatch { messages }));
            request.metadata_mut().insert("labrys-cluster", "joining".parse().unwrap());
            let _ = peer.deliver(request).await;
        });
    }
    runtime.block_on(async {
        let mut client = StoreClient::connect(vec![address.clone()], 0, ClientOptions::default()).unwrap();
        client.put("x", "1", PATIENCE).await.unwrap();
        assert_eq!(client.get("x", PATIENCE).await.unwrap().as_deref(), Some(&b"1"[..]));
        StatusClient::new(&address).unwrap().status(None, PATIENCE).await.unwrap();
    });
    let grown = resident_kib(&node).saturating_sub(before);
    assert!(grown < MAX_GROWTH_KIB, "the node has grown by {grown} KiB");
    assert_eq!(node.child.try_wait().unwrap(), None, "the node has ended");
}
