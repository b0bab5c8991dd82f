//! What is known when something went wrong: the one table.
//!
//! *Definite* means: this attempt has not taken effect and never will. *Indefinite* means: it may have, it may yet, or
//! never. A wrong "definite" makes a correct store look broken; a wrong "indefinite" only costs the checker time, so
//! whatever is not known to be definite is indefinite.
//!
//! | error | definite | why |
//! | --- | --- | --- |
//! | `not-leader` | yes | a node refuses before it appends anything |
//! | `overloaded` | yes | the node refuses before it appends anything |
//! | `superseded` | yes | another entry is committed at its place, so its own never can be |
//! | `leadership-lost` | no | its entry may be committed by the next leader |
//! | `deadline-expired` | yes | the node looks at the deadline before it appends anything |
//! | `session-expired` | yes | the state machine refuses an established write of a session it does not know |
//! | `sequence-passed` | yes | the state machine refuses what comes after a later write of the session |
//! | `shutting-down` | yes | the node refuses before it appends anything |
//! | `shut-down-while-waiting` | no | its entry is in the node's log |
//! | `too-large` | yes | the node refuses before it appends anything |
//! | `malformed` | yes | neither the node nor the state machine can tell what it should do |
//! | `no-space` | yes | the state machine refuses it before it changes anything |
//! | `answer-forgotten` | no | it was carried out by an earlier attempt, whose answer is lost |
//! | `transferring` | yes | the node refuses before it appends anything |
//! | `lease-over` | yes | only reads have a lease, and this one was not answered |
//! | `unknown-refusal` | no | a refusal that this version does not know, and which does not call itself definite |
//! | `cannot-connect` | yes | no request leaves before there is a connection |
//! | `connection-lost` | no | the request may have arrived |
//! | `timeout` | no | the request may be on its way |
//! | `unimplemented` | yes | the server has no such method |
//! | `unauthenticated` | yes | the node looks at the token before it looks at the request |
//! | `status` | no | a gRPC error says nothing about the operation |
//! | `foreign-reply` | no | the reply belongs to another request, or makes no sense for this one |
//! | `not-sent` | yes | the time was over before anything was sent |
//!
//! An *operation* has several attempts. It is definite only if every attempt was: a refusal of the second says nothing
//! about the first, which may still be on its way. The exception is a *success*: attempts of a write share their session and
//! sequence, so the outcome that any of them brings back is the outcome of the operation. Reads change nothing, so a read
//! that failed is always definite.

use std::fmt;

use thiserror::Error;

/// Declares the rows once.
macro_rules! table {
    ($($variant:ident $name:literal $definite:literal $why:literal)*) => {
        /// What went wrong with an attempt. The table is in the module's documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum AttemptError {
            $(#[doc = $why] $variant,)*
        }

        impl AttemptError {
            /// All rows of the table.
            pub const ALL: &'static [AttemptError] = &[$(AttemptError::$variant,)*];

            /// Its name, fixed: tools may rely on it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(AttemptError::$variant => $name,)* }
            }

            /// Whether the attempt is known to have had no effect, now and for ever.
            #[must_use]
            pub fn is_definite(self) -> bool {
                match self { $(AttemptError::$variant => $definite,)* }
            }

            /// Why.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(AttemptError::$variant => $why,)* }
            }
        }
    };
}

table! {
    NotLeader "not-leader" true "a node refuses before it appends anything"
    Overloaded "overloaded" true "the node refuses before it appends anything"
    Superseded "superseded" true "another entry is committed at its place, so its own never can be"
    LeadershipLost "leadership-lost" false "its entry may be committed by the next leader"
    DeadlineExpired "deadline-expired" true "the node looks at the deadline before it appends anything"
    SessionExpired "session-expired" true "the state machine refuses an established write of a session it does not know"
    SequencePassed "sequence-passed" true "the state machine refuses what comes after a later write of the session"
    ShuttingDown "shutting-down" true "the node refuses before it appends anything"
    ShutDownWhileWaiting "shut-down-while-waiting" false "its entry is in the node's log"
    TooLarge "too-large" true "the node refuses before it appends anything"
    Malformed "malformed" true "neither the node nor the state machine can tell what it should do"
    NoSpace "no-space" true "the state machine refuses it before it changes anything"
    AnswerForgotten "answer-forgotten" false "it was carried out by an earlier attempt, whose answer is lost"
    Transferring "transferring" true "the node refuses before it appends anything"
    LeaseOver "lease-over" true "only reads have a lease, and this one was not answered"
    UnknownRefusal "unknown-refusal" false "a refusal that this version does not know, and which does not call itself definite"
    CannotConnect "cannot-connect" true "no request leaves before there is a connection"
    ConnectionLost "connection-lost" false "the request may have arrived"
    Timeout "timeout" false "the request may be on its way"
    Unimplemented "unimplemented" true "the server has no such method"
    Unauthenticated "unauthenticated" true "the node looks at the token before it looks at the request"
    Status "status" false "a gRPC error says nothing about the operation"
    ForeignReply "foreign-reply" false "the reply belongs to another request, or makes no sense for this one"
    NotSent "not-sent" true "the time was over before anything was sent"
}

impl fmt::Display for AttemptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How an operation failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{error}: {detail} ({}, {attempts} attempts)", if *definite { "did not happen" } else { "may have happened" })]
pub struct ClientError {
    /// True: the operation has not taken effect and never will. False: nobody knows.
    pub definite: bool,
    /// What went wrong last.
    pub error: AttemptError,
    /// More about it.
    pub detail: String,
    /// How many attempts were made.
    pub attempts: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_documentation_is_the_table_in_the_code() {
        let source = include_str!("errors.rs");
        for error in AttemptError::ALL {
            let definite = if error.is_definite() { "yes" } else { "no" };
            let row = format!("//! | `{}` | {definite} | {} |", error.name(), error.reason());
            assert!(source.contains(&row), "missing: {row}");
        }
        let rows = source.lines().filter(|line| line.starts_with("//! | `")).count();
        assert_eq!(rows, AttemptError::ALL.len());
    }
}
