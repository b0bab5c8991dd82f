//! The disk itself: what it does when a program wants something, with its troubles between the wish and the volume.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};
use nix::errno::Errno;

use super::names::Ino;
use super::rot::Piece;
use super::troubles::{Failure, Operation, Troubles};
use super::volume::Volume;

/// The disk, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Disk {
    pub volume: Volume,
    pub troubles: Troubles,
    /// What has gone wrong, by fault.
    pub rotten: BTreeMap<u64, Vec<Piece>>,
    /// How many syncs of files have succeeded.
    pub syncs: u64,
    /// The faults that keep the power off: nothing is done as long as there is one.
    pub without_power: BTreeSet<u64>,
    /// How many times the power was lost.
    pub losses: u64,
    /// Directories that somebody reads, as they were when he began.
    pub listings: BTreeMap<u64, Vec<(OsString, Ino, bool)>>,
    pub next_listing: u64,
}

impl Disk {
    pub fn new(volume: Volume, troubles: Troubles) -> Disk {
        Disk {
            volume,
            troubles,
            rotten: BTreeMap::new(),
            syncs: 0,
            without_power: BTreeSet::new(),
            losses: 0,
            listings: BTreeMap::new(),
            next_listing: 0,
        }
    }

    /// The error, if this is to fail.
    pub fn refuse(&mut self, operation: Operation, request: &Request) -> io::Result<()> {
        self.needs_power()?;
        match self.troubles.failure(operation, request.pid()) {
            None => Ok(()),
            Some(Failure::Error(errno) | Failure::LostSync(errno)) => Err(errno.into()),
            Some(Failure::Half) => Err(Errno::ENOSPC.into()),
        }
    }

    /// Whoever still wants something of a disk without power is dying; what he wants must not be done after the loss.
    fn needs_power(&self) -> io::Result<()> {
        if self.without_power.is_empty() { Ok(()) } else { Err(Errno::EIO.into()) }
    }

    pub fn attributes(&self, ino: Ino) -> io::Result<FileAttr> {
        Ok(attributes(ino, &self.volume.metadata(ino)?))
    }

    pub fn read(&mut self, request: &Request, ino: Ino, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        self.refuse(Operation::Read, request)?;
        let is_met =
            |pieces: &Vec<Piece>| pieces.iter().any(|piece| piece.is_met(ino, offset, u64::from(length)));
        let met: Vec<u64> =
            self.rotten.iter().filter(|(_, pieces)| is_met(pieces)).map(|(id, _)| *id).collect();
        met.into_iter().for_each(|id| self.troubles.read_rot(id, request.pid()));
        self.volume.read(ino, offset, length as usize)
    }

    pub fn write(&mut self, request: &Request, ino: Ino, offset: u64, data: &[u8]) -> io::Result<u32> {
        self.needs_power()?;
        let end = offset.saturating_add(data.len() as u64);
        let operation =
            if end > self.volume.metadata(ino)?.len() { Operation::Grow } else { Operation::Write };
        let data = match self.troubles.failure(operation, request.pid()) {
            None => data,
            Some(Failure::Half) if data.len() > 1 => &data[..data.len() / 2],
            Some(Failure::Half) => return Err(Errno::ENOSPC.into()),
            Some(Failure::Error(errno) | Failure::LostSync(errno)) => return Err(errno.into()),
        };
        let (file, unsynced) = self.volume.file(ino)?;
        unsynced.write(file, offset, data)?;
        Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    pub fn resize(&mut self, request: &Request, ino: Ino, length: u64) -> io::Result<()> {
        let is_longer = length > self.volume.metadata(ino)?.len();
        self.refuse(if is_longer { Operation::Grow } else { Operation::Write }, request)?;
        let (file, unsynced) = self.volume.file(ino)?;
        unsynced.resize(file, length)
    }

    /// Begins to sync: what is written until now is meant. Fails, or says how long it takes.
    pub fn begin_sync(&mut self, request: &Request, ino: Ino) -> io::Result<(Sync, u64)> {
        self.needs_power()?;
        let failure = self.troubles.failure(Operation::SyncFile, request.pid());
        let (_, unsynced) = self.volume.file(ino)?;
        if let Some(failure) = failure {
            unsynced.fail_sync();
            return Err(match failure {
                Failure::Error(errno) | Failure::LostSync(errno) => errno,
                Failure::Half => Errno::EIO,
            }
            .into());
        }
        let mark = unsynced.mark();
        Ok((Sync { ino, mark, losses: self.losses }, self.troubles.slower_ms()))
    }

    pub fn end_sync(&mut self, sync: Sync) -> io::Result<()> {
        if sync.losses != self.losses {
            return Err(Errno::EIO.into());
        }
        self.volume.file(sync.ino)?.1.sync(sync.mark);
        self.syncs += 1;
        Ok(())
    }

    pub fn set_attributes(&mut self, ino: Ino, wanted: &Wanted) -> io::Result<()> {
        let path = self.volume.underneath(ino)?;
        if let Some(mode) = wanted.mode {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if wanted.uid.is_some() || wanted.gid.is_some() {
            std::os::unix::fs::chown(&path, wanted.uid, wanted.gid)?;
        }
        if wanted.accessed.is_some() || wanted.modified.is_some() {
            let mut times = FileTimes::new();
            if let Some(accessed) = wanted.accessed {
                times = times.set_accessed(accessed);
            }
            if let Some(modified) = wanted.modified {
                times = times.set_modified(modified);
            }
            std::fs::File::open(&path)?.set_times(times)?;
        }
        Ok(())
    }
}

/// A sync that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sync {
    ino: Ino,
    /// What was written before this is meant.
    mark: u64,
    /// How many losses of power there had been: after another one it is void.
    pub losses: u64,
}

/// Attributes to be changed.
pub(super) struct Wanted {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub accessed: Option<SystemTime>,
    pub modified: Option<SystemTime>,
}

#[allow(clippy::disallowed_methods, reason = "files are dated with the machine's clock")]
pub(super) fn time(wanted: TimeOrNow) -> SystemTime {
    match wanted {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

fn attributes(ino: Ino, metadata: &Metadata) -> FileAttr {
    let time = |at: io::Result<SystemTime>| at.unwrap_or(SystemTime::UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(ino),
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: time(metadata.accessed()),
        mtime: time(metadata.modified()),
        ctime: SystemTime::UNIX_EPOCH + Duration::from_secs(metadata.ctime().max(0).cast_unsigned()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: u16::try_from(metadata.mode() & 0o7777).unwrap_or(0o600),
        nlink: 1,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
