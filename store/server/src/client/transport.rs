//! [`ClientLogic`] on tonic: connections, clocks and the translation of replies.
//!
//! A connection is opened when the first request for its node is sent, and dropped as soon as the logic abandons it. A
//! call that is dropped half-way (its future was cancelled) leaves the client usable: the next operation abandons the
//! connection and goes on with the next sequence number.

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use labrys_raft::ReadMode;
use thiserror::Error;
use tonic::{Code, Status};

use super::errors::{AttemptError, ClientError};
use super::logic::{
    Action, Attempt, AttemptBody, ClientLogic, ClientOptions, Event, Reply, Request, RequestId, Success,
    Written,
};
use super::refusals::{from_not_leader, from_refusal};
use crate::api;
use crate::api::data_client::DataClient;
use crate::api::replies::Incomplete;
use crate::machine::{Operation, Placement, Query, Revision, SessionId};
use crate::security::{SecureChannel, SecureEndpoint, Security, tls};
use crate::server::limits::is_too_large;

/// A node that says nothing is asked so often whether it is there, and has so long to say so: a watch, which has no deadline, must
/// not wait for ever for a node that was stopped or cannot be reached any more. Also while a connection is idle, for that is what
/// one seems to be on which a watch waits.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// An address that cannot be one.
#[derive(Debug, Error)]
#[error("`{address}` is not an address of the form host:port: {detail}")]
pub struct AddressError {
    /// What was given.
    pub address: String,
    /// What is wrong with it.
    pub detail: String,
}

/// One session with the store. Operations come one at a time.
pub struct StoreClient {
    logic: ClientLogic,
    endpoints: Vec<SecureEndpoint>,
    links: Vec<Option<DataClient<SecureChannel>>>,
    connect_timeout: Duration,
    security: Security,
    started: Instant,
}

/// The endpoint of a node.
pub(super) fn endpoint(
    address: &str,
    connect_timeout: Duration,
    security: &Security,
) -> Result<SecureEndpoint, AddressError> {
    let bad = |detail: String| AddressError { address: address.to_owned(), detail };
    if !address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(bad("no port".to_owned()));
    }
    let endpoint = SecureEndpoint::new(address, security).map_err(|error| bad(chain(&error)))?;
    Ok(endpoint.map(|endpoint| {
        endpoint
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
    }))
}

/// The data of a node: what it says may be as large as a node's reply.
pub(super) fn data_client(channel: SecureChannel) -> DataClient<SecureChannel> {
    DataClient::new(channel).max_decoding_message_size(api::MAX_REPLY_MESSAGE_BYTES)
}

/// 128 bits that no other client has: from the keys that the standard library draws from the system for its hash maps.
fn random_session() -> u128 {
    let half = |salt: u64| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(salt ^ u64::from(std::process::id()));
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

impl StoreClient {
    /// A client of the nodes at `nodes` (`host:port`), whose first choice is number `preferred` (modulo their count).
    /// Nothing is connected yet.
    pub fn connect(
        nodes: Vec<String>,
        preferred: usize,
        options: ClientOptions,
    ) -> Result<StoreClient, AddressError> {
        if nodes.is_empty() {
            return Err(AddressError {
                address: String::new(),
                detail: "the list of nodes is empty".to_owned(),
            });
        }
        let connect_timeout = Duration::from_millis(options.connect_timeout_ms);
        let endpoints: Result<Vec<SecureEndpoint>, _> =
            nodes.iter().map(|node| endpoint(node, connect_timeout, &options.security)).collect();
        let security = options.security.clone();
        let session = SessionId(options.session.unwrap_or_else(random_session));
        let links = nodes.iter().map(|_| None).collect();
        let logic = ClientLogic::new(nodes, preferred, session, options);
        Ok(StoreClient {
            logic,
            endpoints: endpoints?,
            links,
            connect_timeout,
            security,
            started: Instant::now(),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Carries out any request, to its completion, within `timeout` and one pause.
    pub async fn perform(&mut self, request: Request, timeout: Duration) -> Result<Success, ClientError> {
        let mut actions = Vec::new();
        let now_ms = self.now_ms();
        let deadline_ms = now_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self.logic.begin(now_ms, request, deadline_ms, &mut actions);
        loop {
            let mut attempt = None;
            for action in actions.drain(..) {
                match action {
                    Action::Send(send) => {
                        self.reach_new_nodes();
                        attempt = Some(send);
                    }
                    Action::Abandon { node } => self.links[node] = None,
                    Action::Complete(result) => return result,
                }
            }
            let event = match attempt {
                Some(attempt) => self.attempt(attempt).await,
                None => {
                    let wake_at_ms = self.logic.wake_at_ms().unwrap_or(deadline_ms);
                    tokio::time::sleep(Duration::from_millis(wake_at_ms.saturating_sub(self.now_ms()))).await;
                    Event::Tick
                }
            };
            self.logic.handle(self.now_ms(), event, &mut actions);
        }
    }

    /// A leader at an address that is none is nobody.
    fn checked(&self, reply: Reply) -> Reply {
        match reply {
            Reply::NotLeader { leader_address: Some(address) }
                if endpoint(&address, self.connect_timeout, &self.security).is_err() =>
            {
                Reply::NotLeader { leader_address: None }
            }
            reply => reply,
        }
    }

    /// The logic may have learnt of nodes; it hears of no address that is none.
    fn reach_new_nodes(&mut self) {
        for node in &self.logic.nodes()[self.endpoints.len()..] {
            match endpoint(node, self.connect_timeout, &self.security) {
                Ok(endpoint) => self.endpoints.push(endpoint),
                Err(error) => unreachable!("it was checked when it was named: {error}"),
            }
            self.links.push(None);
        }
    }

    async fn attempt(&mut self, attempt: Attempt) -> Event {
        let timeout = Duration::from_millis(attempt.timeout_ms);
        let request = attempt.request;
        match tokio::time::timeout(timeout, self.exchange(attempt, timeout)).await {
            Ok(reply) => Event::Answer { request, reply: self.checked(reply) },
            Err(_) => Event::Answer {
                request,
                reply: failed(AttemptError::Timeout, "no answer in time".to_owned()),
            },
        }
    }

    async fn exchange(&mut self, attempt: Attempt, timeout: Duration) -> Reply {
        let link = match &mut self.links[attempt.node] {
            Some(link) => link,
            empty => match self.endpoints[attempt.node].connect().await {
                Ok(channel) => empty.insert(data_client(channel)),
                Err(error) => return failed(AttemptError::CannotConnect, chain(&error)),
            },
        };
        match attempt.body {
            AttemptBody::Read { query, mode } => read(link, attempt.request, query, mode, timeout).await,
            AttemptBody::Write { placement, operation } => {
                write(link, attempt.request, placement, operation, timeout).await
            }
        }
    }
}

fn failed(error: AttemptError, detail: String) -> Reply {
    Reply::Failed { error, detail }
}

/// An error with all its causes, and what to do about it if that is known.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if let Some(hint) = tls::hint(&text) {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

/// What a gRPC status says about the attempt.
fn from_status(status: &Status) -> Reply {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return failed(AttemptError::CannotConnect, chain(status));
        }
        source = cause.source();
    }
    let error = match status.code() {
        _ if is_too_large(status) => AttemptError::TooLarge,
        Code::Unimplemented => AttemptError::Unimplemented,
        Code::Unauthenticated => AttemptError::Unauthenticated,
        Code::DeadlineExceeded | Code::Cancelled => AttemptError::Timeout,
        Code::Unavailable | Code::Unknown => AttemptError::ConnectionLost,
        _ => AttemptError::Status,
    };
    failed(error, chain(status))
}

fn request_with_deadline<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Turns the reply to one method into ours: the same four cases for each.
macro_rules! reply {
    ($result:expr, $request:expr, $outcome:ident, $success:expr) => {
        match $result {
            Err(status) => from_status(&status),
            Ok(response) => {
                let message = response.into_inner();
                match message.outcome {
                    _ if message.request_id != $request.0 => failed(
                        AttemptError::ForeignReply,
                        format!("the reply to request {}", message.request_id),
                    ),
                    None => failed(AttemptError::ForeignReply, "the reply has no outcome".to_owned()),
                    Some(api::$outcome::Outcome::Ok(ok)) => match $success(ok) {
                        Ok(success) => Reply::Ok(success),
                        Err(Incomplete(what)) => {
                            failed(AttemptError::ForeignReply, format!("the reply has {what}"))
                        }
                    },
                    Some(api::$outcome::Outcome::NotLeader(not_leader)) => from_not_leader(not_leader),
                    Some(api::$outcome::Outcome::Refused(refused)) => from_refusal(refused),
                }
            }
        }
    };
}

async fn read(
    link: &mut DataClient<SecureChannel>,
    request: RequestId,
    query: Query,
    mode: ReadMode,
    timeout: Duration,
) -> Reply {
    let message = api::ReadRequest::new(request.0, query, mode);
    let result = link.read(request_with_deadline(message, timeout)).await;
    let success = |ok: api::ReadOk| Ok(Success::Read(ok.try_into()?));
    reply!(result, request, read_reply, success)
}

async fn write(
    link: &mut DataClient<SecureChannel>,
    request: RequestId,
    placement: Placement,
    operation: Operation,
    timeout: Duration,
) -> Reply {
    let message = api::WriteRequest::new(request.0, placement, operation);
    let result = link.write(request_with_deadline(message, timeout)).await;
    let success = |ok: api::WriteOk| {
        let done = ok.done.ok_or(Incomplete("no outcome of the write"))?.try_into()?;
        Ok(Success::Written(Written { index: ok.index, revision: Revision(ok.revision), done }))
    };
    reply!(result, request, write_reply, success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(reply: Reply) -> AttemptError {
        match reply {
            Reply::Failed { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_node_s_doubt_is_stronger_than_the_table() {
        let refused = |definite, code: api::RefusalCode| {
            let refused = api::Refused { definite, code: code.into(), message: String::new() };
            error_of(from_refusal(refused))
        };
        assert_eq!(refused(true, api::RefusalCode::Overloaded), AttemptError::Overloaded);
        assert_eq!(refused(false, api::RefusalCode::Overloaded), AttemptError::UnknownRefusal);
        assert_eq!(refused(true, api::RefusalCode::LeadershipLost), AttemptError::LeadershipLost);
        assert_eq!(refused(false, api::RefusalCode::ShuttingDown), AttemptError::ShutDownWhileWaiting);
        let unknown = api::Refused { definite: true, code: 999, message: String::new() };
        assert_eq!(error_of(from_refusal(unknown)), AttemptError::UnknownRefusal);
    }

    #[test]
    fn a_grpc_status_is_definite_only_where_nothing_can_have_been_carried_out() {
        for code in 0..=16 {
            let error = error_of(from_status(&Status::new(Code::from_i32(code), "")));
            let refused = matches!(Code::from_i32(code), Code::Unimplemented | Code::Unauthenticated);
            assert_eq!(error.is_definite(), refused, "{error}");
        }
    }

    #[test]
    fn addresses_are_looked_at_before_anything_is_connected() {
        for bad in ["", "localhost", "a:b", ":1", "a b:1", "host:99999"] {
            assert!(
                StoreClient::connect(vec![bad.to_owned()], 0, ClientOptions::default()).is_err(),
                "{bad}"
            );
        }
        assert!(StoreClient::connect(Vec::new(), 0, ClientOptions::default()).is_err());
    }

    #[test]
    fn random_sessions_differ() {
        let sessions: std::collections::BTreeSet<u128> = (0..1000).map(|_| random_session()).collect();
        assert_eq!(sessions.len(), 1000);
    }

    #[tokio::test]
    async fn a_refused_connection_is_definite() {
        // A port that was free a moment ago and that nobody listens on.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut client = StoreClient::connect(vec![free.to_string()], 0, ClientOptions::default()).unwrap();
        let error = client.put("k", "v", Duration::from_millis(50)).await.unwrap_err();
        assert_eq!((error.error, error.definite), (AttemptError::CannotConnect, true), "{error}");
    }
}
