//! The client library.
//!
//! - [`errors`]: the one table of what can go wrong with an attempt, and what is known then;
//! - [`logic`]: which node to ask, when to try again, what to tell the caller: a state machine without I/O;
//! - [`transport`]: that state machine on tonic;
//! - [`status`]: looking at nodes.

pub mod errors;
pub mod logic;
pub mod status;
#[allow(clippy::disallowed_methods)] // It owns a clock.
pub mod transport;

pub use errors::{AttemptError, ClientError};
pub use logic::{ClientOptions, Success};
pub use status::{LeaderChangeSeen, NodeStatus, StatusClient, StatusError};
pub use transport::{AddressError, CompareAndSet, StoreClient};
