//! The tests of the crate from outside, in one binary.
//!
//! `crash` starts processes: this binary again.

#[cfg(feature = "parquet")]
mod columnar;
mod crash;
mod edn;
mod elle_cli;
mod foreign;
mod fuzzed;
mod jepsen_log;
mod json_lines;
mod malformed;
mod mutations;
mod porcupine;
mod recorder;
mod round_trips;
mod shared_histories;
mod strategies;
mod views;
