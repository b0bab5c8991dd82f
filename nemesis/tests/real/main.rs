//! The nemesis on real processes, real network namespaces and real packets.
//!
//! Tests that need namespaces run themselves again inside new user, network, mount and process namespaces, which the
//! kernel takes away, with all that is in them, when the test ends. Where these cannot be made, a line says so and the test
//! is skipped.

#![allow(clippy::disallowed_methods, reason = "what these tests are about is a real machine")]

mod clock;
mod disk;
mod ext4;
mod groups;
mod local_host;
mod namespaces;
mod network;
mod partition;
mod processes;
mod resource;
mod restart;
mod survival;
