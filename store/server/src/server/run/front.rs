//! What stands behind a node's port: the gRPC services, with the layers around them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::transport::server::TcpIncoming;
use tower::util::{MapResponseLayer, option_layer};

use super::{Fatal, ServerOptions};
use crate::api::admin_server::AdminServer;
use crate::api::data_server::DataServer;
use crate::api::kv_server::KvServer;
use crate::api::peer_server::PeerServer;
use crate::api::{MAX_PEER_MESSAGE_BYTES, MAX_REPLY_MESSAGE_BYTES};
use crate::client::transport::chain;
use crate::security::TokenLayer;
use crate::server::connections::limited;
use crate::server::health::{self, LeaderKnown};
use crate::server::limits::explain_too_large;
use crate::server::metrics::{MeasureLayer, Metrics};
use crate::server::services::Services;

/// Most calls of one connection at a time; further ones wait at the client.
const MAX_STREAMS: u32 = 1024;
/// Most bytes in an administrator's request: a few members with their addresses.
const MAX_ADMIN_BYTES: usize = 64 * 1024;

/// What stands behind the port.
pub(super) struct Front {
    pub(super) services: Services,
    pub(super) options: ServerOptions,
    pub(super) leader_known: LeaderKnown,
    pub(super) measured: Option<Arc<Metrics>>,
}

/// Serves until it is asked to end, or cannot.
pub(super) async fn serve(
    listener: tokio::net::TcpListener,
    front: Front,
    shutdown_asked: oneshot::Receiver<()>,
    fatal: mpsc::UnboundedSender<Fatal>,
) {
    let Front { services, options, leader_known, measured } = front;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    tokio::spawn(health::report(reporter, leader_known));
    let ServerOptions { security, limits, .. } = options;
    let kv = KvServer::new(services.clone())
        .max_decoding_message_size(limits.request_bytes)
        .max_encoding_message_size(MAX_REPLY_MESSAGE_BYTES);
    let data = DataServer::new(services.clone())
        .max_decoding_message_size(limits.request_bytes)
        .max_encoding_message_size(MAX_REPLY_MESSAGE_BYTES);
    let peer = PeerServer::new(services.clone()).max_decoding_message_size(MAX_PEER_MESSAGE_BYTES);
    let mut server = tonic::transport::Server::builder();
    if let Some(tls) = &security.tls {
        server = match server.tls_config(tls.server()) {
            Ok(server) => server,
            Err(error) => {
                let _ = fatal.send(Fatal::Serve { detail: chain(&error) });
                return;
            }
        };
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let result = server
        .layer(option_layer(measured.map(|metrics| MeasureLayer { metrics })))
        .layer(option_layer(security.token.map(|token| TokenLayer { token })))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .initial_stream_window_size(8 * 1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .layer(MapResponseLayer::new(explain_too_large as fn(_) -> _))
        .add_service(kv)
        .add_service(data)
        .add_service(peer)
        .add_service(AdminServer::new(services).max_decoding_message_size(MAX_ADMIN_BYTES))
        .add_service(health)
        .serve_with_incoming_shutdown(limited(incoming, limits.connections), async {
            let _ = shutdown_asked.await;
        })
        .await;
    if let Err(error) = result {
        let _ = fatal.send(Fatal::Serve { detail: chain(&error) });
    }
}
