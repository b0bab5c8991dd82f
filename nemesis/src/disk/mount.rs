//! The file system: what programs ask of the disk, and what they get.
//!
//! Nothing is remembered by the kernel: neither names and attributes nor what it has read (direct I/O), so that each operation of a program
//! is one of ours, and a loss of power, and rot, are seen at once. One thing is done at a time, but slow syncs wait elsewhere.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;

use super::device::{Disk, Wanted, time};
use super::troubles::Operation;

/// The kernel asks anew each time.
const NOT_REMEMBERED: Duration = Duration::ZERO;

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
