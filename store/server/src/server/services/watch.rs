//! Watches: one task each, which asks the node for what has changed since the revision that it has got to.
//!
//! Nothing is kept for a watcher but that revision and one batch on its way, so a slow one costs no memory, whatever happens.
//! What it costs is time: when the compaction of old revisions overtakes it, it is told so, with the first revision that is
//! still there, and that is the end of the watch.

use std::pin::Pin;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::answers::refused;
use super::{Declined, Services};
use crate::api::limits::check_query;
use crate::api::{self, RefusalCode, watch_reply};
use crate::machine::{Query, RangeQuery, Revision};

/// Most watches of a node at a time.
const MAX_WATCHES: usize = 1024;
/// Most bytes of keys and values in a batch, though at least one revision.
const BATCH_BYTES: usize = 256 * 1024;
/// Most revisions looked at for a batch.
const BATCH_REVISIONS: usize = 1024;
/// A watcher that is told of nothing is told how far it has got after so many revisions.
const PROGRESS_REVISIONS: u64 = 1024;

/// The replies.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<api::WatchReply, Status>> + Send>>;

/// Counts a watch as long as it lasts.
struct Counted(Services);

impl Counted {
    fn new(services: &Services) -> Option<Counted> {
        let watches = services.shared.watches.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(services.clone());
        (watches < MAX_WATCHES).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

fn reply(outcome: watch_reply::Outcome) -> Result<api::WatchReply, Status> {
    Ok(api::WatchReply { outcome: Some(outcome) })
}

impl Services {
    pub(super) fn start_watch(&self, request: api::WatchRequest) -> WatchStream {
        let range: RangeQuery = request.range.unwrap_or_default().into();
        let from = request.from_revision.map(Revision);
        let refusal = match check_query(&Query::Range { range: range.clone(), revision: None }) {
            Err(refused) => refused,
            Ok(_) => match Counted::new(self) {
                Some(counted) => {
                    // One batch waits at most, while the one before is being sent.
                    let (sender, replies) = mpsc::channel(1);
                    tokio::spawn(async move {
                        let last = counted.0.watch_until_its_end(from, range, &sender).await;
                        if let Some(last) = last {
                            let _ = sender.send(reply(last)).await;
                        }
                    });
                    return Box::pin(ReceiverStream::new(replies));
                }
                None => match refused(true, RefusalCode::Overloaded, "the node has too many watches") {
                    Declined::Refused(refused) => refused,
                    Declined::NotLeader(_) => unreachable!("a refusal was made"),
                },
            },
        };
        Box::pin(tokio_stream::once(reply(watch_reply::Outcome::Refused(refusal))))
    }

    /// Sends what changes; gives the last word, unless the watcher has gone.
    async fn watch_until_its_end(
        &self,
        asked: Option<Revision>,
        range: RangeQuery,
        sender: &mpsc::Sender<Result<api::WatchReply, Status>>,
    ) -> Option<watch_reply::Outcome> {
        let mut revisions = self.shared.node.handle.revisions();
        let ended = || {
            watch_reply::Outcome::Refused(api::Refused {
                definite: true,
                code: RefusalCode::ShuttingDown.into(),
                message: "the node is shutting down".to_owned(),
            })
        };
        let Some(mut next) = self.shared.node.handle.watch_from(asked).await else { return Some(ended()) };
        // Told at once where it begins, so that it can be resumed from there.
        let mut told = None;
        loop {
            revisions.borrow_and_update();
            let asking = self.shared.node.handle.changes(next, range.clone(), BATCH_REVISIONS, BATCH_BYTES);
            let batch = match asking.await {
                None => return Some(ended()),
                Some(Err(first)) => return Some(watch_reply::Outcome::CompactedFirstRevision(first.0)),
                Some(Ok(batch)) => batch,
            };
            let through = batch.through;
            let is_caught_up = through < next;
            let is_due =
                told.is_none_or(|told: Revision| through.0 >= told.0.saturating_add(PROGRESS_REVISIONS));
            if !batch.revisions.is_empty() || is_due {
                let revisions = batch.revisions.into_iter().map(Into::into).collect();
                let changes = api::WatchChanges { revisions, through_revision: through.0 };
                sender.send(reply(watch_reply::Outcome::Changes(changes))).await.ok()?;
                told = Some(through);
            }
            next = through.next();
            if is_caught_up {
                tokio::select! {
                    changed = revisions.changed() => if changed.is_err() { return Some(ended()) },
                    () = sender.closed() => return None,
                }
            }
        }
    }
}
