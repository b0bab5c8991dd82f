//! The gRPC types and services, generated from `proto/store.proto`; its comments are the documentation.

#[allow(missing_docs, clippy::all, clippy::iter_over_hash_type)]
mod generated {
    tonic::include_proto!("labrys.store.v1");
}

pub use generated::*;

/// Most bytes in a key.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Most bytes in a value.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Most bytes in one gRPC message between nodes: a Raft batch and what surrounds it.
pub const MAX_PEER_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes in what one reply brings back: less than what a gRPC client takes by default (4 MiB), more than a key and a value.
pub const MAX_RESULT_BYTES: usize = 2 * 1024 * 1024;
