//! The crate's integration tests: what a reader of a report sees.

mod browser;
mod page;
mod summary;
mod support;
