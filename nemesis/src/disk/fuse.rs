//! The file system in this process as a disk: mounted over a folder, and told what to do.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use fuser::{BackgroundSession, Config, INodeNo, MountOption, Session, SessionACL};
use labrys_seed::Seed;
use nix::mount::{MntFlags, umount2};

use super::device::Disk;
use super::mount::{Mounted, Shared, lock};
use super::order::{DiskAct, DiskAnswer, DiskDeed, DiskOrder};
use super::process::DiskFailure;
use super::rot;
use super::troubles::Troubles;
use super::volume::Volume;

/// A mounted disk.
pub(super) struct Fuse {
    disk: Arc<Shared>,
    session: BackgroundSession,
    directory: PathBuf,
    /// Of the folder underneath; it must stay open.
    _folder: File,
}

impl Fuse {
    /// Mounts it; who meets trouble is written to `errors`.
    pub fn mount(directory: &Path, errors: File) -> Result<Fuse, DiskFailure> {
        let failed = |source| DiskFailure::File { path: directory.to_owned(), source };
        let mut options = OpenOptions::new();
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY;
        let folder = options.read(true).custom_flags(flags.bits()).open(directory).map_err(failed)?;
        // By this name it is found also below what is mounted over it; without the dot it would be a link.
        let underneath = PathBuf::from(format!("/proc/self/fd/{}/.", folder.as_raw_fd()));
        let volume = Volume::open(&underneath).map_err(failed)?;
        let disk = Disk::new(volume, Troubles::new(errors));
        let disk = Arc::new(Shared { disk: Mutex::new(disk), lost: Condvar::new() });

        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("labrys-disk".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::NoAtime,
        ];
        config.acl = SessionACL::All;
        let mounted = Session::new(Mounted(Arc::clone(&disk)), directory, &config).and_then(Session::spawn);
        let session =
            mounted.map_err(|source| DiskFailure::Mount { directory: directory.to_owned(), source })?;
        Ok(Fuse { disk, session, directory: directory.to_owned(), _folder: folder })
    }

    /// Does what is new in an order, ends what is not in it any more, and notes it all in the answer.
    pub fn carry_out(&mut self, order: &DiskOrder, answer: &mut DiskAnswer) {
        let mut changed = BTreeSet::new();
        {
            let mut disk = lock(&self.disk);
            for (fault_id, act) in &order.acts {
                if !answer.deeds.contains_key(fault_id) {
                    let deed = disk.act(*fault_id, act, &mut changed);
                    answer.deeds.insert(*fault_id, deed);
                }
            }
            for fault_id in answer.deeds.keys().filter(|id| !order.acts.contains_key(id)) {
                disk.end(*fault_id, &mut changed);
            }
            answer.operations = disk.troubles.operations().clone();
            answer.syncs = disk.syncs;
        }
        self.disk.lost.notify_all();
        // Not while the disk is locked: who reads a page that is to be forgotten waits for the disk.
        for ino in changed {
            // The kernel may not know it at all.
            let _ = self.session.notifier().inval_inode(INodeNo(ino), 0, 0);
        }
    }

    /// Whether somebody else has unmounted it.
    pub fn is_gone(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Also under who has files open: they are let down, as by a disk that is pulled out.
    pub fn unmount(self) -> Result<(), DiskFailure> {
        umount2(&self.directory, MntFlags::MNT_DETACH)
            .map_err(|errno| DiskFailure::Mount { directory: self.directory, source: errno.into() })
    }
}

impl Disk {
    /// Does what an act says, for the first time; `changed`: the files of which the kernel must forget what it has read.
    fn act(&mut self, fault_id: u64, act: &DiskAct, changed: &mut BTreeSet<u64>) -> DiskDeed {
        let done = match act {
            DiskAct::PowerCut { loss, seed, .. } => {
                changed.extend(self.volume.files().into_iter().map(|(ino, _)| ino));
                self.without_power.insert(fault_id);
                self.losses += 1;
                self.volume.lose_power(*loss, &mut Seed(*seed).rng()).map(DiskDeed::PowerLost)
            }
            DiskAct::Trouble { trouble, seed } if trouble.is_rot() => {
                let rotten: Vec<_> = self.rotten.values().flatten().collect();
                rot::set_in(&mut self.volume, *trouble, &rotten, &mut Seed(*seed).rng()).map(|pieces| {
                    let Some(first) = pieces.first() else { return DiskDeed::NothingToRot };
                    let bytes = pieces.iter().map(|piece| piece.was.len() as u64).sum();
                    let (file, offset) = (self.volume.name(first.ino), first.offset);
                    changed.extend(pieces.iter().map(|piece| piece.ino));
                    self.rotten.insert(fault_id, pieces);
                    DiskDeed::Rotten { file, offset, bytes }
                })
            }
            DiskAct::Trouble { trouble, .. } => {
                self.troubles.hold(fault_id, *trouble);
                Ok(DiskDeed::Holds)
            }
        };
        done.unwrap_or_else(|error| DiskDeed::Failed(error.to_string()))
    }

    /// Ends a trouble, gives the power back, and mends what has gone wrong.
    fn end(&mut self, fault_id: u64, changed: &mut BTreeSet<u64>) {
        self.troubles.end(fault_id);
        self.without_power.remove(&fault_id);
        let Some(pieces) = self.rotten.remove(&fault_id) else { return };
        changed.extend(pieces.iter().map(|piece| piece.ino));
        if let Err(error) = rot::mend(&mut self.volume, &pieces) {
            eprintln!("what had gone wrong by fault {fault_id} could not be mended: {error}");
        }
    }
}
