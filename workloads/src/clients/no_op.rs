//! A client of nothing: every operation is `ok` at once with its own value. What the interpreter costs shows against it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::workload::{WorkloadError, WorkloadOptions};
use crate::{Client, ClientFactory, Op, OpenError, Outcome};

/// The name in the table of systems.
pub const NAME: &str = "no-op";

/// Opens clients that do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOp;

#[async_trait]
impl ClientFactory for NoOp {
    async fn open(&self, _: u64, _: usize) -> Result<Box<dyn Client>, OpenError> {
        Ok(Box::new(NoOp))
    }
}

#[async_trait]
impl Client for NoOp {
    async fn invoke(&mut self, op: &Op, _: Duration) -> Outcome {
        Outcome::Ok(op.value.clone())
    }

    async fn close(self: Box<Self>) {}
}

pub(super) fn factory(_: &WorkloadOptions) -> Result<Arc<dyn ClientFactory>, WorkloadError> {
    Ok(Arc::new(NoOp))
}
