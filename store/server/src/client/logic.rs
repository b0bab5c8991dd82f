//! What a client does, without doing it: operations, replies, failures and the time go in; requests to send and one
//! completion come out. The transport carries it out with sockets, a simulator without.
//!
//! Rules:
//!
//! - One operation at a time; its attempts come one after the other. A write's attempts all carry the same [`Placement`],
//!   which is part of the request's type: a retry outside of a session cannot be written down.
//! - Every attempt has a [`RequestId`] of its own, never used again. A reply with another id is not an answer.
//! - An attempt that times out costs its connection ([`Action::Abandon`]), so that nothing late arrives on it.
//! - The client starts with its preferred node and stays with a node that answers. It goes on to the leader that a node
//!   names, and else, after a failure, to the next in line, with growing pauses. Reads and writes each have their node: a
//!   node that answers reads is asked for reads, whoever takes the writes. No cleverness hides a store that answers reads
//!   where it should not.
//! - Whether a failed operation is definite: see [`super::errors`].

mod attempt;
#[cfg(test)]
mod tests;

use labrys_raft::ReadMode;

use super::errors::{AttemptError, ClientError};
use crate::machine::{Placement, SessionId};
use crate::security::Security;

pub use attempt::{Action, Attempt, AttemptBody, Event, Reply, Request, RequestId, Success, Written};

/// Most nodes that a client knows, those included that were named to it.
const MAX_NODES: usize = 64;

/// How a client behaves. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// An attempt that has no answer after this time is given up.
    pub attempt_timeout_ms: u64,
    /// A connection that is not there after this time is given up. For the transport.
    pub connect_timeout_ms: u64,
    /// The first pause after a failure; each further one is twice as long.
    pub first_backoff_ms: u64,
    /// The longest pause.
    pub max_backoff_ms: u64,
    /// The session; must be unique in the life of the cluster. `None`: drawn at random.
    pub session: Option<u128>,
    /// TLS and the token. For the transport.
    pub security: Security,
    /// How reads are answered. A node that answers is asked again: with `Follower` and `Local` that is the preferred one.
    pub read_mode: ReadMode,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            attempt_timeout_ms: 1000,
            connect_timeout_ms: 300,
            first_backoff_ms: 5,
            max_backoff_ms: 50,
            session: None,
            security: Security::default(),
            read_mode: ReadMode::ReadIndex,
        }
    }
}

#[derive(Debug)]
enum Phase {
    Sent { request: RequestId, node: usize, deadline_ms: u64 },
    Waiting { until_ms: u64 },
}

#[derive(Debug)]
struct Running {
    request: Request,
    sequence: u64,
    deadline_ms: u64,
    phase: Phase,
    attempts: u32,
    /// Redirections since the last pause.
    hops: usize,
    backoff_ms: u64,
    /// An earlier attempt may have taken effect.
    in_doubt: bool,
    last: (AttemptError, String),
}

impl Running {
    fn is_read(&self) -> bool {
        matches!(self.request, Request::Read(_))
    }
}

/// The client's state.
#[derive(Debug)]
pub struct ClientLogic {
    nodes: Vec<String>,
    options: ClientOptions,
    session: SessionId,
    established: bool,
    sequence: u64,
    next_request: u64,
    read_node: usize,
    write_node: usize,
    running: Option<Running>,
}

impl ClientLogic {
    /// A client of the nodes at `nodes` (at least one), whose first choice is number `preferred` (modulo their count).
    #[must_use]
    pub fn new(
        nodes: Vec<String>,
        preferred: usize,
        session: SessionId,
        options: ClientOptions,
    ) -> ClientLogic {
        assert!(!nodes.is_empty(), "a client needs a node");
        let preferred = preferred % nodes.len();
        ClientLogic {
            nodes,
            options,
            session,
            established: false,
            sequence: 0,
            next_request: 1,
            read_node: preferred,
            write_node: preferred,
            running: None,
        }
    }

    /// The addresses, in the order in which actions number them.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Begins an operation, which ends by `deadline_ms`. One that is still running is given up without a completion: its
    /// caller has lost interest. Its sequence number is not used again.
    pub fn begin(&mut self, now_ms: u64, request: Request, deadline_ms: u64, actions: &mut Vec<Action>) {
        if let Some(Running { phase: Phase::Sent { node, .. }, .. }) = self.running.take() {
            actions.push(Action::Abandon { node });
        }
        if let Request::Write(_) = request {
            self.sequence += 1;
        }
        self.running = Some(Running {
            request,
            sequence: self.sequence,
            deadline_ms,
            phase: Phase::Waiting { until_ms: now_ms },
            attempts: 0,
            hops: 0,
            backoff_ms: self.options.first_backoff_ms,
            in_doubt: false,
            last: (AttemptError::NotSent, "no time was left".to_owned()),
        });
        self.handle(now_ms, Event::Tick, actions);
    }

    /// When to give a tick at the latest.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        self.running.as_ref().map(|running| match running.phase {
            Phase::Sent { deadline_ms, .. } => deadline_ms,
            Phase::Waiting { until_ms } => until_ms.min(running.deadline_ms),
        })
    }

    /// Takes an event.
    pub fn handle(&mut self, now_ms: u64, event: Event, actions: &mut Vec<Action>) {
        let Some(mut running) = self.running.take() else { return };
        let done = match event {
            Event::Tick => self.tick(now_ms, &mut running, actions),
            Event::Answer { request, reply } => match running.phase {
                Phase::Sent { request: expected, node, .. } if expected == request => {
                    self.answer(now_ms, &mut running, node, reply, actions)
                }
                // Late: the answer to an attempt that was given up.
                Phase::Sent { .. } | Phase::Waiting { .. } => None,
            },
        };
        match done {
            Some(result) => actions.push(Action::Complete(result)),
            None => self.running = Some(running),
        }
    }

    fn tick(
        &mut self,
        now_ms: u64,
        running: &mut Running,
        actions: &mut Vec<Action>,
    ) -> Option<Result<Success, ClientError>> {
        match running.phase {
            Phase::Sent { deadline_ms, .. } if now_ms < deadline_ms => None,
            Phase::Sent { node, .. } => {
                actions.push(Action::Abandon { node });
                self.failed(now_ms, running, node, AttemptError::Timeout, "no answer in time".to_owned())
            }
            Phase::Waiting { .. } if now_ms >= running.deadline_ms => Some(Err(failure(running))),
            Phase::Waiting { until_ms } if now_ms < until_ms => None,
            Phase::Waiting { .. } => {
                self.send(now_ms, running, actions);
                None
            }
        }
    }

    fn send(&mut self, now_ms: u64, running: &mut Running, actions: &mut Vec<Action>) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        running.attempts += 1;
        let timeout_ms = self.options.attempt_timeout_ms.min(running.deadline_ms - now_ms).max(1);
        let node = *self.node_for(running.is_read());
        let body = match &running.request {
            Request::Read(query) => AttemptBody::Read { query: query.clone(), mode: self.options.read_mode },
            Request::Write(operation) => AttemptBody::Write {
                placement: Placement {
                    session: self.session,
                    sequence: running.sequence,
                    established: self.established,
                },
                operation: operation.clone(),
            },
        };
        running.phase = Phase::Sent { request, node, deadline_ms: now_ms + timeout_ms };
        actions.push(Action::Send(Attempt { request, node, body, timeout_ms }));
    }

    fn answer(
        &mut self,
        now_ms: u64,
        running: &mut Running,
        node: usize,
        reply: Reply,
        actions: &mut Vec<Action>,
    ) -> Option<Result<Success, ClientError>> {
        match reply {
            Reply::Ok(success) if success.fits(&running.request) => {
                self.established |= success.proves_session();
                Some(Ok(success))
            }
            Reply::Ok(success) => {
                actions.push(Action::Abandon { node });
                let detail = format!("the reply makes no sense: {success:?}");
                self.failed(now_ms, running, node, AttemptError::ForeignReply, detail)
            }
            Reply::NotLeader { leader_address } => {
                self.redirected(now_ms, running, node, leader_address, actions)
            }
            Reply::Failed { error, detail } => {
                if loses_connection(error) {
                    actions.push(Action::Abandon { node });
                }
                self.failed(now_ms, running, node, error, detail)
            }
        }
    }

    /// The position of the node at `address`, which is taken into the list if it is new: the cluster may have grown.
    fn position_of(&mut self, address: &str) -> Option<usize> {
        let known = self.nodes.iter().position(|known| known == address);
        known.or_else(|| {
            let is_new = self.nodes.len() < MAX_NODES;
            is_new.then(|| self.nodes.push(address.to_owned()))?;
            Some(self.nodes.len() - 1)
        })
    }

    fn redirected(
        &mut self,
        now_ms: u64,
        running: &mut Running,
        node: usize,
        leader_address: Option<String>,
        actions: &mut Vec<Action>,
    ) -> Option<Result<Success, ClientError>> {
        let named = leader_address.as_ref().and_then(|address| self.position_of(address));
        let detail = match &leader_address {
            Some(address) => format!("{} names {address} as the leader", self.nodes[node]),
            None => format!("{} knows no leader", self.nodes[node]),
        };
        let (Some(leader), true) = (named.filter(|leader| *leader != node), running.hops < self.nodes.len())
        else {
            return self.failed(now_ms, running, node, AttemptError::NotLeader, detail);
        };
        running.hops += 1;
        running.last = (AttemptError::NotLeader, detail);
        *self.node_for(running.is_read()) = leader;
        if now_ms >= running.deadline_ms {
            return Some(Err(failure(running)));
        }
        self.send(now_ms, running, actions);
        None
    }

    /// An attempt has failed: end the operation or plan another attempt.
    fn failed(
        &mut self,
        now_ms: u64,
        running: &mut Running,
        node: usize,
        error: AttemptError,
        detail: String,
    ) -> Option<Result<Success, ClientError>> {
        running.last = (error, detail);
        running.in_doubt |= !error.is_definite();
        if matches!(error, AttemptError::SessionExpired | AttemptError::SequencePassed) {
            self.renew_session();
        }
        if is_final(error) || now_ms >= running.deadline_ms {
            return Some(Err(failure(running)));
        }
        if !stays_with_node(error) {
            *self.node_for(running.is_read()) = (node + 1) % self.nodes.len();
        }
        running.hops = 0;
        running.phase = Phase::Waiting { until_ms: now_ms + running.backoff_ms };
        running.backoff_ms = (running.backoff_ms * 2).min(self.options.max_backoff_ms);
        None
    }

    fn node_for(&mut self, is_read: bool) -> &mut usize {
        if is_read { &mut self.read_node } else { &mut self.write_node }
    }

    /// The old session is of no use any more. The new id is a hash of the old one: as unique as that was.
    fn renew_session(&mut self) {
        self.session = SessionId(xxhash_rust::xxh3::xxh3_128(&self.session.0.to_le_bytes()));
        self.established = false;
    }
}

fn failure(running: &Running) -> ClientError {
    let (error, detail) = running.last.clone();
    // A read that failed changed nothing, whatever happened to it.
    let definite = running.is_read() || (!running.in_doubt && error.is_definite());
    ClientError { definite, error, detail, attempts: running.attempts }
}

/// Another attempt would end alike.
fn is_final(error: AttemptError) -> bool {
    matches!(
        error,
        AttemptError::SessionExpired
            | AttemptError::SequencePassed
            | AttemptError::TooLarge
            | AttemptError::Malformed
            | AttemptError::NoSpace
            | AttemptError::AnswerForgotten
            | AttemptError::Unimplemented
            | AttemptError::Unauthenticated
    )
}

/// The node is all right; only this attempt was not.
fn stays_with_node(error: AttemptError) -> bool {
    matches!(
        error,
        AttemptError::Overloaded
            | AttemptError::Superseded
            | AttemptError::DeadlineExpired
            | AttemptError::Transferring
            | AttemptError::LeaseOver
    )
}

/// What came over this connection, or did not, is no ground to trust it further.
fn loses_connection(error: AttemptError) -> bool {
    matches!(
        error,
        AttemptError::CannotConnect
            | AttemptError::ConnectionLost
            | AttemptError::Timeout
            | AttemptError::ForeignReply
            | AttemptError::Status
    )
}
