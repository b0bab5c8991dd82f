//! What a node begins with: its log, its newest snapshot, and a replica made of both.

use labrys_raft::NodeId;
use tracing::warn;

use super::{ServerOptions, StartError};
use crate::disk::Disk;
use crate::machine::Machine;
use crate::server::replica::Replica;
use crate::snapshots::SnapshotStore;
use crate::wal::{Wal, WalOptions};

/// What is made of what was durable.
pub struct Restored {
    /// The log, ready to be written to.
    pub wal: Wal,
    /// All that decides, at time 0 of its clock.
    pub replica: Replica,
    /// The snapshot files.
    pub store: SnapshotStore,
    /// How many entries the log holds.
    pub entries: usize,
}

/// The log, the newest snapshot, and a replica that begins with both. The two disks are two hands on one directory.
///
/// # Errors
///
/// If what is on disk cannot be used, or the options make no sense.
pub fn restore(
    log_disk: Box<dyn Disk>,
    snapshot_disk: Box<dyn Disk>,
    options: &ServerOptions,
) -> Result<Restored, StartError> {
    let wal_options = WalOptions { defects: options.defects, ..options.wal };
    let opened = Wal::open(log_disk, NodeId(options.id), wal_options)?;
    for repair in &opened.repairs {
        warn!(event = "log_repaired", file = repair.file, offset = repair.offset, "{repair}");
    }
    let mut store = SnapshotStore::open(snapshot_disk, options.machine, options.defects)?;
    let mut recovered = opened.recovered;
    let found = store.find_newest(&recovered.entries)?;
    for problem in &found.passed_over {
        warn!(event = "snapshot_passed_over", "{problem}");
    }
    let machine = match found.newest {
        None => Machine::new(options.machine, options.defects),
        Some((snapshot, machine)) => {
            recovered.applied = snapshot.index();
            recovered.snapshot = Some(snapshot);
            machine
        }
    };
    let entries = recovered.entries.len();
    let replica = Replica::restored(options.raft_config(), recovered, machine, options.snapshots, 0)?;
    Ok(Restored { wal: opened.wal, replica, store, entries })
}
