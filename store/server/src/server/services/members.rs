//! Changes of the cluster: members and leadership.

use std::time::Instant;

use labrys_raft::{Change, NodeId};
use tonic::{Request, Response, Status};

use super::{Answered, Services, deadline, foreign_answer, outcome};
use crate::api;
use crate::api::members;
use crate::server::replica::ClientRequest;

impl Services {
    pub(super) async fn members(
        &self,
        _request: Request<api::MembersRequest>,
    ) -> Result<Response<api::MembersReply>, Status> {
        let status = self.shared.node.handle.status(None).await;
        let status = status.ok_or_else(|| Status::unavailable("the node is too busy or shutting down"))?;
        let replica = &status.replica;
        Ok(Response::new(api::MembersReply {
            node_id: self.shared.node.id.0,
            leader_id: replica.raft.leader.map_or(0, |leader| leader.0),
            members: members::members(&replica.membership),
            joint: replica.membership.is_joint(),
            index: replica.membership_index.0,
            committed: replica.membership_index <= replica.raft.commit,
            last_id: replica.membership.last_id.0,
        }))
    }

    pub(super) async fn change_members(
        &self,
        request: Request<api::ChangeMembersRequest>,
    ) -> Result<Response<api::ChangeMembersReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let ended = match Change::try_from(request.into_inner()) {
            Ok(change) => self.ask(ClientRequest::Change(change), 0, deadline).await,
            Err(refused) => Err(refused.into()),
        };
        let ended = match ended {
            Ok(Answered::Changed { index }) => Ok(index),
            Ok(_) => Err(foreign_answer()),
            Err(declined) => Err(declined),
        };
        let outcome = outcome!(ended, change_members_reply, {
            index => api::ChangeMembersOk { index: index.0 },
        });
        Ok(Response::new(api::ChangeMembersReply { outcome: Some(outcome) }))
    }

    pub(super) async fn transfer_leadership(
        &self,
        request: Request<api::TransferLeadershipRequest>,
    ) -> Result<Response<api::TransferLeadershipReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let target = Some(NodeId(request.into_inner().target_id)).filter(|target| target.0 != 0);
        let ended = match self.ask(ClientRequest::Transfer(target), 0, deadline).await {
            Ok(Answered::Transferred { leader }) => Ok(leader),
            Ok(_) => Err(foreign_answer()),
            Err(declined) => Err(declined),
        };
        let outcome = outcome!(ended, transfer_leadership_reply, {
            leader => api::TransferLeadershipOk { leader_id: leader.0 },
        });
        Ok(Response::new(api::TransferLeadershipReply { outcome: Some(outcome) }))
    }
}
