//! What generators, workloads and clients promise, each promise a test whose name is the sentence.

mod combinators;
mod in_memory;
mod lease;
mod peeking;
mod register;
mod support;
mod threads;
