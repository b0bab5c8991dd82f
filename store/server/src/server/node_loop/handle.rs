//! The far end of the loop's queue: what services, links and the other threads hold.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use labrys_raft::{LogIndex, Message};
use tokio::sync::{oneshot, watch};

use super::LoopStatus;
use crate::api::RefusalCode;
use crate::machine::{ChangeBatch, MachineSnapshot, RangeQuery, Revision};
use crate::server::health::LeaderKnown;
use crate::server::limits::Admitted;
use crate::server::replica::{Answer, ClientRequest, SnapshotEvent};

/// How long a watch waits that finds the queue full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

pub(super) enum LoopInput {
    Client { request: ClientRequest, deadline: Option<Instant>, reply: Reply },
    Peer(Vec<Message>),
    Status { digest_at_index: Option<LogIndex>, reply: oneshot::Sender<LoopStatus> },
    WatchFrom { asked: Option<Revision>, reply: oneshot::Sender<Revision> },
    Changes(AskedChanges),
    Snapshot(SnapshotEvent),
    TakeSnapshot { reply: oneshot::Sender<LogIndex> },
    Frozen { reply: oneshot::Sender<MachineSnapshot> },
    Wake,
    Stop,
}

/// Where an answer goes. What was taken on for the request is given back when it is dropped: when the request is answered, or
/// refused, and not before, also if the client has hung up and what it wants waits for a majority.
pub(super) struct Reply {
    answer: oneshot::Sender<Answer>,
    admitted: Admitted,
}

impl Reply {
    /// Whether nobody waits for an answer any more.
    pub(super) fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }

    /// Answers, if somebody waits.
    pub(super) fn send(self, answer: Answer) {
        drop(self.admitted);
        let _ = self.answer.send(answer);
    }
}

pub(super) struct AskedChanges {
    pub(super) from: Revision,
    pub(super) range: RangeQuery,
    pub(super) max_revisions: usize,
    pub(super) max_bytes: usize,
    pub(super) reply: oneshot::Sender<Result<ChangeBatch, Revision>>,
}

/// The far end of the queue: what services, links and the disk thread hold.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) queue: SyncSender<LoopInput>,
    pub(super) revisions: watch::Receiver<Revision>,
    pub(super) leader_known: LeaderKnown,
    pub(super) snapshot_index: watch::Receiver<LogIndex>,
}

impl NodeHandle {
    /// Hands a request over and waits for its answer. A request whose deadline has passed when the loop comes to it is not
    /// proposed.
    pub async fn request(
        &self,
        request: ClientRequest,
        deadline: Option<Instant>,
        admitted: Admitted,
    ) -> Answer {
        let (sender, answer) = oneshot::channel();
        let reply = Reply { answer: sender, admitted };
        match self.queue.try_send(LoopInput::Client { request, deadline, reply }) {
            Ok(()) => answer.await.unwrap_or(Answer::Refused {
                definite: false,
                code: RefusalCode::ShuttingDown,
                message: "the node shut down while the request waited",
            }),
            Err(TrySendError::Full(_)) => Answer::Refused {
                definite: true,
                code: RefusalCode::Overloaded,
                message: "the node's queue is full",
            },
            Err(TrySendError::Disconnected(_)) => Answer::Refused {
                definite: true,
                code: RefusalCode::ShuttingDown,
                message: "the node is shutting down",
            },
        }
    }

    /// Hands messages of a peer over, or drops them. False: the node is shutting down.
    #[must_use]
    pub fn deliver(&self, messages: Vec<Message>) -> bool {
        !matches!(self.queue.try_send(LoopInput::Peer(messages)), Err(TrySendError::Disconnected(_)))
    }

    /// A look at the node; `None` if it is too busy or shutting down.
    pub async fn status(&self, digest_at_index: Option<LogIndex>) -> Option<LoopStatus> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(LoopInput::Status { digest_at_index, reply }).ok()?;
        answer.await.ok()
    }

    /// The latest revision applied, as it grows. Closed when the loop has ended.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revisions.clone()
    }

    /// Whether a leader is known. Closed when the loop has ended.
    #[must_use]
    pub fn leader_known(&self) -> LeaderKnown {
        self.leader_known.clone()
    }

    /// Where a watch begins; `None` if the node is shutting down.
    pub async fn watch_from(&self, asked: Option<Revision>) -> Option<Revision> {
        self.ask(|reply| LoopInput::WatchFrom { asked, reply }).await
    }

    /// What has changed since a revision, see [`Replica::changes`](crate::server::replica::Replica::changes); `None` if the node is shutting down.
    pub async fn changes(
        &self,
        from: Revision,
        range: RangeQuery,
        max_revisions: usize,
        max_bytes: usize,
    ) -> Option<Result<ChangeBatch, Revision>> {
        let asked = |reply| AskedChanges { from, range: range.clone(), max_revisions, max_bytes, reply };
        self.ask(|reply| LoopInput::Changes(asked(reply))).await
    }

    /// The state as it is now; `None` if the node is shutting down.
    pub async fn frozen(&self) -> Option<MachineSnapshot> {
        self.ask(|reply| LoopInput::Frozen { reply }).await
    }

    /// Has a snapshot taken of everything that is applied now; gives the index of the newest one when that is durable, or `None` if
    /// the node is shutting down.
    pub async fn take_snapshot(&self) -> Option<LogIndex> {
        let wanted = self.ask(|reply| LoopInput::TakeSnapshot { reply }).await?;
        let mut durable = self.snapshot_index.clone();
        durable.wait_for(|index| *index >= wanted).await.ok().map(|index| *index)
    }

    /// Asks for something that can wait: while the queue is full, again after a moment.
    async fn ask<T>(&self, input: impl Fn(oneshot::Sender<T>) -> LoopInput) -> Option<T> {
        loop {
            let (reply, answer) = oneshot::channel();
            match self.queue.try_send(input(reply)) {
                Ok(()) => return answer.await.ok(),
                Err(TrySendError::Full(_)) => tokio::time::sleep(FULL_QUEUE_PAUSE).await,
                Err(TrySendError::Disconnected(_)) => return None,
            }
        }
    }

    /// Tells the loop what came of something done with snapshot files; waits until there is room.
    pub(in crate::server) fn snapshot_event(&self, event: SnapshotEvent) {
        let _ = self.queue.send(LoopInput::Snapshot(event));
    }

    /// Makes the loop look at what is durable. If the queue is full, it is awake anyway.
    pub(in crate::server) fn wake(&self) {
        let _ = self.queue.try_send(LoopInput::Wake);
    }

    /// Ends the loop, after what waits already.
    pub(in crate::server) fn stop(&self) {
        let _ = self.queue.send(LoopInput::Stop);
    }
}
