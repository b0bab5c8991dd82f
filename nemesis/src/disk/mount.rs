//! The file system: what programs ask of the disk, and what they get.
//!
//! Nothing is remembered by the kernel: neither names and attributes nor what it has read (direct I/O), so that each operation of a program
//! is one of ours, and a loss of power, and rot, are seen at once. One thing is done at a time, but slow syncs wait elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;

use super::names::Ino;
use super::rot::Piece;
use super::troubles::{Failure, Operation, Troubles};
use super::volume::Volume;

/// The kernel asks anew each time.
const NOT_REMEMBERED: Duration = Duration::ZERO;

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
    listings: BTreeMap<u64, Vec<(OsString, Ino, bool)>>,
    next_listing: u64,
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
    fn refuse(&mut self, operation: Operation, request: &Request) -> io::Result<()> {
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

    fn attributes(&self, ino: Ino) -> io::Result<FileAttr> {
        Ok(attributes(ino, &self.volume.metadata(ino)?))
    }

    fn read(&mut self, request: &Request, ino: Ino, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        self.refuse(Operation::Read, request)?;
        let is_met =
            |pieces: &Vec<Piece>| pieces.iter().any(|piece| piece.is_met(ino, offset, u64::from(length)));
        let met: Vec<u64> =
            self.rotten.iter().filter(|(_, pieces)| is_met(pieces)).map(|(id, _)| *id).collect();
        met.into_iter().for_each(|id| self.troubles.read_rot(id, request.pid()));
        self.volume.read(ino, offset, length as usize)
    }

    fn write(&mut self, request: &Request, ino: Ino, offset: u64, data: &[u8]) -> io::Result<u32> {
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

    fn resize(&mut self, request: &Request, ino: Ino, length: u64) -> io::Result<()> {
        let is_longer = length > self.volume.metadata(ino)?.len();
        self.refuse(if is_longer { Operation::Grow } else { Operation::Write }, request)?;
        let (file, unsynced) = self.volume.file(ino)?;
        unsynced.resize(file, length)
    }

    /// Begins to sync: what is written until now is meant. Fails, or says how long it takes.
    fn begin_sync(&mut self, request: &Request, ino: Ino) -> io::Result<(Sync, u64)> {
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

    fn end_sync(&mut self, sync: Sync) -> io::Result<()> {
        if sync.losses != self.losses {
            return Err(Errno::EIO.into());
        }
        self.volume.file(sync.ino)?.1.sync(sync.mark);
        self.syncs += 1;
        Ok(())
    }

    fn set_attributes(&mut self, ino: Ino, wanted: &Wanted) -> io::Result<()> {
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
struct Sync {
    ino: Ino,
    /// What was written before this is meant.
    mark: u64,
    /// How many losses of power there had been: after another one it is void.
    losses: u64,
}

/// Attributes to be changed.
struct Wanted {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

#[allow(clippy::disallowed_methods, reason = "files are dated with the machine's clock")]
fn time(wanted: TimeOrNow) -> SystemTime {
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

/// The disk as a file system.
#[derive(Debug)]
pub(super) struct Mounted(pub Arc<Shared>);

/// A disk, and who waits for its power to be lost.
#[derive(Debug)]
pub(super) struct Shared {
    pub disk: Mutex<Disk>,
    pub lost: Condvar,
}

pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, Disk> {
    shared.disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers with what came of it.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $answer:expr) => {
        match $result {
            Ok($value) => $answer,
            Err(error) => $reply.error(error.into()),
        }
    };
}

impl Filesystem for Mounted {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without it files cannot be mapped into memory to be shared, which few programs do; older kernels (before 6.6) do not have it.
        let _ = config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = lock(&self.0);
        let found = disk.volume.lookup(parent.0, name).and_then(|ino| disk.attributes(ino));
        answer!(reply, found, found => reply.entry(&NOT_REMEMBERED, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = lock(&self.0).attributes(ino.0);
        answer!(reply, found, found => reply.attr(&NOT_REMEMBERED, &found));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = lock(&self.0);
        let wanted = Wanted { mode, uid, gid, accessed: atime.map(time), modified: mtime.map(time) };
        let resized = size.map_or(Ok(()), |size| disk.resize(request, ino.0, size));
        let done = resized.and_then(|()| disk.set_attributes(ino.0, &wanted));
        let done = done.and_then(|()| disk.attributes(ino.0));
        answer!(reply, done, found => reply.attr(&NOT_REMEMBERED, &found));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut disk = lock(&self.0);
        let made = disk.refuse(Operation::Grow, request);
        let made = made.and_then(|()| disk.volume.make_directory(parent.0, name));
        let made = made.and_then(|ino| disk.attributes(ino));
        answer!(reply, made, made => reply.entry(&NOT_REMEMBERED, &made, Generation(0)));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut disk = lock(&self.0);
        let done = disk.refuse(Operation::Write, request);
        let done = done.and_then(|()| disk.volume.remove_file(parent.0, name));
        answer!(reply, done, () => reply.ok());
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut disk = lock(&self.0);
        let done = disk.refuse(Operation::Write, request);
        let done = done.and_then(|()| disk.volume.remove_directory(parent.0, name));
        answer!(reply, done, () => reply.ok());
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut disk = lock(&self.0);
        let is_taken = || disk.volume.lookup(new_parent.0, new_name).is_ok();
        let refused = match flags {
            flags if flags.is_empty() => Ok(()),
            RenameFlags::RENAME_NOREPLACE if is_taken() => Err(Errno::EEXIST.into()),
            RenameFlags::RENAME_NOREPLACE => Ok(()),
            _ => Err(Errno::EINVAL.into()),
        };
        let done = refused.and_then(|()| disk.refuse(Operation::Write, request));
        let done = done.and_then(|()| disk.volume.rename((parent.0, name), (new_parent.0, new_name)));
        answer!(reply, done, () => reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = lock(&self.0).volume.open_file(ino.0);
        answer!(reply, opened, () => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = lock(&self.0);
        let made = disk.refuse(Operation::Grow, request);
        let made = made.and_then(|()| disk.volume.create(parent.0, name, mode & !umask & 0o7777));
        let made = made.and_then(|ino| disk.volume.open_file(ino).and_then(|()| disk.attributes(ino)));
        answer!(reply, made, made => {
            reply.created(&NOT_REMEMBERED, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = lock(&self.0).read(request, ino.0, offset, size);
        answer!(reply, read, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = lock(&self.0).write(request, ino.0, offset, data);
        answer!(reply, written, bytes => reply.written(bytes));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.0).volume.close_file(ino.0);
        reply.ok();
    }

    fn fsync(&self, request: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let begun = lock(&self.0).begin_sync(request, ino.0);
        answer!(reply, begun, (sync, slower_ms) => {
            if slower_ms == 0 {
                let ended = lock(&self.0).end_sync(sync);
                return answer!(reply, ended, () => reply.ok());
            }
            let shared = Arc::clone(&self.0);
            std::thread::spawn(move || {
                let slower = Duration::from_millis(slower_ms);
                let goes_on = |disk: &mut Disk| disk.losses == sync.losses;
                let waited = shared.lost.wait_timeout_while(lock(&shared), slower, goes_on);
                let ended = waited.unwrap_or_else(PoisonError::into_inner).0.end_sync(sync);
                answer!(reply, ended, () => reply.ok());
            });
        });
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut disk = lock(&self.0);
        let done = disk.refuse(Operation::SyncDirectory, request);
        let done = done.and_then(|()| disk.volume.sync_directory(ino.0));
        answer!(reply, done, () => reply.ok());
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut disk = lock(&self.0);
        let listed = disk.volume.list(ino.0);
        answer!(reply, listed, entries => {
            let above = disk.volume.parent(ino.0);
            let mut listing = vec![(".".into(), ino.0, false), ("..".into(), above, false)];
            listing.extend(entries);
            disk.next_listing += 1;
            let handle = disk.next_listing;
            disk.listings.insert(handle, listing);
            reply.opened(FileHandle(handle), FopenFlags::empty());
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let disk = lock(&self.0);
        let listing = disk.listings.get(&handle.0).map(Vec::as_slice).unwrap_or_default();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(listing.len());
        for ((name, ino, is_file), next) in listing[from..].iter().zip(offset + 1..) {
            let kind = if *is_file { FileType::RegularFile } else { FileType::Directory };
            if reply.add(INodeNo(*ino), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.0).listings.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let disk = lock(&self.0);
        let found = nix::sys::statvfs::statvfs(disk.volume.root()).map_err(io::Error::from);
        let free = |blocks: u64| if disk.troubles.is_full() { 0 } else { blocks };
        answer!(reply, found, found => reply.statfs(
            found.blocks(),
            free(found.blocks_free()),
            free(found.blocks_available()),
            found.files(),
            found.files_free(),
            u32::try_from(found.block_size()).unwrap_or(4096),
            255,
            u32::try_from(found.fragment_size()).unwrap_or(4096),
        ));
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut disk = lock(&self.0);
        let end = offset.saturating_add(length);
        let done = match (mode, disk.volume.metadata(ino.0)) {
            (0, Ok(found)) if end > found.len() => disk.resize(request, ino.0, end),
            (0, found) => found.map(drop),
            _ => Err(Errno::EOPNOTSUPP.into()),
        };
        answer!(reply, done, () => reply.ok());
    }
}
