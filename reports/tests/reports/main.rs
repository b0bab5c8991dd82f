//! The crate's integration tests: what a reader of a report sees.

mod browser;
mod lamport;
mod page;
mod summary;
mod support;
