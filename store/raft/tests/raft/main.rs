//! The tests of the Raft core, in one binary.
//!
//! - `scenarios`: text files in `tests/scenarios`, run as written (`REWRITE=1` records what happens anew)
//! - `paper`: a test per rule
//! - `properties`: random schedules under the eye of `oracle`
//! - `limits`: bad configurations, bad messages, bounds
//! - `document`: what `PAPER.md` names exists
//! - `states`: copies of a node, and telling its states apart
//!
//! - `defects`: each defect of elections, replication, membership and reads must break a property
//! - `operators`: what operators and readers add to the schedules: changes of the membership, transfers, all kinds of reads
//!
//! `cluster`, `disk`, `render` and `simulation` are what they share.

mod cluster;
mod defects;
mod disk;
mod document;
mod limits;
mod operators;
mod oracle;
mod paper;
mod properties;
mod render;
mod scenarios;
mod simulation;
mod states;
