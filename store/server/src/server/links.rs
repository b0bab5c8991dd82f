//! Messages to the peers: one task, one bounded queue and one gRPC stream per peer.
//!
//! Raft tolerates loss, so nothing is kept for later: a full queue drops, and what had waited while there was no connection
//! is dropped when there is one. What matters is that a link comes back soon after a partition heals. TCP alone does not see
//! to that: its retransmissions back off to many seconds. So HTTP/2 pings find out within about a second that nothing comes
//! through, the connection is given up, and new ones are tried several times a second, each with a short time limit.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use labrys_raft::{Message, MessageBody, NodeId, Payload};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tracing::{debug, warn};

use super::cluster::{Belonging, Claim};
use crate::api::MessageBatch;
use crate::api::peer_client::PeerClient;
use crate::client::transport::chain;
use crate::security::{SecureChannel, SecureEndpoint, tls};

/// Most messages that wait for one peer.
const QUEUE_MESSAGES: usize = 1024;
/// Most messages in one batch.
const BATCH_MESSAGES: usize = 256;
/// A batch is closed when it holds this much.
const BATCH_BYTES: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause before another try to connect: it doubles with each that fails, up to the longest, and is shortened at random by up to a
/// half, so that not all nodes call one that returns at the same moment.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// HTTP/2 windows that a few batches fit into.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// The near end of the way to a peer.
#[derive(Clone, Debug)]
pub struct Link {
    queue: mpsc::Sender<Message>,
}

impl Link {
    /// How many messages wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Hands a message over, or drops it.
    pub fn send(&self, message: Message) {
        if let Err(mpsc::error::TrySendError::Full(message)) = self.queue.try_send(message) {
            debug!(to = message.to.0, "the queue to a peer is full; a message is dropped");
        }
    }
}

/// Names the sender of a stream of messages, and says where it is reached.
const NODE_HEADER: &str = "labrys-node";
const ADDRESS_HEADER: &str = "labrys-address";
/// To which cluster it belongs: a [`Claim`].
const CLUSTER_HEADER: &str = "labrys-cluster";
/// Most bytes of an address.
const MAX_ADDRESS_BYTES: usize = 256;

/// Who a node is and where it is reached, as it introduces itself to its peers.
#[derive(Clone)]
pub struct Introduction {
    /// Its id.
    pub node: NodeId,
    /// Its address.
    pub address: String,
    /// Its cluster.
    pub belonging: Arc<Belonging>,
}

/// What the sender of a stream said about itself, if that makes sense.
#[must_use]
pub fn introduction(metadata: &MetadataMap) -> Option<(NodeId, String)> {
    let text = |name| metadata.get(name)?.to_str().ok();
    let node = text(NODE_HEADER)?.parse().ok().map(NodeId)?;
    let address = text(ADDRESS_HEADER)?;
    (node.0 != 0 && address.len() <= MAX_ADDRESS_BYTES).then(|| (node, address.to_owned()))
}

/// What the sender of a stream said of its cluster, if that makes sense.
#[must_use]
pub fn claim(metadata: &MetadataMap) -> Option<Claim> {
    Claim::parse(metadata.get(CLUSTER_HEADER)?.to_str().ok()?)
}

/// Starts the task for one peer on the current runtime. It ends when the link is dropped.
#[must_use]
pub fn start(peer: NodeId, endpoint: SecureEndpoint, own: Introduction) -> Link {
    let (queue, waiting) = mpsc::channel(QUEUE_MESSAGES);
    let endpoint = endpoint.map(|endpoint| {
        endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
    });
    tokio::spawn(run(peer, endpoint, own, waiting));
    Link { queue }
}

async fn run(
    peer: NodeId,
    endpoint: SecureEndpoint,
    own: Introduction,
    mut waiting: mpsc::Receiver<Message>,
) {
    let mut complaint = String::new();
    let mut pause = FIRST_PAUSE;
    loop {
        match endpoint.connect().await {
            Ok(channel) => {
                // What waited is old: the core sends anew what still matters.
                while waiting.try_recv().is_ok() {}
                debug!(peer = peer.0, "connected to a peer");
                let connected = tokio::time::Instant::now();
                match forward(PeerClient::new(channel), &own, &mut waiting).await {
                    ControlFlow::Break(()) => return,
                    ControlFlow::Continue(Some(status)) => complain(peer, &status, &mut complaint),
                    ControlFlow::Continue(None) => {}
                }
                debug!(peer = peer.0, "lost the connection to a peer");
                // One that refuses this node hangs up at once.
                if connected.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
            }
            Err(error) => complain(peer, &error, &mut complaint),
        }
        if waiting.is_closed() {
            return;
        }
        tokio::time::sleep(shortened(pause, RandomState::new().build_hasher().finish())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between a half of `pause` and all of it.
fn shortened(pause: Duration, random: u64) -> Duration {
    let parts = u32::try_from(random % 1024).unwrap_or_default();
    pause / 2 + pause / 2 * parts / 1023
}

/// A peer that is there and will not talk to this node is worth a line, one for each reason. One that is not there is not.
fn complain(peer: NodeId, error: &(dyn std::error::Error + 'static), last: &mut String) {
    let is_refusal = error
        .downcast_ref::<Status>()
        .is_some_and(|status| matches!(status.code(), Code::Unauthenticated | Code::FailedPrecondition));
    let text = chain(error);
    if (is_refusal || tls::hint(&text).is_some()) && text != *last {
        warn!(
            event = "peer_refused",
            peer = peer.0,
            error = text,
            "a peer and this node refuse to talk to each other"
        );
        *last = text;
    }
}

/// Forwards messages until the connection ends, for the reason given if there is one, or the node does.
async fn forward(
    mut client: PeerClient<SecureChannel>,
    own: &Introduction,
    waiting: &mut mpsc::Receiver<Message>,
) -> ControlFlow<(), Option<Status>> {
    let (batches, stream) = mpsc::channel(4);
    let mut request = tonic::Request::new(ReceiverStream::new(stream));
    let headers = [
        (NODE_HEADER, own.node.to_string()),
        (ADDRESS_HEADER, own.address.clone()),
        (CLUSTER_HEADER, own.belonging.claim().to_string()),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            request.metadata_mut().insert(name, value);
        }
    }
    let call = client.deliver(request);
    tokio::pin!(call);
    let mut messages = Vec::new();
    loop {
        tokio::select! {
            result = &mut call => return ControlFlow::Continue(result.err()),
            count = waiting.recv_many(&mut messages, BATCH_MESSAGES) => {
                if count == 0 {
                    return ControlFlow::Break(());
                }
            }
        }
        for batch in encode(&mut messages) {
            tokio::select! {
                result = &mut call => return ControlFlow::Continue(result.err()),
                sent = batches.send(batch) => {
                    if sent.is_err() {
                        return ControlFlow::Continue(call.await.err());
                    }
                }
            }
        }
    }
}

fn size_bytes(message: &Message) -> usize {
    let payload = |payload: &Payload| match payload {
        Payload::Noop => 0,
        Payload::Command(bytes) => bytes.len(),
        Payload::Membership(membership) => 64 * membership.members().len(),
    };
    match &message.body {
        MessageBody::Append { entries, .. } => entries.iter().map(|entry| 32 + payload(&entry.payload)).sum(),
        MessageBody::InstallSnapshot { data, .. } => 256 + data.len(),
        _ => 32,
    }
}

/// Takes all messages, in order, into batches of bounded size.
fn encode(messages: &mut Vec<Message>) -> Vec<MessageBatch> {
    let mut batches = Vec::new();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    for message in messages.drain(..) {
        let bytes = size_bytes(&message);
        if group_bytes + bytes > BATCH_BYTES && !group.is_empty() {
            batches.extend(encode_group(&group));
            group.clear();
            group_bytes = 0;
        }
        group_bytes += bytes;
        group.push(message);
    }
    batches.extend(encode_group(&group));
    batches
}

fn encode_group(group: &[Message]) -> Option<MessageBatch> {
    match postcard::to_stdvec(group) {
        Ok(bytes) => Some(MessageBatch { messages: bytes.into() }),
        Err(error) => {
            warn!(%error, "messages to a peer cannot be encoded and are dropped");
            None
        }
    }
}

/// The messages of a batch.
pub fn decode(batch: &MessageBatch) -> Result<Vec<Message>, postcard::Error> {
    postcard::from_bytes(&batch.messages)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use labrys_raft::{Entry, LogIndex, Term};

    use super::*;

    fn append(index: u64, size_bytes: usize) -> Message {
        let payload = Payload::Command(Bytes::from(vec![1; size_bytes]));
        let body = MessageBody::Append {
            prev_index: LogIndex(index - 1),
            prev_term: Term(1),
            entries: vec![Entry { term: Term(1), index: LogIndex(index), payload }],
            commit: LogIndex(0),
            round: 3,
        };
        Message { from: NodeId(1), to: NodeId(2), term: Term(1), body }
    }

    #[test]
    fn pauses_are_shortened_by_no_more_than_a_half() {
        let shortest = shortened(LONGEST_PAUSE, 0);
        assert_eq!((shortest, shortened(LONGEST_PAUSE, 1023)), (LONGEST_PAUSE / 2, LONGEST_PAUSE));
        assert!(
            (0..5000).all(|random| (shortest..=LONGEST_PAUSE).contains(&shortened(LONGEST_PAUSE, random)))
        );
    }

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let messages: Vec<Message> = (1..=10).map(|index| append(index, 300_000)).collect();
        let batches = encode(&mut messages.clone());
        assert!(batches.len() >= 3);
        assert!(batches.iter().all(|batch| batch.messages.len() < BATCH_BYTES + 1000));
        let decoded: Vec<Message> = batches.iter().flat_map(|batch| decode(batch).unwrap()).collect();
        assert_eq!(decoded, messages);
    }

    #[test]
    fn bytes_that_are_no_messages_are_an_error() {
        for bytes in [&b"\xff\xff\xff\xff\xff\xff"[..], &[5, 1, 2], &[0xff; 300]] {
            assert!(decode(&MessageBatch { messages: Bytes::copy_from_slice(bytes) }).is_err());
        }
    }
}
