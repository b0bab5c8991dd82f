//! A real file system that loses power: an ext4 in a file on a loop device, for who is root outside of a user namespace.
//!
//! The power goes by an `ioctl` that has the file system shut itself down without writing its journal (`FS_IOC_GOINGDOWN` with
//! `NOLOGFLUSH`; the kernel's `fs/ext4/ioctl.c`): what it has not written by then is gone, syncs that had begun are void, and everything fails
//! from then on. Whoever uses it must be on the way out by then: a sync in whose midst that happens may claim to have succeeded (seen on Linux
//! 6.18, where extents whose conversion fails are not reported), and nobody may be told so. So the disk itself sends SIGKILL, after which
//! nothing leaves the kernel any more, and is off some microseconds later, before syncs that had begun have ended. When nobody has files open any more it is unmounted and mounted anew, which replays the journal; then it is shut down again,
//! with nothing to lose, until the power is back. What is lost is what ext4 makes of it, not what POSIX allows: it may have written of its
//! own accord, and a sync of one file makes all names durable that were made before. Two of its habits are switched off, as they
//! hide what a program forgot: to write a file that replaces another one (`auto_da_alloc`), and everything each five seconds. The
//! machine's own power is not lost: what the loop device was handed is durable.
//!
//! What cannot be had of it: sectors that are torn or come in another order, bytes that go wrong, errors, slowness, a full disk.
//!
//! What was lost is seen by lengths and names, so that looking takes no time in which a sync could end, however much data there is: by how
//! much files are shorter than programs saw them, and which names are not what they were. What was written over in place is not seen.
//!
//! The mount is in this process's mount namespace, and the loop device frees itself with its last user: both go with the namespace. The
//! process may die: what it has mounted works on without it. The image is taken away by who stops the disk ([`super::stop_disk`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::order::{DiskAct, DiskAnswer, DiskDeed, DiskOrder, Lost, image_file};
use crate::fault::PowerLoss;
use crate::host::ProcessIdentity;
use crate::poll::{Patience, wait_until_us};
use crate::starver::start_ticks;

/// Of the image, which has holes: what is not used takes no space.
const IMAGE_BYTES: u64 = 1 << 30;

/// The image is full of zeros as it is; and few files are made.
const MAKE: [&str; 9] =
    ["-q", "-F", "-m", "0", "-N", "16384", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d"];

const OPTIONS: &str = "loop,nodev,nosuid,noatime,noinit_itable,noauto_da_alloc,commit=300";

/// The journal is flushed for none of what was not synced.
const NO_LOG_FLUSH: u32 = 2;

/// Who has files open is dying; whoever ordered this waits for longer.
const PATIENCE: Patience =
    Patience { settle_ms: 3_000, poll_ms: 2, undo_attempts: 1, retry_ms: 0, undo_ms: 0 };

/// For the moment at which several lose power.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What is mounted.
pub(super) struct Ext4 {
    directory: PathBuf,
    image: PathBuf,
    is_mounted: bool,
    power: Power,
}

enum Power {
    On,
    /// Because of this fault, and what it took is not known.
    Off {
        fault_id: u64,
        before: Content,
    },
    /// What was lost is known.
    Awaited,
}

/// What has a name below a folder, by its path in it.
type Content = BTreeMap<PathBuf, Seen>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// What the name is for.
    inode: u64,
    /// `None`: a directory.
    bytes: Option<u64>,
}

impl Ext4 {
    /// Makes a new file system in an image beside the file with the orders, with what is in the folder, and mounts it over that.
    pub fn mount(order_file: &Path, directory: &Path) -> io::Result<Ext4> {
        let (directory, image) = (directory.to_owned(), image_file(order_file));
        let mut disk = Ext4 { directory, image, is_mounted: false, power: Power::On };
        let mounted = disk.make();
        if mounted.is_err() {
            // Nothing is mounted that needs it.
            let _ = std::fs::remove_file(&disk.image);
        }
        mounted.map(|()| disk)
    }

    fn make(&mut self) -> io::Result<()> {
        File::create(&self.image)?.set_len(IMAGE_BYTES)?;
        let (image, folder) = (self.image.to_string_lossy(), self.directory.to_string_lossy());
        run("mkfs.ext4", &[&MAKE[..], &[&folder, &image]].concat())?;
        self.come_up()?;
        // For what a check of the file system finds; nobody looks there, and not every program expects it.
        std::fs::remove_dir(self.directory.join("lost+found"))
    }

    /// Does what is new in an order, or else looks what was lost since the last one, ends what is not in it any more, and notes it all
    /// in the answer.
    pub fn carry_out(&mut self, order: &DiskOrder, answer: &mut DiskAnswer) {
        let mut is_news = false;
        for (fault_id, act) in &order.acts {
            if !answer.deeds.contains_key(fault_id) {
                is_news = true;
                answer.deeds.insert(*fault_id, self.act(*fault_id, act).unwrap_or_else(failed));
            }
        }
        if let Power::Off { fault_id, .. } = self.power
            && !is_news
        {
            answer.deeds.insert(fault_id, self.look_what_was_lost().map_or_else(failed, DiskDeed::PowerLost));
        }
        let is_to_be_off = order.acts.values().any(|act| matches!(act, DiskAct::PowerCut { .. }));
        let given = if is_to_be_off { Ok(()) } else { self.give_power_back() };
        answer.still_off = given.err().map(|error| error.to_string());
    }

    /// Does what an act says, for the first time.
    fn act(&mut self, fault_id: u64, act: &DiskAct) -> io::Result<DiskDeed> {
        let DiskAct::PowerCut { loss: PowerLoss::Everything, process, at_us, .. } = act else {
            return Err(io::Error::other("a real file system loses power, and all that is lost by that"));
        };
        if !matches!(self.power, Power::On) {
            return Ok(DiskDeed::PowerLost(Lost::default()));
        }
        let folder = File::open(&self.directory)?;
        // Once looked at, lengths and names can be looked at without power, too.
        let looked_at = content(&self.directory)?;
        if let Some(at_us) = *at_us {
            wait_until_us(at_us, LONGEST_WAIT);
        }
        process.map_or(Ok(()), send_kill)?;
        shut_down(&folder)?;
        let before = content(&self.directory).unwrap_or(looked_at);
        self.power = Power::Off { fault_id, before };
        Ok(DiskDeed::PowerOff)
    }

    fn look_what_was_lost(&mut self) -> io::Result<Lost> {
        self.come_up()?;
        let Power::Off { before, .. } = &self.power else { return Ok(Lost::default()) };
        let lost = lost(before, &content(&self.directory)?);
        shut_down(&File::open(&self.directory)?)?;
        self.power = Power::Awaited;
        Ok(lost)
    }

    fn give_power_back(&mut self) -> io::Result<()> {
        if !matches!(self.power, Power::On) {
            self.come_up()?;
            self.power = Power::On;
        }
        Ok(())
    }

    /// Mounts it, anew if it is mounted. What it needs may be busy for a moment: files that the dying have open, a loop device that is
    /// about to be free.
    fn come_up(&mut self) -> io::Result<()> {
        if self.is_mounted {
            let unmounted = PATIENCE.wait_for(|| match umount2(&self.directory, MntFlags::empty()) {
                Ok(()) => Ok(Some(())),
                Err(Errno::EBUSY) => Ok(None),
                Err(errno) => Err(io::Error::from(errno)),
            })?;
            let busy = || format!("somebody still has files open on {}", self.directory.display());
            unmounted.ok_or_else(|| io::Error::other(busy()))?;
            self.is_mounted = false;
        }
        let (image, folder) = (self.image.to_string_lossy(), self.directory.to_string_lossy());
        let mut refusal = None;
        let mounted = PATIENCE.wait_for(|| {
            refusal = run("mount", &["-t", "ext4", "-o", OPTIONS, "--", &image, &folder]).err();
            Ok::<_, io::Error>(refusal.is_none().then_some(()))
        })?;
        if mounted.is_none() {
            return Err(refusal.unwrap_or_else(|| io::Error::other("it cannot be mounted")));
        }
        self.is_mounted = true;
        self.write_directly();
        Ok(())
    }

    /// Has the loop device hand on what it is handed, instead of keeping it in memory first, where it would be durable at once: so a sync has
    /// something to wait for before it is done. Not every file system on which an image may be can do that; it works without.
    fn write_directly(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = |line: &str| {
            let (mount, source) = line.split_once(" - ")?;
            let is_it = mount.split(' ').nth(4).is_some_and(|place| Path::new(place) == self.directory);
            is_it.then(|| source.split(' ').nth(1).map(str::to_owned))?
        };
        if let Some(device) = mounts.lines().rev().find_map(device) {
            let _ = run("losetup", &["--direct-io=on", "--", &device]);
        }
    }
}

fn failed(error: io::Error) -> DiskDeed {
    DiskDeed::Failed(error.to_string())
}

/// Unless it is gone, and another one may have its number.
fn send_kill(process: ProcessIdentity) -> io::Result<()> {
    if start_ticks(process.pid) != Some(process.start_ticks) {
        return Ok(());
    }
    match kill(Pid::from_raw(process.pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What of `before` is not in `after`. What is there in addition or is longer was durable, and was seen a moment too early.
fn lost(before: &Content, after: &Content) -> Lost {
    let mut lost = Lost::default();
    for (path, was) in before {
        let Some(is) = after.get(path).filter(|is| is.inode == was.inode) else {
            lost.names += 1;
            continue;
        };
        let bytes = was.bytes.unwrap_or(0).saturating_sub(is.bytes.unwrap_or(0));
        lost.files += u64::from(bytes > 0);
        lost.bytes += bytes;
    }
    lost.names += after.keys().filter(|path| !before.contains_key(*path)).count() as u64;
    lost
}

/// What is below a folder; what goes meanwhile may or may not be in it.
fn content(directory: &Path) -> io::Result<Content> {
    let mut content = Content::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = if_there(std::fs::read_dir(directory.join(&folder)))? else { continue };
        for entry in entries {
            let entry = entry?;
            let Some(metadata) = if_there(entry.metadata())? else { continue };
            let path = folder.join(entry.file_name());
            let bytes = (!metadata.is_dir()).then_some(metadata.len());
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            content.insert(path, Seen { inode: metadata.ino(), bytes });
        }
    }
    Ok(content)
}

fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Runs a program of the system's administration, which may not be where ordinary users look for programs.
#[allow(clippy::disallowed_methods, reason = "this process is what mounts, on the machine that it runs on")]
fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output =
        Command::new(program).args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin")).output();
    let output = output.map_err(|error| {
        let mend = "is the package e2fsprogs installed?";
        io::Error::new(error.kind(), format!("`{program}` cannot be run: {error}; {mend}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{program}` failed ({}): {}", output.status, said.trim())))
}

/// Nothing that the file system on which this folder is has not written by now will ever be written, and all that is asked of it fails.
#[allow(unsafe_code, reason = "there is no safe form of this ioctl")]
fn shut_down(folder: &File) -> io::Result<()> {
    nix::ioctl_read!(going_down, b'X', 125, u32);
    let mut how = NO_LOG_FLUSH;
    // SAFETY: the kernel reads a `u32` from where it is told to, and writes nothing.
    unsafe { going_down(folder.as_raw_fd(), &raw mut how) }.map_err(io::Error::from).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_what_was_seen_before_and_is_not_there_afterwards() {
        let of = |files: &[(&str, u64, Option<u64>)]| -> Content {
            files
                .iter()
                .map(|(path, inode, bytes)| (PathBuf::from(path), Seen { inode: *inode, bytes: *bytes }))
                .collect()
        };
        let before = of(&[
            ("folder", 2, None),
            ("durable", 3, Some(100)),
            ("shorter", 4, Some(20)),
            ("replaced", 5, Some(7)),
            ("new", 6, Some(9)),
            ("synced-meanwhile", 7, Some(1)),
        ]);
        let after = of(&[
            ("folder", 2, None),
            ("durable", 3, Some(100)),
            ("shorter", 4, Some(8)),
            ("replaced", 8, Some(7)),
            ("removed", 9, Some(1)),
            ("synced-meanwhile", 7, Some(3)),
        ]);
        assert_eq!(lost(&before, &after), Lost { files: 1, bytes: 12, names: 3, ..Lost::default() });
        assert_eq!(lost(&before, &before), Lost::default());
    }

    #[test]
    fn what_is_below_a_folder_is_known_by_path_inode_and_length() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/log"), [0; 300]).unwrap();
        let inode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().ino();
        let found: Vec<_> = content(folder.path()).unwrap().into_iter().collect();
        let expected = [
            (PathBuf::from("data"), Seen { inode: inode("data"), bytes: None }),
            (PathBuf::from("data/log"), Seen { inode: inode("data/log"), bytes: Some(300) }),
        ];
        assert_eq!(found, expected);
    }
}
