//! The gRPC types and services, generated from `proto/`, whose comments are the documentation; and what goes with them.
//!
//! - [`codec`]: what is looked at before a request is decoded;
//! - [`limits`]: how large a request may be;
//! - [`members`]: translation of members, their changes and the modes of reads;
//! - `requests`, [`replies`]: translation to and from the state machine's types, both ways.

pub mod codec;
pub mod limits;
pub mod members;
pub mod replies;
mod requests;

#[allow(missing_docs, clippy::all, clippy::iter_over_hash_type)]
mod generated {
    tonic::include_proto!("labrys.store.v1");
}

pub use generated::*;
pub use limits::{
    MAX_KEY_BYTES, MAX_PEER_MESSAGE_BYTES, MAX_REPLY_MESSAGE_BYTES, MAX_REQUEST_MESSAGE_BYTES,
    MAX_RESULT_BYTES, MAX_REVISION_BYTES, MAX_VALUE_BYTES,
};

#[cfg(test)]
mod tests;
