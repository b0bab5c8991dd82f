//! What goes into the client's logic and what comes out of it: requests, attempts, replies, actions; and which replies can be
//! answers to which requests.

use labrys_raft::ReadMode;

use crate::client::errors::{AttemptError, ClientError};
use crate::machine::{Done, Found, Operation, Placement, Query, Reading, Revision, Step, StepResult};

/// Names one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the caller wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read something.
    Read(Query),
    /// Change something.
    Write(Operation),
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptBody {
    /// A read needs no session.
    Read {
        /// What is read.
        query: Query,
        /// How.
        mode: ReadMode,
    },
    /// A write always has its place in one.
    Write {
        /// The place.
        placement: Placement,
        /// The operation.
        operation: Operation,
    },
}

/// A request to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Names it.
    pub request: RequestId,
    /// Position of the node in the client's list.
    pub node: usize,
    /// What to send.
    pub body: AttemptBody,
    /// The time it has, in milliseconds; the server is told, too.
    pub timeout_ms: u64,
}

/// How an operation succeeded, as far as it did: a read that found no such revision, and a write that found its condition not to
/// hold, have succeeded as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// A read.
    Read(Reading),
    /// A write.
    Written(Written),
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where in the log; 0: the node answered without knowing it.
    pub index: u64,
    /// The state of the keys after it; the one that it made, if it changed any.
    pub revision: Revision,
    /// What it came to.
    pub done: Done,
}

impl Success {
    pub(super) fn fits(&self, request: &Request) -> bool {
        match (self, request) {
            (Success::Read(reading), Request::Read(query)) => reading_fits(&reading.found, query),
            (Success::Written(written), Request::Write(operation)) => done_fits(&written.done, operation),
            _ => false,
        }
    }

    /// A log index proves that the write went through the state machine, which knows the session since then.
    pub(super) fn proves_session(&self) -> bool {
        matches!(self, Success::Written(written) if written.index > 0)
    }
}

fn reading_fits(found: &Found, query: &Query) -> bool {
    matches!(
        (found, query),
        (Found::Revision, Query::Revision)
            | (Found::Value(_) | Found::Problem(_), Query::Get { .. })
            | (Found::Range(_) | Found::Problem(_), Query::Range { .. })
            | (Found::Lease(_), Query::Lease { .. })
            | (Found::Lock(_), Query::Lock { .. })
    )
}

fn done_fits(done: &Done, operation: &Operation) -> bool {
    match operation {
        Operation::Step(step) => matches!(done, Done::Step(result) if result_fits(result, step)),
        Operation::Transaction(transaction) => match done {
            Done::Transaction { held, results } => {
                let steps = if *held { &transaction.then } else { &transaction.otherwise };
                steps.len() == results.len()
                    && results.iter().zip(steps).all(|(result, step)| result_fits(result, step))
            }
            done => matches!(done, Done::Aborted { .. }),
        },
        Operation::Commit(_) => {
            matches!(done, Done::Committed | Done::Conflict { .. } | Done::Revision(_))
        }
        Operation::Compact { .. } => matches!(done, Done::Compacted { .. } | Done::Revision(_)),
        Operation::GrantLease { .. } => matches!(done, Done::LeaseGranted { .. } | Done::TooManyLeases),
        Operation::RenewLease { .. } => matches!(done, Done::LeaseRenewed { .. } | Done::LeaseUnknown),
        Operation::RevokeLease { .. } => matches!(done, Done::LeaseRevoked | Done::LeaseUnknown),
        Operation::AcquireLock { .. } => {
            matches!(done, Done::LockAcquired { .. } | Done::LockBusy { .. } | Done::LeaseUnknown)
        }
        Operation::ReleaseLock { .. } => matches!(done, Done::LockReleased | Done::LockNotHeld),
    }
}

fn result_fits(result: &StepResult, step: &Step) -> bool {
    matches!(
        (result, step),
        (StepResult::Problem(_), _)
            | (StepResult::Value(_), Step::Get { .. })
            | (StepResult::Range(_), Step::Range(_))
            | (StepResult::Put, Step::Put { .. })
            | (StepResult::Swapped | StepResult::NotSwapped { .. }, Step::CompareAndSet { .. })
            | (StepResult::Deleted { .. }, Step::Delete { .. })
            | (StepResult::Appended { .. }, Step::Append { .. })
            | (StepResult::Incremented { .. }, Step::Increment { .. })
    )
}

/// What a node replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Ok(Success),
    /// Not this node.
    NotLeader {
        /// The leader's address, as far as known.
        leader_address: Option<String>,
    },
    /// Anything else.
    Failed {
        /// What.
        error: AttemptError,
        /// More about it.
        detail: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The node answered, or the transport failed.
    Answer {
        /// The attempt that this is about.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this.
    Send(Attempt),
    /// Close the connection to this node: what comes on it from now on is of no interest.
    Abandon {
        /// Position of the node.
        node: usize,
    },
    /// The operation has ended.
    Complete(Result<Success, ClientError>),
}
