//! Watching keys, over lost connections and from node to node.
//!
//! A watch always knows the revision up to which it has seen everything, and resumes after it. It hides nothing: what a node sends
//! is handed on as it comes, so that a node which repeats or leaves out something is found out.

use std::time::{Duration, Instant};

use thiserror::Error;
use tonic::Streaming;

use super::transport::{AddressError, chain, data_client, endpoint};
use crate::api::{self, watch_reply};
use crate::machine::{RangeQuery, Revision, RevisionChanges};
use crate::security::{SecureEndpoint, Security};

/// The first pause after a node did not answer, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A revision has changed something.
    Changes(RevisionChanges),
    /// Nothing of interest has changed up to and including this revision.
    Through(Revision),
}

/// Why a watch told nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WatchEnd {
    /// What comes next is compacted. The watch goes on if it is told to [`Watch::skip_to`] what is still there.
    #[error("the revisions up to {} are compacted", first.0.saturating_sub(1))]
    Compacted {
        /// The first revision that can be watched.
        first: Revision,
    },
    /// The node refuses such a watch.
    #[error("the watch is refused: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
    /// Nothing came in time. The watch goes on with the next call.
    #[error("nothing came in time (last: {detail})")]
    Timeout {
        /// What went wrong last, if anything did.
        detail: String,
    },
}

/// A watch.
pub struct Watch {
    endpoints: Vec<SecureEndpoint>,
    node: usize,
    range: RangeQuery,
    /// The next revision that is wanted; `None`: whatever comes next, as the first node sees it.
    next: Option<Revision>,
    stream: Option<Streaming<api::WatchReply>>,
    waiting: std::collections::VecDeque<RevisionChanges>,
    through: Option<Revision>,
    pause: Duration,
}

impl Watch {
    /// A watch of the keys in `range` at the nodes at `nodes`, number `preferred` first, from a revision on or from now on.
    pub fn new(
        nodes: &[String],
        preferred: usize,
        range: RangeQuery,
        from: Option<Revision>,
    ) -> Result<Watch, AddressError> {
        Watch::with_security(nodes, preferred, range, from, &Security::default())
    }

    /// The same, with TLS and the token.
    pub fn with_security(
        nodes: &[String],
        preferred: usize,
        range: RangeQuery,
        from: Option<Revision>,
        security: &Security,
    ) -> Result<Watch, AddressError> {
        if nodes.is_empty() {
            let detail = "the list of nodes is empty".to_owned();
            return Err(AddressError { address: String::new(), detail });
        }
        let connect_timeout = Duration::from_millis(300);
        let endpoints = nodes
            .iter()
            .map(|node| endpoint(node, connect_timeout, security))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Watch {
            node: preferred % endpoints.len(),
            endpoints,
            range,
            next: from,
            stream: None,
            waiting: std::collections::VecDeque::new(),
            through: None,
            pause: PAUSES[0],
        })
    }

    /// The next revision that is wanted; `None`: not known yet.
    #[must_use]
    pub fn next_revision(&self) -> Option<Revision> {
        self.next
    }

    /// Whether a node is being listened to, as far as is known.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Leaves out what comes before `revision`.
    pub fn skip_to(&mut self, revision: Revision) {
        self.disconnect();
        self.next = Some(revision);
    }

    /// Drops the connection; the next call resumes, at the next node.
    pub fn disconnect(&mut self) {
        self.stream = None;
        self.waiting.clear();
        self.through = None;
        self.node = (self.node + 1) % self.endpoints.len();
    }

    /// What comes next, within `timeout`. May be dropped half-way without loss.
    ///
    /// # Errors
    ///
    /// See [`WatchEnd`].
    pub async fn next(&mut self, timeout: Duration) -> Result<WatchEvent, WatchEnd> {
        let deadline = Instant::now() + timeout;
        let mut detail = "none".to_owned();
        loop {
            if let Some(changes) = self.waiting.pop_front() {
                self.next = Some(changes.revision.next());
                return Ok(WatchEvent::Changes(changes));
            }
            if let Some(through) = self.through.take() {
                self.next = Some(through.next());
                return Ok(WatchEvent::Through(through));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.receive()).await {
                Err(_) => return Err(WatchEnd::Timeout { detail }),
                Ok(Ok(())) => self.pause = PAUSES[0],
                Ok(Err(Lost::End(end))) => {
                    self.disconnect();
                    return Err(end);
                }
                Ok(Err(Lost::Connection(lost))) => {
                    self.disconnect();
                    detail = lost;
                    let left = deadline.saturating_duration_since(Instant::now());
                    tokio::time::sleep(self.pause.min(left)).await;
                    self.pause = (self.pause * 2).min(PAUSES[1]);
                }
            }
        }
    }

    /// Takes one message in.
    async fn receive(&mut self) -> Result<(), Lost> {
        let lost = |error: &dyn std::error::Error| Lost::Connection(chain(error));
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => {
                let channel = self.endpoints[self.node].connect().await.map_err(|error| lost(&error))?;
                let request = api::WatchRequest {
                    from_revision: self.next.map(|revision| revision.0),
                    range: Some(self.range.clone().into()),
                };
                let reply = data_client(channel).watch(request).await.map_err(|status| lost(&status))?;
                empty.insert(reply.into_inner())
            }
        };
        let message = stream.message().await.map_err(|status| lost(&status))?;
        let message = message.ok_or_else(|| Lost::Connection("the node ended the watch".to_owned()))?;
        match message.outcome {
            Some(watch_reply::Outcome::Changes(changes)) => {
                self.waiting.extend(changes.revisions.into_iter().map(RevisionChanges::from));
                self.through = Some(Revision(changes.through_revision));
                Ok(())
            }
            Some(watch_reply::Outcome::CompactedFirstRevision(first)) => {
                Err(Lost::End(WatchEnd::Compacted { first: Revision(first) }))
            }
            Some(watch_reply::Outcome::Refused(refused)) => match refused.code() {
                api::RefusalCode::ShuttingDown | api::RefusalCode::Overloaded => {
                    Err(Lost::Connection(refused.message))
                }
                _ => Err(Lost::End(WatchEnd::Refused { detail: refused.message })),
            },
            None => Err(Lost::Connection("the node sent an empty message".to_owned())),
        }
    }
}

/// Why no message came.
enum Lost {
    Connection(String),
    End(WatchEnd),
}
