//! Any bytes at the port of a node, below and within gRPC: it neither ends nor grows, and goes on serving.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::{Buf, BufMut};
use common::PATIENCE;
use common::process::{Node, free_address, single};
use labrys_store::api::MessageBatch;
use labrys_store::api::peer_client::PeerClient;
use labrys_store::client::{ClientOptions, StatusClient, StoreClient};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// More than the allocator keeps back, far less than what the bytes claim as lengths.
const MAX_GROWTH_KIB: u64 = 64 * 1024;

/// How many cases of each kind; `LABRYS_MALFORMED_CASES` says another number.
fn cases() -> u32 {
    std::env::var("LABRYS_MALFORMED_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

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

/// The path of every method of every service.
fn methods() -> Vec<String> {
    let mut paths = Vec::new();
    for file in [include_str!("../proto/store.proto"), include_str!("../proto/data.proto")] {
        let mut service = "";
        for line in file.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.trim_end_matches([' ', '{']);
            } else if let Some((name, _)) = line.strip_prefix("rpc ").and_then(|rest| rest.split_once('(')) {
                paths.push(format!("/labrys.store.v1.{service}/{name}"));
            }
        }
    }
    assert!(paths.len() >= 12 && paths.iter().any(|path| path.ends_with("Admin/ChangeMembers")), "{paths:?}");
    paths
}

/// Messages that are any bytes, in both directions.
#[derive(Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = RawCodec;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> RawCodec {
        RawCodec
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Fields of a message, some of which fit the methods: low numbers, lengths that are true or not.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let field =
        (1..9_u8, prop::sample::select(vec![0_u8, 1, 2, 2, 2, 5]), any::<bool>(), vec(any::<u8>(), 0..24));
    let field = field.prop_map(|(number, kind, honest, content)| {
        let length = if honest { u8::try_from(content.len()).unwrap() } else { 0x7f };
        let head = if kind == 2 { vec![number << 3 | kind, length] } else { vec![number << 3 | kind] };
        [head, content].concat()
    });
    vec(field, 0..6).prop_map(|fields| fields.concat())
}

#[test]
fn any_message_to_any_method_neither_ends_a_node_nor_makes_it_grow() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut node = Node::start(&single(&address, directory.path()), false);
    node.event("leader");
    let before = resident_kib(&node);
    let mut runner = TestRunner::deterministic();
    let message = prop_oneof![4 => fields(), 1 => vec(any::<u8>(), 0..200)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut client = Grpc::new(channel);
        let mut answered = 0;
        for case in 0..cases() {
            for path in methods() {
                let mut request = Request::new(message.new_tree(&mut runner).unwrap().current());
                // A change of members may wait for a member that does not exist: the node ends the call.
                request.set_timeout(Duration::from_millis(200));
                client.ready().await.unwrap();
                let path = path.parse().unwrap();
                let reply = client.server_streaming(request, path, RawCodec).await;
                answered += u32::from(reply.is_ok());
            }
            assert_eq!(node.child.try_wait().unwrap(), None, "the node has ended in round {case}");
        }
        assert!(answered > 0, "some of it made sense");
        StatusClient::new(&address).unwrap().status(None, PATIENCE).await.unwrap();
    });
    let grown = resident_kib(&node).saturating_sub(before);
    assert!(grown < MAX_GROWTH_KIB, "the node has grown by {grown} KiB");
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
    let mut runner = TestRunner::deterministic();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = resident_kib(&node);
    for _ in 0..cases() {
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
