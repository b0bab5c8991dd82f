//! What a node does with its own files when its operator asks, and the hash by which nodes are compared.

use std::time::Instant;

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{Services, deadline};
use crate::api;
use crate::api::hash_at_revision_reply::Outcome;
use crate::machine::{Revision, RevisionProblem};

fn shutting_down() -> Status {
    Status::unavailable("the node is too busy or shutting down")
}

/// Waits for what a node does, no longer than the caller does.
async fn in_time<T>(metadata: &MetadataMap, work: impl Future<Output = Option<T>>) -> Result<T, Status> {
    let done = match deadline(metadata, Instant::now()) {
        None => work.await,
        Some(end) => tokio::time::timeout_at(end.into(), work).await.map_err(|_| {
            Status::deadline_exceeded("it takes longer than the caller waits; the node goes on with it")
        })?,
    };
    done.ok_or_else(shutting_down)
}

impl Services {
    pub(super) async fn take_snapshot(
        &self,
        request: Request<api::TakeSnapshotRequest>,
    ) -> Result<Response<api::TakeSnapshotReply>, Status> {
        let handle = &self.shared.node.handle;
        let index = in_time(request.metadata(), handle.take_snapshot()).await?;
        let status = handle.status(None).await.ok_or_else(shutting_down)?;
        let length_bytes = status.replica.snapshot_bytes;
        Ok(Response::new(api::TakeSnapshotReply { index: index.0, length_bytes }))
    }

    pub(super) async fn defragment(
        &self,
        request: Request<api::DefragmentRequest>,
    ) -> Result<Response<api::DefragmentReply>, Status> {
        let node = &self.shared.node;
        let log_bytes_before = node.disk.log_bytes();
        let work = async {
            let index = node.handle.take_snapshot().await?;
            node.disk.shrink().await.ok().map(|()| index)
        };
        let index = in_time(request.metadata(), work).await?;
        let log_bytes_after = node.disk.log_bytes();
        info!(
            event = "defragmented",
            node = node.id.0,
            log_bytes_before,
            log_bytes_after,
            "dropped what is not needed of the log"
        );
        let snapshot_index = index.0;
        Ok(Response::new(api::DefragmentReply { snapshot_index, log_bytes_before, log_bytes_after }))
    }

    pub(super) async fn hash_at_revision(
        &self,
        request: Request<api::HashAtRevisionRequest>,
    ) -> Result<Response<api::HashAtRevisionReply>, Status> {
        let handle = &self.shared.node.handle;
        let (metadata, _, message) = request.into_parts();
        let revision = Revision(message.revision);
        let work = async {
            let frozen = handle.frozen().await?;
            tokio::task::spawn_blocking(move || frozen.keys_hash(revision)).await.ok()
        };
        let outcome = match in_time(&metadata, work).await? {
            Ok(found) => Outcome::Ok(api::KeysHash { hash: found.hash, key_count: found.key_count }),
            Err(RevisionProblem::Compacted { first }) => Outcome::CompactedFirstRevision(first.0),
            Err(RevisionProblem::Future { current }) => Outcome::LatestRevision(current.0),
        };
        Ok(Response::new(api::HashAtRevisionReply { outcome: Some(outcome) }))
    }
}
