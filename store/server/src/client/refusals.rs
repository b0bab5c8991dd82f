//! What the refusals of a node say about an attempt. No I/O.

use super::errors::AttemptError;
use super::logic::Reply;
use crate::api;

/// What a refusal says about the attempt.
#[must_use]
pub fn from_refusal(refused: api::Refused) -> Reply {
    use api::RefusalCode as Code;
    let error = match refused.code() {
        Code::Overloaded => AttemptError::Overloaded,
        Code::Superseded => AttemptError::Superseded,
        Code::LeadershipLost => AttemptError::LeadershipLost,
        Code::DeadlineExpired => AttemptError::DeadlineExpired,
        Code::SessionExpired => AttemptError::SessionExpired,
        Code::SequencePassed => AttemptError::SequencePassed,
        Code::ShuttingDown if refused.definite => AttemptError::ShuttingDown,
        Code::ShuttingDown => AttemptError::ShutDownWhileWaiting,
        Code::TooLarge => AttemptError::TooLarge,
        Code::Malformed => AttemptError::Malformed,
        Code::NoSpace => AttemptError::NoSpace,
        Code::AnswerForgotten => AttemptError::AnswerForgotten,
        Code::Transferring => AttemptError::Transferring,
        Code::LeaseOver => AttemptError::LeaseOver,
        Code::ChangeRefused | Code::ChangeNotYet | Code::TransferGivenUp | Code::Unspecified => {
            AttemptError::UnknownRefusal
        }
    };
    // The node knows best: its doubt is stronger than the table.
    let error = if error.is_definite() && !refused.definite { AttemptError::UnknownRefusal } else { error };
    Reply::Failed { error, detail: refused.message }
}

/// What a node that does not lead says about the attempt.
#[must_use]
pub fn from_not_leader(not_leader: api::NotLeader) -> Reply {
    let address = not_leader.leader_address;
    Reply::NotLeader { leader_address: (!address.is_empty()).then_some(address) }
}
