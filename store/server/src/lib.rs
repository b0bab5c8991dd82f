//! The reference Raft key-value store.
