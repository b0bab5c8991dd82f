//! Every model of the table against an object of its own that shares nothing with it, by brute force; and the statements that it
//! makes about itself.
//!
//! `LABRYS_TEST_HISTORIES=1000000 cargo test --release -p labrys-checker --test checker models:: -- --nocapture` for the large
//! number, with the counts of what was judged.

mod bag;
mod counter;
mod harness;
mod priority_queue;
mod queue;
mod set;
mod stack;
