//! History in, verdict out.
//!
//! Pure: no I/O, no clock but the one handed in by [`Budget`](verdict), no randomness, no async. Everything that a checker reads is in the history and
//! in its own configuration, so that any verdict can be recomputed from a run directory.

#![warn(missing_docs)]

pub mod verdict;
