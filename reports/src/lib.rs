//! Verdict and history into pictures and words: the HTML report with its timeline, plots of latency and rate, the
//! terminal's summary.
//!
//! What this crate is not: a judge. It draws the evidence of a [`Verdict`](labrys_checker::verdict::Verdict) and computes
//! nothing about correctness; a verdict that is older than this release, or names operations that the history does not
//! have, is drawn as far as it goes.
//!
//! The way through it: [`Inputs`] → `facts` (operations, faults, lanes, the operations that the evidence names: everything
//! that more than one output needs, computed once) → [`report`] (`index.html` with the interactive timeline in
//! `assets/*.js`, `timeline.svg`, `latency.svg`, `rate.svg`), [`summary`].
//!
//! Invariants:
//! - the same inputs give the same bytes: no clock, no randomness, no hash order;
//! - everything from outside (names, keys, values, errors) is escaped where it is written, by maud in HTML and SVG and by
//!   the `columns` module in the embedded JSON;
//! - time and size are linear in the history, but for sorting; a page of 100,000 operations stays below 10 MB.

#![warn(missing_docs)]

mod clock;
mod columns;
pub mod counterexample;
mod describe;
mod facts;
mod faults;
mod inputs;
pub mod lamport;
mod lanes;
mod latency;
mod page;
mod picture;
mod plots;
mod rate;
pub mod report;
pub mod summary;
mod surviving;
mod violations;

pub use inputs::{Inputs, RunDescription};
pub use surviving::witnesses;
