//! The process that is a disk: mounts it, carries out orders, and goes when the file with its orders does.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fuser::{BackgroundSession, Config, INodeNo, MountOption, Session, SessionACL};
use labrys_seed::Seed;
use nix::mount::{MntFlags, umount2};
use thiserror::Error;

use super::device::Disk;
use super::mount::{Mounted, Shared, lock};
use super::order::{DiskAct, DiskAnswer, DiskDeed, DiskOrder, answer_file, beside, errors_file};
use super::rot;
use super::troubles::Troubles;
use super::volume::Volume;

/// The file with the orders is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A disk could not be had, or ended.
#[derive(Debug, Error)]
pub enum DiskFailure {
    /// The orders could not be read.
    #[error("{path}: {detail}")]
    Order {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// A file could not be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused to mount it.
    #[error("cannot mount a file system in user space (FUSE) over {directory}: {source}")]
    Mount {
        /// The folder.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A mounted disk.
struct Running {
    disk: Arc<Shared>,
    session: BackgroundSession,
    answer: DiskAnswer,
    order_file: PathBuf,
    /// Of the folder underneath; it must stay open.
    _folder: File,
}

/// Is the disk that the file says, until it is removed; unmounts it then.
///
/// # Errors
/// The orders make no sense, the disk cannot be mounted, or an answer cannot be written.
#[allow(clippy::disallowed_methods, reason = "looking for orders is what this process is for")]
pub fn run_disk(order_file: &Path) -> Result<(), DiskFailure> {
    let Some(first) = read_order(order_file)? else {
        return Err(unusable(order_file, "there is no such file"));
    };
    let directory = first.directory.clone();
    let mut running = Running::mount(order_file, &directory)?;
    running.carry_out(first)?;
    loop {
        std::thread::sleep(LOOK_EVERY);
        match read_order(order_file)? {
            Some(order) if order.serial > running.answer.serial => running.carry_out(order)?,
            Some(_) if running.session.guard.is_finished() => return Ok(()),
            Some(_) => {}
            None => break,
        }
    }
    // Also under who has files open: they are let down, as by a disk that is pulled out.
    umount2(&directory, MntFlags::MNT_DETACH)
        .map_err(|errno| DiskFailure::Mount { directory, source: errno.into() })
}

fn unusable(path: &Path, detail: impl ToString) -> DiskFailure {
    DiskFailure::Order { path: path.to_owned(), detail: detail.to_string() }
}

/// `None`: it is gone. It is replaced as a whole, so what makes no sense is nobody's draft.
fn read_order(path: &Path) -> Result<Option<DiskOrder>, DiskFailure> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| unusable(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, error)),
    }
}

impl Running {
    fn mount(order_file: &Path, directory: &Path) -> Result<Running, DiskFailure> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DiskFailure::File { path, source }
        };
        let mut options = OpenOptions::new();
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY;
        let folder =
            options.read(true).custom_flags(flags.bits()).open(directory).map_err(failed(directory))?;
        // By this name it is found also below what is mounted over it; without the dot it would be a link.
        let underneath = PathBuf::from(format!("/proc/self/fd/{}/.", folder.as_raw_fd()));
        let volume = Volume::open(&underneath).map_err(failed(directory))?;
        let errors = errors_file(order_file);
        let opened = OpenOptions::new().create(true).append(true).open(&errors).map_err(failed(&errors))?;
        let disk = Disk::new(volume, Troubles::new(opened));
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
        let answer = DiskAnswer { pid: std::process::id().cast_signed(), ..DiskAnswer::default() };
        Ok(Running { disk, session, answer, order_file: order_file.to_owned(), _folder: folder })
    }

    /// Does what is new in an order, ends what is not in it any more, and answers.
    fn carry_out(&mut self, order: DiskOrder) -> Result<(), DiskFailure> {
        let mut changed = BTreeSet::new();
        {
            let mut disk = lock(&self.disk);
            for (fault_id, act) in &order.acts {
                if !self.answer.deeds.contains_key(fault_id) {
                    let deed = disk.act(*fault_id, act, &mut changed);
                    self.answer.deeds.insert(*fault_id, deed);
                }
            }
            for fault_id in self.answer.deeds.keys().filter(|id| !order.acts.contains_key(id)) {
                disk.end(*fault_id, &mut changed);
            }
            self.answer.operations = disk.troubles.operations().clone();
            self.answer.syncs = disk.syncs;
        }
        self.disk.lost.notify_all();
        // Not while the disk is locked: who reads a page that is to be forgotten waits for the disk.
        for ino in changed {
            // The kernel may not know it at all.
            let _ = self.session.notifier().inval_inode(INodeNo(ino), 0, 0);
        }
        self.answer.serial = order.serial;
        self.tell()
    }

    fn tell(&self) -> Result<(), DiskFailure> {
        let file = answer_file(&self.order_file);
        let draft = beside(&file, ".draft");
        let text = serde_json::to_vec(&self.answer).map_err(io::Error::from);
        let written =
            text.and_then(|text| std::fs::write(&draft, text)).and_then(|()| std::fs::rename(&draft, &file));
        written.map_err(|source| DiskFailure::File { path: file, source })
    }
}

impl Disk {
    /// Does what an act says, for the first time; `changed`: the files of which the kernel must forget what it has read.
    fn act(&mut self, fault_id: u64, act: &DiskAct, changed: &mut BTreeSet<u64>) -> DiskDeed {
        let done = match act {
            DiskAct::PowerCut { loss, seed } => {
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
