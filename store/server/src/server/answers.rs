//! What a replica's answer means to a client: carried out, not here, or refused. No I/O: the services say it in gRPC, a simulator
//! without.

use labrys_raft::{ChangeRefusal, LogIndex, NodeId};

use super::replica::Answer;
use crate::api::{self, RefusalCode};
use crate::machine::{Done, Operation, Outcome, Reading, Revision, Step, StepResult};

/// Why a write is refused that would make the state larger than it may be, and what helps.
const NO_SPACE: &str = "the state has as many bytes as it may have (labrys_store_state_bytes): delete keys, end leases or release \
                        locks; these are still taken, and so is every write that makes nothing larger";

/// How a request was answered, if it was.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// To a read.
    Reading(Reading),
    /// To a write.
    Done {
        /// Where in the log; 0: unknown.
        index: LogIndex,
        /// The state of the keys after it.
        revision: Revision,
        /// What it came to.
        done: Done,
    },
    /// To a change of the membership.
    Changed {
        /// Where in the log.
        index: LogIndex,
    },
    /// To a transfer of leadership.
    Transferred {
        /// Who leads now.
        leader: NodeId,
    },
}

/// Why a request was not carried out, as far as is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Declined {
    /// This node does not lead.
    NotLeader(api::NotLeader),
    /// Anything else.
    Refused(api::Refused),
}

impl From<api::Refused> for Declined {
    fn from(refused: api::Refused) -> Declined {
        Declined::Refused(refused)
    }
}

impl Answered {
    /// The answer to a write; `is_swap`: to a compare-and-set. A comparison that was made at proposal (a defect) is a put in the
    /// log.
    #[must_use]
    pub fn of_write(self, is_swap: bool) -> Answered {
        match self {
            Answered::Done { index, revision, done: Done::Step(StepResult::Put) } if is_swap => {
                Answered::Done { index, revision, done: Done::Step(StepResult::Swapped) }
            }
            answered => answered,
        }
    }
}

/// Whether the operation is a single compare-and-set.
#[must_use]
pub fn is_swap(operation: &Operation) -> bool {
    matches!(operation, Operation::Step(Step::CompareAndSet { .. }))
}

pub(super) fn refused(definite: bool, code: RefusalCode, message: impl Into<String>) -> Declined {
    Declined::Refused(api::Refused { definite, code: code.into(), message: message.into() })
}

/// An answer that cannot be one to what was asked: a fault of ours.
pub(super) fn foreign_answer() -> Declined {
    refused(false, RefusalCode::Unspecified, "the answer belongs to another kind of request")
}

/// What the answer means; `address_of` says where clients reach a node, and is empty if that is not known.
///
/// # Errors
/// If the request was not carried out.
pub fn translate(answer: Answer, address_of: impl Fn(NodeId) -> String) -> Result<Answered, Declined> {
    Err(match answer {
        Answer::Reading(reading) => return Ok(Answered::Reading(reading)),
        Answer::Outcome(Outcome::Done { index, revision, done }) => {
            return Ok(Answered::Done { index, revision, done });
        }
        Answer::Outcome(Outcome::SessionExpired) => {
            refused(true, RefusalCode::SessionExpired, "the cluster does not know this session any more")
        }
        Answer::Outcome(Outcome::SequencePassed) => {
            refused(true, RefusalCode::SequencePassed, "a later write of the session has been carried out")
        }
        Answer::Outcome(Outcome::Malformed) => {
            refused(true, RefusalCode::Malformed, "the state machine cannot decode the command")
        }
        Answer::Outcome(Outcome::NoSpace) => refused(true, RefusalCode::NoSpace, NO_SPACE),
        Answer::Outcome(Outcome::TooManySessions) => refused(
            true,
            RefusalCode::Overloaded,
            "the cluster remembers as many new sessions as it may; use a session for more than one write",
        ),
        Answer::Outcome(Outcome::AnswerForgotten) => refused(
            false,
            RefusalCode::AnswerForgotten,
            "an earlier attempt was carried out; its answer is not kept any more",
        ),
        Answer::NotLeader { leader } => Declined::NotLeader(api::NotLeader {
            leader_id: leader.map_or(0, |leader| leader.0),
            leader_address: leader.map(address_of).unwrap_or_default(),
        }),
        Answer::MembershipChanged { index } => return Ok(Answered::Changed { index }),
        Answer::Transferred { leader } => return Ok(Answered::Transferred { leader }),
        Answer::ChangeRefused(refusal) => {
            let code = match refusal {
                ChangeRefusal::Lags { .. } | ChangeRefusal::TermNotEstablished => RefusalCode::ChangeNotYet,
                _ => RefusalCode::ChangeRefused,
            };
            refused(true, code, refusal.to_string())
        }
        Answer::Refused { definite, code, message } => refused(definite, code, message),
    })
}
