//! Asking a [`Db`] until it is as it should be. Observed, with a deadline, never slept for.

use std::future::Future;
use std::time::{Duration, Instant};

use super::{Db, DbError, Readiness};

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Sets all nodes up, starts them and waits until the system is ready.
///
/// # Errors
/// If a node cannot be started or ends by itself, or the system is not ready in time.
pub async fn set_up_and_start(db: &dyn Db, within: Duration) -> Result<(), DbError> {
    let count = db.node_names().len();
    for node in 0..count {
        db.set_up(node).await?;
    }
    for node in 0..count {
        db.start(node).await?;
    }
    wait_until_ready(db, within).await
}

/// Waits until clients can be let in.
///
/// # Errors
/// If a node ends by itself, or it takes too long.
pub async fn wait_until_ready(db: &dyn Db, within: Duration) -> Result<(), DbError> {
    wait(db, "ready", within, || db.readiness()).await
}

/// Waits until the system is whole again.
///
/// # Errors
/// If a node has ended by itself, or it takes too long. Both may be the system's fault: whoever judges the run has the
/// observations for that.
pub async fn wait_until_recovered(db: &dyn Db, within: Duration) -> Result<(), DbError> {
    wait(db, "recovered", within, || db.recovery()).await
}

async fn wait<F, Asked>(db: &dyn Db, what: &'static str, within: Duration, ask: F) -> Result<(), DbError>
where
    F: Fn() -> Asked,
    Asked: Future<Output = Result<Readiness, DbError>>,
{
    let begin = Instant::now();
    loop {
        let detail = match ask().await? {
            Readiness::Ready => return Ok(()),
            Readiness::NotYet(detail) => detail,
        };
        if begin.elapsed() >= within {
            return Err(DbError::TooLate {
                db: db.name().to_owned(),
                what,
                seconds: begin.elapsed().as_secs_f64(),
                detail,
            });
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
