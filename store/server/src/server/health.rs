//! Whether this node serves: it is running and knows a leader, itself or another. Told by the standard gRPC health service
//! (`grpc.health.v1.Health`, unary and as a stream) for the node as a whole (the empty name) and for each service by its name.
//!
//! `Kv` and `Data` serve while a leader is known; `Admin` and `Peer` as long as the node runs. A node without a leader is not
//! broken: whoever restarts it for that makes things worse.

use tokio::sync::watch;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::services::Services;
use crate::api::admin_server::AdminServer;
use crate::api::data_server::DataServer;
use crate::api::kv_server::KvServer;
use crate::api::peer_server::PeerServer;

/// What the node loop tells about the leader; closed when that has ended.
pub type LeaderKnown = watch::Receiver<bool>;

/// Whether a node serves.
#[must_use]
pub fn serves(leader_known: &LeaderKnown) -> bool {
    leader_known.has_changed().is_ok() && *leader_known.borrow()
}

/// Tells the reporter until the node's loop has ended, and then that nothing serves any more.
pub async fn report(reporter: HealthReporter, mut leader_known: LeaderKnown) {
    let [kv, data, admin, peer] = [
        <KvServer<Services> as NamedService>::NAME,
        <DataServer<Services> as NamedService>::NAME,
        <AdminServer<Services> as NamedService>::NAME,
        <PeerServer<Services> as NamedService>::NAME,
    ];
    let tell = async |names: &[&str], serves: bool| {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in names {
            reporter.set_service_status(name, status).await;
        }
    };
    tell(&[admin, peer], true).await;
    loop {
        let known = *leader_known.borrow_and_update();
        tell(&["", kv, data], known).await;
        if leader_known.changed().await.is_err() {
            return tell(&["", kv, data, admin, peer], false).await;
        }
    }
}
