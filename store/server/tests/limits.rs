//! What is too much is refused, and was never done; everything else was done.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Cluster, PATIENCE};
use labrys_store::api::data_client::DataClient;
use labrys_store::api::kv_client::KvClient;
use labrys_store::api::put_reply::Outcome;
use labrys_store::api::{
    PutRequest, RefusalCode, SessionRequest, Step, Transaction, WriteRequest, write_request,
};
use labrys_store::client::AttemptError;
use labrys_store::server::Limits;
use tokio::io::AsyncReadExt;
use tonic::transport::Channel;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

/// A put in a session of its own, sent once.
async fn put(channel: &Channel, number: u64, value_bytes: usize) -> Outcome {
    let session_id = Bytes::copy_from_slice(&u128::from(number).to_be_bytes());
    let request = PutRequest {
        request_id: number,
        session: Some(SessionRequest { session_id, sequence: 1, established: false }),
        key: Bytes::from(format!("{number}")),
        value: Bytes::from(vec![7; value_bytes]),
    };
    let reply = KvClient::new(channel.clone()).put(request).await.unwrap().into_inner();
    assert_eq!(reply.request_id, number);
    reply.outcome.unwrap()
}

/// Puts waves of values at once until some were refused and some were not; then looks at what has become of each.
fn overload(limits: Limits, value_bytes: usize, words: &str) {
    block_on(async {
        let cluster = Cluster::start_adjusted(1, move |options| options.limits = limits);
        cluster.leader().await;
        let before = cluster.settled().await[0].last_index;
        let channel = Channel::from_shared(format!("http://{}", cluster.addresses()[0])).unwrap();
        let channel = channel.connect().await.unwrap();
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + PATIENCE;
        let mut next = 1;
        while done.is_empty() || refused.is_empty() {
            assert!(Instant::now() < deadline, "{} done, {} refused", done.len(), refused.len());
            let wave: Vec<_> = (next..next + 32)
                .map(|number| {
                    let channel = channel.clone();
                    tokio::spawn(async move { (number, put(&channel, number, value_bytes).await) })
                })
                .collect();
            next += 32;
            for attempt in wave {
                match attempt.await.unwrap() {
                    (number, Outcome::Ok(_)) => done.push(number),
                    (number, Outcome::Refused(refusal)) => {
                        assert_eq!((refusal.definite, refusal.code()), (true, RefusalCode::Overloaded));
                        assert!(refusal.message.contains(words), "{}", refusal.message);
                        refused.push(number);
                    }
                    (number, other) => panic!("{number}: {other:?}"),
                }
            }
        }
        let status = &cluster.settled().await[0];
        assert_eq!(status.last_index - before, done.len() as u64, "one entry for each that was done");
        let mut client = cluster.client(0);
        for (numbers, exists) in [(done, true), (refused, false)] {
            for number in numbers {
                let value = client.get(format!("{number}"), PATIENCE).await.unwrap();
                assert_eq!(value.is_some(), exists, "{number}");
            }
        }
    });
}

#[test]
fn more_requests_than_may_be_under_way_are_refused_and_never_done() {
    overload(Limits { inflight_requests: 2, ..Limits::default() }, 1, "limit of 2 requests");
}

#[test]
fn more_bytes_than_may_be_under_way_are_refused_and_never_done() {
    overload(Limits { inflight_bytes: 100_000, ..Limits::default() }, 60_000, "of 100000 bytes");
}

#[test]
fn a_request_that_is_too_large_is_definitely_refused_whatever_its_kind() {
    block_on(async {
        let limits = Limits { request_bytes: 10_000, ..Limits::default() };
        let cluster = Cluster::start_adjusted(1, move |options| options.limits = limits);
        cluster.leader().await;
        let before = cluster.settled().await[0].last_index;
        let mut client = cluster.client(0);
        let error = client.put("large", vec![1; 10_001], PATIENCE).await.unwrap_err();
        assert_eq!(
            (error.error, error.definite, error.attempts),
            (AttemptError::TooLarge, true, 1),
            "{error}"
        );
        assert!(error.detail.contains("--max-request-bytes") && error.detail.contains("10000"), "{error}");
        let error = client.get(vec![b'x'; 10_001], PATIENCE).await.unwrap_err();
        assert_eq!(error.error, AttemptError::TooLarge, "{error}");
        let channel = Channel::from_shared(format!("http://{}", cluster.addresses()[0])).unwrap();
        let mut link = KvClient::new(channel.connect().await.unwrap());
        let request = PutRequest { value: vec![1; 10_001].into(), ..PutRequest::default() };
        let status = link.put(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
        assert_eq!(cluster.settled().await[0].last_index, before);
        client.put("small", vec![1; 9_000], PATIENCE).await.unwrap();
        assert_eq!(client.get("large", Duration::from_secs(5)).await.unwrap(), None);
    });
}

#[test]
fn a_request_of_very_many_empty_steps_is_refused_before_it_is_decoded() {
    block_on(async {
        let cluster = Cluster::start(1);
        cluster.leader().await;
        let channel = Channel::from_shared(format!("http://{}", cluster.addresses()[0])).unwrap();
        let mut link = DataClient::new(channel.connect().await.unwrap());
        let then = vec![Step::default(); 100_000];
        let operation =
            Some(write_request::Operation::Transaction(Transaction { then, ..Default::default() }));
        let request = WriteRequest { request_id: 1, operation, ..WriteRequest::default() };
        let status = link.write(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
        assert_eq!(status.metadata().get("labrys-refusal").unwrap(), "too-large");
        cluster.client(0).put("x", "1", PATIENCE).await.unwrap();
    });
}

#[test]
fn a_connection_beyond_the_limit_is_closed_at_once_and_its_place_is_free_when_another_ends() {
    block_on(async {
        let limits = Limits { connections: 2, ..Limits::default() };
        let cluster = Cluster::start_adjusted(1, move |options| options.limits = limits);
        let address = &cluster.addresses()[0];
        let connect = || async { tokio::net::TcpStream::connect(address).await.unwrap() };
        let is_open = |mut stream: tokio::net::TcpStream| async move {
            // A node says its settings first (RFC 9113, section 3.4).
            let read = stream.read(&mut [0]).await.unwrap_or(0);
            (read > 0).then_some(stream)
        };
        let deadline = Instant::now() + PATIENCE;
        let (first, second) =
            (is_open(connect().await).await.unwrap(), is_open(connect().await).await.unwrap());
        assert!(is_open(connect().await).await.is_none(), "a third one");
        drop(first);
        while is_open(connect().await).await.is_none() {
            assert!(Instant::now() < deadline, "the place is not given back");
        }
        drop(second);
    });
}
