//! Every model of the table against an object of its own that shares nothing with it, by brute force; and the statements that it
//! makes about itself.
//!
//! `LABRYS_TEST_HISTORIES=1000000 cargo test --release -p labrys-checker --test checker models:: -- --nocapture` for the large
//! number, with the counts of what was judged.

mod bag;
mod cache;
mod counter;
mod fenced_lock;
mod harness;
mod kv;
mod lease;
mod list;
mod log;
mod multi_register;
mod mutex;
mod priority_queue;
mod queue;
mod reentrant_mutex;
mod semaphore;
mod session_register;
mod set;
mod stack;
