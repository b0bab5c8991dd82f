//! The thread that writes and reads snapshot files, beside the one that writes the log: nothing waits for it but snapshots.
//!
//! Its queue needs no limit of its own: one snapshot is taken and one received at a time, and one chunk is read for each
//! follower (see [`labrys_raft::Effect`]).

use std::sync::mpsc::Receiver;
use std::time::Instant;

use labrys_raft::NodeId;
use tracing::{error, info, warn};

use super::replica::{SnapshotEvent, SnapshotJob};
use crate::snapshots::{Received, SnapshotError, SnapshotStore};

/// What the thread works with.
pub struct SnapshotThread<'a> {
    /// This node.
    pub id: NodeId,
    /// The files.
    pub store: SnapshotStore,
    /// Called with what came of each job.
    pub tell: &'a dyn Fn(SnapshotEvent),
    /// Whether to go on with what takes long.
    pub go_on: &'a dyn Fn() -> bool,
}

impl SnapshotThread<'_> {
    /// The body of the thread: until nobody has jobs any more, or the first error.
    pub fn run(mut self, jobs: &Receiver<SnapshotJob>) -> Result<(), SnapshotError> {
        while let Ok(job) = jobs.recv() {
            if !(self.go_on)() {
                break;
            }
            if let Some(event) = Self::work(&mut self.store, self.id, job, self.go_on)? {
                (self.tell)(event);
            }
        }
        Ok(())
    }

    /// Does one job for node `id`.
    pub fn work(
        store: &mut SnapshotStore,
        id: NodeId,
        job: SnapshotJob,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<SnapshotEvent>, SnapshotError> {
        match job {
            SnapshotJob::Take { point, machine } => {
                let began = Instant::now();
                let Some(snapshot) = store.take(point, &machine, go_on)? else { return Ok(None) };
                info!(
                    event = "snapshot_taken",
                    node = id.0,
                    index = snapshot.index().0,
                    bytes = snapshot.length_bytes,
                    ms = began.elapsed().as_secs_f64() * 1000.0,
                    "took a snapshot"
                );
                Ok(Some(SnapshotEvent::Taken(snapshot)))
            }
            SnapshotJob::Receive { snapshot, offset, data } => {
                let index = snapshot.index();
                Ok(Some(match store.receive(&snapshot, offset, &data)? {
                    Received::Part { end } => SnapshotEvent::Written { index, end },
                    Received::Whole(machine) => SnapshotEvent::Received(snapshot, machine),
                    Received::Damaged => {
                        warn!(
                            event = "snapshot_refused",
                            node = id.0,
                            index = index.0,
                            "the snapshot that was received is not what its sender announced; it is asked for again"
                        );
                        SnapshotEvent::Damaged { index }
                    }
                }))
            }
            SnapshotJob::Read { to, index, offset, length } => match store.read(index, offset, length) {
                Ok(read) => Ok(read.map(|data| SnapshotEvent::Read { to, index, offset, data })),
                Err(error @ SnapshotError::Damaged { .. }) => {
                    error!(
                        event = "snapshot_damaged",
                        node = id.0,
                        follower = to.0,
                        index = index.0,
                        "a follower needs a snapshot that cannot be sent: {error}. Another one is taken and sent as soon as there is a newer \
                             state. The disk of this node is not to be trusted"
                    );
                    Ok(Some(SnapshotEvent::OwnDamaged { index }))
                }
                Err(error) => Err(error),
            },
            SnapshotJob::DropBelow { index } => {
                store.drop_below(index)?;
                Ok(None)
            }
        }
    }
}
