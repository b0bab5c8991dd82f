//! A disk on the way to which there are failpoints: so the log and the snapshots have them without knowing.

use std::io;
use std::sync::Arc;

use super::{Failpoints, Point};
use crate::disk::Disk;

/// A disk, and the points on the way to it. An error of a point is one of the disk, whose source is [`super::Reached`].
pub struct PassingDisk<D> {
    disk: D,
    failpoints: Arc<Failpoints>,
}

impl<D: Disk> PassingDisk<D> {
    /// `disk`, by way of `failpoints`.
    pub fn new(disk: D, failpoints: Arc<Failpoints>) -> PassingDisk<D> {
        PassingDisk { disk, failpoints }
    }

    fn pass(&self, point: Point) -> io::Result<()> {
        self.failpoints.pass(point).map_err(io::Error::other)
    }
}

/// Whether a file is one of the log's ([`crate::wal::segment_name`]).
fn is_of_log(name: &str) -> bool {
    name.starts_with("wal-")
}

impl<D: Disk> Disk for PassingDisk<D> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.disk.length(name)
    }

    fn read_range(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        self.disk.read_range(name, offset, length)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.disk.create(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(name, bytes)
    }

    fn truncate(&mut self, name: &str, length_bytes: u64) -> io::Result<()> {
        self.disk.truncate(name, length_bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        if !is_of_log(name) {
            return self.disk.sync(name);
        }
        self.pass(Point::BeforeWalSync)?;
        self.disk.sync(name)?;
        self.pass(Point::AfterWalSync)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.pass(Point::BeforeSnapshotRename)?;
        self.disk.rename(from, to)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if is_of_log(name) {
            self.pass(Point::BeforeLogRemove)?;
        }
        self.disk.remove(name)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Reached};
    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::exit::Exit;
    use crate::server::Fatal;
    use crate::wal::{Wal, WalOptions};
    use labrys_raft::{HardState, NodeId, PersistBatch, Sequence};

    fn passes(failpoints: &Failpoints, point: Point) -> u64 {
        failpoints.list().into_iter().find(|status| status.point == point).unwrap().passes
    }

    #[test]
    fn a_group_of_the_log_passes_before_and_after_its_sync_and_an_error_ends_the_node_as_a_failpoints() {
        let failpoints = Arc::new(Failpoints::default());
        let disk = PassingDisk::new(SimulatedDisk::new(), Arc::clone(&failpoints));
        let mut wal = Wal::open(Box::new(disk), NodeId(1), WalOptions::default()).unwrap().wal;
        let batch = PersistBatch {
            sequence: Sequence(1),
            hard_state: Some(HardState::default()),
            reset_after: None,
            truncate_from: None,
            entries: Vec::new(),
        };
        let [before, after] =
            [Point::BeforeWalSync, Point::AfterWalSync].map(|point| passes(&failpoints, point));
        wal.write(std::slice::from_ref(&batch)).unwrap();
        assert_eq!(passes(&failpoints, Point::BeforeWalSync), before + 1);
        assert_eq!(passes(&failpoints, Point::AfterWalSync), after + 1);

        failpoints.set(Point::BeforeWalSync, Action::Error, Some(1));
        let error = wal.write(std::slice::from_ref(&batch)).unwrap_err();
        assert_eq!(passes(&failpoints, Point::AfterWalSync), after + 1, "it was not synced");
        assert!(error.to_string().contains("the failpoint `before-wal-sync` fails"), "{error}");
        assert_eq!(Exit::from(&Fatal::from(error)), Exit::Failpoint);
        assert!(wal.write(&[batch]).is_err(), "as after any failed sync");
    }

    #[test]
    fn a_rename_and_the_removal_of_a_segment_pass_and_other_files_do_not() {
        let failpoints = Arc::new(Failpoints::default());
        let mut disk = PassingDisk::new(SimulatedDisk::new(), Arc::clone(&failpoints));
        for name in ["wal-1.log", "other"] {
            disk.create(name).unwrap();
        }
        for point in [Point::BeforeSnapshotRename, Point::BeforeLogRemove, Point::BeforeWalSync] {
            failpoints.set(point, Action::Error, None);
        }
        disk.sync("other").unwrap();
        let reached = |error: io::Error| *error.get_ref().unwrap().downcast_ref::<Reached>().unwrap();
        let error = disk.rename("other", "snapshot-1-1.snap").unwrap_err();
        assert_eq!(reached(error), Reached { point: Point::BeforeSnapshotRename });
        assert_eq!(reached(disk.remove("wal-1.log").unwrap_err()), Reached { point: Point::BeforeLogRemove });
        disk.remove("other").unwrap();
        assert_eq!(disk.list().unwrap(), ["wal-1.log"]);
    }
}
