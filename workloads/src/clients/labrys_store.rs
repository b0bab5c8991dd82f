//! The client of the reference store.

use std::sync::Arc;

use crate::ClientFactory;
use crate::workload::{WorkloadError, WorkloadOptions};

/// The name in the table of systems.
pub const NAME: &str = "labrys-store";

pub(super) fn factory(options: &WorkloadOptions) -> Result<Arc<dyn ClientFactory>, WorkloadError> {
    Err(WorkloadError::option("db", &options.system, "its client is not built yet"))
}
