//! `labrys bench`: how fast the checker is (`check`), on histories that it makes itself, and how fast others are on the same; how
//! fast the reference store is ([`store`]), and etcd beside it; how fast the simulator is ([`simulation`]).
//!
//! Each row is measured in a process of its own (`row_process`), which the command line starts again as itself with the hidden
//! command [`ROW_COMMAND`]: so the peak of memory is that row's, and a row that uses up its time or memory ends as unknown
//! without hurting the others. Nothing of it survives the parent, however that ends.
//!
//! What this is not: a test. However slow a row is, the exit code is 0; it is 1 only if a verdict is wrong, which a history that
//! is right or wrong by construction can tell.
//!
//! - [`rows`] is what is measured: the sweep and the promised figures.
//! - `measure` goes through it, `jobs` starts, awaits and ends processes, `against` has other checkers run.
//! - `table` is what a person sees.
//! - [`simulation`] is `labrys bench sim`.
//! - [`store`] is `labrys bench store`: the reference store, and etcd beside it.

#![warn(missing_docs)]

mod against;
mod jobs;
mod measure;
mod options;
mod row_process;
pub mod rows;
pub mod simulation;
pub mod store;
mod table;

pub use measure::Report;
pub use options::{BenchError, CheckOptions, after_help, run};
pub use row_process::serve_row;

/// The hidden command that must call [`serve_row`].
pub const ROW_COMMAND: &str = "bench-row";
