//! Changing the cluster: members and leadership. Goes to the leader, wherever it is among the nodes named or those that they name.
//!
//! Changes are not retried once they may have taken effect: what happened to one that ended indefinitely is seen in
//! [`AdminSession::members`].

use std::time::{Duration, Instant};

use labrys_raft::{Change, NodeId};
use serde::Serialize;
use thiserror::Error;

use super::transport::{AddressError, chain, endpoint};
use crate::api;
use crate::api::MemberRole;
use crate::api::admin_client::AdminClient;
use crate::security::{SecureChannel, Security};

/// How long to wait before the nodes are asked again for their leader, or a learner that lags is promoted again.
const PAUSE: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A member, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Where it is reached; empty: not known.
    pub address: String,
    /// `voter`, `outgoing-voter` or `learner`.
    pub role: &'static str,
}

/// The configuration that is in force at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Members {
    /// Whose view this is.
    pub node: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// By ascending id.
    pub members: Vec<Member>,
    /// A change of several members at once is on its way.
    pub joint: bool,
    /// Where in the log the configuration is.
    pub index: u64,
    /// Whether it is committed, as far as the node knows.
    pub committed: bool,
    /// A new member needs an id above this one.
    pub last_id: u64,
}

/// A change of the cluster did not succeed, as far as is known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{detail} ({})", if *definite { "nothing was changed" } else { "it may have been done, or may be yet" })]
pub struct AdminError {
    /// Whether nothing was changed, for certain.
    pub definite: bool,
    /// Why.
    pub detail: String,
}

/// How one node answered.
enum Reply<T> {
    Done(T),
    /// Somebody else leads, perhaps here.
    Elsewhere(Option<String>),
    /// It could not be asked, or cannot now.
    NotNow(String),
    Failed(AdminError),
}

/// Asks the nodes of a cluster for changes of it.
pub struct AdminSession {
    nodes: Vec<String>,
    security: Security,
}

impl AdminSession {
    /// By way of these nodes (`host:port`).
    ///
    /// # Errors
    ///
    /// If there is none, or an address makes no sense.
    pub fn new(nodes: Vec<String>, security: Security) -> Result<AdminSession, AddressError> {
        if nodes.is_empty() {
            return Err(AddressError {
                address: String::new(),
                detail: "the list of nodes is empty".to_owned(),
            });
        }
        for node in &nodes {
            endpoint(node, CONNECT_TIMEOUT, &security)?;
        }
        Ok(AdminSession { nodes, security })
    }

    /// The members, as the first of the nodes sees them that answers, whoever leads.
    ///
    /// # Errors
    ///
    /// If no node answers, each within `timeout`.
    pub async fn members_as_known(&self, timeout: Duration) -> Result<Members, AdminError> {
        let mut detail = String::new();
        for node in &self.nodes {
            match tokio::time::timeout(timeout, ask_members(node, &self.security)).await {
                Ok(Ok(members)) => return Ok(members),
                Ok(Err(error)) => detail = format!("{node}: {error}"),
                Err(_) => detail = format!("{node}: no answer in time"),
            }
        }
        Err(AdminError { definite: true, detail })
    }

    /// The members, as the leader sees them if it can be found, as any node does otherwise.
    ///
    /// # Errors
    ///
    /// If no node answers within `timeout`.
    pub async fn members(&self, timeout: Duration) -> Result<Members, AdminError> {
        let mut found: Option<Members> = None;
        let mut detail = String::new();
        for node in &self.nodes {
            match tokio::time::timeout(timeout, ask_members(node, &self.security)).await {
                Ok(Ok(members)) if members.leader == Some(members.node) => return Ok(members),
                Ok(Ok(members)) => found = found.or(Some(members)),
                Ok(Err(error)) => detail = format!("{node}: {error}"),
                Err(_) => detail = format!("{node}: no answer in time"),
            }
        }
        let leader = found
            .as_ref()
            .and_then(|members| members.members.iter().find(|member| Some(member.id) == members.leader));
        if let Some(leader) = leader
            && let Ok(Ok(members)) =
                tokio::time::timeout(timeout, ask_members(&leader.address, &self.security)).await
        {
            return Ok(members);
        }
        found.ok_or(AdminError { definite: true, detail })
    }

    /// Has the membership changed; gives the index of the configuration that is in force and committed then. A learner
    /// that lags is waited for, until `timeout`.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn change(&self, change: Change, timeout: Duration) -> Result<u64, AdminError> {
        self.at_leader(timeout, |node, left| change_at(node, &self.security, change.clone(), left)).await
    }

    /// Has leadership handed over, to `target` or to whoever is nearest; gives the new leader.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn transfer(&self, target: Option<NodeId>, timeout: Duration) -> Result<u64, AdminError> {
        self.at_leader(timeout, |node, left| transfer_at(node, &self.security, target, left)).await
    }

    /// Asks one node after the other, and whom they name, until one answers for good.
    async fn at_leader<T, F: Future<Output = Reply<T>>>(
        &self,
        timeout: Duration,
        ask: impl Fn(String, Duration) -> F,
    ) -> Result<T, AdminError> {
        let deadline = Instant::now() + timeout;
        let mut next = 0;
        let mut named = None;
        loop {
            let node: String = named.take().unwrap_or_else(|| self.nodes[next % self.nodes.len()].clone());
            let left = deadline.saturating_duration_since(Instant::now());
            let detail = match ask(node.clone(), left).await {
                Reply::Done(done) => return Ok(done),
                Reply::Failed(error) => return Err(error),
                Reply::Elsewhere(Some(address)) if address != node => {
                    named = Some(address);
                    format!("{node} names another leader")
                }
                Reply::Elsewhere(_) => format!("{node} knows no leader"),
                Reply::NotNow(detail) => format!("{node}: {detail}"),
            };
            next += usize::from(named.is_none());
            if Instant::now() + PAUSE >= deadline {
                return Err(AdminError { definite: true, detail });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn connect(node: &str, security: &Security) -> Result<AdminClient<SecureChannel>, String> {
    let endpoint = endpoint(node, CONNECT_TIMEOUT, security).map_err(|error| error.to_string())?;
    endpoint.connect().await.map(AdminClient::new).map_err(|error| chain(&error))
}

async fn ask_members(node: &str, security: &Security) -> Result<Members, String> {
    let reply = connect(node, security).await?.members(api::MembersRequest {}).await;
    let reply = reply.map_err(|status| chain(&status))?.into_inner();
    let members = reply.members.into_iter().map(|member| {
        let role = match member.role() {
            MemberRole::Voter => "voter",
            MemberRole::OutgoingVoter => "outgoing-voter",
            MemberRole::Learner => "learner",
            MemberRole::Unspecified => return Err(format!("the role of node {} is unknown", member.id)),
        };
        Ok(Member { id: member.id, address: member.address, role })
    });
    Ok(Members {
        node: reply.node_id,
        leader: Some(reply.leader_id).filter(|leader| *leader != 0),
        members: members.collect::<Result<_, _>>()?,
        joint: reply.joint,
        index: reply.index,
        committed: reply.committed,
        last_id: reply.last_id,
    })
}

/// What a refusal means for the next attempt. A learner that lags may catch up; a leader that has not committed yet will.
fn refused<T>(refused: api::Refused) -> Reply<T> {
    use api::RefusalCode as Code;
    let passes = matches!(
        refused.code(),
        Code::ChangeNotYet
            | Code::Overloaded
            | Code::Transferring
            | Code::LeadershipLost
            | Code::ShuttingDown
    );
    if passes && refused.definite {
        return Reply::NotNow(refused.message);
    }
    Reply::Failed(AdminError { definite: refused.definite, detail: refused.message })
}

fn not_leader<T>(not_leader: api::NotLeader) -> Reply<T> {
    Reply::Elsewhere(Some(not_leader.leader_address).filter(|address| !address.is_empty()))
}

/// The request was sent, and what came back says nothing about it.
fn in_doubt<T>(detail: String) -> Reply<T> {
    Reply::Failed(AdminError { definite: false, detail })
}

/// Sends one request within `left`, and turns the reply to it into ours: the same cases for each method.
macro_rules! ask {
    ($node:expr, $security:expr, $left:expr, $method:ident, $message:expr, $outcome:ident, $done:expr) => {{
        let mut link = match connect(&$node, $security).await {
            Ok(link) => link,
            Err(detail) => return Reply::NotNow(detail),
        };
        let mut request = tonic::Request::new($message);
        request.set_timeout($left);
        match tokio::time::timeout($left, link.$method(request)).await {
            Err(_) => in_doubt("no answer in time".to_owned()),
            Ok(Err(status)) => in_doubt(chain(&status)),
            Ok(Ok(response)) => match response.into_inner().outcome {
                Some(api::$outcome::Outcome::Ok(ok)) => Reply::Done($done(ok)),
                Some(api::$outcome::Outcome::NotLeader(reply)) => not_leader(reply),
                Some(api::$outcome::Outcome::Refused(reply)) => refused(reply),
                None => in_doubt("the reply has no outcome".to_owned()),
            },
        }
    }};
}

async fn change_at(node: String, security: &Security, change: Change, left: Duration) -> Reply<u64> {
    let done = |ok: api::ChangeMembersOk| ok.index;
    ask!(
        node,
        security,
        left,
        change_members,
        api::ChangeMembersRequest::from(change),
        change_members_reply,
        done
    )
}

async fn transfer_at(
    node: String,
    security: &Security,
    target: Option<NodeId>,
    left: Duration,
) -> Reply<u64> {
    let message = api::TransferLeadershipRequest { target_id: target.map_or(0, |target| target.0) };
    let done = |ok: api::TransferLeadershipOk| ok.leader_id;
    ask!(node, security, left, transfer_leadership, message, transfer_leadership_reply, done)
}
