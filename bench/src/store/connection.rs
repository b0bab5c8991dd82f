//! [`Connection`]: one client's connection to one node of either system, over the same gRPC library.
//!
//! No client library is measured: no retries, no looking for the leader. Both systems get the same load from the same code.

use std::time::Duration;

use bytes::Bytes;
use labrys_store::api::{self, kv_client::KvClient, put_reply};
use thiserror::Error;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::system::System;

#[allow(missing_docs, clippy::all, clippy::iter_over_hash_type)]
pub(super) mod etcd {
    tonic::include_proto!("etcdserverpb");
}

use etcd::kv_client::KvClient as EtcdKvClient;
use etcd::maintenance_client::MaintenanceClient;

/// A request was not carried out.
#[derive(Debug, Error)]
pub(super) enum RequestError {
    /// The connection or the node failed.
    #[error("{0}")]
    Transport(String),
    /// The node said no.
    #[error("refused: {0}")]
    Refused(String),
}

impl From<Status> for RequestError {
    fn from(status: Status) -> RequestError {
        RequestError::Transport(status.to_string())
    }
}

/// Where a client of the reference store is in its session.
#[derive(Debug)]
pub(super) struct Session {
    id: Bytes,
    sequence: u64,
}

/// A client's connection.
pub(super) enum Connection {
    /// To a node of the reference store.
    Store(KvClient<Channel>, Session),
    /// To a node of etcd.
    Etcd(EtcdKvClient<Channel>),
}

impl Connection {
    /// Opens one; `client` is unique in the life of the cluster.
    pub async fn open(system: System, address: &str, client: u128) -> Result<Connection, RequestError> {
        let channel = channel(address).await?;
        Ok(match system {
            System::LabrysStore => {
                let session = Session { id: Bytes::copy_from_slice(&client.to_be_bytes()), sequence: 0 };
                Connection::Store(KvClient::new(channel), session)
            }
            System::Etcd => Connection::Etcd(EtcdKvClient::new(channel)),
        })
    }

    /// A replicated, durable write.
    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), RequestError> {
        match self {
            Connection::Store(client, session) => {
                session.sequence += 1;
                let placement = api::SessionRequest {
                    session_id: session.id.clone(),
                    sequence: session.sequence,
                    established: session.sequence > 1,
                };
                let request =
                    api::PutRequest { session: Some(placement), key, value, ..api::PutRequest::default() };
                match client.put(request).await?.into_inner().outcome {
                    Some(put_reply::Outcome::Ok(_)) => Ok(()),
                    other => Err(RequestError::Refused(format!("{other:?}"))),
                }
            }
            Connection::Etcd(client) => {
                client.put(etcd::PutRequest { key, value }).await?;
                Ok(())
            }
        }
    }

    /// A linearizable read.
    pub async fn get(&mut self, key: Bytes) -> Result<(), RequestError> {
        match self {
            Connection::Store(client, _) => {
                let request = api::GetRequest { key, ..api::GetRequest::default() };
                match client.get(request).await?.into_inner().outcome {
                    Some(api::get_reply::Outcome::Ok(_)) => Ok(()),
                    other => Err(RequestError::Refused(format!("{other:?}"))),
                }
            }
            Connection::Etcd(client) => {
                client.range(etcd::RangeRequest { key }).await?;
                Ok(())
            }
        }
    }
}

/// Whether the node of etcd at `address` leads, and how far it has applied the log.
pub(super) async fn etcd_status(address: &str) -> Result<(bool, u64), RequestError> {
    let mut client = MaintenanceClient::new(channel(address).await?);
    let status = client.status(etcd::StatusRequest {}).await?.into_inner();
    let leads = status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader);
    Ok((leads, status.raft_applied_index))
}

async fn channel(address: &str) -> Result<Channel, RequestError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| RequestError::Transport(error.to_string()))?;
    let endpoint = endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(1));
    endpoint.connect().await.map_err(|error| RequestError::Transport(error.to_string()))
}
