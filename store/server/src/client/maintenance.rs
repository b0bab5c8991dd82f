//! What one node does with its own files when its operator asks, and the hash by which nodes are compared.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tonic::{Request, Response, Status};

use super::transport::{AddressError, chain, endpoint};
use crate::api::admin_client::AdminClient;
use crate::api::{self, hash_at_revision_reply};
use crate::security::{SecureChannel, SecureEndpoint, Security};
use crate::server::failpoints::{Action, Point};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A snapshot is durable at the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotTaken {
    /// The last entry that it contains.
    pub index: u64,
    /// Its size in bytes.
    pub length_bytes: u64,
}

/// The log was made as small as it can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defragmented {
    /// The last entry in the snapshot that stands for what was dropped.
    pub snapshot_index: u64,
    /// The size of the log's files before, in bytes.
    pub log_bytes_before: u64,
    /// And after.
    pub log_bytes_after: u64,
    /// What was freed of them.
    pub freed_bytes: u64,
}

/// What a node says of its keys in a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashOutcome {
    /// This is their hash.
    Hash {
        /// 16 hexadecimal digits.
        hash: String,
        /// How many there are.
        key_count: u64,
    },
    /// It has forgotten that revision.
    Compacted {
        /// The first that it can read.
        first: u64,
    },
    /// It has not got there.
    Future {
        /// Where it is.
        latest: u64,
    },
}

/// The node could not be asked, or has not said that it is done.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{address}: {detail}")]
pub struct MaintenanceError {
    /// Whom.
    pub address: String,
    /// Why.
    pub detail: String,
}

/// A failpoint of a node: see [`crate::server::failpoints`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailpointStatus {
    /// Its name.
    pub name: String,
    /// What happens to whoever passes next.
    pub action: Option<String>,
    /// How often that will be; `None`: until it is cleared.
    pub times_left: Option<u64>,
    /// How often it was passed since the start of the process.
    pub passes: u64,
    /// How often the latest order about it took effect.
    pub struck: u64,
}

/// The failpoints of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailpointList {
    /// All that it has.
    pub failpoints: Vec<FailpointStatus>,
}

/// What is to be done with failpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailpointOrder {
    /// Nothing: they are listed.
    List,
    /// From now on this happens to whoever passes there.
    Set {
        /// Where.
        point: Point,
        /// What.
        action: Action,
        /// How often; `None`: until it is cleared.
        times: Option<u64>,
    },
    /// Nothing happens there any more.
    Clear {
        /// Where; `None`: anywhere.
        point: Option<Point>,
    },
}

impl From<FailpointOrder> for api::FailpointsRequest {
    fn from(order: FailpointOrder) -> api::FailpointsRequest {
        use api::failpoints_request::Order;
        let order = match order {
            FailpointOrder::List => None,
            FailpointOrder::Set { point, action, times } => Some(Order::Set(api::SetFailpoint {
                name: point.name().to_owned(),
                action: action.to_string(),
                times: times.unwrap_or(0),
            })),
            FailpointOrder::Clear { point } => {
                let name = point.map(|point| point.name().to_owned()).unwrap_or_default();
                Some(Order::Clear(api::ClearFailpoint { name }))
            }
        };
        api::FailpointsRequest { order }
    }
}

/// Asks one node.
pub struct MaintenanceClient {
    address: String,
    endpoint: SecureEndpoint,
}

impl MaintenanceClient {
    /// For the node at `address` (`host:port`). Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If the address makes no sense.
    pub fn new(address: &str, security: &Security) -> Result<MaintenanceClient, AddressError> {
        let endpoint = endpoint(address, CONNECT_TIMEOUT, security)?;
        Ok(MaintenanceClient { address: address.to_owned(), endpoint })
    }

    /// Has it take a snapshot of what it has applied; ends when that is durable.
    ///
    /// # Errors
    ///
    /// If it does not answer within `timeout`; it may go on with it.
    pub async fn take_snapshot(&self, timeout: Duration) -> Result<SnapshotTaken, MaintenanceError> {
        let message = api::TakeSnapshotRequest {};
        let reply = self.ask(timeout, message, async |mut link, request| link.take_snapshot(request).await);
        let api::TakeSnapshotReply { index, length_bytes } = reply.await?;
        Ok(SnapshotTaken { index, length_bytes })
    }

    /// Has it take a snapshot and drop what that makes superfluous of its log.
    ///
    /// # Errors
    ///
    /// As [`MaintenanceClient::take_snapshot`].
    pub async fn defragment(&self, timeout: Duration) -> Result<Defragmented, MaintenanceError> {
        let message = api::DefragmentRequest {};
        let reply = self.ask(timeout, message, async |mut link, request| link.defragment(request).await);
        let api::DefragmentReply { snapshot_index, log_bytes_before, log_bytes_after } = reply.await?;
        let freed_bytes = log_bytes_before.saturating_sub(log_bytes_after);
        Ok(Defragmented { snapshot_index, log_bytes_before, log_bytes_after, freed_bytes })
    }

    /// The hash of its keys in a revision.
    ///
    /// # Errors
    ///
    /// If it does not answer within `timeout`.
    pub async fn hash_at_revision(
        &self,
        revision: u64,
        timeout: Duration,
    ) -> Result<HashOutcome, MaintenanceError> {
        use hash_at_revision_reply::Outcome;
        let message = api::HashAtRevisionRequest { revision };
        let reply =
            self.ask(timeout, message, async |mut link, request| link.hash_at_revision(request).await);
        match reply.await?.outcome {
            Some(Outcome::Ok(api::KeysHash { hash, key_count })) => {
                Ok(HashOutcome::Hash { hash: format!("{hash:016x}"), key_count })
            }
            Some(Outcome::CompactedFirstRevision(first)) => Ok(HashOutcome::Compacted { first }),
            Some(Outcome::LatestRevision(latest)) => Ok(HashOutcome::Future { latest }),
            None => Err(self.failed("the reply has no outcome".to_owned())),
        }
    }

    /// Carries out an order about its failpoints, and lists them.
    ///
    /// # Errors
    ///
    /// If it was not started to take such orders, does not know the point or the action, or does not answer within `timeout`.
    pub async fn failpoints(
        &self,
        order: FailpointOrder,
        timeout: Duration,
    ) -> Result<FailpointList, MaintenanceError> {
        let message = api::FailpointsRequest::from(order);
        let reply = self.ask(timeout, message, async |mut link, request| link.failpoints(request).await);
        let status = |point: api::Failpoint| FailpointStatus {
            times_left: Some(point.times_left).filter(|times| *times > 0),
            action: Some(point.action).filter(|action| !action.is_empty()),
            name: point.name,
            passes: point.passes,
            struck: point.struck,
        };
        let failpoints = reply.await?.failpoints.into_iter().map(status).collect();
        Ok(FailpointList { failpoints })
    }

    fn failed(&self, detail: String) -> MaintenanceError {
        MaintenanceError { address: self.address.clone(), detail }
    }

    /// Sends one request, and waits for its reply until `timeout`.
    async fn ask<M, R>(
        &self,
        timeout: Duration,
        message: M,
        send: impl AsyncFnOnce(AdminClient<SecureChannel>, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, MaintenanceError> {
        let asked = async {
            let channel = self.endpoint.connect().await.map_err(|error| chain(&error))?;
            let mut request = Request::new(message);
            request.set_timeout(timeout);
            let reply = send(AdminClient::new(channel), request).await;
            reply.map(Response::into_inner).map_err(|status| chain(&status))
        };
        match tokio::time::timeout(timeout, asked).await {
            Ok(result) => result.map_err(|detail| self.failed(detail)),
            Err(_) => Err(self.failed("no answer in time".to_owned())),
        }
    }
}
