//! History in, verdict out.
//!
//! Pure: no I/O, no clock but the one handed in by [`budget::Budget`], no randomness, no async. Everything that a checker
//! reads is in the history and in its own configuration, so that any verdict can be recomputed from a run directory.
//!
//! The front door is [`check`]: it runs the checkers of a [`CheckConfig`] and combines what they say.
//!
//! ```
//! use labrys_checker::{CheckConfig, check, verdict::Validity};
//! use labrys_history::{Event, EventKind, History, Process, Value};
//!
//! let client = Process::Client(0);
//! let event = |index, kind, f, value| Event::new(index, index, client.clone(), kind, f, value);
//! let history = History::from_validated(vec![
//!     event(0, EventKind::Invoke, "write", Value::Int(1)),
//!     event(1, EventKind::Ok, "write", Value::Int(1)),
//!     event(2, EventKind::Invoke, "read", Value::Nil),
//!     event(3, EventKind::Ok, "read", Value::Int(2)),
//! ]);
//! let verdict = check(&history, &CheckConfig::linearizable("register", None)?)?;
//! assert_eq!(verdict.validity, Validity::Invalid);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`model`] is the trait of sequential specifications, [`models`] the table of those that there are.
//! - [`linearizable`], [`statistics`] and [`invariants`] are the checkers, each an implementation of [`Checker`].
//! - [`online`] judges a history while it grows.
//! - [`observer`] has the conventions for events that are no client operations.
//! - [`verdict`] is what comes out.

#![warn(missing_docs)]

pub mod budget;
mod check;
pub mod class;
pub mod invariants;
mod json;
pub mod linearizable;
mod minimal;
pub mod model;
pub mod models;
pub mod nondeterministic;
pub mod observer;
pub mod online;
mod persistent;
mod polynomial;
pub mod removal;
pub mod statistics;
pub mod verdict;

pub use budget::{Budget, Clock};
pub use check::{CheckConfig, CheckError, Checker, Context, check};
pub use class::{Class, Role};
pub use linearizable::Linearizable;
pub use model::{Meaning, Model, ModelError};
pub use removal::Removal;
