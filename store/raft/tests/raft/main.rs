//! The tests of the Raft core, in one binary.
//!
//! - `scenarios`: text files in `tests/scenarios`, run as written (`REWRITE=1` records what happens anew)
//! - `paper`: a test per rule
//! - `properties`: random schedules under the eye of `oracle`
//! - `limits`: bad configurations, bad messages, bounds
//!
//! `cluster`, `disk`, `render` and `simulation` are what they share.

mod cluster;
mod disk;
mod limits;
mod oracle;
mod paper;
mod properties;
mod render;
mod scenarios;
mod simulation;
