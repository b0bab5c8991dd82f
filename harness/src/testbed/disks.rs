//! [`Disks`]: disks under the nodes' folders that can lose power, fill up, fail and rot, for runs that ask for that.
//!
//! Each is a process of its own ([`labrys_nemesis::run_disk`]) with a file system mounted over a folder of its node. What programs see there
//! is in the folder underneath, and stays when the disk is stopped, or dies with the isolation; of an ext4 it is put there when the disk
//! is stopped, and stays in an image (`disk.json.ext4`) if that never happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use labrys_nemesis::{DiskKind, Host, HostError, Patience, start_disk, stop_disk};

/// Its name in a node's folder.
pub const DISK_FOLDER: &str = "disk";

/// Over which folder of a node's the disk is mounted.
#[must_use]
pub fn mount_point(directory: &Path) -> PathBuf {
    directory.join(DISK_FOLDER)
}

/// Where the disk of a node takes orders from.
#[must_use]
pub fn order_file(directory: &Path) -> PathBuf {
    directory.join("disk.json")
}

/// The disks of a testbed.
pub struct Disks {
    nodes: Vec<(Arc<dyn Host>, PathBuf)>,
}

impl Disks {
    /// Mounts one of this kind for each node, by its host and folder. `program` is how the process of a disk is started.
    ///
    /// # Errors
    /// One could not be mounted; those that were are unmounted again.
    pub fn start(
        nodes: Vec<(Arc<dyn Host>, PathBuf)>,
        program: &[String],
        kind: DiskKind,
    ) -> Result<Disks, HostError> {
        let mut disks = Disks { nodes: Vec::new() };
        for (host, directory) in nodes {
            let (order, mount) = (order_file(&directory), mount_point(&directory));
            if let Err(error) = start_disk(&*host, program, &order, (&mount, kind), Patience::default()) {
                disks.stop();
                return Err(error);
            }
            disks.nodes.push((host, directory));
        }
        Ok(disks)
    }

    /// Unmounts them; what went wrong.
    pub fn stop(&mut self) -> Vec<HostError> {
        let stop = |(host, directory): (Arc<dyn Host>, PathBuf)| {
            stop_disk(&*host, &order_file(&directory), &mount_point(&directory), Patience::default()).err()
        };
        self.nodes.drain(..).filter_map(stop).collect()
    }
}
