//! Histories that nobody recorded: by an object that exists only here, with clients that are always busy.
//!
//! A [`Recipe`] and a seed make a history, the same on every machine. Every operation takes effect at one moment between its
//! invocation and its completion, in the order of those moments, so the history is linearizable by construction; unless the recipe
//! asks for a violation, which is one operation whose answer is provably wrong whatever the others did (see `register` and
//! `queue` for the two proofs).
//!
//! What every history has:
//! - No two events have the same time. Whether equal times are concurrent is a matter of convention; here it does not matter.
//! - On a register, each key is first written once before anything else happens: programs differ about the initial value,
//!   and here nobody sees it.
//! - A client whose operation crashed (`info`) goes on as a new process. Of the operations that crash, half never take
//!   effect, a quarter did in time, and a quarter do so after the client has given up.
//!
//! What this is not: the generators of `labrys-workloads`, which decide what real clients do next. Nothing here talks to a
//! system.
//!
//! Time is O(n log c) for n operations of c clients; memory is that of the history.

#![warn(missing_docs)]

mod call;
mod clients;
mod queue;
mod recipe;
mod register;

pub use recipe::{Object, Recipe, RecipeError, Values};
